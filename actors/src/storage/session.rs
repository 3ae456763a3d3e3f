//! A writing session: blobs first, then the documents and refs of one tessera, then its commit.

use bytes::Bytes;
use proto::{
    Checksum, Fragment, TesseraId,
    record::{DocumentKind, SessionId},
};
use tokio::task::JoinSet;

use super::{
    handle::StorageHandle,
    message::StorageMsg,
    ops::{Op, Outcome, Submission},
};
use crate::error::ActorError;

/// A session under way. Dropped before its commit, nothing of it counts and its bytes are given back.
pub struct Session {
    storage: StorageHandle,
    id: SessionId,
    under_way: JoinSet<Result<Outcome, ActorError>>,
    blobs_ended: bool,
    committed: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.id.0)
    }
}

impl Session {
    pub(super) fn new(storage: StorageHandle, id: SessionId) -> Self {
        Self { storage, id, under_way: JoinSet::new(), blobs_ended: false, committed: false }
    }

    /// Keeps the bytes until the session ends. Returns when there is room for the next one; an error of an earlier
    /// one may come with a later call.
    pub async fn put_blob(&mut self, fragment: Fragment) -> Result<(), ActorError> {
        self.blobs_ended = false;
        self.room().await?;
        self.begin(Op::Pin { session: self.id, fragment, outboard: Bytes::new() });
        Ok(())
    }

    /// A document of the session's tessera, at most 16 MiB. An error of it may come with a later call.
    pub async fn put_document(
        &mut self,
        tessera: TesseraId,
        kind: DocumentKind,
        bytes: Bytes,
    ) -> Result<(), ActorError> {
        self.end_blobs().await?;
        self.room().await?;
        self.begin(Op::Document { session: self.id, tessera, kind, bytes });
        Ok(())
    }

    /// Fragments of the session's tessera, each as (stripe, index, checksum); their bytes were put in this session.
    /// An error of one may come with a later call.
    pub async fn put_refs(
        &mut self,
        tessera: TesseraId,
        refs: &[(u32, u16, Checksum)],
    ) -> Result<(), ActorError> {
        self.end_blobs().await?;
        for refs in refs.chunks(REFS_PER_WRITE) {
            self.room().await?;
            self.begin(Op::Refs { session: self.id, tessera, refs: refs.to_vec() });
        }
        Ok(())
    }

    /// From here on the tessera counts, durably.
    pub async fn commit(mut self, tessera: TesseraId) -> Result<(), ActorError> {
        self.settle().await?;
        self.storage.submit(Op::Commit { session: self.id, tessera }).await?;
        self.committed = true;
        Ok(())
    }

    fn begin(&mut self, op: Op) {
        let storage = self.storage.clone();
        self.under_way.spawn(async move { storage.submit(op).await });
    }

    /// Waits until another write may begin.
    async fn room(&mut self) -> Result<(), ActorError> {
        while self.under_way.len() >= WRITES_UNDER_WAY_MAX {
            self.settle_one().await?;
        }
        Ok(())
    }

    /// What refers to blobs begins after they are there; documents and refs need not wait for one another.
    async fn end_blobs(&mut self) -> Result<(), ActorError> {
        if !self.blobs_ended {
            self.settle().await?;
            self.blobs_ended = true;
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), ActorError> {
        while !self.under_way.is_empty() {
            self.settle_one().await?;
        }
        Ok(())
    }

    async fn settle_one(&mut self) -> Result<(), ActorError> {
        match self.under_way.join_next().await {
            Some(written) => written.map_err(std::io::Error::other)?.map(|_| ()),
            None => Ok(()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.committed {
            let (reply, _) = ractor::concurrency::oneshot();
            let op = Op::Abort { session: self.id };
            self.storage.tell(StorageMsg::Submit(Submission { op, reply: reply.into(), _slot: None }));
        }
    }
}

/// Writes of one session under way at a time; with 1 MiB each, two batches.
const WRITES_UNDER_WAY_MAX: usize = 16;
const REFS_PER_WRITE: usize = 256;

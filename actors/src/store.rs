//! What it takes to be a store of fragments.

use std::future::Future;

use bytes::Bytes;
use proto::{AccountId, Checksum, Fragment, FragmentId, TesseraId, record::DocumentKind};

use crate::{error::ActorError, storage::BlobState};

/// A document that comes with a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deposited {
    /// Which document of its tessera.
    pub(crate) kind: DocumentKind,
    /// BLAKE3 of the bytes.
    pub(crate) hash: Checksum,
    pub(crate) bytes: Bytes,
}

impl From<(DocumentKind, Bytes)> for Deposited {
    fn from((kind, bytes): (DocumentKind, Bytes)) -> Self {
        Self { kind, hash: Checksum::of(&bytes), bytes }
    }
}

/// A store of fragments. Implemented by storage, and by the cache around any other store: whether there is a cache
/// is invisible to whoever uses it.
pub trait FragmentStore: Clone + Send + Sync + 'static {
    /// Keeps a fragment for an account, and with it those documents of its tessera that are not here. All of it is durable
    /// when this returns; documents go when the last fragment of their tessera does.
    ///
    /// Errors with [`ActorError::InsufficientStorage`] when there is no room, and with [`ActorError::Conflict`] when
    /// other bytes are here under this id.
    fn deposit(
        &self,
        account: AccountId,
        id: FragmentId,
        fragment: Fragment,
        documents: Vec<Deposited>,
    ) -> impl Future<Output = Result<PutOutcome, ActorError>> + Send;

    /// The same without documents.
    fn put(
        &self,
        account: AccountId,
        id: FragmentId,
        fragment: Fragment,
    ) -> impl Future<Output = Result<PutOutcome, ActorError>> + Send {
        self.deposit(account, id, fragment, Vec::new())
    }

    /// The fragment, its hash checked. Errors with [`ActorError::NotFound`], and with [`ActorError::Corrupt`] when
    /// the bytes here are wrong.
    fn get(&self, id: FragmentId) -> impl Future<Output = Result<Fragment, ActorError>> + Send;

    /// The account no longer wants the fragment. Durable when this returns. Errors with [`ActorError::NotFound`] when
    /// it did not want it.
    fn drop_fragment(
        &self,
        account: AccountId,
        id: FragmentId,
    ) -> impl Future<Output = Result<(), ActorError>> + Send;

    /// What the index says of a tessera's fragments from a (stripe, index) on, in order, at most `limit` of them. No
    /// blob is read.
    fn checksums(
        &self,
        tessera: TesseraId,
        from: (u32, u16),
        limit: u32,
    ) -> impl Future<Output = Result<Vec<FragmentRow>, ActorError>> + Send;

    /// Drops all fragments of a tessera that this node keeps for itself; with the last one its documents go. May be
    /// called again after it was interrupted. Errors with [`ActorError::NotFound`] when there are none.
    fn forget(&self, tessera: TesseraId) -> impl Future<Output = Result<(), ActorError>> + Send {
        async move {
            let mut from = (0, 0);
            let mut dropped = 0_u64;
            loop {
                let rows = self.checksums(tessera, from, FORGET_PAGE).await?;
                let Some(last) = rows.last() else { break };
                from = (last.stripe, last.index.saturating_add(1));
                let drops = rows.iter().map(|row| {
                    let id = FragmentId { tessera, stripe: row.stripe, index: row.index };
                    self.drop_fragment(AccountId::LOCAL, id)
                });
                for outcome in futures::future::join_all(drops).await {
                    match outcome {
                        Ok(()) => dropped += 1,
                        // Kept for another account only.
                        Err(ActorError::NotFound { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                if rows.len() < FORGET_PAGE as usize {
                    break;
                }
            }
            if dropped > 0 { Ok(()) } else { Err(ActorError::not_found(tessera)) }
        }
    }
}

/// What a put has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is here now.
    Stored,
    /// It was here already.
    Held,
}

/// What the index says of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct FragmentRow {
    /// The stripe, from 0.
    pub stripe: u32,
    /// The place in the stripe, from 0.
    pub index: u16,
    /// Its checksum.
    pub checksum: Checksum,
    /// Its length in bytes.
    pub length: u32,
    /// Whether its bytes are there.
    pub state: BlobState,
    /// When its segment was begun, in milliseconds since 1970.
    pub written_at_ms: i64,
    /// When its segment was last read back whole, in milliseconds since 1970; `None` for written only.
    pub verified_at_ms: Option<i64>,
}

/// Fragments dropped at a time by [`FragmentStore::forget`]: what one batch takes.
const FORGET_PAGE: u32 = 256;

//! The way to ask storage, and the narrow doors for those who may ask only part of the questions.

mod expected;
mod records;
mod sums;

use std::{collections::BTreeSet, path::PathBuf, time::Instant};

use bytes::Bytes;
use proto::{
    AccountId, Checksum, Fragment, FragmentId, ProtoError, TesseraId, limits::DOCUMENT_BYTES_MAX,
    record::DocumentKind,
};

pub use expected::{Expected, ExpectedFragment};

use super::{
    alarm::Alarm,
    compact::Compacted,
    doubts::Doubts,
    jobs::Job,
    message::{Segments, StorageMsg, Usage},
    ops::{Op, Outcome, ScrubNote, Submission},
    prove::Proof,
    pulse::{Beats, Pulse},
    queries::TesseraRow,
    session::Session,
    untaken::Untaken,
    verify::{Piece, Verified},
};
use crate::{
    error::ActorError,
    metrics::StorageMetrics,
    store::{Deposited, FragmentRow, FragmentStore, PutOutcome},
    supervision::seat::Seat,
};

/// Asks the storage actor.
#[derive(Debug, Clone)]
pub struct StorageHandle {
    seat: Seat<StorageMsg>,
    metrics: StorageMetrics,
    pulse: Pulse,
    doubts: Doubts,
    alarm: Alarm,
    untaken: Untaken,
}

/// The checksum door: what the index says of fragments. Whoever holds only this cannot ask for a blob.
#[derive(Debug, Clone)]
pub struct ChecksumHandle(StorageHandle);

/// The segments door: verifying what is stored, from the device. No bytes come through it.
#[derive(Debug, Clone)]
pub struct SegmentsHandle(StorageHandle);

/// The records door: what the index says of tesserae. No bytes.
#[derive(Debug, Clone)]
pub struct RecordsHandle(StorageHandle);

impl StorageHandle {
    pub(super) fn new(
        seat: Seat<StorageMsg>,
        metrics: StorageMetrics,
        pulse: Pulse,
        doubts: Doubts,
        alarm: Alarm,
    ) -> Self {
        Self { seat, metrics, pulse, doubts, alarm, untaken: Untaken::new() }
    }

    /// The checksum door.
    pub fn checksums_door(&self) -> ChecksumHandle {
        ChecksumHandle(self.clone())
    }

    /// The records door.
    pub fn records(&self) -> RecordsHandle {
        RecordsHandle(self.clone())
    }

    /// The segments door.
    pub fn segments_door(&self) -> SegmentsHandle {
        SegmentsHandle(self.clone())
    }

    /// Begins a session: what is written in it counts only from its commit on.
    pub async fn open_session(&self) -> Result<Session, ActorError> {
        let storage = self.clone();
        // In a task of its own: the writer opens what it was asked to, so the session must be ended even when the
        // caller has given up. One that nobody ends keeps its segments from compaction for ever.
        let opened = tokio::spawn(async move {
            match storage.submit(Op::OpenSession).await? {
                Outcome::Session(id) => Ok(Session::new(storage, id)),
                other => Err(ActorError::Conflict { what: format!("a session began with {other:?}") }),
            }
        });
        opened.await.unwrap_or(Err(ActorError::Restarting { actor: super::NAME }))
    }

    /// A document of a tessera; without a hash, the only one of its kind. Its hash is checked.
    ///
    /// Errors with [`ActorError::NotFound`], and with [`ActorError::CorruptDocument`] when the bytes are wrong.
    pub async fn document(
        &self,
        tessera: TesseraId,
        kind: DocumentKind,
        hash: Option<Checksum>,
    ) -> Result<Bytes, ActorError> {
        self.seat.call(|slot, reply| StorageMsg::Document { tessera, kind, hash, slot, reply }).await
    }

    /// How much is stored, and whether more can be.
    pub async fn usage(&self) -> Result<Usage, ActorError> {
        self.seat.call(|slot, reply| StorageMsg::Usage { slot, reply }).await
    }

    /// How many more bytes can be stored; `None` when that is not known. Part of [`StorageHandle::usage`], which counts all tesserae.
    pub async fn room(&self) -> Result<Option<u64>, ActorError> {
        self.seat.call(|slot, reply| StorageMsg::Room { slot, reply }).await
    }

    /// Damaged bytes that wait for their repair, those that have waited longest first, at most `limit` of them.
    pub async fn jobs(&self, limit: u32) -> Result<Vec<Job>, ActorError> {
        self.seat.call(|slot, reply| StorageMsg::Jobs { only: None, limit, slot, reply }).await
    }

    /// The bytes with this checksum, if they wait for their repair.
    pub async fn job(&self, checksum: Checksum) -> Result<Option<Job>, ActorError> {
        let only = Some(checksum);
        let jobs = self.seat.call(|slot, reply| StorageMsg::Jobs { only, limit: 1, slot, reply }).await?;
        Ok(jobs.into_iter().next())
    }

    /// Keeps aside now what only the index knows, which the actor else does by itself from time to time. Where that is.
    pub async fn snapshot(&self) -> Result<PathBuf, ActorError> {
        self.seat.call(|slot, reply| StorageMsg::Snapshot { slot, reply }).await
    }

    /// Has the index set aside and made anew from the segments; returns where the old one is kept, as soon as that is
    /// begun. Until it is done all requests error with [`ActorError::Restarting`].
    ///
    /// Errors with [`ActorError::Conflict`] within a minute of the last time.
    pub async fn rebuild_index(&self, reason: &str) -> Result<PathBuf, ActorError> {
        self.seat.call(|slot, reply| StorageMsg::Rebuild { reason: reason.to_owned(), slot, reply }).await
    }

    /// Compacts now what is worth it; what the actor else does by itself, from time to time.
    pub async fn compact(&self) -> Result<Compacted, ActorError> {
        self.seat.call(|slot, reply| StorageMsg::Compact { slot, reply }).await
    }

    /// Requests waiting or running, and how many there may be.
    pub fn load(&self) -> (usize, usize) {
        (self.seat.gate().taken(), self.seat.gate().limit())
    }

    /// Whether the actor is there and takes messages.
    pub(crate) async fn answers(&self) -> bool {
        self.seat.answers(StorageMsg::Ping).await
    }

    /// Holds a reader of the index open until it is cut.
    #[cfg(feature = "faults")]
    pub async fn hold_reader(&self) -> Result<(), ActorError> {
        self.seat.call(|slot, reply| StorageMsg::HoldReader { slot, reply }).await
    }

    /// Makes the actor fall.
    #[cfg(feature = "faults")]
    pub fn panic(&self) {
        self.seat.tell(StorageMsg::Panic);
    }

    pub(super) async fn submit(&self, op: Op) -> Result<Outcome, ActorError> {
        // A put is one whether it comes by itself or in a session.
        let (is_put, start) = (matches!(op, Op::Put { .. } | Op::Pin { .. }), Instant::now());
        let op = op.with_outboard().await;
        let submit = |slot, reply| StorageMsg::Submit(Submission { op, reply, _slot: Some(slot) });
        let outcome = self.seat.call(submit).await?;
        if is_put {
            self.metrics.put(start.elapsed().as_secs_f64());
            self.pulse.beat(start.elapsed());
        }
        Ok(outcome)
    }

    pub(super) fn tell(&self, message: StorageMsg) {
        self.seat.tell(message);
    }
}

impl FragmentStore for StorageHandle {
    /// Documents that are known to be damaged are written anew. Errors with [`ActorError::Proto`] for one of more than 16 MiB.
    async fn deposit(
        &self,
        account: AccountId,
        id: FragmentId,
        fragment: Fragment,
        documents: Vec<Deposited>,
    ) -> Result<PutOutcome, ActorError> {
        for Deposited { kind, bytes, .. } in &documents {
            let (length, limit) = (bytes.len() as u64, DOCUMENT_BYTES_MAX as u64);
            if length > limit {
                return Err(ProtoError::TooLong { what: kind.name(), length, limit }.into());
            }
        }
        let outcome =
            self.submit(Op::Put { account, id, fragment, outboard: Bytes::new(), documents }).await?;
        Ok(if outcome == Outcome::Held { PutOutcome::Held } else { PutOutcome::Stored })
    }

    async fn get(&self, id: FragmentId) -> Result<Fragment, ActorError> {
        let start = Instant::now();
        let fragment = self.seat.call(|slot, reply| StorageMsg::Get { id, slot, reply }).await?;
        self.pulse.beat(start.elapsed());
        Ok(fragment)
    }

    async fn drop_fragment(&self, account: AccountId, id: FragmentId) -> Result<(), ActorError> {
        self.submit(Op::Drop { account, id }).await.map(|_| ())
    }

    async fn checksums(
        &self,
        tessera: TesseraId,
        from: (u32, u16),
        limit: u32,
    ) -> Result<Vec<FragmentRow>, ActorError> {
        self.seat.call(|slot, reply| StorageMsg::Checksums { tessera, from, limit, slot, reply }).await
    }
}

impl ChecksumHandle {
    /// What the index says of a tessera's fragments from a (stripe, index) on, in order, at most `limit` of them.
    pub async fn checksums(
        &self,
        tessera: TesseraId,
        from: (u32, u16),
        limit: u32,
    ) -> Result<Vec<FragmentRow>, ActorError> {
        self.0.checksums(tessera, from, limit).await
    }

    /// Whether the rows of a tessera add up to what is kept beside them: for each account a count and a digest, and a sum
    /// of the documents. A tessera that is not here does.
    pub async fn add_up(&self, tessera: TesseraId) -> Result<bool, ActorError> {
        self.0.seat.call(|slot, reply| StorageMsg::AddsUp { tessera, slot, reply }).await
    }
}

impl SegmentsHandle {
    /// What there is to verify, and how far that has come.
    pub async fn segments(&self) -> Result<Segments, ActorError> {
        self.0.seat.call(|slot, reply| StorageMsg::Segments { slot, reply }).await
    }

    /// Verifies a piece of a segment, from the device. What is damaged is marked, and its repair queued, before this
    /// returns. Nothing more is appended to the segment from then on.
    ///
    /// Errors when it could not be read or noted, which says nothing about the bytes; with [`ActorError::Conflict`] while
    /// a session writes to it.
    pub async fn verify(&self, piece: Piece) -> Result<Verified, ActorError> {
        self.0.seat.call(|slot, reply| StorageMsg::Verify { piece, slot, reply }).await
    }

    /// Proves that the bytes with this checksum are here, by one group of 16 KiB of them. No more is read as long as it is
    /// known what leads from the checksum to the group; else all of the bytes are, once.
    ///
    /// Errors with [`ActorError::NotFound`] when nobody here wants such bytes or they have no such group, and with
    /// [`ActorError::CorruptBlob`] when they are damaged: then they are marked, and their repair is queued.
    pub async fn prove(&self, checksum: Checksum, group: u32) -> Result<Proof, ActorError> {
        self.0.seat.call(|slot, reply| StorageMsg::Prove { checksum, group, slot, reply }).await
    }

    /// Looks through the index, from a tessera on; the first time, all zeros, through its pages as well. Returns where to
    /// go on. An index that is damaged is made anew: then this errors with [`ActorError::Restarting`] or as SQLite did.
    pub async fn look_through(&self, from: TesseraId) -> Result<Option<TesseraId>, ActorError> {
        self.0.seat.call(|slot, reply| StorageMsg::LookThrough { from, slot, reply }).await
    }

    /// Notes how far scrubbing has come, or what it is asked for.
    pub async fn note(&self, note: ScrubNote) -> Result<(), ActorError> {
        self.0.submit(Op::Scrub(note)).await.map(|_| ())
    }

    /// Segments in which somebody found something damaged; waits until there are any.
    pub async fn doubted(&self) -> BTreeSet<u32> {
        self.0.doubts.take().await
    }

    /// How long puts and gets took since this was last asked.
    pub fn beats(&self) -> Beats {
        self.0.pulse.take()
    }
}

impl RecordsHandle {
    /// The tesserae whose ids lie between these two, in order, at most `limit` of them.
    pub async fn tesseras(
        &self,
        from: TesseraId,
        to: TesseraId,
        limit: u32,
    ) -> Result<Vec<TesseraRow>, ActorError> {
        self.0.seat.call(|slot, reply| StorageMsg::Tesseras { from, to, limit, slot, reply }).await
    }

    /// One tessera. Errors with [`ActorError::NotFound`].
    pub async fn tessera(&self, id: TesseraId) -> Result<TesseraRow, ActorError> {
        self.tesseras(id, id, 1).await?.pop().ok_or_else(|| ActorError::not_found(id))
    }
}

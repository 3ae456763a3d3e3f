//! Reading the index, which is written behind the acknowledgements.
//!
//! # Invariants
//! 1. Whoever reads finds everything that was acknowledged before he asked. One fragment or document is looked for in
//!    the batches that are not committed yet, and then in the index; for a list, the index is waited for, and written
//!    at once, if any of these may change what it says.
//! 2. While the index cannot be written (a full disk), nobody waits: a list is refused if the log says more of it, and
//!    so is the answer that a fragment or document is not here.

use std::{collections::VecDeque, ops::RangeInclusive, sync::Arc};

use bytes::Bytes;
use proto::{Checksum, FragmentId, TesseraId, record::DocumentKind};
use sqlx::SqliteConnection;
use tokio::sync::watch;

use super::{
    lending::Lending,
    rows::{BlobRow, DocumentRow, FragmentRow, TesseraRow},
    trouble::Cause,
    view::Changes,
};
use crate::error::ActorError;

/// How far the index is behind the acknowledgements. Kept by the writer's stages.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many batches are committed.
    committed: u64,
    /// What was acknowledged after these, oldest first.
    behind: VecDeque<Arc<Changes>>,
    /// So many batches are waited for.
    awaited: u64,
    /// Why the index cannot be brought up to the log, if that is so.
    stuck: Option<Cause>,
}

/// Batches that are acknowledged and may not be in the index, oldest first.
#[derive(Debug)]
pub(crate) struct Pending(Vec<Arc<Changes>>);

/// The index for reading.
#[derive(Debug, Clone)]
pub(crate) struct Readers {
    connections: Lending,
    progress: Progress,
}

impl Progress {
    /// The index is level with the log.
    pub(crate) fn new() -> Self {
        Self { state: watch::Sender::new(State::default()) }
    }

    /// A batch with these changes is about to be acknowledged.
    pub(crate) fn acknowledge(&self, changes: &Arc<Changes>) {
        self.state.send_modify(|state| state.behind.push_back(changes.clone()));
    }

    /// The oldest of the acknowledged batches, so many, are committed.
    pub(crate) fn commit(&self, batches: usize) {
        self.state.send_modify(|state| state.commit(batches));
    }

    /// The index can no longer be written.
    pub(crate) fn stick(&self, cause: Cause) {
        self.state.send_modify(|state| state.stuck = Some(cause));
    }

    /// The index was brought up to the log.
    pub(crate) fn level(&self) {
        self.state.send_modify(|state| {
            state.commit(state.behind.len());
            state.stuck = None;
        });
    }

    /// Whether the index must be mended before anything more is written into it.
    pub(crate) fn is_stuck(&self) -> bool {
        self.state.borrow().stuck.is_some()
    }

    /// All that is acknowledged now is waited for. How many batches that are.
    pub(crate) fn hurry(&self) -> u64 {
        let mut acknowledged = 0;
        self.state.send_if_modified(|state| {
            acknowledged = state.acknowledged();
            state.awaited = acknowledged;
            !state.behind.is_empty()
        });
        acknowledged
    }

    /// Returns when someone waits for what is not committed yet.
    pub(crate) async fn awaited(&self) {
        self.until(|state| state.awaited > state.committed).await;
    }

    /// Whether all that is acknowledged is committed.
    pub(crate) fn is_level(&self) -> bool {
        self.state.borrow().behind.is_empty()
    }

    /// Waits until all that is acknowledged now is committed, or cannot be.
    async fn caught_up(&self) {
        let acknowledged = self.hurry();
        self.until(|state| state.committed >= acknowledged || state.stuck.is_some()).await;
    }

    async fn until(&self, so: impl FnMut(&State) -> bool) {
        // The sender is here, so there is no error.
        let _ = self.state.subscribe().wait_for(so).await;
    }

    /// Whether anything that was acknowledged and may be about one of these tesserae is not committed yet.
    fn lacks(&self, tesseras: &RangeInclusive<TesseraId>) -> bool {
        self.state.borrow().behind.iter().any(|changes| changes.may_concern(tesseras))
    }

    /// Errors when the index will stay out of date on one of these tesserae.
    fn check(&self, tesseras: &RangeInclusive<TesseraId>) -> Result<(), ActorError> {
        let state = self.state.borrow();
        match &state.stuck {
            Some(cause) if state.behind.iter().any(|changes| changes.touch(tesseras)) => Err(cause.error()),
            _ => Ok(()),
        }
    }
}

impl State {
    fn acknowledged(&self) -> u64 {
        self.committed + self.behind.len() as u64
    }

    fn commit(&mut self, batches: usize) {
        self.committed += batches as u64;
        self.behind.drain(..batches.min(self.behind.len()));
    }
}

impl Readers {
    pub(crate) fn new(connections: Lending, progress: Progress) -> Self {
        Self { connections, progress }
    }

    /// Asks the index as it is, on a connection of its own: for what takes long.
    pub(crate) async fn aside<T>(
        &self,
        question: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, ActorError>,
    ) -> Result<T, ActorError> {
        self.connections.aside(question).await
    }

    /// Asks the index as it is, and beside it what it may lack of all that was acknowledged before this was called.
    pub(crate) async fn now<T>(
        &self,
        question: impl AsyncFnOnce(&mut SqliteConnection, Pending) -> Result<T, ActorError>,
    ) -> Result<T, ActorError> {
        let behind = self.progress.state.borrow().behind.iter().cloned().collect();
        self.connections.lend(async |index| question(index, Pending(behind)).await).await
    }

    /// Asks the index with everything that was acknowledged before this was called, or as it is when it cannot be
    /// written.
    pub(crate) async fn as_it_is<T>(
        &self,
        question: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, ActorError>,
    ) -> Result<T, ActorError> {
        self.progress.caught_up().await;
        self.connections.lend(question).await
    }

    /// Asks the index about what only notes say. None is acknowledged before it is there: nothing is waited for.
    pub(crate) async fn noted<T>(
        &self,
        question: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, ActorError>,
    ) -> Result<T, ActorError> {
        self.connections.lend(question).await
    }

    /// Asks the index with everything that was acknowledged of a tessera before this was called.
    ///
    /// Errors with [`ActorError::ReadOnly`] while that cannot be written.
    pub(crate) async fn about<T>(
        &self,
        tessera: TesseraId,
        question: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, ActorError>,
    ) -> Result<T, ActorError> {
        self.between(tessera, tessera, question).await
    }

    /// As [`Readers::about`], of all tesserae whose ids lie between these two.
    pub(crate) async fn between<T>(
        &self,
        from: TesseraId,
        to: TesseraId,
        question: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, ActorError>,
    ) -> Result<T, ActorError> {
        if self.progress.lacks(&(from..=to)) {
            self.progress.caught_up().await;
            self.progress.check(&(from..=to))?;
        }
        self.connections.lend(question).await
    }

    /// Lets the connections go. Nothing may be asked any more.
    pub(crate) async fn close(&self) {
        self.connections.close().await;
    }
}

/// Each of these is `None` when the index is to be asked, and `Some(None)` when there is no such row any more.
impl Pending {
    pub(crate) fn fragment(&self, id: &FragmentId) -> Option<Option<FragmentRow>> {
        self.latest(|changes| &changes.fragments, |key| key == id)
    }

    pub(crate) fn tessera(&self, id: TesseraId) -> Option<Option<TesseraRow>> {
        self.latest(|changes| &changes.tesseras, |key| *key == id)
    }

    pub(crate) fn blob(&self, checksum: &Checksum) -> Option<Option<BlobRow>> {
        self.latest(|changes| &changes.blobs, |key| key == checksum)
    }

    /// The chaining values of some bytes.
    pub(crate) fn outboard(&self, checksum: &Checksum) -> Option<Bytes> {
        let found = |changes: &Arc<Changes>| {
            let mut outboards = changes.outboards.iter();
            outboards.find(|(key, _)| key == checksum).map(|(_, values)| values.clone())
        };
        self.0.iter().rev().find_map(found)
    }

    /// The hash and row of a document; without a hash, of the one of its kind that changed last.
    pub(crate) fn document(
        &self,
        tessera: TesseraId,
        kind: DocumentKind,
        hash: Option<Checksum>,
    ) -> Option<Option<(Checksum, DocumentRow)>> {
        let newest_first = self.0.iter().rev().flat_map(|changes| changes.documents.iter().rev());
        let mut fitting = newest_first.filter(|((of, what, sum), _)| {
            (*of, *what) == (tessera, kind) && hash.is_none_or(|hash| hash == *sum)
        });
        fitting.next().map(|((_, _, sum), row)| row.map(|row| (*sum, row)))
    }

    fn latest<K, R: Copy>(
        &self,
        table: impl Fn(&Changes) -> &[(K, Option<R>)],
        is_it: impl Fn(&K) -> bool,
    ) -> Option<Option<R>> {
        let found =
            |changes: &Arc<Changes>| table(changes).iter().find(|(key, _)| is_it(key)).map(|(_, row)| *row);
        self.0.iter().rev().find_map(found)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use proto::AccountId;

    use super::*;

    fn tessera(number: u8) -> TesseraId {
        TesseraId::from_bytes([number; 32])
    }

    fn batch(number: u8) -> Arc<Changes> {
        let holdings = vec![((AccountId::LOCAL, tessera(number)), None)];
        Arc::new(Changes { holdings, ..Changes::default() })
    }

    #[test]
    fn reader_waits_for_what_was_acknowledged_before_it_came() {
        let progress = Progress::new();
        assert!(progress.caught_up().now_or_never().is_some());
        progress.acknowledge(&batch(1));
        let mut early = Box::pin(progress.caught_up());
        assert!(early.as_mut().now_or_never().is_none());
        progress.acknowledge(&batch(2));
        progress.commit(1);
        assert!(!progress.is_level());
        assert!(early.now_or_never().is_some(), "the second batch came after it");
        assert!(progress.caught_up().now_or_never().is_none());
        progress.commit(1);
        assert!(progress.is_level() && progress.caught_up().now_or_never().is_some());
    }

    #[test]
    fn reader_does_not_wait_for_what_cannot_be_about_what_he_asks() {
        let progress = Progress::new();
        let lacks = |from, to| progress.lacks(&(tessera(from)..=tessera(to)));
        progress.acknowledge(&batch(3));
        assert!(lacks(3, 3) && lacks(1, 5) && !lacks(1, 2) && !lacks(4, 5));
        progress.acknowledge(&Arc::new(Changes { blobs_of_any: true, ..Changes::default() }));
        assert!(lacks(1, 2), "bytes that are mended may be of any");
        progress.commit(2);
        assert!(!lacks(1, 5));
    }

    #[test]
    fn writer_knows_that_someone_waits_until_it_has_committed_what_for() {
        let progress = Progress::new();
        progress.hurry();
        assert!(progress.awaited().now_or_never().is_none(), "there is nothing to wait for");
        progress.acknowledge(&batch(1));
        assert!(progress.awaited().now_or_never().is_none(), "nobody waits yet");
        assert!(progress.caught_up().now_or_never().is_none());
        progress.acknowledge(&batch(2));
        assert!(progress.awaited().now_or_never().is_some());
        progress.commit(1);
        assert!(progress.awaited().now_or_never().is_none(), "what came later is not waited for");
    }

    #[test]
    fn nobody_waits_for_an_index_that_cannot_be_written() {
        let progress = Progress::new();
        progress.acknowledge(&batch(2));
        progress.stick(Cause::of(&ActorError::InsufficientStorage { reason: "no space".to_owned() }));
        assert!(progress.caught_up().now_or_never().is_some());
        progress.acknowledge(&batch(4));
        for (from, to, known) in [(1, 1, true), (2, 2, false), (3, 3, true), (4, 4, false), (3, 5, false)] {
            assert_eq!(progress.check(&(tessera(from)..=tessera(to))).is_ok(), known, "{from} to {to}");
        }
        progress.level();
        progress.check(&(tessera(1)..=tessera(5))).unwrap();
        progress.acknowledge(&batch(1));
        assert!(progress.caught_up().now_or_never().is_none(), "it is waited for again");
    }
}

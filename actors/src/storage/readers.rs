//! Reading the index, which is written behind the acknowledgements.
//!
//! # Invariants
//! 1. Whoever reads finds everything that was acknowledged before he asked: he waits for the index to have it.
//! 2. While the index cannot be written (a full disk), nobody waits. What it says is read, but not of a tessera of
//!    which the log says more.

use std::{collections::VecDeque, ops::RangeInclusive};

use proto::TesseraId;
use sqlx::SqlitePool;
use tokio::sync::watch;

use super::{pragmas::Database, view::Changes};
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
    /// Acknowledged after these, oldest first: the tesserae of each, of which the index is out of date.
    behind: VecDeque<Vec<TesseraId>>,
    /// Why the index cannot be brought up to the log, if that is so.
    stuck: Option<String>,
}

/// The index for reading.
#[derive(Debug, Clone)]
pub(crate) struct Readers {
    pool: SqlitePool,
    progress: Progress,
}

impl Progress {
    /// The index is level with the log.
    pub(crate) fn new() -> Self {
        Self { state: watch::Sender::new(State::default()) }
    }

    /// A batch with these changes is about to be acknowledged.
    pub(crate) fn acknowledge(&self, changes: &Changes) {
        let tesseras = changes.tesseras_touched();
        self.state.send_modify(|state| state.behind.push_back(tesseras));
    }

    /// The oldest of the acknowledged batches, so many, are committed.
    pub(crate) fn commit(&self, batches: usize) {
        self.state.send_modify(|state| state.commit(batches));
    }

    /// The index can no longer be written.
    pub(crate) fn stick(&self, reason: &str) {
        self.state.send_modify(|state| state.stuck = Some(reason.to_owned()));
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

    /// Waits until all that is acknowledged now is committed, or cannot be.
    async fn caught_up(&self) {
        let mut changes = self.state.subscribe();
        let acknowledged = changes.borrow_and_update().acknowledged();
        // The sender is here, so there is no error.
        let _ = changes.wait_for(|state| state.committed >= acknowledged || state.stuck.is_some()).await;
    }

    /// Errors when the index will stay out of date on one of these tesserae.
    fn check(&self, tesseras: &RangeInclusive<TesseraId>) -> Result<(), ActorError> {
        let state = self.state.borrow();
        match &state.stuck {
            Some(reason) if state.behind.iter().flatten().any(|tessera| tesseras.contains(tessera)) => {
                Err(ActorError::ReadOnly { reason: format!("the index lags behind the log: {reason}") })
            }
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
    pub(crate) fn new(database: &Database, progress: Progress) -> Self {
        Self { pool: database.readers.clone(), progress }
    }

    /// The index with everything that was acknowledged before this was called, or as it is when it cannot be written.
    pub(crate) async fn as_it_is(&self) -> &SqlitePool {
        self.progress.caught_up().await;
        &self.pool
    }

    /// The index with everything that was acknowledged of a tessera before this was called.
    ///
    /// Errors with [`ActorError::ReadOnly`] while that cannot be written.
    pub(crate) async fn about(&self, tessera: TesseraId) -> Result<&SqlitePool, ActorError> {
        self.between(tessera, tessera).await
    }

    /// As [`Readers::about`], of all tesserae whose ids lie between these two.
    pub(crate) async fn between(&self, from: TesseraId, to: TesseraId) -> Result<&SqlitePool, ActorError> {
        let pool = self.as_it_is().await;
        self.progress.check(&(from..=to))?;
        Ok(pool)
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

    fn batch(number: u8) -> Changes {
        let holdings = vec![((AccountId::LOCAL, tessera(number)), None)];
        Changes { holdings, ..Changes::default() }
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
        assert!(early.now_or_never().is_some(), "the second batch came after it");
        assert!(progress.caught_up().now_or_never().is_none());
        progress.commit(1);
        assert!(progress.caught_up().now_or_never().is_some());
    }

    #[test]
    fn nobody_waits_for_an_index_that_cannot_be_written() {
        let progress = Progress::new();
        progress.acknowledge(&batch(2));
        progress.stick("no space");
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

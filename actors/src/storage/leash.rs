//! Questions to the index that can be ended before they are answered: one that reads for long keeps SQLite from reusing
//! its write-ahead log, which then grows for as long as others write.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::SqliteConnection;
use tokio::sync::Notify;

use crate::error::ActorError;

/// What ends the question that a connection is asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Leash(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_cut: AtomicBool,
    cut: Notify,
}

/// All questions under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Leashes(Arc<Mutex<Vec<(Instant, Leash)>>>);

/// One of them; it is none any more when this is dropped.
struct UnderWay<'a> {
    leashes: &'a Leashes,
    leash: &'a Leash,
}

impl Leash {
    /// Puts a connection on a leash. Once cut it is of no use for another question.
    pub(super) async fn of(connection: &mut SqliteConnection) -> Result<Self, ActorError> {
        let leash = Self::default();
        let held = leash.clone();
        connection.lock_handle().await?.set_progress_handler(STEPS, move || !held.is_cut());
        Ok(leash)
    }

    /// Whether it was cut: the connection must be closed.
    pub(super) fn is_cut(&self) -> bool {
        self.0.is_cut.load(Ordering::Relaxed)
    }

    fn cut(&self) {
        self.0.is_cut.store(true, Ordering::Relaxed);
        self.0.cut.notify_one();
    }
}

impl Leashes {
    /// Asks, until the leash is cut.
    ///
    /// Errors with [`ActorError::Cut`] then, whatever the question was at.
    pub(super) async fn hold<T>(
        &self,
        leash: &Leash,
        question: impl Future<Output = Result<T, ActorError>>,
    ) -> Result<T, ActorError> {
        self.all().push((Instant::now(), leash.clone()));
        let _under_way = UnderWay { leashes: self, leash };
        let answer = tokio::select! {
            biased;
            answer = question => answer,
            () = leash.0.cut.notified() => Err(ActorError::Cut),
        };
        // SQLite says of what the progress handler ended that it was interrupted.
        if leash.is_cut() { answer.map_err(|_| ActorError::Cut) } else { answer }
    }

    /// Cuts those that are older than this. How many that were.
    pub(super) fn cut(&self, age: Duration) -> usize {
        let all = self.all();
        let old = all.iter().filter(|(since, _)| since.elapsed() > age);
        old.map(|(_, leash)| leash.cut()).count()
    }

    fn all(&self) -> MutexGuard<'_, Vec<(Instant, Leash)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut all = self.leashes.all();
        if let Some(place) = all.iter().position(|(_, leash)| Arc::ptr_eq(&leash.0, &self.leash.0)) {
            all.swap_remove(place);
        }
    }
}

/// SQLite looks at the leash every so many steps of its machine: some ten microseconds.
const STEPS: i32 = 1000;

//! How fast callers bring or take what memory is held for. One that is slow keeps it for as long as nobody else wants it.
//!
//! # Invariants
//! 1. Only the time in which the node waits for the caller counts, never that in which the caller waits for the node.
//! 2. What gives way is the slowest, and only if it was waited for longer than it may be over fewer than [`STEP_BYTES`].

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The pace of one caller.
#[derive(Debug)]
pub(crate) struct Pace {
    /// How long it may be waited for over one step.
    patience: Duration,
    clock: Mutex<Clock>,
    cut: CancellationToken,
}

/// How long the caller was waited for since it last moved [`STEP_BYTES`].
#[derive(Debug, Default)]
struct Clock {
    waited: Duration,
    waiting_since: Option<Instant>,
    bytes: usize,
}

/// Those who hold memory and are waited for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Paces(Arc<Mutex<Vec<Weak<Pace>>>>);

impl Pace {
    /// Waits for the caller. `None` when it has to give way meanwhile.
    pub(crate) async fn wait<T>(&self, caller: impl Future<Output = T>) -> Option<T> {
        self.clock().waiting_since = Some(Instant::now());
        let outcome = tokio::select! {
            biased;
            () = self.cut.cancelled() => None,
            outcome = caller => Some(outcome),
        };
        self.clock().stop(Instant::now());
        outcome
    }

    /// The caller brought or took so many bytes.
    pub(crate) fn moved(&self, bytes: usize) {
        let mut clock = self.clock();
        clock.bytes = clock.bytes.saturating_add(bytes);
        if clock.bytes >= STEP_BYTES {
            *clock = Clock::default();
        }
    }

    fn slowness(&self, now: Instant) -> Duration {
        let clock = self.clock();
        clock.waited + clock.waiting_since.map_or(Duration::ZERO, |since| now.duration_since(since))
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock {
    fn stop(&mut self, now: Instant) {
        let since = self.waiting_since.take();
        self.waited += since.map_or(Duration::ZERO, |since| now.duration_since(since));
    }
}

impl Paces {
    /// One more, that may be waited for so long over one step.
    pub(crate) fn join(&self, patience: Duration) -> Arc<Pace> {
        let pace = Pace { patience, clock: Mutex::default(), cut: CancellationToken::new() };
        let pace = Arc::new(pace);
        let mut all = self.all();
        all.retain(|pace| pace.strong_count() > 0);
        all.push(Arc::downgrade(&pace));
        pace
    }

    /// Makes the slowest give way, if it is slow.
    pub(crate) fn cut_slowest(&self) {
        let now = Instant::now();
        let mut all = self.all();
        let slow = all.iter().enumerate().filter_map(|(at, pace)| Some((pace.upgrade()?, at)));
        let slow = slow.filter_map(|(pace, at)| Some((pace.slowness(now).checked_sub(pace.patience)?, at)));
        let Some((_, at)) = slow.max() else { return };
        if let Some(pace) = all.swap_remove(at).upgrade() {
            pace.cut.cancel();
        }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Weak<Pace>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller that moves so many bytes begins anew.
pub(super) const STEP_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{advance, sleep};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn is_cut(pace: &Pace) -> bool {
        pace.cut.is_cancelled()
    }

    #[tokio::test(start_paused = true)]
    async fn slowest_gives_way_and_only_when_it_is_slow() {
        let paces = Paces::default();
        let (slow, slower) = (paces.join(PATIENCE), paces.join(PATIENCE));
        slower.wait(sleep(PATIENCE / 2)).await.unwrap();
        slow.wait(sleep(PATIENCE / 2)).await.unwrap();
        slower.wait(sleep(PATIENCE / 4)).await.unwrap();
        paces.cut_slowest();
        assert!(!is_cut(&slow) && !is_cut(&slower));
        slow.wait(sleep(PATIENCE / 2)).await.unwrap();
        slower.wait(sleep(PATIENCE / 2)).await.unwrap();
        paces.cut_slowest();
        assert!(!is_cut(&slow) && is_cut(&slower));
        assert!(slower.wait(pending::<()>()).await.is_none());
        paces.cut_slowest();
        assert!(is_cut(&slow));
    }

    #[tokio::test(start_paused = true)]
    async fn caller_that_is_waited_for_gives_way_in_the_midst_of_it() {
        let paces = Paces::default();
        let pace = paces.join(PATIENCE);
        let later = async {
            sleep(PATIENCE).await;
            paces.cut_slowest();
        };
        let (outcome, ()) = tokio::join!(pace.wait(pending::<()>()), later);
        assert_eq!(outcome, None);
    }

    #[tokio::test(start_paused = true)]
    async fn caller_that_waits_for_the_node_or_moves_enough_is_not_slow() {
        let paces = Paces::default();
        let (waits, moves) = (paces.join(PATIENCE), paces.join(PATIENCE));
        advance(PATIENCE * 2).await;
        moves.wait(sleep(PATIENCE * 2)).await.unwrap();
        moves.moved(STEP_BYTES - 1);
        moves.moved(1);
        paces.cut_slowest();
        assert!(!is_cut(&waits) && !is_cut(&moves));
    }
}

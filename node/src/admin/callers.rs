//! Who is connected, and who gives way when all places are taken.
//!
//! # Invariants
//! 1. Whoever has sent no request for [`ASKS_NOTHING`] gives way first, the longest waiting before the others; then
//!    whoever has taken nothing of its answer for [`TAKES_NOTHING`]. Nobody else ever does.
//! 2. A request that begins after its connection was chosen is not begun: nothing is done for nobody.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// All that are connected to one listener.
#[derive(Debug, Clone, Default)]
pub(super) struct Callers(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    next: AtomicU64,
    entries: Mutex<BTreeMap<u64, Entry>>,
    /// Told when one has begun to wait.
    waits: Notify,
}

/// What is known of one of them.
#[derive(Debug)]
struct Entry {
    doing: Doing,
    /// Since when it has taken nothing of what is written.
    blocked: Option<Instant>,
    cut: CancellationToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// It has no request under way since then.
    Waiting(Instant),
    /// It has one.
    Asking,
}

/// One that is connected, until it is dropped.
#[derive(Debug, Clone)]
pub(super) struct Caller(Arc<Place>);

#[derive(Debug)]
struct Place {
    callers: Callers,
    number: u64,
    cut: CancellationToken,
}

/// A request under way, until it is dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Caller);

impl Callers {
    /// One more, that waits.
    pub(super) fn join(&self) -> Caller {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let cut = CancellationToken::new();
        let entry = Entry { doing: Doing::Waiting(Instant::now()), blocked: None, cut: cut.clone() };
        self.entries().insert(number, entry);
        self.0.waits.notify_one();
        Caller(Arc::new(Place { callers: self.clone(), number, cut }))
    }

    /// Cuts the one that gives way; waits until there is one.
    pub(super) async fn cut_one(&self) {
        while !self.try_cut(Instant::now()) {
            // Nobody tells when one has waited for long enough.
            let _ = timeout(LOOK_AGAIN, self.0.waits.notified()).await;
        }
    }

    fn try_cut(&self, now: Instant) -> bool {
        let mut entries = self.entries();
        let entry = gives_way(now, &entries).and_then(|number| entries.remove(&number));
        entry.map(|entry| entry.cut.cancel()).is_some()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caller {
    /// Returns when it has to give way.
    pub(super) async fn cut(&self) {
        self.0.cut.cancelled().await;
    }

    /// It has sent a request. `None` when it had to give way in that moment.
    pub(super) fn asks(&self) -> Option<UnderWay> {
        self.note(|entry| entry.doing = Doing::Asking).map(|()| UnderWay(self.clone()))
    }

    /// Whether it takes what is written.
    pub(super) fn takes(&self, takes: bool) {
        self.note(|entry| match (takes, entry.blocked) {
            (true, _) => entry.blocked = None,
            (false, None) => entry.blocked = Some(Instant::now()),
            (false, Some(_)) => {}
        });
    }

    fn note(&self, change: impl FnOnce(&mut Entry)) -> Option<()> {
        self.0.callers.entries().get_mut(&self.0.number).map(change)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.note(|entry| entry.doing = Doing::Waiting(Instant::now()));
        self.0.0.callers.0.waits.notify_one();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.callers.entries().remove(&self.number);
    }
}

fn gives_way(now: Instant, entries: &BTreeMap<u64, Entry>) -> Option<u64> {
    let waiting = entries.iter().filter_map(|(number, entry)| match entry.doing {
        Doing::Waiting(since) => Some((since, *number)),
        Doing::Asking => None,
    });
    let blocked = entries.iter().filter_map(|(number, entry)| Some((entry.blocked?, *number)));
    let longest = |least: Duration, since: Option<(Instant, u64)>| {
        since.filter(|(since, _)| now.duration_since(*since) >= least).map(|(_, number)| number)
    };
    longest(ASKS_NOTHING, waiting.min()).or_else(|| longest(TAKES_NOTHING, blocked.min()))
}

/// A caller that sent no request for so long may be cut when others wait: one that has just come needs a moment.
const ASKS_NOTHING: Duration = Duration::from_millis(100);
/// A caller that took nothing for so long may be cut when others wait.
const TAKES_NOTHING: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    /// The places in the row of callers, of those that have given way when nobody else does.
    fn cut(callers: &Callers, now: Instant, row: &[&Caller]) -> Vec<usize> {
        while callers.try_cut(now) {}
        (0..row.len()).filter(|at| row[*at].0.cut.is_cancelled()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn longest_waiting_caller_gives_way_first() {
        let callers = Callers::default();
        let (first, second) = (callers.join(), callers.join());
        let asked = first.asks().unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(asked);
        let now = Instant::now();
        assert!(callers.try_cut(now) && !callers.try_cut(now), "the other one has only begun to wait");
        assert!(second.0.cut.is_cancelled() && !first.0.cut.is_cancelled());
        assert!(second.asks().is_none(), "nobody is there for the answer");
        assert!(first.asks().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn caller_with_a_request_under_way_gives_way_only_when_it_takes_nothing_for_long() {
        let callers = Callers::default();
        let [busy, slow, brief] = [(); 3].map(|()| callers.join());
        let _under_way = [&busy, &slow, &brief].map(|caller| caller.asks().unwrap());
        slow.takes(false);
        brief.takes(false);
        tokio::time::advance(TAKES_NOTHING / 2).await;
        brief.takes(true);
        brief.takes(false);
        slow.takes(false);
        let row = [&busy, &slow, &brief];
        assert_eq!(cut(&callers, Instant::now(), &row), [0_usize; 0]);
        assert_eq!(cut(&callers, Instant::now() + TAKES_NOTHING / 2, &row), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn caller_that_left_gives_way_no_more() {
        let callers = Callers::default();
        drop(callers.join());
        assert!(!callers.try_cut(Instant::now() + ASKS_NOTHING));
        let busy = callers.join();
        let asked = busy.asks();
        let (cut, ()) = tokio::join!(callers.cut_one(), async { drop(asked) });
        assert_eq!((cut, busy.0.cut.is_cancelled()), ((), true));
    }
}

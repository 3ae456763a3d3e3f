//! The line to a collector: what waits for it, what was dropped, and whether it takes anything.

use std::{
    fmt::Display,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
    Logs,
}

/// The line.
#[derive(Debug)]
pub(super) struct Line {
    collector: String,
    waiting: [AtomicUsize; Signal::ALL.len()],
    dropped: [AtomicU64; Signal::ALL.len()],
    trouble: Mutex<Trouble>,
}

/// What was said of a collector that takes nothing.
#[derive(Debug, Default)]
struct Trouble {
    said: Option<Instant>,
}

impl Signal {
    /// Each.
    pub(super) const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// Its name, in metrics and in addresses.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

impl Line {
    /// To this collector.
    pub(super) fn new(collector: &str) -> Self {
        Self {
            collector: collector.to_owned(),
            waiting: Default::default(),
            dropped: Default::default(),
            trouble: Mutex::default(),
        }
    }

    /// Whether one more may wait. One that may not is dropped.
    pub(super) fn admits(&self, signal: Signal) -> bool {
        let Some(waiting) = self.waiting.get(signal as usize) else { return false };
        if waiting.fetch_add(1, Ordering::Relaxed) < QUEUED_MAX {
            return true;
        }
        waiting.fetch_sub(1, Ordering::Relaxed);
        self.drop(signal, 1);
        false
    }

    /// So many wait no longer: they were taken, or could not be sent.
    pub(super) fn sent(&self, signal: Signal, items: usize, outcome: Result<(), impl Display>) {
        if let Some(waiting) = self.waiting.get(signal as usize).filter(|_| signal != Signal::Metrics) {
            waiting.fetch_sub(items, Ordering::Relaxed);
        }
        match outcome {
            Ok(()) => self.works(),
            Err(error) => {
                self.drop(signal, items);
                self.fails(&error);
            }
        }
    }

    /// How many were dropped.
    pub(super) fn dropped(&self, signal: Signal) -> u64 {
        self.dropped.get(signal as usize).map_or(0, |dropped| dropped.load(Ordering::Relaxed))
    }

    fn drop(&self, signal: Signal, items: usize) {
        if let Some(dropped) = self.dropped.get(signal as usize) {
            dropped.fetch_add(items as u64, Ordering::Relaxed);
        }
    }

    fn works(&self) {
        if self.trouble.lock().unwrap_or_else(PoisonError::into_inner).ends() {
            tracing::info!(collector = self.collector, "the collector takes what is sent to it again");
        }
    }

    fn fails(&self, error: &impl Display) {
        if self.trouble.lock().unwrap_or_else(PoisonError::into_inner).is_to_be_said(Instant::now()) {
            tracing::warn!(
                collector = self.collector,
                %error,
                "the collector does not take metrics, traces or logs: they are dropped until it does"
            );
        }
    }
}

impl Trouble {
    /// Whether to say it now.
    fn is_to_be_said(&mut self, now: Instant) -> bool {
        let is_due = self.said.is_none_or(|said| now.saturating_duration_since(said) >= SAY_AGAIN_AFTER);
        if is_due {
            self.said = Some(now);
        }
        is_due
    }

    /// It is over. Whether there was any.
    fn ends(&mut self) -> bool {
        self.said.take().is_some()
    }
}

/// Spans, and lines of the log, that may wait to be sent: about a kilobyte each.
pub(super) const QUEUED_MAX: usize = 2048;
/// Somebody may look at the log only now and then.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_the_queue_full_is_dropped_and_counted() {
        let line = Line::new("http://collector");
        assert_eq!((0..QUEUED_MAX + 7).filter(|_| line.admits(Signal::Logs)).count(), QUEUED_MAX);
        assert_eq!(Signal::ALL.map(|signal| line.dropped(signal)), [0, 0, 7]);
        assert!(line.admits(Signal::Traces), "each has a queue of its own");
        line.sent(Signal::Logs, 2, Ok::<_, String>(()));
        line.sent(Signal::Logs, 3, Err("it is away"));
        assert_eq!((0..QUEUED_MAX).filter(|_| line.admits(Signal::Logs)).count(), 5);
        line.sent(Signal::Metrics, 1, Err("it is away"));
        let dropped = Signal::ALL.map(|signal| line.dropped(signal));
        assert_eq!(dropped, [0, 1, 7 + 3 + QUEUED_MAX as u64 - 5]);
    }

    #[test]
    fn collector_that_is_away_is_said_once_an_hour() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        assert!(!trouble.ends());
        let said: Vec<bool> =
            (0..5).map(|quarter| trouble.is_to_be_said(start + quarter * SAY_AGAIN_AFTER / 4)).collect();
        assert_eq!(said, [true, false, false, false, true]);
        assert!(trouble.ends());
        assert!(trouble.is_to_be_said(start + SAY_AGAIN_AFTER), "another time is news");
    }
}

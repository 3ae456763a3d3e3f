//! Lines in the log that others can cause: at most one in a while for each cause, with how many were passed over. Else
//! whoever is a nuisance fills the log, and hides in it.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// When each cause was last told of.
#[derive(Debug)]
pub(crate) struct Seldom<K> {
    begun: Instant,
    causes: Mutex<Causes<K>>,
}

/// The same, pure: times are since any moment.
#[derive(Debug)]
struct Causes<K>(HashMap<K, Told>);

#[derive(Debug)]
struct Told {
    at: Duration,
    passed_over: u64,
}

impl<K: Eq + Hash> Seldom<K> {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), causes: Mutex::new(Causes(HashMap::new())) }
    }

    /// Something has happened for this cause. How many of its kind were passed over before, if it is time to tell of it.
    pub(crate) fn is_due(&self, cause: K) -> Option<u64> {
        self.causes.lock().unwrap_or_else(PoisonError::into_inner).is_due(cause, self.begun.elapsed())
    }
}

impl<K: Eq + Hash> Causes<K> {
    fn is_due(&mut self, cause: K, now: Duration) -> Option<u64> {
        let is_old = |told: &Told| now.saturating_sub(told.at) >= INTERVAL;
        if let Some(told) = self.0.get_mut(&cause) {
            if !is_old(told) {
                told.passed_over += 1;
                return None;
            }
            let passed_over = told.passed_over;
            *told = Told { at: now, passed_over: 0 };
            return Some(passed_over);
        }
        if self.0.len() >= CAUSES_MAX {
            self.0.retain(|_, told| !is_old(told));
        }
        // Keys cost nothing: however many peers are a nuisance at once, the log is not.
        if self.0.len() >= CAUSES_MAX {
            return None;
        }
        self.0.insert(cause, Told { at: now, passed_over: 0 });
        Some(0)
    }
}

/// How long nothing is told of a cause again.
const INTERVAL: Duration = Duration::from_secs(60);
/// Causes that are told of within that time.
const CAUSES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cause_is_told_of_once_a_minute_with_those_passed_over() {
        let mut causes = Causes(HashMap::new());
        let mut check = |cause, at_secs, expected| {
            assert_eq!(causes.is_due(cause, Duration::from_secs(at_secs)), expected, "{cause} {at_secs}");
        };
        check('a', 5, Some(0));
        check('a', 5, None);
        check('b', 6, Some(0));
        check('a', 64, None);
        check('a', 65, Some(2));
        check('a', 66, None);
        check('a', 500, Some(1));
        check('b', 500, Some(0));
    }

    #[test]
    fn causes_without_end_are_told_of_up_to_a_bound() {
        let mut causes = Causes(HashMap::new());
        let mut told = |at_secs| {
            let all =
                (0..10_000).filter(|cause| causes.is_due(*cause, Duration::from_secs(at_secs)).is_some());
            all.count()
        };
        assert_eq!(told(0), CAUSES_MAX);
        assert_eq!(told(59), 0);
        assert_eq!(told(60), CAUSES_MAX);
    }
}

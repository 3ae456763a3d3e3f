//! When a node may be dialled: pure, with time and chance as arguments. Times are milliseconds since the pool began.
//!
//! Two bounds keep a router alive: a peer that does not answer is left alone for longer each time, and all dials
//! together stay below a budget per minute.

use std::collections::VecDeque;

/// How long a peer that could not be reached is left alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    failures: u32,
    not_before_ms: u64,
}

impl Backoff {
    /// How long it still has to be left alone, in milliseconds.
    pub(super) fn wait_ms(&self, now_ms: u64) -> Option<u64> {
        self.not_before_ms.checked_sub(now_ms).filter(|wait| *wait > 0)
    }

    /// Whether it still says anything: a peer that could be tried again long ago and was not begins anew.
    pub(super) fn is_fresh(&self, now_ms: u64) -> bool {
        now_ms < self.not_before_ms.saturating_add(BACKOFF_MAX_MS)
    }

    /// It could not be reached. `chance` is between 0 and 1: the wait is twice as long each time, and up to half of it
    /// is chance, so that nodes that lost a peer together do not return together.
    pub(super) fn failed(&mut self, now_ms: u64, chance: f64) {
        let doubled = BACKOFF_MIN_MS.checked_shl(self.failures).unwrap_or(BACKOFF_MAX_MS);
        self.failures = (self.failures + 1).min(DOUBLINGS_MAX);
        let whole = doubled.min(BACKOFF_MAX_MS);
        self.not_before_ms = now_ms + whole / 2 + share(whole / 2, chance);
    }
}

/// A share of milliseconds, between none and all of it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a few minutes in milliseconds, times a number between 0 and 1"
)]
fn share(of_ms: u64, chance: f64) -> u64 {
    (of_ms as f64 * chance.clamp(0.0, 1.0)) as u64
}

/// How many dials there may be within any minute.
#[derive(Debug)]
pub(super) struct Budget {
    per_minute: usize,
    /// When the latest were, oldest first.
    dials: VecDeque<u64>,
}

impl Budget {
    /// So many within any minute.
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute: per_minute as usize, dials: VecDeque::new() }
    }

    /// Takes one dial, or says in how many milliseconds there is one.
    pub(super) fn take(&mut self, now_ms: u64) -> Result<(), u64> {
        self.ask(now_ms)?;
        self.dials.push_back(now_ms);
        Ok(())
    }

    /// Whether there is one, or in how many milliseconds there is.
    pub(super) fn ask(&mut self, now_ms: u64) -> Result<(), u64> {
        while self.dials.front().is_some_and(|at| now_ms.saturating_sub(*at) >= MINUTE_MS) {
            self.dials.pop_front();
        }
        match self.dials.front() {
            Some(oldest) if self.dials.len() >= self.per_minute => Err(oldest + MINUTE_MS - now_ms),
            _ if self.per_minute == 0 => Err(MINUTE_MS),
            _ => Ok(()),
        }
    }
}

const MINUTE_MS: u64 = 60_000;
/// The first time.
const BACKOFF_MIN_MS: u64 = 1_000;
/// However often.
const BACKOFF_MAX_MS: u64 = 600_000;
/// More do not change the wait.
const DOUBLINGS_MAX: u32 = 10;
const _: () = assert!(BACKOFF_MIN_MS << DOUBLINGS_MAX >= BACKOFF_MAX_MS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_doubles_up_to_its_bound() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.wait_ms(0), None);
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600] {
            backoff.failed(5, 1.0);
            assert_eq!(backoff.wait_ms(5), Some(expected * 1000));
        }
        assert_eq!(backoff.wait_ms(600_004), Some(1));
        assert_eq!(backoff.wait_ms(600_005), None);
    }

    #[test]
    fn up_to_half_of_the_wait_is_chance() {
        for (chance, expected) in [(0.0, 500), (0.5, 750), (1.0, 1000), (7.0, 1000)] {
            let mut backoff = Backoff::default();
            backoff.failed(0, chance);
            assert_eq!(backoff.wait_ms(0), Some(expected));
        }
    }

    #[test]
    fn budget_holds_within_any_minute() {
        let mut budget = Budget::new(3);
        assert_eq!([0, 10_000, 59_000].map(|at| budget.take(at)), [Ok(()); 3]);
        assert_eq!(budget.take(59_500), Err(500));
        // To ask takes none.
        assert_eq!([budget.ask(59_500), budget.ask(60_000), budget.ask(60_000)], [Err(500), Ok(()), Ok(())]);
        assert_eq!(budget.take(60_000), Ok(()));
        assert_eq!(budget.take(60_001), Err(9_999));
        assert_eq!(Budget::new(0).take(0), Err(60_000));
    }
}

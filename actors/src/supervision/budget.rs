//! How often an actor may be started again.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Bounds on restarts of one actor.
#[derive(Debug, Clone, Copy)]
pub struct RestartBudget {
    /// More restarts than this within the window end the process.
    pub restarts_max: usize,
    /// The window.
    pub window: Duration,
    /// The wait before the second restart within the window; it doubles with each further one. The first is at once.
    pub backoff: Duration,
}

impl Default for RestartBudget {
    fn default() -> Self {
        Self { restarts_max: 5, window: Duration::from_secs(60), backoff: Duration::from_millis(50) }
    }
}

/// Restarts of one actor within the window.
#[derive(Debug, Default)]
pub(crate) struct History(VecDeque<Instant>);

impl History {
    /// The actor fell: how long to wait before it is started again, or `None` when it has fallen too often.
    pub(crate) fn fell(&mut self, now: Instant, budget: &RestartBudget) -> Option<Duration> {
        while self.0.front().is_some_and(|at| now.duration_since(*at) >= budget.window) {
            self.0.pop_front();
        }
        self.not_started(now, budget)
    }

    /// The same when it could not be started. Nothing is forgotten meanwhile: a start may take longer than the window
    /// allows for, and must not be tried for ever.
    pub(crate) fn not_started(&mut self, now: Instant, budget: &RestartBudget) -> Option<Duration> {
        let before = self.0.len();
        if before >= budget.restarts_max {
            return None;
        }
        self.0.push_back(now);
        let doublings = u32::try_from(before).unwrap_or(u32::MAX).saturating_sub(1).min(DOUBLINGS_MAX);
        Some(if before == 0 { Duration::ZERO } else { budget.backoff * 2_u32.pow(doublings) })
    }
}

const DOUBLINGS_MAX: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_restart_is_at_once_and_later_ones_wait_longer() {
        let budget = RestartBudget::default();
        let start = Instant::now();
        let mut history = History::default();
        let waits: Vec<_> = (0..6).map(|_| history.fell(start, &budget)).collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(waits, [ms(0), ms(50), ms(100), ms(200), ms(400), None]);
    }

    #[test]
    fn starts_that_fail_slowly_are_bounded_too() {
        let budget = RestartBudget { restarts_max: 3, ..RestartBudget::default() };
        let start = Instant::now();
        let mut history = History::default();
        assert!(history.fell(start, &budget).is_some());
        let waits: Vec<_> =
            (1..4).map(|minute| history.not_started(start + budget.window * minute, &budget)).collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(waits, [ms(50), ms(100), None]);
        assert_eq!(history.fell(start + budget.window * 5, &budget), ms(0), "it ran a whole window long");
    }

    #[test]
    fn restarts_before_the_window_are_forgotten() {
        let budget = RestartBudget { restarts_max: 1, ..RestartBudget::default() };
        let start = Instant::now();
        let mut history = History::default();
        assert!(history.fell(start, &budget).is_some());
        assert!(history.fell(start + Duration::from_secs(59), &budget).is_none());
        assert_eq!(history.fell(start + Duration::from_secs(60), &budget), Some(Duration::ZERO));
    }
}

//! How often a peer may break the protocol: pure, with the time as an argument. Times are milliseconds since the pool
//! began.

use super::limits::{STRIKE_FORGIVEN_MS, STRIKES_MAX};

/// What a peer has done wrong lately. A connection may last for months, and whoever breaks off a request now and then is
/// no enemy, so each is forgiven after a while.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Strikes {
    count: u32,
    /// When the last one was forgiven, or came when there was none.
    since_ms: u64,
}

impl Strikes {
    /// One more. Whether it was one too many.
    pub(super) fn strike(&mut self, now_ms: u64) -> bool {
        let forgiven = now_ms.saturating_sub(self.since_ms) / STRIKE_FORGIVEN_MS;
        self.count = self.count.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX));
        self.since_ms = match self.count {
            0 => now_ms,
            _ => self.since_ms.saturating_add(forgiven.saturating_mul(STRIKE_FORGIVEN_MS)),
        };
        self.count = self.count.saturating_add(1);
        self.count >= STRIKES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_strikes_at_once_are_too_many() {
        let mut strikes = Strikes::default();
        let outcomes: Vec<_> = (0..STRIKES_MAX).map(|_| strikes.strike(5)).collect();
        let first = outcomes.iter().position(|is_too_many| *is_too_many);
        assert_eq!(first, Some(STRIKES_MAX as usize - 1));
    }

    #[test]
    fn strikes_are_forgiven_one_at_a_time() {
        let mut strikes = Strikes::default();
        // As fast as they are forgiven: never too many.
        assert!((0..1000).all(|number| !strikes.strike(number * STRIKE_FORGIVEN_MS)));
        // Twice as fast: at some time they are.
        assert!((0..1000).any(|number| strikes.strike(number * STRIKE_FORGIVEN_MS / 2)));
    }
}

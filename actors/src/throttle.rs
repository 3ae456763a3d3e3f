//! How fast bytes go out to other nodes and come in, all of them together: `network.upload` and `network.download`.
//!
//! Transfers are lined up: each begins when those before it would have ended at the configured rate, and goes at full
//! speed then. A fragment is at most 1 MiB, so the line moves on in small steps.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use config::NetworkConfig;

/// Both directions.
#[derive(Debug)]
pub(crate) struct Throttles {
    pub(crate) upload: Throttle,
    pub(crate) download: Throttle,
}

/// One direction.
#[derive(Debug)]
pub(crate) struct Throttle {
    begun: Instant,
    /// `None` for as fast as it goes.
    line: Option<Mutex<Line>>,
}

/// Who goes when. Pure: times are since any moment.
#[derive(Debug)]
struct Line {
    bytes_per_second: u64,
    /// When the last one would have ended.
    free_at: Duration,
}

impl Throttles {
    pub(crate) fn new(config: &NetworkConfig) -> Self {
        Self { upload: Throttle::new(config.upload), download: Throttle::new(config.download) }
    }
}

impl Throttle {
    fn new(bytes_per_second: Option<u64>) -> Self {
        let line = bytes_per_second
            .map(|rate| Mutex::new(Line { bytes_per_second: rate.max(1), free_at: Duration::ZERO }));
        Self { begun: Instant::now(), line }
    }

    /// Waits until so many bytes may go. Whoever would have to wait for longer than `patience` is told how long, and is
    /// not in the line.
    pub(crate) async fn pass(&self, bytes: usize, patience: Duration) -> Result<(), Duration> {
        let Some(line) = &self.line else { return Ok(()) };
        let now = self.begun.elapsed();
        let wait = line.lock().unwrap_or_else(PoisonError::into_inner).join(now, bytes as u64, patience)?;
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

impl Line {
    /// How long until it is this one's turn.
    fn join(&mut self, now: Duration, bytes: u64, patience: Duration) -> Result<Duration, Duration> {
        let turn = self.free_at.max(now);
        let wait = turn.saturating_sub(now);
        if wait > patience {
            return Err(wait);
        }
        let nanos = bytes.saturating_mul(NANOS_PER_SECOND) / self.bytes_per_second;
        self.free_at = turn + Duration::from_nanos(nanos);
        Ok(wait)
    }
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_go_one_after_the_other_at_the_configured_rate() {
        let ms = Duration::from_millis;
        let mut line = Line { bytes_per_second: 1000, free_at: Duration::ZERO };
        let mut join = |now, bytes| line.join(ms(now), bytes, ms(2000));
        assert_eq!(join(0, 500), Ok(ms(0)));
        assert_eq!(join(0, 1000), Ok(ms(500)));
        assert_eq!(join(100, 1000), Ok(ms(1400)));
        // Too long a line is not joined.
        assert_eq!(join(100, 1), Err(ms(2400)));
        assert_eq!(join(500, 1), Ok(ms(2000)));
        // Time in which nobody came is not saved up.
        assert_eq!(join(10_000, 1000), Ok(ms(0)));
        assert_eq!(join(10_000, 1000), Ok(ms(1000)));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nobody_waits() {
        let throttle = Throttle::new(None);
        let begun = tokio::time::Instant::now();
        for _ in 0..1000 {
            throttle.pass(1 << 20, Duration::ZERO).await.unwrap();
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}

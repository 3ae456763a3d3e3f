//! How fast verifying may go. Pure: the time is an argument.

use std::time::{Duration, Instant};

/// Keeps the rate over a burst: it reads as fast as it can, then nothing until that much may have been read. A disk
/// that is kept busy a little all the time never rests.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Option<u64>,
    /// When the burst under way began.
    began: Option<Instant>,
    read: u64,
    /// What the device gives in about [`PIECE_TIME`], as the pieces until now show it.
    piece: u64,
}

impl Pace {
    /// At most so many bytes a second; `None` for as fast as it goes.
    pub(super) fn new(rate: Option<u64>) -> Self {
        Self { rate, began: None, read: 0, piece: PIECE_BYTES_FIRST }
    }

    /// How many bytes the next piece may have, with others around or not.
    pub(super) fn piece_bytes(&self, has_company: bool) -> u64 {
        let left = self.rate.map_or(u64::MAX, |rate| (rate * BURST_SECS).saturating_sub(self.read));
        left.clamp(PIECE_BYTES_MIN, if has_company { PIECE_BYTES_SHARED } else { self.piece })
    }

    /// So many bytes were read from `since` until now: how long the disk rests before the next piece.
    pub(super) fn rest(&mut self, since: Instant, now: Instant, bytes: u64) -> Duration {
        let began = *self.began.get_or_insert(since);
        self.read += bytes;
        let took = now.saturating_duration_since(since);
        if took > PIECE_TIME && bytes > 0 {
            self.piece = (self.piece / 2).max(PIECE_BYTES_SHARED);
        } else if bytes >= self.piece && took * 2 < PIECE_TIME {
            self.piece = (self.piece * 2).min(PIECE_BYTES_MAX);
        }
        match self.rate {
            Some(rate) if self.read >= rate * BURST_SECS => {
                let until = began + Duration::from_secs_f64(as_f64(self.read) / as_f64(rate));
                (self.began, self.read) = (None, 0);
                until.saturating_duration_since(now)
            }
            _ => Duration::ZERO,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

/// The rate holds on average over this.
const BURST_SECS: u64 = 60;
/// Whoever comes meanwhile waits for about so long at most, or for a small piece: of smaller ones there would be too many.
const PIECE_TIME: Duration = Duration::from_millis(40);
const PIECE_BYTES_FIRST: u64 = 4 << 20;
const PIECE_BYTES_MAX: u64 = 64 << 20;
/// With others around: they wait for a millisecond where the device is fast.
const PIECE_BYTES_SHARED: u64 = 1 << 20;
const PIECE_BYTES_MIN: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// The most that is read in any minute when the disk gives a piece in so many milliseconds.
    fn most_in_a_minute(rate: u64, ms_per_piece: u64) -> u64 {
        let start = Instant::now();
        let mut pace = Pace::new(Some(rate));
        let (mut now, mut reads) = (start, Vec::new());
        while now < start + Duration::from_secs(180) {
            let bytes = pace.piece_bytes(false);
            let since = now;
            now += Duration::from_millis(ms_per_piece);
            reads.push((now, bytes));
            now += pace.rest(since, now, bytes);
        }
        let total: u64 = reads.iter().map(|(_, bytes)| bytes).sum();
        assert!(total <= rate * 240, "{total} in three minutes at {rate}");
        assert!(ms_per_piece > 100 || total >= rate * 120, "{total} in three minutes at {rate}");
        let minute = |from: Instant| {
            let inside = reads.iter().filter(|(at, _)| (from..from + Duration::from_secs(60)).contains(at));
            inside.map(|(_, bytes)| bytes).sum::<u64>()
        };
        reads.iter().map(|(at, _)| minute(*at)).max().unwrap()
    }

    #[test]
    fn rate_is_never_exceeded_by_more_than_a_burst() {
        for rate in [64 << 10, 2 * MIB, 100 * MIB] {
            for ms_per_piece in [1, 10, 3000] {
                let most = most_in_a_minute(rate, ms_per_piece);
                assert!(most <= 2 * (rate * BURST_SECS + PIECE_BYTES_MAX), "{most} at {rate}");
            }
        }
    }

    #[test]
    fn disk_rests_between_bursts() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(MIB));
        let at = |ms| start + Duration::from_millis(ms);
        for piece in 0..14 {
            assert_eq!(pace.rest(at(piece * 10), at(piece * 10 + 10), 4 * MIB), Duration::ZERO);
        }
        assert_eq!(pace.rest(at(140), at(150), 4 * MIB), Duration::from_millis(59_850));
        assert_eq!(pace.rest(at(60_000), at(60_010), 4 * MIB), Duration::ZERO);
    }

    #[test]
    fn without_a_rate_there_is_no_rest() {
        let now = Instant::now();
        let mut pace = Pace::new(None);
        assert_eq!(pace.rest(now, now, u64::MAX / 2), Duration::ZERO);
        assert_eq!(pace.piece_bytes(true), PIECE_BYTES_SHARED);
    }

    #[test]
    fn piece_takes_a_moment_or_is_small() {
        for (mib_per_second, expected_mib) in [(1, 1), (40, 1), (150, 4), (1000, 32), (3000, 64), (9000, 64)]
        {
            let (mut pace, mut now) = (Pace::new(None), Instant::now());
            let mut piece = |pace: &mut Pace, bytes: u64| {
                let since = now;
                now += Duration::from_micros(bytes * 1_000_000 / (mib_per_second * MIB));
                pace.rest(since, now, bytes);
            };
            for _ in 0..10 {
                let bytes = pace.piece_bytes(false);
                piece(&mut pace, bytes);
            }
            assert_eq!(pace.piece_bytes(false), expected_mib * MIB, "{mib_per_second} MiB/s");
            piece(&mut pace, 100);
            assert_eq!(pace.piece_bytes(false), expected_mib * MIB, "the end of a segment says nothing");
        }
    }
}

//! Whether puts and gets suffer from verifying, and how long it then leaves them alone. Pure.

use std::time::{Duration, Instant};

use crate::storage::Beats;

/// How long puts and gets take, beside verifying and without it.
#[derive(Debug, Default)]
pub(super) struct Strain {
    /// When somebody last put or got something.
    company_at: Option<Instant>,
    resting: Beats,
    working: Beats,
    /// How often in a row it gave way.
    gave_way: u32,
}

impl Strain {
    /// These were counted while nothing was verified.
    pub(super) fn rested(&mut self, beats: &Beats) {
        self.resting = if beats.count() >= BEATS_MIN { beats.clone() } else { self.resting.and(beats) };
    }

    /// These were counted while something was. Returns for how long to give way, if they took twice as long.
    pub(super) fn worked(&mut self, beats: &Beats) -> Option<Duration> {
        if self.resting.count() < BEATS_MIN {
            return None;
        }
        self.working = self.working.and(beats);
        if self.working.count() < BEATS_MIN {
            return None;
        }
        let suffers = self.working.p99() > self.resting.p99().map(|resting| resting * 2);
        self.working = Beats::default();
        if !suffers {
            self.gave_way = 0;
            return None;
        }
        let wait = WAIT_FIRST * 2_u32.pow(self.gave_way.min(DOUBLINGS_MAX));
        self.gave_way += 1;
        Some(wait)
    }

    /// These were counted until now.
    pub(super) fn note_company(&mut self, now: Instant, beats: &Beats) {
        if beats.count() > 0 {
            self.company_at = Some(now);
        }
    }

    /// Whether anybody puts or gets anything at this time.
    pub(super) fn has_company(&self, now: Instant) -> bool {
        self.company_at.is_some_and(|at| now.saturating_duration_since(at) < COMPANY_FOR)
    }

    /// How long the disk is left to others after a piece that took so long until now.
    pub(super) fn courtesy(&self, now: Instant, took: Duration) -> Duration {
        if self.has_company(now) { (took * COURTESY).min(COURTESY_MAX) } else { Duration::ZERO }
    }
}

/// Who asks now and then does so again.
const COMPANY_FOR: Duration = Duration::from_secs(1);
/// While others ask, a twentieth of the time is spent on verifying.
const COURTESY: u32 = 19;
/// A slow disk must be read at some rate all the same.
const COURTESY_MAX: Duration = Duration::from_millis(100);
/// Fewer say nothing of one in a hundred.
const BEATS_MIN: u64 = 100;
const WAIT_FIRST: Duration = Duration::from_secs(1);
/// The longest wait is 32 s.
const DOUBLINGS_MAX: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::beats;

    fn all(ms: u64) -> Beats {
        beats(std::iter::repeat_n(Duration::from_millis(ms), 100))
    }

    #[test]
    fn it_gives_way_for_longer_and_longer_while_requests_take_twice_as_long() {
        let mut strain = Strain::default();
        assert_eq!(strain.worked(&all(100)), None, "nothing is known to compare with");
        strain.rested(&all(10));
        assert_eq!(strain.worked(&all(15)), None);
        let waits: Vec<_> = (0..8).map(|_| strain.worked(&all(30)).unwrap().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 32, 32]);
        assert_eq!(strain.worked(&all(10)), None);
        assert_eq!(strain.worked(&all(30)).unwrap().as_secs(), 1);
    }

    #[test]
    fn others_get_nearly_all_of_the_time() {
        let (ms, now) = (Duration::from_millis, Instant::now());
        let mut strain = Strain::default();
        strain.note_company(now, &Beats::default());
        assert_eq!(strain.courtesy(now, ms(2)), Duration::ZERO);
        strain.note_company(now, &beats([ms(1)]));
        assert_eq!(strain.courtesy(now, ms(2)), ms(38));
        assert_eq!(strain.courtesy(now, ms(500)), ms(100));
        assert_eq!(strain.courtesy(now + ms(1000), ms(2)), Duration::ZERO);
    }

    #[test]
    fn a_few_requests_are_no_reason() {
        let mut strain = Strain::default();
        strain.rested(&all(10));
        let few = beats([Duration::from_secs(5); 60]);
        assert_eq!(strain.worked(&few), None);
        assert!(strain.worked(&few).is_some(), "more and more are");
    }

    #[test]
    fn what_is_normal_is_learned_anew() {
        let mut strain = Strain::default();
        strain.rested(&all(10));
        strain.rested(&all(30));
        assert_eq!(strain.worked(&all(40)), None);
    }
}

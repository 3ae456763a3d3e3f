//! How far a scrub that somebody waits for has come: how much is read, how fast, and how long the rest takes. Pure.

use std::time::Duration;

use crate::{
    api::{Mode, Scrub},
    human,
};

/// What was read while it was waited for. What was read before counts for nothing: it says nothing of how fast it goes.
#[derive(Debug)]
pub(super) struct Course {
    /// What was asked for, in bytes.
    total: u64,
    /// What the daemon had counted when it was looked at last, in bytes.
    counted: u64,
    /// Bytes read since the first look.
    read: u64,
    /// How long it could read since then.
    reading: Duration,
}

impl Course {
    /// It has just been asked for.
    pub(super) fn new(scrub: &Scrub) -> Self {
        Self { total: scrub.asked_bytes, counted: scrub.verified_bytes, read: 0, reading: Duration::ZERO }
    }

    /// It was asked for anew.
    pub(super) fn begins_anew(&mut self, scrub: &Scrub) {
        (self.total, self.counted) = (scrub.asked_bytes, scrub.verified_bytes);
    }

    /// It is looked at, so long after the last time.
    pub(super) fn goes_on(&mut self, scrub: &Scrub, after: Duration) {
        // A count that is smaller than before began anew.
        self.read += scrub.verified_bytes.checked_sub(self.counted).unwrap_or(scrub.verified_bytes);
        self.counted = scrub.verified_bytes;
        if !waits(scrub) {
            self.reading += after;
        }
    }

    /// How much of it is done, of how much.
    pub(super) fn done(&self, scrub: &Scrub) -> (u64, u64) {
        (self.total.saturating_sub(left(scrub)), self.total)
    }

    /// How it stands, in a sentence; what counts most comes first, where a narrow terminal shows it.
    pub(super) fn sentence(&self, scrub: &Scrub) -> String {
        let (done, total) = self.done(scrub);
        let done = format!("{} of {}", human::bytes(done), human::bytes(total));
        // It reads in bursts, and then rests for as long as the rate wants.
        let rate = self.rate().map(|rate| rate.min(scrub.rate.unwrap_or(u64::MAX)));
        match rate.filter(|_| !waits(scrub)) {
            None => format!("{done}: {}", doing(scrub)),
            Some(rate) => {
                let rest = human::span(left(scrub).div_ceil(rate));
                format!("{done}, {}/s, {rest} left: {}", human::bytes(rate), doing(scrub))
            }
        }
    }

    /// In bytes a second; `None` when that cannot be said yet.
    fn rate(&self) -> Option<u64> {
        let ms = u64::try_from(self.reading.as_millis()).ok().filter(|ms| *ms >= RATE_AFTER_MS)?;
        Some(self.read.saturating_mul(1000) / ms).filter(|rate| *rate > 0)
    }
}

/// Whether nothing is read until some hour.
pub(super) fn waits(scrub: &Scrub) -> bool {
    matches!(scrub.mode, Mode::QuietHours | Mode::Paused)
}

/// What it does, and until when if it waits.
pub(super) fn doing(scrub: &Scrub) -> String {
    let what = match scrub.mode {
        Mode::Idle | Mode::Verifying => "verifying",
        Mode::Resting => "resting, as the rate wants",
        Mode::GivingWay => "giving way to others",
        Mode::QuietHours => "waiting for the end of the quiet hours",
        Mode::Paused => "paused",
        Mode::Failing => "waiting to try again",
    };
    match (scrub.paused_for_ms, scrub.quiet_for_ms) {
        (Some(ms), _) => format!("{what} for {}", human::span(ms / 1000)),
        (None, Some(ms)) => format!("{what} in {}", human::span(ms / 1000)),
        (None, None) => what.to_owned(),
    }
}

/// What is still to be read.
fn left(scrub: &Scrub) -> u64 {
    scrub.asked_bytes.saturating_sub(scrub.position.unwrap_or(0))
}

/// Before this, a rate says nothing.
const RATE_AFTER_MS: u64 = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn scrub(asked: u64, position: u64, verified: u64) -> Scrub {
        let json = serde_json::json!({
            "mode": "verifying", "asked_bytes": asked * MIB, "position": position * MIB,
            "verified_bytes": verified * MIB, "bytes": 0, "oldest_age_ms": 0, "overdue_bytes": 0, "within_ms": 1,
            "takes_ms": 0, "late_ms": 0, "damaged_fragments": 0, "damaged_documents": 0, "mended_records": 0,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn rate_and_time_left_are_of_what_is_read_while_it_is_waited_for() {
        let mut course = Course::new(&scrub(1000, 400, 5000));
        let at_once = scrub(1000, 400, 5000);
        course.goes_on(&at_once, Duration::from_millis(200));
        assert_eq!(course.sentence(&at_once), "400.00 MiB of 1000.00 MiB: verifying");
        let later = scrub(1000, 420, 5020);
        course.goes_on(&later, Duration::from_millis(9800));
        let says = "420.00 MiB of 1000.00 MiB, 2.00 MiB/s, 5 minutes left: verifying";
        assert_eq!(course.sentence(&later), says);
        let limited = Scrub { rate: Some(MIB), ..scrub(1000, 420, 5020) };
        assert!(course.sentence(&limited).contains("1.00 MiB/s, 10 minutes left"), "a burst is no rate");
        // The daemon was started again, and counts anew.
        let anew = scrub(1000, 20, 20);
        course.begins_anew(&scrub(1000, 0, 0));
        course.goes_on(&anew, Duration::from_secs(10));
        assert!(
            course.sentence(&anew).contains("20.00 MiB of 1000.00 MiB, 2.00 MiB/s"),
            "{}",
            course.sentence(&anew)
        );
    }

    #[test]
    fn wait_for_an_hour_says_until_when_and_slows_nothing() {
        let mut course = Course::new(&scrub(100, 0, 0));
        course.goes_on(&scrub(100, 20, 20), Duration::from_secs(10));
        let quiet = Scrub { mode: Mode::QuietHours, quiet_for_ms: Some(3 * 3_600_000), ..scrub(100, 20, 20) };
        course.goes_on(&quiet, Duration::from_secs(3000));
        let says = "20.00 MiB of 100.00 MiB: waiting for the end of the quiet hours in 3 hours";
        assert_eq!(course.sentence(&quiet), says);
        let paused = Scrub { mode: Mode::Paused, paused_for_ms: Some(7_200_000), ..quiet };
        assert!(course.sentence(&paused).ends_with(": paused for 2 hours"), "{}", course.sentence(&paused));
        let on = scrub(100, 40, 40);
        course.goes_on(&on, Duration::from_secs(10));
        assert!(course.sentence(&on).contains("2.00 MiB/s, 30 seconds left"), "{}", course.sentence(&on));
    }
}

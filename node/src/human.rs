//! Numbers as people read them.

use std::{path::Path, time::Duration};

use indicatif::{HumanBytes, HumanDuration};
use proto::manifest::Visibility;

use crate::{api::State, clock::now_ms};

/// A number of bytes: `1.50 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// A span of time: `3 hours`.
pub(crate) fn span(seconds: u64) -> String {
    if seconds == 0 {
        return "less than a second".to_owned();
    }
    // Four weeks are not thirty days.
    match (seconds + DAY_SECS / 2) / DAY_SECS {
        days @ DAYS_MIN..=DAYS_MAX => format!("{days} days"),
        _ => HumanDuration(Duration::from_secs(seconds)).to_string(),
    }
}

/// A span that so many milliseconds surely lie within: `9 days`. Never rounded down, as [`span`] is.
pub(crate) fn at_most(ms: u64) -> String {
    let minutes = ms.div_ceil(MINUTE_MS).max(1);
    match (minutes, minutes.div_ceil(60)) {
        (..=119, _) => count(minutes, "minute", "minutes"),
        (_, ..=48) => format!("{} hours", minutes.div_ceil(60)),
        (_, hours) => format!("{} days", hours.div_ceil(24)),
    }
}

/// A wait that is over within so long: `1 second`. Seconds count where the shortest last half of one.
pub(crate) fn wait(ms: u64) -> String {
    match ms.div_ceil(SECOND_MS).max(1) {
        seconds @ ..=119 => count(seconds, "second", "seconds"),
        _ => at_most(ms),
    }
}

/// The same as [`at_most`] for what came before now: `the last 9 days`, `the last minute`.
pub(crate) fn the_last(ms: u64) -> String {
    let span = at_most(ms);
    format!("the last {}", span.strip_prefix("1 ").unwrap_or(&span))
}

/// A short span, in microseconds: `850 µs`, `23 ms`, `1.2 s`.
pub(crate) fn short_span(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", us / 1_000),
        _ => format!("{}.{} s", us / 1_000_000, us / 100_000 % 10),
    }
}

/// So many of something: `1 fragment`, `2 fragments`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// So many fragments.
pub(crate) fn fragments(number: u64) -> String {
    count(number, "fragment", "fragments")
}

/// How long ago that was: `3 hours ago`.
pub(crate) fn ago(ms: i64) -> String {
    format!("{} ago", span(now_ms().saturating_sub(u64::try_from(ms).unwrap_or(0)) / 1000))
}

/// The day, in UTC: `2026-11-22`.
pub(crate) fn date(ms: u64) -> String {
    actors::archive::date(ms)
}

/// The moment, in UTC: `2026-11-22 18:05:00 UTC`.
pub(crate) fn moment(ms: u64) -> String {
    format!("{} {} UTC", date(ms), time_of_day(ms))
}

/// The time of the day, in UTC: `18:05:00`.
pub(crate) fn time_of_day(ms: u64) -> String {
    let seconds = ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A path for a shell to read.
pub(crate) fn quoted(path: impl AsRef<Path>) -> String {
    let text = path.as_ref().display().to_string();
    let plain = |letter: char| letter.is_alphanumeric() || "/._-+:@".contains(letter);
    if text.chars().all(plain) && !text.is_empty() {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Whether the bytes of a fragment are there, in a word.
pub(crate) fn state(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Suspect => "suspect",
        State::Missing => "missing",
        State::Newer => "newer",
    }
}

/// Who may read it, in a word.
pub(crate) fn visibility(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Private => "private",
        Visibility::Public => "public",
    }
}

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60_000;
const DAY_SECS: u64 = 86_400;
/// Spans from here to there are told in days.
const DAYS_MIN: u64 = 3;
const DAYS_MAX: u64 = 99;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_something_is_no_plural_and_no_time_is_no_number() {
        assert_eq!((fragments(1), fragments(2)), ("1 fragment".to_owned(), "2 fragments".to_owned()));
        assert_eq!((span(0), span(1)), ("less than a second".to_owned(), "1 second".to_owned()));
        let days = |days: u64| span(days * DAY_SECS);
        assert_eq!(
            (days(2), days(30), days(800)),
            ("2 days".to_owned(), "30 days".to_owned(), "2 years".to_owned())
        );
    }

    #[test]
    fn short_span_has_the_unit_that_fits() {
        let check = |us, expected: &str| assert_eq!(short_span(us), expected);
        check(0, "0 µs");
        check(999, "999 µs");
        check(23_400, "23 ms");
        check(999_999, "999 ms");
        check(1_250_000, "1.2 s");
    }

    #[test]
    fn time_of_day_is_in_utc() {
        assert_eq!((time_of_day(0), time_of_day(86_399_999)), ("00:00:00".to_owned(), "23:59:59".to_owned()));
    }

    #[test]
    fn path_in_a_remedy_can_be_pasted_into_a_shell() {
        assert_eq!(quoted("/var/lib/tesseras"), "/var/lib/tesseras");
        assert_eq!(quoted("/tmp/it's mine"), r"'/tmp/it'\''s mine'");
    }

    #[test]
    fn wait_is_told_in_seconds_until_it_is_two_minutes() {
        let check = |ms, expected: &str| assert_eq!(wait(ms), expected);
        check(0, "1 second");
        check(541, "1 second");
        check(1_001, "2 seconds");
        check(119_000, "119 seconds");
        check(119_001, "2 minutes");
        check(600_000, "10 minutes");
    }

    #[test]
    fn span_is_never_shorter_than_the_age() {
        let minutes = |minutes: u64| at_most(minutes * MINUTE_MS);
        assert_eq!((at_most(0), at_most(MINUTE_MS + 1)), ("1 minute".to_owned(), "2 minutes".to_owned()));
        assert_eq!((minutes(119), minutes(121)), ("119 minutes".to_owned(), "3 hours".to_owned()));
        assert_eq!((minutes(48 * 60), minutes(48 * 60 + 1)), ("48 hours".to_owned(), "3 days".to_owned()));
        assert_eq!(
            (the_last(0), the_last(60 * MINUTE_MS)),
            ("the last minute".to_owned(), "the last 60 minutes".to_owned())
        );
        assert_eq!(at_most(9 * 1440 * MINUTE_MS + 1), "10 days");
    }
}

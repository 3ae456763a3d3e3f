//! When a file was last changed, to the nanosecond, as file systems and tar's pax records know it.

use std::{
    fmt, fs,
    os::unix::fs::MetadataExt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Seconds since 1970 (negative before) and nanoseconds, which always count forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Mtime {
    seconds: i64,
    nanos: u32,
}

impl Mtime {
    /// Whole seconds since 1970. `None` when no calendar reaches that far.
    pub(crate) fn from_seconds(seconds: i64) -> Option<Self> {
        Self::new(seconds, 0)
    }

    /// Milliseconds since 1970, cut to whole seconds.
    pub(crate) fn from_ms(ms: u64) -> Self {
        let seconds = i64::try_from(ms / 1000).unwrap_or(SECONDS_MAX).min(SECONDS_MAX);
        Self { seconds, nanos: 0 }
    }

    /// The decimal number of a pax record: `1700000000.25`, `-1.5`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() || ![whole, fraction].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()))
        {
            return None;
        }
        let seconds: i64 = whole.parse().ok()?;
        let nanos: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
        match (negative, nanos) {
            (false, _) => Self::new(seconds, nanos),
            (true, 0) => Self::new(-seconds, 0),
            (true, _) => Self::new(-seconds - 1, NANOS_PER_SECOND - nanos),
        }
    }

    /// The seconds, when there is nothing beside them.
    pub(crate) fn whole_seconds(self) -> Option<i64> {
        (self.nanos == 0).then_some(self.seconds)
    }

    /// The same moment for the operating system.
    pub(crate) fn to_system(self) -> SystemTime {
        let seconds = Duration::from_secs(self.seconds.unsigned_abs());
        let nanos = Duration::from_nanos(u64::from(self.nanos));
        // Within `SECONDS_MAX` neither sum can overflow.
        if self.seconds < 0 { UNIX_EPOCH - seconds + nanos } else { UNIX_EPOCH + seconds + nanos }
    }

    fn new(seconds: i64, nanos: u32) -> Option<Self> {
        (seconds.unsigned_abs() <= SECONDS_MAX.unsigned_abs()).then_some(Self { seconds, nanos })
    }
}

impl From<&fs::Metadata> for Mtime {
    fn from(stat: &fs::Metadata) -> Self {
        let nanos = u32::try_from(stat.mtime_nsec()).unwrap_or(0);
        Self { seconds: stat.mtime().clamp(-SECONDS_MAX, SECONDS_MAX), nanos }
    }
}

impl fmt::Display for Mtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, seconds, nanos) = match (self.seconds < 0, self.nanos) {
            (false, nanos) => ("", self.seconds, nanos),
            (true, 0) => ("-", -self.seconds, 0),
            (true, nanos) => ("-", -(self.seconds + 1), NANOS_PER_SECOND - nanos),
        };
        write!(f, "{sign}{seconds}")?;
        if nanos == 0 {
            return Ok(());
        }
        write!(f, ".{}", format!("{nanos:09}").trim_end_matches('0'))
    }
}

/// About 30,000 years each way: more than any file system keeps, and far from every overflow.
const SECONDS_MAX: i64 = 1 << 40;
const NANOS_PER_SECOND: u32 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mtime_written_and_read_is_the_same() {
        for text in ["0", "1700000000", "1700000000.000000001", "1.5", "-1", "-1.5", "-0.25", "-2.999999999"]
        {
            let time = Mtime::parse(text).unwrap();
            assert_eq!(time.to_string(), text);
        }
    }

    #[test]
    fn mtime_given_to_a_file_is_the_one_read_from_it() {
        let file = tempfile::tempfile().unwrap();
        for text in ["0", "1700000000.123456789", "-1.5", "-86400"] {
            let time = Mtime::parse(text).unwrap();
            file.set_modified(time.to_system()).unwrap();
            assert_eq!(Mtime::from(&file.metadata().unwrap()), time, "{text}");
        }
    }

    #[test]
    fn mtime_before_1970_counts_its_nanoseconds_forwards() {
        assert_eq!(Mtime::parse("-1.5"), Some(Mtime { seconds: -2, nanos: 500_000_000 }));
    }

    #[test]
    fn mtime_that_is_no_decimal_number_is_refused() {
        for text in ["", "-", ".5", "1e9", "+1", "1.x", "1 ", "99999999999999999999", "9999999999999"] {
            assert_eq!(Mtime::parse(text), None, "{text}");
        }
    }

    #[test]
    fn mtime_finer_than_a_nanosecond_is_cut() {
        assert_eq!(Mtime::parse("1.1234567899"), Mtime::parse("1.123456789"));
    }
}

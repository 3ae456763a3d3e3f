//! Byte ranges (RFC 9110, section 14): one range, which is what players and resumed downloads ask for. Several at once
//! are answered with the whole, as the RFC allows.

/// Which bytes to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of them: nothing else was asked for, or something that may be ignored.
    All,
    /// From the first to the last, both included.
    Part(u64, u64),
    /// None: what was asked for lies behind the end.
    Nothing,
}

/// Reads a `Range` field for something of this length.
pub(super) fn wanted(field: Option<&str>, length: u64) -> Wanted {
    // Of nothing there are no parts; whoever adds a range to every request still learns that it is empty.
    if length == 0 {
        return Wanted::All;
    }
    let Some(only) = field.and_then(only_one) else { return Wanted::All };
    let Some((first, last)) = only.split_once('-') else { return Wanted::All };
    match (number(first), number(last)) {
        (Some(first), _) if last.is_empty() => from_to(first, u64::MAX, length),
        (None, Some(count)) if first.is_empty() => last_bytes(count, length),
        (Some(first), Some(last)) if first <= last => from_to(first, last, length),
        _ => Wanted::All,
    }
}

/// The range, if the field holds just one and its unit is bytes. Elements of a list may be empty.
fn only_one(field: &str) -> Option<&str> {
    let (unit, ranges) = field.split_once('=')?;
    let mut ranges =
        ranges.split(',').map(|range| range.trim_matches([' ', '\t'])).filter(|range| !range.is_empty());
    let only = ranges.next()?;
    (unit.eq_ignore_ascii_case("bytes") && ranges.next().is_none()).then_some(only)
}

/// Digits only; what is too large for us is behind every end.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

fn last_bytes(count: u64, length: u64) -> Wanted {
    if count == 0 { Wanted::Nothing } else { Wanted::Part(length.saturating_sub(count), length - 1) }
}

fn from_to(first: u64, last: u64, length: u64) -> Wanted {
    if first < length { Wanted::Part(first, last.min(length - 1)) } else { Wanted::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_is_read_as_the_rfc_says() {
        for (field, expected) in [
            ("bytes=0-499", Wanted::Part(0, 499)),
            ("bytes=0-0", Wanted::Part(0, 0)),
            ("bytes=500-", Wanted::Part(500, 999)),
            ("bytes=500-5000", Wanted::Part(500, 999)),
            ("bytes=500-99999999999999999999999", Wanted::Part(500, 999)),
            ("bytes=-500", Wanted::Part(500, 999)),
            ("bytes=-5000", Wanted::Part(0, 999)),
            ("Bytes=, \t7-8 ,", Wanted::Part(7, 8)),
            ("bytes=1000-", Wanted::Nothing),
            ("bytes=99999999999999999999999-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=9-8", Wanted::All),
            ("bytes=0-1,5-6", Wanted::All),
            ("bytes=a-b", Wanted::All),
            ("bytes=+1-2", Wanted::All),
            ("bytes=1 - 2", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=--1", Wanted::All),
            ("bytes=", Wanted::All),
            ("bytes", Wanted::All),
            ("lines=1-2", Wanted::All),
        ] {
            assert_eq!(wanted(Some(field), 1000), expected, "{field}");
        }
        assert_eq!(wanted(None, 1000), Wanted::All);
    }

    #[test]
    fn of_nothing_there_are_no_parts() {
        for field in ["bytes=0-", "bytes=-1", "bytes=5-6"] {
            assert_eq!(wanted(Some(field), 0), Wanted::All, "{field}");
        }
    }
}

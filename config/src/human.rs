//! Sizes and spans of time as people write them: `256 MiB`, `30 days`.
//!
//! A whole number, a unit, nothing else: `1.5 GiB` is `1536 MiB`. A number without its unit is refused, because
//! nobody can tell whether it meant bytes or megabytes.

use std::time::Duration;

/// Units of size in bytes: those used for printing first, largest first, then the decimal ones disks are sold in.
const SIZE_UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
];

/// Units of time in milliseconds, in every spelling.
const TIME_UNITS: &[(&str, u64)] = &[
    ("days", 86_400_000),
    ("day", 86_400_000),
    ("hours", 3_600_000),
    ("hour", 3_600_000),
    ("h", 3_600_000),
    ("minutes", 60_000),
    ("min", 60_000),
    ("seconds", 1_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The number of bytes that a text like `256 MiB` or `2 GB` names. Upper and lower case are the same.
pub fn parse_size(text: &str) -> Option<u64> {
    parse(text, SIZE_UNITS)
}

/// The shortest exact text for a number of bytes, in binary units: what [`parse_size`] reads back.
pub fn size(bytes: u64) -> String {
    let exact = |factor: u64| bytes >= factor && bytes.is_multiple_of(factor);
    match SIZE_UNITS.iter().find(|(_, factor)| exact(*factor)) {
        Some((name, factor)) => format!("{} {name}", bytes / factor),
        None => String::from("0 B"),
    }
}

/// The span that a text like `30 days`, `24 h` or `500 ms` names.
pub fn parse_duration(text: &str) -> Option<Duration> {
    parse(text, TIME_UNITS).map(Duration::from_millis)
}

/// The shortest exact text for a span, to the millisecond: what [`parse_duration`] reads back.
pub fn duration(span: Duration) -> String {
    let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let units = [("day", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];
    let exact = units.iter().find(|(_, factor)| ms >= *factor && ms.is_multiple_of(*factor));
    match exact.map(|(name, factor)| (ms / factor, *name)) {
        None => String::from("0 s"),
        Some((days @ 2.., "day")) => format!("{days} days"),
        Some((number, unit)) => format!("{number} {unit}"),
    }
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim_start()))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn size_in_any_accepted_spelling_is_read() {
        let check = |text, expected| assert_eq!(parse_size(text), expected, "{text:?}");
        check("2 MiB", Some(2 << 20));
        check("2MiB", Some(2 << 20));
        check(" 2 mib ", Some(2 << 20));
        check("1 B", Some(1));
        check("0 B", Some(0));
        check("4 TiB", Some(4 << 40));
        check("500 GB", Some(500_000_000_000));
        check("64 kB", Some(64_000));
    }

    #[test]
    fn size_that_is_not_one_is_refused() {
        let check = |text| assert_eq!(parse_size(text), None, "{text:?}");
        check("");
        check("12");
        check("MiB");
        check("-1 MiB");
        check("1.5 GiB");
        check("2 parsecs");
        check("2 Mi");
        check("99999999999999999999 B");
        check("16777216 TiB");
    }

    #[test]
    fn size_is_printed_in_the_largest_exact_unit() {
        let check = |bytes, expected: &str| assert_eq!(size(bytes), expected);
        check(0, "0 B");
        check(1023, "1023 B");
        check(1 << 10, "1 KiB");
        check(1536 << 20, "1536 MiB");
        check(1 << 30, "1 GiB");
        check(3 << 40, "3 TiB");
    }

    #[test]
    fn duration_in_any_accepted_spelling_is_read() {
        let check = |text, seconds: Option<u64>| {
            assert_eq!(parse_duration(text), seconds.map(Duration::from_secs), "{text:?}");
        };
        check("30 days", Some(30 * 86_400));
        assert_eq!([1, 2].map(|days| duration(Duration::from_secs(days * 86_400))), ["1 day", "2 days"]);
        check("1 day", Some(86_400));
        check("24 h", Some(86_400));
        check("5min", Some(300));
        check("90 s", Some(90));
        check("5000 ms", Some(5));
        check("30", None);
        check("days", None);
        check("3 moons", None);
        check("300000000000 days", None);
    }

    proptest! {
        #[test]
        fn size_printed_and_read_again_is_the_same(mantissa in 0u64..1 << 24, shift in 0u32..40) {
            let bytes = mantissa << shift;
            prop_assert_eq!(parse_size(&size(bytes)), Some(bytes));
        }

        #[test]
        fn duration_printed_and_read_again_is_the_same(mantissa in 0u64..1 << 16, factor in prop::sample::select(
            vec![1, 1000, 60_000, 3_600_000, 86_400_000]
        )) {
            let span = Duration::from_millis(mantissa * factor);
            prop_assert_eq!(parse_duration(&duration(span)), Some(span));
        }

        #[test]
        fn text_of_any_kind_is_read_without_a_panic(text in "\\PC*") {
            let _ = parse_size(&text);
            let _ = parse_duration(&text);
        }
    }
}

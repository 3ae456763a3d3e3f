//! Byte ranges (RFC 9110, section 14): one range of a file, which is what players and resumed downloads ask for.

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

/// Reads a `Range` header for a file of this length.
pub(super) fn wanted(header: Option<&str>, length: u64) -> Wanted {
    let Some(spec) = header.and_then(|header| header.strip_prefix("bytes=")) else { return Wanted::All };
    let Some((first, last)) = spec.split_once('-') else { return Wanted::All };
    match (first.trim(), last.trim()) {
        ("", suffix) => last_bytes(suffix, length),
        (first, last) => from_to(first, last, length),
    }
}

fn last_bytes(suffix: &str, length: u64) -> Wanted {
    match suffix.parse::<u64>() {
        Ok(0) => Wanted::Nothing,
        Ok(_) if length == 0 => Wanted::Nothing,
        Ok(count) => Wanted::Part(length.saturating_sub(count), length - 1),
        Err(_) => Wanted::All,
    }
}

fn from_to(first: &str, last: &str, length: u64) -> Wanted {
    let Ok(first) = first.parse::<u64>() else { return Wanted::All };
    let last = if last.is_empty() { Ok(u64::MAX) } else { last.parse::<u64>() };
    match last {
        Ok(last) if last < first => Wanted::All,
        Ok(_) if first >= length => Wanted::Nothing,
        Ok(last) => Wanted::Part(first, last.min(length - 1)),
        Err(_) => Wanted::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_is_read_as_the_rfc_says() {
        for (header, expected) in [
            ("bytes=0-499", Wanted::Part(0, 499)),
            ("bytes=500-", Wanted::Part(500, 999)),
            ("bytes=500-5000", Wanted::Part(500, 999)),
            ("bytes=-500", Wanted::Part(500, 999)),
            ("bytes=-5000", Wanted::Part(0, 999)),
            ("bytes=1000-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=9-8", Wanted::All),
            ("bytes=0-1,5-6", Wanted::All),
            ("bytes=a-b", Wanted::All),
            ("lines=1-2", Wanted::All),
        ] {
            assert_eq!(wanted(Some(header), 1000), expected, "{header}");
        }
        assert_eq!(wanted(None, 1000), Wanted::All);
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Nothing);
        assert_eq!(wanted(Some("bytes=-1"), 0), Wanted::Nothing);
    }
}

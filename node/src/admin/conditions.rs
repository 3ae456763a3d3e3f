//! Conditions (RFC 9110, section 13): what a caller has already, and whether it still counts. Entity tags only: what
//! never changes has no use for dates.

use axum::http::{HeaderMap, HeaderName, header};

/// What the conditions of a GET or HEAD come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There are none, or they hold.
    Send,
    /// The caller has it.
    Unchanged,
    /// The caller wants it only if it is another.
    Failed,
}

/// Judges the conditions for something with this tag, which is there.
pub(super) fn judge(headers: &HeaderMap, tag: &str) -> Verdict {
    if !named(headers, header::IF_MATCH, tag, Comparison::Strong).unwrap_or(true) {
        Verdict::Failed
    } else if named(headers, header::IF_NONE_MATCH, tag, Comparison::Weak).unwrap_or(false) {
        Verdict::Unchanged
    } else {
        Verdict::Send
    }
}

/// Whether the caller has a part of the same thing, so that it may be given another one. A date is never the same.
pub(super) fn may_be_continued(headers: &HeaderMap, tag: &str) -> bool {
    headers.get(header::IF_RANGE).is_none_or(|known| known == tag)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether the lists in fields of this name have the tag; `None` without such a field.
fn named(headers: &HeaderMap, field: HeaderName, tag: &str, comparison: Comparison) -> Option<bool> {
    let mut fields = headers.get_all(field).iter().peekable();
    fields.peek()?;
    Some(fields.filter_map(|field| field.to_str().ok()).any(|list| has(list, tag, comparison)))
}

/// Whether a list has the tag. What is no list ends where it is none.
fn has(list: &str, tag: &str, comparison: Comparison) -> bool {
    let mut rest = list.trim();
    if rest == "*" {
        return true;
    }
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let strong = rest.strip_prefix("W/");
        let is_weak = strong.is_some();
        let Some(opaque) = strong.unwrap_or(rest).strip_prefix('"') else { return false };
        let Some((one, behind)) = opaque.split_once('"') else { return false };
        let is_it = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(one);
        if is_it && (comparison == Comparison::Weak || !is_weak) {
            return true;
        }
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = "\"tess1q\"";

    #[track_caller]
    fn check(fields: &[(HeaderName, &'static str)], expected: Verdict) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value.parse().unwrap());
        }
        assert_eq!(judge(&headers, TAG), expected, "{fields:?}");
    }

    #[test]
    fn what_the_caller_has_is_unchanged() {
        use header::IF_NONE_MATCH;
        for list in ["*", "\"tess1q\"", "W/\"tess1q\"", "\"a,b\", \"tess1q\"", ",,W/\"a\",\"tess1q\" ,"] {
            check(&[(IF_NONE_MATCH, list)], Verdict::Unchanged);
        }
        for list in ["", "tess1q", "\"tess1\"", "\"tess1qq\"", "\"a\" \"", "w/\"tess1q\"", "\"x\", *"] {
            check(&[(IF_NONE_MATCH, list)], Verdict::Send);
        }
        check(&[(IF_NONE_MATCH, "\"a\""), (IF_NONE_MATCH, TAG)], Verdict::Unchanged);
        check(&[], Verdict::Send);
    }

    #[test]
    fn what_must_be_the_same_and_is_another_fails() {
        use header::{IF_MATCH, IF_NONE_MATCH};
        check(&[(IF_MATCH, TAG)], Verdict::Send);
        check(&[(IF_MATCH, "*")], Verdict::Send);
        check(&[(IF_MATCH, "\"other\"")], Verdict::Failed);
        // A weak one says only that it is good enough.
        check(&[(IF_MATCH, "W/\"tess1q\"")], Verdict::Failed);
        check(&[(IF_MATCH, ""), (IF_NONE_MATCH, TAG)], Verdict::Failed);
        check(&[(IF_MATCH, TAG), (IF_NONE_MATCH, TAG)], Verdict::Unchanged);
    }

    #[test]
    fn part_of_something_else_is_not_continued() {
        let with = |known: &'static str| HeaderMap::from_iter([(header::IF_RANGE, known.parse().unwrap())]);
        assert!(may_be_continued(&HeaderMap::new(), TAG));
        assert!(may_be_continued(&with(TAG), TAG));
        for other in ["\"other\"", "W/\"tess1q\"", "Sat, 28 Nov 2026 04:00:00 GMT", ""] {
            assert!(!may_be_continued(&with(other), TAG), "{other}");
        }
    }
}

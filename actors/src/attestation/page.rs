//! How much of a question fits into one claim: as many whole stripes as there is room for.

use std::ops::Range;

use proto::limits::{CLAIM_FRAGMENTS_MAX, STRIPE_TOTAL_MAX};

use crate::store::FragmentRow;

/// What one claim covers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// The stripes.
    pub(super) stripes: Range<u32>,
    /// Where the next page starts, if there is more.
    pub(super) next_stripe: Option<u32>,
    /// Their rows, in order.
    pub(super) rows: Vec<FragmentRow>,
}

/// How many rows to ask the index for: one more than a claim takes, to see whether there is more.
pub(super) fn rows_needed(stripes: &Range<u32>) -> u32 {
    let stripes = stripes.end.saturating_sub(stripes.start);
    stripes.saturating_mul(STRIPE_TOTAL_MAX.into()).min(CLAIM_ROWS_MAX) + 1
}

/// Cuts what the index answered into a page. `None` when there are more rows of the first stripe than any layout has.
pub(super) fn cut(asked: Range<u32>, mut rows: Vec<FragmentRow>) -> Option<Page> {
    let is_more = rows.len() >= rows_needed(&asked) as usize;
    let last = rows.last().map(|row| row.stripe).filter(|last| is_more && *last < asked.end);
    let Some(next) = last else {
        rows.retain(|row| row.stripe < asked.end);
        return Some(Page { stripes: asked, next_stripe: None, rows });
    };
    // The last stripe may go on behind what was asked for.
    rows.retain(|row| row.stripe < next);
    (next > asked.start).then_some(Page { stripes: asked.start..next, next_stripe: Some(next), rows })
}

/// Rows of one claim: every one of them may be in order.
const CLAIM_ROWS_MAX: u32 = 1024;
const _: () = assert!(CLAIM_ROWS_MAX as usize == CLAIM_FRAGMENTS_MAX);

#[cfg(test)]
mod tests {
    use proto::Checksum;

    use super::*;
    use crate::storage::BlobState;

    fn row(stripe: u32, index: u16) -> FragmentRow {
        FragmentRow {
            stripe,
            index,
            checksum: Checksum::of(b""),
            length: 1,
            state: BlobState::Ok,
            written_at_ms: 0,
            verified_at_ms: None,
        }
    }

    /// Asks for stripes of a tessera with so many fragments in each, and returns the pages as stripes and row counts.
    fn check(asked: Range<u32>, width: u16, stripes: u32, expected: Option<&[(Range<u32>, usize)]>) {
        let all: Vec<_> = (0..stripes).flat_map(|s| (0..width).map(move |i| row(s, i))).collect();
        let (mut rest, mut pages) = (Some(asked.clone()), Vec::new());
        while let Some(stripes) = rest {
            let behind = all.iter().filter(|row| row.stripe >= stripes.start).copied();
            let rows = behind.take(rows_needed(&stripes) as usize).collect();
            let Some(page) = cut(stripes, rows) else { break };
            rest = page.next_stripe.map(|next| next..asked.end);
            pages.push((page.stripes, page.rows.len()));
        }
        assert_eq!(
            Some(pages.as_slice()).filter(|pages| !pages.is_empty()),
            expected,
            "{asked:?} of {stripes}"
        );
    }

    #[test]
    fn pages_are_whole_stripes_and_cover_what_was_asked() {
        check(0..u32::MAX, 1, 0, Some(&[(0..u32::MAX, 0)]));
        check(0..u32::MAX, 1, 100, Some(&[(0..u32::MAX, 100)]));
        check(0..u32::MAX, 1, 1024, Some(&[(0..u32::MAX, 1024)]));
        check(0..u32::MAX, 1, 1025, Some(&[(0..1024, 1024), (1024..u32::MAX, 1)]));
        check(0..u32::MAX, 24, 100, Some(&[(0..42, 1008), (42..84, 1008), (84..u32::MAX, 384)]));
        check(0..100, 24, 100, Some(&[(0..42, 1008), (42..84, 1008), (84..100, 384)]));
        check(7..9, 24, 100, Some(&[(7..9, 48)]));
        check(7..8, 24, 100, Some(&[(7..8, 24)]));
        check(98..300, 3, 100, Some(&[(98..300, 6)]));
        check(5..5, 3, 100, Some(&[(5..5, 0)]));
    }

    #[test]
    fn stripe_wider_than_any_layout_has_no_page() {
        check(0..1, 25, 1, None);
        check(0..u32::MAX, 1025, 1, None);
    }
}

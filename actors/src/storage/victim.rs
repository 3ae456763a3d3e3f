//! Which segment is worth compacting, told from the rows alone.

use std::collections::HashMap;

use super::rows::{Seal, SegmentRow};

/// The segment that is worth compacting most: the one with the smallest share of bytes that must be kept, if that is
/// below the threshold.
pub(crate) fn victim(
    segments: &HashMap<u32, SegmentRow>,
    below: f64,
    is_out: impl Fn(u32, &SegmentRow) -> bool,
) -> Option<u32> {
    let sealed = segments.iter().filter(|(id, row)| row.seal == Seal::Sealed && !is_out(**id, row));
    let shares = sealed.map(|(id, row)| (*id, share(row, oldest_elsewhere(segments, *id))));
    let worth = shares.filter(|(_, share)| *share < below);
    worth.min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0))).map(|(id, _)| id)
}

/// The oldest ref or document that any other segment can hold, one that is not yet gone for good included.
pub(crate) fn oldest_elsewhere(segments: &HashMap<u32, SegmentRow>, from: u32) -> u64 {
    let others = segments.iter().filter(|(id, _)| **id != from);
    others.map(|(_, row)| row.min_seq).min().unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
fn share(row: &SegmentRow, oldest_elsewhere: u64) -> f64 {
    let drops = if oldest_elsewhere < row.drop_seq { row.drop_bytes } else { 0 };
    (row.live_bytes + drops) as f64 / row.bytes.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sealed segment of 100 bytes.
    fn sealed(live_bytes: u64) -> SegmentRow {
        SegmentRow {
            bytes: 100,
            live_bytes,
            seal: Seal::Sealed,
            ..crate::storage::recover::new_segment(0, 0)
        }
    }

    fn check(rows: &[SegmentRow], out: &[u32], expected: Option<u32>) {
        let rows = (1..).zip(rows.iter().copied()).collect();
        assert_eq!(victim(&rows, 0.5, |id, _| out.contains(&id)), expected, "{rows:?}");
    }

    #[test]
    fn emptiest_sealed_segment_below_the_threshold_is_chosen() {
        let with = |seal| SegmentRow { seal, ..sealed(0) };
        check(&[sealed(50)], &[], None);
        check(&[sealed(49), sealed(10)], &[], Some(2));
        check(&[with(Seal::Active), with(Seal::Drained)], &[], None);
        check(&[sealed(40), sealed(10)], &[2], Some(1));
        check(&[SegmentRow { bytes: 0, ..sealed(0) }], &[], Some(1));
    }

    #[test]
    fn drops_count_as_live_while_another_segment_may_hold_what_they_are_about() {
        let dropping = SegmentRow { drop_bytes: 90, drop_seq: 7, ..sealed(0) };
        let old = |min_seq| SegmentRow { min_seq, ..sealed(90) };
        check(&[dropping], &[], Some(1));
        check(&[dropping, old(6)], &[], None);
        check(&[dropping, old(8)], &[], Some(1));
        check(&[SegmentRow { min_seq: 1, ..dropping }, old(8)], &[], Some(1));
        check(&[SegmentRow { drop_bytes: 40, ..dropping }, old(6)], &[], Some(1));
    }
}

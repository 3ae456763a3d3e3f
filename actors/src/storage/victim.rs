//! Which segment is worth compacting, told from the rows alone.

use std::collections::HashMap;

use super::rows::{Seal, SegmentRow};

/// What a segment must be like to be worth compacting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// A smaller share of its bytes must be kept.
    pub(crate) below: f64,
    /// If it is the active one, which would have to be sealed first, at least so many bytes need not be kept.
    pub(crate) active_dead_min: u64,
    /// Records that end older ones may take so many bytes.
    pub(crate) drop_bytes_max: u64,
    /// There is room for copies of so many bytes.
    pub(crate) room: u64,
}

/// The segment that is worth compacting most: the one with the smallest share of bytes that must be kept.
pub(crate) fn victim(
    segments: &HashMap<u32, SegmentRow>,
    bounds: &Bounds,
    is_out: impl Fn(u32, &SegmentRow) -> bool,
) -> Option<u32> {
    let inside = segments.iter().filter(|(id, row)| !is_out(**id, row));
    let kept = inside.map(|(id, row)| (*id, row, kept(segments, *id, row)));
    let worth = kept.filter(|(_, row, kept)| is_worth(row, *kept, bounds));
    let shares = worth.map(|(id, row, kept)| (id, share(row, kept)));
    shares.min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0))).map(|(id, _)| id)
}

/// When drops that must stay take too much: the segment with the oldest refs of all. Their copies are new, so with its
/// file goes the reason to keep the oldest drops. As long as it has to stay, no other would help.
pub(crate) fn oldest(
    segments: &HashMap<u32, SegmentRow>,
    bounds: &Bounds,
    is_out: impl Fn(u32, &SegmentRow) -> bool,
) -> Option<u32> {
    let (id, row) = holding_up(segments, bounds)?;
    let may_go = row.seal == Seal::Sealed && kept(segments, id, row) <= bounds.room && !is_out(id, row);
    may_go.then_some(id)
}

/// When drops that must stay take too much: the segment because of which most of them must.
pub(crate) fn holding_up<'a>(
    segments: &'a HashMap<u32, SegmentRow>,
    bounds: &Bounds,
) -> Option<(u32, &'a SegmentRow)> {
    let there = segments.iter().filter(|(_, row)| row.seal != Seal::Drained);
    let drops: u64 = there.map(|(id, row)| kept_drops(segments, *id, row)).sum();
    let oldest = segments.iter().min_by_key(|(id, row)| (row.min_seq, **id));
    oldest.filter(|_| drops > bounds.drop_bytes_max).map(|(id, row)| (*id, row))
}

fn is_worth(row: &SegmentRow, kept: u64, bounds: &Bounds) -> bool {
    let may_go = match row.seal {
        Seal::Active => row.bytes.saturating_sub(kept) >= bounds.active_dead_min.max(1),
        Seal::Sealed => true,
        Seal::Drained => false,
    };
    may_go && kept <= bounds.room && share(row, kept) < bounds.below
}

/// The oldest ref or document that any other segment can hold, one that is not yet gone for good included.
pub(crate) fn oldest_elsewhere(segments: &HashMap<u32, SegmentRow>, from: u32) -> u64 {
    let others = segments.iter().filter(|(id, _)| **id != from);
    others.map(|(_, row)| row.min_seq).min().unwrap_or(u64::MAX)
}

/// Bytes of a segment that must be copied forward.
pub(crate) fn kept(segments: &HashMap<u32, SegmentRow>, id: u32, row: &SegmentRow) -> u64 {
    row.live_bytes + kept_drops(segments, id, row)
}

fn kept_drops(segments: &HashMap<u32, SegmentRow>, id: u32, row: &SegmentRow) -> u64 {
    if oldest_elsewhere(segments, id) < row.drop_seq { row.drop_bytes } else { 0 }
}

#[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
fn share(row: &SegmentRow, kept: u64) -> f64 {
    kept as f64 / row.bytes.max(1) as f64
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
        assert_eq!(victim(&rows, &BOUNDS, |id, _| out.contains(&id)), expected, "{rows:?}");
    }

    const BOUNDS: Bounds = Bounds { below: 0.5, active_dead_min: 60, drop_bytes_max: 30, room: 45 };

    #[test]
    fn emptiest_sealed_segment_below_the_threshold_is_chosen() {
        let with = |seal| SegmentRow { seal, ..sealed(0) };
        check(&[sealed(50)], &[], None);
        check(&[sealed(49), sealed(10)], &[], Some(2));
        check(&[with(Seal::Drained)], &[], None);
        check(&[sealed(40), sealed(10)], &[2], Some(1));
        check(&[SegmentRow { bytes: 0, ..sealed(0) }], &[], Some(1));
    }

    #[test]
    fn active_segment_is_chosen_when_enough_of_it_is_dead() {
        let active = |bytes, live_bytes| SegmentRow { seal: Seal::Active, bytes, ..sealed(live_bytes) };
        check(&[active(100, 40)], &[], Some(1));
        check(&[active(100, 41)], &[], None);
        check(&[active(59, 0)], &[], None);
        check(&[active(200, 0), sealed(10)], &[], Some(1));
        let empty = [(1, active(0, 0))].into();
        assert_eq!(victim(&empty, &Bounds { active_dead_min: 0, ..BOUNDS }, |_, _| false), None);
    }

    #[test]
    fn segment_whose_copies_have_no_room_is_left_for_later() {
        let large = SegmentRow { bytes: 1000, ..sealed(46) };
        check(&[large, sealed(45)], &[], Some(2));
        check(&[large], &[], None);
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

    fn check_oldest(rows: &[SegmentRow], out: &[u32], expected: Option<u32>) {
        let rows = (1..).zip(rows.iter().copied()).collect();
        assert_eq!(oldest(&rows, &BOUNDS, |id, _| out.contains(&id)), expected, "{rows:?}");
    }

    #[test]
    fn oldest_segment_is_chosen_when_it_keeps_too_many_drops() {
        let old = |min_seq| SegmentRow { min_seq, ..sealed(40) };
        let dropping = |drop_bytes| SegmentRow { drop_bytes, drop_seq: 7, ..sealed(60) };
        check_oldest(&[dropping(31), old(5), old(3)], &[], Some(3));
        check_oldest(&[dropping(30), old(5), old(3)], &[], None);
        check_oldest(&[dropping(20), dropping(20), old(3)], &[], Some(3));
        // Nothing older is elsewhere: these drops go with their segment.
        check_oldest(&[dropping(31), old(8)], &[], None);
        check_oldest(&[SegmentRow { min_seq: 3, ..dropping(31) }], &[], None);
        // What would be left is as old, or nearly.
        check_oldest(&[dropping(31), old(5), old(3)], &[3], None);
        check_oldest(&[dropping(31), old(5), SegmentRow { seal: Seal::Drained, ..old(3) }], &[], None);
        check_oldest(&[dropping(31), old(5), SegmentRow { seal: Seal::Active, ..old(3) }], &[], None);
        check_oldest(&[dropping(31), old(5), SegmentRow { live_bytes: 46, ..old(3) }], &[], None);
    }
}

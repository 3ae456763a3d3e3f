//! What is verified next, and when that must begin. Pure: the time is an argument.
//!
//! Everything has a deadline: [`Terms::within`] after it was last verified, or written. What is due first comes first, and
//! it is begun as late as the rate allows, with a reserve: so a small store is verified in one go every few weeks, and
//! the disk rests in between.

use std::{collections::BTreeSet, time::Duration};

use crate::storage::Segments;

/// What the operator wants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Terms {
    /// Everything is verified at least this often.
    pub(super) within: Duration,
    /// At most so many bytes a second; `None` for as fast as it goes.
    pub(super) rate: Option<u64>,
    /// The share of the day that is outside of the quiet hours.
    pub(super) awake: f64,
}

/// What is verified as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// The index itself.
    Index,
    /// A segment.
    Segment(u32),
}

/// Something to be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) target: Target,
    pub(super) bytes: u64,
    /// When it was last verified, or written; never in the future.
    pub(super) since_ms: i64,
}

/// All there is, the first deadline first.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Plan {
    entries: Vec<Entry>,
    /// What was last verified before this time is to be verified now.
    before_ms: i64,
}

/// How it stands with all that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Outlook {
    /// Bytes to be verified.
    pub bytes: u64,
    /// The age of the oldest verification (or of what was never verified), in milliseconds.
    pub oldest_age_ms: u64,
    /// Bytes that were not verified in time.
    pub overdue_bytes: u64,
    /// How long verifying all of it takes at the configured rate, in milliseconds; 0 without one.
    pub takes_ms: u64,
    /// By how much the configured span will be exceeded, at the configured rate, in milliseconds; 0 for not at all.
    pub late_ms: u64,
    /// When verifying begins, in milliseconds from now; `None` when there is nothing to verify.
    pub begins_in_ms: Option<u64>,
}

impl Terms {
    /// How long so many bytes take.
    fn takes_ms(&self, bytes: u64) -> i64 {
        let Some(rate) = self.rate else { return 0 };
        let awake = Duration::from_secs(bytes / rate).div_f64(self.awake.clamp(AWAKE_MIN, 1.0));
        ms(awake)
    }

    fn within_ms(&self) -> i64 {
        ms(self.within)
    }

    /// Kept for restarts, and for times when others want the disk.
    fn reserve_ms(&self) -> i64 {
        self.within_ms() / RESERVE_SHARE
    }
}

impl Plan {
    /// What there is, at this time.
    pub(super) fn new(now_ms: i64, stored: &Segments, terms: &Terms) -> Self {
        let oldest = stored.segments.iter().map(|segment| segment.written_at_ms).min().unwrap_or(now_ms);
        let index = Entry {
            target: Target::Index,
            bytes: stored.index_bytes,
            since_ms: if stored.scrub.index_at_ms == 0 { oldest } else { stored.scrub.index_at_ms },
        };
        let segments = stored.segments.iter().map(|segment| Entry {
            target: Target::Segment(segment.id),
            bytes: segment.bytes,
            since_ms: segment.verified_at_ms.unwrap_or(segment.written_at_ms),
        });
        let known = |entry: Entry| Entry { since_ms: believable(entry.since_ms, now_ms, terms), ..entry };
        let mut entries: Vec<_> = segments.chain([index]).map(known).collect();
        entries.sort_unstable_by_key(|entry| (entry.since_ms, entry.target));
        // What a clock that was wrong asked for would never be done.
        let before_ms = Some(stored.scrub.before_ms).filter(|before_ms| *before_ms <= now_ms).unwrap_or(0);
        Self { entries, before_ms }
    }

    /// What is to be verified now, if anything is: first what is doubted, then what was begun, then what is due. While
    /// verifying is under way, what will be due soon is taken along. What is put off holds nothing else up.
    pub(super) fn next(
        &self,
        now_ms: i64,
        terms: &Terms,
        doubted: &BTreeSet<u32>,
        begun: Option<u32>,
        is_under_way: bool,
        is_put_off: impl Fn(Target) -> bool,
    ) -> Option<Entry> {
        let entries = || self.entries.iter().filter(|entry| !is_put_off(entry.target));
        let is_doubted =
            |entry: &&Entry| matches!(entry.target, Target::Segment(id) if doubted.contains(&id));
        if let Some(entry) = entries().find(is_doubted) {
            return Some(*entry);
        }
        let reserves = if is_under_way { 2 } else { 1 };
        let latest = latest_begin_ms(entries(), terms);
        let is_due = latest.is_some_and(|at| at - reserves * terms.reserve_ms() <= now_ms);
        let is_begun = |entry: &&Entry| begun.is_some_and(|id| entry.target == Target::Segment(id));
        let begun = entries().find(is_begun).filter(|entry| is_due || self.is_asked(entry));
        let first = entries().next().filter(|_| is_due);
        let asked = || entries().find(|entry| self.is_asked(entry));
        begun.or(first).or_else(asked).copied()
    }

    /// Whether somebody asked for this to be verified now, and it is not yet.
    pub(super) fn asks_for(&self, target: Target) -> bool {
        self.entries.iter().any(|entry| entry.target == target && self.is_asked(entry))
    }

    fn is_asked(&self, entry: &Entry) -> bool {
        entry.since_ms <= self.before_ms
    }

    /// The segments that come next, in that order.
    pub(super) fn segments(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().filter_map(|entry| match entry.target {
            Target::Segment(id) => Some(id),
            Target::Index => None,
        })
    }

    /// How many bytes were asked to be verified now and are not yet.
    pub(super) fn asked_bytes(&self) -> u64 {
        self.entries.iter().filter(|entry| self.is_asked(entry)).map(|entry| entry.bytes).sum()
    }

    /// How it stands.
    pub(super) fn outlook(&self, now_ms: i64, terms: &Terms) -> Outlook {
        let bytes: u64 = self.entries.iter().map(|entry| entry.bytes).sum();
        let overdue = self.entries.iter().filter(|entry| now_ms - entry.since_ms > terms.within_ms());
        let takes_ms = terms.takes_ms(bytes);
        let latest = latest_begin_ms(self.entries.iter(), terms);
        // What cannot be done within the span once cannot be done again and again either.
        let late_ms = latest.map_or(0, |latest| now_ms - latest).max(takes_ms - terms.within_ms());
        let begins_ms = latest.map(|latest| latest - terms.reserve_ms() - now_ms);
        Outlook {
            bytes,
            oldest_age_ms: self.entries.first().map_or(0, |oldest| positive(now_ms - oldest.since_ms)),
            overdue_bytes: overdue.map(|entry| entry.bytes).sum(),
            takes_ms: positive(takes_ms),
            late_ms: positive(late_ms),
            begins_in_ms: begins_ms.map(positive),
        }
    }
}

/// The latest time to begin at which all of these are still in time.
fn latest_begin_ms<'a>(entries: impl Iterator<Item = &'a Entry>, terms: &Terms) -> Option<i64> {
    let mut bytes = 0;
    let begin = |entry: &Entry| {
        bytes += entry.bytes;
        entry.since_ms.saturating_add(terms.within_ms()) - terms.takes_ms(bytes)
    };
    entries.map(begin).min()
}

/// A time that is not in the future. A clock that is set by a little is forgiven; what was verified at a time that is
/// far from now was verified nobody knows when, so it is verified at the next opportunity.
fn believable(at_ms: i64, now_ms: i64, terms: &Terms) -> i64 {
    if at_ms <= now_ms {
        at_ms
    } else if at_ms <= now_ms.saturating_add(CLOCK_STEP_MS) {
        now_ms
    } else {
        now_ms - terms.within_ms() + terms.reserve_ms()
    }
}

fn ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

fn positive(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}

/// One part in so many of the span is kept as a reserve.
const RESERVE_SHARE: i64 = 10;
/// The quiet hours leave at least an hour.
const AWAKE_MIN: f64 = 1.0 / 24.0;
/// Clocks are set by less than a day, unless they were wrong altogether.
const CLOCK_STEP_MS: i64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{ScrubRow, SegmentAge};

    const DAY: i64 = 86_400_000;
    const NOW: i64 = 1000 * DAY;
    const TERMS: Terms = Terms { within: Duration::from_secs(30 * 86_400), rate: Some(1 << 20), awake: 1.0 };
    /// What takes a day at that rate.
    const DAY_BYTES: u64 = 86_400 << 20;

    /// Segments of so many bytes, verified so many days ago; negative: in the future.
    fn plan(segments: &[(u32, u64, i64)], before_ms: i64) -> Plan {
        let segment = |(id, bytes, days): &(u32, u64, i64)| SegmentAge {
            id: *id,
            bytes: *bytes,
            written_at_ms: 0,
            verified_at_ms: Some(NOW - days * DAY),
        };
        let scrub = ScrubRow { before_ms, index_at_ms: NOW, ..ScrubRow::default() };
        let stored = Segments { segments: segments.iter().map(segment).collect(), index_bytes: 0, scrub };
        Plan::new(NOW, &stored, &TERMS)
    }

    #[track_caller]
    fn check(segments: &[(u32, u64, i64)], is_under_way: bool, expected: Option<u32>) {
        let next = plan(segments, 0).next(NOW, &TERMS, &BTreeSet::new(), None, is_under_way, |_| false);
        assert_eq!(next.map(|entry| entry.target), expected.map(Target::Segment), "{segments:?}");
    }

    #[test]
    fn oldest_comes_first_and_only_when_it_is_due() {
        check(&[(1, 1, 26), (2, 1, 25)], false, None);
        check(&[(1, 1, 26), (2, 1, 28)], false, Some(2));
        check(&[(1, 1, 26), (2, 1, 25)], true, Some(1));
        check(&[(1, 1, 20), (2, 1, 23)], true, None);
    }

    #[test]
    fn what_takes_long_is_begun_in_time_for_all_of_it() {
        check(&[(1, 10 * DAY_BYTES, 16)], false, None);
        check(&[(1, 10 * DAY_BYTES, 17)], false, Some(1));
        check(&[(1, 5 * DAY_BYTES, 17), (2, 5 * DAY_BYTES, 17)], false, Some(1));
        check(&[(1, 5 * DAY_BYTES, 17), (2, DAY_BYTES, 17)], false, None);
    }

    #[test]
    fn doubted_comes_before_begun_and_begun_before_due() {
        let plan = plan(&[(1, 1, 29), (2, 1, 28), (3, 1, 1)], 0);
        let next = |doubted: &[u32], begun| {
            let doubted = doubted.iter().copied().collect();
            plan.next(NOW, &TERMS, &doubted, begun, false, |_| false).unwrap().target
        };
        assert_eq!(next(&[3], Some(2)), Target::Segment(3));
        assert_eq!(next(&[], Some(2)), Target::Segment(2));
        assert_eq!(next(&[], Some(9)), Target::Segment(1));
        assert_eq!(next(&[9], None), Target::Segment(1), "one that is gone is not waited for");
    }

    #[test]
    fn what_is_put_off_holds_nothing_else_up() {
        let scrub = ScrubRow { before_ms: NOW, index_at_ms: NOW - 40 * DAY, ..ScrubRow::default() };
        let age = |id| SegmentAge {
            id,
            bytes: 1,
            written_at_ms: 0,
            verified_at_ms: Some(NOW - i64::from(id) * DAY),
        };
        let stored = Segments { segments: [1, 2, 3].map(age).to_vec(), index_bytes: 9, scrub };
        let plan = Plan::new(NOW, &stored, &TERMS);
        let check = |put_off: &[Target], expected| {
            // One is doubted, and two was begun.
            let next =
                plan.next(NOW, &TERMS, &[1].into(), Some(2), false, |target| put_off.contains(&target));
            assert_eq!(next.map(|entry| entry.target), expected, "{put_off:?}");
        };
        let [one, two, three] = [1, 2, 3].map(Target::Segment);
        check(&[], Some(one));
        check(&[one], Some(two));
        check(&[one, two], Some(Target::Index));
        check(&[one, two, Target::Index], Some(three));
        check(&[one, two, Target::Index, three], None);
        check(&[Target::Index, three], Some(one));
    }

    /// Else everything would be verified again and again for as long as one thing cannot be.
    #[test]
    fn what_is_overdue_and_put_off_makes_nothing_else_due() {
        let scrub = ScrubRow { index_at_ms: NOW - 40 * DAY, ..ScrubRow::default() };
        let lately = SegmentAge { id: 1, bytes: 1, written_at_ms: 0, verified_at_ms: Some(NOW - 1) };
        let plan = Plan::new(NOW, &Segments { segments: vec![lately], index_bytes: 9, scrub }, &TERMS);
        let next =
            |put_off| plan.next(NOW, &TERMS, &BTreeSet::new(), None, true, |target| Some(target) == put_off);
        assert_eq!(next(None).map(|entry| entry.target), Some(Target::Index));
        assert_eq!(next(Some(Target::Index)), None);
    }

    #[test]
    fn what_is_asked_for_is_verified_unless_it_was_since() {
        let asked = |before_ms| plan(&[(1, 1, 2), (2, 5, 4)], before_ms);
        let next = |plan: &Plan| {
            plan.next(NOW, &TERMS, &BTreeSet::new(), None, false, |_| false).map(|entry| entry.target)
        };
        assert_eq!(next(&asked(NOW - 3 * DAY)), Some(Target::Segment(2)));
        assert_eq!(asked(NOW - 3 * DAY).asked_bytes(), 5);
        assert_eq!(next(&asked(NOW - 5 * DAY)), None);
        assert_eq!(asked(NOW + 900 * DAY).asked_bytes(), 0, "asked for by a clock that went wrong");
    }

    #[test]
    fn clock_that_jumps_makes_no_age_negative_and_no_segment_wait_for_years() {
        let young = plan(&[(1, 7, -1)], 0).outlook(NOW, &TERMS);
        assert_eq!((young.oldest_age_ms, young.overdue_bytes), (0, 0));
        let back = plan(&[(1, 7, -900)], 0);
        assert_eq!(back.outlook(NOW, &TERMS).overdue_bytes, 0);
        assert!(back.next(NOW, &TERMS, &BTreeSet::new(), None, false, |_| false).is_some());
        let ahead = plan(&[(1, 7, 900)], 0).outlook(NOW, &TERMS);
        assert_eq!((ahead.overdue_bytes, ahead.begins_in_ms), (7, Some(0)));
    }

    #[test]
    fn outlook_tells_in_advance_that_there_is_too_much_for_the_rate() {
        let late = |bytes, days, awake| {
            let terms = Terms { awake, ..TERMS };
            plan(&[(1, bytes, days)], 0).outlook(NOW, &terms).late_ms
        };
        let day = u64::try_from(DAY).unwrap();
        assert_eq!(late(29 * DAY_BYTES, 1, 1.0), 0);
        assert_eq!(late(29 * DAY_BYTES, 3, 1.0), 2 * day);
        assert_eq!(late(29 * DAY_BYTES, 0, 0.5), 28 * day);
        let unlimited = Terms { rate: None, ..TERMS };
        assert_eq!(plan(&[(1, u64::MAX / 2, 1)], 0).outlook(NOW, &unlimited).late_ms, 0);
    }

    #[test]
    fn store_without_anything_has_nothing_to_verify_but_its_index() {
        let stored = Segments { segments: Vec::new(), index_bytes: 9, scrub: ScrubRow::default() };
        let plan = Plan::new(NOW, &stored, &TERMS);
        assert_eq!(plan.next(NOW, &TERMS, &BTreeSet::new(), None, false, |_| false), None);
        assert_eq!(plan.outlook(NOW, &TERMS).oldest_age_ms, 0);
    }
}

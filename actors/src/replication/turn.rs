//! When it is this node's turn to mend a tessera, and how much it may move for that: pure.

use std::time::Duration;

use proto::repair::begins_after;

use crate::{clock, storage::RepairAllowance};

/// Whether and when this node mends a tessera. In milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// Since when it has lost too much.
    pub(super) below_since_ms: Option<i64>,
    /// When this node begins; never as long as it is no repairer of it.
    pub(super) due_at_ms: Option<i64>,
}

/// After a look, by what was found before.
pub(super) fn next(
    below_since_ms: Option<i64>,
    is_below: bool,
    rank: Option<usize>,
    grace: Duration,
    now_ms: i64,
) -> Turn {
    if !is_below {
        return Turn { below_since_ms: None, due_at_ms: None };
    }
    // What is in the future was noted by a clock that was wrong.
    let since_ms = below_since_ms.filter(|since_ms| *since_ms <= now_ms).unwrap_or(now_ms);
    let due = |rank| since_ms.saturating_add(clock::ms(begins_after(rank, grace)));
    Turn { below_since_ms: Some(since_ms), due_at_ms: rank.map(due) }
}

/// What may be moved by now, of so many bytes a day: no more is saved up than for one day. What was overdrawn is waited for.
pub(super) fn allowance(before: Option<RepairAllowance>, per_day: u64, now_ms: i64) -> RepairAllowance {
    let all = i64::try_from(per_day).unwrap_or(i64::MAX);
    let Some(before) = before else { return RepairAllowance { left: all, at_ms: now_ms } };
    // A clock that was wrong gives no more than a day's worth, and takes nothing.
    let since_ms = now_ms.saturating_sub(before.at_ms).clamp(0, DAY_MS);
    let earned = i128::from(all) * i128::from(since_ms) / i128::from(DAY_MS);
    let left = (i128::from(before.left) + earned).min(all.into());
    RepairAllowance { left: i64::try_from(left).unwrap_or(i64::MIN), at_ms: now_ms }
}

const DAY_MS: i64 = 24 * 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;
    const GRACE: Duration = Duration::from_secs(60);

    #[test]
    fn repairer_waits_for_those_before_it_from_when_too_much_was_first_lost() {
        let check = |before: Option<i64>, rank, since_ms, due_ms: Option<i64>| {
            let turn = next(before, true, rank, GRACE, NOW_MS);
            assert_eq!(turn, Turn { below_since_ms: Some(since_ms), due_at_ms: due_ms });
        };
        check(None, Some(0), NOW_MS, Some(NOW_MS + 60_000));
        check(None, Some(2), NOW_MS, Some(NOW_MS + 180_000));
        check(Some(NOW_MS - 50_000), Some(0), NOW_MS - 50_000, Some(NOW_MS + 10_000));
        check(None, None, NOW_MS, None);
        // A clock that was years ahead does not put it off.
        check(Some(NOW_MS + 1), Some(0), NOW_MS, Some(NOW_MS + 60_000));
        let safe = Turn { below_since_ms: None, due_at_ms: None };
        assert_eq!(next(Some(NOW_MS - 50_000), false, Some(0), GRACE, NOW_MS), safe);
    }

    #[test]
    fn allowance_comes_back_over_a_day_and_is_not_saved_up() {
        let left = |before: i64, since_ms: i64| {
            let before = RepairAllowance { left: before, at_ms: NOW_MS - since_ms };
            allowance(Some(before), 1000, NOW_MS).left
        };
        assert_eq!(allowance(None, 1000, NOW_MS).left, 1000);
        assert_eq!(left(0, DAY_MS / 2), 500);
        assert_eq!(left(800, DAY_MS / 2), 1000);
        // More than a day's worth was begun at once: the days after pay for it.
        assert_eq!(left(-2500, DAY_MS), -1500);
        assert_eq!((left(100, -DAY_MS), left(-5000, 4000 * DAY_MS)), (100, -4000));
        assert_eq!(allowance(Some(RepairAllowance { left: 5, at_ms: 0 }), u64::MAX, NOW_MS).left, i64::MAX);
    }
}

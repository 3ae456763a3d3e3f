//! Which connections go: pure, over a view of each, with the time as an argument. Times are milliseconds since the
//! pool began.

use std::cmp::Reverse;

use proto::NodeId;

/// What is known of a connection when it is decided whether it stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) node: NodeId,
    /// Streams that are open on it, either way.
    pub(super) in_use: usize,
    /// When the last of them was opened or closed.
    pub(super) last_used_ms: u64,
    /// Whether it is held open so that a node behind a router stays reachable.
    pub(super) is_kept: bool,
    /// When a packet last came that does nothing but hold it open. Only of a node that the operator wants and that has
    /// dialled this one: it may be behind a router, and could not be dialled again.
    pub(super) held_ms: Option<u64>,
}

/// Connections that have been idle for longer than they may. One with an open stream never is, and one that the other side
/// holds open is as long as it does so: up to so many of them, those that were used last.
pub(super) fn expired(now_ms: u64, entries: &[Entry], idle_ms: u64, held_max: usize) -> Vec<NodeId> {
    let is_old = |at_ms: u64| now_ms.saturating_sub(at_ms) >= idle_ms;
    let is_idle = |entry: &&Entry| entry.in_use == 0 && !entry.is_kept && is_old(entry.last_used_ms);
    let is_held = |entry: &&Entry| entry.held_ms.is_some_and(|at_ms| !is_old(at_ms));
    let (mut held, expired): (Vec<&Entry>, Vec<&Entry>) = entries.iter().filter(is_idle).partition(is_held);
    held.sort_by_key(|entry| (Reverse(entry.last_used_ms), entry.node));
    let too_many = held.into_iter().skip(held_max);
    expired.into_iter().chain(too_many).map(|entry| entry.node).collect()
}

/// The connection that makes room for a new one: the one that has been idle longest, of those first that neither side holds
/// open. `None` when all are in use.
pub(super) fn victim(entries: &[Entry]) -> Option<NodeId> {
    let idle = entries.iter().filter(|entry| entry.in_use == 0);
    let is_held = |entry: &Entry| entry.is_kept || entry.held_ms.is_some();
    idle.min_by_key(|entry| (is_held(entry), entry.last_used_ms)).map(|entry| entry.node)
}

/// Who dialled a connection, and when it was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// The node that dialled.
    pub(super) dialler: NodeId,
    pub(super) opened_at_ms: u64,
}

/// What becomes of the connection to a node that is there when there is a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Present {
    /// It stays, and the new one leaves.
    Stays,
    /// It leaves as soon as nobody uses it.
    Leaves,
    /// Its other end is gone, whether anybody was told or not.
    IsDead,
}

/// When both have dialled each other at once, both must keep the same one: the one that the smaller id dialled. Otherwise
/// the new one is right: whoever dials has lost the old one.
pub(super) fn present(node: NodeId, present: Origin, newcomer: Origin) -> Present {
    let apart_ms = newcomer.opened_at_ms.saturating_sub(present.opened_at_ms);
    let is_tie = present.dialler != newcomer.dialler && apart_ms < TIE_MS;
    if is_tie && newcomer.dialler > present.dialler {
        Present::Stays
    } else if is_tie || newcomer.dialler != node {
        Present::Leaves
    } else {
        Present::IsDead
    }
}

/// Two connections that came to be within this time were dialled at once.
const TIE_MS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn entry(number: u8, in_use: usize, last_used_ms: u64, is_kept: bool) -> Entry {
        Entry { node: node(number), in_use, last_used_ms, is_kept, held_ms: None }
    }

    #[test]
    fn connections_idle_for_too_long_expire() {
        let check = |entries: &[Entry], expected: &[u8]| {
            let expected: Vec<_> = expected.iter().map(|number| node(*number)).collect();
            assert_eq!(expired(1000, entries, 300, 0), expected, "{entries:?}");
        };
        check(&[], &[]);
        check(&[entry(1, 0, 700, false)], &[1]);
        check(&[entry(1, 0, 701, false)], &[]);
        check(&[entry(1, 1, 0, false)], &[]);
        check(&[entry(1, 0, 0, true)], &[]);
        check(&[entry(1, 0, 0, false), entry(2, 0, 999, false), entry(3, 0, 1, false)], &[1, 3]);
        // A clock that seems to run backwards makes nothing old.
        check(&[entry(1, 0, 2000, false)], &[]);
    }

    #[test]
    fn connections_that_the_other_side_holds_open_stay_up_to_a_bound() {
        let held = |number, in_use, last_used_ms, held_ms| Entry {
            held_ms: Some(held_ms),
            ..entry(number, in_use, last_used_ms, false)
        };
        let check = |entries: &[Entry], held_max, expected: &[u8]| {
            let expected: Vec<_> = expected.iter().map(|number| node(*number)).collect();
            assert_eq!(expired(1000, entries, 300, held_max), expected, "{entries:?}");
        };
        check(&[held(1, 0, 0, 701)], 1, &[]);
        check(&[held(1, 0, 0, 700)], 1, &[1]);
        check(&[held(1, 0, 0, 2000)], 1, &[]);
        check(&[held(1, 0, 0, 999)], 0, &[1]);
        // Those that were used last stay, and of those that were used at once always the same.
        check(&[held(1, 0, 5, 999), held(2, 0, 6, 999), held(3, 0, 7, 999)], 2, &[1]);
        check(&[held(3, 0, 5, 999), held(1, 0, 5, 999), held(2, 0, 5, 999)], 2, &[3]);
        // Those that stay anyhow take nobody's place.
        check(&[held(1, 1, 9, 999), held(2, 0, 701, 999), held(3, 0, 0, 999)], 1, &[]);
        check(&[entry(1, 0, 9, true), entry(2, 0, 9, false), held(3, 0, 0, 999)], 1, &[2]);
    }

    #[test]
    fn victim_is_the_one_idle_longest() {
        let check = |entries: &[Entry], expected: Option<u8>| {
            assert_eq!(victim(entries), expected.map(node), "{entries:?}");
        };
        check(&[], None);
        check(&[entry(1, 1, 0, false), entry(2, 3, 5, false)], None);
        check(&[entry(1, 0, 7, false), entry(2, 0, 5, false)], Some(2));
        check(&[entry(1, 0, 7, false), entry(2, 1, 5, false)], Some(1));
        check(&[entry(1, 0, 7, false), entry(2, 0, 5, true)], Some(1));
        check(&[entry(1, 2, 7, false), entry(2, 0, 5, true)], Some(2));
        let held = Entry { held_ms: Some(1), ..entry(2, 0, 5, false) };
        check(&[entry(1, 0, 7, false), held], Some(1));
    }

    #[test]
    fn tie_is_broken_alike_on_both_sides() {
        let (small, large) = (node(1), node(2));
        let at = |dialler, opened_at_ms| Origin { dialler, opened_at_ms };
        let check = |present, newcomer, expected| {
            // As the large one sees it.
            assert_eq!(super::present(small, present, newcomer), expected, "{present:?} {newcomer:?}");
        };
        check(at(small, 0), at(large, 5), Present::Stays);
        check(at(large, 0), at(small, 5), Present::Leaves);
        // Dialled again by the same node, or long after: the old one is dead for whoever dials.
        check(at(small, 0), at(small, 5), Present::IsDead);
        check(at(large, 0), at(small, TIE_MS), Present::IsDead);
        check(at(small, 0), at(large, TIE_MS), Present::Leaves);
        check(at(large, 0), at(large, 5), Present::Leaves);
    }
}

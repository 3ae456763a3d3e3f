//! Repair: when a stripe is to be mended, and by whom. Whoever mends it chooses the new holders with
//! [`fill`](crate::placement::fill), so that two who do it at once choose the same ones.

use std::time::Duration;

use crate::ids::{NodeId, TesseraId};

/// The margin below which a stripe is to be mended, where nothing else was said: what must survive, and at least half of
/// the parity. More often would move bytes for every machine that is away for a while.
pub fn margin_wanted(survive: u16, m: u16) -> i32 {
    i32::from(survive.max(m.div_ceil(2)).min(m))
}

/// Those that may mend a tessera, in the order in which they begin: the nodes of its author first, then the others of the
/// living that hold any of it, ranked by BLAKE3(`repair` ‖ tessera ‖ node).
pub fn repairers(tessera: TesseraId, authors: &[NodeId], holders: &[NodeId]) -> Vec<NodeId> {
    let mut all: Vec<_> = holders
        .iter()
        .chain(authors)
        .map(|node| (!authors.contains(node), rank(tessera, *node), *node))
        .collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(|(_, _, node)| node).collect()
}

/// How long after a stripe fell below its margin the repairer of this rank, from 0, begins: each leaves the ones before it
/// the time to do it.
pub fn begins_after(rank: usize, grace: Duration) -> Duration {
    grace.saturating_mul(u32::try_from(rank).unwrap_or(u32::MAX).saturating_add(1))
}

fn rank(tessera: TesseraId, node: NodeId) -> [u8; 32] {
    *blake3::Hasher::new()
        .update(b"repair")
        .update(tessera.as_bytes())
        .update(node.as_bytes())
        .finalize()
        .as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TESSERA: TesseraId = TesseraId::from_bytes([9; 32]);

    fn nodes(numbers: impl IntoIterator<Item = u8>) -> Vec<NodeId> {
        numbers.into_iter().map(|number| NodeId::from_bytes([number; 32])).collect()
    }

    #[test]
    fn margin_wanted_is_what_must_survive_or_half_of_the_parity() {
        let check = |survive, m, expected| assert_eq!(margin_wanted(survive, m), expected, "{survive} {m}");
        check(2, 2, 2);
        check(2, 3, 2);
        check(2, 8, 4);
        check(5, 8, 5);
        // No stripe has more than its parity.
        check(2, 1, 1);
        check(2, 0, 0);
    }

    #[test]
    fn author_mends_first_and_then_each_in_turn() {
        let order = repairers(TESSERA, &nodes([7]), &nodes(1..=9));
        assert_eq!(order.len(), 9);
        assert_eq!(order[0], NodeId::from_bytes([7; 32]));
        assert_eq!(repairers(TESSERA, &nodes([7]), &nodes((1..=9).rev())), order);
        assert_ne!(repairers(TesseraId::from_bytes([8; 32]), &nodes([7]), &nodes(1..=9)), order);
        let grace = Duration::from_secs(60);
        assert_eq!([0, 1, 2].map(|rank| begins_after(rank, grace)), [60, 120, 180].map(Duration::from_secs));
        assert_eq!(begins_after(usize::MAX, Duration::MAX), Duration::MAX);
    }
}

//! Who gets a place in the pool: pure, over a view of those who have one.
//!
//! A key costs nothing, an address little, a network something. So nodes that the operator has not asked for are guests:
//! those of one network have a share of the places only, and all of them together leave some for the nodes that the
//! operator wants.

use proto::{NodeId, placement::Network};

use super::limits::{PREFIX_PLACES_MIN, PREFIX_SHARE, RESERVED_SHARE};

/// What counts of a node that is connected, or comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Occupant {
    pub(super) node: NodeId,
    /// Whether the operator wants it.
    pub(super) is_configured: bool,
    /// Whether it has dialled this node, and not the other way round.
    pub(super) is_inbound: bool,
    pub(super) prefix: Network,
    pub(super) in_use: usize,
    pub(super) last_used_ms: u64,
}

/// How many places there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) max: usize,
    /// Taken, those of nodes that are being dialled included.
    pub(super) taken: usize,
    /// Nodes that the operator wants, whether they are connected or not.
    pub(super) configured: usize,
}

/// What happens to a node that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Comes,
    /// It takes the place of another, which goes.
    Replaces(NodeId),
    /// All places are taken, or kept for others.
    Full,
    /// Its network has as many as one may.
    Crowded,
}

/// Whether a node that has dialled this one gets a place.
pub(super) fn decide(places: Places, present: &[Occupant], newcomer: &Occupant) -> Decision {
    let is_free = places.taken < places.max;
    if newcomer.is_configured {
        return match (is_free, guest_to_go(present)) {
            (true, _) => Decision::Comes,
            (false, Some(guest)) => Decision::Replaces(guest),
            (false, None) => Decision::Full,
        };
    }
    let guests = || present.iter().filter(|occupant| !occupant.is_configured);
    let of_its_network = guests().filter(|guest| guest.is_inbound && guest.prefix == newcomer.prefix).count();
    if of_its_network >= prefix_max(places.max) {
        Decision::Crowded
    } else if is_free && guests().count() < guests_max(places) {
        Decision::Comes
    } else {
        Decision::Full
    }
}

/// Places that guests may have together.
fn guests_max(places: Places) -> usize {
    places.max - reserved(places.max, places.configured)
}

/// Places, of so many, that are kept for so many nodes that the operator wants.
pub(super) fn reserved(places: usize, configured: usize) -> usize {
    configured.min(places / RESERVED_SHARE)
}

/// Places, of so many, that the guests of one network may have.
pub(super) fn prefix_max(places: usize) -> usize {
    (places / PREFIX_SHARE).max(PREFIX_PLACES_MIN)
}

/// The guest that makes way for a node that the operator wants: the one that has been idle longest, else the one whose
/// streams are the oldest.
fn guest_to_go(present: &[Occupant]) -> Option<NodeId> {
    let guests = present.iter().filter(|occupant| !occupant.is_configured);
    guests.min_by_key(|guest| (guest.in_use > 0, guest.last_used_ms)).map(|guest| guest.node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occupant(number: u8, is_configured: bool, network: u8) -> Occupant {
        Occupant {
            node: NodeId::from_bytes([number; 32]),
            is_configured,
            is_inbound: true,
            prefix: Network::V4([network; 3]),
            in_use: 0,
            last_used_ms: number.into(),
        }
    }

    fn guests(networks: &[u8]) -> Vec<Occupant> {
        (0..).zip(networks).map(|(number, network)| occupant(number, false, *network)).collect()
    }

    #[test]
    fn addresses_of_one_network_have_one_prefix() {
        let check = |one: &str, other: &str, expected| {
            let [one_prefix, other_prefix] = [one, other].map(|text| Network::of(text.parse().unwrap()));
            assert_eq!(one_prefix == other_prefix, expected, "{one} {other}");
        };
        check("192.0.2.1", "192.0.2.254", true);
        check("192.0.2.1", "192.0.3.1", false);
        check("192.0.2.1", "::ffff:192.0.2.9", true);
        check("2001:db8:1::1", "2001:db8:1:ffff::1", true);
        check("2001:db8:1::1", "2001:db8:2::1", false);
    }

    #[test]
    fn guests_leave_places_for_nodes_that_the_operator_wants() {
        let check = |configured, present: &[u8], expected| {
            let places = Places { max: 16, taken: present.len(), configured };
            let decision = decide(places, &guests(present), &occupant(99, false, 99));
            assert_eq!(decision, expected, "{configured} {present:?}");
        };
        let spread: Vec<u8> = (0..16).collect();
        check(0, &spread[..15], Decision::Comes);
        check(0, &spread, Decision::Full);
        check(3, &spread[..12], Decision::Comes);
        check(3, &spread[..13], Decision::Full);
        // However many are wanted: half of the places are for guests.
        check(99, &spread[..7], Decision::Comes);
        check(99, &spread[..8], Decision::Full);
    }

    #[test]
    fn guests_of_one_network_have_a_share_of_the_places_only() {
        let check = |max, present: &[u8], expected| {
            let places = Places { max, taken: present.len(), configured: 0 };
            let decision = decide(places, &guests(present), &occupant(99, false, 7));
            assert_eq!(decision, expected, "{max} {present:?}");
        };
        check(256, &[7; 31], Decision::Comes);
        check(256, &[7; 32], Decision::Crowded);
        check(256, &[8; 32], Decision::Comes);
        check(16, &[7, 7, 7], Decision::Comes);
        check(16, &[7, 7, 7, 7], Decision::Crowded);
        check(2, &[8, 8], Decision::Full);
    }

    #[test]
    fn guests_that_this_node_has_dialled_do_not_count_for_their_network() {
        let dialled = |guest: Occupant| Occupant { is_inbound: false, ..guest };
        let present: Vec<_> = guests(&[7; 5]).into_iter().map(dialled).collect();
        let places = Places { max: 16, taken: 5, configured: 0 };
        assert_eq!(decide(places, &present, &occupant(99, false, 7)), Decision::Comes);
    }

    #[test]
    fn node_that_the_operator_wants_takes_the_place_of_a_guest() {
        let check = |present: &[Occupant], expected| {
            let places = Places { max: 3, taken: 3, configured: 1 };
            assert_eq!(decide(places, present, &occupant(99, true, 1)), expected, "{present:?}");
        };
        let wanted = |number| occupant(number, true, 1);
        let idle = |number| occupant(number, false, 1);
        let busy = |number| Occupant { in_use: 1, ..idle(number) };
        check(&[wanted(1), wanted(2), wanted(3)], Decision::Full);
        check(&[wanted(1), idle(2), idle(3)], Decision::Replaces(NodeId::from_bytes([2; 32])));
        check(&[busy(1), wanted(2), idle(3)], Decision::Replaces(NodeId::from_bytes([3; 32])));
        check(&[busy(2), busy(1), wanted(3)], Decision::Replaces(NodeId::from_bytes([1; 32])));
    }
}

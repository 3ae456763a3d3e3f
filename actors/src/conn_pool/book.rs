//! The nodes that are known, as the pool has to know them: who is blocked, and where they are.

use std::collections::BTreeMap;

use config::{HostPort, NetworkConfig};
use proto::{AuthorId, NodeId, TesseraId};

/// All that is known of other nodes. Replaced whole when anything changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerBook {
    /// Whether any node may have something kept here, or only those that are known. Any may connect and read.
    pub accepts_any: bool,
    /// The nodes.
    pub peers: BTreeMap<NodeId, Known>,
    /// Nodes that are blocked, and why.
    pub blocked: BTreeMap<NodeId, String>,
    /// Tesserae that are blocked, and why.
    pub blocked_tesseras: BTreeMap<TesseraId, String>,
}

/// What is known of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Where it is, the best first.
    pub addresses: Vec<HostPort>,
    /// Whether the operator wants it, and not only another node told of it.
    pub is_configured: bool,
    /// Who it acts for, once it has shown that.
    pub author: Option<AuthorId>,
    /// How much may be kept for it, in bytes, if that was said.
    pub allow_bytes: Option<u64>,
}

impl PeerBook {
    /// Where a node may be dialled, the best first.
    pub(super) fn addresses(&self, node: &NodeId) -> &[HostPort] {
        match self.peers.get(node) {
            Some(peer) if !self.blocked.contains_key(node) => &peer.addresses,
            _ => &[],
        }
    }

    /// Whether a node is a peer that the operator wants, and has not blocked.
    pub fn is_wanted(&self, node: NodeId) -> bool {
        self.is_configured(&node) && !self.blocked.contains_key(&node)
    }

    /// Whether a peer acts for an author that the operator wants, and has not blocked. Another machine of that author is
    /// no stranger.
    pub(crate) fn is_of_a_peer(&self, author: AuthorId) -> bool {
        self.machines(author).any(|node| self.is_wanted(node))
    }

    /// Whether the operator wants a node.
    pub(crate) fn is_configured(&self, node: &NodeId) -> bool {
        self.peers.get(node).is_some_and(|peer| peer.is_configured)
    }

    /// How many nodes the operator wants.
    pub(super) fn configured(&self) -> usize {
        self.peers.values().filter(|peer| peer.is_configured).count()
    }

    /// How many bytes may be kept for an author in all: what its machines may together, those without an allowance of
    /// their own `each`. `None` for an author that no peer acts for.
    pub fn allowance(&self, author: AuthorId, each: u64) -> Option<u64> {
        let machines = self.peers.values().filter(|peer| peer.is_configured && peer.author == Some(author));
        machines.map(|peer| peer.allow_bytes.unwrap_or(each)).reduce(u64::saturating_add)
    }

    /// How many bytes may be kept for an author that no peer acts for, whose machines keep so much for this node: as much,
    /// and a little more. What they have signed to keep is not proven, so it has a bound. `None` for nothing.
    pub fn stranger_allowance(&self, network: &NetworkConfig, theirs: u64) -> Option<u64> {
        let deficit = network.accept_deficit_bytes.saturating_add(theirs);
        self.accepts_any.then_some(deficit.min(network.max_storage_per_peer_bytes))
    }

    /// The nodes that are known to act for an author, whether the operator wants them or not.
    pub fn machines(&self, author: AuthorId) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.iter().filter(move |(_, peer)| peer.author == Some(author)).map(|(node, _)| *node)
    }

    /// The authors that peers act for which the operator wants.
    pub(crate) fn authors(&self) -> impl Iterator<Item = AuthorId> + '_ {
        self.peers.values().filter(|peer| peer.is_configured).filter_map(|peer| peer.author)
    }

    /// Whether what is known of a node is other than before, of what says whether it can be reached: where it is, whether the
    /// operator wants it, and whether it is blocked.
    pub(super) fn is_news(&self, before: &Self, node: &NodeId) -> bool {
        let known = |book: &Self| {
            let peer = book.peers.get(node);
            let peer = peer.map(|peer| (peer.addresses.clone(), peer.is_configured));
            (peer, book.blocked.contains_key(node))
        };
        known(self) != known(before)
    }

    /// Whether a node may be held connected: the operator wants it, and its address is known.
    pub(super) fn may_be_kept(&self, node: &NodeId) -> bool {
        let is_wanted = |peer: &Known| peer.is_configured && !peer.addresses.is_empty();
        self.peers.get(node).is_some_and(is_wanted) && !self.blocked.contains_key(node)
    }

    /// The nodes that are held connected, so that they reach this one behind its router: a few of those that may be, and
    /// rather such as are there. Those that are held already come first, so that there are never more.
    pub(super) fn kept(&self, presence: impl Fn(&NodeId) -> Presence) -> Vec<NodeId> {
        let mut kept: Vec<_> = self.peers.keys().filter(|node| self.may_be_kept(node)).copied().collect();
        kept.sort_by_key(presence);
        kept.truncate(KEPT_MAX);
        kept
    }
}

/// Whether a node is there, as far as the pool knows. In the order in which nodes are held connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Presence {
    /// It is held connected, or dialled for that.
    Kept,
    /// There is a connection, which others need or have made.
    Connected,
    /// It may be dialled.
    Unknown,
    /// It could not be reached lately.
    Absent,
}

/// Nodes that are held connected.
const KEPT_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn known(addresses: &[&str], is_configured: bool) -> Known {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Known { addresses, is_configured, ..Known::default() }
    }

    #[test]
    fn node_is_wanted_unless_it_is_blocked_or_only_told_of() {
        let peers = [(node(1), known(&[], true)), (node(2), known(&[], true)), (node(3), known(&[], false))];
        let blocked = [(node(2), "spam".to_owned())].into();
        let book = PeerBook { peers: peers.into(), blocked, ..PeerBook::default() };
        assert_eq!([1, 2, 3, 4].map(|number| book.is_wanted(node(number))), [true, false, false, false]);
    }

    #[test]
    fn author_is_of_a_peer_unless_that_is_blocked_or_only_told_of() {
        let author = |number| AuthorId::from_bytes([number; 32]);
        let of = |number, is_configured| Known { author: Some(author(number)), ..known(&[], is_configured) };
        let peers = [(node(1), of(1, true)), (node(2), of(2, true)), (node(3), of(3, false))];
        let blocked = [(node(2), "spam".to_owned())].into();
        let book = PeerBook { peers: peers.into(), blocked, ..PeerBook::default() };
        assert_eq!([1, 2, 3, 4].map(|number| book.is_of_a_peer(author(number))), [true, false, false, false]);
    }

    #[test]
    fn author_has_the_allowances_of_all_its_machines() {
        let author = AuthorId::from_bytes([9; 32]);
        let machine = |author, allow_bytes, is_configured| Known {
            author: Some(author),
            allow_bytes,
            is_configured,
            ..Known::default()
        };
        let peers = [
            (node(1), machine(author, Some(5), true)),
            (node(2), machine(author, None, true)),
            (node(3), machine(author, Some(1000), false)),
            (node(4), machine(AuthorId::from_bytes([8; 32]), Some(1000), true)),
        ];
        let book = PeerBook { peers: peers.into(), ..PeerBook::default() };
        assert_eq!(book.allowance(author, 7), Some(12));
        assert_eq!(book.allowance(AuthorId::from_bytes([7; 32]), 7), None);
    }

    #[test]
    fn stranger_may_have_what_it_keeps_for_us_and_a_little_more_up_to_a_bound() {
        let network = NetworkConfig {
            accept_deficit_bytes: 10,
            max_storage_per_peer_bytes: 100,
            ..NetworkConfig::default()
        };
        let check = |accepts_any, theirs, expected| {
            let book = PeerBook { accepts_any, ..PeerBook::default() };
            assert_eq!(book.stranger_allowance(&network, theirs), expected, "{accepts_any} {theirs}");
        };
        check(true, 0, Some(10));
        check(true, 7, Some(17));
        check(true, 90, Some(100));
        check(true, u64::MAX, Some(100));
        check(false, 7, None);
    }

    #[test]
    fn only_what_says_whether_a_node_can_be_reached_is_news() {
        let peers = [(node(1), known(&["127.0.0.1:1"], true)), (node(2), known(&[], false))];
        let book = PeerBook { peers: peers.into(), ..PeerBook::default() };
        let check = |change: fn(&mut PeerBook), expected: &[u8]| {
            let mut later = book.clone();
            change(&mut later);
            let news: Vec<u8> = (1..4).filter(|number| later.is_news(&book, &node(*number))).collect();
            assert_eq!(news, expected, "{later:?}");
        };
        fn of(book: &mut PeerBook, number: u8) -> &mut Known {
            book.peers.entry(node(number)).or_default()
        }
        check(|_| (), &[]);
        check(|book| book.accepts_any = true, &[]);
        check(|book| of(book, 1).author = Some(AuthorId::from_bytes([9; 32])), &[]);
        check(|book| of(book, 1).allow_bytes = Some(1), &[]);
        check(|book| of(book, 1).addresses.push("127.0.0.1:2".parse().unwrap()), &[1]);
        check(|book| of(book, 2).is_configured = true, &[2]);
        check(|book| _ = of(book, 3), &[3]);
        check(|book| drop(book.peers.remove(&node(1))), &[1]);
        check(|book| drop(book.blocked.insert(node(2), "spam".to_owned())), &[2]);
    }

    #[test]
    fn few_configured_nodes_with_an_address_are_kept() {
        let somewhere = ["127.0.0.1:1"].as_slice();
        let peers = [
            (node(1), known(somewhere, false)),
            (node(2), known(&[], true)),
            (node(3), known(somewhere, true)),
            (node(4), known(somewhere, true)),
            (node(5), known(somewhere, true)),
            (node(6), known(somewhere, true)),
        ];
        let book = PeerBook { peers: peers.into(), ..PeerBook::default() };
        assert_eq!(book.kept(|_| Presence::Unknown), [3, 4, 5].map(node));
        let blocked = [(node(4), String::new())].into();
        let book = PeerBook { blocked, ..book };
        assert_eq!(book.kept(|_| Presence::Unknown), [3, 5, 6].map(node));
    }

    #[test]
    fn nodes_that_are_there_are_kept_rather_than_others() {
        use Presence::{Absent, Connected, Kept, Unknown};
        let peers = (0..5).map(|number| (node(number), known(&["127.0.0.1:1"], true))).collect();
        let book = PeerBook { peers, ..PeerBook::default() };
        let check = |presences: [Presence; 5], expected: [u8; 3]| {
            let presence = |other: &NodeId| presences[usize::from(other.as_bytes()[0])];
            assert_eq!(book.kept(presence), expected.map(node), "{presences:?}");
        };
        check([Unknown; 5], [0, 1, 2]);
        check([Absent, Absent, Unknown, Unknown, Unknown], [2, 3, 4]);
        check([Absent, Absent, Absent, Unknown, Connected], [4, 3, 0]);
        check([Absent; 5], [0, 1, 2]);
        // Once it is there, nobody else takes its place, whoever comes or comes back.
        check([Unknown, Connected, Kept, Kept, Kept], [2, 3, 4]);
        check([Connected, Unknown, Connected, Kept, Absent], [3, 0, 2]);
    }
}

//! Nodes that are known because others named them. Nothing is believed of them but where they may be: who answers there has to
//! have their key.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use config::HostPort;
use futures::future::join_all;
use proto::{NodeId, placement::Network, wire::PeerSample};
use tokio::time::timeout;

use super::Peers;
use crate::{
    clock,
    error::ActorError,
    remote::Remote,
    storage::{Note, Origin, Peer},
};

impl Peers {
    /// Asks some nodes whom they know, and those that they name in turn, until some others are known or so many were asked;
    /// with nobody to be found, all whom it comes to. They are known from then on. Whether any of them is new.
    pub(crate) async fn look_around(
        &self,
        remote: &Remote,
        among: Vec<NodeId>,
        sought: &[NodeId],
        asked_max: usize,
    ) -> Result<bool, ActorError> {
        let before = self.book().peers.len();
        let is_done = || {
            let book = self.book();
            !sought.is_empty() && sought.iter().all(|node| book.peers.contains_key(node))
        };
        let (mut asked, mut next) = (BTreeSet::new(), among);
        while !is_done() {
            next.retain(|node| asked.len() < asked_max && asked.insert(*node));
            if next.is_empty() {
                break;
            }
            let named = self.named_by(remote, &next).await;
            next = named.iter().map(|one| one.node).collect();
            let (found, others): (Vec<_>, Vec<_>) =
                named.into_iter().partition(|one| sought.contains(&one.node));
            self.learn(found).await?;
            // Who is on the way to them has to be known to be asked.
            if !is_done() && asked.len() < asked_max {
                self.learn(others).await?;
            }
        }
        Ok(self.book().peers.len() > before)
    }

    /// Whom these name. Whoever does not answer names nobody.
    async fn named_by(&self, remote: &Remote, nodes: &[NodeId]) -> Vec<PeerSample> {
        let ask = |node: NodeId| timeout(ANSWERED_WITHIN, remote.peers_of(node));
        let answers = join_all(nodes.iter().map(|node| ask(*node))).await;
        let named = answers.into_iter().filter_map(|answer| answer.ok()?.ok()).flatten();
        let named = named.filter(|one| one.node != self.us() && !one.addresses.is_empty());
        named.take(NAMED_MAX).collect()
    }

    /// Knows those that are new, as far as there is room.
    async fn learn(&self, named: Vec<PeerSample>) -> Result<(), ActorError> {
        let book = self.book();
        let new: Vec<_> = named.into_iter().filter(|one| !book.peers.contains_key(&one.node)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let now_ms = clock::now_ms();
        let (gone, new) = admit(&self.0.records.peers().await?, book.peers.len(), new, now_ms);
        let gone = gone.into_iter().map(|node| Note::RemovePeer { node });
        let new = new.into_iter().map(|one| Note::Peer {
            node: one.node,
            addresses: one.addresses,
            author: None,
            allow_bytes: None,
            origin: Origin::Introduced,
            name: None,
            at_ms: now_ms,
        });
        let notes: Vec<_> = gone.chain(new).collect();
        if notes.is_empty() { Ok(()) } else { self.change(notes).await }
    }
}

/// Who makes way, and who of those that are named comes to be known, where so many are: no more of one network than
/// [`NETWORK_MAX`], whoever names them, so that nobody fills the table with what an address of theirs is good for.
fn admit(
    peers: &[Peer],
    mut known: usize,
    named: Vec<PeerSample>,
    now_ms: i64,
) -> (Vec<NodeId>, Vec<PeerSample>) {
    let mut networks = HashMap::<_, usize>::new();
    for peer in peers.iter().filter(|peer| peer.origin == Origin::Introduced) {
        *networks.entry(network_of(&peer.addresses)).or_default() += 1;
    }
    let (mut stale, mut gone, mut new) = (stale(peers, now_ms), Vec::new(), Vec::new());
    for one in named {
        let network = network_of(&one.addresses);
        let is_crowded = networks.get(&network).is_some_and(|count| *count >= NETWORK_MAX);
        if is_crowded || known >= KNOWN_MAX {
            let may_go = |peer: &&Peer| !is_crowded || network_of(&peer.addresses) == network;
            let Some(at) = stale.iter().position(may_go) else { continue };
            let goes = stale.remove(at);
            gone.push(goes.node);
            known -= 1;
            networks.entry(network_of(&goes.addresses)).and_modify(|count| *count -= 1);
        }
        *networks.entry(network).or_default() += 1;
        known += 1;
        new.push(one);
    }
    (gone, new)
}

/// Where a node is, by the first of its addresses. All that have a name and no number are in one: names cost nothing.
fn network_of(addresses: &[String]) -> Option<Network> {
    let address: HostPort = addresses.first()?.parse().ok()?;
    Some(Network::of(address.socket_addr()?.ip()))
}

/// Those that others have named and that make way for new ones: those that were never there though named a while ago, and
/// those that were not there for long; the longest first. Whoever names nodes that there are not fills the room for a while only.
fn stale(peers: &[Peer], now_ms: i64) -> Vec<&Peer> {
    let named = peers.iter().filter(|peer| peer.origin == Origin::Introduced);
    let mut stale: Vec<(i64, &Peer)> = named
        .filter_map(|peer| {
            let (since_ms, patience) = match peer.seen_at_ms {
                Some(seen_at_ms) => (seen_at_ms, AWAY_MAX),
                None => (peer.added_at_ms, NEVER_SEEN_MAX),
            };
            (now_ms.saturating_sub(since_ms) > clock::ms(patience)).then_some((since_ms, peer))
        })
        .collect();
    stale.sort_unstable_by_key(|(since_ms, peer)| (*since_ms, peer.node));
    stale.into_iter().map(|(_, peer)| peer).collect()
}

/// Nodes that are made known at a time: whoever answers may name some that there are not.
const NAMED_MAX: usize = 256;
/// With so many that are known, only those make way for others who are [`stale`]: whoever wants could name new ones for ever.
const KNOWN_MAX: usize = 512;
/// How many of one network may be known because others named them.
const NETWORK_MAX: usize = KNOWN_MAX / 16;
/// How long one that was never there is remembered all the same.
const NEVER_SEEN_MAX: Duration = Duration::from_hours(24);
/// How long one may be away. What it kept is mended long before.
const AWAY_MAX: Duration = Duration::from_hours(30 * 24);
/// How long a node may take to name others.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600_000;

    fn peer(number: u8, origin: Origin, added_at_ms: i64, seen_at_ms: Option<i64>) -> Peer {
        Peer {
            node: NodeId::from_bytes([number; 32]),
            addresses: vec![format!("10.0.{number}.1:4433")],
            author: None,
            allow_bytes: None,
            origin,
            added_at_ms,
            seen_at_ms,
            last_address: None,
            wrong_bytes: 0,
            errors: 0,
            absences: 0,
            name: None,
        }
    }

    fn named(number: u8, address: &str) -> PeerSample {
        PeerSample { node: NodeId::from_bytes([number; 32]), addresses: vec![address.to_owned()] }
    }

    #[test]
    fn who_was_named_and_is_not_there_makes_way_and_nobody_else() {
        let peers = [
            peer(1, Origin::Introduced, 59 * DAY, None),
            peer(2, Origin::Introduced, 10 * DAY, None),
            peer(3, Origin::Introduced, 0, Some(50 * DAY)),
            peer(4, Origin::Introduced, 0, Some(9 * DAY)),
            peer(5, Origin::Configured, 0, None),
        ];
        let comes = |known, many| {
            let named = (0..many).map(|number| named(100 + number, &format!("10.1.{number}.1:1"))).collect();
            let (gone, new) = admit(&peers, known, named, 60 * DAY);
            (gone.into_iter().map(|node| node.as_bytes()[0]).collect::<Vec<_>>(), new.len())
        };
        assert_eq!(comes(KNOWN_MAX - 9, 9), (vec![], 9));
        assert_eq!(comes(KNOWN_MAX, 9), (vec![4, 2], 2));
        assert_eq!(comes(KNOWN_MAX - 1, 2), (vec![4], 2));
    }

    #[test]
    fn nobody_fills_the_table_from_one_network_or_with_names() {
        let many = |address: &dyn Fn(u8) -> String| {
            let named = (0..200).map(|number| named(number, &address(number))).collect();
            admit(&[], 0, named, 0).1.len()
        };
        assert_eq!(many(&|number| format!("10.0.0.{number}:1")), NETWORK_MAX);
        assert_eq!(many(&|number| format!("host{number}.example:1")), NETWORK_MAX);
        assert_eq!(many(&|number| format!("10.0.{number}.1:1")), 200);
        // Whom the operator wants takes nobody's place, and who is not there makes way for one of the same network alone.
        let there: Vec<_> = (0..=u8::try_from(NETWORK_MAX).unwrap())
            .map(|number| {
                let origin = if number == 0 { Origin::Configured } else { Origin::Introduced };
                Peer { addresses: vec!["10.9.9.9:1".to_owned()], ..peer(number, origin, 0, Some(60 * DAY)) }
            })
            .collect();
        let comes = || vec![named(200, "10.9.9.1:1"), named(201, "10.9.8.1:1")];
        assert_eq!(admit(&there, there.len(), comes(), 60 * DAY), (vec![], vec![named(201, "10.9.8.1:1")]));
        let (gone, new) = admit(&there, there.len(), comes(), 99 * DAY);
        assert_eq!((gone, new), (vec![NodeId::from_bytes([1; 32])], comes()));
    }
}

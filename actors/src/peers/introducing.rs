//! Nodes that are known because others named them. Nothing is believed of them but where they may be: who answers there has to
//! have their key.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use proto::{NodeId, wire::PeerSample};
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
        let excess = (book.peers.len() + new.len()).saturating_sub(KNOWN_MAX);
        let gone = match excess {
            0 => Vec::new(),
            _ => stale(&self.0.records.peers().await?, excess, clock::now_ms()),
        };
        let room = KNOWN_MAX.saturating_sub(book.peers.len()) + gone.len();
        let gone = gone.into_iter().map(|node| Note::RemovePeer { node });
        let new = new.into_iter().take(room).map(|one| Note::Peer {
            node: one.node,
            addresses: one.addresses,
            author: None,
            allow_bytes: None,
            origin: Origin::Introduced,
            name: None,
            at_ms: clock::now_ms(),
        });
        let notes: Vec<_> = gone.chain(new).collect();
        if notes.is_empty() { Ok(()) } else { self.change(notes).await }
    }
}

/// So many that others have named and that make way for new ones: those that were never there though named a while ago, and
/// those that were not there for long; the longest first. Whoever names nodes that there are not fills the room for a while only.
fn stale(peers: &[Peer], many: usize, now_ms: i64) -> Vec<NodeId> {
    let named = peers.iter().filter(|peer| peer.origin == Origin::Introduced);
    let mut stale: Vec<(i64, NodeId)> = named
        .filter_map(|peer| {
            let (since_ms, patience) = match peer.seen_at_ms {
                Some(seen_at_ms) => (seen_at_ms, AWAY_MAX),
                None => (peer.added_at_ms, NEVER_SEEN_MAX),
            };
            (now_ms.saturating_sub(since_ms) > clock::ms(patience)).then_some((since_ms, peer.node))
        })
        .collect();
    stale.sort_unstable();
    stale.into_iter().take(many).map(|(_, node)| node).collect()
}

/// Nodes that are made known at a time: whoever answers may name some that there are not.
const NAMED_MAX: usize = 256;
/// With so many that are known, only those make way for others who are [`stale`]: whoever wants could name new ones for ever.
const KNOWN_MAX: usize = 512;
/// How long one that was never there is remembered all the same.
const NEVER_SEEN_MAX: Duration = Duration::from_hours(24);
/// How long one may be away. What it kept is mended long before.
const AWAY_MAX: Duration = Duration::from_hours(30 * 24);
/// How long a node may take to name others.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_named_and_is_not_there_makes_way_and_nobody_else() {
        const DAY: i64 = 24 * 3_600_000;
        let peer = |number: u8, origin, added_at_ms, seen_at_ms| Peer {
            node: NodeId::from_bytes([number; 32]),
            addresses: Vec::new(),
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
        };
        let peers = [
            peer(1, Origin::Introduced, 59 * DAY, None),
            peer(2, Origin::Introduced, 10 * DAY, None),
            peer(3, Origin::Introduced, 0, Some(50 * DAY)),
            peer(4, Origin::Introduced, 0, Some(9 * DAY)),
            peer(5, Origin::Configured, 0, None),
        ];
        let numbers = |many| -> Vec<u8> {
            let stale = stale(&peers, many, 60 * DAY);
            stale.into_iter().map(|node| node.as_bytes()[0]).collect()
        };
        assert_eq!(numbers(9), [4, 2]);
        assert_eq!(numbers(1), [4]);
    }
}

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
    storage::{Note, Origin},
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
            if !is_done() {
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

    /// Knows those that are new.
    async fn learn(&self, named: Vec<PeerSample>) -> Result<(), ActorError> {
        let book = self.book();
        let new = named.into_iter().filter(|one| !book.peers.contains_key(&one.node));
        let notes: Vec<_> = new
            .map(|one| Note::Peer {
                node: one.node,
                addresses: one.addresses,
                author: None,
                allow_bytes: None,
                origin: Origin::Introduced,
                name: None,
                at_ms: clock::now_ms(),
            })
            .collect();
        if notes.is_empty() { Ok(()) } else { self.change(notes).await }
    }
}

/// Nodes that are made known at a time: whoever answers may name some that there are not.
const NAMED_MAX: usize = 256;
/// How long a node may take to name others.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

//! What is seen of other nodes: what they say of themselves, when they were there, and what they did amiss. Little of it is
//! written down, however much comes.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use proto::{AuthorId, NodeId};

use super::Peers;
use crate::{
    acquaintance::SEEN_INTERVAL,
    clock,
    conn_pool::{Lease, PeerTrouble},
    error::ActorError,
    seldom::Seldom,
    storage::{Note, Origin, Score},
};

/// What was noted lately.
#[derive(Debug)]
pub(super) struct Observed {
    /// When it was last noted what a node says of itself.
    noted: Mutex<BTreeMap<NodeId, (Instant, Said)>>,
    /// When it was last noted that a node is connected.
    seen: Mutex<BTreeMap<NodeId, Instant>>,
    /// What is told in the log of peers that have misbehaved.
    misbehaved: Seldom<(NodeId, Score)>,
    /// Whose absence was counted lately.
    absent: Seldom<NodeId>,
}

/// Whom a node acts for, and where it is, in its own words.
type Said = (Option<AuthorId>, Option<String>);

impl Observed {
    pub(super) fn new() -> Self {
        let (noted, seen) = (Mutex::default(), Mutex::default());
        Self { noted, seen, misbehaved: Seldom::new(), absent: Seldom::new() }
    }
}

impl Peers {
    /// A node has introduced itself. Written down only when it says something new, or once in a while.
    pub(crate) async fn meet(
        &self,
        lease: &Lease,
        author: Option<AuthorId>,
        addresses: &[String],
    ) -> Result<(), ActorError> {
        let node = lease.node();
        // In its own words: what is seen of it is the port that it dials from.
        let address = addresses.first().cloned();
        if !self.is_news(node, author, address.as_ref()) {
            return Ok(());
        }
        if self.noted().get(&node).is_some_and(|(at, _)| at.elapsed() < NEWS_INTERVAL) {
            lease.strike(&"it says something else of itself again and again");
        }
        let said = (author, address.clone());
        let seen = Note::Seen { node, address, author, at_ms: clock::now_ms() };
        self.change(self.known_by_the_settings(node).into_iter().chain([seen]).collect()).await?;
        self.noted().insert(node, (Instant::now(), said));
        Ok(())
    }

    /// A peer that only the settings name has no row of its own before there is something to be written into it. It is
    /// wanted for as long as it stands there, and only known afterwards.
    fn known_by_the_settings(&self, node: NodeId) -> Option<Note> {
        self.0.config.peers.iter().any(|peer| peer.node == node).then(|| Note::Peer {
            node,
            addresses: Vec::new(),
            author: None,
            allow_bytes: None,
            origin: Origin::Introduced,
            name: None,
            at_ms: clock::now_ms(),
        })
    }

    /// The same where nobody waits for it.
    pub(crate) fn met(&self, lease: &Lease, author: Option<AuthorId>, addresses: &[String]) {
        let (peers, lease, addresses) = (self.clone(), lease.clone(), addresses.to_vec());
        tokio::spawn(async move {
            if let Err(error) = peers.meet(&lease, author, &addresses).await {
                tracing::debug!(%error, "that a peer was seen is not written down");
            }
        });
    }

    /// These nodes are there, or were until now. Written down of those that are known, and of none that was lately.
    pub(crate) async fn saw(&self, nodes: impl Iterator<Item = NodeId>, lately: Duration) {
        let (book, at_ms) = (self.book(), clock::now_ms());
        let seen: Vec<_> = {
            let last = self.seen();
            let is_due = |node: &NodeId| last.get(node).is_none_or(|at| at.elapsed() >= lately);
            nodes.filter(|node| book.peers.contains_key(node) && is_due(node)).collect()
        };
        if seen.is_empty() {
            return;
        }
        let notes = seen.iter().flat_map(|node| {
            let seen = Note::Seen { node: *node, address: None, author: None, at_ms };
            self.known_by_the_settings(*node).into_iter().chain([seen])
        });
        let notes = notes.collect();
        // Before: whoever is removed meanwhile is forgotten here, too.
        self.seen().extend(seen.iter().map(|node| (*node, Instant::now())));
        if let Err(error) = self.0.records.note(notes).await {
            tracing::debug!(%error, "that peers were seen is not written down");
            self.seen().retain(|node, _| !seen.contains(node));
        }
    }

    fn is_news(&self, node: NodeId, author: Option<AuthorId>, address: Option<&String>) -> bool {
        // Nothing is written down of strangers, and of their keys there is no end.
        if !self.book().peers.contains_key(&node) || self.0.joining.contains(node) {
            return false;
        }
        let said = (author, address.cloned());
        let is_old = |(at, before): &(Instant, _)| at.elapsed() >= SEEN_INTERVAL || *before != said;
        self.noted().get(&node).is_none_or(is_old)
    }

    /// A node that is removed and comes again is new.
    pub(super) fn forget_observed(&self, node: NodeId) {
        self.noted().remove(&node);
        self.seen().remove(&node);
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<NodeId, Instant>> {
        self.0.observed.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn noted(&self) -> MutexGuard<'_, BTreeMap<NodeId, (Instant, Said)>> {
        self.0.observed.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a node has behaved, if it was other than well.
    pub(crate) fn score(&self, node: NodeId, trouble: &PeerTrouble) {
        let score = match trouble {
            PeerTrouble::Lied { .. } => Score::WrongBytes,
            PeerTrouble::Malformed { .. } => Score::Error,
            PeerTrouble::Silent { .. } | PeerTrouble::Lost { is_passing: false, .. } => Score::Absence,
            _ => return,
        };
        self.scored(node, score, trouble);
    }

    /// A node has given this one something that is not as it should be.
    pub(crate) fn scored(&self, node: NodeId, score: Score, what: &dyn std::fmt::Display) {
        if score == Score::Absence {
            // However many waited for it: it was not there once.
            if self.0.observed.absent.is_due(node).is_none() {
                return;
            }
            tracing::info!(%node, %what, "a peer was not there when it was needed");
        } else if let Some(passed_over) = self.0.observed.misbehaved.is_due((node, score)) {
            tracing::warn!(%node, %what, ?score, passed_over, "a peer has misbehaved");
        }
        if self.book().peers.contains_key(&node) {
            self.jot(node, Note::Score { node, score });
        }
    }

    /// Writes down what nobody waits for.
    fn jot(&self, node: NodeId, note: Note) {
        let peers = self.clone();
        tokio::spawn(async move {
            let notes = peers.known_by_the_settings(node).into_iter().chain([note]).collect();
            if let Err(error) = peers.0.records.note(notes).await {
                tracing::debug!(%error, "what was seen of a peer is not written down");
            }
        });
    }
}

/// Whoever has something new to say sooner than that again and again, has each time something written down, and is cut off.
const NEWS_INTERVAL: Duration = Duration::from_secs(10);

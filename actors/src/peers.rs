//! The nodes that are known, from the settings and from what was typed in: who they are, where they are, what they may,
//! and how they have behaved.
//!
//! Owns no table: what is to be kept is kept by storage, through its records door. What the pool and those who serve have
//! to know at once is in a [`PeerBook`], which is replaced whole when anything changes.

mod invitations;
mod joining;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use config::{Accept, HostPort, NetworkConfig};
use joining::Joining;
use proto::{
    AuthorId, NodeId, TesseraId,
    credential::SignedCredential,
    limits::{ADDRESSES_MAX, SOFTWARE_BYTES_MAX},
    wire::Request,
};
use tokio::sync::watch;

use crate::{
    acquaintance::{DIAL_BACK_INTERVAL, SEEN_INTERVAL},
    clock,
    conn_pool::{Known, Lease, PeerBook, PeerTrouble},
    error::ActorError,
    remote::Kept,
    seldom::Seldom,
    storage::{Blocked, Note, Origin, Receipt, RecordsHandle, Score},
};

/// The nodes that are known.
#[derive(Debug, Clone)]
pub struct Peers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    us: NodeId,
    /// What this node shows to be charged to its author.
    credential: Option<SignedCredential>,
    config: NetworkConfig,
    records: RecordsHandle,
    book: watch::Sender<Arc<PeerBook>>,
    /// When it was last noted what a node says of itself.
    noted: Mutex<BTreeMap<NodeId, (Instant, Said)>>,
    /// When it was last noted that a node is connected.
    seen: Mutex<BTreeMap<NodeId, Instant>>,
    reach: watch::Sender<Reach>,
    joining: Joining,
    /// What is told in the log of peers that have misbehaved.
    misbehaved: Seldom<(NodeId, Score)>,
    /// Whose absence was counted lately.
    absent: Seldom<NodeId>,
    /// How many times it was asked to read again, and how many of these are served.
    asked: AtomicU64,
    refreshing: tokio::sync::Mutex<u64>,
}

/// Whom a node acts for, and where it is, in its own words.
type Said = (Option<AuthorId>, Option<String>);

/// Whether others reach this node, as far as that was tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Who tried last, when (in milliseconds since 1970), and whether it could dial this node.
    pub tried: Option<(NodeId, i64, bool)>,
    /// The address that this node has, as others see it.
    pub observed: Option<String>,
}

impl Reach {
    /// Without what was tried so long ago that it says nothing any more: a router may have been set up since, or have
    /// forgotten. A clock that was set back makes nothing old.
    fn lately(&self, now_ms: i64) -> Self {
        let valid_ms = i64::try_from(REACH_VALID.as_millis()).unwrap_or(i64::MAX);
        let tried = self.tried.filter(|(_, at_ms, _)| now_ms.saturating_sub(*at_ms) < valid_ms);
        Self { tried, observed: self.observed.clone() }
    }
}

impl Peers {
    /// Those that the settings name; the others as soon as [`Peers::refresh`] has read them.
    pub(crate) fn new(
        us: NodeId,
        credential: Option<SignedCredential>,
        config: NetworkConfig,
        records: RecordsHandle,
    ) -> Self {
        let book = watch::Sender::new(Arc::new(configured(&config, us)));
        let (noted, seen, reach) = (Mutex::default(), Mutex::default(), watch::Sender::new(Reach::default()));
        let (asked, refreshing) = (AtomicU64::new(0), tokio::sync::Mutex::default());
        let (joining, misbehaved, absent) = (Joining::default(), Seldom::new(), Seldom::new());
        Self(Arc::new(Inner {
            us,
            credential,
            config,
            records,
            book,
            noted,
            seen,
            reach,
            joining,
            misbehaved,
            absent,
            asked,
            refreshing,
        }))
    }

    /// This node.
    pub fn us(&self) -> NodeId {
        self.0.us
    }

    /// The author that this node acts for.
    pub(crate) fn author(&self) -> Option<AuthorId> {
        let signed = self.0.credential.as_ref()?;
        SignedCredential::verify(signed.bytes(), self.0.us).ok().map(|credential| credential.author)
    }

    /// What is known now.
    pub fn book(&self) -> Arc<PeerBook> {
        self.0.book.borrow().clone()
    }

    /// What is known, and when that changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<PeerBook>> {
        self.0.book.subscribe()
    }

    /// Whether others reach this node, as far as that was tried lately.
    pub fn reach(&self) -> Reach {
        self.0.reach.borrow().lately(clock::now_ms())
    }

    /// Reads again what is kept. One at a time: what was read before a change is never published after it. Many who wait
    /// are served by one that begins after all of them.
    pub async fn refresh(&self) -> Result<(), ActorError> {
        let Inner { refreshing, asked, .. } = self.0.as_ref();
        let mine = asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut served = refreshing.lock().await;
        if *served >= mine {
            return Ok(());
        }
        let all = asked.load(Ordering::SeqCst);
        self.read_again().await?;
        *served = all;
        Ok(())
    }

    async fn read_again(&self) -> Result<(), ActorError> {
        let records = &self.0.records;
        let mut book = configured(&self.0.config, self.0.us);
        for peer in records.peers().await? {
            let known = book.peers.entry(peer.node).or_default();
            let addresses = peer.addresses.iter().chain(&peer.last_address);
            let addresses: Vec<HostPort> = addresses.filter_map(|address| address.parse().ok()).collect();
            for address in addresses {
                if !known.addresses.contains(&address) && known.addresses.len() < ADDRESSES_MAX {
                    known.addresses.push(address);
                }
            }
            known.is_configured |= peer.origin != Origin::Introduced;
            known.author = peer.author;
            known.allow_bytes = peer.allow_bytes;
        }
        self.0.joining.enter(&mut book);
        for block in records.blocks().await? {
            match block.what {
                Blocked::Node(node) => drop(book.blocked.insert(node, block.reason)),
                Blocked::Tessera(tessera) => drop(book.blocked_tesseras.insert(tessera, block.reason)),
            }
        }
        let invites = records.invites().await?;
        book.invites_open_until_ms =
            invites.iter().map(|(_, invite)| invite.expires_at_ms).max().unwrap_or_default();
        self.0.book.send_if_modified(|present| {
            let changed = **present != book;
            *present = Arc::new(book);
            changed
        });
        Ok(())
    }

    /// Adds a peer that the operator wants, or says more of one: its name and its allowance stay as they are where none
    /// is given.
    pub async fn add(
        &self,
        node: NodeId,
        addresses: &[HostPort],
        allow_bytes: Option<u64>,
        name: Option<String>,
    ) -> Result<(), ActorError> {
        self.add_as(Origin::Configured, node, addresses, allow_bytes, name).await
    }

    /// The same of one that came to be known in another way.
    async fn add_as(
        &self,
        origin: Origin,
        node: NodeId,
        addresses: &[HostPort],
        allow_bytes: Option<u64>,
        name: Option<String>,
    ) -> Result<(), ActorError> {
        if node == self.0.us {
            return Err(ActorError::Peer { node, trouble: PeerTrouble::Itself });
        }
        self.must_be_free(name.as_deref(), node).await?;
        let known = self.0.records.peer(node).await?;
        let before = known.as_ref().map(|peer| peer.origin);
        let note = Note::Peer {
            node,
            addresses: addresses.iter().map(ToString::to_string).collect(),
            author: known.as_ref().and_then(|peer| peer.author),
            allow_bytes: allow_bytes.or(known.and_then(|peer| peer.allow_bytes)),
            // What the operator named stays so.
            origin: before.filter(|before| *before == Origin::Configured).unwrap_or(origin),
            name,
            at_ms: clock::now_ms(),
        };
        self.change(vec![note]).await
    }

    /// Errors with [`ActorError::Conflict`] when another node is called so.
    async fn must_be_free(&self, name: Option<&str>, node: NodeId) -> Result<(), ActorError> {
        let (Some(other), Some(name)) = (self.called(name, node).await?, name) else { return Ok(()) };
        let what = format!("{other} is called {name:?} already: call this one otherwise");
        Err(ActorError::Conflict { what })
    }

    /// Another node that is called so.
    async fn called(&self, name: Option<&str>, but: NodeId) -> Result<Option<NodeId>, ActorError> {
        if name.is_none() {
            return Ok(None);
        }
        let peers = self.0.records.peers().await?;
        let other = peers.iter().find(|peer| peer.node != but && peer.name.as_deref() == name);
        Ok(other.map(|peer| peer.node))
    }

    /// Forgets a peer. Errors with [`ActorError::NotFound`], and with [`ActorError::Conflict`] for one that the settings
    /// name.
    pub async fn remove(&self, node: NodeId) -> Result<(), ActorError> {
        if self.0.config.peers.iter().any(|peer| peer.node == node) {
            let what = format!("{node} is named in `network.peers`: take it out there");
            return Err(ActorError::Conflict { what });
        }
        if self.0.records.peer(node).await?.is_none() {
            return Err(ActorError::not_found(node));
        }
        let removed = self.change(vec![Note::RemovePeer { node }]).await;
        // Afterwards: what is noted meanwhile goes with its row.
        self.noted().remove(&node);
        self.seen().remove(&node);
        removed
    }

    /// Never again deals with a node or a tessera. What of it is here remains to be dropped. Returns when that was, in
    /// milliseconds since 1970.
    pub async fn block(&self, what: Blocked, reason: String) -> Result<i64, ActorError> {
        tracing::warn!(?what, reason, "blocked");
        let at_ms = clock::now_ms();
        self.change(vec![Note::Block { what, reason, at_ms }]).await?;
        Ok(at_ms)
    }

    /// Deals with it again.
    pub async fn unblock(&self, what: Blocked) -> Result<(), ActorError> {
        if self.0.records.blocked(vec![what]).await?.is_empty() {
            return Err(ActorError::NotFound { what: format!("a block of {what:?}") });
        }
        tracing::warn!(?what, "unblocked");
        self.change(vec![Note::Unblock { what }]).await
    }

    async fn change(&self, notes: Vec<Note>) -> Result<(), ActorError> {
        self.0.records.note(notes).await?;
        self.refresh().await
    }

    /// What this node says of itself.
    pub(crate) fn greeting(&self, dial_back: bool, invite: Option<[u8; 32]>) -> Request {
        Request::Hello {
            software: software(),
            addresses: self.announced(),
            credential: self.credential(),
            invite,
            dial_back,
        }
    }

    /// Where this node says that it is reached: what the settings announce, else where others have seen it.
    pub fn announced(&self) -> Vec<String> {
        let announced: Vec<_> = self.0.config.announce.iter().map(ToString::to_string).collect();
        if !announced.is_empty() {
            return announced.into_iter().take(ADDRESSES_MAX).collect();
        }
        let port = self.0.config.listen_addr.map(|address| address.port()).filter(|port| *port != 0);
        let seen = self.0.reach.borrow().observed.clone();
        let host = seen.as_ref().and_then(|seen| seen.rsplit_once(':')).map(|(host, _)| host.to_owned());
        host.zip(port).map(|(host, port)| format!("{host}:{port}")).into_iter().collect()
    }

    pub(crate) fn credential(&self) -> Option<Bytes> {
        self.0.credential.as_ref().map(|credential| credential.bytes().clone())
    }

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

    fn seen(&self) -> MutexGuard<'_, BTreeMap<NodeId, Instant>> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn noted(&self) -> MutexGuard<'_, BTreeMap<NodeId, (Instant, Said)>> {
        self.0.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node has tried whether it can dial this one.
    pub(crate) fn tried(&self, node: NodeId, observed: String, worked: Option<bool>) {
        let is_wanted = self.book().peers.get(&node).is_some_and(|peer| peer.is_configured);
        self.0.reach.send_modify(|reach| {
            // Whoever has no reason to lie is believed, and nothing that is no address.
            let address = observed.parse::<SocketAddr>().ok().filter(|_| is_wanted);
            reach.observed = address.map(|address| address.to_string()).or_else(|| reach.observed.take());
            if let Some(worked) = worked {
                reach.tried = Some((node, clock::now_ms(), worked));
            }
        });
    }

    /// Keeps what a holder has signed.
    pub(crate) async fn keep_receipt(&self, kept: &Kept) -> Result<(), ActorError> {
        let receipt = Receipt {
            holder: kept.receipt.holder,
            fragment: kept.receipt.fragment,
            checksum: kept.receipt.checksum,
            length: kept.receipt.length,
            author: kept.receipt.author,
            held_at_ms: i64::try_from(kept.receipt.held_at_ms).unwrap_or(i64::MAX),
            signed: kept.signed.clone(),
        };
        self.0.records.note(vec![Note::Receipt(receipt)]).await.map(drop)
    }

    /// A holder has dropped these on its author's order, if it had them.
    pub(crate) async fn drop_receipts(
        &self,
        holder: NodeId,
        tessera: TesseraId,
        fragments: &[(u32, u16)],
    ) -> Result<(), ActorError> {
        let fragments = fragments.to_vec();
        self.0.records.note(vec![Note::Dropped { holder, tessera, fragments }]).await.map(drop)
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
            if self.0.absent.is_due(node).is_none() {
                return;
            }
            tracing::info!(%node, %what, "a peer was not there when it was needed");
        } else if let Some(passed_over) = self.0.misbehaved.is_due((node, score)) {
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

/// The name and version of this software, as others are told it.
pub(crate) fn software() -> String {
    let software = concat!("tesseras/", env!("CARGO_PKG_VERSION"));
    software.get(..SOFTWARE_BYTES_MAX).unwrap_or(software).to_owned()
}

/// What the settings say alone. Nodes that share them find themselves in there.
fn configured(config: &NetworkConfig, us: NodeId) -> PeerBook {
    let known = |peer: &config::PeerAddress| Known {
        addresses: peer.addresses.clone(),
        is_configured: true,
        ..Known::default()
    };
    let others = config.peers.iter().filter(|peer| peer.node != us);
    PeerBook {
        accepts_any: config.accept == Accept::Any,
        peers: others.map(|peer| (peer.node, known(peer))).collect(),
        ..PeerBook::default()
    }
}

/// How long it counts that a node could dial this one, or could not: others are asked to try three times meanwhile.
const REACH_VALID: Duration = Duration::from_secs(3 * DIAL_BACK_INTERVAL.as_secs());
/// Whoever has something new to say sooner than that again and again, has each time something written down, and is cut off.
const NEWS_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tried_long_ago_is_not_known_lately() {
        let hours = |count: i64| count * 3_600_000;
        let tried = Some((NodeId::from_bytes([1; 32]), hours(5), false));
        let reach = Reach { tried, observed: Some("192.0.2.1:7".to_owned()) };
        let check = |now_ms, expected| {
            let lately = reach.lately(now_ms);
            assert_eq!(lately, Reach { tried: expected, ..reach.clone() }, "{now_ms}");
        };
        check(hours(5), tried);
        check(hours(8) - 1, tried);
        check(hours(8), None);
        check(hours(1), tried);
    }
}

//! The nodes that are known, from the settings and from what was typed in: who they are, where they are, what they may,
//! and how they have behaved.
//!
//! Owns no table: what is to be kept is kept by storage, through its records door. What the pool and those who serve have
//! to know at once is in a [`PeerBook`], which is replaced whole when anything changes.

mod introducing;
mod invitations;
mod joining;
mod observed;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use config::{Accept, HostPort, NetworkConfig};
use joining::Joining;
use observed::Observed;
use proto::{
    AuthorId, NodeId, TesseraId,
    credential::SignedCredential,
    limits::{ADDRESSES_MAX, SOFTWARE_BYTES_MAX},
    wire::Request,
};
use tokio::sync::watch;

use crate::{
    acquaintance::DIAL_BACK_INTERVAL,
    clock,
    conn_pool::{Known, PeerBook, PeerTrouble},
    error::ActorError,
    remote::Kept,
    storage::{Blocked, Note, Origin, Receipt, RecordsHandle},
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
    observed: Observed,
    reach: watch::Sender<Reach>,
    joining: Joining,
    /// How many times it was asked to read again, and how many of these are served.
    asked: AtomicU64,
    refreshing: tokio::sync::Mutex<u64>,
}

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
        let reach = watch::Sender::new(Reach::default());
        let (asked, refreshing) = (AtomicU64::new(0), tokio::sync::Mutex::default());
        let (joining, observed) = (Joining::default(), Observed::new());
        Self(Arc::new(Inner {
            us,
            credential,
            config,
            records,
            book,
            observed,
            reach,
            joining,
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
        self.forget_observed(node);
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

    /// Keeps what a holder has signed, which it claims therewith.
    pub(crate) async fn keep_receipt(&self, kept: &Kept) -> Result<(), ActorError> {
        let claimed = Note::Claimed {
            holder: kept.receipt.holder,
            fragment: kept.receipt.fragment,
            checksum: kept.receipt.checksum,
            at_ms: clock::now_ms(),
        };
        let receipt = Receipt {
            holder: kept.receipt.holder,
            fragment: kept.receipt.fragment,
            checksum: kept.receipt.checksum,
            length: kept.receipt.length,
            author: kept.receipt.author,
            held_at_ms: i64::try_from(kept.receipt.held_at_ms).unwrap_or(i64::MAX),
            signed: kept.signed.clone(),
        };
        self.0.records.note(vec![Note::Receipt(receipt), claimed]).await.map(drop)
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

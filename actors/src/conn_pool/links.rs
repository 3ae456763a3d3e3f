//! The connection to each node, which the actor alone changes and handles see: the use of one that is there then costs no
//! hop between threads. Almost every request finds one.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Values},
    sync::{Arc, Weak},
};

use proto::NodeId;
use tokio::sync::watch;

use super::link::{Lease, Link};

/// What the actor has. Whatever it changes is seen at once.
pub(super) struct Links {
    all: HashMap<NodeId, Arc<Link>>,
    shown: Shown,
    is_hidden: bool,
}

/// Where it is shown; outlives the actor. A connection does not outlive the actor for being seen.
pub(super) type Shown = watch::Sender<HashMap<NodeId, Weak<Link>>>;

/// What handles see of it.
#[derive(Debug, Clone)]
pub(crate) struct View(watch::Receiver<HashMap<NodeId, Weak<Link>>>);

impl Links {
    /// None so far; what an actor before this one had is not shown any more.
    pub(super) fn new(shown: Shown) -> Self {
        let links = Self { all: HashMap::new(), shown, is_hidden: false };
        links.show();
        links
    }

    pub(super) fn get(&self, node: &NodeId) -> Option<&Arc<Link>> {
        self.all.get(node)
    }

    pub(super) fn contains_key(&self, node: &NodeId) -> bool {
        self.all.contains_key(node)
    }

    pub(super) fn values(&self) -> Values<'_, NodeId, Arc<Link>> {
        self.all.values()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn insert(&mut self, node: NodeId, link: Arc<Link>) -> Option<Arc<Link>> {
        let before = self.all.insert(node, link);
        self.show();
        before
    }

    pub(super) fn remove(&mut self, node: &NodeId) -> Option<Arc<Link>> {
        let removed = self.all.remove(node);
        if removed.is_some() {
            self.show();
        }
        removed
    }

    /// From now on nobody sees any.
    pub(super) fn hide(&mut self) {
        self.is_hidden = true;
        self.shown.send_replace(HashMap::new());
    }

    /// A few hundred at most, and only when one comes or goes.
    fn show(&self) {
        if self.is_hidden {
            return;
        }
        self.shown.send_replace(self.all.iter().map(|(node, link)| (*node, Arc::downgrade(link))).collect());
    }
}

impl View {
    pub(super) fn of(shown: &Shown) -> Self {
        Self(shown.subscribe())
    }

    /// The nodes that are connected.
    pub(crate) fn nodes(&self) -> BTreeSet<NodeId> {
        self.0.borrow().keys().copied().collect()
    }

    /// Waits until one comes or goes; for ever once the pool has ended.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// The use of the connection to a node, if there is one. Whether it has ended is not looked at: that would wait for
    /// whoever drives it.
    pub(super) fn lease(&self, node: &NodeId) -> Option<Lease> {
        let link = self.0.borrow().get(node)?.upgrade()?;
        Lease::take(&link)
    }
}

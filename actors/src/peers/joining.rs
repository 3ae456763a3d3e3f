//! Following an invitation of another node.
//!
//! It has to be known while it is asked: the pool dials only whom the book names, and the other dials back. Nothing of
//! that is written down before it has let this node in, so a line that is of no use changes nothing.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use config::HostPort;
use proto::{NodeId, limits::ADDRESSES_MAX};
use tokio::runtime::Handle;

use super::Peers;
use crate::{
    conn_pool::{PeerBook, PeerTrouble},
    error::ActorError,
    storage::Origin,
};

/// The nodes that are being asked to let this one in, and where they are.
#[derive(Debug, Default)]
pub(super) struct Joining(Mutex<BTreeMap<NodeId, Vec<HostPort>>>);

impl Joining {
    /// Whether a node is being asked now.
    pub(super) fn contains(&self, node: NodeId) -> bool {
        self.nodes().contains_key(&node)
    }

    /// Enters them into a book: where an invitation says they are is tried first.
    pub(super) fn enter(&self, book: &mut PeerBook) {
        for (node, addresses) in self.nodes().iter() {
            let known = book.peers.entry(*node).or_default();
            known.addresses.retain(|address| !addresses.contains(address));
            known.addresses.splice(..0, addresses.iter().cloned());
            known.addresses.truncate(ADDRESSES_MAX);
        }
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<NodeId, Vec<HostPort>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peers {
    /// Asks a node at these addresses to let this one in. When it does, it is a peer from then on, as with
    /// [`Peers::add`]; when it does not, what was known of it is as it was.
    ///
    /// Errors with [`ActorError::Conflict`] while it is being asked already, and with whatever asking it errors.
    pub async fn join<T>(
        &self,
        node: NodeId,
        addresses: &[HostPort],
        allow_bytes: Option<u64>,
        name: Option<String>,
        ask: impl Future<Output = Result<T, ActorError>>,
    ) -> Result<T, ActorError> {
        if node == self.us() {
            return Err(ActorError::Peer { node, trouble: PeerTrouble::Itself });
        }
        self.must_be_free(name.as_deref(), node).await?;
        let attempt = Attempt::begin(self, node, addresses)?;
        self.refresh().await?;
        let told = ask.await;
        let added = match &told {
            Ok(_) => {
                // Somebody may have been called so meanwhile; the line is used up all the same.
                let is_free = self.called(name.as_deref(), node).await?.is_none();
                let name = name.filter(|_| is_free);
                self.add_as(Origin::Invited, node, addresses, allow_bytes, name).await
            }
            Err(_) => Ok(()),
        };
        drop(attempt);
        self.refresh().await?;
        added.and(told)
    }
}

/// A node is in the book until this is dropped, also when nobody waits for the outcome any more.
struct Attempt {
    peers: Peers,
    node: NodeId,
}

impl Attempt {
    fn begin(peers: &Peers, node: NodeId, addresses: &[HostPort]) -> Result<Self, ActorError> {
        let mut nodes = peers.0.joining.nodes();
        if nodes.contains_key(&node) {
            return Err(ActorError::Conflict { what: format!("{node} is being asked already") });
        }
        nodes.insert(node, addresses.to_vec());
        Ok(Self { peers: peers.clone(), node })
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.peers.0.joining.nodes().remove(&self.node);
        let peers = self.peers.clone();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = peers.refresh().await {
                    tracing::debug!(%error, "a node that was asked to let this one in is known until the next change");
                }
            });
        }
    }
}

//! Asking other nodes: the requests of the protocol as async functions. What comes back was checked, or it is an error
//! that names the node.
//!
//! Owns nothing: connections are the pool's, and who is known is the peers'. Every request may be repeated, so one whose
//! connection was closed under it is asked again, once, on a new one.

mod ask;
mod compare;
mod holdings;

use proto::NodeId;

use crate::{
    error::ActorError,
    peers::Peers,
    pool::{Lease, PeerTrouble, PoolHandle},
};

pub use compare::{Compared, Difference};
pub use holdings::{Greeting, Kept};

/// Asks other nodes.
#[derive(Debug, Clone)]
pub struct Remote {
    pool: PoolHandle,
    peers: Peers,
}

impl Remote {
    /// Over this pool.
    pub(crate) fn new(pool: PoolHandle, peers: Peers) -> Self {
        Self { pool, peers }
    }

    /// Asks with a connection, and once more with another when the first was closed meanwhile.
    pub(crate) async fn with<T>(
        &self,
        node: NodeId,
        ask: impl AsyncFn(&Lease) -> Result<T, PeerTrouble>,
    ) -> Result<T, ActorError> {
        let lease = self.pool.lease(node).await?;
        let outcome = match ask(&lease).await {
            Err(trouble) if trouble.is_passing() => {
                drop(lease);
                ask(&self.pool.lease(node).await?).await
            }
            outcome => outcome,
        };
        if let Err(trouble) = &outcome {
            self.peers.score(node, trouble);
        }
        outcome.map_err(|trouble| ActorError::Peer { node, trouble })
    }
}

//! The way to reach other nodes.

use std::net::SocketAddr;

use config::HostPort;
use proto::NodeId;

use super::{
    link::Lease,
    links::View,
    message::{PoolMsg, PoolStatus},
};
use crate::{error::ActorError, metrics::PoolMetrics, supervision::seat::Seat};

/// Asks the connection pool.
#[derive(Debug, Clone)]
pub struct ConnPoolHandle {
    seat: Seat<PoolMsg>,
    links: View,
    metrics: PoolMetrics,
    address: SocketAddr,
}

impl ConnPoolHandle {
    pub(super) fn new(seat: Seat<PoolMsg>, links: View, metrics: PoolMetrics, address: SocketAddr) -> Self {
        Self { seat, links, metrics, address }
    }

    /// The use of a connection to a node: of the one that is there, else of a new one. It may have just ended: whoever
    /// finds that asks the actor for another (`lease_anew`).
    ///
    /// Errors with [`ActorError::Peer`] when it cannot be reached, and with [`ActorError::Busy`] when all connections are
    /// in use.
    pub async fn lease(&self, node: NodeId) -> Result<Lease, ActorError> {
        if let Some(lease) = self.links.lease(&node) {
            self.metrics.hit();
            return Ok(lease);
        }
        self.lease_anew(node).await
    }

    /// The same, and one that has not ended.
    pub(crate) async fn lease_anew(&self, node: NodeId) -> Result<Lease, ActorError> {
        self.seat.call(|slot, reply| PoolMsg::Lease { node, slot, reply }).await
    }

    /// Whether a node can be dialled at an address, whatever connection to it there is. Makes none that lasts.
    ///
    /// Errors with [`ActorError::Peer`] when it cannot.
    pub(crate) async fn probe(&self, node: NodeId, address: HostPort) -> Result<(), ActorError> {
        self.seat.call(|slot, reply| PoolMsg::Probe { node, address, slot, reply }).await
    }

    /// Who is connected, from now on.
    pub(crate) fn watch(&self) -> View {
        self.links.clone()
    }

    /// What the pool holds.
    pub async fn status(&self) -> Result<PoolStatus, ActorError> {
        self.seat.call(|slot, reply| PoolMsg::List { slot, reply }).await
    }

    /// The UDP address of the one endpoint.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests waiting or running, and how many there may be.
    pub fn load(&self) -> (usize, usize) {
        (self.seat.gate().taken(), self.seat.gate().limit())
    }

    /// What is known of other nodes has changed.
    pub(crate) fn book_changed(&self) {
        self.seat.tell(PoolMsg::BookChanged);
    }

    /// Has it begin nothing new, and waits until the streams that are open have ended, or have had their time.
    pub(crate) async fn finish(&self) {
        // One that falls meanwhile has no streams any more.
        let _ = self.seat.answers(PoolMsg::Finish).await;
    }

    /// Whether the actor is there and takes messages.
    pub(crate) async fn answers(&self) -> bool {
        self.seat.answers(PoolMsg::Ping).await
    }

    /// Looks for connections that nobody uses, now.
    #[cfg(feature = "faults")]
    pub fn reap(&self) {
        self.seat.tell(PoolMsg::Reap);
    }

    /// Makes the actor fall.
    #[cfg(feature = "faults")]
    pub fn panic(&self) {
        self.seat.tell(PoolMsg::Panic);
    }
}

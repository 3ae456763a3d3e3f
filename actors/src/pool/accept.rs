//! Who dials us: handshakes, as many at a time as this machine can take, and who is let in.
//!
//! # Invariants
//! 1. An address that has not shown that it receives what we send gets no more than it sent: when it is busy here, it is
//!    asked to come again with a token (QUIC's Retry).
//! 2. Whoever is not welcome is turned away here, with the reason, and costs the actor nothing.

use std::{sync::Arc, time::Instant};

use quinn::{Endpoint, Incoming};
use ractor::ActorRef;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};

use super::{
    book::{PeerBook, Welcome},
    identity,
    limits::HANDSHAKE,
    link::{Clock, Close, Link},
    message::PoolMsg,
};
use crate::metrics::PoolMetrics;

/// What it takes to receive others.
#[derive(Clone)]
pub(super) struct Reception {
    pub(super) book: watch::Receiver<Arc<PeerBook>>,
    pub(super) pool: ActorRef<PoolMsg>,
    pub(super) metrics: PoolMetrics,
    pub(super) clock: Clock,
    /// Handshakes that may run at a time.
    pub(super) handshakes_max: usize,
}

impl Reception {
    /// Receives whoever comes, until the endpoint is closed. Must run on its thread.
    pub(super) async fn run(self, endpoint: Endpoint) {
        let free = Arc::new(Semaphore::new(self.handshakes_max));
        while let Some(incoming) = endpoint.accept().await {
            let is_busy = free.available_permits() * 2 <= self.handshakes_max;
            if is_busy && incoming.may_retry() && !incoming.remote_address_validated() {
                // It may retry, so this cannot fail.
                let _ = incoming.retry();
                continue;
            }
            match free.clone().try_acquire_owned() {
                Ok(permit) => drop(tokio::spawn(self.clone().receive(incoming, permit))),
                // Whoever means it tries again by itself, within a second.
                Err(_) => incoming.ignore(),
            }
        }
    }

    async fn receive(self, incoming: Incoming, permit: OwnedSemaphorePermit) {
        let begun = Instant::now();
        let Ok(connecting) = incoming.accept() else { return };
        let Ok(Ok(connection)) = timeout(HANDSHAKE, connecting).await else { return };
        drop(permit);
        if identity::is_probe(&connection) {
            return connection.close(Close::Idle.code(), b"");
        }
        let Some(link) = Link::new(connection, None, false, self.clock) else { return };
        let welcome = self.book.borrow().welcome(&link.node);
        let (close, reason) = match welcome {
            Welcome::Known | Welcome::Stranger => {
                self.metrics.handshake(begun.elapsed().as_secs_f64());
                // Without a pool the process is ending.
                let _ = self.pool.send_message(PoolMsg::Accepted { link: Arc::new(link) });
                return;
            }
            Welcome::Blocked(reason) => (Close::Blocked, reason),
            Welcome::NotKnown => (Close::NotKnown, not_known(&link)),
        };
        self.metrics.turned_away(close);
        tracing::debug!(node = %link.node, address = %link.address(), reason, "turned away");
        link.connection.close(close.code(), reason.as_bytes());
    }
}

fn not_known(link: &Link) -> String {
    format!(
        "it talks only to nodes that it knows; its operator can let this one in: peers add {}@HOST:PORT",
        link.node
    )
}

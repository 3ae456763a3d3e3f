//! Getting to know the peers that are connected, and hearing from them whether this node can be dialled.
//!
//! Whoever is configured and connected is greeted once on each connection, so that both know whom the other acts for. Once
//! in a while one of them is asked to dial this node: behind a router without a forwarded port nobody else would say that
//! it cannot.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use proto::NodeId;
use tokio::sync::watch;

use crate::{
    conn_pool::{ConnPoolHandle, ConnectionStatus},
    peers::Peers,
    remote::Remote,
    supervision::Standing,
};

/// What it takes.
pub(crate) struct Acquaintance {
    pub(crate) peers: Peers,
    pub(crate) pool: ConnPoolHandle,
    pub(crate) remote: Remote,
    /// Whether anybody could dial this node at all.
    pub(crate) listens: bool,
}

/// What was done so far.
#[derive(Default)]
struct Done {
    /// Those who were greeted, and when.
    greeted: BTreeMap<NodeId, Instant>,
    /// When a peer was last asked to dial this node.
    dialled_back: Option<Instant>,
}

impl Acquaintance {
    /// Goes on until the actors are gone.
    pub(crate) fn spawn(self, mut standing: watch::Receiver<Standing>) {
        tokio::spawn(async move {
            let mut done = Done::default();
            loop {
                tokio::select! {
                    gone = standing.changed() => if gone.is_err() { return },
                    () = tokio::time::sleep(INTERVAL) => self.greet_all(&mut done).await,
                }
            }
        });
    }

    async fn greet_all(&self, done: &mut Done) {
        let Ok(status) = self.pool.status().await else { return };
        let book = self.peers.book();
        let is_wanted = |connection: &&ConnectionStatus| {
            book.peers.get(&connection.node).is_some_and(|peer| peer.is_configured)
        };
        done.greeted.retain(|node, _| status.connections.iter().any(|connection| connection.node == *node));
        for connection in status.connections.iter().filter(is_wanted) {
            // Where this node is, it hears from the first that it greets.
            let is_due = done.dialled_back.is_none_or(|at| at.elapsed() >= DIAL_BACK_INTERVAL);
            let asks = self.listens && is_due && !self.peers.announced().is_empty();
            if !asks && !done.is_new(connection) {
                continue;
            }
            done.greeted.insert(connection.node, Instant::now());
            match self.remote.hello(connection.node, asks, None).await {
                Ok(_) if asks => done.dialled_back = Some(Instant::now()),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "a peer was not greeted"),
            }
        }
    }
}

impl Done {
    /// Whether a connection is younger than the last greeting of its node.
    fn is_new(&self, connection: &ConnectionStatus) -> bool {
        self.greeted.get(&connection.node).is_none_or(|at| at.elapsed() > connection.open_for + INTERVAL)
    }
}

/// How often connections are looked at. In memory: nothing is sent or written when there is nothing new.
const INTERVAL: Duration = Duration::from_secs(5);
/// How often this node asks to be dialled.
const DIAL_BACK_INTERVAL: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_is_greeted_once_and_a_later_one_again() {
        let node = NodeId::from_bytes([1; 32]);
        let connection = |open_for| ConnectionStatus {
            node,
            address: ([127, 0, 0, 1], 1).into(),
            is_inbound: true,
            is_kept: false,
            streams: 0,
            open_for,
            idle_for: Duration::ZERO,
            round_trip: Duration::ZERO,
            sent_bytes: 0,
            received_bytes: 0,
        };
        let mut done = Done::default();
        assert!(done.is_new(&connection(Duration::from_secs(1))));
        done.greeted.insert(node, Instant::now() - Duration::from_secs(60));
        assert!(!done.is_new(&connection(Duration::from_secs(61))));
        assert!(done.is_new(&connection(Duration::from_secs(20))));
    }
}

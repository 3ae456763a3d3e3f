//! Getting to know the peers that are connected, and hearing from them whether this node can be dialled.
//!
//! Whoever is configured and connected is greeted once on each connection, so that both know whom the other acts for. Once
//! in a while one of them is asked to dial this node: behind a router without a forwarded port nobody else would say that
//! it cannot.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    /// Those who were connected when that was last looked at.
    connected: BTreeSet<NodeId>,
    /// Those who were greeted.
    greeted: BTreeMap<NodeId, Greeted>,
    /// When a peer was last asked to dial this node.
    dialled_back: Option<Instant>,
}

/// When a node was last greeted, and how often in a row that has failed.
#[derive(Clone, Copy)]
struct Greeted {
    at: Instant,
    failures: u32,
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
        let connected: BTreeSet<_> = status.connections.iter().map(|connection| connection.node).collect();
        let left: Vec<_> = done.connected.difference(&connected).copied().collect();
        self.peers.saw(connected.iter().copied(), SEEN_INTERVAL).await;
        self.peers.saw(left.into_iter(), LEFT_INTERVAL).await;
        done.connected = connected;
        let book = self.peers.book();
        let is_wanted = |connection: &&ConnectionStatus| book.is_configured(&connection.node);
        done.forget(|node| status.connections.iter().any(|connection| connection.node == *node));
        for connection in status.connections.iter().filter(is_wanted) {
            // Where this node is, it hears from the first that it greets.
            let is_due = done.dialled_back.is_none_or(|at| at.elapsed() >= DIAL_BACK_INTERVAL);
            let asks = self.listens && is_due && !self.peers.announced().is_empty();
            if !done.is_due(connection, asks, Instant::now()) {
                continue;
            }
            let greeting = self.remote.hello(connection.node, asks, None).await;
            done.noted(connection.node, greeting.is_ok(), Instant::now());
            match greeting {
                Ok(_) if asks => done.dialled_back = Some(Instant::now()),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "a peer was not greeted"),
            }
        }
    }
}

impl Done {
    /// Whether a node is to be greeted: because its connection is younger than its last greeting, because it is to be asked
    /// something, or because the last greeting has failed. The more often in a row that was, the later it is tried again.
    fn is_due(&self, connection: &ConnectionStatus, asks: bool, now: Instant) -> bool {
        let Some(last) = self.greeted.get(&connection.node) else { return true };
        let age = now.saturating_duration_since(last.at);
        match last.failures {
            0 => asks || age > connection.open_for + INTERVAL,
            failures => age >= pause(failures),
        }
    }

    fn noted(&mut self, node: NodeId, worked: bool, now: Instant) {
        let before = self.greeted.get(&node).map_or(0, |last| last.failures);
        let failures = if worked { 0 } else { before.saturating_add(1) };
        self.greeted.insert(node, Greeted { at: now, failures });
    }

    /// Forgets those that are not connected any more. Not those with whom it has failed: who comes and goes all the time would
    /// be greeted anew each time.
    fn forget(&mut self, is_connected: impl Fn(&NodeId) -> bool) {
        self.greeted
            .retain(|node, last| is_connected(node) || (last.failures > 0 && last.at.elapsed() < PAUSE_MAX));
    }
}

/// How long a node is not greeted after so many failures in a row: twice as long each time, up to a bound.
fn pause(failures: u32) -> Duration {
    2_u32.checked_pow(failures).map_or(PAUSE_MAX, |times| INTERVAL.saturating_mul(times)).min(PAUSE_MAX)
}

/// How often connections are looked at. In memory: nothing is sent or written when there is nothing new.
const INTERVAL: Duration = Duration::from_secs(5);
/// How often it is written down that a node is there, as long as it is.
pub(crate) const SEEN_INTERVAL: Duration = Duration::from_secs(3600);
/// The same when it has gone: one that comes and goes all the time has little written.
const LEFT_INTERVAL: Duration = Duration::from_secs(60);
/// How often this node asks to be dialled.
pub(crate) const DIAL_BACK_INTERVAL: Duration = Duration::from_secs(3600);
/// The longest pause after greetings that have failed.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId::from_bytes([1; 32]);

    fn connection(open_for_secs: u64) -> ConnectionStatus {
        ConnectionStatus {
            node: NODE,
            address: ([127, 0, 0, 1], 1).into(),
            is_inbound: true,
            is_kept: false,
            streams: 0,
            open_for: Duration::from_secs(open_for_secs),
            idle_for: Duration::ZERO,
            round_trip: Duration::ZERO,
            sent_bytes: 0,
            received_bytes: 0,
        }
    }

    #[test]
    fn connection_is_greeted_once_and_a_later_one_again() {
        let (mut done, begun) = (Done::default(), Instant::now());
        assert!(done.is_due(&connection(1), false, begun));
        done.noted(NODE, true, begun);
        let check = |open_for_secs, asks, expected| {
            let now = begun + Duration::from_secs(60);
            assert_eq!(
                done.is_due(&connection(open_for_secs), asks, now),
                expected,
                "{open_for_secs} {asks}"
            );
        };
        check(61, false, false);
        check(20, false, true);
        // There is something to ask it.
        check(61, true, true);
    }

    #[test]
    fn node_that_cannot_be_greeted_is_tried_less_and_less_often() {
        let (mut done, mut now) = (Done::default(), Instant::now());
        for expected in [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600] {
            done.noted(NODE, false, now);
            for asks in [false, true] {
                let is_due = |secs| done.is_due(&connection(1), asks, now + Duration::from_secs(secs));
                assert_eq!((is_due(expected - 1), is_due(expected)), (false, true), "{expected}");
            }
            // It may have come again: that changes nothing.
            done.forget(|_| false);
            now += Duration::from_secs(expected);
        }
        done.noted(NODE, true, now);
        assert!(done.is_due(&connection(1), true, now));
        done.noted(NODE, false, now);
        assert!(done.is_due(&connection(1), true, now + Duration::from_secs(10)));
        done.noted(NODE, true, now);
        done.forget(|_| false);
        assert!(done.greeted.is_empty());
        assert_eq!(pause(u32::MAX), PAUSE_MAX);
    }
}

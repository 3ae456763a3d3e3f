//! Who dials us: handshakes, as many at a time as this machine can take. Whoever is not blocked is let in: what a node may
//! ask for is for those to say who serve.
//!
//! # Invariants
//! 1. An address that has not shown that it receives what we send gets no more than it sent: when it is busy here, it is
//!    asked to come again with a token (QUIC's Retry).
//! 2. Handshakes take a part of the thread's time, however many come: who is connected does not suffer.
//! 3. Whoever is blocked is turned away here, with the reason, and costs the actor nothing.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use proto::placement::Network;
use quinn::{Connecting, Endpoint, Incoming};
use ractor::ActorRef;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{
    book::PeerBook,
    identity,
    limits::{HANDSHAKE, HANDSHAKE_PAUSE, HANDSHAKE_PAUSE_MAX},
    line::{Comer, Line, Treatment},
    link::{Clock, Close, Link},
    message::PoolMsg,
};
use crate::{metrics::PoolMetrics, seldom::Seldom};

/// What it takes to receive others.
#[derive(Clone)]
pub(super) struct Reception {
    pub(super) book: watch::Receiver<Arc<PeerBook>>,
    pub(super) pool: ActorRef<PoolMsg>,
    pub(super) metrics: PoolMetrics,
    pub(super) clock: Clock,
    /// Handshakes that may run at a time.
    pub(super) handshakes_max: usize,
    /// What is told of those who are turned away.
    pub(super) told: Arc<Seldom<Close>>,
}

/// Tells that a handshake has ended, whichever way.
struct UnderWay {
    comer: Comer,
    ended: mpsc::UnboundedSender<Comer>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // Nobody listens when the endpoint is closed.
        let _ = self.ended.send(self.comer);
    }
}

impl Reception {
    /// Receives whoever comes, until the endpoint is closed. Must run on its thread.
    pub(super) async fn run(mut self, endpoint: Endpoint) {
        let mut line = Line::new(self.handshakes_max);
        // No more than the line lets begin.
        let (ended, mut has_ended) = mpsc::unbounded_channel();
        let mut wanted = self.wanted();
        let mut next_at = Instant::now();
        loop {
            tokio::select! {
                incoming = endpoint.accept() => {
                    let Some(incoming) = incoming else { return };
                    if self.book.has_changed().unwrap_or_default() {
                        wanted = self.wanted();
                    }
                    treat(incoming, &wanted, &mut line);
                }
                Some(comer) = has_ended.recv() => line.ended(&comer),
                () = sleep_until(next_at), if line.may_begin() => {
                    let Some((comer, incoming)) = line.begin() else { continue };
                    let (under_way, begun) = (UnderWay { comer, ended: ended.clone() }, Instant::now());
                    // Most of the work of a handshake is done in here.
                    let accepted = incoming.accept();
                    next_at = Instant::now() + (begun.elapsed() * HANDSHAKE_PAUSE).min(HANDSHAKE_PAUSE_MAX);
                    if let Ok(connecting) = accepted {
                        tokio::spawn(self.clone().receive(connecting, under_way, begun));
                    }
                }
            }
        }
    }

    /// Where nodes that the operator wants are said to be.
    fn wanted(&mut self) -> HashSet<IpAddr> {
        let book = self.book.borrow_and_update();
        let peers = book.peers.values().filter(|peer| peer.is_configured);
        let addresses = peers.flat_map(|peer| &peer.addresses);
        addresses.filter_map(|address| Some(address.socket_addr()?.ip().to_canonical())).collect()
    }

    async fn receive(self, connecting: Connecting, under_way: UnderWay, begun: Instant) {
        let Ok(Ok(connection)) = timeout(HANDSHAKE, connecting).await else { return };
        drop(under_way);
        if identity::is_probe(&connection) {
            return connection.close(Close::Idle.code(), b"");
        }
        let Some(link) = Link::new(connection, None, false, self.clock) else { return };
        let blocked = self.book.borrow().blocked.get(&link.node).cloned();
        let Some(reason) = blocked else {
            self.metrics.handshake(begun.elapsed().as_secs_f64());
            // Without a pool the process is ending.
            let _ = self.pool.send_message(PoolMsg::Accepted { link: Arc::new(link) });
            return;
        };
        let close = Close::Blocked;
        self.metrics.turned_away(close);
        let (node, address) = (link.node, link.address());
        match self.told.is_due(close) {
            Some(passed_over) => tracing::info!(%node, %address, reason, passed_over, "turned away"),
            None => tracing::debug!(%node, %address, reason, "turned away"),
        }
        link.connection.close(close.code(), reason.as_bytes());
    }
}

fn treat(incoming: Incoming, wanted: &HashSet<IpAddr>, line: &mut Line<Incoming>) {
    let address = incoming.remote_address().ip().to_canonical();
    let comer = Comer {
        prefix: Network::of(address),
        // Whoever may not be asked again has been asked already.
        is_validated: incoming.remote_address_validated() || !incoming.may_retry(),
        is_wanted: wanted.contains(&address),
    };
    match line.treat(&comer) {
        Treatment::Waits => line.push(comer, incoming),
        // It may retry, so this cannot fail.
        Treatment::Retry => drop(incoming.retry()),
        Treatment::Ignored => incoming.ignore(),
    }
}

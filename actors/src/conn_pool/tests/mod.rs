//! The pool through its handle: nodes on loopback, each with its own key and port.

mod bounds;
mod dials;
mod strangers;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use proto::{NodeId, NodeKey};
use tokio::sync::{mpsc, watch};

use super::{limits::INBOUND_MAX, *};
use crate::testbed::{Measured, Parent};

/// A node that answers every stream with what was written on it.
struct Node {
    id: NodeId,
    pool: ConnPoolHandle,
    book: watch::Sender<Arc<PeerBook>>,
    measured: Measured,
}

fn config() -> NetworkConfig {
    NetworkConfig {
        listen_addr: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        pool_max_connections: 16,
        pool_idle_timeout: Duration::from_secs(60),
        pool_reaper_interval: Duration::from_secs(60),
        ..NetworkConfig::default()
    }
}

impl Node {
    async fn start(seed: u8) -> Self {
        Self::with(seed, config()).await
    }

    async fn with(seed: u8, config: NetworkConfig) -> Self {
        let key = NodeKey::from_seed([seed; 32]);
        let (book, seen) = watch::channel(Arc::new(PeerBook::default()));
        let (inbound, streams) = mpsc::channel(INBOUND_MAX);
        let measured = Measured::new();
        let (metrics, actors) = (measured.metrics.pool.clone(), measured.metrics.actors.clone());
        let (pool, starter) = Starter::new(&config, &key, seen, inbound, metrics, actors).unwrap();
        starter.thread().spawn(echo(streams));
        let starter: &'static Starter = Box::leak(Box::new(starter));
        keep_running(starter).await;
        Self { id: key.id(), pool, book, measured }
    }

    fn address(&self) -> String {
        self.pool.address().to_string()
    }

    /// Has it know others, and where they are.
    fn knows(&self, others: &[&Self]) {
        for other in others {
            self.knows_at(other.id, &[&other.address()]);
        }
    }

    fn knows_at(&self, node: NodeId, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.change(|book| {
            book.peers.insert(node, Known { addresses, ..Known::default() });
        });
    }

    fn change(&self, change: impl FnOnce(&mut PeerBook)) {
        self.book.send_modify(|book| change(Arc::make_mut(book)));
        self.pool.book_changed();
    }

    async fn connections(&self) -> Vec<ConnectionStatus> {
        self.pool.status().await.unwrap().connections
    }

    /// Waits until it has so many connections.
    async fn until_connected(&self, count: usize) {
        until("so many connections", async || self.connections().await.len() == count).await;
    }

    fn counted(&self, name: &str) -> u64 {
        self.measured.value(name).unwrap_or_default()
    }
}

/// Restarts the pool when it falls, as the supervisor does.
async fn keep_running(starter: &'static Starter) {
    let parent = Parent::spawn().await;
    let started = starter.start(parent.clone()).await.unwrap();
    tokio::spawn(async move {
        let mut actor = started;
        loop {
            while actor.get_status() != ractor::ActorStatus::Stopped {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            starter.vacate();
            actor = starter.start(parent.clone()).await.unwrap();
        }
    });
}

async fn echo(mut streams: mpsc::Receiver<Inbound>) {
    while let Some(mut stream) = streams.recv().await {
        tokio::spawn(async move {
            let Ok(said) = stream.receive.read_to_end(1 << 20).await else { return };
            if stream.send.write_all(&said).await.is_ok() && stream.send.finish().is_ok() {
                // The use of the connection ends with the stream.
                let _ = stream.send.stopped().await;
            }
            drop(stream.lease);
        });
    }
}

/// Says something and expects it back.
async fn say(lease: &Lease) -> Result<(), PeerTrouble> {
    let (mut send, mut receive) = lease.open().await?;
    let lost = |error: &dyn std::fmt::Display| PeerTrouble::Lied { what: error.to_string() };
    send.write_all(b"hello").await.map_err(|error| lost(&error))?;
    send.finish().map_err(|error| lost(&error))?;
    let heard = receive.read_to_end(100).await;
    match heard {
        Ok(heard) if heard == b"hello" => Ok(()),
        Ok(heard) => Err(lost(&format!("{heard:?}"))),
        Err(quinn::ReadToEndError::Read(quinn::ReadError::ConnectionLost(error))) => Err(error.into()),
        Err(error) => Err(lost(&error)),
    }
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "it never came to {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn trouble(error: ActorError) -> PeerTrouble {
    match error {
        ActorError::Peer { trouble, .. } => trouble,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn connection_that_is_there_is_used_again_by_both_sides() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    a.knows(&[&b]);
    b.knows_at(a.id, &[]);
    for _ in 0..3 {
        say(&a.pool.lease(b.id).await.unwrap()).await.unwrap();
    }
    // Without any address: over the connection that the other side has made.
    say(&b.pool.lease(a.id).await.unwrap()).await.unwrap();
    assert_eq!((a.counted("conn_pool_hits"), a.counted("conn_pool_misses")), (2, 1));
    assert_eq!((b.counted("conn_pool_hits"), b.counted("conn_pool_misses")), (1, 0));
    assert_eq!((a.counted("conn_pool_size"), b.counted("conn_pool_size")), (1, 1));
}

#[tokio::test]
async fn both_ends_of_a_connection_have_the_same_binding_and_no_other_has() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    let c = Node::start(3).await;
    a.knows(&[&b, &c]);
    b.knows_at(a.id, &[]);
    c.knows_at(a.id, &[]);
    let there = a.pool.lease(b.id).await.unwrap();
    say(&there).await.unwrap();
    let back = b.pool.lease(a.id).await.unwrap();
    assert_eq!(there.binding(), back.binding());
    assert_ne!(there.binding(), a.pool.lease(c.id).await.unwrap().binding());
}

#[tokio::test]
async fn pool_that_fell_serves_again_on_the_same_port() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    a.knows(&[&b]);
    b.knows_at(a.id, &[]);
    let before = a.pool.lease(b.id).await.unwrap();
    say(&before).await.unwrap();
    b.pool.panic();
    until("a new connection", async || {
        let Ok(lease) = a.pool.lease(b.id).await else { return false };
        lease.binding() != before.binding() && say(&lease).await.is_ok()
    })
    .await;
    a.pool.panic();
    until("an answer", async || {
        let Ok(lease) = a.pool.lease(b.id).await else { return false };
        say(&lease).await.is_ok()
    })
    .await;
}

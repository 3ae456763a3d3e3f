//! Connections that are opened and dropped, thousands of them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use actors::conn_pool::raw::Raw;
use config::Accept;
use proto::{NodeKey, wire::Request};
use quinn::VarInt;

use super::{Vitals, scaled, tell};
use crate::support::{Node, until};

#[tokio::test(flavor = "multi_thread")]
async fn connections_opened_and_dropped_leave_nothing_behind() {
    let b = Node::with(2, |network| {
        network.accept = Accept::Any;
        network.pool_max_connections = PLACES;
    })
    .await;
    let callers: Vec<_> = (0..CALLERS).map(caller).collect();
    let connections = scaled(10_000, 100_000);
    churn(&callers, &b, connections / 10).await;
    rest(&b).await;
    let before = Vitals::now();
    let most = churn(&callers, &b, connections).await;
    rest(&b).await;
    let after = Vitals::now();
    tell(&format!("{connections} connections, at most {most} at a time; {before:?}, {after:?}"));
    assert!((2..=PLACES).contains(&most), "{most} connections at a time");
    assert!(after.descriptors <= before.descriptors + DESCRIPTORS_GROWTH_MAX, "{before:?} {after:?}");
    assert!(after.threads <= before.threads + THREADS_GROWTH_MAX, "{before:?} {after:?}");
    assert!(after.memory_bytes < before.memory_bytes + MEMORY_GROWTH_BYTES_MAX, "{before:?} {after:?}");
    assert!(b.system.standing.borrow().actors.iter().all(|actor| actor.restarts == 0));
}

/// One at an address of its own network.
fn caller(number: u8) -> Raw {
    let address = SocketAddr::from(([127, 0, number + 1, 1], 0));
    Raw::bind(&NodeKey::from_seed([number; 32]), address, Default::default()).unwrap()
}

/// Opens and drops so many connections; the most there were at a time.
async fn churn(callers: &[Raw], b: &Node, connections: u64) -> usize {
    let (left, over) = (Arc::new(AtomicU64::new(connections)), Arc::new(AtomicBool::new(false)));
    let (pool, is_over) = (b.system.pool.clone(), over.clone());
    let watch = tokio::spawn(async move {
        let mut most = 0;
        while !is_over.load(Ordering::Relaxed) {
            most = most.max(pool.status().await.unwrap().connections.len());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        most
    });
    let tasks = callers.iter().cloned().map(|caller| {
        let (left, holder, address) = (left.clone(), b.id(), b.address());
        tokio::spawn(async move {
            let take = |left: u64| left.checked_sub(1);
            while let Ok(number) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
                // Every time somebody else.
                let mut seed = [0; 32];
                seed[..8].copy_from_slice(&number.to_le_bytes());
                let caller = caller.with_key(&NodeKey::from_seed(seed)).unwrap();
                visit(&caller, holder, address, number).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    watch.await.unwrap()
}

/// One connection, and one of the ways in which it may end.
async fn visit(caller: &Raw, holder: proto::NodeId, address: SocketAddr, number: u64) {
    if number.is_multiple_of(8) {
        // Gone before the handshake is done.
        let config = caller.client(holder, b"tesseras/1").unwrap();
        return drop(caller.endpoint().connect_with(config, address, "raw").unwrap());
    }
    // It may be too much at the moment, and is then told so or not answered.
    let Ok(connection) = caller.dial(holder, address).await else { return };
    match number % 8 {
        1 | 2 => connection.close(VarInt::from_u32(5), b"away"),
        3 => drop(connection.open_bi().await),
        4 => {
            if let Ok((mut send, _receive)) = connection.open_bi().await {
                let _ = send.write_all(&Request::Peers.frame()[..5]).await;
            }
        }
        5 => {
            if let Ok((mut send, mut receive)) = connection.open_bi().await {
                let _ = send.write_all(&Request::Peers.frame()).await;
                let _ = receive.read_to_end(1 << 16).await;
            }
        }
        _ => tokio::time::sleep(STAY).await,
    }
}

/// Waits until it has noticed that all are gone.
async fn rest(b: &Node) {
    until("the callers' leaving", async || b.system.pool.status().await.unwrap().connections.is_empty())
        .await;
    until("rest", async || b.system.parked().room_bytes == 0).await;
}

const PLACES: usize = 6;
/// Longer than the pause between two handshakes, so that some are there together.
const STAY: Duration = Duration::from_millis(150);
const CALLERS: u8 = 32;
const DESCRIPTORS_GROWTH_MAX: usize = 4;
/// Threads for files come and go.
const THREADS_GROWTH_MAX: usize = 8;
/// An allocator keeps a little of what it was given back.
const MEMORY_GROWTH_BYTES_MAX: u64 = 16 << 20;

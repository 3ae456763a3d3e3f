//! As many peers as there is place for, each of which parks as much as it is let: what that takes of memory is bounded.

use std::{net::SocketAddr, time::Duration};

use actors::conn_pool::raw::Raw;
use config::Accept;
use proto::{NodeKey, wire::Request};
use quinn::{Connection, SendStream, TransportConfig, VarInt};
use tokio::time::timeout;

use super::{Vitals, tell};
use crate::support::{Node, Tessera, until};

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_park_all_they_may_take_no_more_than_is_set_aside() {
    let b = Node::with(2, |network| {
        network.accept = Accept::Any;
        network.pool_max_connections = usize::from(PEERS);
    })
    .await;
    let a = Node::start(1).await;
    b.knows(&a).await;
    a.knows(&b).await;
    let tessera = Tessera::new(&a.author, 1, 1 << 20);
    tessera.give_all(&a, b.id()).await;
    // A socket of its own for each would take more memory than what is measured.
    let sockets: Vec<_> = (0..SOCKETS).map(socket).collect();
    let peers: Vec<_> = (0..PEERS).map(|number| peer(&sockets, number)).collect();
    for peer in peers.iter().take(usize::from(WANTED)) {
        b.knows_at(peer.node(), peer.address().unwrap(), None).await;
    }
    let mut connections = Vec::new();
    for peer in &peers {
        // Some are not answered at once while others come in.
        if let Ok(connection) = peer.dial(b.id(), b.address()).await {
            connections.push(connection);
        }
    }
    until("all are there", async || b.system.pool.status().await.unwrap().connections.len() >= ENOUGH).await;
    let before = Vitals::now();
    let ask = Request::GetFragment { fragment: tessera.fragment(0), checksum: None }.frame();
    let mut parked = Vec::new();
    for connection in &connections {
        parked.extend(park(connection, &ask).await);
    }
    let (after, sent) = (Vitals::now(), connections.iter().map(|one| one.stats().udp_tx.bytes).sum::<u64>());
    let grown = after.memory_bytes.saturating_sub(before.memory_bytes);
    tell(&format!(
        "{} connections, {} streams, {} MiB sent: {} MiB grown; {before:?} {after:?}",
        connections.len(),
        parked.len(),
        sent >> 20,
        grown >> 20
    ));
    assert!(connections.len() >= ENOUGH && parked.len() > ENOUGH * 8, "{}", parked.len());
    assert!(grown <= GROWTH_BYTES_MAX, "{} MiB", grown >> 20);
    // The node that is wanted is served as before.
    let fragment = &tessera.fragments[0];
    let got = a.system.remote.fragment(b.id(), tessera.fragment(0), fragment.checksum()).await;
    assert_eq!(&got.unwrap(), fragment);
}

fn peer(sockets: &[Raw], number: u8) -> Raw {
    let mut seed = [0; 32];
    seed[0] = number;
    sockets[usize::from(number % SOCKETS)].with_key(&NodeKey::from_seed(seed)).unwrap()
}

fn socket(number: u8) -> Raw {
    let from = SocketAddr::from(([127, 4, number, 1], 0));
    let mut transport = TransportConfig::default();
    // It takes nothing of what it asks for.
    transport.stream_receive_window(VarInt::from_u32(16));
    // And keeps little of what it says itself: it is in the same process.
    transport.send_window(16 << 10);
    Raw::bind(&NodeKey::from_seed([number; 32]), from, transport).unwrap()
}

/// Fills all windows of a connection, and holds them so.
async fn park(connection: &Connection, ask: &[u8]) -> Vec<SendStream> {
    let mut parked = Vec::new();
    // Answers that are never taken, and requests that never end, as long as there is place for more.
    while let Ok(Ok((mut send, receive))) = timeout(GLANCE, connection.open_bi()).await {
        if parked.len() % 2 == 0 {
            if send.write_all(ask).await.is_ok() && send.finish().is_ok() {
                std::mem::forget(receive);
                parked.push(send);
            }
            continue;
        }
        let mut head = proto::wire::Head { kind: 1, body_len: 4096 }.encode().to_vec();
        // All but the last byte of it.
        head.resize(8 + 4095, 0);
        match timeout(GLANCE, send.write_all(&head)).await {
            Ok(Ok(())) => parked.push(send),
            _ => break,
        }
    }
    // What is left of the window.
    if let Some(send) = parked.last_mut() {
        let _ = timeout(GLANCE, send.write_all(&vec![0; 4 << 20])).await;
    }
    parked
}

const PEERS: u8 = 250;
/// Each at an address of another network.
const SOCKETS: u8 = 10;
/// Of those, so many are wanted and have larger windows.
const WANTED: u8 = 20;
const ENOUGH: usize = 200;
const GLANCE: Duration = Duration::from_millis(50);
/// What is set aside for windows (64 MiB) and transfers (16 MiB); the tasks of all streams; and what the callers, who are
/// in the same process, hold themselves.
const GROWTH_BYTES_MAX: u64 = 128 << 20;

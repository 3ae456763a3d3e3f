//! How much a stranger may have here: what its machines keep for this node, and a deficit.

use actors::storage::{Note, Origin, Receipt};
use bytes::Bytes;
use config::{Accept, NetworkConfig};
use proto::{Checksum, FragmentId, TesseraId, wire::RefusalKind};

use crate::support::{Node, Tessera, refusal};

/// A node where strangers may have so much.
async fn host(accept_deficit_bytes: u64, max_storage_per_peer_bytes: u64) -> Node {
    let any = |network: &mut NetworkConfig| {
        network.accept = Accept::Any;
        network.accept_deficit_bytes = accept_deficit_bytes;
        network.max_storage_per_peer_bytes = max_storage_per_peer_bytes;
    };
    Node::with(2, any).await
}

/// A node that is known to act for its author, though nobody here wants it as a peer, and has signed to have so many bytes
/// of this node's author's.
async fn keeps(stranger: &Node, host: &Node, bytes: u32) {
    let known = Note::Peer {
        node: stranger.id(),
        addresses: Vec::new(),
        author: Some(stranger.author.id()),
        allow_bytes: None,
        origin: Origin::Introduced,
        name: None,
        at_ms: 0,
    };
    let ours = Note::Receipt(Receipt {
        holder: stranger.id(),
        fragment: FragmentId { tessera: TesseraId::from_bytes([7; 32]), stripe: 0, index: 0 },
        checksum: Checksum::of(b"ours"),
        length: bytes,
        author: host.author.id(),
        held_at_ms: 0,
        signed: Bytes::new(),
    });
    host.system.storage.records().note(vec![known, ours]).await.unwrap();
    host.system.peers.refresh().await.unwrap();
}

/// What it says that it keeps.
async fn room(stranger: &Node, host: &Node) -> u64 {
    stranger.system.remote.hello(host.id(), false, None).await.unwrap().allowance_bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn stranger_may_have_as_much_as_it_keeps_for_this_node_and_a_deficit() {
    let (stranger, host) = (Node::start(1).await, host(DEFICIT, 1 << 20).await);
    stranger.knows(&host).await;
    assert_eq!(room(&stranger, &host).await, DEFICIT);
    let tessera = Tessera::new(&stranger.author, 1, 16 * 4096);
    tessera.introduce(&stranger, host.id()).await.unwrap();
    let mut given = 0;
    let refused = loop {
        match tessera.give(&stranger, host.id(), given).await {
            Ok(_) => given += 1,
            Err(refused) => break refused,
        }
    };
    assert!(refused.to_string().contains(&format!("of {DEFICIT} bytes are used")), "{refused}");
    let cost = |fragments: usize| fragments as u64 * (4096 + PLACE);
    assert_eq!(room(&stranger, &host).await, DEFICIT - tessera.cost_of_documents() - cost(given));
    // Places count there as they do here.
    keeps(&stranger, &host, u32::try_from(cost(4) - PLACE).unwrap()).await;
    for stripe in given..given + 4 {
        tessera.give(&stranger, host.id(), stripe).await.unwrap();
    }
    assert_eq!(refusal(tessera.give(&stranger, host.id(), given + 4).await), RefusalKind::QuotaExceeded);
}

/// What is signed need not be kept.
#[tokio::test(flavor = "multi_thread")]
async fn stranger_that_signs_for_a_lot_may_have_no_more_than_a_peer() {
    let (stranger, host) = (Node::start(1).await, host(DEFICIT, 2 * DEFICIT).await);
    stranger.knows(&host).await;
    keeps(&stranger, &host, 1 << 20).await;
    assert_eq!(room(&stranger, &host).await, 2 * DEFICIT);
    // A peer has what it is granted, however much or little it keeps.
    host.knows_at(stranger.id(), stranger.address(), Some(DEFICIT / 2)).await;
    assert_eq!(room(&stranger, &host).await, DEFICIT / 2);
}

const DEFICIT: u64 = 32 << 10;
const PLACE: u64 = 512;

//! A node that stops while others talk to it: what is under way ends, what comes is told to come later, and nobody holds it
//! up for long.

use std::time::{Duration, Instant};

use actors::conn_pool::raw::Raw;
use proto::{
    NodeKey,
    limits::FRAME_HEAD_BYTES,
    receipt::SignedReceipt,
    wire::{Answer, Head, RefusalKind, Request},
};
use quinn::{Connection, ConnectionError, RecvStream, SendStream, TransportConfig, VarInt};

use crate::support::{Node, Tessera, pair, until};

/// A node that has the first fragment of a tessera, and a slow peer that is connected to it.
struct Scene {
    a: Node,
    b: Node,
    tessera: Tessera,
    raw: Raw,
    connection: Connection,
}

impl Scene {
    async fn begin() -> Self {
        let (a, b) = pair().await;
        let tessera = Tessera::new(&a.author, 1, 4 << 20);
        tessera.introduce(&a, b.id()).await.unwrap();
        tessera.give(&a, b.id(), 0).await.unwrap();
        let mut transport = TransportConfig::default();
        // Little is on its way to it that it has not read.
        transport.stream_receive_window(VarInt::from_u32(4096));
        let raw = Raw::bind(&NodeKey::from_seed([9; 32]), ([127, 0, 0, 1], 0).into(), transport).unwrap();
        b.knows_at(raw.node(), raw.address().unwrap(), None).await;
        let connection = raw.dial(b.id(), b.address()).await.unwrap();
        Self { a, b, tessera, raw, connection }
    }

    /// Asks for the fragment that is there, and hears that it comes.
    async fn begin_to_get(&self) -> (SendStream, RecvStream) {
        let (mut send, mut receive) = self.connection.open_bi().await.unwrap();
        let request = Request::GetFragment { fragment: self.tessera.fragment(0), checksum: None };
        send.write_all(&request.frame()).await.unwrap();
        let answer = read_answer(&mut receive).await;
        assert_eq!(answer.bulk_len() as usize, self.tessera.fragments[0].bytes().len());
        (send, receive)
    }

    /// Gives another, and half of its bytes.
    async fn begin_to_put(&self) -> (SendStream, RecvStream) {
        let (mut send, receive) = self.connection.open_bi().await.unwrap();
        let fragment = &self.tessera.fragments[1];
        let request = Request::PutFragment {
            fragment: self.tessera.fragment(1),
            checksum: fragment.checksum(),
            length: u32::try_from(fragment.bytes().len()).unwrap(),
            layout: self.tessera.layout.checksum(),
        };
        send.write_all(&request.frame()).await.unwrap();
        send.write_all(&fragment.bytes()[..HALF]).await.unwrap();
        until("its being taken", async || self.b.system.parked().owed_bytes > 0).await;
        (send, receive)
    }

    /// Waits until the node tells whoever comes that it is stopping.
    async fn until_it_stops(&self) {
        until("its stopping", async || {
            let (mut send, mut receive) = self.connection.open_bi().await.unwrap();
            send.write_all(&Request::Peers.frame()).await.unwrap();
            match read_answer(&mut receive).await {
                Answer::Refused(refusal) => refusal.kind() == RefusalKind::Restarting,
                _ => false,
            }
        })
        .await;
    }
}

async fn read_answer(receive: &mut RecvStream) -> Answer {
    let mut head = [0; FRAME_HEAD_BYTES];
    receive.read_exact(&mut head).await.unwrap();
    let head = Head::parse(head).unwrap();
    let mut body = vec![0; head.body_len as usize];
    receive.read_exact(&mut body).await.unwrap();
    Answer::decode(head.kind, &body).unwrap().unwrap()
}

async fn stop(node: &Node) -> Duration {
    let begun = Instant::now();
    node.system.clone().drain().await;
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_under_way_are_finished_before_a_node_stops() {
    let scene = Scene::begin().await;
    let (_asked, mut coming) = scene.begin_to_get().await;
    let (mut going, mut receipt) = scene.begin_to_put().await;
    let (holder, stopped) = (scene.b.id(), stop(&scene.b));
    let finished = async {
        scene.until_it_stops().await;
        let [got, given] = [0, 1].map(|stripe| scene.tessera.fragments[stripe].clone());
        let back = coming.read_to_end(1 << 20).await.unwrap();
        assert_eq!(back, got.bytes().as_ref());
        going.write_all(&given.bytes()[HALF..]).await.unwrap();
        going.finish().unwrap();
        let Answer::Stored { receipt } = read_answer(&mut receipt).await else { panic!("not stored") };
        let receipt = SignedReceipt::verify(&receipt, holder).unwrap();
        assert_eq!((receipt.checksum, receipt.deliverer), (given.checksum(), scene.raw.node()));
    };
    tokio::join!(stopped, finished);
    // And only then is the connection closed, with the reason.
    let closed = scene.connection.closed().await;
    assert!(
        matches!(&closed, ConnectionError::ApplicationClosed(close) if close.error_code == VarInt::from_u32(1)),
        "{closed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_stops_finishes_what_it_has_asked_itself() {
    let (a, b) = pair().await;
    let slow = |network: &mut config::NetworkConfig| network.upload = Some(200_000);
    let c = Node::with(3, slow).await;
    c.knows(&a).await;
    a.knows(&c).await;
    let tessera = Tessera::new(&a.author, 1, 200_000);
    tessera.give_all(&a, b.id()).await;
    tessera.give_all(&a, c.id()).await;
    let asked = (0..tessera.fragments.len()).map(|stripe| {
        a.system.remote.fragment(c.id(), tessera.fragment(stripe), tessera.fragments[stripe].checksum())
    });
    let asked = futures::future::join_all(asked);
    let stopped = async {
        let connection = async || {
            let connections = a.system.pool.status().await.unwrap().connections;
            connections.into_iter().find(|connection| connection.node == c.id())
        };
        until("all are asked", async || {
            connection().await.is_some_and(|connection| connection.streams >= tessera.fragments.len())
        })
        .await;
        stop(&a).await
    };
    let (got, _) = tokio::join!(asked, stopped);
    for (got, fragment) in got.into_iter().zip(&tessera.fragments) {
        assert_eq!(&got.unwrap(), fragment);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_that_stalls_does_not_keep_a_node_from_stopping() {
    let scene = Scene::begin().await;
    let (_asked, _coming) = scene.begin_to_get().await;
    let (_going, _receipt) = scene.begin_to_put().await;
    // It is waited for, but not for as long as a transfer may take.
    let took = stop(&scene.b).await;
    assert!((GRACE..GRACE + SLACK).contains(&took), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_nobody_uses_stops_at_once() {
    let scene = Scene::begin().await;
    scene.a.system.remote.hello(scene.b.id(), false, None).await.unwrap();
    let took = stop(&scene.b).await;
    assert!(took < GRACE, "{took:?}");
}

const HALF: usize = 100_000;
/// How long it waits for transfers that are under way.
const GRACE: Duration = Duration::from_secs(5);
/// The rest of what stopping takes, on a machine that does much else.
const SLACK: Duration = Duration::from_secs(10);

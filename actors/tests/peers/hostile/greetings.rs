//! Those who do not get as far as a request: other versions, other protocols, other keys.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use actors::conn_pool::{PeerTrouble, raw::Raw};
use proto::{NodeKey, wire::Request};
use quinn::{ClientConfig, ConnectionError, VarInt};

use super::verdict::answered;
use crate::support::{Node, trouble};

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn raw(seed: u8) -> Raw {
    Raw::bind(&NodeKey::from_seed([seed; 32]), loopback(), Default::default()).unwrap()
}

async fn dialled(raw: &Raw, config: ClientConfig, address: SocketAddr) -> Result<(), ConnectionError> {
    let connection = raw.endpoint().connect_with(config, address, "raw").unwrap().await?;
    // Who is let in is told after the handshake.
    Err(connection.closed().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn caller_without_our_protocol_is_told_so_in_the_handshake() {
    let (b, caller) = (Node::start(2).await, raw(9));
    for protocol in [b"".as_slice(), b"h3", b"tesseras/2"] {
        let config = caller.client(b.id(), protocol).unwrap();
        let told = dialled(&caller, config, b.address()).await.unwrap_err();
        // The TLS alert `no_application_protocol` (RFC 7301 §3.2).
        let is_alert = matches!(&told, ConnectionError::ConnectionClosed(closed)
            if closed.error_code == quinn::TransportErrorCode::crypto(120));
        assert!(is_alert, "{}: {told}", protocol.escape_ascii());
    }
    assert_eq!(b.system.pool.status().await.unwrap().connections, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_speaks_another_protocol_is_named_as_such() {
    let (a, other) = (Node::start(1).await, raw(9));
    other.speak(b"tesseras/2").unwrap();
    a.knows_at(other.node(), other.address().unwrap(), None).await;
    let endpoint = other.endpoint().clone();
    tokio::spawn(async move {
        while endpoint.accept().await.is_some_and(|incoming| incoming.accept().is_ok()) {}
    });
    let told = trouble(a.system.remote.hello(other.node(), false, None).await);
    assert!(
        matches!(&told, PeerTrouble::Unreachable { reason } if reason.contains("another version of ours")),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_version_of_quic_is_answered_with_the_known_one_and_no_more_bytes() {
    let b = Node::start(2).await;
    let socket = UdpSocket::bind(loopback()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut packet = [&[0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8][..], &[7; 8], &[8], &[9; 8]].concat();
    packet.resize(1200, 0);
    socket.send_to(&packet, b.address()).unwrap();
    let mut answer = [0; 2048];
    let length = socket.recv(&mut answer).unwrap();
    // Version negotiation (RFC 9000 §17.2.1): version 0, both ids, and the versions known there.
    assert_eq!(&answer[1..5], [0; 4]);
    let versions: Vec<_> = answer[23..length].chunks(4).collect();
    assert!(versions.contains(&[0, 0, 0, 1].as_slice()) && length < packet.len(), "{versions:?}");
    assert!(!versions.iter().any(|version| version.starts_with(&[0xff, 0, 0])), "a draft: {versions:?}");
    // A small packet may be forged at no cost: it is not answered at all.
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    socket.send_to(&packet[..100], b.address()).unwrap();
    assert!(socket.recv(&mut answer).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_speaks_another_version_of_quic_is_named_as_such() {
    let (a, socket) = (Node::start(1).await, UdpSocket::bind(loopback()).unwrap());
    let other = NodeKey::from_seed([9; 32]).id();
    a.knows_at(other, socket.local_addr().unwrap(), None).await;
    std::thread::spawn(move || {
        let mut packet = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let ids = &packet[5..length];
            let (to, rest) = ids[1..].split_at(usize::from(ids[0]));
            let (own, _) = rest[1..].split_at(usize::from(rest[0]));
            // Version 2 (RFC 9369), and nothing else.
            let lengths = [own.len(), to.len()].map(|length| u8::try_from(length).unwrap());
            let answer = [&[0x80, 0, 0, 0, 0, lengths[0]], own, &[lengths[1]], to, &[0x6b, 0x33, 0x43, 0xcf]];
            let _ = socket.send_to(&answer.concat(), from);
        }
    });
    let told = trouble(a.system.remote.hello(other, false, None).await);
    assert!(
        matches!(&told, PeerTrouble::Unreachable { reason } if reason.contains("another version of QUIC")),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn caller_that_expects_another_key_does_not_come_in() {
    let (b, caller) = (Node::start(2).await, raw(9));
    let other = NodeKey::from_seed([77; 32]).id();
    let config = caller.client(other, b"tesseras/1").unwrap();
    let told = dialled(&caller, config, b.address()).await.unwrap_err();
    assert!(matches!(told, ConnectionError::TransportError(_)), "{told}");
    assert_eq!(b.system.pool.status().await.unwrap().connections, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn frame_of_a_later_version_is_unsupported_and_no_strike() {
    let (b, caller) = (Node::start(2).await, raw(9));
    b.knows_at(caller.node(), caller.address().unwrap(), None).await;
    let connection = caller.dial(b.id(), b.address()).await.unwrap();
    for _ in 0..200 {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        let mut frame = Request::Peers.frame();
        frame[0] = 2;
        send.write_all(&frame).await.unwrap();
        send.finish().unwrap();
        assert_eq!(answered(&receive.read_to_end(1000).await.unwrap()), Ok("unsupported"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_one_way_streams_nor_datagrams_are_taken() {
    let (b, caller) = (Node::start(2).await, raw(9));
    b.knows_at(caller.node(), caller.address().unwrap(), None).await;
    let connection = caller.dial(b.id(), b.address()).await.unwrap();
    let opened = tokio::time::timeout(Duration::from_millis(300), connection.open_uni()).await;
    assert!(opened.is_err());
    let sent = connection.send_datagram(b"hello".as_slice().into());
    assert_eq!(sent, Err(quinn::SendDatagramError::UnsupportedByPeer));
}

/// Each time something is written down.
#[tokio::test(flavor = "multi_thread")]
async fn caller_that_says_something_else_again_and_again_is_cut_off() {
    let (b, caller) = (Node::start(2).await, raw(9));
    b.knows_at(caller.node(), caller.address().unwrap(), None).await;
    let connection = caller.dial(b.id(), b.address()).await.unwrap();
    let hello = async |port: u16| -> Result<(), Box<dyn std::error::Error>> {
        let (mut send, mut receive) = connection.open_bi().await?;
        let request = Request::Hello {
            software: "raw".to_owned(),
            addresses: vec![format!("127.0.0.1:{port}")],
            credential: None,
            invite: None,
            dial_back: false,
        };
        send.write_all(&request.frame()).await?;
        send.finish()?;
        answered(&receive.read_to_end(1000).await?)?;
        Ok(())
    };
    for _ in 0..200 {
        hello(1).await.unwrap();
    }
    let mut times = 0;
    while hello(2 + times % 2).await.is_ok() {
        times += 1;
        assert!(times < 100, "it is still listened to");
    }
    assert!(times > 50, "{times}: a node may well move a few times");
}

/// Whatever it says of why.
#[tokio::test(flavor = "multi_thread")]
async fn caller_that_gives_up_half_of_each_request_is_cut_off() {
    for code in [0, 1] {
        let (b, caller) = (Node::start(2).await, raw(9));
        b.knows_at(caller.node(), caller.address().unwrap(), None).await;
        let connection = caller.dial(b.id(), b.address()).await.unwrap();
        for _ in 0..500 {
            let Ok((mut send, mut receive)) = connection.open_bi().await else { break };
            let _ = send.write_all(&Request::Peers.frame()[..3]).await;
            let _ = send.reset(VarInt::from_u32(code));
            let _ = receive.read_to_end(1000).await;
        }
        let told = connection.close_reason();
        assert!(matches!(told, Some(ConnectionError::ApplicationClosed(_))), "{code}: {told:?}");
    }
}

//! A peer that answers as it is told to.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actors::conn_pool::raw::{Raw, binding};
use bytes::Bytes;
use proto::{
    NodeId, NodeKey,
    wire::{Answer, Head, Request},
};
use quinn::{Connection, SendStream, TransportConfig};

use crate::support::Node;

/// What a liar says to a request: a frame and what follows it, or nothing at all. What follows comes at once, or byte by byte.
pub(crate) type Lie = dyn Fn(&Asked, Request) -> Option<(Vec<u8>, Bytes)> + Send + Sync;

/// Who asks, and on which connection.
pub(crate) struct Asked {
    pub(crate) liar: NodeKey,
    pub(crate) node: NodeId,
    pub(crate) binding: [u8; 32],
}

/// How long it waits.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    /// Before each answer.
    pub(crate) answer: Duration,
    /// After each byte that follows a frame; all come at once where that is nothing.
    pub(crate) byte: Duration,
    /// Documents come at once all the same.
    pub(crate) has_documents_ready: bool,
    /// Bytes that it takes before it reads them, on each stream; as many as usual where that is nothing.
    pub(crate) window_bytes: Option<u32>,
    /// After so long it says something that has to be acknowledged, again and again, and never where that is nothing.
    pub(crate) murmur: Duration,
}

/// In the place of a node, which ends, at its address.
pub(crate) async fn stand_in(node: &Node, pace: Pace, lie: Arc<Lie>) {
    let (key, address) = (node.key(), node.address());
    let transport = || {
        let mut transport = TransportConfig::default();
        if let Some(bytes) = pace.window_bytes {
            transport.receive_window(PARKED_BYTES.into()).stream_receive_window(bytes.into());
        }
        transport
    };
    node.system.clone().drain().await;
    let raw = bind(&key, address, transport).await;
    tokio::spawn(serve(raw, key, pace, lie));
}

/// Where another has just been, as soon as that has ended.
pub(crate) async fn bind(key: &NodeKey, address: SocketAddr, transport: impl Fn() -> TransportConfig) -> Raw {
    loop {
        match Raw::bind(key, address, transport()) {
            Ok(raw) => break raw,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

pub(crate) async fn serve(raw: Raw, liar: NodeKey, pace: Pace, lie: Arc<Lie>) {
    while let Some((node, connection)) = raw.accept().await {
        let asked = Asked { liar: liar.clone(), node, binding: binding(&connection).unwrap() };
        if !pace.murmur.is_zero() {
            tokio::spawn(murmur(connection.clone(), pace.murmur));
        }
        tokio::spawn(answer(connection, Arc::new(asked), pace, lie.clone()));
    }
}

async fn answer(connection: Connection, asked: Arc<Asked>, pace: Pace, lie: Arc<Lie>) {
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        let (asked, lie) = (asked.clone(), lie.clone());
        tokio::spawn(async move {
            let mut head = [0; 8];
            // Who is gone asks nothing.
            if receive.read_exact(&mut head).await.is_err() {
                return;
            }
            let head = Head::parse(head).unwrap();
            let mut body = vec![0; head.body_len as usize];
            receive.read_exact(&mut body).await.unwrap();
            let request = Request::decode(head.kind, &body).unwrap().unwrap();
            let is_ready = pace.has_documents_ready && matches!(request, Request::GetDocument { .. });
            let pace = if is_ready { Pace::default() } else { pace };
            // Nobody is lied to about who is there.
            let said = match request {
                Request::Hello { .. } => Some((hello(), Bytes::new())),
                request => lie(&asked, request),
            };
            tokio::time::sleep(pace.answer).await;
            match said {
                None => std::future::pending().await,
                Some((frame, bulk)) => {
                    let _ = send.write_all(&frame).await;
                    // It may have heard enough before.
                    let _ = say(&mut send, &bulk, pace.byte).await;
                    let _ = send.finish();
                    let _ = send.stopped().await;
                }
            }
        });
    }
}

async fn murmur(connection: Connection, pause: Duration) {
    for more in 1.. {
        tokio::time::sleep(pause).await;
        connection.set_receive_window((PARKED_BYTES + more).into());
    }
}

/// What it takes on all streams together before it reads it.
const PARKED_BYTES: u32 = 64 << 20;

async fn say(send: &mut SendStream, bulk: &Bytes, pause: Duration) -> Result<(), quinn::WriteError> {
    if pause.is_zero() {
        return send.write_all(bulk).await;
    }
    for byte in bulk {
        send.write_all(&[*byte]).await?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

fn hello() -> Vec<u8> {
    let answer = Answer::Hello {
        software: "liar/1".to_owned(),
        addresses: vec![],
        observed: "127.0.0.1:1".to_owned(),
        dial_back: None,
        credential: None,
        allowance_bytes: 1 << 40,
        bound: None,
    };
    answer.frame()
}

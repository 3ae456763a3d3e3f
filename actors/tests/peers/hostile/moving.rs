//! A peer whose address changes while it is connected, as those behind a router's do.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use actors::conn_pool::raw::Raw;
use proto::{NodeKey, wire::Request};

use super::verdict::answered;
use crate::support::{Node, until};

#[tokio::test(flavor = "multi_thread")]
async fn connection_goes_on_when_its_peer_has_another_address() {
    let b = Node::start(2).await;
    let from = |host| SocketAddr::from(([127, 5, host, 1], 0));
    let peer = Raw::bind(&NodeKey::from_seed([9; 32]), from(0), Default::default()).unwrap();
    b.knows_at(peer.node(), peer.address().unwrap(), None).await;
    let connection = peer.dial(b.id(), b.address()).await.unwrap();
    for host in 0..4 {
        if host > 0 {
            peer.endpoint().rebind(UdpSocket::bind(from(host)).unwrap()).unwrap();
        }
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&Request::Peers.frame()).await.unwrap();
        send.finish().unwrap();
        assert_eq!(answered(&receive.read_to_end(1 << 16).await.unwrap()), Ok("peers"));
        until("the new address", async || {
            let connections = b.system.pool.status().await.unwrap().connections;
            let [one] = connections.as_slice() else { panic!("{connections:?}") };
            one.address.ip() == IpAddr::from([127, 5, host, 1])
        })
        .await;
    }
}

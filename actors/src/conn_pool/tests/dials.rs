//! How others are dialled.

use std::{collections::HashSet, net::UdpSocket};

use quinn::TransportConfig;
use tokio::runtime::Runtime;

use super::{super::raw::Raw, *};

#[tokio::test]
async fn many_who_wait_for_a_node_share_one_dial() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    a.knows(&[&b]);
    b.knows_at(a.id, &[]);
    let leases = futures::future::join_all((0..50).map(|_| a.pool.lease(b.id))).await;
    let bindings: HashSet<_> = leases.into_iter().map(|lease| lease.unwrap().binding()).collect();
    assert_eq!(bindings.len(), 1);
    b.until_connected(1).await;
}

#[tokio::test]
async fn nodes_that_dial_each_other_at_once_keep_the_same_connection() {
    for round in 0..10 {
        let (a, b) = (Node::start(2 * round + 1).await, Node::start(2 * round + 2).await);
        a.knows(&[&b]);
        b.knows(&[&a]);
        let (there, back) = tokio::join!(a.pool.lease(b.id), b.pool.lease(a.id));
        say(&there.unwrap()).await.unwrap();
        say(&back.unwrap()).await.unwrap();
        until("the same connection", async || {
            let (there, back) = (a.pool.lease(b.id).await, b.pool.lease(a.id).await);
            let (Ok(there), Ok(back)) = (there, back) else { return false };
            there.binding() == back.binding() && say(&there).await.is_ok()
        })
        .await;
    }
}

#[tokio::test]
async fn other_address_is_tried_when_the_first_does_not_answer() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    a.knows_at(b.id, &["no-such-host.invalid:1", &b.address(), &silent]);
    b.knows_at(a.id, &[]);
    say(&a.pool.lease(b.id).await.unwrap()).await.unwrap();
    assert_eq!(a.counted("conn_pool_dial_failures"), 0);
}

#[tokio::test]
async fn address_that_is_learned_meanwhile_is_tried_too() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    a.knows_at(b.id, &[&silent]);
    b.knows_at(a.id, &[]);
    let learn = async {
        until("its being dialled", async || !a.pool.status().await.unwrap().dialling.is_empty()).await;
        a.knows_at(b.id, &[&silent, &b.address()]);
    };
    let (lease, ()) = tokio::join!(a.pool.lease(b.id), learn);
    say(&lease.unwrap()).await.unwrap();
}

#[tokio::test]
async fn node_that_is_not_there_is_left_alone_for_a_while() {
    let (a, absent) = (Node::start(1).await, NodeKey::from_seed([9; 32]).id());
    a.knows_at(absent, &["no-such-host.invalid:1"]);
    let first = trouble(a.pool.lease(absent).await.unwrap_err());
    assert!(
        matches!(&first, PeerTrouble::Unreachable { reason } if reason.contains("no-such-host.invalid")),
        "{first}"
    );
    let second = trouble(a.pool.lease(absent).await.unwrap_err());
    assert!(
        matches!(&second, PeerTrouble::Waiting { reason, .. } if reason.contains("no-such-host.invalid")),
        "{second}"
    );
    let waiting = a.pool.status().await.unwrap().waiting;
    assert_eq!(waiting.iter().map(|waiting| waiting.node).collect::<Vec<_>>(), [absent]);
    // What becomes known of others is nothing to it.
    a.knows_at(NodeKey::from_seed([8; 32]).id(), &["no-such-host.invalid:1"]);
    a.change(|book| book.peers.entry(absent).or_default().allow_bytes = Some(1));
    let still = trouble(a.pool.lease(absent).await.unwrap_err());
    assert!(matches!(&still, PeerTrouble::Waiting { .. }), "{still}");
    // What is known of it has changed: it is worth another try.
    a.knows_at(absent, &["no-other-host.invalid:1"]);
    let third = trouble(a.pool.lease(absent).await.unwrap_err());
    assert!(matches!(&third, PeerTrouble::Unreachable { .. }), "{third}");
    assert_eq!(a.counted("conn_pool_dial_failures"), 2);
}

#[tokio::test]
async fn thousand_unreachable_peers_are_dialled_no_more_than_the_budget_allows() {
    let budget = 20;
    let a = Node::with(1, NetworkConfig { dials_per_minute: budget, pool_max_connections: 2000, ..config() })
        .await;
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    silent.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let peers: Vec<_> = (0..1000_u32)
        .map(|number| NodeId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes()))
        .collect();
    a.change(|book| {
        let known = Known { addresses: vec![address.parse().unwrap()], ..Known::default() };
        book.peers = peers.iter().map(|node| (*node, known.clone())).collect();
    });
    let asked = peers.iter().map(|node| async { trouble(a.pool.lease(*node).await.unwrap_err()) });
    let told = futures::future::join_all(asked).await;
    let spent = told.iter().filter(|told| matches!(told, PeerTrouble::DialBudget { .. })).count();
    assert_eq!(spent, 1000 - budget as usize);
    // Every connection begins with its own destination id (RFC 9000 §17.2.2).
    let (mut dialled, mut packet) = (HashSet::new(), [0; 2048]);
    while let Ok((length, _)) = silent.recv_from(&mut packet) {
        assert!(length >= 1200);
        dialled.insert(packet[6..6 + usize::from(packet[5])].to_vec());
    }
    assert_eq!(dialled.len(), budget as usize);
}

#[tokio::test]
async fn node_that_dials_again_has_nobody_wait_on_its_old_connection() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    // As on a machine that lost its power: the old end says nothing more.
    let anew = Node::start(2).await;
    for node in [&b, &anew] {
        node.knows(&[&a]);
    }
    a.knows(&[&b]);
    say(&b.pool.lease(a.id).await.unwrap()).await.unwrap();
    let lease = a.pool.lease(b.id).await.unwrap();
    let (_send, mut receive) = lease.open().await.unwrap();
    say(&anew.pool.lease(a.id).await.unwrap()).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), receive.read_to_end(100)).await.unwrap();
    assert!(ended.is_err() && lease.is_dead(), "{ended:?}");
    say(&a.pool.lease_anew(b.id).await.unwrap()).await.unwrap();
    assert!(a.connections().await.iter().all(|connection| connection.is_inbound));
}

#[tokio::test]
async fn node_that_is_started_anew_right_after_it_was_dialled_is_there_at_once() {
    let (a, address) = (Node::start(1).await, SocketAddr::from(([127, 0, 0, 1], 0)));
    // When both have dialled at once that of `a` stays.
    let key = (2..).map(|seed| NodeKey::from_seed([seed; 32])).find(|key| key.id() > a.id).unwrap();
    let elsewhere = Runtime::new().unwrap();
    let entered = elsewhere.enter();
    let before = Raw::bind(&key, address, TransportConfig::default()).unwrap();
    drop(entered);
    let address = before.address().unwrap();
    a.knows_at(key.id(), &[&address.to_string()]);
    let accepted = elsewhere.spawn(async move { (before.accept().await, before) });
    let lease = a.pool.lease(key.id()).await.unwrap();
    // As at a power cut, when all was acknowledged: nothing is said any more, and nobody misses anything.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let accepted = accepted.await.unwrap();
    tokio::task::spawn_blocking(move || drop(elsewhere)).await.unwrap();
    drop(accepted);
    let anew = until_bound(&key, address).await;
    let _connection = anew.dial(a.id, a.pool.address()).await.unwrap();
    let comes = until("its new connection", async || {
        let connections = a.connections().await;
        matches!(&connections[..], [one] if one.is_inbound)
    });
    // Long before the old one ends by itself.
    tokio::time::timeout(Duration::from_secs(10), comes).await.unwrap();
    assert_ne!(a.pool.lease(key.id()).await.unwrap().binding(), lease.binding());
}

/// Where another has just been, as soon as that has ended.
async fn until_bound(key: &NodeKey, address: SocketAddr) -> Raw {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match Raw::bind(key, address, TransportConfig::default()) {
            Ok(raw) => break raw,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn node_that_comes_while_it_is_dialled_is_dialled_no_more() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    let silent = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let [first, second] = silent.each_ref().map(|socket| socket.local_addr().unwrap().to_string());
    a.knows_at(b.id, &[&first, &second]);
    b.knows(&[&a]);
    let comes = async {
        until("its being dialled", async || !a.pool.status().await.unwrap().dialling.is_empty()).await;
        b.pool.lease(a.id).await.unwrap()
    };
    let (lease, _) = tokio::join!(a.pool.lease(b.id), comes);
    say(&lease.unwrap()).await.unwrap();
    until("the end of the dial", async || a.pool.status().await.unwrap().dialling.is_empty()).await;
    silent[1].set_nonblocking(true).unwrap();
    assert!(
        silent[1].recv(&mut [0; 2048]).is_err(),
        "whoever is dialled takes the connection that is there for dead"
    );
    assert!(silent[0].recv(&mut [0; 2048]).is_ok());
    // It is not taken for one that cannot be reached, either.
    assert!(a.pool.status().await.unwrap().waiting.is_empty());
}

#[tokio::test]
async fn node_without_an_address_blocked_or_itself_is_not_dialled() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    let told = trouble(a.pool.lease(b.id).await.unwrap_err());
    assert_eq!(told, PeerTrouble::NoAddress);
    a.knows(&[&b, &a]);
    assert_eq!(trouble(a.pool.lease(a.id).await.unwrap_err()), PeerTrouble::Itself);
    a.change(|book| drop(book.blocked.insert(b.id, "spam".to_owned())));
    let told = trouble(a.pool.lease(b.id).await.unwrap_err());
    assert_eq!(told, PeerTrouble::BlockedHere { reason: "spam".to_owned() });
}

#[tokio::test]
async fn three_configured_nodes_are_kept_connected_and_no_others() {
    let a = Node::with(1, NetworkConfig { pool_idle_timeout: Duration::ZERO, ..config() }).await;
    let mut others = Vec::new();
    for seed in 2..7 {
        let other = Node::start(seed).await;
        other.knows_at(a.id, &[]);
        others.push(other);
    }
    a.change(|book| {
        for other in &others {
            let known = Known {
                addresses: vec![other.address().parse().unwrap()],
                is_configured: true,
                ..Known::default()
            };
            book.peers.insert(other.id, known);
        }
    });
    a.until_connected(3).await;
    let last = a.book.borrow().peers.keys().next_back().copied().unwrap();
    say(&a.pool.lease(last).await.unwrap()).await.unwrap();
    // Only the one that is not kept is ever idle for too long.
    a.pool.reap();
    a.until_connected(3).await;
    assert!(a.connections().await.iter().all(|connection| connection.is_kept && connection.node != last));
    assert_eq!(a.counted("conn_pool_reaped"), 1);
}

#[tokio::test]
async fn nodes_that_are_not_there_take_no_place_of_those_that_are_kept_connected() {
    let a = Node::start(1).await;
    let (b, c) = (Node::start(2).await, Node::start(3).await);
    let configured = |address: &str| Known {
        addresses: vec![address.parse().unwrap()],
        is_configured: true,
        ..Known::default()
    };
    a.change(|book| {
        // They come first, and as many as there are places.
        for number in 0..3 {
            book.peers.insert(NodeId::from_bytes([number; 32]), configured("no-such-host.invalid:1"));
        }
        for other in [&b, &c] {
            other.knows_at(a.id, &[]);
            book.peers.insert(other.id, configured(&other.address()));
        }
    });
    until("both", async || {
        a.pool.reap();
        a.connections().await.iter().filter(|connection| connection.is_kept).count() == 2
    })
    .await;
}

#[tokio::test]
async fn node_that_is_not_wanted_any_more_is_not_kept_connected() {
    let a = Node::with(1, NetworkConfig { pool_idle_timeout: Duration::ZERO, ..config() }).await;
    let b = Node::start(2).await;
    b.knows_at(a.id, &[]);
    let addresses = vec![b.address().parse().unwrap()];
    a.change(|book| {
        drop(book.peers.insert(b.id, Known { addresses, is_configured: true, ..Known::default() }));
    });
    a.until_connected(1).await;
    a.pool.reap();
    a.until_connected(1).await;
    a.change(|book| drop(book.peers.remove(&b.id)));
    a.pool.reap();
    a.until_connected(0).await;
}

//! Nodes that get to know each other.

use std::time::Duration;

use actors::{
    ActorError,
    conn_pool::{PeerTrouble, raw::Raw},
    storage::Blocked,
};
use config::Accept;
use proto::{
    NodeKey,
    wire::{Bound, RefusalKind},
};
use tokio::time::timeout;

use crate::{
    log,
    support::{Node, Tessera, pair, refusal, trouble, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_greet_each_other_know_who_the_other_acts_for() {
    let (a, b) = pair().await;
    let greeting = a.system.remote.hello(b.id(), false, None).await.unwrap();
    assert_eq!(greeting.author, Some(b.author.id()));
    assert!(greeting.software.starts_with("tesseras/"));
    assert_eq!(greeting.observed.parse(), Ok(a.address()));
    until("both know", async || {
        let (of_b, of_a) = (a.system.peers.book(), b.system.peers.book());
        let author =
            |book: &actors::conn_pool::PeerBook, node| book.peers.get(&node).and_then(|peer| peer.author);
        author(&of_b, b.id()) == Some(b.author.id()) && author(&of_a, a.id()) == Some(a.author.id())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_can_be_dialled_is_told_so_and_one_that_cannot_too() {
    let (a, b) = pair().await;
    let announced = config::HostPort::try_from(a.address()).unwrap();
    let c = Node::with(3, |network| network.announce = vec!["127.0.0.1:1".parse().unwrap()]).await;
    let d = Node::with(4, |network| {
        network.listen_addr = Some(a_free_port());
        network.announce = vec![network.listen_addr.unwrap().try_into().unwrap()];
    })
    .await;
    for node in [&c, &d] {
        b.knows(node).await;
        node.knows(&b).await;
    }
    let dialled = async |node: &Node| node.system.remote.hello(b.id(), true, None).await.unwrap().dial_back;
    assert_eq!(dialled(&d).await, Some(true), "{announced}");
    assert_eq!(dialled(&c).await, Some(false));
    assert_eq!(d.system.peers.reach().tried.map(|(node, _, worked)| (node, worked)), Some((b.id(), true)));
    // The connection that it was asked on is as it was.
    let connections = b.system.pool.status().await.unwrap().connections;
    let is_there = |node: &Node| connections.iter().filter(|one| one.node == node.id()).count() == 1;
    assert!(is_there(&c) && is_there(&d), "{connections:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_announces_a_name_is_dialled_where_it_comes_from() {
    let b = Node::start(2).await;
    let named = async |seed, host: &str| {
        let node = Node::with(seed, |network| {
            let address = a_free_port();
            network.listen_addr = Some(address);
            network.announce = vec![format!("{host}:{}", address.port()).parse().unwrap()];
        });
        let node = node.await;
        b.knows(&node).await;
        node.knows(&b).await;
        node.system.remote.hello(b.id(), true, None).await.unwrap().dial_back
    };
    assert_eq!(named(3, "localhost").await, Some(true));
    assert_eq!(named(4, "no-such-host.invalid").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_turned_away_are_told_of_once_in_a_while() {
    log::keep();
    let a = Node::start(1).await;
    let mut blocked = Vec::new();
    for seed in 100..105 {
        let other = Node::start(seed).await;
        a.system.peers.block(Blocked::Node(other.id()), "spam".to_owned()).await.unwrap();
        other.knows(&a).await;
        let told = trouble(other.system.remote.hello(a.id(), false, None).await);
        assert!(matches!(told, PeerTrouble::Blocked { .. } | PeerTrouble::Waiting { .. }), "{told}");
        blocked.push(other.id().to_string());
    }
    let lines = log::lines_with(&["turned away"]);
    let of_these = lines.iter().filter(|line| blocked.iter().any(|node| line.contains(node)));
    assert_eq!(of_these.count(), 1, "{lines:?}");
}

fn a_free_port() -> std::net::SocketAddr {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn invitation_lets_one_node_in_once() {
    let (a, b, c) = (Node::start(1).await, Node::start(2).await, Node::start(3).await);
    let secret = a.system.peers.invite(Some(1 << 20), None, Duration::from_secs(60)).await.unwrap();
    b.knows(&a).await;
    c.knows(&a).await;
    let greeting = b.system.remote.hello(a.id(), false, Some(secret)).await.unwrap();
    assert_eq!(greeting.allowance_bytes, 1 << 20);
    // It is a peer now, and what it brings is kept.
    Tessera::new(&b.author, 1, 5_000).give_all(&b, a.id()).await;
    let told = trouble(c.system.remote.hello(a.id(), false, Some(secret)).await);
    assert!(matches!(told, PeerTrouble::NotKnown { .. } | PeerTrouble::Refused(_)), "{told}");
    assert_eq!(a.system.peers.book().peers.keys().copied().collect::<Vec<_>>(), [b.id()]);
}

/// What is kept of a peer of another node.
async fn row(of: &Node, peer: &Node) -> Option<actors::storage::Peer> {
    of.system.storage.records().peer(peer.id()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn invitation_gives_a_peer_what_it_did_not_have_and_takes_nothing() {
    let (a, b, c) = (Node::start(1).await, Node::start(2).await, Node::start(3).await);
    let come = async |node: &Node, allow_bytes, name: &str| {
        let secret = a.system.peers.invite(allow_bytes, Some(name.to_owned()), Duration::from_secs(60)).await;
        node.system.remote.hello(a.id(), false, Some(secret.unwrap())).await.unwrap()
    };
    b.knows(&a).await;
    c.knows(&a).await;
    // One that was added by hand, without an allowance of its own.
    a.knows(&b).await;
    let before = row(&a, &b).await.unwrap();
    assert_eq!(come(&b, Some(5 << 20), "ben").await.allowance_bytes, 5 << 20);
    let after = row(&a, &b).await.unwrap();
    assert_eq!((after.allow_bytes, after.name.as_deref()), (Some(5 << 20), Some("ben")));
    assert_eq!((after.origin, after.addresses), (before.origin, before.addresses));
    // What it has now stays, and so do the name and the allowance that were typed in.
    come(&b, Some(9 << 20), "benjamin").await;
    let again = row(&a, &b).await.unwrap();
    assert_eq!((again.allow_bytes, again.name.as_deref()), (Some(5 << 20), Some("ben")));
    // One that came by an invitation gets more by another, and never less.
    for (allow_bytes, expected) in [(Some(7), 7), (Some(9), 9), (Some(8), 9), (None, 9)] {
        come(&c, allow_bytes, "carl").await;
        assert_eq!(row(&a, &c).await.unwrap().allow_bytes, Some(expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invitation_that_is_of_no_use_changes_nothing_for_whoever_follows_it() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    let address = [config::HostPort::try_from(a.address()).unwrap()];
    let elsewhere = ["127.0.0.1:1".parse().unwrap()];
    a.system.peers.invite(None, None, Duration::from_secs(60)).await.unwrap();
    let follow = async |at: &[config::HostPort], secret| {
        let peers = b.system.peers.clone();
        let ask = async {
            assert!(peers.book().peers.contains_key(&a.id()), "nobody else is dialled");
            b.system.remote.hello(a.id(), false, Some(secret)).await
        };
        b.system.peers.join(a.id(), at, Some(9), Some("ann".to_owned()), ask).await
    };
    // It is not known, and is not afterwards.
    trouble(follow(&address, [7; 32]).await);
    assert_eq!(row(&b, &a).await, None);
    assert!(b.system.peers.book().peers.is_empty());
    // It is known, and that stays as it is.
    b.knows_at(a.id(), a.address(), Some(5)).await;
    let (before, book) = (row(&b, &a).await, b.system.peers.book());
    trouble(follow(&elsewhere, [7; 32]).await);
    assert_eq!((row(&b, &a).await, b.system.peers.book()), (before, book));
    // One that holds does what it says.
    let secret = a.system.peers.invite(None, None, Duration::from_secs(60)).await.unwrap();
    follow(&address, secret).await.unwrap();
    let joined = row(&b, &a).await.unwrap();
    assert_eq!((joined.allow_bytes, joined.name.as_deref()), (Some(9), Some("ann")));
    b.system.remote.hello(a.id(), false, None).await.unwrap();
    until("knowing whom it acts for", async || {
        row(&b, &a).await.is_some_and(|peer| peer.author == Some(a.author.id()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_is_asked_is_not_known_any_more_when_nobody_waits_for_it() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    let address = [config::HostPort::try_from(a.address()).unwrap()];
    let (peers, id) = (b.system.peers.clone(), a.id());
    let asking = tokio::spawn(async move {
        let never = std::future::pending::<Result<(), ActorError>>();
        peers.join(id, &address, None, None, never).await
    });
    until("asking", async || b.system.peers.book().peers.contains_key(&id)).await;
    asking.abort();
    until("forgetting", async || b.system.peers.book().peers.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_with_a_wrong_invitation_gets_nothing_while_another_is_open() {
    let (a, c) = (Node::start(1).await, Node::start(3).await);
    a.system.peers.invite(None, None, Duration::from_secs(60)).await.unwrap();
    c.knows(&a).await;
    let told = trouble(c.system.remote.hello(a.id(), false, Some([7; 32])).await);
    assert!(
        matches!(&told, PeerTrouble::Refused(refusal) if refusal.reason().contains("never was")),
        "{told}"
    );
    let tessera = Tessera::new(&c.author, 1, 5_000);
    assert_eq!(refusal(tessera.introduce(&c, a.id()).await), RefusalKind::NotKnown);
    assert!(a.system.peers.book().peers.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn stranger_has_its_share_where_any_may_come() {
    let a = Node::with(1, |network| {
        network.accept = Accept::Any;
        network.max_storage_per_peer_bytes = 12_288;
    })
    .await;
    let b = Node::start(2).await;
    b.knows(&a).await;
    let tessera = Tessera::new(&b.author, 1, 12_288);
    tessera.introduce(&b, a.id()).await.unwrap();
    tessera.give(&b, a.id(), 0).await.unwrap();
    tessera.give(&b, a.id(), 1).await.unwrap();
    assert!(tessera.give(&b, a.id(), 2).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_are_told_of_each_other_but_not_of_themselves() {
    let (a, b, c) = (Node::start(1).await, Node::start(2).await, Node::start(3).await);
    a.knows(&b).await;
    a.knows(&c).await;
    b.knows(&a).await;
    let told = b.system.remote.peers_of(a.id()).await.unwrap();
    let [peer] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((peer.node, peer.addresses.clone()), (c.id(), vec![c.address().to_string()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_was_started_anew_is_found_again() {
    let (a, mut b) = pair().await;
    a.system.remote.hello(b.id(), false, None).await.unwrap();
    b.kill_and_start().await;
    // The first packet on the old connection is answered with a reset, and the request asked again on a new one.
    a.system.remote.hello(b.id(), false, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_that_only_the_settings_name_may_store_and_is_counted() {
    let a = Node::start(1).await;
    let named = config::PeerAddress { node: a.id(), addresses: vec![a.address().try_into().unwrap()] };
    let b = Node::with(2, |network| network.peers = vec![named]).await;
    a.knows(&b).await;
    let tessera = Tessera::new(&a.author, 1, 5_000);
    tessera.give_all(&a, b.id()).await;
    let peer = b.system.storage.records().peer(a.id()).await.unwrap().unwrap();
    assert_eq!(peer.author, Some(a.author.id()));
    assert!(peer.seen_at_ms.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_keeps_nothing_says_so_to_nodes_it_is_to_keep_for() {
    let a = Node::with(1, |network| network.accept = Accept::Any).await;
    let b = Node::with(2, |network| {
        network.accept = Accept::Any;
        network.hold = config::Hold::None;
    })
    .await;
    a.knows(&b).await;
    let told = async || {
        let greeting = a.system.remote.hello(b.id(), false, None).await.unwrap();
        (greeting.allowance_bytes, greeting.bound)
    };
    // What it does is nothing that any stranger has to know.
    assert_eq!(told().await, (0, None));
    b.knows(&a).await;
    assert_eq!(told().await, (0, Some(Bound::KeepsNothing)));
    assert!(b.system.remote.hello(a.id(), false, None).await.unwrap().allowance_bytes > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_that_is_removed_is_cut_off_and_a_stranger_from_then_on() {
    let connections = async |node: &Node| node.system.pool.status().await.unwrap().connections;
    // Whichever of them has dialled.
    for is_turned in [false, true] {
        let (a, b) = pair().await;
        a.system.remote.hello(b.id(), false, None).await.unwrap();
        let (removed, by) = if is_turned { (&b, &a) } else { (&a, &b) };
        let before = connections(by).await[0].open_for;
        by.system.peers.remove(removed.id()).await.unwrap();
        let is_cut_off = async || connections(by).await.iter().all(|one| one.open_for < before);
        until("its being cut off", is_cut_off).await;
        let comes_again = async || removed.system.remote.hello(by.id(), false, None).await;
        until("its coming again", async || comes_again().await.is_ok()).await;
        assert_eq!(comes_again().await.unwrap().allowance_bytes, 0);
        let tessera = Tessera::new(&removed.author, 1, 5_000);
        assert_eq!(refusal(tessera.introduce(removed, by.id()).await), RefusalKind::NotKnown);
        assert!(by.system.peers.book().peers.is_empty());
    }
}

/// Added anew over a connection that stays, it does not introduce itself again.
#[tokio::test(flavor = "multi_thread")]
async fn peer_that_is_connected_has_been_seen() {
    let (a, b) = (Node::start(1).await, Node::with(2, |network| network.accept = Accept::Any).await);
    b.knows(&a).await;
    a.knows(&b).await;
    let is_seen = async || row(&b, &a).await.unwrap().seen_at_ms.is_some();
    until("its being seen", is_seen).await;
    b.system.peers.remove(a.id()).await.unwrap();
    b.knows(&a).await;
    until("its being seen again", is_seen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_an_invitation_came_by_it() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    let secret = a.system.peers.invite(None, None, Duration::from_secs(60)).await.unwrap();
    let ask = b.system.remote.hello(a.id(), false, Some(secret));
    let at = [a.address().try_into().unwrap()];
    b.system.peers.join(a.id(), &at, None, None, ask).await.unwrap();
    for (of, peer) in [(&a, &b), (&b, &a)] {
        assert_eq!(row(of, peer).await.unwrap().origin, actors::storage::Origin::Invited);
    }
}

/// However many wait for it: that says little of a peer, and is told of once.
#[tokio::test(flavor = "multi_thread")]
async fn peer_that_hangs_up_again_and_again_was_absent_once() {
    let a = Node::start(1).await;
    let raw =
        Raw::bind(&NodeKey::from_seed([9; 32]), ([127, 0, 0, 1], 0).into(), Default::default()).unwrap();
    a.knows_at(raw.node(), raw.address().unwrap(), None).await;
    let node = raw.node();
    let hangs_up = tokio::spawn(async move {
        while let Some((_, connection)) = raw.accept().await {
            connection.close(quinn::VarInt::from_u32(77), b"no time");
        }
    });
    for _ in 0..3 {
        let told = trouble(a.system.remote.peers_of(node).await);
        assert!(matches!(told, PeerTrouble::Lost { is_passing: false, .. }), "{told}");
    }
    let absences = async || a.system.storage.records().peer(node).await.unwrap().unwrap().absences;
    until("its being counted", async || absences().await > 0).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(absences().await, 1);
    hangs_up.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_nodes_are_called_the_same() {
    let (a, b, c) = (Node::start(1).await, Node::start(2).await, Node::start(3).await);
    let ben = || Some("ben".to_owned());
    let at = |node: &Node| [node.address().try_into().unwrap()];
    a.system.peers.add(b.id(), &at(&b), None, ben()).await.unwrap();
    // The same one again.
    a.system.peers.add(b.id(), &at(&b), None, ben()).await.unwrap();
    let other = a.system.peers.add(c.id(), &at(&c), None, ben()).await;
    assert!(matches!(&other, Err(ActorError::Conflict { what }) if what.contains("\"ben\"")), "{other:?}");
    let asked = std::future::pending::<Result<(), ActorError>>();
    let other = a.system.peers.join(c.id(), &at(&c), None, ben(), asked).await;
    assert!(matches!(other, Err(ActorError::Conflict { .. })), "{other:?}");
    // One who was invited under a name that is taken comes in without it.
    let secret = a.system.peers.invite(None, ben(), Duration::from_secs(60)).await.unwrap();
    c.knows(&a).await;
    c.system.remote.hello(a.id(), false, Some(secret)).await.unwrap();
    assert_eq!(row(&a, &c).await.unwrap().name, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_the_settings_name_is_not_its_own_peer() {
    let id = NodeKey::from_seed([1; 32]).id();
    let itself = config::PeerAddress { node: id, addresses: vec!["127.0.0.1:9".parse().unwrap()] };
    let a = Node::with(1, |network| network.peers = vec![itself]).await;
    assert!(a.id() == id && a.system.peers.book().peers.is_empty());
    a.system.peers.refresh().await.unwrap();
    assert!(a.system.peers.book().peers.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_is_blocked_while_it_is_dialled_is_not_connected() {
    let a = Node::start(1).await;
    let raw =
        Raw::bind(&NodeKey::from_seed([9; 32]), ([127, 0, 0, 1], 0).into(), Default::default()).unwrap();
    let node = raw.node();
    a.knows_at(node, raw.address().unwrap(), None).await;
    // It is dialled at once, and takes its time.
    let incoming = raw.endpoint().accept().await.unwrap();
    a.system.peers.block(Blocked::Node(node), "it is slow".to_owned()).await.unwrap();
    let connection = incoming.await.unwrap();
    let closed = timeout(Duration::from_secs(10), connection.closed()).await.unwrap();
    assert!(closed.to_string().contains("it is slow"), "{closed}");
    assert!(a.system.pool.status().await.unwrap().connections.is_empty());
}

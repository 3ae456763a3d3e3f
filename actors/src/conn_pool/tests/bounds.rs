//! How many connections there are, and which go.

use super::*;

#[tokio::test]
async fn connection_nobody_uses_is_reaped_and_one_in_use_is_not() {
    let a = Node::with(1, NetworkConfig { pool_idle_timeout: Duration::ZERO, ..config() }).await;
    let (b, c) = (Node::start(2).await, Node::start(3).await);
    a.knows(&[&b, &c]);
    b.knows_at(a.id, &[]);
    c.knows_at(a.id, &[]);
    let used = a.pool.lease(b.id).await.unwrap();
    drop(a.pool.lease(c.id).await.unwrap());
    a.pool.reap();
    a.until_connected(1).await;
    assert_eq!(a.connections().await[0].node, b.id);
    c.until_connected(0).await;
    say(&used).await.unwrap();
    drop(used);
    a.pool.reap();
    a.until_connected(0).await;
    assert_eq!(a.counted("conn_pool_reaped"), 2);
}

#[tokio::test]
async fn connection_that_the_other_side_uses_is_not_reaped() {
    let a = Node::with(1, NetworkConfig { pool_idle_timeout: Duration::ZERO, ..config() }).await;
    let b = Node::start(2).await;
    a.knows_at(b.id, &[]);
    b.knows(&[&a]);
    let lease = b.pool.lease(a.id).await.unwrap();
    let (mut send, mut receive) = lease.open().await.unwrap();
    send.write_all(b"hel").await.unwrap();
    until("a stream", async || a.connections().await.iter().any(|connection| connection.streams == 1)).await;
    a.pool.reap();
    send.write_all(b"lo").await.unwrap();
    send.finish().unwrap();
    assert_eq!(receive.read_to_end(100).await.unwrap(), b"hello");
    assert_eq!(a.counted("conn_pool_reaped"), 0);
}

/// Whoever finds a connection does not ask the actor, which may be about to reap it.
#[tokio::test(flavor = "multi_thread")]
async fn connection_is_never_reaped_from_under_one_who_has_just_come_for_it() {
    let config = NetworkConfig { pool_idle_timeout: Duration::ZERO, dials_per_minute: 100_000, ..config() };
    let (a, b) = (Node::with(1, config).await, Node::start(2).await);
    a.knows(&[&b]);
    b.knows_at(a.id, &[]);
    let pool = a.pool.clone();
    let reaping = tokio::spawn(async move {
        // One at a time: each leaves a timer behind.
        while pool.answers().await {
            pool.reap();
        }
    });
    until("many reaped, and many found", async || {
        for _ in 0..20 {
            say(&a.pool.lease(b.id).await.unwrap()).await.unwrap();
        }
        a.counted("conn_pool_hits") >= 200 && a.counted("conn_pool_reaped") >= 200
    })
    .await;
    reaping.abort();
}

#[tokio::test]
async fn oldest_idle_connection_makes_room_for_a_dial() {
    let a = Node::with(1, NetworkConfig { pool_max_connections: 2, ..config() }).await;
    let mut others = Vec::new();
    for seed in 2..5 {
        let other = Node::start(seed).await;
        other.knows_at(a.id, &[]);
        a.knows(&[&other]);
        others.push(other);
    }
    let used = a.pool.lease(others[0].id).await.unwrap();
    drop(a.pool.lease(others[1].id).await.unwrap());
    let also_used = a.pool.lease(others[2].id).await.unwrap();
    others[1].until_connected(0).await;
    assert_eq!(a.counted("conn_pool_evictions"), 1);
    // Both are in use: nobody goes.
    let refused = a.pool.lease(others[1].id).await.unwrap_err();
    assert!(matches!(refused, ActorError::Busy { actor: NAME, limit: 2 }), "{refused}");
    say(&used).await.unwrap();
    say(&also_used).await.unwrap();
}

/// A node that has one place, one that has it, and one that would like to.
async fn full() -> (Node, Node, Node) {
    let a = Node::with(1, NetworkConfig { pool_max_connections: 1, ..config() }).await;
    let (b, c) = (Node::start(2).await, Node::start(3).await);
    for other in [&b, &c] {
        a.knows_at(other.id, &[]);
        other.knows(&[&a]);
    }
    say(&b.pool.lease(a.id).await.unwrap()).await.unwrap();
    (a, b, c)
}

#[tokio::test]
async fn newcomer_from_outside_evicts_nobody_and_is_told_why() {
    let (a, b, c) = full().await;
    let told = say(&c.pool.lease(a.id).await.unwrap()).await.unwrap_err();
    assert!(matches!(&told, PeerTrouble::Lost { reason, .. } if reason.contains("are taken here")), "{told}");
    say(&b.pool.lease(a.id).await.unwrap()).await.unwrap();
    assert_eq!(a.connections().await.len(), 1);
    assert_eq!(a.counted("conn_pool_turned_away"), 1);
}

#[tokio::test]
async fn node_that_comes_again_takes_the_place_of_its_old_connection() {
    let a = Node::with(1, NetworkConfig { pool_max_connections: 2, ..config() }).await;
    let b = Node::start(2).await;
    a.knows_at(b.id, &[]);
    b.knows(&[&a]);
    for _ in 0..5 {
        let lease = b.pool.lease(a.id).await.unwrap();
        say(&lease).await.unwrap();
        lease.close(Close::Stopping, "to come again");
        drop(lease);
        b.until_connected(0).await;
    }
    say(&b.pool.lease(a.id).await.unwrap()).await.unwrap();
    a.until_connected(1).await;
}

#[tokio::test]
async fn node_that_is_full_is_left_alone_for_a_while() {
    let (a, _b, c) = full().await;
    say(&c.pool.lease(a.id).await.unwrap()).await.unwrap_err();
    until("leaving it alone", async || {
        let waiting = c.pool.status().await.unwrap().waiting;
        waiting
            .iter()
            .any(|waiting| waiting.node == a.id && waiting.trouble.to_string().contains("are taken here"))
    })
    .await;
    let told = trouble(c.pool.lease(a.id).await.unwrap_err());
    assert!(matches!(told, PeerTrouble::Waiting { .. }), "{told}");
}

#[tokio::test]
async fn dial_that_there_is_not_evicts_nobody() {
    let network = NetworkConfig { pool_max_connections: 1, dials_per_minute: 1, ..config() };
    let a = Node::with(1, network).await;
    let (b, c) = (Node::start(2).await, Node::start(3).await);
    for other in [&b, &c] {
        other.knows_at(a.id, &[]);
        a.knows(&[other]);
    }
    say(&a.pool.lease(b.id).await.unwrap()).await.unwrap();
    let told = trouble(a.pool.lease(c.id).await.unwrap_err());
    assert!(matches!(told, PeerTrouble::DialBudget { .. }), "{told}");
    assert_eq!(a.connections().await.iter().map(|connection| connection.node).collect::<Vec<_>>(), [b.id]);
    assert_eq!(a.counted("conn_pool_evictions"), 0);
}

/// Two nodes, the second of which has dialled the first and holds the connection open; neither lets one idle for longer than
/// a second.
async fn held(is_configured: bool) -> (Node, Node) {
    let brief = NetworkConfig {
        pool_idle_timeout: IDLE,
        pool_reaper_interval: Duration::from_millis(100),
        ..config()
    };
    let (a, b) = (Node::with(1, brief.clone()).await, Node::with(2, brief).await);
    // Without an address: it could not be dialled.
    a.change(|book| drop(book.peers.insert(b.id, Known { is_configured, ..Known::default() })));
    let addresses = vec![a.address().parse().unwrap()];
    b.change(|book| {
        drop(book.peers.insert(a.id, Known { addresses, is_configured: true, ..Known::default() }));
    });
    a.until_connected(1).await;
    (a, b)
}

#[tokio::test]
async fn connection_that_a_wanted_node_holds_open_outlives_the_idle_timeout() {
    let (a, b) = held(true).await;
    until("three idle timeouts", async || {
        let there = a.connections().await;
        there.first().is_some_and(|connection| connection.idle_for > IDLE * 3)
    })
    .await;
    assert_eq!((a.counted("conn_pool_reaped"), b.counted("conn_pool_reaped")), (0, 0));
}

#[tokio::test]
async fn guest_holds_no_connection_open() {
    let (a, _b) = held(false).await;
    until("its end", async || a.counted("conn_pool_reaped") > 0).await;
}

const IDLE: Duration = Duration::from_secs(1);

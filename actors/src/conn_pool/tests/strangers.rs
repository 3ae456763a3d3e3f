//! Who is let in.

use super::*;

#[tokio::test]
async fn stranger_comes_in_wherever_it_is_not_blocked() {
    let (a, stranger, blocked) = (Node::start(1).await, Node::start(2).await, Node::start(3).await);
    a.change(|book| drop(book.blocked.insert(blocked.id, "sends spam".to_owned())));
    stranger.knows(&[&a]);
    blocked.knows(&[&a]);
    say(&stranger.pool.lease(a.id).await.unwrap()).await.unwrap();
    let told = say(&blocked.pool.lease(a.id).await.unwrap()).await.unwrap_err();
    assert_eq!(told, PeerTrouble::Blocked { reason: "sends spam".to_owned() });
    assert_eq!(a.connections().await.len(), 1);
    assert_eq!(a.counted("conn_pool_turned_away"), 1);
    // It does not try again at once.
    until("leaving it alone", async || {
        matches!(
            blocked.pool.lease(a.id).await,
            Err(ActorError::Peer { trouble: PeerTrouble::Waiting { .. }, .. })
        )
    })
    .await;
}

#[tokio::test]
async fn node_that_is_removed_is_cut_off_and_may_come_again_as_a_guest() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    a.knows_at(b.id, &[]);
    b.knows(&[&a]);
    say(&b.pool.lease(a.id).await.unwrap()).await.unwrap();
    a.change(|book| drop(book.peers.remove(&b.id)));
    b.until_connected(0).await;
    let comes_again = async || match b.pool.lease(a.id).await {
        Ok(lease) => say(&lease).await.is_ok(),
        Err(_) => false,
    };
    until("its coming again", comes_again).await;
}

#[tokio::test]
async fn node_that_is_blocked_is_cut_off_at_once_and_told_why() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    a.knows_at(b.id, &[]);
    b.knows(&[&a]);
    say(&b.pool.lease(a.id).await.unwrap()).await.unwrap();
    a.change(|book| drop(book.blocked.insert(b.id, "sends spam".to_owned())));
    b.until_connected(0).await;
    // What it knows of it has changed, so it tries again at once.
    b.change(|book| drop(book.peers.remove(&a.id)));
    b.until_connected(0).await;
    b.knows(&[&a]);
    let told = say(&b.pool.lease(a.id).await.unwrap()).await.unwrap_err();
    assert_eq!(told, PeerTrouble::Blocked { reason: "sends spam".to_owned() });
}

#[tokio::test]
async fn other_node_at_the_address_is_not_taken_for_the_one_that_was_meant() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    let meant = NodeKey::from_seed([9; 32]).id();
    a.knows_at(meant, &[&b.address()]);
    let told = trouble(a.pool.lease(meant).await.unwrap_err());
    assert_eq!(told, PeerTrouble::WrongKey { address: b.address() });
    assert_eq!(b.connections().await, []);
}

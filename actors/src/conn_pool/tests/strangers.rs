//! Who is let in.

use super::*;
use crate::clock;

#[tokio::test]
async fn stranger_is_turned_away_and_told_what_to_do() {
    let (a, stranger) = (Node::start(1).await, Node::start(2).await);
    stranger.knows(&[&a]);
    let told = say(&stranger.pool.lease(a.id).await.unwrap()).await.unwrap_err();
    let advice = format!("peers add {}@", stranger.id);
    assert!(matches!(&told, PeerTrouble::NotKnown { reason } if reason.contains(&advice)), "{told}");
    assert_eq!(a.connections().await, []);
    assert_eq!(a.counted("conn_pool_turned_away"), 1);
    // It does not try again at once.
    until("leaving it alone", async || {
        matches!(
            stranger.pool.lease(a.id).await,
            Err(ActorError::Peer { trouble: PeerTrouble::Waiting { .. }, .. })
        )
    })
    .await;
}

#[tokio::test]
async fn stranger_comes_in_where_any_may_or_somebody_is_invited() {
    let changes: [fn(&mut PeerBook); 2] =
        [|book| book.accepts_any = true, |book| book.invites_open_until_ms = i64::MAX];
    for change in changes {
        let (a, stranger) = (Node::start(1).await, Node::start(2).await);
        a.change(change);
        stranger.knows(&[&a]);
        say(&stranger.pool.lease(a.id).await.unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn stranger_is_turned_away_once_the_last_invitation_has_expired() {
    let (a, stranger) = (Node::start(1).await, Node::start(2).await);
    // Nobody reads the book again meanwhile.
    a.change(|book| book.invites_open_until_ms = clock::now_ms() - 1);
    stranger.knows(&[&a]);
    let told = say(&stranger.pool.lease(a.id).await.unwrap()).await.unwrap_err();
    assert!(matches!(&told, PeerTrouble::NotKnown { .. }), "{told}");
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

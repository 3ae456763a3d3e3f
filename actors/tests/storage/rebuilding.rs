//! An index that is made anew because somebody asks for it.

use std::time::Instant;

use actors::{ActorError, FragmentStore, storage::INDEX_FILE};

use super::{
    damage::{all_but, filled, served, usage},
    support::{
        LOCAL, fragment, id,
        node::{DEADLINE, Node, until},
    },
};

/// How often storage was started again, once it runs.
fn restarts(node: &Node) -> Option<u64> {
    let standing = node.system().standing.borrow();
    standing.actors.iter().find(|actor| actor.name == "storage" && actor.running).map(|actor| actor.restarts)
}

#[tokio::test(flavor = "multi_thread")]
async fn index_that_is_asked_for_anew_holds_all_that_was_acknowledged_and_costs_one_restart() {
    let mut node = filled().await;
    let storage = node.storage().clone();
    // Puts that go on meanwhile are acknowledged and kept, or refused.
    let putting = tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        let deadline = Instant::now() + DEADLINE;
        for number in 0..400_u32 {
            match storage.put(LOCAL, id(2, number), fragment(u64::from(number) + 1000, 100)).await {
                Ok(_) => acknowledged.push(number),
                Err(ActorError::Restarting { .. }) => tokio::task::yield_now().await,
                Err(other) => panic!("put {number}: {other}"),
            }
            assert!(Instant::now() < deadline);
        }
        acknowledged
    });
    let old = node.storage().rebuild_index("a test").await.unwrap();
    until("storage runs again", || restarts(&node) == Some(1)).await;
    assert_eq!(old, node.path().join(format!("{INDEX_FILE}.damaged-1")));
    assert!(old.exists(), "the old index is kept");
    assert!(usage(&node).await.recovery.rebuilt);
    let acknowledged = putting.await.unwrap();
    for number in &acknowledged {
        let got = node.storage().get(id(2, *number)).await.unwrap();
        assert_eq!(got, fragment(u64::from(*number) + 1000, 100));
    }
    assert_eq!(served(&node).await, all_but(&[]));

    let again = node.storage().rebuild_index("a test").await;
    assert!(matches!(again, Err(ActorError::Conflict { .. })), "{again:?}");
    assert_eq!(served(&node).await, all_but(&[]));
    assert_eq!(restarts(&node), Some(1));
    node.stop().await;
}

//! What storage promises to whoever uses it.

use actors::{ActorError, FragmentStore, PutOutcome};

use super::support::{
    LOCAL, audit, fragment, id,
    index::Wal,
    node::{End, Node},
};

#[tokio::test(flavor = "multi_thread")]
async fn put_is_there_after_a_clean_stop_and_gone_after_a_drop() {
    let mut node = Node::started(1).await;
    let one = fragment(1, 5000);
    assert_eq!(node.storage().put(LOCAL, id(1, 0), one.clone()).await.unwrap(), PutOutcome::Stored);
    assert_eq!(node.storage().put(LOCAL, id(1, 0), one.clone()).await.unwrap(), PutOutcome::Held);
    assert_eq!(node.storage().get(id(1, 0)).await.unwrap(), one);
    node.stop().await;

    node.start().await.unwrap();
    let usage = node.storage().usage().await.unwrap();
    assert_eq!(usage.recovery.records, 0, "a clean stop needs no recovery");
    assert_eq!(node.storage().get(id(1, 0)).await.unwrap(), one);
    node.storage().drop_fragment(LOCAL, id(1, 0)).await.unwrap();
    assert!(matches!(node.storage().get(id(1, 0)).await, Err(ActorError::NotFound { .. })));
    let again = node.storage().drop_fragment(LOCAL, id(1, 0)).await;
    assert!(matches!(again, Err(ActorError::NotFound { .. })));
    let usage = node.storage().usage().await.unwrap();
    assert_eq!((usage.totals.fragments, usage.totals.fragment_bytes), (0, 0));
    audit::check(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn put_survives_a_power_cut_even_at_the_first_start() {
    let mut node = Node::started(1).await;
    let one = fragment(1, 5000);
    node.storage().put(LOCAL, id(1, 0), one.clone()).await.unwrap();
    node.end_and_start(End::PowerCut(Wal::Least)).await;
    assert_eq!(node.storage().get(id(1, 0)).await.unwrap(), one);
    audit::check(&node).await;
    node.stop().await;
}

/// Killed after each of its first calls in turn, then used, then cut off: what the first life left must have been made
/// durable before the second built upon it.
#[tokio::test(flavor = "multi_thread")]
async fn put_after_a_kill_at_the_first_start_survives_a_power_cut() {
    let one = fragment(1, 5000);
    for (calls, seed) in (0..7).flat_map(|calls| (0..4).map(move |seed| (calls, seed))) {
        let mut node = Node::new(seed);
        node.disk.go_off(Some(calls));
        let started = node.start().await;
        if started.is_ok() {
            let _ = node.storage().put(LOCAL, id(1, 0), one.clone()).await;
        }
        node.end_and_start(End::Killed).await;
        node.storage().put(LOCAL, id(1, 0), one.clone()).await.unwrap();
        node.end_and_start(End::PowerCut(Wal::Some)).await;
        assert_eq!(
            node.storage().get(id(1, 0)).await.unwrap(),
            one,
            "killed after {calls} calls, seed {seed}"
        );
        audit::check(&node).await;
        node.stop().await;
    }
}

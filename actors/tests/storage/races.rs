//! Requests that overlap: each is decided against all before it, committed or not.

use actors::{FragmentStore, PutOutcome};

use super::support::{
    LOCAL, audit,
    disk::What,
    fragment, id,
    node::{Node, until},
};

/// Asks for two things such that the writer decides both in one batch, in this order.
async fn in_one_batch<A, B>(
    node: &Node,
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (A, B) {
    let storage = node.storage();
    node.disk.take_calls();
    let hold = node.disk.hold(What::Sync);
    // One batch waits for its sync, one for the one before it: the next begins when both have gone on.
    let fill = |stripe| storage.put(LOCAL, id(200, stripe), fragment(stripe.into(), 10));
    let released = async {
        until("all four have been asked", || storage.load().0 == 4).await;
        drop(hold);
    };
    let second_batch = async {
        until("one batch is being synced", || node.disk.waiting() == 1).await;
        fill(1).await
    };
    let asked = async {
        until("the second batch is written", || node.disk.count(What::Write) == 2).await;
        tokio::join!(first, second)
    };
    let (one, two, answers, ()) = tokio::join!(fill(0), second_batch, asked, released);
    one.unwrap();
    two.unwrap();
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn put_of_bytes_known_from_elsewhere_right_behind_a_drop_counts_them_once_more() {
    let mut node = Node::started(1).await;
    let (old, new) = (fragment(1, 700), fragment(2, 700));
    node.storage().put(LOCAL, id(1, 0), old).await.unwrap();
    node.storage().put(LOCAL, id(1, 1), new.clone()).await.unwrap();
    let storage = node.storage();
    let drop = storage.drop_fragment(LOCAL, id(1, 0));
    let (dropped, put) = in_one_batch(&node, drop, storage.put(LOCAL, id(1, 0), new.clone())).await;
    dropped.unwrap();
    assert_eq!(put.unwrap(), PutOutcome::Stored);
    audit::check(&node).await;
    storage.drop_fragment(LOCAL, id(1, 1)).await.unwrap();
    assert_eq!(storage.get(id(1, 0)).await.unwrap(), new);
    audit::check(&node).await;
    node.stop().await;
}

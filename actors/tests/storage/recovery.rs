//! What a crash or a power cut leaves is brought to what was acknowledged.

use actors::FragmentStore;

use super::support::{
    LOCAL, audit, fragment, id,
    index::Wal,
    node::{End, Node},
};

const POWER_CUT: End = End::PowerCut(Wal::Least);

#[tokio::test(flavor = "multi_thread")]
async fn fragment_replaced_by_bytes_known_from_elsewhere_is_replayed_with_them() {
    let mut node = Node::started(1).await;
    let (old, new) = (fragment(1, 700), fragment(2, 700));
    node.storage().put(LOCAL, id(1, 0), old).await.unwrap();
    node.storage().put(LOCAL, id(1, 1), new.clone()).await.unwrap();
    node.stop().await;
    node.start().await.unwrap();
    node.storage().drop_fragment(LOCAL, id(1, 0)).await.unwrap();
    node.storage().put(LOCAL, id(1, 0), new.clone()).await.unwrap();
    node.end_and_start(POWER_CUT).await;
    audit::check(&node).await;
    assert_eq!(node.storage().get(id(1, 0)).await.unwrap(), new);
    node.stop().await;
}

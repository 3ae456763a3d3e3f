//! Sessions: all or nothing, and nothing before the commit.

use actors::{ActorError, FragmentStore};
use bytes::Bytes;
use proto::record::DocumentKind;

use super::support::{LOCAL, account, audit, fragment, id, node::Node, tessera};

#[tokio::test(flavor = "multi_thread")]
async fn session_for_a_tessera_that_is_here_is_refused() {
    let mut node = Node::started(1).await;
    let one = fragment(1, 700);
    node.storage().put(account(7), id(1, 0), one.clone()).await.unwrap();
    let mut session = node.storage().open_session().await.unwrap();
    session.put_blob(one.clone()).await.unwrap();
    let refs = [(1, 0, one.checksum())];
    let refused = match session.put_refs(tessera(1), &refs).await {
        Ok(()) => session.commit(tessera(1)).await,
        refused => refused,
    };
    assert!(matches!(refused, Err(ActorError::Conflict { .. })), "{refused:?}");
    audit::check(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tessera_is_made_by_one_session_at_a_time() {
    let mut node = Node::started(1).await;
    let one = fragment(1, 700);
    let mut first = node.storage().open_session().await.unwrap();
    first.put_document(tessera(1), DocumentKind::Manifest, Bytes::from_static(b"first")).await.unwrap();
    audit::tesseras(node.path(), 1).await;
    let mut second = node.storage().open_session().await.unwrap();
    second.put_blob(one.clone()).await.unwrap();
    second.put_refs(tessera(1), &[(0, 0, one.checksum())]).await.unwrap();
    let refused = second.commit(tessera(1)).await;
    assert!(matches!(refused, Err(ActorError::Conflict { .. })), "{refused:?}");
    first.put_blob(one.clone()).await.unwrap();
    first.put_refs(tessera(1), &[(0, 0, one.checksum())]).await.unwrap();
    first.commit(tessera(1)).await.unwrap();
    audit::check(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fragment_of_a_session_is_not_here_before_the_commit() {
    let mut node = Node::started(1).await;
    let one = fragment(1, 700);
    let mut session = node.storage().open_session().await.unwrap();
    session.put_blob(one.clone()).await.unwrap();
    session.put_refs(tessera(1), &[(0, 0, one.checksum())]).await.unwrap();
    audit::deposits(node.path(), 1).await;
    let early = node.storage().get(id(1, 0)).await;
    assert!(matches!(early, Err(ActorError::NotFound { .. })), "{early:?}");
    let put = node.storage().put(LOCAL, id(1, 1), one.clone()).await;
    assert!(matches!(put, Err(ActorError::Conflict { .. })), "{put:?}");
    let dropped = node.storage().drop_fragment(LOCAL, id(1, 0)).await;
    assert!(matches!(dropped, Err(ActorError::NotFound { .. })), "{dropped:?}");
    session.commit(tessera(1)).await.unwrap();
    assert_eq!(node.storage().get(id(1, 0)).await.unwrap(), one);
    audit::check(&node).await;
    node.stop().await;
}

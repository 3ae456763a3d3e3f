//! What a crash or a power cut leaves is brought to what was acknowledged.

use actors::{ActorError, FragmentStore};
use bytes::Bytes;
use proto::record::{DocumentKind, Record};

use super::support::{
    LOCAL, account, audit,
    disk::What,
    fragment, id,
    index::Wal,
    node::{End, Node, until},
    tessera,
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

/// Compaction copies a drop to the end of the log, behind what was put after it.
#[tokio::test(flavor = "multi_thread")]
async fn drop_copied_behind_a_later_put_does_not_bring_back_what_was_there_before() {
    let mut node = Node::started(1).await;
    let (old, new) = (fragment(1, 700), fragment(2, 2500));
    let large = |number| fragment(number, 9000);
    node.storage().put(LOCAL, id(1, 0), old).await.unwrap();
    node.storage().put(LOCAL, id(1, 1), large(3)).await.unwrap();
    // A new segment, of which little stays.
    node.storage().put(LOCAL, id(1, 2), large(4)).await.unwrap();
    node.storage().drop_fragment(LOCAL, id(1, 0)).await.unwrap();
    node.storage().drop_fragment(LOCAL, id(1, 2)).await.unwrap();
    // And another one.
    node.storage().put(LOCAL, id(1, 3), large(5)).await.unwrap();
    node.storage().put(account(7), id(1, 0), new.clone()).await.unwrap();
    assert_eq!(node.storage().compact().await.unwrap().unlinked, [2]);
    let (_, log) = audit::check(&node).await;
    let last = log.records.iter().rfind(|placed| matches!(placed.record, Record::Drop(_)));
    assert!(last.unwrap().segment > 2, "the drop was copied: segment 1 may hold its ref");
    node.rebuild().await;
    audit::check(&node).await;
    assert_eq!(node.storage().get(id(1, 0)).await.unwrap(), new);
    node.stop().await;
}

/// The index goes back to before a purge, the log goes on behind it.
#[tokio::test(flavor = "multi_thread")]
async fn put_after_the_purge_of_an_ended_session_survives_when_the_purge_does_not() {
    let mut node = Node::started(1).await;
    let one = fragment(1, 700);
    let mut session = node.storage().open_session().await.unwrap();
    session.put_blob(one.clone()).await.unwrap();
    session.put_refs(tessera(1), &[(0, 0, one.checksum())]).await.unwrap();
    audit::deposits(node.path(), 1).await;
    audit::checkpoint(node.path()).await;
    drop(session);
    audit::settled(node.path()).await;
    node.storage().put(LOCAL, id(1, 0), one.clone()).await.unwrap();
    node.end_and_start(POWER_CUT).await;
    audit::check(&node).await;
    assert_eq!(node.storage().get(id(1, 0)).await.unwrap(), one);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn document_of_a_forgotten_tessera_does_not_come_back_with_a_fragment_of_it() {
    let mut node = Node::started(1).await;
    let one = fragment(1, 700);
    let mut session = node.storage().open_session().await.unwrap();
    session.put_blob(one.clone()).await.unwrap();
    let manifest = Bytes::from_static(b"manifest");
    session.put_document(tessera(1), DocumentKind::Manifest, manifest).await.unwrap();
    session.put_refs(tessera(1), &[(0, 0, one.checksum())]).await.unwrap();
    session.commit(tessera(1)).await.unwrap();
    node.storage().forget(tessera(1)).await.unwrap();
    node.storage().put(account(7), id(1, 0), one).await.unwrap();
    for rebuilt in [false, true] {
        if rebuilt {
            node.rebuild().await;
        }
        let gone = node.storage().document(tessera(1), DocumentKind::Manifest, None).await;
        assert!(matches!(gone, Err(ActorError::NotFound { .. })), "{gone:?}, rebuilt: {rebuilt}");
    }
    node.stop().await;
}

/// What the process before left unsynced is made durable before anything is built upon it.
#[tokio::test(flavor = "multi_thread")]
async fn put_that_a_kill_left_unsynced_is_durable_once_it_is_acknowledged_again() {
    let one = fragment(1, 5000);
    for seed in 0..8 {
        let mut node = Node::started(seed).await;
        let hold = node.disk.hold(What::Sync);
        let storage = node.storage().clone();
        let put = tokio::spawn({
            let one = one.clone();
            async move { storage.put(LOCAL, id(1, 0), one).await }
        });
        until("the put waits for its sync", || node.disk.waiting() == 1).await;
        node.disk.go_off(None);
        drop(hold);
        put.await.unwrap().unwrap_err();
        node.end_and_start(End::Killed).await;
        node.storage().put(LOCAL, id(1, 0), one.clone()).await.unwrap();
        node.end_and_start(POWER_CUT).await;
        assert_eq!(node.storage().get(id(1, 0)).await.unwrap(), one, "seed {seed}");
        audit::check(&node).await;
        node.stop().await;
    }
}

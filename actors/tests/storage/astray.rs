//! A row of the index that is not where it belongs: what it hides is not said to be absent, and the index is made anew.
//! Nothing was unclean, so nobody has looked through the index: the answers themselves must not be believed.

use actors::{ActorError, FragmentStore};
use bytes::Bytes;
use proto::{TesseraId, record::DocumentKind};

use super::{
    damage::{ASTRAY, COUNT, LENGTH, MANIFEST, all_but, execute, filled, rebuilt, served, with_manifest},
    support::{LOCAL, audit, fragment, id, node::Node, tessera},
};

const RENAMED: &str = "UPDATE tesseras SET tessera = zeroblob(32)";

/// Stopped, its index changed, and started again.
async fn changed(mut node: Node, change: &'static str) -> Node {
    node.stop().await;
    execute(&node, change).await;
    node.start().await.unwrap();
    node
}

async fn one_with_manifest() -> Node {
    let node = Node::started(1).await;
    with_manifest(&node).await;
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn fragment_whose_row_has_gone_astray_is_not_said_to_be_absent() {
    let moved = "UPDATE fragments SET stripe = stripe + 256 WHERE stripe = 3";
    for (change, question) in [
        (moved, "get"),
        (ASTRAY, "get"),
        (moved, "list"),
        (ASTRAY, "list"),
        (RENAMED, "get"),
        (RENAMED, "list"),
    ] {
        let mut node = changed(filled().await, change).await;
        let asked = match question {
            "get" => node.storage().get(id(1, 3)).await.map(|_| ()),
            _ => node.storage().checksums(id(1, 0).tessera, (0, 0), 100).await.map(|_| ()),
        };
        assert!(matches!(asked, Err(ActorError::Sqlite(_))), "{change}, {question}: {asked:?}");
        rebuilt(&node, change).await;
        assert_eq!(served(&node).await, all_but(&[]), "{change}");
        let absent = node.storage().get(id(1, COUNT)).await;
        assert!(matches!(absent, Err(ActorError::NotFound { .. })), "{change}: {absent:?}");
        audit::check(&node).await;
        node.stop().await;
    }
}

/// That its rows added up once is no reason to believe each of them later.
#[tokio::test(flavor = "multi_thread")]
async fn list_does_not_believe_a_row_that_has_changed_since_all_added_up() {
    for change in [
        "UPDATE fragments SET checksum = (SELECT checksum FROM fragments WHERE stripe = 4) WHERE stripe = 3",
        "UPDATE fragments SET checksum = x'00' WHERE stripe = 3",
        "UPDATE fragments SET seal = 'x' WHERE stripe = 3",
        "UPDATE blobs SET len = '3000,1'",
    ] {
        let mut node = filled().await;
        let list = async || node.storage().checksums(tessera(1), (0, 0), 100).await.map(|rows| rows.len());
        assert_eq!(list().await.unwrap(), COUNT as usize);
        execute(&node, change).await;
        let asked = list().await;
        assert!(matches!(asked, Err(ActorError::Sqlite(_))), "{change}: {asked:?}");
        rebuilt(&node, change).await;
        assert_eq!(served(&node).await, all_but(&[]), "{change}");
        audit::check(&node).await;
        node.stop().await;
    }
}

/// A put would begin the tessera anew, and its last drop would forget what is there.
#[tokio::test(flavor = "multi_thread")]
async fn tessera_that_has_lost_its_row_is_not_begun_anew() {
    let mut node = changed(filled().await, RENAMED).await;
    let put = node.storage().put(LOCAL, id(1, COUNT), fragment(COUNT.into(), LENGTH)).await;
    assert!(matches!(put, Err(ActorError::ReadOnly { .. })), "{put:?}");
    rebuilt(&node, "a tessera without a row").await;
    assert_eq!(served(&node).await, all_but(&[]));
    audit::check(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_row_of_a_document_is_noticed_and_the_index_made_anew() {
    for change in [
        "UPDATE documents SET position = position + 64",
        "UPDATE documents SET position = position - (1 << 62)",
        "UPDATE documents SET len = len + (1 << 30)",
        "UPDATE documents SET hash = zeroblob(32)",
    ] {
        let mut node = changed(one_with_manifest().await, change).await;
        let asked = node.storage().document(tessera(1), DocumentKind::Manifest, None).await;
        assert!(matches!(asked, Err(ActorError::Sqlite(_))), "{change}: {asked:?}");
        rebuilt(&node, change).await;
        let asked = node.storage().document(tessera(1), DocumentKind::Manifest, None).await;
        assert_eq!(asked.unwrap(), MANIFEST, "{change}");
        node.stop().await;
    }
}

/// All that knows a tessera by its own row.
#[tokio::test(flavor = "multi_thread")]
async fn tessera_whose_row_has_gone_astray_is_not_said_to_be_absent() {
    for question in ["show", "list", "document"] {
        let mut node = changed(one_with_manifest().await, RENAMED).await;
        let all = (TesseraId::from_bytes([0; 32]), TesseraId::from_bytes([255; 32]));
        let records = node.storage().records();
        let asked = match question {
            "show" => records.tessera(tessera(1)).await.map(|_| ()),
            "list" => records.tesseras(all.0, all.1, 100).await.map(|_| ()),
            _ => node.storage().document(tessera(1), DocumentKind::Manifest, None).await.map(|_| ()),
        };
        assert!(matches!(asked, Err(ActorError::Sqlite(_))), "{question}: {asked:?}");
        rebuilt(&node, question).await;
        assert!(node.storage().records().tessera(tessera(1)).await.unwrap().has_documents, "{question}");
        let absent = node.storage().records().tessera(tessera(2)).await;
        assert!(matches!(absent, Err(ActorError::NotFound { .. })), "{question}: {absent:?}");
        audit::check(&node).await;
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn document_whose_row_has_gone_astray_is_not_said_to_be_absent() {
    for change in [
        "UPDATE documents SET kind = 2",
        "UPDATE documents SET kind = 9",
        "UPDATE documents SET tessera = zeroblob(32)",
        "DELETE FROM documents",
        "UPDATE tesseras SET documents = documents + 1",
    ] {
        let mut node = changed(one_with_manifest().await, change).await;
        let asked = node.storage().document(tessera(1), DocumentKind::Manifest, None).await;
        assert!(matches!(asked, Err(ActorError::Sqlite(_))), "{change}: {asked:?}");
        rebuilt(&node, change).await;
        let asked = node.storage().document(tessera(1), DocumentKind::Manifest, None).await;
        assert_eq!(asked.unwrap(), MANIFEST, "{change}");
        let absent = node.storage().document(tessera(1), DocumentKind::Layout, None).await;
        assert!(matches!(absent, Err(ActorError::NotFound { .. })), "{change}: {absent:?}");
        audit::check(&node).await;
        node.stop().await;
    }
}

/// A file that is shorter than it was is damaged; a place behind what was ever written is a wrong row.
#[tokio::test(flavor = "multi_thread")]
async fn place_outside_of_its_segment_is_the_fault_of_the_index() {
    for change in [
        "UPDATE blobs SET position = position + (1 << 30)",
        "UPDATE blobs SET segment = segment + 128",
        "UPDATE documents SET position = position + (1 << 30)",
        "UPDATE documents SET segment = segment + 128",
    ] {
        let mut node = changed(one_with_manifest().await, change).await;
        let fragment = node.storage().get(id(1, 0)).await.map(|_| ());
        let document = node.storage().document(tessera(1), DocumentKind::Manifest, None).await.map(|_| ());
        let asked = fragment.and(document);
        assert!(asked.is_err(), "{change}");
        rebuilt(&node, change).await;
        assert_eq!(
            node.storage().get(id(1, 0)).await.unwrap(),
            super::support::fragment(1, LENGTH),
            "{change}"
        );
        let document = node.storage().document(tessera(1), DocumentKind::Manifest, None).await;
        assert_eq!(document.unwrap(), MANIFEST, "{change}");
        audit::check(&node).await;
        node.stop().await;
    }
}

/// Its file would go, and what counts in it with it.
#[tokio::test(flavor = "multi_thread")]
async fn segment_that_is_said_to_be_given_up_and_counts_is_kept() {
    let mut node = changed(filled().await, "UPDATE segments SET sealed = 2, seal = NULL WHERE id = 1").await;
    // It may be the restart that answers.
    let _ = node.storage().compact().await;
    rebuilt(&node, "a segment that is given up").await;
    assert_eq!(served(&node).await, all_but(&[]));
    audit::check(&node).await;
    node.stop().await;
}

/// Else it would be tried again and again.
#[tokio::test(flavor = "multi_thread")]
async fn purge_that_cannot_take_back_what_is_counted_has_the_index_made_anew() {
    let mut node = Node::started(1).await;
    let one = fragment(1, LENGTH);
    let mut session = node.storage().open_session().await.unwrap();
    session.put_blob(one.clone()).await.unwrap();
    session.put_document(tessera(1), DocumentKind::Manifest, Bytes::from_static(MANIFEST)).await.unwrap();
    session.put_refs(tessera(1), &[(0, 0, one.checksum())]).await.unwrap();
    audit::deposits(node.path(), 1).await;
    execute(&node, "UPDATE fragments SET stripe = 300").await;
    drop(session);
    rebuilt(&node, "a purge").await;
    let (rows, _) = audit::check(&node).await;
    assert!(
        rows.fragments.keys().all(|id| id.stripe == 5),
        "only what the test has put: {:?}",
        rows.fragments
    );
    assert_eq!(node.storage().put(LOCAL, id(1, 0), one).await.unwrap(), actors::PutOutcome::Stored);
    node.stop().await;
}

//! What the segments have lost and only a snapshot of the index still knows.

use actors::{
    FragmentStore,
    storage::{SEGMENTS_FOLDER, losses},
};
use proto::record::{DocumentKind, Record};

use super::{
    damage::{execute, filled, usage, zero},
    documents::with_document,
    scrubbing::{first, scrub},
    support::{LOCAL, fragment, id, index, node::Node, tessera},
};

/// The segments cannot say that there was one: an index that is made anew knows it from a snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn document_that_nobody_knew_to_be_damaged_is_missed_when_the_index_is_made_anew() {
    let (node, placed) = with_document().await;
    node.storage().snapshot().await.unwrap();
    zero(&node.segment(placed.segment), placed.position, 128);
    let mut node = made_anew(node).await;
    let recovery = usage(&node).await.recovery;
    assert_eq!(recovery.lost_documents, [tessera(1)]);
    let jobs = node.storage().jobs(9).await.unwrap();
    assert_eq!(
        jobs.iter().map(|job| &job.documents[..]).collect::<Vec<_>>(),
        [[(tessera(1), DocumentKind::Manifest)]]
    );
    assert_eq!(usage(&node).await.health.damaged, 1);
    let on_record = losses(node.path()).unwrap();
    assert_eq!(on_record.iter().map(|loss| &loss.documents[..]).collect::<Vec<_>>(), [[tessera(1)]]);
    node.stop().await;
    node.start().await.unwrap();
    assert_eq!(losses(node.path()).unwrap(), on_record, "it was lost once");
    scrub(&node).await;
    assert!(!usage(&node).await.recovery.rebuilt, "the index is in order");
    node.storage().forget(tessera(1)).await.unwrap();
    assert_eq!(usage(&node).await.totals.jobs, 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tessera_that_the_segments_lost_is_missed_and_one_that_was_dropped_is_not() {
    let node = Node::started(1).await;
    for number in 1..=4 {
        node.storage().put(LOCAL, id(number, 0), fragment(number.into(), 500)).await.unwrap();
    }
    node.storage().snapshot().await.unwrap();
    node.storage().forget(tessera(1)).await.unwrap();
    node.storage().drop_fragment(LOCAL, id(2, 0)).await.unwrap();
    let lost = first(&node, |record| matches!(record, Record::Ref(claim) if claim.fragment == id(3, 0)));
    zero(&node.segment(lost.segment), lost.position, 128);
    let mut node = made_anew(node).await;
    assert_eq!(usage(&node).await.recovery.restored.unwrap().missing.first, [tessera(3)]);
    assert_eq!(losses(node.path()).unwrap()[0].missing.first, [tessera(3)]);
    node.stop().await;
}

/// Nor is a restore that is done again an alarm: it does not know what was dropped in between.
#[tokio::test(flavor = "multi_thread")]
async fn drop_of_before_the_snapshot_hides_no_loss() {
    let node = Node::started(1).await;
    for stripe in 0..2 {
        node.storage().put(LOCAL, id(3, stripe), fragment(stripe.into(), 500)).await.unwrap();
    }
    node.storage().put(LOCAL, id(1, 0), fragment(9, 500)).await.unwrap();
    node.storage().drop_fragment(LOCAL, id(3, 1)).await.unwrap();
    node.storage().snapshot().await.unwrap();
    let lost = first(&node, |record| matches!(record, Record::Ref(claim) if claim.fragment == id(3, 0)));
    zero(&node.segment(lost.segment), lost.position, 128);
    let mut node = made_anew(node).await;
    assert_eq!(usage(&node).await.recovery.restored.unwrap().missing.first, [tessera(3)]);
    node.storage().forget(tessera(1)).await.unwrap();
    node.stop().await;
    std::fs::write(node.path().join("index.restore"), "").unwrap();
    node.start().await.unwrap();
    assert_eq!(usage(&node).await.recovery.restored.unwrap().missing.count, 0);
    assert_eq!(losses(node.path()).unwrap().len(), 1);
    node.stop().await;
}

/// The start that found the segment gone has written the refs again, as the index knew them.
#[tokio::test(flavor = "multi_thread")]
async fn document_of_a_lost_segment_is_missed_when_the_index_goes_after_it() {
    let (mut node, placed) = with_document().await;
    node.storage().snapshot().await.unwrap();
    node.stop().await;
    std::fs::remove_file(node.segment(placed.segment)).unwrap();
    node.start().await.unwrap();
    assert_eq!(usage(&node).await.recovery.lost_documents, [tessera(1)]);
    let mut node = made_anew(node).await;
    assert_eq!(usage(&node).await.recovery.lost_documents, [tessera(1)]);
    let jobs = node.storage().jobs(9).await.unwrap();
    assert!(jobs.iter().any(|job| job.documents == [(tessera(1), DocumentKind::Manifest)]), "{jobs:?}");
    node.stop().await;
}

/// It need not have the documents that it had, and it is not said to lack them.
#[tokio::test(flavor = "multi_thread")]
async fn tessera_that_was_forgotten_and_came_again_lacks_no_document() {
    let (node, _) = with_document().await;
    node.storage().snapshot().await.unwrap();
    node.storage().forget(tessera(1)).await.unwrap();
    node.storage().put(LOCAL, id(1, 0), fragment(0, 500)).await.unwrap();
    let mut node = made_anew(node).await;
    let recovery = usage(&node).await.recovery;
    assert!(recovery.restored.is_some() && recovery.lost_documents.is_empty(), "{recovery:?}");
    assert_eq!(losses(node.path()).unwrap(), []);
    node.stop().await;
}

/// What it says would call a tessera damaged that is not, for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_damaged_index_said_is_not_missed() {
    for damage in [
        "UPDATE documents SET hash = zeroblob(32)",
        "UPDATE tesseras SET documents = documents + 1",
        "UPDATE documents SET tessera = zeroblob(32)",
    ] {
        let (mut node, _) = with_document().await;
        node.stop().await;
        execute(&node, damage).await;
        node.start().await.unwrap();
        node.storage().snapshot().await.unwrap();
        let mut node = made_anew(node).await;
        let recovery = usage(&node).await.recovery;
        assert!(recovery.restored.is_some(), "{damage}");
        assert_eq!((recovery.lost_documents, usage(&node).await.health.damaged), (vec![], 0), "{damage}");
        node.stop().await;
    }
}

/// All that was stored is gone, and the index with it.
#[tokio::test(flavor = "multi_thread")]
async fn store_that_is_empty_and_was_not_says_so() {
    let node = filled().await;
    node.storage().snapshot().await.unwrap();
    let folder = node.path().join(SEGMENTS_FOLDER);
    let mut node = without(node, || std::fs::remove_dir_all(folder).unwrap()).await;
    assert_eq!(usage(&node).await.recovery.restored.unwrap().missing.first, [tessera(1)]);
    node.stop().await;
}

async fn made_anew(node: Node) -> Node {
    without(node, || {}).await
}

/// The node without its index, and without whatever else is taken away while it is stopped.
async fn without(mut node: Node, take_away: impl FnOnce()) -> Node {
    node.stop().await;
    index::remove(node.path());
    take_away();
    node.start().await.unwrap();
    node
}

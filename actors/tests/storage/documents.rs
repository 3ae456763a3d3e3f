//! A damaged document: found, named, written again where its bytes are right, and waiting for its repair whatever else
//! happens.

use actors::{ActorError, FragmentStore, storage::BlobState};
use proto::{
    Checksum,
    record::{DocumentKind, Record},
};

use super::{
    damage::{MANIFEST, flip, usage, with_manifest, zero},
    scrubbing::{HEADER, first, scrub},
    support::{LOCAL, audit, id, log::Placed, node::Node, tessera},
};

/// A node with a manifest, and where its record is.
pub(crate) async fn with_document() -> (Node, Placed) {
    let node = Node::started(1).await;
    with_manifest(&node).await;
    let placed = first(&node, |record| matches!(record, Record::Document { .. }));
    (node, placed)
}

async fn refused(node: &Node) {
    let refused = node.storage().document(tessera(1), DocumentKind::Manifest, None).await;
    assert!(matches!(refused, Err(ActorError::CorruptDocument { .. })), "{refused:?}");
}

async fn read(node: &Node) {
    let read = node.storage().document(tessera(1), DocumentKind::Manifest, None).await.unwrap();
    assert_eq!(read[..], *MANIFEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn document_that_is_damaged_is_found() {
    let (mut node, placed) = with_document().await;
    let last = placed.position + HEADER + u64::from(placed.header.payload_len) - 1;
    flip(&node.segment(placed.segment), last);
    assert_eq!(scrub(&node).await.documents, 1);
    assert_eq!(scrub(&node).await.documents, 1, "what is known to be damaged is not found again");
    let before = waiting(&node, BlobState::Suspect).await;
    refused(&node).await;
    node.stop().await;
    node.start().await.unwrap();
    assert_eq!(waiting(&node, BlobState::Suspect).await, before, "it waits since it was found");
    flip(&node.segment(placed.segment), last);
    assert_eq!(scrub(&node).await.documents, 0);
    assert_eq!(usage(&node).await.totals.jobs, 0, "it can be read");
    read(&node).await;
    audit::check(&node).await;
    node.stop().await;
}

/// That the manifest waits for its repair, and that nothing else does; since when.
async fn waiting(node: &Node, state: BlobState) -> i64 {
    let usage = usage(node).await;
    assert_eq!((usage.totals.jobs, usage.health.damaged, usage.health.intact), (1, 1, 0));
    let jobs = node.storage().jobs(9).await.unwrap();
    let [job] = jobs.as_slice() else { panic!("{jobs:?}") };
    let hash = Checksum::of(MANIFEST);
    assert_eq!((job.checksum, job.state, job.length as usize), (hash, state, MANIFEST.len()));
    assert_eq!(
        (&job.fragments[..], &job.documents[..]),
        (&[][..], &[(tessera(1), DocumentKind::Manifest)][..])
    );
    assert_eq!(node.storage().job(hash).await.unwrap().as_ref(), Some(job));
    assert_eq!(node.storage().job(Checksum::of(b"other")).await.unwrap(), None);
    job.queued_at_ms
}

/// The index knows whose it is, so it can be written again, and an index that is made anew finds it.
#[tokio::test(flavor = "multi_thread")]
async fn document_whose_record_is_damaged_around_right_bytes_is_written_again() {
    for at in [20, HEADER + 3, HEADER + 42] {
        let (mut node, placed) = with_document().await;
        flip(&node.segment(placed.segment), placed.position + at);
        let found = scrub(&node).await;
        assert_eq!((found.documents, found.mended), (0, 1), "{at}");
        assert_eq!(usage(&node).await.totals.jobs, 0, "{at}");
        audit::check(&node).await;
        node.rebuild().await;
        read(&node).await;
        node.stop().await;
    }
}

/// Its record is gone, so nothing but the index knows whose it was.
#[tokio::test(flavor = "multi_thread")]
async fn document_that_is_known_to_be_damaged_is_asked_for_without_consequences() {
    let (mut node, placed) = with_document().await;
    zero(&node.segment(placed.segment), placed.position, 128);
    assert_eq!(scrub(&node).await.documents, 1);
    let before = waiting(&node, BlobState::Suspect).await;
    for _ in 0..3 {
        refused(&node).await;
    }
    assert_eq!(waiting(&node, BlobState::Suspect).await, before);
    assert!(!usage(&node).await.recovery.rebuilt);
    node.storage().snapshot().await.unwrap();
    node.rebuild().await;
    assert!(usage(&node).await.recovery.rebuilt);
    assert_eq!(waiting(&node, BlobState::Missing).await, before);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn document_in_a_segment_that_was_cut_short_waits_for_its_repair() {
    let (mut node, placed) = with_document().await;
    node.stop().await;
    let file = std::fs::File::options().write(true).open(node.segment(placed.segment)).unwrap();
    file.set_len(placed.position + HEADER).unwrap();
    drop(file);
    node.start().await.unwrap();
    let jobs = node.storage().jobs(9).await.unwrap();
    assert!(jobs.iter().any(|job| job.documents == [(tessera(1), DocumentKind::Manifest)]), "{jobs:?}");
    refused(&node).await;
    scrub(&node).await;
    assert!(!usage(&node).await.recovery.rebuilt, "the index is in order");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_document_is_gone_with_its_tessera_and_whole_when_it_is_made_again() {
    let (mut node, placed) = with_document().await;
    flip(&node.segment(placed.segment), placed.position + HEADER + 50);
    refused(&node).await;
    waiting(&node, BlobState::Suspect).await;
    node.storage().drop_fragment(LOCAL, id(1, 0)).await.unwrap();
    assert_eq!(usage(&node).await.totals.jobs, 0);
    with_manifest(&node).await;
    read(&node).await;
    assert_eq!(usage(&node).await.totals.jobs, 0);
    audit::check(&node).await;
    node.stop().await;
}

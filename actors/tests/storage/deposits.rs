//! Fragments that come with documents: both are durable with one sync, and neither is there without the other.

use std::time::{Duration, Instant};

use actors::{ActorError, FragmentStore, PutOutcome};
use bytes::Bytes;
use proto::{
    Checksum,
    record::{DocumentKind, Record},
};

use super::{
    damage::{flip, usage},
    scrubbing::{HEADER, first, scrub},
    support::{
        LOCAL, account, audit,
        disk::What,
        fragment, id,
        index::Wal,
        node::{DEADLINE, End, Node},
        tessera,
    },
};

const LAYOUT: &[u8] = &[7; 2000];
const MANIFEST: &[u8] = b"a manifest that somebody has sent";

fn documents() -> Vec<(DocumentKind, Bytes)> {
    vec![
        (DocumentKind::Manifest, Bytes::from_static(MANIFEST)),
        (DocumentKind::Layout, Bytes::from_static(LAYOUT)),
    ]
}

fn deposited(documents: Vec<(DocumentKind, Bytes)>) -> Vec<actors::Deposited> {
    documents.into_iter().map(Into::into).collect()
}

async fn deposit(node: &Node, stripe: u32) -> PutOutcome {
    let fragment = fragment(stripe.into(), 500);
    node.storage().deposit(account(1), id(1, stripe), fragment, deposited(documents())).await.unwrap()
}

/// Lengths of the documents that are here.
async fn listed(node: &Node) -> Vec<(DocumentKind, u32, bool)> {
    let listed = node.storage().records().documents(tessera(1)).await.unwrap();
    listed.iter().map(|it| (it.kind, it.length, it.is_damaged)).collect()
}

fn whole() -> Vec<(DocumentKind, u32, bool)> {
    vec![(DocumentKind::Manifest, 33, false), (DocumentKind::Layout, 2000, false)]
}

async fn is_served(node: &Node) {
    for (kind, bytes) in documents() {
        let found = node.storage().document(tessera(1), kind, Some(Checksum::of(&bytes))).await;
        assert_eq!(found.unwrap(), bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_bring_does_not_stay_in_the_page_cache_and_what_is_own_or_little_does() {
    let mut node = Node::started(9).await;
    let mut let_go = 0;
    node.disk.take_calls();
    let put = async |account, number: u32, length| {
        node.storage().put(account, id(1, number), fragment(number.into(), length)).await.unwrap();
    };
    put(account(1), 0, 4096).await;
    put(LOCAL, 1, 1 << 20).await;
    let mut session = node.storage().open_session().await.unwrap();
    session.put_blob(fragment(2, 1 << 20)).await.unwrap();
    // It waits for what it refers to.
    session.put_refs(tessera(2), &[(0, 0, fragment(2, 1 << 20).checksum())]).await.unwrap();
    drop(session);
    put(account(1), 3, 1 << 20).await;
    let deadline = Instant::now() + DEADLINE;
    while let_go == 0 {
        assert!(Instant::now() < deadline, "it is still in the cache");
        tokio::time::sleep(Duration::from_millis(2)).await;
        let_go += node.disk.take_calls().iter().filter(|call| call.what == What::LetGo).count();
    }
    assert_eq!(let_go, 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deposit_brings_its_documents_once_and_takes_them_along_when_the_last_one_goes() {
    let mut node = Node::started(1).await;
    node.disk.take_calls();
    assert_eq!(deposit(&node, 0).await, PutOutcome::Stored);
    assert_eq!(node.disk.take_calls().iter().filter(|call| call.what == What::Sync).count(), 1);
    assert_eq!(listed(&node).await, whole());
    let bytes = usage(&node).await.totals.segment_bytes;
    assert_eq!(deposit(&node, 0).await, PutOutcome::Held);
    assert_eq!(usage(&node).await.totals.segment_bytes, bytes, "nothing is written again");
    deposit(&node, 1).await;
    node.storage().drop_fragment(account(1), id(1, 0)).await.unwrap();
    is_served(&node).await;
    node.storage().drop_fragment(account(1), id(1, 1)).await.unwrap();
    assert_eq!(listed(&node).await, []);
    let (rows, _) = audit::check(&node).await;
    assert!(rows.documents.is_empty());
    node.stop().await;
}

/// All in one batch: while the first sync is held, the others wait.
#[tokio::test(flavor = "multi_thread")]
async fn deposit_and_drop_in_one_batch_leave_no_document() {
    let mut node = Node::started(2).await;
    let held = node.disk.hold(What::Sync);
    let storage = node.storage().clone();
    let first = tokio::spawn(async move { storage.put(LOCAL, id(2, 0), fragment(9, 100)).await });
    super::support::node::until("the sync waits", || node.disk.waiting() == 1).await;
    let (storage, other) = (node.storage().clone(), node.storage().clone());
    let both = tokio::spawn(async move {
        let put = storage.deposit(account(1), id(1, 0), fragment(0, 500), deposited(documents()));
        let drop = other.drop_fragment(account(1), id(1, 0));
        tokio::join!(put, drop)
    });
    tokio::task::yield_now().await;
    drop(held);
    first.await.unwrap().unwrap();
    let (put, dropped) = both.await.unwrap();
    put.unwrap();
    dropped.unwrap();
    let (rows, _) = audit::check(&node).await;
    assert!(rows.documents.is_empty() && rows.tesseras.len() == 1, "{:?}", rows.tesseras);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deposit_that_was_acknowledged_is_there_with_its_documents_however_the_process_ends() {
    for end in [End::Killed, End::PowerCut(Wal::Least)] {
        let mut node = Node::started(3).await;
        deposit(&node, 0).await;
        node.end_and_start(end).await;
        is_served(&node).await;
        audit::check(&node).await;
        node.rebuild().await;
        is_served(&node).await;
        node.stop().await;
    }
}

/// The write is cut off behind the documents: nobody was told that they are here, and nobody holds anything.
#[tokio::test(flavor = "multi_thread")]
async fn documents_of_a_deposit_that_was_torn_do_not_stay() {
    let mut node = Node::started(4).await;
    deposit(&node, 0).await;
    let blob = first(&node, |record| matches!(record, Record::Blob(_)));
    node.end(End::Killed).await;
    super::support::index::remove(node.path());
    let file = std::fs::OpenOptions::new().write(true).open(node.segment(blob.segment)).unwrap();
    file.set_len(blob.position + 30).unwrap();
    drop(file);
    node.start().await.unwrap();
    assert_eq!(listed(&node).await, []);
    let (rows, _) = audit::check(&node).await;
    assert!(rows.documents.is_empty());
    deposit(&node, 0).await;
    is_served(&node).await;
    audit::check(&node).await;
    node.stop().await;
}

/// It is right in the log from then on, whether the index hears of it or not.
#[tokio::test(flavor = "multi_thread")]
async fn deposit_heals_a_document_that_is_damaged() {
    for end in [None, Some(End::PowerCut(Wal::Least))] {
        let mut node = Node::started(5).await;
        deposit(&node, 0).await;
        let placed = first(&node, |record| matches!(record, Record::Document { .. }));
        flip(&node.segment(placed.segment), placed.position + HEADER + 60);
        assert_eq!(scrub(&node).await.documents, 1);
        assert!(listed(&node).await.iter().any(|(.., is_damaged)| *is_damaged));
        audit::checkpoint(node.path()).await;
        assert_eq!(deposit(&node, 0).await, PutOutcome::Held);
        if let Some(end) = end {
            node.end_and_start(end).await;
        }
        assert_eq!(listed(&node).await, whole());
        is_served(&node).await;
        assert_eq!(usage(&node).await.totals.jobs, 0);
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deposit_that_is_refused_leaves_no_document() {
    let mut node = Node::started(6).await;
    node.storage().put(LOCAL, id(1, 0), fragment(77, 500)).await.unwrap();
    let refused =
        node.storage().deposit(account(1), id(1, 0), fragment(0, 500), deposited(documents())).await;
    assert!(matches!(refused, Err(ActorError::Conflict { .. })), "{refused:?}");
    let long = vec![(DocumentKind::Layout, Bytes::from(vec![0; (16 << 20) + 1]))];
    let refused = node.storage().deposit(account(1), id(1, 1), fragment(1, 500), deposited(long)).await;
    assert!(matches!(refused, Err(ActorError::Proto(_))), "{refused:?}");
    assert_eq!(listed(&node).await, []);
    audit::check(&node).await;
    node.stop().await;
}

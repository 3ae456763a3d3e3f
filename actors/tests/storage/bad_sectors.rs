//! A disk that does not give some of its bytes: what lies there is damaged, and nothing else is.

use std::time::Duration;

use actors::{
    ActorError, FragmentStore, PutOutcome,
    storage::{BlobState, Piece, Usage},
};
use bytes::Bytes;
use proto::{Checksum, record::DocumentKind};

use super::{
    damage::flip,
    support::{
        LOCAL, audit,
        disk::{EMFILE, FOREVER, Fault, What},
        fragment, id, index,
        node::{DEADLINE, End, Node},
        tessera,
    },
};

const LENGTH: usize = 3000;
/// Bytes of the records of a put: a blob and a ref.
const PUT: u64 = 64 + 3008 + 192;
const COUNT: u32 = 12;
const SECTOR: u64 = 4096;

async fn filled() -> Node {
    let node = Node::started(1).await;
    for stripe in 0..COUNT {
        node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), LENGTH)).await.unwrap();
    }
    node
}

async fn usage(node: &Node) -> Usage {
    node.storage().usage().await.unwrap()
}

async fn state(node: &Node, stripe: u32) -> BlobState {
    node.storage().checksums(tessera(1), (stripe, 0), 1).await.unwrap().first().unwrap().state
}

/// Starts a node whose first segment has these bad places, and says which are reported; from, to.
async fn damage(node: &mut Node, bad: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let path = node.segment(1);
    let before = std::fs::read(&path).unwrap();
    bad.iter().for_each(|(start, end)| node.disk.spoil(&path, *start..*end));
    node.start().await.unwrap();
    let report = usage(node).await.recovery;
    assert!(report.damage.iter().all(|damage| damage.segment == 1), "{report:?}");
    assert_eq!(std::fs::read(&path).unwrap(), before, "nothing is cut off or written over");
    report.damage.iter().map(|damage| (damage.position, damage.position + damage.length)).collect()
}

/// Of the fragments, those in `wrong` are named as damaged, those in `gone` are not known, and all others served.
async fn check_served(node: &Node, wrong: &[u32], gone: &[u32]) {
    for stripe in 0..COUNT {
        match node.storage().get(id(1, stripe)).await {
            Ok(got) if !wrong.contains(&stripe) && !gone.contains(&stripe) => {
                assert_eq!(got, fragment(stripe.into(), LENGTH));
            }
            Err(ActorError::Corrupt { .. }) if wrong.contains(&stripe) => {}
            Err(ActorError::NotFound { .. }) if gone.contains(&stripe) => {}
            other => panic!("fragment {stripe}: {other:?}"),
        }
    }
}

/// Puts everything once more, after which everything is there.
async fn check_healed(node: &mut Node) {
    for stripe in 0..COUNT {
        node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), LENGTH)).await.unwrap();
    }
    check_served(node, &[], &[]).await;
    assert_eq!(usage(node).await.totals.jobs, 0);
    node.disk.heal();
    audit::check(node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuild_loses_no_more_than_the_records_on_a_bad_sector() {
    let mut node = filled().await;
    node.stop().await;
    index::remove(node.path());
    // Lost are the payload and the ref of the second, and the header of the third blob.
    let found = damage(&mut node, &[(SECTOR, 2 * SECTOR)]).await;
    assert_eq!(found, [(PUT, PUT + 64 + 3008), (PUT + 64 + 3008, 3 * PUT - 192)]);
    check_served(&node, &[2], &[1]).await;
    check_healed(&mut node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn first_and_last_sector_of_a_segment_may_be_bad() {
    let mut node = filled().await;
    node.stop().await;
    index::remove(node.path());
    let length = std::fs::metadata(node.segment(1)).unwrap().len();
    let last = (length - 1) / SECTOR * SECTOR;
    let found = damage(&mut node, &[(0, SECTOR), (last, length)]).await;
    assert_eq!((found.first().unwrap().0, found.last().unwrap().1), (0, length));
    assert!(usage(&node).await.recovery.unfinished.is_empty(), "a write that never ended looks otherwise");
    // Of the second the ref lies behind the first sector; of the third nothing lies on either.
    check_served(&node, &[1], &[0, 3, 4]).await;
    check_healed(&mut node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn start_after_a_kill_goes_on_behind_a_bad_sector() {
    let mut node = filled().await;
    node.end(End::Killed).await;
    index::remove(node.path());
    let all = std::fs::metadata(node.segment(1)).unwrap().len();
    let found = damage(&mut node, &[(0, all)]).await;
    assert_eq!(found, [(0, all)], "it is one place");
    check_served(&node, &[], &(0..u32::try_from(all / PUT).unwrap()).collect::<Vec<_>>()).await;
    check_healed(&mut node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blob_that_cannot_be_read_is_suspect_and_healed_by_a_put() {
    for was_open in [false, true] {
        let mut node = filled().await;
        if was_open {
            check_served(&node, &[], &[]).await;
        }
        // What lies beside it is verified in whole sectors, and these are bad as a whole: not here.
        node.system().scrub.pause(Duration::from_secs(3600)).await.unwrap();
        node.disk.spoil(&node.segment(1), 100..200);
        check_served(&node, &[0], &[]).await;
        assert_eq!(state(&node, 0).await, BlobState::Suspect);
        assert_eq!(usage(&node).await.totals.jobs, 1, "its repair is queued");
        let put = node.storage().put(LOCAL, id(1, 0), fragment(0, LENGTH)).await;
        assert_eq!(put.unwrap(), PutOutcome::Stored);
        check_served(&node, &[], &[]).await;
        check_healed(&mut node).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn read_that_did_not_reach_the_disk_says_nothing_of_the_blob() {
    let mut node = filled().await;
    node.stop().await;
    node.start().await.unwrap();
    node.disk.fail(Fault { what: What::Read, after: 0, times: FOREVER, errno: EMFILE, half: false });
    let failed = node.storage().get(id(1, 0)).await;
    assert!(matches!(failed, Err(ActorError::Io { .. })), "{failed:?}");
    node.disk.heal();
    assert_eq!(state(&node, 0).await, BlobState::Ok);
    check_served(&node, &[], &[]).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn document_that_cannot_be_read_is_named() {
    let mut node = Node::started(1).await;
    let one = fragment(1, LENGTH);
    let mut session = node.storage().open_session().await.unwrap();
    session.put_blob(one.clone()).await.unwrap();
    session.put_document(tessera(1), DocumentKind::Manifest, Bytes::from_static(b"manifest")).await.unwrap();
    session.put_refs(tessera(1), &[(0, 0, one.checksum())]).await.unwrap();
    session.commit(tessera(1)).await.unwrap();
    node.disk.spoil(&node.segment(1), 0..1 << 20);
    let refused = node.storage().document(tessera(1), DocumentKind::Manifest, None).await;
    assert!(matches!(refused, Err(ActorError::CorruptDocument { .. })), "{refused:?}");
    assert_eq!(usage(&node).await.totals.jobs, 1, "its repair is queued");
    node.disk.heal();
    let read = node.storage().document(tessera(1), DocumentKind::Manifest, None).await.unwrap();
    assert_eq!(Checksum::of(&read), Checksum::of(b"manifest"));
    let deadline = std::time::Instant::now() + DEADLINE;
    while usage(&node).await.totals.jobs > 0 {
        assert!(std::time::Instant::now() < deadline, "what can be read again waits no more");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    node.stop().await;
}

/// So much is verified that a thread reads ahead. It ends with the bad sector, and verifying does not.
#[tokio::test(flavor = "multi_thread")]
async fn piece_that_is_read_ahead_loses_the_records_on_a_bad_sector() {
    let mut node = Node::new(1);
    node.config.segment_bytes = 16 << 20;
    node.start().await.unwrap();
    let (count, length) = (90, 100_000);
    for stripe in 0..count {
        node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), length)).await.unwrap();
    }
    node.system().scrub.pause(Duration::from_secs(3600)).await.unwrap();
    let door = node.storage().segments_door();
    let whole = Piece { segment: 1, from: 0, bytes: u64::MAX, next: Vec::new() };
    let verified = door.verify(whole.clone()).await.unwrap();
    assert_eq!((verified.bytes, verified.reached), (std::fs::metadata(node.segment(1)).unwrap().len(), None));
    assert_eq!((verified.blobs, verified.mended), (0, 0));
    node.disk.spoil(&node.segment(1), (5 << 20)..(5 << 20) + SECTOR);
    let piece = door.verify(Piece { bytes: 6 << 20, ..whole.clone() }).await.unwrap();
    let reached = piece.reached.unwrap();
    assert!((6 << 20..7 << 20).contains(&reached) && piece.blobs == 1, "{piece:?}");
    flip(&node.segment(1), 8 << 20);
    let rest = door.verify(Piece { from: reached, ..whole }).await.unwrap();
    assert_eq!((rest.blobs, rest.reached), (1, None));
    let mut wrong = Vec::new();
    for stripe in 0..count {
        match node.storage().get(id(1, stripe)).await {
            Ok(got) => assert_eq!(got, fragment(stripe.into(), length)),
            Err(_) => wrong.push(stripe),
        }
    }
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    node.stop().await;
}

/// A sector that could not be read once can be read again: what compaction copies is known to be right.
#[tokio::test(flavor = "multi_thread")]
async fn suspect_blob_is_healed_by_being_copied() {
    let mut node = filled().await;
    node.disk.spoil(&node.segment(1), 100..200);
    // Only this one is asked for: the scrub that this wakes reads whole sectors, and what else is on the bad one fails then.
    let refused = node.storage().get(id(1, 0)).await;
    assert!(matches!(refused, Err(ActorError::Corrupt { .. })), "{refused:?}");
    node.disk.heal();
    for stripe in 1..COUNT {
        node.storage().drop_fragment(LOCAL, id(1, stripe)).await.unwrap();
    }
    assert!(node.storage().compact().await.unwrap().unlinked.contains(&1));
    assert_eq!(state(&node, 0).await, BlobState::Ok);
    assert_eq!(usage(&node).await.totals.jobs, 0, "nothing is to be repaired any more");
    assert_eq!(node.storage().get(id(1, 0)).await.unwrap(), fragment(0, LENGTH));
    audit::check(&node).await;
    node.stop().await;
}

//! What nobody reads is damaged: scrubbing finds it, marks it, mends what it can, and goes on with what lies beside it.

use std::time::Duration;

use actors::{
    ActorError, FragmentStore,
    scrub::{Findings, Mode, ScrubStatus},
    storage::{BlobState, Piece},
};
use futures::StreamExt;
use proto::record::{DocumentKind, Record};

use super::{
    damage::{ASTRAY, COUNT, LENGTH, MANIFEST, all_but, execute, filled, flip, served, usage},
    support::{
        LOCAL, audit, fragment, id, index,
        log::{Log, Placed},
        node::{DEADLINE, Node},
        tessera,
    },
};

/// Bytes of a header.
pub(crate) const HEADER: u64 = 64;

/// Has everything verified now, and waits for the end of it.
pub(crate) async fn scrub(node: &Node) -> Findings {
    node.system().scrub.start().await.unwrap();
    until(node, |status| status.asked_bytes == 0 && status.mode != Mode::Verifying).await.findings
}

/// Waits until scrubbing stands like this. An actor may be restarted meanwhile.
async fn until(node: &Node, so: impl Fn(&ScrubStatus) -> bool) -> ScrubStatus {
    let wait = async {
        loop {
            match node.system().scrub.status().await {
                Ok(status) if so(&status) => return status,
                Ok(_) | Err(ActorError::Restarting { .. }) => {}
                Err(other) => panic!("{other}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("scrubbing comes to that")
}

async fn scrub_makes_the_index_anew(node: &Node, case: &str) {
    // It may be the restart that answers.
    let _ = node.system().scrub.start().await;
    let deadline = std::time::Instant::now() + DEADLINE;
    while !node.storage().usage().await.is_ok_and(|usage| usage.recovery.rebuilt) {
        assert!(std::time::Instant::now() < deadline, "{case}: it is not found");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The first record of this kind.
pub(crate) fn first(node: &Node, is_it: impl Fn(&Record) -> bool) -> Placed {
    let log = Log::read(&node.segments());
    log.records.into_iter().find(|placed| is_it(&placed.record)).unwrap()
}

/// As [`first`], of what is on its way.
async fn first_in_time(node: &Node, is_it: impl Fn(&Record) -> bool + Copy) -> Placed {
    let deadline = std::time::Instant::now() + DEADLINE;
    while !Log::read(&node.segments()).records.iter().any(|placed| is_it(&placed.record)) {
        assert!(std::time::Instant::now() < deadline, "it does not come");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    first(node, is_it)
}

async fn states(node: &Node) -> Vec<BlobState> {
    let rows = node.storage().checksums(tessera(1), (0, 0), COUNT).await.unwrap();
    rows.iter().map(|row| row.state).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_nobody_reads_is_found_and_its_repair_queued() {
    let mut node = filled().await;
    flip(&node.segment(1), HEADER + 100);
    flip(&node.segment(2), HEADER + 100);
    let found = scrub(&node).await;
    assert_eq!((found.blobs, found.documents, found.mended), (2, 0, 0));
    assert_eq!(usage(&node).await.totals.jobs, 2);
    assert_eq!(states(&node).await.iter().filter(|state| **state == BlobState::Suspect).count(), 2);
    assert_eq!(served(&node).await.len(), COUNT as usize - 2);
    assert_eq!(scrub(&node).await.blobs, 2, "what is known to be damaged is not found again");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_is_undone_is_found_to_be_none() {
    let mut node = filled().await;
    flip(&node.segment(1), HEADER + 100);
    assert_eq!(scrub(&node).await.blobs, 1);
    assert_eq!(usage(&node).await.totals.jobs, 1);
    flip(&node.segment(1), HEADER + 100);
    scrub(&node).await;
    assert_eq!(usage(&node).await.totals.jobs, 0);
    assert_eq!(served(&node).await, all_but(&[]));
    audit::check(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn intact_store_is_verified_and_says_since_when() {
    let mut node = filled().await;
    let rows = async || node.storage().checksums(tessera(1), (0, 0), COUNT).await.unwrap();
    assert!(
        rows().await.iter().all(|row| row.verified_at_ms.is_none()),
        "what was written was not read back"
    );
    let found = scrub(&node).await;
    assert!(found.bytes >= u64::from(COUNT) * LENGTH as u64, "{found:?}");
    assert_eq!((found.blobs, found.documents, found.mended), (0, 0, 0));
    assert!(rows().await.iter().all(|row| row.verified_at_ms.is_some_and(|at| at >= row.written_at_ms)));
    node.storage().put(LOCAL, id(2, 0), fragment(99, LENGTH)).await.unwrap();
    let rows = node.storage().checksums(tessera(2), (0, 0), 1).await.unwrap();
    assert_eq!(rows.first().unwrap().verified_at_ms, None, "what came later was not");
    node.stop().await;
    node.start().await.unwrap();
    assert_eq!(served(&node).await, all_but(&[]));
    let status = until(&node, |_| true).await;
    assert!(status.outlook.oldest_age_ms < 60_000, "{status:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_somebody_reads_has_its_neighbours_verified() {
    let mut node = filled().await;
    flip(&node.segment(1), HEADER + 100);
    let second = Log::read(&node.segments()).records.into_iter();
    let second =
        second.filter(|placed| placed.segment == 1 && matches!(placed.record, Record::Blob(_))).nth(1);
    flip(&node.segment(1), second.unwrap().position + HEADER + 100);
    assert!(matches!(node.storage().get(id(1, 0)).await, Err(ActorError::Corrupt { .. })));
    until(&node, |status| status.findings.blobs == 1).await;
    assert_eq!(usage(&node).await.totals.jobs, 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ref_that_is_damaged_is_written_again() {
    for of_the_header in [false, true] {
        let mut node = filled().await;
        let placed = first(&node, |record| matches!(record, Record::Ref(_)));
        flip(&node.segment(placed.segment), placed.position + if of_the_header { 20 } else { HEADER + 40 });
        assert_eq!(scrub(&node).await.mended, 1);
        node.rebuild().await;
        assert_eq!(served(&node).await, all_but(&[]), "the log says all of it again");
        node.stop().await;
    }
}

/// The log alone would not find the bytes any more.
#[tokio::test(flavor = "multi_thread")]
async fn blob_whose_header_is_damaged_is_written_again() {
    let mut node = filled().await;
    let placed = first(&node, |record| matches!(record, Record::Blob(_)));
    flip(&node.segment(placed.segment), placed.position + 20);
    let found = scrub(&node).await;
    assert_eq!((found.mended, found.blobs), (1, 0));
    assert_eq!(usage(&node).await.totals.jobs, 0);
    node.rebuild().await;
    assert_eq!(served(&node).await, all_but(&[]));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_changed_places_have_the_index_made_anew() {
    let mut node = filled().await;
    let blobs: Vec<_> = Log::read(&node.segments())
        .records
        .into_iter()
        .filter(|placed| placed.segment == 1 && matches!(placed.record, Record::Blob(_)))
        .map(|placed| usize::try_from(placed.position).unwrap())
        .collect();
    let path = node.segment(1);
    let mut bytes = std::fs::read(&path).unwrap();
    let length = 64 + LENGTH.next_multiple_of(64);
    let (one, two) = (blobs[0], blobs[1]);
    let first = bytes[one..one + length].to_vec();
    bytes.copy_within(two..two + length, one);
    bytes[two..two + length].copy_from_slice(&first);
    std::fs::write(&path, bytes).unwrap();
    node.system().scrub.start().await.unwrap();
    super::support::node::until("the index is made anew", || {
        std::fs::read_dir(node.path())
            .unwrap()
            .any(|file| file.unwrap().file_name().to_string_lossy().contains("damaged-1"))
    })
    .await;
    until(&node, |status| status.mode == Mode::Idle).await;
    assert_eq!(served(&node).await, all_but(&[]));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn segment_that_is_cut_short_or_gone_loses_what_was_in_it_by_name() {
    for gone in [false, true] {
        let mut node = filled().await;
        let path = node.segment(1);
        let length = std::fs::metadata(&path).unwrap().len();
        match gone {
            true => std::fs::remove_file(&path).unwrap(),
            false => {
                std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length / 2).unwrap()
            }
        }
        let found = scrub(&node).await;
        assert!(found.blobs > 0 && found.mended > 0, "{found:?}");
        let kept = served(&node).await;
        assert_eq!(kept.len() as u64 + found.blobs, u64::from(COUNT));
        index::remove(node.path());
        node.stop().await;
        index::remove(node.path());
        node.start().await.unwrap();
        assert_eq!(states(&node).await.len(), COUNT as usize, "who wants what is in the log again");
        assert_eq!(served(&node).await, kept);
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_row_of_the_index_is_found_and_the_index_made_anew() {
    for change in [
        ASTRAY,
        "UPDATE blobs SET position = position + 1 WHERE segment = 1",
        "UPDATE blobs SET position = position + 1048576 WHERE segment = 1",
        "UPDATE blobs SET len = len + 1 WHERE segment = 2",
        "UPDATE blobs SET segment = segment + 1 WHERE segment = 1",
        "UPDATE blobs SET refs = refs + 1",
        "UPDATE blobs SET state = 2 WHERE segment = 2",
        "UPDATE segments SET live_bytes = live_bytes - 64, seal = NULL WHERE id = 1",
        "UPDATE segments SET min_seq = min_seq + 1 WHERE id = 1",
        "UPDATE segments SET drop_bytes = drop_bytes + 64 WHERE id = 1",
        "UPDATE deposits SET seq = seq - 1 WHERE stripe = 3",
        "UPDATE deposits SET seq = seq + 1 WHERE stripe = 3",
        "UPDATE holdings SET bytes = bytes + 1",
        "UPDATE accounts SET fragments = fragments + 1",
        "UPDATE fragments SET deposits = 2 WHERE stripe = 3",
        "UPDATE log SET next_seq = 2, seal = NULL",
        "UPDATE log SET next_seq = next_seq + 1",
    ] {
        let mut node = filled().await;
        node.stop().await;
        execute(&node, change).await;
        node.start().await.unwrap();
        scrub_makes_the_index_anew(&node, change).await;
        assert_eq!(served(&node).await, all_but(&[]), "{change}");
        audit::check(&node).await;
        node.stop().await;
    }
}

/// What is counted anew is read a page at a time.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_row_is_found_on_any_page_of_the_index() {
    for change in [
        "UPDATE deposits SET seq = seq - 1 WHERE stripe = 5000",
        "UPDATE blobs SET refs = 2 WHERE checksum = (SELECT max(checksum) FROM blobs)",
        "UPDATE blobs SET refs = 2 WHERE checksum = (SELECT checksum FROM blobs ORDER BY checksum LIMIT 1 OFFSET 4095)",
    ] {
        let mut node = Node::started(1).await;
        let put = |stripe: u32| {
            let storage = node.storage().clone();
            async move { storage.put(LOCAL, id(1, stripe), fragment(stripe.into(), 10)).await.unwrap() }
        };
        futures::stream::iter(0..=5000).map(put).buffer_unordered(64).collect::<Vec<_>>().await;
        scrub(&node).await;
        assert!(!usage(&node).await.recovery.rebuilt);
        node.stop().await;
        execute(&node, change).await;
        node.start().await.unwrap();
        scrub_makes_the_index_anew(&node, change).await;
        node.stop().await;
    }
}

/// Also numbers that were given to drops must not be given again: what is put then would count as dropped.
#[tokio::test(flavor = "multi_thread")]
async fn next_number_that_a_drop_has_is_found() {
    let mut node = filled().await;
    for stripe in 1..COUNT {
        node.storage().drop_fragment(LOCAL, id(1, stripe)).await.unwrap();
    }
    node.stop().await;
    execute(&node, "UPDATE log SET next_seq = next_seq - 1, seal = NULL").await;
    node.start().await.unwrap();
    scrub_makes_the_index_anew(&node, "a number of a drop").await;
    audit::check(&node).await;
    node.stop().await;
}

/// A store of schema 2 is brought up to date as it is, and nothing in it is taken for damage.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_before_there_were_seals_are_believed() {
    let mut node = filled().await;
    node.stop().await;
    for change in [
        "ALTER TABLE segments DROP COLUMN seal",
        "ALTER TABLE segments DROP COLUMN ref_seqs",
        "ALTER TABLE log DROP COLUMN seal",
        "ALTER TABLE scrub DROP COLUMN seal",
        "ALTER TABLE scrub DROP COLUMN began",
        "DELETE FROM _sqlx_migrations WHERE version = 3",
    ] {
        execute(&node, change).await;
    }
    node.start().await.unwrap();
    scrub(&node).await;
    assert!(!usage(&node).await.recovery.rebuilt);
    assert_eq!(served(&node).await, all_but(&[]));
    audit::check(&node).await;
    node.stop().await;
}

/// It was told as one that comes next while it was still written to.
#[tokio::test(flavor = "multi_thread")]
async fn damage_in_what_came_after_the_index_was_asked_is_found() {
    let mut node = filled().await;
    node.system().scrub.pause(Duration::from_secs(3600)).await.unwrap();
    let last = || *Log::read(&node.segments()).lengths.keys().max().unwrap();
    let (active, door) = (last(), node.storage().segments_door());
    let piece = |segment, next| Piece { segment, from: 0, bytes: u64::MAX, next };
    door.verify(piece(1, vec![active])).await.unwrap();
    node.storage().put(LOCAL, id(2, 0), fragment(99, 100)).await.unwrap();
    for stripe in 1.. {
        if last() > active {
            break;
        }
        node.storage().put(LOCAL, id(2, stripe), fragment(u64::from(stripe) + 100, LENGTH)).await.unwrap();
    }
    let hash = fragment(99, 100).checksum();
    let placed = Log::read(&node.segments()).records.into_iter();
    let placed = placed.into_iter().find(|placed| placed.header.payload_hash == hash).unwrap();
    assert_eq!(placed.segment, active);
    flip(&node.segment(active), placed.position + HEADER + 50);
    // The index knows that the segment is sealed.
    usage(&node).await;
    assert_eq!(door.verify(piece(active, Vec::new())).await.unwrap().blobs, 1);
    node.stop().await;
}

/// Without it, an index that is made anew would know nothing of what the session wrote.
#[tokio::test(flavor = "multi_thread")]
async fn commit_that_is_damaged_is_written_again() {
    for (in_the_header, is_apart) in [(false, false), (true, false), (false, true), (true, true)] {
        let case = format!("in the header: {in_the_header}, in the next segment: {is_apart}");
        let mut node = Node::started(1).await;
        let one = fragment(1, LENGTH);
        let mut session = node.storage().open_session().await.unwrap();
        session.put_blob(one.clone()).await.unwrap();
        session.put_document(tessera(1), DocumentKind::Manifest, MANIFEST.into()).await.unwrap();
        session.put_refs(tessera(1), &[(0, 0, one.checksum())]).await.unwrap();
        let refs = first_in_time(&node, |record| matches!(record, Record::Ref(_))).await;
        for stripe in 0..if is_apart { 6 } else { 0 } {
            node.storage().put(LOCAL, id(2, stripe), fragment(u64::from(stripe) + 9, LENGTH)).await.unwrap();
        }
        session.commit(tessera(1)).await.unwrap();
        let commit = first(&node, |record| matches!(record, Record::Commit { .. }));
        assert_eq!(commit.segment > refs.segment, is_apart, "{case}");
        flip(&node.segment(commit.segment), commit.position + if in_the_header { 20 } else { HEADER + 5 });
        assert_eq!(scrub(&node).await.mended, 2, "{case}: the commit, and the ref");
        assert_eq!(scrub(&node).await.mended, 2, "{case}: once");
        node.stop().await;
        index::remove(node.path());
        node.start().await.unwrap();
        assert_eq!(node.storage().get(id(1, 0)).await.unwrap(), one, "{case}");
        let document = node.storage().document(tessera(1), DocumentKind::Manifest, None).await;
        assert_eq!(document.unwrap(), MANIFEST, "{case}");
        audit::check(&node).await;
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_lasts_over_a_restart_and_ends_with_a_start() {
    let mut node = filled().await;
    let long = Duration::from_secs(400 * 86_400);
    assert!(matches!(node.system().scrub.pause(long).await, Err(ActorError::Conflict { .. })));
    let paused = node.system().scrub.pause(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(paused.mode, Mode::Paused);
    flip(&node.segment(1), HEADER + 100);
    assert!(matches!(node.storage().get(id(1, 0)).await, Err(ActorError::Corrupt { .. })));
    node.stop().await;
    node.start().await.unwrap();
    let left = until(&node, |status| status.mode == Mode::Paused).await.paused_for_ms.unwrap();
    assert!((1..=3_600_000).contains(&left), "{left}");
    assert_eq!(until(&node, |_| true).await.findings, Findings::default());
    assert!(scrub(&node).await.bytes > 0);
    assert_eq!(until(&node, |_| true).await.paused_for_ms, None);
    node.stop().await;
}

/// A flipped bit in how far it has come would have it say of bytes that they are verified which nobody read.
#[tokio::test(flavor = "multi_thread")]
async fn how_far_it_has_come_is_believed_only_as_it_was_written() {
    let mut node = filled().await;
    let bytes = usage(&node).await.totals.segment_bytes;
    for change in [
        "UPDATE scrub SET segment = 1, position = 4096, began = (unixepoch() + 3600) * 1000",
        "UPDATE scrub SET segment = 1, position = 1 << 40, seal = NULL",
    ] {
        node.system().scrub.pause(Duration::from_secs(3600)).await.unwrap();
        node.stop().await;
        execute(&node, change).await;
        flip(&node.segment(1), HEADER + 100);
        node.start().await.unwrap();
        let found = scrub(&node).await;
        assert!(found.blobs == 1 && found.bytes >= bytes, "{change}: {found:?}");
        flip(&node.segment(1), HEADER + 100);
        node.rebuild().await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scrub_that_falls_goes_on_where_it_was() {
    let mut node = filled().await;
    node.system().scrub.start().await.unwrap();
    for _ in 0..3 {
        node.system().scrub.panic();
        node.storage().panic();
    }
    until(&node, |status| status.asked_bytes == 0).await;
    assert_eq!(served(&node).await, all_but(&[]));
    node.stop().await;
}

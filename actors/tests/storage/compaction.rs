//! Compaction gives back what nobody wants, and nothing else, wherever it is interrupted.

use actors::{ActorError, FragmentStore, storage::disk::Space};
use bytes::Bytes;
use proto::record::{DocumentKind, Kind, Record};
use sqlx::Connection;

use super::support::{
    LOCAL, audit,
    disk::{EIO, EMFILE, Fault, What},
    fragment, id,
    index::{self, Wal},
    node::{DEADLINE, End, Node, until},
    tessera,
};

pub(crate) const LENGTH: usize = 3000;

/// Fragments of which so many are dropped again that there is something to compact; those left.
pub(crate) async fn fill(node: &Node) -> Vec<u32> {
    fill_with(node, 16).await
}

async fn fill_with(node: &Node, count: u32) -> Vec<u32> {
    for stripe in 0..count {
        node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), LENGTH)).await.unwrap();
    }
    let left = |stripe: &u32| stripe.is_multiple_of(5);
    for stripe in (0..count).filter(|stripe| !left(stripe)) {
        node.storage().drop_fragment(LOCAL, id(1, stripe)).await.unwrap();
    }
    (0..count).filter(left).collect()
}

async fn check(node: &Node, left: &[u32], case: &str) {
    audit::check(node).await;
    for stripe in 0..16 {
        let got = node.storage().get(id(1, stripe)).await;
        match got {
            Ok(got) if left.contains(&stripe) => assert_eq!(got, fragment(stripe.into(), LENGTH), "{case}"),
            Err(ActorError::NotFound { .. }) if !left.contains(&stripe) => {}
            got => panic!("{case}: fragment {stripe} is {got:?}"),
        }
    }
}

/// After each call to the disk in turn, and with as much of the index as each end leaves: the file is unlinked only
/// when nothing needs it any more, whatever is left is enough, and the next compaction ends what this one began.
#[tokio::test(flavor = "multi_thread")]
async fn compaction_that_ends_between_any_two_steps_loses_nothing_and_brings_nothing_back() {
    for end in [End::Killed, End::PowerCut(Wal::Least)] {
        for calls in 0.. {
            let case = format!("{end:?} after {calls} calls");
            let mut node = Node::started(calls).await;
            let left = fill_with(&node, 8).await;
            node.disk.go_off(Some(calls));
            let all_done = node.storage().compact().await.is_ok();
            node.end_and_start(end).await;
            check(&node, &left, &case).await;
            node.rebuild().await;
            check(&node, &left, &format!("{case}, index made anew")).await;
            node.storage().compact().await.unwrap();
            check(&node, &left, &format!("{case}, compacted again")).await;
            node.stop().await;
            if all_done {
                assert!(calls > 8, "{case}");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session_keeps_its_segments_from_compaction_until_it_ends() {
    let mut node = Node::started(1).await;
    let one = fragment(100, 700);
    let mut session = node.storage().open_session().await.unwrap();
    session.put_blob(one.clone()).await.unwrap();
    session.put_refs(tessera(9), &[(0, 0, one.checksum())]).await.unwrap();
    audit::deposits(node.path(), 1).await;
    let left = fill(&node).await;
    let done = node.storage().compact().await.unwrap();
    assert!(done.unlinked.is_empty() && done.stuck.is_empty(), "{done:?}");
    session.commit(tessera(9)).await.unwrap();
    assert!(!node.storage().compact().await.unwrap().unlinked.is_empty(), "it was only not yet possible");
    check(&node, &left, "after the session").await;
    assert_eq!(node.storage().get(id(9, 0)).await.unwrap(), one);
    node.stop().await;
}

/// Nobody holds a session whose opener went away before the answer, so nobody would ever end it.
#[tokio::test(flavor = "multi_thread")]
async fn session_whose_opener_went_away_keeps_nothing_from_compaction() {
    let mut node = Node::started(1).await;
    let hold = node.disk.hold(What::Sync);
    let storage = node.storage();
    let (put, opener) = tokio::join!(storage.put(LOCAL, id(2, 0), fragment(100, 10)), async {
        until("a batch is being synced", || node.disk.waiting() == 1).await;
        let storage = node.storage().clone();
        let opener = tokio::spawn(async move { storage.open_session().await });
        until("the session is asked for", || node.storage().load().0 == 2).await;
        opener.abort();
        drop(hold);
        opener.await
    });
    put.unwrap();
    assert!(opener.unwrap_err().is_cancelled());
    let left = fill(&node).await;
    let deadline = std::time::Instant::now() + DEADLINE;
    while node.storage().compact().await.unwrap().unlinked.is_empty() {
        assert!(std::time::Instant::now() < deadline, "a session that nobody holds is still open");
    }
    check(&node, &left, "after the session").await;
    node.stop().await;
}

/// One place that the disk cannot read must not keep what others have dropped elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn segment_that_cannot_be_read_keeps_no_other_from_compaction() {
    let mut node = Node::started(1).await;
    let left = fill(&node).await;
    let (path, aside) = (node.segment(1), node.path().join("aside"));
    std::fs::rename(&path, &aside).unwrap();
    std::fs::create_dir(&path).unwrap();
    let told = node.storage().compact().await.unwrap_err();
    assert!(told.to_string().contains("segment 1"), "{told}");
    assert!(!node.segment(2).exists() && !node.segment(3).exists(), "the others went");
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    node.stop().await;
    node.start().await.unwrap();
    assert_eq!(node.storage().compact().await.unwrap().unlinked, [1]);
    check(&node, &left, "readable again").await;
    node.stop().await;
}

/// A disk that fails to read a place takes seconds to say so, each time.
#[tokio::test(flavor = "multi_thread")]
async fn segment_that_cannot_be_read_is_read_again_when_other_bytes_of_it_count() {
    let mut node = Node::started(1).await;
    fill(&node).await;
    node.disk.fail(Fault { what: What::Read, after: 0, times: 1, errno: EIO, half: false });
    node.storage().compact().await.unwrap_err();
    assert_eq!(node.disk.heal(), 1);
    let done = node.storage().compact().await.unwrap();
    let [unread] = done.stuck.keys().copied().collect::<Vec<_>>()[..] else { panic!("{done:?}") };
    assert!(node.segment(unread).exists() && done.unlinked.is_empty(), "{done:?}");
    for stripe in [0, 5, 10] {
        node.storage().drop_fragment(LOCAL, id(1, stripe)).await.unwrap();
    }
    assert!(node.storage().compact().await.unwrap().unlinked.contains(&unread));
    check(&node, &[15], "read again").await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn segment_that_was_not_read_for_want_of_descriptors_is_read_again_soon() {
    let mut node = Node::started(1).await;
    let left = fill(&node).await;
    node.disk.fail(Fault { what: What::Open, after: 0, times: 1, errno: EMFILE, half: false });
    node.storage().compact().await.unwrap_err();
    assert_eq!(node.disk.heal(), 1);
    assert!(!node.storage().compact().await.unwrap().unlinked.is_empty());
    check(&node, &left, "read again").await;
    node.stop().await;
}

/// Bytes put by a session that others have dropped meanwhile are kept for it, wherever they are.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_pinned_by_a_session_survive_their_last_drop_and_a_compaction() {
    let mut node = Node::started(1).await;
    let left = fill(&node).await;
    let pinned = fragment(0, LENGTH);
    node.storage().put(LOCAL, id(2, 0), fragment(100, 15_000)).await.unwrap();
    let mut session = node.storage().open_session().await.unwrap();
    session.put_blob(pinned.clone()).await.unwrap();
    // The answer to a document comes behind that to the blob.
    session.put_refs(tessera(9), &[(0, 0, pinned.checksum())]).await.unwrap();
    audit::deposits(node.path(), i64::try_from(left.len()).unwrap() + 2).await;
    node.storage().drop_fragment(LOCAL, id(1, 0)).await.unwrap();
    assert!(node.storage().compact().await.unwrap().unlinked.contains(&1));
    session.commit(tessera(9)).await.unwrap();
    assert_eq!(node.storage().get(id(9, 0)).await.unwrap(), pinned);
    audit::check(&node).await;
    node.stop().await;
}

/// The same before anything refers to them.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_only_pinned_by_a_session_survive_their_last_drop_and_a_compaction() {
    let mut node = Node::started(1).await;
    fill(&node).await;
    let pinned = fragment(0, LENGTH);
    node.storage().put(LOCAL, id(2, 0), fragment(100, 15_000)).await.unwrap();
    let mut session = node.storage().open_session().await.unwrap();
    session.put_blob(pinned.clone()).await.unwrap();
    // Waits for the blob, and writes nothing.
    session.put_refs(tessera(9), &[]).await.unwrap();
    node.storage().drop_fragment(LOCAL, id(1, 0)).await.unwrap();
    assert!(node.storage().compact().await.unwrap().unlinked.contains(&1));
    session.put_refs(tessera(9), &[(0, 0, pinned.checksum())]).await.unwrap();
    session.commit(tessera(9)).await.unwrap();
    assert_eq!(node.storage().get(id(9, 0)).await.unwrap(), pinned);
    audit::check(&node).await;
    node.stop().await;
}

/// Puts, and drops of all but the first of them, in sealed segments; `between` comes between them.
async fn fill_around(node: &Node, between: impl Future<Output = ()>) {
    for stripe in 0..8 {
        node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), LENGTH)).await.unwrap();
    }
    between.await;
    for stripe in 1..8 {
        node.storage().drop_fragment(LOCAL, id(1, stripe)).await.unwrap();
    }
    node.storage().put(LOCAL, id(2, 0), fragment(100, 15_000)).await.unwrap();
}

/// A power cut takes the index back to its last checkpoint, where it needs the segments as they were then.
#[tokio::test(flavor = "multi_thread")]
async fn index_that_goes_back_to_a_checkpoint_misses_no_segment() {
    let mut node = Node::started(1).await;
    fill_around(&node, audit::checkpoint(node.path())).await;
    assert!(node.storage().compact().await.unwrap().unlinked.contains(&1));
    node.end_and_start(End::PowerCut(Wal::Least)).await;
    let recovery = node.storage().usage().await.unwrap().recovery;
    assert_eq!(recovery.lost_segments, Vec::<u32>::new());
    check(&node, &[0], "after the power cut").await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn segment_stays_while_a_reader_keeps_the_index_from_its_checkpoint() {
    let mut node = Node::started(1).await;
    let mut reader = audit::connect(node.path()).await;
    let begin = async {
        sqlx::query("BEGIN").execute(&mut reader).await.unwrap();
        sqlx::query("SELECT count(*) FROM blobs").fetch_one(&mut reader).await.unwrap();
    };
    fill_around(&node, begin).await;
    let done = node.storage().compact().await.unwrap();
    assert_eq!(done.unlinked, Vec::<u32>::new());
    sqlx::query("COMMIT").execute(&mut reader).await.unwrap();
    reader.close().await.unwrap();
    assert!(node.storage().compact().await.unwrap().unlinked.contains(&1), "it was only not yet possible");
    check(&node, &[0], "at the end").await;
    node.stop().await;
}

/// An old segment that stays, here for lack of room, keeps all later drops; they must not be copied from segment to
/// segment for ever.
#[tokio::test(flavor = "multi_thread")]
async fn drops_that_must_stay_are_not_copied_again_and_again() {
    let mut node = Node::started(1).await;
    node.storage().put(LOCAL, id(1, 0), fragment(1, 15_000)).await.unwrap();
    let small = fragment(2, 10);
    let more_than_a_segment = 0..200;
    for stripe in more_than_a_segment.clone() {
        node.storage().put(LOCAL, id(2, stripe), small.clone()).await.unwrap();
    }
    for stripe in more_than_a_segment {
        node.storage().drop_fragment(LOCAL, id(2, stripe)).await.unwrap();
    }
    node.disk.pretend_space(Some(Space { free: 20_000, total: 1 << 30 }));
    node.storage().compact().await.unwrap();
    assert!(drop_bytes(&node).await > 200 * 192, "they must stay");
    node.disk.take_calls();
    node.storage().compact().await.unwrap();
    assert_eq!(node.disk.count(What::Write), 0, "there is nothing more to be won");
    node.disk.pretend_space(None);
    // Once the old segment is gone, they go too.
    node.storage().drop_fragment(LOCAL, id(1, 0)).await.unwrap();
    node.storage().put(LOCAL, id(3, 0), fragment(3, 15_000)).await.unwrap();
    for _ in 0..3 {
        node.storage().compact().await.unwrap();
    }
    let drops = drop_bytes(&node).await;
    assert!(drops < 1000, "{drops}");
    node.stop().await;
}

async fn drop_bytes(node: &Node) -> u64 {
    let (rows, _) = audit::check(node).await;
    rows.segments.values().map(|row| row.drop_bytes).sum()
}

/// Something that is kept for ever must not have the log keep every drop of what came later.
#[tokio::test(flavor = "multi_thread")]
async fn drops_do_not_pile_up_beside_something_old() {
    let mut node = Node::started(1).await;
    let old = fragment(1, 60_000);
    let mut session = node.storage().open_session().await.unwrap();
    session.put_blob(old.clone()).await.unwrap();
    session.put_document(tessera(1), DocumentKind::Manifest, Bytes::from_static(b"manifest")).await.unwrap();
    session.put_refs(tessera(1), &[(0, 0, old.checksum())]).await.unwrap();
    session.commit(tessera(1)).await.unwrap();
    let small = fragment(2, 10);
    let mut most = 0;
    for round in 0..ROUNDS {
        for stripe in 0..DROPPED {
            node.storage().put(LOCAL, id(2, stripe), small.clone()).await.unwrap();
            node.storage().drop_fragment(LOCAL, id(2, stripe)).await.unwrap();
        }
        node.storage().compact().await.unwrap();
        let (rows, _) = audit::check(&node).await;
        most = most.max(rows.segments.values().map(|row| row.bytes).sum());
        assert!(most < MOST_BYTES, "{most} bytes in segments after {round} rounds");
    }
    let drops = u64::from(ROUNDS * DROPPED) * 192;
    assert!(drops > 2 * MOST_BYTES, "so they would show");
    node.rebuild().await;
    assert_eq!(node.storage().get(id(1, 0)).await.unwrap(), old);
    let (rows, _) = audit::check(&node).await;
    assert_eq!(rows.fragments.len(), 1, "nothing that was dropped is back");
    node.stop().await;
}

const ROUNDS: u32 = 40;
const DROPPED: u32 = 50;
const MOST_BYTES: u64 = 120_000;

pub(crate) fn flip(node: &Node, segment: u32, position: u64) {
    let path = node.segment(segment);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[usize::try_from(position).unwrap()] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

/// Damaged bytes that nobody wants go with their segment. Whoever puts them anew must not be told that they are here.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_bytes_that_went_with_their_segment_are_not_taken_for_good() {
    let mut node = Node::started(1).await;
    let left = fill(&node).await;
    let (_, log) = audit::check(&node).await;
    let dropped = log.records.iter().find(|placed| {
        placed.header.payload_hash == fragment(1, LENGTH).checksum() && placed.header.kind == Kind::Blob
    });
    let dropped = dropped.unwrap();
    flip(&node, dropped.segment, dropped.position + 100);
    assert!(node.storage().compact().await.unwrap().unlinked.contains(&dropped.segment));
    node.storage().put(LOCAL, id(7, 0), fragment(1, LENGTH)).await.unwrap();
    assert_eq!(node.storage().get(id(7, 0)).await.unwrap(), fragment(1, LENGTH));
    check(&node, &left, "damaged").await;
    node.stop().await;
}

/// What a damaged segment still holds of value, or may hold, keeps it; and it is named.
#[tokio::test(flavor = "multi_thread")]
async fn segment_with_damage_that_counts_stays() {
    let wanted = fragment(10, LENGTH).into_bytes();
    for case in ["drop", "blob"] {
        let is_it = |record: &Record| match record {
            Record::Drop(_) => case == "drop",
            Record::Blob(bytes) => case == "blob" && *bytes == wanted,
            _ => false,
        };
        let mut node = Node::started(1).await;
        node.storage().put(LOCAL, id(2, 0), fragment(100, 15_000)).await.unwrap();
        fill(&node).await;
        node.storage().drop_fragment(LOCAL, id(1, 15)).await.unwrap();
        // So that the last drops lie in a sealed segment.
        node.storage().put(LOCAL, id(2, 1), fragment(101, 15_000)).await.unwrap();
        let (_, log) = audit::check(&node).await;
        let damaged = log.records.iter().find(|placed| is_it(&placed.record)).unwrap();
        flip(&node, damaged.segment, damaged.position + 80);
        let done = node.storage().compact().await.unwrap();
        assert_eq!(done.stuck.keys().copied().collect::<Vec<_>>(), [damaged.segment], "{case}");
        assert!(!done.unlinked.contains(&damaged.segment), "{case}");
        let usage = node.storage().usage().await.unwrap();
        assert_eq!(usage.totals.jobs, u64::from(case == "blob"), "a repair is queued for what is wanted");
        match case {
            // It is about nothing that is left.
            "drop" => node.storage().drop_fragment(LOCAL, id(2, 0)).await.unwrap(),
            // It is healed.
            _ => drop(node.storage().put(LOCAL, id(1, 10), fragment(10, LENGTH)).await.unwrap()),
        }
        let done = node.storage().compact().await.unwrap();
        assert!(done.unlinked.contains(&damaged.segment), "{case}: so it can go: {done:?}");
        audit::check(&node).await;
        node.stop().await;
    }
}

/// Closing any descriptor of a file takes this process's POSIX locks on it away, SQLite's too: another process would
/// then take the index for one that nobody uses.
#[tokio::test(flavor = "multi_thread")]
async fn compaction_leaves_the_locks_on_the_index_alone() {
    use std::os::unix::fs::MetadataExt;
    let mut node = Node::started(1).await;
    let inode = std::fs::metadata(index::path(node.path(), "")).unwrap().ino();
    // Those of this process: the list of all locks skips some while others take and free theirs.
    let locked = || {
        let files = std::fs::read_dir("/proc/self/fdinfo").unwrap().map(|file| file.unwrap().path());
        let about = files.filter_map(|file| std::fs::read_to_string(file).ok()).collect::<String>();
        let is_it = |line: &&str| line.starts_with("lock:") && line.contains(&format!(":{inode} "));
        about.lines().filter(is_it).count()
    };
    assert!(locked() > 0, "SQLite holds a lock as long as it has the index open");
    for stripe in 0..16 {
        node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), LENGTH)).await.unwrap();
    }
    for stripe in 0..16 {
        node.storage().drop_fragment(LOCAL, id(1, stripe)).await.unwrap();
    }
    assert!(!node.storage().compact().await.unwrap().unlinked.is_empty());
    assert!(locked() > 0, "it still does");
    node.stop().await;
}

/// A compaction that is about to unlink a file ends before the store is opened anew.
#[tokio::test(flavor = "multi_thread")]
async fn actor_that_fell_during_a_compaction_starts_when_it_has_ended() {
    let mut node = Node::started(1).await;
    let left = fill(&node).await;
    let hold = node.disk.hold(What::Remove);
    let storage = node.storage().clone();
    let compaction = tokio::spawn(async move { storage.compact().await });
    until("a file is about to be unlinked", || node.disk.waiting() == 1).await;
    node.disk.take_calls();
    node.storage().panic();
    let standing = node.system().standing.clone();
    until("the actor has fallen", || standing.borrow().actors.iter().any(|actor| actor.restarts > 0)).await;
    tokio::task::yield_now().await;
    drop(hold);
    compaction.await.unwrap().unwrap_err();
    let running = || standing.borrow().actors.iter().all(|actor| actor.running);
    until("all actors run", running).await;
    let calls = node.disk.take_calls();
    let opened = calls.iter().position(|call| call.what == What::SyncFolder && call.path == node.path());
    let removed = calls.iter().position(|call| call.what == What::Remove);
    assert!(removed < opened, "{calls:?}");
    check(&node, &left, "after the fall").await;
    node.stop().await;
}

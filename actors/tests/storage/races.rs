//! Requests that overlap: each is decided against all before it, committed or not.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use actors::{ActorError, FragmentStore, PutOutcome, storage::StorageHandle};
use futures::future::join_all;
use proto::{Fragment, FragmentId};
use tokio::task::JoinHandle;

use super::{
    compaction::{LENGTH, fill, flip},
    support::{
        LOCAL, audit,
        chance::Chance,
        disk::What,
        fragment, id,
        index::Wal,
        node::{End, Node, until},
    },
};

/// Asks for two things such that the writer decides both in one batch, in this order.
pub(crate) async fn in_one_batch<A, B>(
    node: &Node,
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (A, B) {
    let storage = node.storage();
    node.disk.take_calls();
    let hold = node.disk.hold(What::Sync);
    // One batch waits for its sync, one for the one before it: the next begins when both have gone on.
    let fill = |stripe| storage.put(LOCAL, id(200, stripe), fragment(stripe.into(), 10));
    let released = async {
        until("all four have been asked", || storage.load().0 >= 4).await;
        drop(hold);
    };
    let second_batch = async {
        until("one batch is being synced", || node.disk.waiting() == 1).await;
        fill(1).await
    };
    let asked = async {
        until("the second batch is written", || node.disk.count(What::Write) == 2).await;
        tokio::join!(first, second)
    };
    let (one, two, answers, ()) = tokio::join!(fill(0), second_batch, asked, released);
    one.unwrap();
    two.unwrap();
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn put_of_bytes_known_from_elsewhere_right_behind_a_drop_counts_them_once_more() {
    let mut node = Node::started(1).await;
    let (old, new) = (fragment(1, 700), fragment(2, 700));
    node.storage().put(LOCAL, id(1, 0), old).await.unwrap();
    node.storage().put(LOCAL, id(1, 1), new.clone()).await.unwrap();
    let storage = node.storage();
    let drop = storage.drop_fragment(LOCAL, id(1, 0));
    let (dropped, put) = in_one_batch(&node, drop, storage.put(LOCAL, id(1, 0), new.clone())).await;
    dropped.unwrap();
    assert_eq!(put.unwrap(), PutOutcome::Stored);
    audit::check(&node).await;
    storage.drop_fragment(LOCAL, id(1, 1)).await.unwrap();
    assert_eq!(storage.get(id(1, 0)).await.unwrap(), new);
    audit::check(&node).await;
    node.stop().await;
}

/// Bytes of which the last drop is still on its way, in the same batch or in the one before, are not given up.
#[tokio::test(flavor = "multi_thread")]
async fn put_of_bytes_whose_last_drop_is_in_flight_keeps_them() {
    for in_one in [true, false] {
        let mut node = Node::started(1).await;
        let storage = node.storage();
        let one = fragment(1, LENGTH);
        storage.put(LOCAL, id(1, 0), one.clone()).await.unwrap();
        let (drop, put) = (storage.drop_fragment(LOCAL, id(1, 0)), storage.put(LOCAL, id(2, 0), one.clone()));
        let (dropped, put) = match in_one {
            true => in_one_batch(&node, drop, put).await,
            false => in_two_batches(&node, drop, put).await,
        };
        dropped.unwrap();
        assert_eq!(put.unwrap(), PutOutcome::Stored);
        // Most of its segment is not wanted.
        fill(&node).await;
        assert!(storage.compact().await.unwrap().unlinked.contains(&1));
        assert_eq!(storage.get(id(2, 0)).await.unwrap(), one);
        check_after_a_power_cut(&mut node, id(2, 0), &one).await;
    }
}

/// Asks for two things such that the first waits for its sync when the second is decided.
async fn in_two_batches<A, B>(
    node: &Node,
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (A, B) {
    node.disk.take_calls();
    let hold = node.disk.hold(What::Sync);
    let released = async {
        until("the second is written, too", || node.disk.count(What::Write) == 2).await;
        drop(hold);
    };
    let second = async {
        until("the first is being synced", || node.disk.waiting() == 1).await;
        second.await
    };
    let (first, second, ()) = tokio::join!(first, second, released);
    (first, second)
}

/// It is there now, after a power cut, and from the segments alone.
async fn check_after_a_power_cut(node: &mut Node, id: FragmentId, expected: &Fragment) {
    audit::check(node).await;
    node.end_and_start(End::PowerCut(Wal::Least)).await;
    assert_eq!(node.storage().get(id).await.unwrap(), *expected);
    audit::check(node).await;
    node.rebuild().await;
    assert_eq!(node.storage().get(id).await.unwrap(), *expected);
    node.stop().await;
}

fn get(node: &Node, id: FragmentId) -> JoinHandle<Result<Fragment, ActorError>> {
    let storage = node.storage().clone();
    tokio::spawn(async move { storage.get(id).await })
}

fn compact(node: &Node) -> JoinHandle<Result<actors::storage::Compacted, ActorError>> {
    let storage = node.storage().clone();
    tokio::spawn(async move { storage.compact().await })
}

/// The place is known, the file not yet open, when the file goes; or open, and not yet read.
#[tokio::test(flavor = "multi_thread")]
async fn get_whose_segment_goes_at_any_moment_gets_its_bytes() {
    for moment in [What::Open, What::Opened, What::Read] {
        let mut node = Node::started(1).await;
        fill(&node).await;
        let hold = node.disk.hold_next(moment);
        let got = get(&node, id(1, 0));
        until("the get is at its file", || hold.is_reached()).await;
        assert!(node.storage().compact().await.unwrap().unlinked.contains(&1));
        assert!(!node.segment(1).exists());
        drop(hold);
        assert_eq!(got.await.unwrap().unwrap(), fragment(0, LENGTH), "{moment:?}");
        audit::check(&node).await;
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn get_that_two_compactions_overtake_gets_its_bytes() {
    let mut node = Node::new(1);
    node.config.compact_below = 0.9;
    node.start().await.unwrap();
    put_and_drop(&node, 1, 2).await;
    let first = node.disk.hold_next(What::Open);
    let got = get(&node, id(1, 0));
    until("the get is at the first file", || first.is_reached()).await;
    assert!(node.storage().compact().await.unwrap().unlinked.contains(&1));
    let copy = segment_of(&node, 0).await;
    let second = node.disk.hold_next(What::Open);
    drop(first);
    until("the get is at the second file", || second.is_reached()).await;
    node.storage().drop_fragment(LOCAL, id(1, 1)).await.unwrap();
    // So that the copy's segment is sealed.
    put_and_drop(&node, 3, 0).await;
    assert!(node.storage().compact().await.unwrap().unlinked.contains(&copy));
    drop(second);
    assert_eq!(got.await.unwrap().unwrap(), fragment(0, LENGTH));
    audit::check(&node).await;
    node.stop().await;
}

/// Puts more than a segment of fragments, and drops all but the first.
async fn put_and_drop(node: &Node, tessera: u8, left: u32) {
    for stripe in 0..8 {
        node.storage().put(LOCAL, id(tessera, stripe), fragment(stripe.into(), LENGTH)).await.unwrap();
    }
    for stripe in left..8 {
        node.storage().drop_fragment(LOCAL, id(tessera, stripe)).await.unwrap();
    }
}

/// The segment that holds a fragment's bytes.
async fn segment_of(node: &Node, number: u64) -> u32 {
    let rows = audit::settled(node.path()).await;
    rows.blobs[&fragment(number, LENGTH).checksum()].segment
}

#[tokio::test(flavor = "multi_thread")]
async fn place_known_from_before_a_compaction_is_looked_up_again() {
    let mut node = Node::started(1).await;
    let left = fill(&node).await;
    let before = segment_of(&node, 0).await;
    for round in 0..2 {
        for stripe in &left {
            let got = node.storage().get(id(1, *stripe)).await;
            assert_eq!(got.unwrap(), fragment((*stripe).into(), LENGTH), "round {round}");
        }
        if round == 0 {
            assert!(!node.storage().compact().await.unwrap().unlinked.is_empty());
        }
    }
    assert_ne!(segment_of(&node, 0).await, before);
    node.stop().await;
}

/// A file that is unlinked and open takes its space all the same.
#[tokio::test(flavor = "multi_thread")]
async fn segment_opened_while_it_goes_is_not_kept_open() {
    let mut node = Node::started(1).await;
    fill(&node).await;
    let hold = node.disk.hold_next(What::Opened);
    let got = get(&node, id(1, 0));
    until("the get has opened the file", || hold.is_reached()).await;
    assert!(node.storage().compact().await.unwrap().unlinked.contains(&1));
    drop(hold);
    assert_eq!(got.await.unwrap().unwrap(), fragment(0, LENGTH));
    let deleted = |link: &PathBuf| link.to_string_lossy().ends_with("(deleted)");
    until("nobody has the file open", || !node.open_files().iter().any(deleted)).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fragment_dropped_while_it_is_read_is_gone_and_its_place_forgotten() {
    for moment in [What::Open, What::Read] {
        let mut node = Node::started(1).await;
        let (old, new) = (fragment(1, LENGTH), fragment(2, LENGTH));
        node.storage().put(LOCAL, id(1, 0), old.clone()).await.unwrap();
        let hold = node.disk.hold_next(moment);
        let got = get(&node, id(1, 0));
        until("the get is at the file", || hold.is_reached()).await;
        node.storage().drop_fragment(LOCAL, id(1, 0)).await.unwrap();
        drop(hold);
        assert_eq!(got.await.unwrap().unwrap(), old, "it was asked for before the drop");
        let gone = node.storage().get(id(1, 0)).await;
        assert!(matches!(gone, Err(ActorError::NotFound { .. })), "{moment:?}: {gone:?}");
        node.storage().put(LOCAL, id(1, 0), new.clone()).await.unwrap();
        assert_eq!(node.storage().get(id(1, 0)).await.unwrap(), new);
        audit::check(&node).await;
        node.stop().await;
    }
}

/// Bytes that nobody wanted when a compaction came to their segment are put anew, elsewhere, at each of its steps.
#[tokio::test(flavor = "multi_thread")]
async fn put_of_bytes_that_a_compaction_is_about_to_give_up_keeps_them() {
    for step in [What::Open, What::Read, What::Write, What::Sync, What::Remove, What::SyncFolder] {
        let mut node = Node::started(1).await;
        fill(&node).await;
        let unwanted = fragment(1, LENGTH);
        let hold = node.disk.hold_next(step);
        let done = compact(&node);
        until("the compaction is at its step", || hold.is_reached()).await;
        let storage = node.storage().clone();
        let bytes = unwanted.clone();
        let put = tokio::spawn(async move { storage.put(LOCAL, id(7, 0), bytes).await });
        // Behind what the writer does it has to wait.
        if matches!(step, What::Write | What::Sync | What::SyncFolder) {
            until("it is under way", || node.storage().load().0 == 2).await;
            drop(hold);
            assert_eq!(put.await.unwrap().unwrap(), PutOutcome::Stored, "{step:?}");
        } else {
            assert_eq!(put.await.unwrap().unwrap(), PutOutcome::Stored, "{step:?}");
            drop(hold);
        }
        assert!(done.await.unwrap().unwrap().unlinked.contains(&1), "{step:?}");
        assert_eq!(node.storage().get(id(7, 0)).await.unwrap(), unwanted, "{step:?}");
        check_after_a_power_cut(&mut node, id(7, 0), &unwanted).await;
    }
}

/// Its bytes turn out to be damaged when a put has brought good ones, or while it brings them.
#[tokio::test(flavor = "multi_thread")]
async fn get_of_damaged_bytes_that_a_put_heals_meanwhile_gets_the_good_ones() {
    for is_durable in [true, false] {
        let mut node = Node::started(1).await;
        let one = fragment(1, LENGTH);
        node.storage().put(LOCAL, id(1, 0), one.clone()).await.unwrap();
        let hold = node.disk.hold_next(What::Read);
        let got = get(&node, id(1, 0));
        until("the get is at the file", || hold.is_reached()).await;
        flip(&node, 1, 164);
        let other = node.storage().get(id(1, 0)).await;
        assert!(matches!(other, Err(ActorError::Corrupt { .. })), "{other:?}");
        let sync = node.disk.hold(What::Sync);
        let (storage, bytes) = (node.storage().clone(), one.clone());
        let put = tokio::spawn(async move { storage.put(LOCAL, id(1, 0), bytes).await });
        until("the put waits for its sync", || sync.is_reached()).await;
        if is_durable {
            drop(sync);
            assert_eq!(put.await.unwrap().unwrap(), PutOutcome::Stored);
            drop(hold);
        } else {
            drop(hold);
            drop(sync);
            assert_eq!(put.await.unwrap().unwrap(), PutOutcome::Stored);
        }
        assert_eq!(got.await.unwrap().unwrap(), one, "durable before: {is_durable}");
        let usage = node.storage().usage().await.unwrap();
        assert_eq!(usage.totals.jobs, 0, "there is nothing to repair");
        check_after_a_power_cut(&mut node, id(1, 0), &one).await;
    }
}

/// Everything at once, as chance has it: what stays is always served, what comes and goes is right or not there, and
/// whoever has an answer can rely on it.
#[tokio::test(flavor = "multi_thread")]
async fn gets_beside_puts_drops_and_compactions_are_never_wrong() {
    for seed in 0..6 {
        let mut node = Node::started(seed).await;
        let storage = node.storage();
        for stripe in 0..STABLE {
            storage.put(LOCAL, id(1, stripe), bytes_of(1, stripe)).await.unwrap();
        }
        let done = AtomicBool::new(false);
        let come_and_go = async {
            join_all((0..4).map(|number| come_and_go(storage, number, Chance::new(seed * 4 + number)))).await;
            done.store(true, Ordering::Relaxed);
        };
        let compactions = async {
            let mut unlinked = 0;
            while !done.load(Ordering::Relaxed) {
                unlinked += storage.compact().await.unwrap().unlinked.len();
            }
            unlinked
        };
        let (_, unlinked, (), ()) =
            tokio::join!(come_and_go, compactions, gets(storage, &done), gets(storage, &done));
        assert!(unlinked > 0, "seed {seed}: nothing was compacted");
        audit::check(&node).await;
        node.stop().await;
    }
}

/// Puts and drops the fragments of one tessera; their bytes are those of other tesserae's, too.
async fn come_and_go(storage: &StorageHandle, number: u64, mut chance: Chance) {
    let tessera = u8::try_from(10 + number).unwrap();
    let mut held = [false; STABLE as usize + 6];
    for _ in 0..80 {
        let stripe = chance.below(held.len() as u64);
        let (at, stripe) = (usize::try_from(stripe).unwrap(), u32::try_from(stripe).unwrap());
        let id = id(tessera, stripe);
        if chance.one_in(2) {
            let expected = if held[at] { PutOutcome::Held } else { PutOutcome::Stored };
            assert_eq!(storage.put(LOCAL, id, bytes_of(tessera, stripe)).await.unwrap(), expected);
            held[at] = true;
        } else {
            assert_eq!(storage.drop_fragment(LOCAL, id).await.is_ok(), held[at]);
            held[at] = false;
        }
        match storage.get(id).await {
            Ok(got) => assert!(held[at] && got == bytes_of(tessera, stripe), "{id}"),
            Err(ActorError::NotFound { .. }) => assert!(!held[at], "{id} was acknowledged"),
            Err(other) => panic!("{id}: {other:?}"),
        }
    }
}

async fn gets(storage: &StorageHandle, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        for stripe in 0..STABLE {
            assert_eq!(storage.get(id(1, stripe)).await.unwrap(), bytes_of(1, stripe));
        }
        for tessera in 10..14 {
            match storage.get(id(tessera, STABLE)).await {
                Ok(got) => assert_eq!(got, bytes_of(tessera, STABLE)),
                Err(ActorError::NotFound { .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}

/// Some bytes are the same in all tesserae, the others in every second one.
fn bytes_of(tessera: u8, stripe: u32) -> Fragment {
    let number = if stripe < STABLE { stripe } else { stripe + 100 * u32::from(tessera % 2) };
    fragment(number.into(), LENGTH)
}

/// Fragments that stay; those that come and go are six more.
const STABLE: u32 = 3;

//! What a node does that has no room left, and how it comes to have some again.

use std::{
    os::unix::fs::MetadataExt,
    time::{Duration, Instant},
};

use actors::{
    ActorError, FragmentStore,
    storage::{RESERVE_FILE, disk::Space},
};

use super::support::{
    LOCAL, audit,
    disk::{EIO, ENOSPC, FOREVER, Fault, What},
    fragment, id,
    index::Wal,
    node::{DEADLINE, End, Node, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn puts_below_the_floor_are_refused_and_reads_and_drops_are_not() {
    let mut node = Node::new(1);
    node.config.min_free_bytes = 1000;
    node.start().await.unwrap();
    node.storage().put(LOCAL, id(1, 0), fragment(0, LENGTH)).await.unwrap();
    node.storage().put(LOCAL, id(1, 1), fragment(1, LENGTH)).await.unwrap();
    node.disk.pretend_space(Some(Space { free: 1500, total: 1 << 30 }));
    let refused = node.storage().put(LOCAL, id(1, 2), fragment(2, LENGTH)).await;
    assert!(matches!(refused, Err(ActorError::InsufficientStorage { .. })), "{refused:?}");
    assert!(node.storage().get(id(1, 0)).await.is_ok());
    node.storage().drop_fragment(LOCAL, id(1, 0)).await.unwrap();
    node.disk.pretend_space(None);
    node.storage().put(LOCAL, id(1, 2), fragment(2, LENGTH)).await.unwrap();
    audit::check(&node).await;
    node.stop().await;
}

/// The segment is full, and the disk has no room for another one: what makes room goes into the one that is there.
#[tokio::test(flavor = "multi_thread")]
async fn drops_are_not_refused_when_no_segment_can_be_begun() {
    let mut node = Node::started(1).await;
    let held: Vec<u32> = (0..4).collect();
    for stripe in &held {
        node.storage().put(LOCAL, id(1, *stripe), fragment((*stripe).into(), LENGTH)).await.unwrap();
    }
    node.disk.fail(Fault { what: What::Create, after: 0, times: FOREVER, errno: ENOSPC, half: false });
    let mut refused = None;
    for stripe in 4..100 {
        match node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), LENGTH)).await {
            Ok(_) => {}
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    assert!(matches!(refused, Some(ActorError::InsufficientStorage { .. })), "{refused:?}");
    for stripe in &held {
        node.storage().drop_fragment(LOCAL, id(1, *stripe)).await.unwrap();
    }
    // In the same batch, too.
    let storage = node.storage().clone();
    let put = tokio::spawn(async move { storage.put(LOCAL, id(2, 0), fragment(500, LENGTH)).await });
    node.storage().drop_fragment(LOCAL, id(1, 4)).await.unwrap();
    assert!(put.await.unwrap().is_err());
    node.disk.heal();
    node.storage().put(LOCAL, id(2, 0), fragment(500, LENGTH)).await.unwrap();
    audit::check(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn puts_above_the_capacity_are_refused_until_compaction_made_room() {
    let mut node = Node::new(1);
    node.config.capacity_bytes = Some(40 << 10);
    node.start().await.unwrap();
    let mut stripe = 0;
    while node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), LENGTH)).await.is_ok() {
        stripe += 1;
    }
    assert!((5..14).contains(&stripe), "{stripe} puts of {LENGTH} bytes fit");
    for dropped in 0..stripe {
        node.storage().drop_fragment(LOCAL, id(1, dropped)).await.unwrap();
    }
    node.storage().compact().await.unwrap();
    node.storage().put(LOCAL, id(2, 0), fragment(99, LENGTH)).await.unwrap();
    audit::check(&node).await;
    node.stop().await;
}

/// A node with room for so many bytes, all of which may lie in one segment; and how many puts it took.
async fn filled(capacity: u64) -> (Node, u32) {
    let mut node = Node::new(1);
    node.config.segment_bytes = 1 << 20;
    fill(node, capacity).await
}

/// Starts a node that has room for so many bytes and puts until it is refused.
async fn fill(mut node: Node, capacity: u64) -> (Node, u32) {
    node.config.capacity_bytes = Some(capacity);
    node.start().await.unwrap();
    let mut stripe = 0;
    while node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), LENGTH)).await.is_ok() {
        stripe += 1;
    }
    (node, stripe)
}

/// Checks everything behind the compaction that may be running.
async fn check(node: &Node) {
    node.storage().compact().await.unwrap();
    audit::check(node).await;
}

/// Puts a fragment as soon as there is room for it, long before the actor looks for room by itself.
async fn put_when_there_is_room(node: &Node, stripe: u32) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match node.storage().put(LOCAL, id(2, stripe), fragment(1000 + u64::from(stripe), LENGTH)).await {
            Ok(_) => return,
            Err(ActorError::InsufficientStorage { .. }) if Instant::now() < deadline => {}
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_node_takes_puts_again_when_what_it_held_is_dropped() {
    let (mut node, stripes) = filled(200 << 10).await;
    for stripe in 0..stripes {
        node.storage().drop_fragment(LOCAL, id(1, stripe)).await.unwrap();
    }
    // Not all of them: up to a quarter of the bytes may be dead and not worth a copy.
    for stripe in 0..stripes / 2 {
        put_when_there_is_room(&node, stripe).await;
    }
    assert!(!node.segment(1).exists());
    check(&node).await;
    node.end_and_start(End::PowerCut(Wal::Least)).await;
    check(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_node_gives_room_back_without_being_asked_for_it_again() {
    let (mut node, stripes) = filled(100 << 10).await;
    for stripe in 1..stripes {
        node.storage().drop_fragment(LOCAL, id(1, stripe)).await.unwrap();
    }
    until("the segment is gone", || !node.segment(1).exists()).await;
    assert_eq!(node.storage().get(id(1, 0)).await.unwrap(), fragment(0, LENGTH));
    check(&node).await;
    node.stop().await;
}

/// The first drops of a tessera give room for the put that was refused; those behind them must not wait for another.
#[tokio::test(flavor = "multi_thread")]
async fn full_node_that_is_being_told_to_forget_goes_on_giving_room_back() {
    let (mut node, stripes) = fill(Node::new(1), 100 << 10).await;
    for stripe in 0..stripes {
        node.storage().drop_fragment(LOCAL, id(1, stripe)).await.unwrap();
        if stripe == 4 {
            until("the first segment is gone", || !node.segment(1).exists()).await;
            node.storage().compact().await.unwrap();
        }
    }
    until("the others are gone", || (2..6).all(|segment| !node.segment(segment).exists())).await;
    check(&node).await;
    node.stop().await;
}

/// The records of drops take room, too: they must not fill what is kept free for them.
#[tokio::test(flavor = "multi_thread")]
async fn drops_below_the_floor_begin_a_compaction_without_any_refusal() {
    let mut node = Node::new(1);
    node.config.min_free_bytes = 1 << 20;
    node.start().await.unwrap();
    for stripe in 0..8 {
        node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), LENGTH)).await.unwrap();
    }
    node.disk.pretend_space(Some(Space { free: 500_000, total: 1 << 30 }));
    for stripe in 0..8 {
        node.storage().drop_fragment(LOCAL, id(1, stripe)).await.unwrap();
    }
    until("the segment is gone", || !node.segment(1).exists()).await;
    check(&node).await;
    node.stop().await;
}

/// Nowhere is so much dead that it would be compacted while there is room.
#[tokio::test(flavor = "multi_thread")]
async fn full_node_takes_puts_again_when_some_of_each_segment_is_dropped() {
    let (mut node, stripes) = fill(Node::new(1), 100 << 10).await;
    for stripe in (0..stripes).filter(|stripe| stripe.is_multiple_of(3)) {
        node.storage().drop_fragment(LOCAL, id(1, stripe)).await.unwrap();
    }
    put_when_there_is_room(&node, 0).await;
    check(&node).await;
    for stripe in (0..stripes).filter(|stripe| !stripe.is_multiple_of(3)) {
        assert_eq!(node.storage().get(id(1, stripe)).await.unwrap(), fragment(stripe.into(), LENGTH));
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_node_that_was_started_again_takes_puts_when_what_it_held_was_dropped() {
    for end in [None, Some(End::Killed)] {
        let (mut node, stripes) = filled(100 << 10).await;
        for stripe in 0..stripes {
            node.storage().drop_fragment(LOCAL, id(1, stripe)).await.unwrap();
        }
        match end {
            None => {
                node.stop().await;
                node.start().await.unwrap();
            }
            Some(end) => node.end_and_start(end).await,
        }
        put_when_there_is_room(&node, 0).await;
        check(&node).await;
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session_that_found_no_room_gives_back_what_it_had_written() {
    let mut node = Node::new(1);
    (node.config.capacity_bytes, node.config.segment_bytes) = (Some(100 << 10), 1 << 20);
    node.start().await.unwrap();
    let mut session = node.storage().open_session().await.unwrap();
    let mut blob = 0;
    while session.put_blob(fragment(blob, LENGTH)).await.is_ok() {
        blob += 1;
    }
    drop(session);
    until("the segment is gone", || !node.segment(1).exists()).await;
    put_when_there_is_room(&node, 0).await;
    check(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn active_segment_is_not_ended_while_a_session_writes_to_it() {
    let (mut node, stripes) = filled(100 << 10).await;
    let session = node.storage().open_session().await.unwrap();
    for stripe in 0..stripes {
        node.storage().drop_fragment(LOCAL, id(1, stripe)).await.unwrap();
    }
    node.disk.take_calls();
    let done = node.storage().compact().await.unwrap();
    assert!(done.unlinked.is_empty() && done.stuck.is_empty(), "{done:?}");
    assert_eq!(node.disk.count(What::Create), 0);
    drop(session);
    until("the segment is gone", || !node.segment(1).exists()).await;
    check(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn active_segment_with_much_that_is_dead_is_compacted_without_any_refusal() {
    let mut node = Node::new(1);
    node.config.segment_bytes = 100 << 10;
    node.start().await.unwrap();
    for stripe in 0..10 {
        node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), LENGTH)).await.unwrap();
    }
    for stripe in 0..7 {
        node.storage().drop_fragment(LOCAL, id(1, stripe)).await.unwrap();
    }
    assert_eq!(node.storage().compact().await.unwrap().unlinked, Vec::<u32>::new(), "not yet worth it");
    node.storage().drop_fragment(LOCAL, id(1, 7)).await.unwrap();
    node.storage().drop_fragment(LOCAL, id(1, 8)).await.unwrap();
    assert_eq!(node.storage().compact().await.unwrap().unlinked, [1]);
    assert_eq!(node.storage().get(id(1, 9)).await.unwrap(), fragment(9, LENGTH));
    check(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_below_the_floor_needs_room_for_what_counts_only() {
    let mut node = Node::new(1);
    (node.config.min_free_bytes, node.config.segment_bytes) = (1 << 20, 1 << 20);
    node.start().await.unwrap();
    for stripe in 0..20 {
        node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), LENGTH)).await.unwrap();
    }
    let copies = 5 * (LENGTH as u64 + 400);
    node.disk.pretend_space(Some(Space { free: copies, total: 1 << 30 }));
    let refused = node.storage().put(LOCAL, id(2, 0), fragment(99, LENGTH)).await;
    assert!(matches!(refused, Err(ActorError::InsufficientStorage { .. })), "{refused:?}");
    for stripe in 5..20 {
        node.storage().drop_fragment(LOCAL, id(1, stripe)).await.unwrap();
    }
    node.disk.take_calls();
    node.storage().compact().await.unwrap();
    assert_eq!(node.disk.count(What::Write), 0, "the index would have no room beside them");
    node.disk.pretend_space(Some(Space { free: 2 * copies, total: 1 << 30 }));
    node.storage().compact().await.unwrap();
    assert!(!node.segment(1).exists());
    check(&node).await;
    node.stop().await;
}

/// What somebody else took of the disk is not for puts to find again in what is set aside for drops.
#[tokio::test(flavor = "multi_thread")]
async fn disk_that_others_fill_has_room_for_drops_from_what_is_set_aside() {
    let mut node = Node::new(1);
    (node.config.min_free_bytes, node.config.segment_bytes) = (0, 1 << 20);
    node.start().await.unwrap();
    let reserve = node.config.data_dir.join(RESERVE_FILE);
    let held = || reserve.metadata().unwrap().blocks() * 512;
    assert_eq!(held(), RESERVE_BYTES);
    node.storage().put(LOCAL, id(1, 0), fragment(0, LENGTH)).await.unwrap();
    node.disk.pretend_space(Some(Space { free: 0, total: 1 << 30 }));
    let put = node.storage().put(LOCAL, id(1, 1), fragment(1, LENGTH)).await;
    assert!(matches!(put, Err(ActorError::InsufficientStorage { .. })), "{put:?}");
    assert_eq!(held(), RESERVE_BYTES, "a put that is refused needs nothing");
    node.storage().drop_fragment(LOCAL, id(1, 0)).await.unwrap();
    let given = RESERVE_BYTES - held();
    assert!((1..RESERVE_BYTES).contains(&given), "it gives what is lacking: {given}");
    // Free is now what it has given, and that is not for this.
    node.disk.pretend_space(Some(Space { free: given, total: 1 << 30 }));
    assert_eq!(node.storage().usage().await.unwrap().room_bytes, Some(0));
    assert_eq!(node.storage().room().await.unwrap(), Some(0), "whoever offers something hears the same");
    let put = node.storage().put(LOCAL, id(1, 1), fragment(1, LENGTH)).await;
    assert!(matches!(put, Err(ActorError::InsufficientStorage { .. })), "{put:?}");
    node.disk.pretend_space(None);
    node.storage().put(LOCAL, id(1, 1), fragment(1, LENGTH)).await.unwrap();
    assert_eq!(held(), RESERVE_BYTES);
    audit::check(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reserve_that_could_not_give_way_once_does_so_later() {
    let mut node = Node::new(1);
    (node.config.min_free_bytes, node.config.segment_bytes) = (0, 1 << 20);
    node.start().await.unwrap();
    node.storage().put(LOCAL, id(1, 0), fragment(0, LENGTH)).await.unwrap();
    node.stop().await;
    node.disk.pretend_space(Some(Space { free: 0, total: 1 << 30 }));
    node.disk.fail(Fault { what: What::Truncate, after: 0, times: 1, errno: EIO, half: false });
    node.start().await.unwrap();
    node.storage().drop_fragment(LOCAL, id(1, 0)).await.unwrap();
    let reserve = node.config.data_dir.join(RESERVE_FILE).metadata().unwrap();
    assert!(reserve.blocks() * 512 < RESERVE_BYTES, "{reserve:?}");
    node.stop().await;
}

const LENGTH: usize = 3000;
/// A whole segment.
const RESERVE_BYTES: u64 = 1 << 20;

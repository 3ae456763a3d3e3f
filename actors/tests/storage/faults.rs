//! Each call to the disk in turn fails, or writes half: nothing is acknowledged that is not durable, and writing goes
//! on by itself when the fault has cleared.

use actors::{ActorError, FragmentStore};

use super::support::{
    LOCAL, audit,
    disk::{Call, EIO, ENOSPC, FOREVER, Fault, What},
    fragment, id,
    index::{self, Wal},
    node::{End, Node},
};

const LENGTH: usize = 3000;
const PUTS: u32 = 20;

/// Puts so many fragments while calls fail, three times or until they are told not to; then heals the disk, puts
/// again, and cuts the power. What was acknowledged, and only that, must be there.
async fn check(what: What, errno: i32, half: bool, times: u64) {
    let case = format!("{what:?} {errno} half {half} times {times}");
    let mut node = Node::started(u64::from(errno.unsigned_abs())).await;
    node.storage().put(LOCAL, id(1, 0), fragment(0, LENGTH)).await.unwrap();
    node.disk.take_calls();
    node.disk.fail(Fault { what, after: 1, times, errno, half });
    let mut kept = vec![0];
    let mut refused = 0;
    for stripe in 1..=PUTS {
        match node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), LENGTH)).await {
            Ok(_) => kept.push(stripe),
            Err(ActorError::InsufficientStorage { .. }) if errno == ENOSPC => refused += 1,
            Err(ActorError::ReadOnly { .. }) if errno != ENOSPC => refused += 1,
            Err(other) => panic!("{case}: {other:?}"),
        }
        assert!(node.storage().get(id(1, 0)).await.is_ok(), "{case}: reads go on");
    }
    assert!(refused > 0, "{case}: nobody was told");
    assert!(node.disk.heal() > 0, "{case}: nothing failed");
    check_no_sync_was_tried_again(&case, &node);
    kept.push(put_in_the_end(&node).await);
    node.end_and_start(End::PowerCut(Wal::Least)).await;
    for stripe in kept {
        let got = node.storage().get(id(1, stripe)).await;
        assert_eq!(got.unwrap(), fragment(stripe.into(), LENGTH), "{case}: fragment {stripe}");
    }
    audit::check(&node).await;
    node.stop().await;
}

/// A sync that has failed is not tried again: before the file is synced once more, what it was for is cut off. And
/// nothing is written to that file any more.
fn check_no_sync_was_tried_again(case: &str, node: &Node) {
    let calls = node.disk.take_calls();
    let failed = |(_, call): &(usize, &Call)| call.what == What::Sync && !call.ok;
    for (at, failed) in calls.iter().enumerate().filter(failed) {
        let later = calls.iter().skip(at + 1).filter(|call| call.path == failed.path);
        let later: Vec<_> = later.map(|call| (call.what, call.ok)).collect();
        assert!(!later.contains(&(What::Write, true)), "{case}: written to after a failed sync: {later:?}");
        let next = later.iter().find(|call| matches!(call, (What::Sync, _) | (What::Truncate, true)));
        assert_ne!(
            next.map(|call| call.0),
            Some(What::Sync),
            "{case}: {} was synced again",
            failed.path.display()
        );
    }
}

/// Puts until it is accepted; gives its stripe.
async fn put_in_the_end(node: &Node) -> u32 {
    let deadline = std::time::Instant::now() + super::support::node::DEADLINE;
    for stripe in PUTS + 1.. {
        if node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), LENGTH)).await.is_ok() {
            return stripe;
        }
        assert!(std::time::Instant::now() < deadline, "writing never came back");
        tokio::task::yield_now().await;
    }
    unreachable!("there is always another stripe")
}

#[tokio::test(flavor = "multi_thread")]
async fn write_that_fails_acknowledges_nothing_and_writing_comes_back() {
    for errno in [EIO, ENOSPC] {
        for half in [false, true] {
            check(What::Write, errno, half, 3).await;
            check(What::Write, errno, half, FOREVER).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_that_fails_acknowledges_nothing_and_is_never_tried_again() {
    for errno in [EIO, ENOSPC] {
        check(What::Sync, errno, false, 1).await;
        check(What::Sync, errno, false, 3).await;
        check(What::Sync, errno, false, FOREVER).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn segment_that_cannot_be_begun_acknowledges_nothing() {
    for errno in [EIO, ENOSPC] {
        for what in [What::Create, What::SyncFolder] {
            check(what, errno, false, 3).await;
            check(what, errno, false, FOREVER).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn log_that_cannot_be_cut_back_refuses_writes_until_it_can() {
    let mut node = Node::started(1).await;
    node.storage().put(LOCAL, id(1, 0), fragment(0, LENGTH)).await.unwrap();
    node.disk.fail(Fault { what: What::Sync, after: 0, times: 1, errno: EIO, half: false });
    node.disk.fail(Fault { what: What::Truncate, after: 0, times: FOREVER, errno: EIO, half: false });
    assert!(node.storage().put(LOCAL, id(1, 1), fragment(1, LENGTH)).await.is_err());
    let refused = node.storage().put(LOCAL, id(1, 2), fragment(2, LENGTH)).await;
    assert!(matches!(refused, Err(ActorError::ReadOnly { .. })), "{refused:?}");
    assert!(node.storage().usage().await.unwrap().read_only.is_some(), "and it says so");
    assert!(node.storage().get(id(1, 0)).await.is_ok());
    assert!(node.disk.heal() > 0);
    put_in_the_end(&node).await;
    assert_eq!(node.storage().usage().await.unwrap().read_only, None);
    audit::check(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_that_fails_loses_nothing_and_is_done_later() {
    for what in [What::Remove, What::Open, What::Sync] {
        let mut node = Node::started(1).await;
        for stripe in 0..PUTS {
            node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), LENGTH)).await.unwrap();
        }
        for stripe in 1..PUTS {
            node.storage().drop_fragment(LOCAL, id(1, stripe)).await.unwrap();
        }
        node.disk.fail(Fault { what, after: 0, times: FOREVER, errno: EIO, half: false });
        assert!(node.storage().compact().await.is_err(), "{what:?}");
        node.disk.heal();
        if what == What::Open {
            // What could not be read is not read again before.
            node.stop().await;
            node.start().await.unwrap();
        }
        put_in_the_end(&node).await;
        let done = node.storage().compact().await.unwrap();
        assert!(!done.unlinked.is_empty(), "{what:?}: {done:?}");
        node.end_and_start(End::PowerCut(Wal::Least)).await;
        assert_eq!(node.storage().get(id(1, 0)).await.unwrap(), fragment(0, LENGTH), "{what:?}");
        audit::check(&node).await;
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_index_that_cannot_be_set_aside_stays_where_it_is() {
    let mut node = Node::started(1).await;
    node.storage().put(LOCAL, id(1, 0), fragment(0, LENGTH)).await.unwrap();
    node.stop().await;
    let path = node.path().join(actors::storage::INDEX_FILE);
    std::fs::write(&path, b"this is no database, and was none before").unwrap();
    node.disk.fail(Fault { what: What::Rename, after: 0, times: 1, errno: EIO, half: false });
    assert!(matches!(node.start().await, Err(ActorError::Io { .. })));
    assert!(path.exists());
    node.disk.heal();
    node.start().await.unwrap();
    assert!(node.storage().usage().await.unwrap().recovery.rebuilt);
    assert_eq!(node.storage().get(id(1, 0)).await.unwrap(), fragment(0, LENGTH));
    node.stop().await;
    index::remove(node.path());
}

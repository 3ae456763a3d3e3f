//! What a write that failed leaves behind: nothing that could come true later, and nothing that stays broken.

use actors::{ActorError, FragmentStore, PutOutcome};
use bytes::Bytes;
use proto::record::DocumentKind;
use sqlx::Connection;

use super::support::{
    LOCAL, audit,
    disk::{EIO, FOREVER, Fault, What},
    fragment, id,
    index::Wal,
    node::{DEADLINE, End, Node, until},
    tessera,
};

/// Such calls fail at once, so many times.
fn fault(what: What, times: u64) -> Fault {
    Fault { what, after: 0, times, errno: EIO, half: false }
}

/// Asks until it is done; others than temporary refusals fail the test.
async fn in_the_end<T, F: Future<Output = Result<T, ActorError>>>(ask: impl Fn() -> F) -> T {
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        match ask().await {
            Ok(done) => return done,
            Err(ActorError::ReadOnly { .. } | ActorError::Restarting { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
        assert!(std::time::Instant::now() < deadline, "writing never came back");
        tokio::task::yield_now().await;
    }
}

async fn writing_again(node: &Node) {
    let deadline = std::time::Instant::now() + DEADLINE;
    while node.storage().usage().await.unwrap().read_only.is_some() {
        assert!(std::time::Instant::now() < deadline, "writing never came back");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drop_that_failed_does_not_come_true_in_a_power_cut_after_a_put() {
    let one = fragment(1, 700);
    for (seed, times) in (0..4).flat_map(|seed| (1..4).map(move |times| (seed, times))) {
        let mut node = Node::started(seed).await;
        node.storage().put(LOCAL, id(1, 0), one.clone()).await.unwrap();
        node.disk.fail(fault(What::Sync, times));
        let dropped = node.storage().drop_fragment(LOCAL, id(1, 0)).await;
        assert!(matches!(dropped, Err(ActorError::ReadOnly { .. })), "{dropped:?}");
        let put = in_the_end(|| node.storage().put(LOCAL, id(1, 0), one.clone())).await;
        assert_eq!(put, PutOutcome::Held, "the drop was not carried out");
        node.end_and_start(End::PowerCut(Wal::Least)).await;
        assert_eq!(node.storage().get(id(1, 0)).await.unwrap(), one, "seed {seed}, {times} failures");
        audit::check(&node).await;
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_comes_back_without_being_asked() {
    let mut node = Node::started(1).await;
    node.disk.fail(fault(What::Sync, 1));
    node.storage().put(LOCAL, id(1, 0), fragment(1, 700)).await.unwrap_err();
    writing_again(&node).await;
    let calls = node.disk.take_calls();
    assert!(
        calls.iter().any(|call| call.what == What::Truncate && call.ok),
        "what failed is cut off: {calls:?}"
    );
    audit::check(&node).await;
    node.stop().await;
}

/// The log is synced and the index is not to be had: the drop counts, and comes into the index from the log.
#[tokio::test(flavor = "multi_thread")]
async fn drop_that_only_the_log_has_counts() {
    let mut node = Node::new(1);
    node.config.sqlite_busy_timeout = std::time::Duration::from_millis(10);
    node.start().await.unwrap();
    let one = fragment(1, 700);
    let other_one = fragment(2, 700);
    node.storage().put(LOCAL, id(1, 0), one.clone()).await.unwrap();
    node.storage().put(LOCAL, id(2, 0), other_one.clone()).await.unwrap();
    assert_eq!(node.storage().get(id(1, 0)).await.unwrap(), one, "its place is known now");
    node.storage().usage().await.unwrap();
    let mut other = audit::connect(node.path()).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    node.storage().drop_fragment(LOCAL, id(1, 0)).await.unwrap();
    let gone = node.storage().get(id(1, 0)).await;
    assert!(matches!(gone, Err(ActorError::NotFound { .. })), "{gone:?}");
    let stale = node.storage().checksums(id(1, 0).tessera, (0, 0), 1).await;
    assert!(matches!(stale, Err(ActorError::ReadOnly { .. })), "{stale:?}");
    let listed = node.storage().checksums(id(2, 0).tessera, (0, 0), 1).await.unwrap();
    assert_eq!(listed.len(), 1, "of this the index says all");
    assert_eq!(node.storage().get(id(2, 0)).await.unwrap(), other_one);
    let unwritten = node.storage().put(LOCAL, id(3, 0), one.clone()).await;
    assert!(matches!(unwritten, Err(ActorError::ReadOnly { .. })), "{unwritten:?}");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    writing_again(&node).await;
    let gone = node.storage().get(id(1, 0)).await;
    assert!(matches!(gone, Err(ActorError::NotFound { .. })), "{gone:?}");
    audit::check(&node).await;
    node.stop().await;
}

/// What was acknowledged is there for whoever asks, also while only the log has it.
#[tokio::test(flavor = "multi_thread")]
async fn put_and_session_that_only_the_log_has_are_served() {
    let mut node = Node::started(1).await;
    let (kind, text) = (DocumentKind::Manifest, Bytes::from_static(b"a manifest"));
    let (one, two) = (fragment(1, 700), fragment(2, 700));
    let storage = node.storage();
    let mut session = storage.open_session().await.unwrap();
    session.put_blob(two.clone()).await.unwrap();
    session.put_document(tessera(2), kind, text.clone()).await.unwrap();
    session.put_refs(tessera(2), &[(0, 0, two.checksum())]).await.unwrap();
    storage.usage().await.unwrap();
    let mut other = audit::connect(node.path()).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    storage.put(LOCAL, id(1, 0), one.clone()).await.unwrap();
    session.commit(tessera(2)).await.unwrap();
    assert_eq!(storage.get(id(1, 0)).await.unwrap(), one);
    assert_eq!(storage.get(id(2, 0)).await.unwrap(), two);
    assert_eq!(storage.document(tessera(2), kind, None).await.unwrap(), text);
    storage.drop_fragment(LOCAL, id(2, 0)).await.unwrap();
    for gone in
        [storage.get(id(2, 0)).await.map(|_| ()), storage.document(tessera(2), kind, None).await.map(|_| ())]
    {
        assert!(matches!(gone, Err(ActorError::NotFound { .. })), "{gone:?}");
    }
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    assert_eq!(storage.checksums(id(1, 0).tessera, (0, 0), 9).await.unwrap().len(), 1);
    audit::check(&node).await;
    node.stop().await;
}

/// What recovery skips is not looked at again, so while there is time it waits for a disk that fails for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_for_a_moment_is_not_given_up() {
    let mut node = Node::new(1);
    node.config.sqlite_busy_timeout = std::time::Duration::from_millis(10);
    node.start().await.unwrap();
    node.storage().put(LOCAL, id(1, 0), fragment(1, 700)).await.unwrap();
    let first = std::fs::metadata(node.segment(1)).unwrap().len();
    let mut other = audit::connect(node.path()).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    node.storage().put(LOCAL, id(2, 0), fragment(2, 700)).await.unwrap();
    let unknown = node.storage().checksums(id(2, 0).tessera, (0, 0), 1).await;
    assert!(matches!(unknown, Err(ActorError::ReadOnly { .. })), "the index lacks it: {unknown:?}");
    node.disk.spoil(&node.segment(1), first..first + 700);
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    until("the log is read", || node.disk.struck() > 0).await;
    node.disk.heal();
    writing_again(&node).await;
    for number in [1, 2] {
        let got = node.storage().get(id(number, 0)).await.unwrap();
        assert_eq!(got, fragment(number.into(), 700));
    }
    audit::check(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_behind_one_that_failed_fail_with_it() {
    let mut node = Node::started(1).await;
    let storage = node.storage();
    node.disk.take_calls();
    let hold = node.disk.hold(What::Sync);
    node.disk.fail(fault(What::Sync, 1));
    let put = |stripe| storage.put(LOCAL, id(1, stripe), fragment(stripe.into(), 700));
    let released = async {
        until("one batch is being synced", || node.disk.waiting() == 1).await;
        until("the next is written", || node.disk.count(What::Write) == 2).await;
        drop(hold);
    };
    let second = async {
        until("one batch is being synced", || node.disk.waiting() == 1).await;
        put(1).await
    };
    let (first, second, ()) = tokio::join!(put(0), second, released);
    for failed in [first, second] {
        assert!(matches!(failed, Err(ActorError::ReadOnly { .. })), "{failed:?}");
    }
    in_the_end(|| put(2)).await;
    for stripe in [0, 1] {
        let gone = storage.get(id(1, stripe)).await;
        assert!(matches!(gone, Err(ActorError::NotFound { .. })), "{gone:?}");
    }
    audit::check(&node).await;
    node.stop().await;
}

/// The file of a segment that could not be begun stays when it cannot be removed either.
#[tokio::test(flavor = "multi_thread")]
async fn segment_that_could_not_be_begun_is_not_in_the_way_of_the_next() {
    let mut node = Node::started(1).await;
    node.disk.fail(fault(What::SyncFolder, 2));
    node.disk.fail(fault(What::Remove, 2));
    let mut refused = 0;
    for stripe in 0..12 {
        match node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), 3000)).await {
            Ok(_) => {}
            Err(ActorError::ReadOnly { .. }) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 2, "and no more than these");
    node.end_and_start(End::Killed).await;
    node.storage().compact().await.unwrap();
    audit::check(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn purge_that_could_not_be_done_is_done_later() {
    let mut node = Node::started(1).await;
    let one = fragment(1, 100);
    let mut session = node.storage().open_session().await.unwrap();
    session.put_blob(one.clone()).await.unwrap();
    session.put_refs(tessera(1), &[(0, 0, one.checksum())]).await.unwrap();
    audit::deposits(node.path(), 1).await;
    // So much that nothing more fits: even a purge must begin a new segment.
    node.storage().put(LOCAL, id(2, 0), fragment(2, 15_680)).await.unwrap();
    node.disk.fail(fault(What::Create, FOREVER));
    drop(session);
    // Twice: the end of the session may be refused too.
    for _ in 0..2 {
        let refused = node.storage().put(LOCAL, id(2, 1), fragment(3, 700)).await;
        assert!(matches!(refused, Err(ActorError::ReadOnly { .. })), "{refused:?}");
    }
    assert!(node.disk.heal() > 0);
    node.storage().put(LOCAL, id(2, 1), fragment(3, 700)).await.unwrap();
    audit::check(&node).await;
    node.storage().put(LOCAL, id(1, 0), one).await.unwrap();
    audit::check(&node).await;
    node.stop().await;
}

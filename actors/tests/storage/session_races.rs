//! Sessions that overlap with others, with a forget, or whose client is gone: all or nothing, every time.

use actors::{ActorError, FragmentStore, storage::Session};
use bytes::Bytes;
use proto::{Checksum, Fragment, TesseraId, record::DocumentKind};
use tokio::task::JoinHandle;

use super::{
    races::in_one_batch,
    support::{
        LOCAL, audit,
        disk::{Fault, Hold, What},
        fragment, id,
        index::Wal,
        node::{DEADLINE, End, Node, until},
        tessera,
    },
};

/// What a session makes of a tessera: so many fragments, other ones for another number.
fn contents(number: u64) -> Vec<Fragment> {
    (0..STRIPES.into()).map(|stripe| fragment(100 * number + stripe, 700)).collect()
}

fn manifest(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

/// A session whose blobs are there; nothing refers to them yet.
async fn with_blobs(node: &Node, number: u64) -> Result<Session, ActorError> {
    let mut session = node.storage().open_session().await?;
    for one in contents(number) {
        session.put_blob(one).await?;
    }
    Ok(session)
}

/// Writes what refers to the blobs. Waits for these, not for what it writes.
async fn refer(session: &mut Session, tessera: TesseraId, number: u64) -> Result<(), ActorError> {
    session.put_document(tessera, DocumentKind::Manifest, manifest(number)).await?;
    session.put_refs(tessera, &refs(number)).await
}

fn refs(number: u64) -> Vec<(u32, u16, Checksum)> {
    (0..).zip(contents(number)).map(|(stripe, one)| (stripe, 0, one.checksum())).collect()
}

async fn write(node: &Node, tessera: TesseraId, number: u64) -> Result<(), ActorError> {
    let mut session = with_blobs(node, number).await?;
    refer(&mut session, tessera, number).await?;
    session.commit(tessera).await
}

/// Writes until nothing of the one before is in the way any more.
async fn write_in_the_end(node: &Node, tessera: TesseraId, number: u64) {
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        match write(node, tessera, number).await {
            Ok(()) => return,
            // In the way of, or ended by, what failed.
            Err(
                ActorError::Conflict { .. } | ActorError::ReadOnly { .. } | ActorError::SessionEnded { .. },
            ) => {}
            Err(other) => panic!("{other:?}"),
        }
        assert!(std::time::Instant::now() < deadline, "it stays in the way");
        tokio::task::yield_now().await;
    }
}

/// The tessera is there as this session wrote it, all of it; or, for none, nothing of it.
async fn check(node: &Node, number: Option<u64>, case: &str) {
    for stripe in 0..STRIPES {
        let got = node.storage().get(id(1, stripe)).await;
        match (number, got) {
            (Some(number), Ok(got)) => {
                assert_eq!(got, contents(number)[usize::try_from(stripe).unwrap()], "{case}");
            }
            (None, Err(ActorError::NotFound { .. })) => {}
            (number, got) => panic!("{case}: fragment {stripe} of {number:?} is {got:?}"),
        }
    }
    let document = node.storage().document(tessera(1), DocumentKind::Manifest, None).await;
    match (number, document) {
        (Some(number), Ok(bytes)) => assert_eq!(bytes, manifest(number), "{case}"),
        (None, Err(ActorError::NotFound { .. })) => {}
        (number, document) => panic!("{case}: the manifest of {number:?} is {document:?}"),
    }
    audit::check(node).await;
}

/// As [`check`], also after a power cut, and from the segments alone.
async fn check_for_good(node: &mut Node, number: Option<u64>, case: &str) {
    check(node, number, case).await;
    node.end_and_start(End::PowerCut(Wal::Least)).await;
    check(node, number, case).await;
    node.rebuild().await;
    check(node, number, case).await;
    node.stop().await;
}

/// What a failed batch has decided is not in the index, which is no damage.
#[tokio::test(flavor = "multi_thread")]
async fn purge_behind_a_sync_that_fails_does_not_doubt_the_index() {
    let mut node = Node::started(1).await;
    let mut session = with_blobs(&node, 1).await.unwrap();
    session.put_document(tessera(1), DocumentKind::Manifest, manifest(1)).await.unwrap();
    audit::tesseras(node.path(), 1).await;
    let (storage, other) = (node.storage().clone(), fragment(9, 700));
    let before = node.disk.hold_next(What::Write);
    let put = tokio::spawn(async move { storage.put(LOCAL, id(2, 0), other).await });
    until("another batch is being written", || before.is_reached()).await;
    // Behind it, together.
    session.put_refs(tessera(1), &refs(1)).await.unwrap();
    until("both have been asked", || node.storage().load().0 == 2).await;
    drop(session);
    let first = node.disk.hold_next(What::Sync);
    drop(before);
    until("the other batch is being synced", || first.is_reached()).await;
    let second = node.disk.hold_next(What::Sync);
    drop(first);
    put.await.unwrap().unwrap();
    until("the session's batch is being synced", || second.is_reached()).await;
    // The purge waits for it by then.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    node.disk.fail(Fault { what: What::Sync, after: 0, times: 1, errno: 5, half: false });
    drop(second);
    write_in_the_end(&node, tessera(1), 2).await;
    assert_eq!(node.disk.heal(), 1, "the sync has failed");
    assert!(!node.storage().usage().await.unwrap().recovery.rebuilt);
    check_for_good(&mut node, Some(2), "at the end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tessera_of_a_session_left_in_flight_can_be_made_anew() {
    for step in [What::Write, What::Sync] {
        let mut node = Node::started(1).await;
        let mut session = with_blobs(&node, 1).await.unwrap();
        session.put_document(tessera(1), DocumentKind::Manifest, manifest(1)).await.unwrap();
        let hold = node.disk.hold_next(step);
        refer(&mut session, tessera(1), 1).await.unwrap();
        until("its refs are on their way", || hold.is_reached()).await;
        drop(session);
        drop(hold);
        write_in_the_end(&node, tessera(1), 2).await;
        check_for_good(&mut node, Some(2), &format!("{step:?}")).await;
    }
}

/// Whether the tessera is there once everything is decided that was on its way when its task was cut off: the writer
/// takes requests in the order they came, so that is when it answers this one.
async fn is_there_in_the_end(node: &Node) -> bool {
    drop(node.storage().open_session().await.unwrap());
    node.storage().usage().await.unwrap();
    !audit::settled(node.path()).await.tesseras.is_empty()
}

/// After each write to the log in turn the task that writes is gone, and with it the session; then another one writes
/// the same tessera.
#[tokio::test(flavor = "multi_thread")]
async fn session_whose_task_is_cut_off_leaves_nothing_or_all() {
    for writes in 0.. {
        let mut node = Node::started(1).await;
        node.disk.take_calls();
        let was_done = {
            let mut written = std::pin::pin!(write(&node, tessera(1), 1));
            loop {
                if futures::poll!(written.as_mut()).is_ready() {
                    break true;
                }
                if node.disk.count(What::Write) >= writes {
                    break false;
                }
                tokio::task::yield_now().await;
            }
        };
        let case = format!("cut off after {writes} writes");
        let is_there = is_there_in_the_end(&node).await;
        check(&node, is_there.then_some(1), &case).await;
        if is_there {
            node.storage().forget(tessera(1)).await.unwrap();
        }
        write_in_the_end(&node, tessera(1), 2).await;
        check_for_good(&mut node, Some(2), &case).await;
        if was_done {
            assert!(writes > 0, "{case}");
            break;
        }
    }
}

/// The commit of the first tessera, whose sync is held up.
async fn commit_being_synced(node: &Node) -> (Hold<'_>, JoinHandle<Result<(), ActorError>>) {
    let mut session = with_blobs(node, 1).await.unwrap();
    refer(&mut session, tessera(1), 1).await.unwrap();
    audit::deposits(node.path(), STRIPES.into()).await;
    let hold = node.disk.hold_next(What::Sync);
    let commit = tokio::spawn(session.commit(tessera(1)));
    until("the commit waits for its sync", || hold.is_reached()).await;
    (hold, commit)
}

#[tokio::test(flavor = "multi_thread")]
async fn commit_whose_client_left_counts_once_it_is_in_the_log() {
    let mut node = Node::started(1).await;
    let (hold, commit) = commit_being_synced(&node).await;
    commit.abort();
    assert!(commit.await.unwrap_err().is_cancelled());
    drop(hold);
    audit::settled(node.path()).await;
    check_for_good(&mut node, Some(1), "left during the commit").await;
}

/// Both name the tessera in one batch: one of them has it, and nothing of the other stays.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_sessions_on_one_tessera_exactly_one_counts() {
    for seed in 0..4 {
        let mut node = Node::started(seed).await;
        let mut sessions = Vec::new();
        for number in [1, 2] {
            let mut session = with_blobs(&node, number).await.unwrap();
            // Waits for the blobs, and writes nothing.
            session.put_refs(tessera(1), &[]).await.unwrap();
            sessions.push(session);
        }
        let finish = |mut session: Session, number: u64| async move {
            refer(&mut session, tessera(1), number).await?;
            session.commit(tessera(1)).await
        };
        let (second, first) = (sessions.pop().unwrap(), sessions.pop().unwrap());
        let (first, second) = in_one_batch(&node, finish(first, 1), finish(second, 2)).await;
        let winner = match (first, second) {
            (Ok(()), Err(ActorError::Conflict { .. })) => 1,
            (Err(ActorError::Conflict { .. }), Ok(())) => 2,
            other => panic!("{other:?}"),
        };
        check_for_good(&mut node, Some(winner), &format!("seed {seed}")).await;
    }
}

/// A forget finds all of a tessera or nothing of it, whenever it comes.
#[tokio::test(flavor = "multi_thread")]
async fn forget_beside_a_commit_takes_all_or_nothing() {
    let mut node = Node::started(1).await;
    let mut taken = 0;
    for round in 0..40 {
        let mut session = with_blobs(&node, 1).await.unwrap();
        refer(&mut session, tessera(1), 1).await.unwrap();
        audit::deposits(node.path(), STRIPES.into()).await;
        let storage = node.storage().clone();
        let forget = tokio::spawn(async move {
            for _ in 0..round % 10 {
                tokio::task::yield_now().await;
            }
            storage.forget(tessera(1)).await
        });
        session.commit(tessera(1)).await.unwrap();
        match forget.await.unwrap() {
            Ok(()) => taken += 1,
            Err(ActorError::NotFound { .. }) => {
                check(&node, Some(1), &format!("round {round}")).await;
                node.storage().forget(tessera(1)).await.unwrap();
            }
            Err(other) => panic!("round {round}: {other:?}"),
        }
        check(&node, None, &format!("round {round}, {taken} taken")).await;
    }
    check_for_good(&mut node, None, "at the end").await;
}

/// While the commit is on its way there is nothing to forget; right behind it, all of it.
#[tokio::test(flavor = "multi_thread")]
async fn forget_during_the_sync_of_a_commit_finds_nothing() {
    let mut node = Node::started(1).await;
    let (hold, commit) = commit_being_synced(&node).await;
    let early = node.storage().forget(tessera(1)).await;
    assert!(matches!(early, Err(ActorError::NotFound { .. })), "{early:?}");
    let storage = node.storage().clone();
    let dropped = tokio::spawn(async move { storage.drop_fragment(LOCAL, id(1, 0)).await });
    until("a drop is behind it", || node.storage().load().0 == 2).await;
    drop(hold);
    commit.await.unwrap().unwrap();
    dropped.await.unwrap().unwrap();
    node.storage().forget(tessera(1)).await.unwrap();
    check_for_good(&mut node, None, "forgotten").await;
}

/// The last drops of a forget and the next session on the same tessera overlap.
#[tokio::test(flavor = "multi_thread")]
async fn tessera_made_anew_beside_its_forget_is_the_new_one() {
    let mut node = Node::started(1).await;
    for round in 0..20 {
        write_in_the_end(&node, tessera(1), round).await;
        let (forgotten, ()) =
            tokio::join!(node.storage().forget(tessera(1)), write_in_the_end(&node, tessera(1), round + 1));
        forgotten.unwrap();
        check(&node, Some(round + 1), &format!("round {round}")).await;
        node.storage().forget(tessera(1)).await.unwrap();
    }
    check_for_good(&mut node, None, "at the end").await;
}

const STRIPES: u32 = 3;

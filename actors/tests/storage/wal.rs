//! SQLite's write-ahead log does not grow without bound because of somebody who reads.

use std::time::{Duration, Instant};

use actors::{ActorError, FragmentStore};
use sqlx::Connection;

use super::support::{
    LOCAL, audit, fragment, id, index,
    node::{DEADLINE, Node},
};

/// With this many pages of 1 KiB it is moved into the database.
const PAGES: u32 = 64;
const WAL_BYTES_MAX: u64 = 1 << 20;

/// Puts until this has ended, and says how large the log grew.
async fn put_during<T>(node: &Node, reading: impl Future<Output = T>) -> (T, u64) {
    tokio::pin!(reading);
    let mut largest = 0;
    for stripe in 0.. {
        node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), 500)).await.unwrap();
        largest = largest.max(std::fs::metadata(index::path(node.path(), "-wal")).unwrap().len());
        tokio::select! {
            biased;
            ended = &mut reading => return (ended, largest),
            () = std::future::ready(()) => {}
        }
    }
    unreachable!("there are not that many stripes")
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_that_is_held_open_under_load_is_cut_and_the_log_stays_small() {
    let mut node = Node::new(1);
    node.config.sqlite_wal_autocheckpoint_pages = PAGES;
    node.start().await.unwrap();
    for _ in 0..3 {
        let (held, largest) = put_during(&node, node.storage().hold_reader()).await;
        assert!(matches!(held, Err(ActorError::Cut)), "{held:?}");
        assert!(largest < WAL_BYTES_MAX, "it grew to {largest} bytes");
    }
    // And whoever reads for a moment is not.
    let (rows, _) = put_during(&node, node.storage().checksums(id(1, 0).tessera, (0, 0), 100)).await;
    assert_eq!(rows.unwrap().len(), 100);
    node.stop().await;
}

/// Somebody with a tool of his own reads the index for as long as he likes: the log grows, but nobody waits for him.
#[tokio::test(flavor = "multi_thread")]
async fn reader_of_another_program_holds_nobody_up() {
    let mut node = Node::new(1);
    node.config.sqlite_wal_autocheckpoint_pages = PAGES;
    node.start().await.unwrap();
    let mut other = audit::connect(node.path()).await;
    for stripe in 0..400 {
        node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), 500)).await.unwrap();
    }
    let mut snapshot = other.begin().await.unwrap();
    let held: i64 = sqlx::query_scalar("SELECT count(*) FROM blobs").fetch_one(&mut *snapshot).await.unwrap();
    assert!(held > 0);
    let start = Instant::now();
    for stripe in 400..800 {
        node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), 500)).await.unwrap();
        if stripe % 20 == 0 {
            // Whoever asks for totals waits until the index has all of it.
            node.storage().usage().await.unwrap();
        }
    }
    // The timeout of a lock is 5 s, and there were 20 such questions.
    assert!(start.elapsed() < DEADLINE, "each commit waited for the other program");
    snapshot.rollback().await.unwrap();
    other.close().await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_that_is_held_open_while_nothing_is_written_is_left_alone_until_the_end() {
    let mut node = Node::started(1).await;
    node.storage().put(LOCAL, id(1, 0), fragment(0, 500)).await.unwrap();
    let storage = node.storage().clone();
    let mut held = tokio::spawn(async move { storage.hold_reader().await });
    assert!(tokio::time::timeout(Duration::from_millis(600), &mut held).await.is_err());
    node.stop().await;
    assert!(matches!(held.await.unwrap(), Err(ActorError::Cut)));
}

#[tokio::test(flavor = "multi_thread")]
async fn log_stays_as_it_is_over_falls_of_storage_and_is_moved_at_its_end() {
    let mut node = Node::started(1).await;
    // It is not opened: closing it would take SQLite's locks away.
    let written = || std::fs::metadata(index::path(node.path(), "")).unwrap().modified().unwrap();
    let log_bytes = || std::fs::metadata(index::path(node.path(), "-wal")).unwrap().len();
    let mut stripe = 0;
    let mut put = async || {
        stripe += 1;
        while let Err(error) = node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), 500)).await {
            assert!(matches!(error, ActorError::Restarting { .. }), "{error}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // It waits until the index has it.
        node.storage().usage().await.unwrap();
    };
    put().await;
    let before = (written(), log_bytes());
    for _ in 0..10 {
        node.storage().panic();
        put().await;
    }
    assert_eq!(written(), before.0, "it was moved into the database by a fall");
    assert!(log_bytes() > before.1);
    node.stop().await;
    assert!(!index::path(node.path(), "-wal").exists());
}

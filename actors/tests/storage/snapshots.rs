//! What only the index knows outlives it: when things came, were verified, and are to be repaired.

use std::{path::PathBuf, time::Duration};

use actors::{FragmentStore, scrub::Mode, storage::SNAPSHOTS_FOLDER};
use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{
    damage::{COUNT, all_but, execute, filled, flip, served, usage},
    support::{
        LOCAL, fragment, id, index,
        node::{DEADLINE, Node},
    },
};

/// What only the index knows of the segments, the tessera and the repairs.
async fn known(node: &Node) -> Vec<Vec<Option<i64>>> {
    let mut known = Vec::new();
    let options = SqliteConnectOptions::new().filename(index::path(node.path(), "")).read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    for sql in [
        "SELECT written_at, verified_at FROM segments WHERE sealed = 1 AND verified_at NOT NULL ORDER BY id",
        "SELECT received_at FROM tesseras",
        "SELECT queued_at FROM jobs",
        "SELECT before FROM scrub",
    ] {
        for row in sqlx::query(sql).fetch_all(&mut connection).await.unwrap() {
            known.push((0..row.len()).map(|column| row.get(column)).collect());
        }
    }
    connection.close().await.unwrap();
    known
}

fn files(node: &Node) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(node.path().join(SNAPSHOTS_FOLDER)).into_iter().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A store that was verified, one fragment of which is gone.
async fn verified() -> Node {
    let node = filled().await;
    flip(&node.segment(1), 164);
    node.system().scrub.start().await.unwrap();
    tokio::time::timeout(DEADLINE, async {
        while node.system().scrub.status().await.is_ok_and(|s| s.asked_bytes > 0 || s.mode == Mode::Verifying)
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .unwrap();
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn index_that_is_made_anew_knows_what_the_snapshot_knew() {
    let mut node = verified().await;
    node.storage().snapshot().await.unwrap();
    node.stop().await;
    let before = known(&node).await;
    assert!(before.len() > 4, "{before:?}");
    tokio::time::sleep(Duration::from_millis(5)).await;
    index::remove(node.path());
    node.start().await.unwrap();
    let restored = usage(&node).await.recovery.restored.unwrap();
    assert!(restored.segments > 1 && restored.tesseras == 1, "{restored:?}");
    assert_eq!(served(&node).await, all_but(&[0]));
    node.stop().await;
    assert_eq!(known(&node).await, before);
    node.start().await.unwrap();
    assert_eq!(usage(&node).await.recovery.restored, None, "nothing was made anew");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_that_has_changed_is_passed_over_for_the_one_before() {
    let mut node = verified().await;
    let first = node.storage().snapshot().await.unwrap();
    node.storage().put(LOCAL, id(2, 0), fragment(99, 500)).await.unwrap();
    let second = node.storage().snapshot().await.unwrap();
    assert_ne!(first, second);
    node.stop().await;
    for (file, restores) in [(&second, true), (&first, false)] {
        flip(file, std::fs::metadata(file).unwrap().len() / 2);
        index::remove(node.path());
        node.start().await.unwrap();
        let recovery = usage(&node).await.recovery;
        assert!(recovery.rebuilt);
        assert_eq!(recovery.restored.is_some(), restores, "{}", file.display());
        assert_eq!(served(&node).await.len(), COUNT as usize - 1);
        node.stop().await;
    }
}

/// The process ended when the index was made anew, and what the snapshot knows was not in it yet.
#[tokio::test(flavor = "multi_thread")]
async fn restore_that_was_interrupted_is_done_at_the_next_start() {
    let mut node = verified().await;
    node.storage().snapshot().await.unwrap();
    node.storage().rebuild_index("a test").await.unwrap();
    let is_anew = async || node.storage().usage().await.is_ok_and(|usage| usage.recovery.rebuilt);
    tokio::time::timeout(DEADLINE, async { while !is_anew().await {} }).await.unwrap();
    let marker = node.path().join("index.restore");
    assert!(!marker.exists() && usage(&node).await.recovery.restored.is_some());
    node.stop().await;
    let before = known(&node).await;
    execute(&node, "UPDATE tesseras SET received_at = 1").await;
    std::fs::write(&marker, "").unwrap();
    node.start().await.unwrap();
    assert_eq!(usage(&node).await.recovery.restored.unwrap().tesseras, 1);
    node.stop().await;
    assert_eq!((known(&node).await, marker.exists()), (before, false));
}

/// Else the newest one would be of no use for as long as nothing changes.
#[tokio::test(flavor = "multi_thread")]
async fn snapshot_that_has_changed_is_taken_again() {
    let mut node = verified().await;
    for restarts in [false, true] {
        let first = node.storage().snapshot().await.unwrap();
        flip(&first, std::fs::metadata(&first).unwrap().len() / 2);
        if restarts {
            node.stop().await;
            node.start().await.unwrap();
        }
        let second = node.storage().snapshot().await.unwrap();
        assert_ne!(first, second);
        node.stop().await;
        index::remove(node.path());
        node.start().await.unwrap();
        assert!(usage(&node).await.recovery.restored.is_some());
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_few_and_none_is_taken_of_what_has_not_changed() {
    let mut node = filled().await;
    for stripe in 0..4 {
        node.storage().put(LOCAL, id(2, stripe), fragment(stripe.into(), 500)).await.unwrap();
        // Some change: the tessera is new, or a repair is queued.
        execute_on_jobs(&mut node, stripe).await;
        let taken = node.storage().snapshot().await.unwrap();
        assert_eq!(node.storage().snapshot().await.unwrap(), taken);
        assert_eq!(files(&node).last(), Some(&taken));
        assert!(files(&node).len() <= 2, "{:?}", files(&node));
    }
    let before = files(&node);
    node.stop().await;
    node.start().await.unwrap();
    assert_eq!(node.storage().snapshot().await.unwrap(), *before.last().unwrap());
    assert_eq!(files(&node), before, "the same content is the same file");
    node.stop().await;
}

async fn execute_on_jobs(node: &mut Node, number: u32) {
    node.stop().await;
    const CHANGES: [&str; 4] = [
        "UPDATE scrub SET before = 1, seal = NULL",
        "UPDATE scrub SET before = 2, seal = NULL",
        "UPDATE scrub SET before = 3, seal = NULL",
        "UPDATE scrub SET before = 4, seal = NULL",
    ];
    execute(node, CHANGES[number as usize]).await;
    node.start().await.unwrap();
}

//! How large SQLite's write-ahead log becomes when somebody reads the index for as long as he is let.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use actors::storage::{INDEX_FILE, StorageHandle};

use crate::{
    Result,
    load::{Load, Puts},
    ours::Ours,
    report::{Figure, Judgement, Row, Target},
    rounds::Contender,
    rows::Bench,
};

/// Under the load that makes it grow fastest.
pub(crate) async fn with_a_reader_held_open(bench: &Bench) -> Result<Vec<Row>> {
    let folder = bench.fresh("ours")?;
    let ours = Ours::start(&folder).await?;
    let (is_over, largest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let reading = tokio::spawn(read_until(is_over.clone(), ours.system.storage.clone()));
    let watching = tokio::spawn(watch_until(is_over.clone(), folder.clone(), largest.clone()));
    let load = Load { bytes: 4 << 10, clients: 64, tesseras: 64 };
    let length = bench.plan.length * bench.plan.scaled(15, 1);
    let work = Puts::new("ours", ours.system.storage.clone(), load).round(length).await?;
    is_over.store(true, Ordering::Relaxed);
    watching.await?;
    let held = reading.await?;
    ours.system.drain().await;
    bench.clear()?;
    let mib = |bytes: u64| Figure::new(bytes as f64 / f64::from(1 << 20), "MiB");
    let figure = mib(largest.load(Ordering::Relaxed));
    Ok(vec![Row {
        operation: "WAL under puts, a reader held open".to_owned(),
        size: "4 KiB".to_owned(),
        clients: Some(load.clients),
        figure,
        p50_seconds: None,
        p99_seconds: None,
        judgements: vec![
            Judgement::value("(the figure)", figure, Some(Target::AtMost(64.0))),
            Judgement::value("puts meanwhile", Figure::new(work.rate(), " /s"), None),
            Judgement::value("readers that were cut", Figure::new(f64::from(held), ""), None),
        ],
    }])
}

/// Holds a reader open, and another when that is cut. How many were.
async fn read_until(is_over: Arc<AtomicBool>, storage: StorageHandle) -> u32 {
    let mut cut = 0;
    while !is_over.load(Ordering::Relaxed) {
        let held = storage.hold_reader();
        // The load may be over before it is cut.
        if tokio::time::timeout(Duration::from_secs(1), held).await.is_ok() {
            cut += 1;
        }
    }
    cut
}

async fn watch_until(is_over: Arc<AtomicBool>, folder: impl AsRef<Path>, largest: Arc<AtomicU64>) {
    let wal = folder.as_ref().join(format!("{INDEX_FILE}-wal"));
    while !is_over.load(Ordering::Relaxed) {
        let bytes = std::fs::metadata(&wal).map_or(0, |wal| wal.len());
        largest.fetch_max(bytes, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

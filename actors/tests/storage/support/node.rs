//! Storage in a folder of its own, that can be stopped, killed and cut off from power.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use actors::{
    ActorError, System, SystemConfig,
    storage::{SEGMENTS_FOLDER, StorageHandle},
    supervision::RestartBudget,
};
use config::StorageConfig;
use proto::NodeKey;

use super::{
    chance::Chance,
    disk::TestDisk,
    index::{self, Snapshot, Wal},
};

pub(crate) struct Node {
    pub(crate) config: StorageConfig,
    pub(crate) disk: Arc<TestDisk>,
    pub(crate) chance: Chance,
    system: Option<System>,
    folder: tempfile::TempDir,
}

/// How the process ends that was not asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// As by `kill -9`: what was written stays.
    Killed,
    /// By a power cut: what was not synced goes, as chance decides.
    PowerCut(Wal),
}

impl Node {
    /// Not started yet. Segments are small, so that compaction has something to do.
    pub(crate) fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir_in(memory()).unwrap();
        let config = StorageConfig {
            min_free_bytes: 0,
            segment_bytes: 16 << 10,
            sqlite_cache_kib: 2000,
            ..StorageConfig::with_defaults(folder.path())
        };
        let disk = Arc::new(TestDisk::new(seed));
        Self { config, disk, chance: Chance::new(seed), system: None, folder }
    }

    /// Started.
    pub(crate) async fn started(seed: u64) -> Self {
        let mut node = Self::new(seed);
        node.start().await.unwrap();
        node
    }

    pub(crate) async fn start(&mut self) -> Result<(), ActorError> {
        let disk: Arc<dyn actors::storage::disk::Disk> = self.disk.clone();
        let budget =
            RestartBudget { restarts_max: usize::MAX, backoff: Duration::ZERO, ..RestartBudget::default() };
        let config = SystemConfig {
            disk,
            budget,
            ..SystemConfig::new(self.config.clone(), NodeKey::from_seed([7; 32]))
        };
        self.system = Some(System::start(config).await?);
        Ok(())
    }

    pub(crate) fn storage(&self) -> &StorageHandle {
        &self.system.as_ref().expect("the node runs").storage
    }

    pub(crate) fn system(&self) -> &System {
        self.system.as_ref().expect("the node runs")
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn segments(&self) -> PathBuf {
        self.path().join(SEGMENTS_FOLDER)
    }

    pub(crate) fn segment(&self, id: u32) -> PathBuf {
        self.segments().join(format!("{id:08}.seg"))
    }

    /// Ends it in good order.
    pub(crate) async fn stop(&mut self) {
        if let Some(system) = self.system.take() {
            system.drain().await;
            self.closed().await;
        }
    }

    /// Ends it at once. Whoever waited for an answer must have it by now.
    pub(crate) async fn end(&mut self, end: End) {
        self.disk.go_off(None);
        let index = Snapshot::take(self.path());
        if let Some(system) = self.system.take() {
            system.crash().await;
        }
        self.closed().await;
        match end {
            End::Killed => index.restore(self.folder.path(), Wal::All, &mut self.chance),
            End::PowerCut(wal) => {
                let wal = if self.config.sqlite_synchronous_full { Wal::All } else { wal };
                index.restore(self.folder.path(), wal, &mut self.chance);
                self.disk.power_cut(&self.segments());
            }
        }
        self.disk.go_on();
    }

    /// As after [`Node::end`], and started again.
    pub(crate) async fn end_and_start(&mut self, end: End) {
        self.end(end).await;
        self.start().await.unwrap();
    }

    /// Stops, removes the index, starts: it is made anew from the segments.
    pub(crate) async fn rebuild(&mut self) {
        self.stop().await;
        index::remove(self.path());
        self.start().await.unwrap();
    }

    /// The folder's files that this process has open; those without a name are said to be deleted.
    pub(crate) fn open_files(&self) -> Vec<PathBuf> {
        let links = std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        links.filter(|link| link.starts_with(self.path())).collect()
    }

    /// Waits until this process has none of the folder's files open any more.
    async fn closed(&self) {
        until("the files are closed", || self.open_files().is_empty()).await;
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Where syncs cost nothing, if there is such a place: durability is simulated.
fn memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(1);

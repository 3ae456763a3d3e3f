//! The store that is measured: the real one, on a disk that counts its syncs.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use actors::{FragmentStore, System, SystemConfig, storage::StorageHandle};
use config::{IntegrityConfig, StorageConfig};
use proto::{AccountId, Fragment, FragmentId, NodeKey};

use crate::{Result, load::Put, meters::CountingDisk};

/// A running node's store with its defaults.
pub(crate) struct Ours {
    pub(crate) system: System,
    pub(crate) syncs: Arc<AtomicU64>,
}

impl Ours {
    /// Starts it in a folder; one that was there before is opened again.
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        Self::start_scrubbing(folder, IntegrityConfig::default()).await
    }

    /// As [`Ours::start`], verifying what is stored like this.
    pub(crate) async fn start_scrubbing(folder: &Path, integrity: IntegrityConfig) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let disk = CountingDisk::default();
        let syncs = disk.syncs();
        let storage = StorageConfig { min_free_bytes: 0, ..StorageConfig::with_defaults(folder) };
        let defaults = SystemConfig::new(storage, NodeKey::from_seed([1; 32]));
        let config = SystemConfig { disk: Arc::new(disk), integrity, ..defaults };
        Ok(Self { system: System::start(config).await?, syncs })
    }
}

impl Put for StorageHandle {
    async fn put(&self, id: FragmentId, fragment: Fragment) -> Result<()> {
        FragmentStore::put(self, AccountId::LOCAL, id, fragment).await?;
        Ok(())
    }

    /// The index follows the log; whoever asks for totals waits for it.
    async fn settle(&self) -> Result<()> {
        self.usage().await?;
        Ok(())
    }
}

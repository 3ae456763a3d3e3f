//! *Durable files*: what the seed of this project does, made durable. A file per fragment, its bytes and its name
//! synced, then one transaction; one put after the other, as an actor does that awaits the disk in its handler.
//!
//! *Side by side* is the same with as many puts at a time as there are clients, which meet at the database only.

use std::{
    collections::HashSet,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use proto::{Fragment, FragmentId, TesseraId};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::index::{Entry, FileIndex};
use crate::{Result, load::Put};

/// The store.
#[derive(Debug, Clone)]
pub(crate) struct DurableFiles {
    folders: Folders,
    index: FileIndex,
    /// Puts that may be under way.
    turns: Arc<Semaphore>,
}

/// A folder per tessera.
#[derive(Debug, Clone)]
pub(super) struct Folders {
    root: Arc<PathBuf>,
    made: Arc<Mutex<HashSet<TesseraId>>>,
}

impl DurableFiles {
    /// Files written one after the other.
    pub(crate) async fn one_by_one(folder: &Path) -> Result<Self> {
        Self::open(folder, 1).await
    }

    /// Files written as they come.
    pub(crate) async fn side_by_side(folder: &Path) -> Result<Self> {
        Self::open(folder, Semaphore::MAX_PERMITS).await
    }

    async fn open(folder: &Path, turns: usize) -> Result<Self> {
        let (folders, index) = (Folders::new(folder)?, FileIndex::open(folder).await?);
        Ok(Self { folders, index, turns: Arc::new(Semaphore::new(turns)) })
    }
}

impl Put for DurableFiles {
    async fn put(&self, id: FragmentId, fragment: Fragment) -> Result<()> {
        let (folders, checksum) = (self.folders.clone(), fragment.checksum());
        let bytes = i64::try_from(fragment.bytes().len())?;
        let _turn = self.turns.acquire().await?;
        spawn_blocking(move || {
            let folder = folders.write(id, fragment.bytes())?;
            sync_folder(&folder)
        })
        .await??;
        self.index.insert(&[Entry { id, checksum, bytes }]).await
    }
}

impl Folders {
    pub(super) fn new(root: &Path) -> Result<Self> {
        std::fs::create_dir_all(root)?;
        Ok(Self { root: Arc::new(root.to_owned()), made: Arc::default() })
    }

    /// Writes a fragment's file and syncs it, and returns its folder, which is not synced yet. May block.
    pub(super) fn write(&self, id: FragmentId, bytes: &[u8]) -> Result<PathBuf> {
        let folder = self.root.join(id.tessera.to_string());
        self.make(id.tessera, &folder)?;
        let mut file = File::create_new(folder.join(format!("{}.{}", id.stripe, id.index)))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(folder)
    }

    fn make(&self, tessera: TesseraId, folder: &Path) -> Result<()> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.insert(tessera) {
            std::fs::create_dir(folder)?;
            sync_folder(&self.root)?;
        }
        Ok(())
    }
}

/// Makes the names in a folder durable. May block.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    Ok(File::open(folder)?.sync_all()?)
}

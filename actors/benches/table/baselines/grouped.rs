//! *Grouped files*: as durable files, for whatever is waiting at a time: files synced side by side, every folder once,
//! one transaction.

use std::{collections::HashSet, path::Path};

use proto::{Fragment, FragmentId};
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinSet, spawn_blocking},
};

use super::{
    durable::{Folders, sync_folder},
    index::{Entry, FileIndex},
};
use crate::{Result, load::Put};

/// The way to the store. It ends with the last copy of this.
#[derive(Debug, Clone)]
pub(crate) struct GroupedFiles {
    waiting: mpsc::Sender<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    id: FragmentId,
    fragment: Fragment,
    done: oneshot::Sender<()>,
}

struct Worker {
    folders: Folders,
    index: FileIndex,
}

impl GroupedFiles {
    pub(crate) async fn open(folder: &Path) -> Result<Self> {
        let worker = Worker { folders: Folders::new(folder)?, index: FileIndex::open(folder).await? };
        let (waiting, requests) = mpsc::channel(GROUP_MAX);
        tokio::spawn(worker.run(requests));
        Ok(Self { waiting })
    }
}

impl Put for GroupedFiles {
    async fn put(&self, id: FragmentId, fragment: Fragment) -> Result<()> {
        let (done, durable) = oneshot::channel();
        self.waiting.send(Waiting { id, fragment, done }).await?;
        Ok(durable.await?)
    }
}

impl Worker {
    /// Ends, and with it every waiting put, at the first error.
    async fn run(self, mut requests: mpsc::Receiver<Waiting>) -> Result<()> {
        let mut group = Vec::new();
        while requests.recv_many(&mut group, GROUP_MAX).await > 0 {
            self.store(&group).await?;
            for waiting in group.drain(..) {
                // A client that gave up has nothing to be told.
                let _ = waiting.done.send(());
            }
        }
        Ok(())
    }

    async fn store(&self, group: &[Waiting]) -> Result<()> {
        let mut files = JoinSet::new();
        let mut entries = Vec::with_capacity(group.len());
        for Waiting { id, fragment, .. } in group {
            let bytes = i64::try_from(fragment.bytes().len())?;
            entries.push(Entry { id: *id, checksum: fragment.checksum(), bytes });
            let (folders, id, fragment) = (self.folders.clone(), *id, fragment.clone());
            files.spawn_blocking(move || folders.write(id, fragment.bytes()));
        }
        let mut folders = HashSet::new();
        while let Some(folder) = files.join_next().await {
            folders.insert(folder??);
        }
        let syncs: Vec<_> =
            folders.into_iter().map(|folder| spawn_blocking(move || sync_folder(&folder))).collect();
        for sync in syncs {
            sync.await??;
        }
        self.index.insert(&entries).await
    }
}

/// The most puts in one group.
const GROUP_MAX: usize = 256;

//! Opening the store: the index if it can be used, else a new one made from the segments. Never "delete and start
//! empty".

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use config::StorageConfig;
use sqlx::Connection;

use super::{
    disk::{self, Disk},
    facts,
    pragmas::{Database, INDEX_FILE, open_database},
    recover::{Recovered, Report, Tail, recover},
    segment::SEGMENTS_FOLDER,
    snapshot,
    view::View,
};
use crate::error::ActorError;

/// Opens the store and brings its index up to the log's end.
pub(crate) async fn open(
    config: &StorageConfig,
    disk: &Arc<dyn Disk>,
) -> Result<(Database, Recovered), ActorError> {
    make_folder(config, disk.as_ref())?;
    if config.data_dir.join(REBUILD_FILE).exists() {
        set_aside(config, disk.as_ref())?;
    }
    match try_open(config, disk).await {
        Err(error) if error.is_damaged_index() => {
            tracing::error!(%error, "the index is damaged: it is set aside and made anew from the segments");
            set_aside(config, disk.as_ref())?;
            try_open(config, disk).await
        }
        opened => opened,
    }
}

/// Has the next opening set the index aside and make it anew. Returns where the old one will be.
pub fn ask_for_rebuild(config: &StorageConfig, reason: &str) -> Result<PathBuf, ActorError> {
    let path = config.data_dir.join(REBUILD_FILE);
    std::fs::write(&path, reason).map_err(ActorError::io(format!("cannot write {}", path.display())))?;
    Ok(config.data_dir.join(aside(free_number(&config.data_dir), "")))
}

async fn try_open(config: &StorageConfig, disk: &Arc<dyn Disk>) -> Result<(Database, Recovered), ActorError> {
    let database = open_database(config).await?;
    let recovered = async {
        let recovered = recover(config, disk, &database, Tail::Unknown).await?;
        if recovered.report.rebuilt { restore(config, &database, recovered).await } else { Ok(recovered) }
    };
    match recovered.await {
        Ok(recovered) => Ok((database, recovered)),
        Err(error) => {
            database.close().await;
            Err(error)
        }
    }
}

/// What the segments do not know comes from the newest snapshot. Without one the index is as good, but for that.
async fn restore(
    config: &StorageConfig,
    database: &Database,
    recovered: Recovered,
) -> Result<Recovered, ActorError> {
    let restored = snapshot::restore(config, database).await?;
    let mut connection = database.planner().await?;
    let segments = facts::segments(&mut connection).await?;
    let view = View::new(segments, facts::scrub(&mut connection).await?);
    connection.close().await?;
    Ok(Recovered { view, report: Report { restored, ..recovered.report }, ..recovered })
}

/// Makes the folder of the segments, durably: it may have been made just before a crash, too.
fn make_folder(config: &StorageConfig, disk: &dyn Disk) -> Result<(), ActorError> {
    let folder = config.data_dir.join(SEGMENTS_FOLDER);
    match std::fs::create_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(ActorError::io(format!("cannot make {}", folder.display())))?,
    }
    sync_folder(&config.data_dir, disk)
}

/// Keeps the old index under a name that is free, for whoever wants to look into it.
fn set_aside(config: &StorageConfig, disk: &dyn Disk) -> Result<(), ActorError> {
    let folder = &config.data_dir;
    let number = free_number(folder);
    for suffix in ["", "-wal"] {
        rename(disk, &folder.join(format!("{INDEX_FILE}{suffix}")), &folder.join(aside(number, suffix)))?;
    }
    remove(disk, &folder.join(format!("{INDEX_FILE}-shm")))?;
    remove(disk, &folder.join(REBUILD_FILE))?;
    sync_folder(folder, disk)
}

fn free_number(folder: &Path) -> u32 {
    let is_free = |number: &u32| !folder.join(aside(*number, "")).exists();
    (1..=SET_ASIDE_MAX).find(is_free).unwrap_or(SET_ASIDE_MAX)
}

fn aside(number: u32, suffix: &str) -> String {
    format!("{INDEX_FILE}.damaged-{number}{suffix}")
}

fn sync_folder(folder: &Path, disk: &dyn Disk) -> Result<(), ActorError> {
    disk.sync_folder(folder)
        .map_err(ActorError::io(format!("cannot make names durable in {}", folder.display())))
}

fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), ActorError> {
    match disk.rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed.map_err(ActorError::io(format!("cannot set {} aside", from.display()))),
    }
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<(), ActorError> {
    disk::remove_if_there(disk, path).map_err(ActorError::io(format!("cannot remove {}", path.display())))
}

/// In the data directory while the index is to be made anew; holds the reason.
const REBUILD_FILE: &str = "index.rebuild";
/// Old indexes kept; the last one is replaced after that.
const SET_ASIDE_MAX: u32 = 9;

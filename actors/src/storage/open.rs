//! Opening the store: the index if it can be used, else a new one made from the segments. Never "delete and start
//! empty".

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use config::StorageConfig;
use sqlx::Connection;

use super::{
    disk::{self, Disk, RealDisk},
    facts,
    keeper::Keeper,
    lending::Lending,
    losses,
    pragmas::{Database, INDEX_FILE, open_database},
    recover::{Recovered, Tail, recover},
    segment::SEGMENTS_FOLDER,
    snapshot, sums,
    view::View,
};
use crate::{clock, error::ActorError};

/// Opens the store and brings its index up to the log's end. The index is made anew if that was asked for, by a file or by
/// the actor before.
pub(crate) async fn open(
    config: &StorageConfig,
    disk: &Arc<dyn Disk>,
    keeper: &Keeper,
    rebuilds: &AtomicBool,
) -> Result<(Database, Recovered), ActorError> {
    make_folder(config, disk.as_ref())?;
    if config.data_dir.join(REBUILD_FILE).exists() || rebuilds.load(Ordering::Relaxed) {
        keeper.let_go().await;
        set_aside(config, disk.as_ref())?;
        rebuilds.store(false, Ordering::Relaxed);
    } else if !config.data_dir.join(INDEX_FILE).exists() {
        keeper.let_go().await;
        mark_for_restore(config);
    }
    let mut opened = try_open(config, disk).await;
    if let Err(error) = &opened
        && error.is_damaged_index()
    {
        tracing::error!(%error, "the index is damaged: it is set aside and made anew from the segments");
        keeper.let_go().await;
        set_aside(config, disk.as_ref())?;
        opened = try_open(config, disk).await;
    }
    if let Err(error) = &opened
        && error.is_full_disk()
        && let removed @ 1.. = remove_old(config, disk.as_ref())?
    {
        tracing::warn!(%error, removed, "old indexes that were set aside are removed, to make room for this one");
        opened = try_open(config, disk).await;
    }
    let opened = opened?;
    keeper.hold(&opened.0).await;
    Ok(opened)
}

/// Keeps aside what only the index knows, while no daemon uses it. Where that is.
///
/// Errors with [`ActorError::NotFound`] when there is no index.
pub async fn keep_aside(config: &StorageConfig) -> Result<PathBuf, ActorError> {
    let index = config.data_dir.join(INDEX_FILE);
    if !index.exists() {
        return Err(ActorError::not_found(format!("an index at {}", index.display())));
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let database = open_database(config).await?;
    let lending = Lending::new(&database);
    let taken = snapshot::take(config, &disk, &lending, clock::now_ms()).await;
    lending.close().await;
    database.close().await;
    match taken? {
        Some(path) => Ok(path),
        None => snapshot::unchanged(config).await,
    }
}

/// Has the next opening set the index aside and make it anew. Returns where the old one will be.
pub fn ask_for_rebuild(config: &StorageConfig, reason: &str) -> Result<PathBuf, ActorError> {
    let path = config.data_dir.join(REBUILD_FILE);
    std::fs::write(&path, reason).map_err(ActorError::io(format!("cannot write {}", path.display())))?;
    Ok(old_index(&config.data_dir))
}

/// Where an index of this data directory is kept that was set aside last.
pub fn old_index(data_dir: &Path) -> PathBuf {
    data_dir.join(aside(1, ""))
}

async fn try_open(config: &StorageConfig, disk: &Arc<dyn Disk>) -> Result<(Database, Recovered), ActorError> {
    let database = open_database(config).await?;
    let recovered = async {
        let recovered = recover(config, disk, &database, Tail::Unknown).await?;
        let marker = config.data_dir.join(RESTORE_FILE);
        if !recovered.report.rebuilt && !marker.exists() {
            losses::note(config, disk.as_ref(), &recovered.report);
            return Ok(recovered);
        }
        let restored = match snapshot::restore(config, &database, recovered.dropped.as_ref()).await {
            Err(error) if error.is_full_disk() => {
                tracing::warn!(%error, "what only the index knew is restored at a start that finds more room");
                return Ok(recovered);
            }
            restored => restored?,
        };
        let mut report = recovered.report;
        report.lost_documents.extend(restored.iter().flat_map(|restored| &restored.lost_documents));
        report.restored = restored;
        // Whoever restores again finds nothing lost any more.
        losses::note(config, disk.as_ref(), &report);
        remove(disk.as_ref(), &marker)?;
        reread(&database, Recovered { report, ..recovered }).await
    };
    let filled = async {
        let recovered = recovered.await?;
        sums::fill_if_due(&database).await?;
        Ok(recovered)
    };
    match filled.await {
        Ok(recovered) => Ok((database, recovered)),
        Err(error) => {
            database.close().await;
            Err(error)
        }
    }
}

/// What was restored is in the index, and not in the view of it yet.
async fn reread(database: &Database, recovered: Recovered) -> Result<Recovered, ActorError> {
    let mut connection = database.planner().await?;
    let segments = facts::segments(&mut connection).await?;
    let view = View::new(segments, facts::scrub(&mut connection).await?);
    connection.close().await?;
    Ok(Recovered { view, ..recovered })
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

/// Keeps the old index under another name, for whoever wants to look into it: the last one is number 1.
fn set_aside(config: &StorageConfig, disk: &dyn Disk) -> Result<(), ActorError> {
    let folder = &config.data_dir;
    mark_for_restore(config);
    for number in (1..=SET_ASIDE_MAX).rev() {
        for suffix in ["", "-wal"] {
            let newer = if number == 1 { format!("{INDEX_FILE}{suffix}") } else { aside(number - 1, suffix) };
            let (from, to) = (folder.join(newer), folder.join(aside(number, suffix)));
            remove(disk, &to)?;
            rename(disk, &from, &to)?;
        }
    }
    remove(disk, &folder.join(format!("{INDEX_FILE}-shm")))?;
    remove(disk, &folder.join(REBUILD_FILE))?;
    sync_folder(folder, disk)
}

/// What segments do not know is restored when the index is made anew, however often that is interrupted.
fn mark_for_restore(config: &StorageConfig) {
    if let Err(error) = std::fs::write(config.data_dir.join(RESTORE_FILE), "") {
        tracing::warn!(%error, "when the index is not made anew in one go, what only it knew is not restored");
    }
}

/// Removes all that was set aside, and says how many files that were.
fn remove_old(config: &StorageConfig, disk: &dyn Disk) -> Result<usize, ActorError> {
    let files = (1..=SET_ASIDE_MAX).flat_map(|number| ["", "-wal"].map(|suffix| aside(number, suffix)));
    let paths = files.map(|name| config.data_dir.join(name)).filter(|path| path.exists());
    paths.map(|path| remove(disk, &path)).try_fold(0, |removed, done| done.map(|()| removed + 1))
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
/// In the data directory from when an index is made anew until what only the old one knew is restored.
const RESTORE_FILE: &str = "index.restore";
/// Old indexes kept: each may be as large as the one in use.
const SET_ASIDE_MAX: u32 = 2;

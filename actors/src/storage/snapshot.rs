//! Snapshots of what only the index knows: when things came, were verified, and are to be repaired, and what is kept of
//! others. The segments rebuild everything else; of that they name tesserae and documents only, so that what the segments lost is missed.
//!
//! # Invariants
//! 1. A snapshot counts only under its name, which it gets when it is whole, checked and durable. The name holds its
//!    hash, so one that has changed since is passed over for the one before.
//! 2. An old one is removed only when a newer one counts.
//! 3. Nothing is taken while nothing has changed: an idle node writes nothing.

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use config::StorageConfig;
use proto::{Checksum, TesseraId};
use sqlx::{Connection, Row, SqliteConnection};

use super::{
    disk::{self, Disk},
    lending::Lending,
    missed,
    pragmas::{self, Database, INDEX_FILE},
};
use crate::error::ActorError;

/// What a rebuilt index got back.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Restored {
    /// When the snapshot was taken, in milliseconds since 1970: what changed later is not known any more.
    pub taken_at_ms: i64,
    /// Segments whose times are known again.
    pub segments: u64,
    /// Tesserae of which it is known again when they came.
    pub tesseras: u64,
    /// Those of whose documents one is gone, once for each: the segments tell of the tessera, and no longer of that.
    pub lost_documents: Vec<TesseraId>,
    /// Those of which the segments tell nothing: they are lost, or somebody forgot them since, and a compaction has removed
    /// what said so. Only an index that was empty before is looked at for it.
    pub missing: Missing,
}

/// Tesserae that are not here any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Missing {
    /// How many.
    pub count: u64,
    /// The first of them; at most a thousand.
    pub first: Vec<TesseraId>,
}

/// What tells whether anything has changed that a snapshot would hold.
pub(crate) type Stamp = [i64; 9];

/// A snapshot, by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Snapshot {
    pub(crate) taken_at_ms: i64,
    hash: String,
    pub(crate) path: PathBuf,
}

impl Snapshot {
    fn new(folder: &Path, taken_at_ms: i64, hash: &str) -> Self {
        let path = folder.join(format!("{taken_at_ms:013}-{hash}.db"));
        Self { taken_at_ms, hash: hash.to_owned(), path }
    }

    fn parse(folder: &Path, name: &str) -> Option<Self> {
        let (taken_at_ms, hash) = name.strip_suffix(".db")?.split_once('-')?;
        let snapshot = Self::new(folder, taken_at_ms.parse().ok()?, hash);
        (snapshot.path.file_name()? == name).then_some(snapshot)
    }

    /// Whether it is as it was when it was taken. Blocks.
    fn is_whole(&self) -> io::Result<bool> {
        Ok(hash(&self.path)? == self.hash)
    }
}

/// Whether that is the name of a snapshot.
pub fn is_snapshot(name: &str) -> bool {
    Snapshot::parse(Path::new(""), name).is_some_and(|snapshot| {
        snapshot.hash.len() == HASH_LETTERS && snapshot.hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// The newest snapshot that is as it was taken, open: it may be removed meanwhile, for a newer one. Blocks.
pub fn newest_snapshot(config: &StorageConfig) -> io::Result<Option<(PathBuf, File)>> {
    for snapshot in all(config)? {
        match File::open(&snapshot.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            file => {
                let file = file?;
                if hash_of(&file)? == snapshot.hash {
                    return Ok(Some((snapshot.path, file)));
                }
            }
        }
    }
    Ok(None)
}

/// All snapshots there are, the newest first. Blocks.
pub(crate) fn all(config: &StorageConfig) -> io::Result<Vec<Snapshot>> {
    let folder = config.data_dir.join(SNAPSHOTS_FOLDER);
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut all = Vec::new();
    for entry in entries {
        all.extend(entry?.file_name().to_str().and_then(|name| Snapshot::parse(&folder, name)));
    }
    all.sort_unstable_by(|a, b| b.cmp(a));
    Ok(all)
}

/// The newest one, unless that has changed since it was taken.
pub(crate) async fn newest_if_whole(config: &StorageConfig) -> Result<Option<PathBuf>, ActorError> {
    let newest = all(config)?.into_iter().next();
    off_thread(move || match newest {
        Some(newest) if newest.is_whole()? => Ok(Some(newest.path)),
        _ => Ok(None),
    })
    .await
}

/// The newest one, of which nothing has changed.
pub(crate) async fn unchanged(config: &StorageConfig) -> Result<PathBuf, ActorError> {
    newest_if_whole(config).await?.ok_or_else(|| ActorError::not_found("a snapshot of the index"))
}

/// Of the index as it is now.
pub(crate) async fn stamp(index: &mut SqliteConnection) -> Result<Stamp, ActorError> {
    let row = sqlx::query(STAMP).fetch_one(index).await?;
    let mut stamp = Stamp::default();
    for (column, number) in stamp.iter_mut().enumerate() {
        *number = row.try_get(column)?;
    }
    Ok(stamp)
}

/// Takes a snapshot and removes those that are too many; `None` when nothing has changed since the newest.
pub(crate) async fn take(
    config: &StorageConfig,
    disk: &Arc<dyn Disk>,
    index: &Lending,
    now_ms: i64,
) -> Result<Option<PathBuf>, ActorError> {
    let folder = config.data_dir.join(SNAPSHOTS_FOLDER);
    make_folder(&folder, disk.as_ref())?;
    let partial = folder.join(PARTIAL);
    disk::remove_if_there(disk.as_ref(), &partial)
        .map_err(ActorError::io(format!("cannot remove {}", partial.display())))?;
    let written = write(config, index, &partial).await;
    let (disk, config) = (disk.clone(), config.clone());
    let kept = off_thread(move || match written {
        Ok(()) => Ok(keep_it(&config, disk.as_ref(), &partial, now_ms)?),
        Err(error) => {
            // The disk may be full because of it.
            disk::remove_if_there(disk.as_ref(), &partial)?;
            Err(error)
        }
    });
    kept.await
}

/// Gives an index that was made anew what the newest snapshot that is whole knows of what it holds. Without one the index
/// is as good, but for that. Errors when the disk is full, which says nothing about the snapshots.
pub(crate) async fn restore(
    config: &StorageConfig,
    database: &Database,
    dropped: Option<&HashMap<TesseraId, u64>>,
) -> Result<Option<Restored>, ActorError> {
    for snapshot in all(config)? {
        match restore_from(&snapshot, database, dropped).await {
            Ok(restored) => return Ok(Some(restored)),
            Err(error) if error.is_full_disk() => return Err(error),
            Err(error) => {
                let file = snapshot.path.display();
                tracing::warn!(%file, %error, "a snapshot is of no use: the one before is tried");
            }
        }
    }
    Ok(None)
}

/// Writes what only the index knows into a new file. Its bytes are the same as long as that is.
async fn write(config: &StorageConfig, index: &Lending, to: &Path) -> Result<(), ActorError> {
    let path = text(&config.data_dir.join(INDEX_FILE))?;
    let to = text(to)?;
    index
        .leashed(pragmas::scratch().await?, async |scratch| {
            sqlx::query("ATTACH ? AS live").bind(path).execute(&mut *scratch).await?;
            sqlx::raw_sql(COPY).execute(&mut *scratch).await?;
            sqlx::query("DETACH live").execute(&mut *scratch).await?;
            sqlx::query("VACUUM INTO ?").bind(to).execute(&mut *scratch).await?;
            Ok(())
        })
        .await
}

/// Makes a new file the newest snapshot, unless it is the same as the last one. Blocks.
fn keep_it(
    config: &StorageConfig,
    disk: &dyn Disk,
    partial: &Path,
    now_ms: i64,
) -> io::Result<Option<PathBuf>> {
    let folder = config.data_dir.join(SNAPSHOTS_FOLDER);
    let newest = all(config)?.into_iter().next();
    let written = hash(partial)?;
    if let Some(newest) = &newest
        && newest.hash == written
        && newest.is_whole()?
    {
        disk.remove(partial)?;
        return Ok(None);
    }
    let file = disk.open(partial)?;
    disk.sync(&file)?;
    let taken_at_ms = now_ms.max(newest.map_or(0, |newest| newest.taken_at_ms + 1));
    let snapshot = Snapshot::new(&folder, taken_at_ms, &written);
    disk.rename(partial, &snapshot.path)?;
    disk.sync_folder(&folder)?;
    if !snapshot.is_whole()? {
        return Err(io::Error::other(format!("{} is not as it was written", snapshot.path.display())));
    }
    let mut whole = 0;
    for old in all(config)? {
        if whole >= config.snapshots.max(1) {
            disk.remove(&old.path)?;
        } else if old.is_whole()? {
            whole += 1;
        }
    }
    Ok(Some(snapshot.path))
}

async fn restore_from(
    snapshot: &Snapshot,
    database: &Database,
    dropped: Option<&HashMap<TesseraId, u64>>,
) -> Result<Restored, ActorError> {
    let (found, path) = (snapshot.clone(), text(&snapshot.path)?);
    if !off_thread(move || Ok(found.is_whole()?)).await? {
        return Err(io::Error::other("it is not as it was written").into());
    }
    let mut writer = database.writer.acquire().await?;
    sqlx::query("ATTACH ? AS kept").bind(path).execute(&mut *writer).await?;
    let restored = apply(&mut writer, snapshot.taken_at_ms, dropped).await;
    sqlx::query("DETACH kept").execute(&mut *writer).await?;
    restored
}

async fn apply(
    writer: &mut SqliteConnection,
    taken_at_ms: i64,
    dropped: Option<&HashMap<TesseraId, u64>>,
) -> Result<Restored, ActorError> {
    let wrong: String =
        sqlx::query("PRAGMA kept.quick_check(1)").fetch_one(&mut *writer).await?.try_get(0)?;
    if wrong != "ok" {
        return Err(io::Error::other(wrong).into());
    }
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let segments = sqlx::query(SEGMENTS).execute(&mut *transaction).await?.rows_affected();
    let tesseras = sqlx::query(TESSERAS).execute(&mut *transaction).await?.rows_affected();
    sqlx::query(JOBS).execute(&mut *transaction).await?;
    let (mut lost_documents, mut missing) = (Vec::new(), Missing::default());
    if missed::can_tell(&mut transaction).await? {
        lost_documents = missed::documents(&mut transaction, dropped).await?;
        if let Some(dropped) = dropped {
            missing = missed::tesseras(&mut transaction, dropped).await?;
        }
    }
    sqlx::query(SCRUB).execute(&mut *transaction).await?;
    // A snapshot of an earlier version knows nothing of others.
    let knows_others = "SELECT EXISTS (SELECT 1 FROM kept.sqlite_schema WHERE name = 'peers')";
    if sqlx::query_scalar(knows_others).fetch_one(&mut *transaction).await? {
        sqlx::raw_sql(OTHERS).execute(&mut *transaction).await?;
    }
    let knows_replication = "SELECT EXISTS (SELECT 1 FROM kept.sqlite_schema WHERE name = 'placements')";
    if sqlx::query_scalar(knows_replication).fetch_one(&mut *transaction).await? {
        sqlx::raw_sql(REPLICATION).execute(&mut *transaction).await?;
    }
    let knows_parting = "SELECT EXISTS (SELECT 1 FROM kept.sqlite_schema WHERE name = 'retractions')";
    if sqlx::query_scalar(knows_parting).fetch_one(&mut *transaction).await? {
        sqlx::raw_sql(PARTING).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(Restored { taken_at_ms, segments, tesseras, lost_documents, missing })
}

fn make_folder(folder: &Path, disk: &dyn Disk) -> Result<(), ActorError> {
    let made = std::fs::create_dir(folder);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => {
            made.map_err(ActorError::io(format!("cannot make {}", folder.display())))?;
            let above = folder.parent().unwrap_or(folder);
            disk.sync_folder(above)
                .map_err(ActorError::io(format!("cannot make {} durable", folder.display())))
        }
    }
}

/// In hexadecimal. Blocks.
fn hash(path: &Path) -> io::Result<String> {
    hash_of(&File::open(path)?)
}

fn hash_of(file: &File) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok(Checksum::from_bytes(*hasher.finalize().as_bytes()).to_string().chars().take(HASH_LETTERS).collect())
}

fn text(path: &Path) -> Result<String, ActorError> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidFilename, format!("{} is not UTF-8", path.display())).into()
    })
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ActorError> + Send + 'static,
) -> Result<T, ActorError> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// In the data directory.
pub const SNAPSHOTS_FOLDER: &str = "snapshots";
const PARTIAL: &str = "partial";
/// Named of those that are missing.
pub(super) const MISSING_NAMED_MAX: usize = 1000;
/// Of the hash in a name: 128 bits.
const HASH_LETTERS: usize = 32;
const STAMP: &str = "SELECT next_seq, (SELECT before FROM scrub), (SELECT paused_until FROM scrub), \
     (SELECT coalesce(max(verified_at), 0) FROM segments), (SELECT count(*) FROM jobs), \
     (SELECT coalesce(max(queued_at), 0) FROM jobs), \
     (SELECT count(*) FROM documents INDEXED BY documents_suspect WHERE suspect_at IS NOT NULL), \
     (SELECT coalesce(max(suspect_at), 0) FROM documents INDEXED BY documents_suspect WHERE suspect_at IS NOT NULL), \
     (SELECT notes FROM records) FROM log";
/// What only the index knows. Ordered, so that the same content is the same file.
const COPY: &str = "BEGIN; \
     CREATE TABLE segments AS SELECT id, bytes, written_at, verified_at FROM live.segments \
         WHERE sealed = 1 ORDER BY id; \
     CREATE TABLE tesseras AS SELECT tessera, session, holdings, received_at, documents, seal FROM live.tesseras \
         WHERE session = 0 ORDER BY tessera; \
     CREATE TABLE jobs AS SELECT checksum, queued_at FROM live.jobs ORDER BY checksum; \
     CREATE TABLE documents AS SELECT d.tessera, d.kind, d.hash, d.len, d.suspect_at FROM live.documents d \
         JOIN live.tesseras t ON t.tessera = d.tessera AND t.session = 0 ORDER BY d.tessera, d.kind, d.hash; \
     CREATE TABLE log AS SELECT next_seq FROM live.log; \
     CREATE TABLE scrub AS SELECT before, paused_until, index_at FROM live.scrub; \
     CREATE TABLE peers AS SELECT * FROM live.peers ORDER BY node; \
     CREATE TABLE blocked AS SELECT * FROM live.blocked ORDER BY id, kind; \
     CREATE TABLE invites AS SELECT * FROM live.invites ORDER BY token; \
     CREATE TABLE receipts AS SELECT * FROM live.receipts ORDER BY holder, tessera, stripe, idx; \
     CREATE TABLE claims AS SELECT * FROM live.claims ORDER BY tessera, stripe, idx, holder; \
     CREATE TABLE placements AS SELECT * FROM live.placements ORDER BY tessera, layout; \
     CREATE TABLE replication_jobs AS SELECT * FROM live.replication_jobs ORDER BY id; \
     CREATE TABLE retractions AS SELECT * FROM live.retractions ORDER BY tessera; \
     CREATE TABLE retraction_due AS SELECT * FROM live.retraction_due ORDER BY tessera, node; \
     CREATE TABLE adopted AS SELECT * FROM live.adopted ORDER BY tessera; \
     CREATE TABLE leaving AS SELECT * FROM live.leaving; \
     COMMIT;";
const SEGMENTS: &str = "UPDATE segments SET written_at = kept.segments.written_at, verified_at = kept.segments.verified_at \
     FROM kept.segments WHERE kept.segments.id = main.segments.id AND kept.segments.bytes = main.segments.bytes";
const TESSERAS: &str = "UPDATE tesseras SET received_at = kept.tesseras.received_at \
     FROM kept.tesseras WHERE kept.tesseras.tessera = main.tesseras.tessera";
const JOBS: &str = "UPDATE jobs SET queued_at = kept.jobs.queued_at \
     FROM kept.jobs WHERE kept.jobs.checksum = main.jobs.checksum";
/// What was noted since is newer: a restore may be done once more, after an interruption.
const OTHERS: &str = "INSERT OR IGNORE INTO peers (node, addresses, author, allow_bytes, origin, added_at, seen_at, last_address, wrong_bytes, errors, absences, name) \
     SELECT node, addresses, author, allow_bytes, origin, added_at, seen_at, last_address, wrong_bytes, errors, absences, name FROM kept.peers; \
     INSERT OR IGNORE INTO blocked (id, kind, reason, at) \
     SELECT id, kind, reason, at FROM kept.blocked; \
     INSERT OR IGNORE INTO invites (token, allow_bytes, expires_at, name) \
     SELECT token, allow_bytes, expires_at, name FROM kept.invites; \
     INSERT OR IGNORE INTO receipts (holder, tessera, stripe, idx, checksum, len, author, held_at, signed) \
     SELECT holder, tessera, stripe, idx, checksum, len, author, held_at, signed FROM kept.receipts; \
     INSERT OR IGNORE INTO claims (tessera, stripe, idx, holder, checksum, claimed_at, proven_at) \
     SELECT tessera, stripe, idx, holder, checksum, claimed_at, proven_at FROM kept.claims; \
     UPDATE records SET sums_due = 1;";
const REPLICATION: &str = "INSERT OR IGNORE INTO placements (tessera, layout, version, by_author, signed) \
     SELECT tessera, layout, version, by_author, signed FROM kept.placements \
     WHERE tessera IN (SELECT tessera FROM main.tesseras); \
     INSERT OR IGNORE INTO replication_jobs (id, kind, tessera, state, began_at, changed_at, told) \
     SELECT id, kind, tessera, state, began_at, changed_at, told FROM kept.replication_jobs;";
const PARTING: &str = "INSERT OR IGNORE INTO retractions (tessera, author, purse, signed, at) \
     SELECT tessera, author, purse, signed, at FROM kept.retractions; \
     INSERT OR IGNORE INTO retraction_due (tessera, node) SELECT tessera, node FROM kept.retraction_due; \
     INSERT OR IGNORE INTO adopted (tessera, at) SELECT tessera, at FROM kept.adopted; \
     INSERT OR IGNORE INTO leaving (id, at) SELECT id, at FROM kept.leaving;";
const SCRUB: &str = "UPDATE scrub SET before = kept.scrub.before, paused_until = kept.scrub.paused_until, \
     index_at = 0, seal = NULL FROM kept.scrub";

//! The only place that opens a database.
//!
//! Pragmas are given with the connection options, because a `PRAGMA` run on a pool reaches one connection only.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use config::StorageConfig;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection, SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::written::WalMeter;
use crate::error::ActorError;

/// An open index: one connection that writes, and a few that only read.
#[derive(Debug, Clone)]
pub struct Database {
    /// Exactly one connection. Every write transaction is `BEGIN IMMEDIATE`.
    pub writer: SqlitePool,
    /// Read-only connections; their transactions are short.
    pub readers: SqlitePool,
    /// What is written into its files.
    pub(crate) meter: WalMeter,
    /// The folder of a database that is only for now; goes with the last copy of this value.
    _scratch: Option<Arc<ScratchFolder>>,
}

impl Database {
    /// Closes the readers first and the writer last, which is what lets SQLite remove the WAL.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// A connection of its own for the log's planner, read-only.
    pub(crate) async fn planner(&self) -> Result<SqliteConnection, ActorError> {
        let options = self.readers.connect_options();
        Ok(SqliteConnection::connect_with(&options).await?)
    }
}

/// Opens (and, if needed, makes or migrates) the index below `config.data_dir`.
///
/// Errors with [`ActorError::Sqlite`] when the file is no database or damaged, its schema included, and with
/// [`ActorError::Version`] for an SQLite older than 3.51.3 or a schema newer than this program.
pub async fn open_database(config: &StorageConfig) -> Result<Database, ActorError> {
    open(&config.data_dir.join(INDEX_FILE), config, SQLITE_MIN).await
}

/// A database that is gone with the last copy of the returned value, for tests and tools. SQLite's own `:memory:` is
/// a database per connection and knows no WAL, so this is a file in a folder of its own in memory.
pub async fn open_in_memory() -> Result<Database, ActorError> {
    let folder = ScratchFolder::new()?;
    let database = open_database(&StorageConfig::with_defaults(&folder.0)).await?;
    Ok(Database { _scratch: Some(Arc::new(folder)), ..database })
}

/// The version of the SQLite that is built in. Errors with [`ActorError::Version`] when it is older than 3.51.3.
pub async fn sqlite_version() -> Result<String, ActorError> {
    let mut connection = SqliteConnection::connect("sqlite::memory:").await?;
    let found: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut connection).await?;
    require_sqlite(&found, SQLITE_MIN)?;
    Ok(found)
}

/// A connection to a database that is nowhere but in memory or, when it is large, in a file without a name. Others may be
/// attached to it.
pub(crate) async fn scratch() -> Result<SqliteConnection, ActorError> {
    let options = SqliteConnectOptions::new().filename("").page_size(PAGE_BYTES).disable_statement_logging();
    Ok(SqliteConnection::connect_with(&options).await?)
}

/// A folder in memory (or the temporary folder where there is none) that is removed on drop.
#[derive(Debug)]
struct ScratchFolder(PathBuf);

impl ScratchFolder {
    fn new() -> Result<Self, ActorError> {
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(|error| std::io::Error::other(error.to_string()))?;
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = parent.join(format!("tesseras-{}", u128::from_le_bytes(name)));
        std::fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        // Nothing depends on it being gone, and there is nobody to tell.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn open(path: &Path, config: &StorageConfig, sqlite_min: [u32; 3]) -> Result<Database, ActorError> {
    let readers_max = readers();
    let [writer_kib, reader_kib] = cache_shares(config.sqlite_cache_kib, readers_max + 1);
    let base = base_options(path, config);
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(base.clone().create_if_missing(true).pragma("cache_size", kib(writer_kib)))
        .await?;
    check_sqlite_version(&writer, sqlite_min).await?;
    check_schema(&writer).await?;
    let meter = WalMeter::new(path);
    migrate(&writer).await?;
    // A cache of nothing is forgotten when the schema changes.
    let cache = format!("PRAGMA cache_size = {}", kib(writer_kib));
    sqlx::query(AssertSqlSafe(cache)).execute(&writer).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(readers_max)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(base.read_only(true).pragma("cache_size", kib(reader_kib)))
        .await?;
    Ok(Database { writer, readers, meter, _scratch: None })
}

fn base_options(path: &Path, config: &StorageConfig) -> SqliteConnectOptions {
    let synchronous = match config.sqlite_synchronous_full {
        true => SqliteSynchronous::Full,
        false => SqliteSynchronous::Normal,
    };
    SqliteConnectOptions::new()
        .filename(path)
        .page_size(PAGE_BYTES)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .foreign_keys(true)
        .busy_timeout(config.sqlite_busy_timeout)
        .pragma("wal_autocheckpoint", config.sqlite_wal_autocheckpoint_pages.to_string())
        .pragma("journal_size_limit", wal_bytes(config.sqlite_wal_autocheckpoint_pages).to_string())
        .pragma("temp_store", "memory")
        .statement_cache_capacity(STATEMENTS_CACHED)
        .row_buffer_size(ROWS_BUFFERED)
        .disable_statement_logging()
}

/// What so many pages take in the WAL.
pub(crate) fn wal_bytes(pages: u32) -> u64 {
    u64::from(pages) * u64::from(PAGE_BYTES + WAL_FRAME_HEADER_BYTES)
}

/// The page cache of the writer and of each reader, in KiB: half of the total, and the rest shared.
fn cache_shares(total_kib: u32, readers: u32) -> [u32; 2] {
    [total_kib / 2, total_kib / 2 / readers.max(1)]
}

/// SQLite takes a negative cache size as KiB.
fn kib(size: u32) -> String {
    format!("-{size}")
}

fn readers() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cores).unwrap_or(READERS_MAX).min(READERS_MAX)
}

async fn check_sqlite_version(pool: &SqlitePool, min: [u32; 3]) -> Result<(), ActorError> {
    let found: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(pool).await?;
    require_sqlite(&found, min)
}

/// Errors with [`ActorError::Version`] for an SQLite older than `min`.
fn require_sqlite(found: &str, min: [u32; 3]) -> Result<(), ActorError> {
    let mut numbers = found.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = [(); 3].map(|()| numbers.next().unwrap_or(0));
    if version >= min {
        return Ok(());
    }
    let [a, b, c] = min;
    Err(ActorError::Version {
        what: format!("SQLite {found} can damage a database in WAL mode; {a}.{b}.{c} or later is needed"),
    })
}

/// Errors as damage of the index when its schema is not even text. sqlx takes names and types for text: its thread panics
/// when they are not, and whoever asks it something at that moment may wait for ever.
async fn check_schema(pool: &SqlitePool) -> Result<(), ActorError> {
    let sql = "SELECT CAST(type || name || tbl_name || coalesce(sql, '') AS BLOB) FROM sqlite_schema";
    let parts: Vec<Vec<u8>> = sqlx::query_scalar(sql).fetch_all(pool).await?;
    match parts.iter().all(|part| part.is_ascii()) {
        true => Ok(()),
        false => Err(ActorError::damaged_index("its schema is not the one that was made".to_owned())),
    }
}

/// What is wrong with the whole index, if SQLite finds anything. Its own check looks at pages and their order; a bit
/// that has changed in a key shows in rows that lack those they are about.
pub(crate) async fn wrong(connection: &mut SqliteConnection) -> Result<Option<String>, sqlx::Error> {
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut *connection).await?;
    if found != "ok" {
        return Ok(Some(found));
    }
    let lacking = sqlx::query("PRAGMA foreign_key_check").fetch_optional(connection).await?;
    let table = lacking.map(|row| row.try_get::<String, _>(0)).transpose()?;
    Ok(table.map(|table| format!("a row of {table} lacks the one it is about")))
}

async fn migrate(pool: &SqlitePool) -> Result<(), ActorError> {
    MIGRATIONS.run(pool).await.map_err(not_migrated)
}

/// Why the schema could not be brought up to date. What SQLite reported keeps its code: the caller may know a remedy.
fn not_migrated(error: MigrateError) -> ActorError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        MigrateError::VersionMissing(found) => ActorError::Version {
            what: format!(
                "{INDEX_FILE} has schema {found}, made by a newer version of this program: use that, or a later one"
            ),
        },
        MigrateError::VersionMismatch(found) | MigrateError::Dirty(found) => {
            ActorError::damaged_index(format!("its schema {found} is not the one that was made"))
        }
        error => ActorError::Index { reason: format!("its schema cannot be brought up to date: {error}") },
    }
}

/// Name of the index in the data directory.
pub const INDEX_FILE: &str = "index.db";
/// The WAL-reset corruption was fixed in this version.
const SQLITE_MIN: [u32; 3] = [3, 51, 3];
/// Checksums come in no order: each new row is a page of its own in the WAL, and again in the database. Pages of 1 KiB
/// instead of 4 halve what is written for a small fragment.
pub(crate) const PAGE_BYTES: u32 = 1024;
/// <https://sqlite.org/fileformat.html#the_write_ahead_log>
const WAL_FRAME_HEADER_BYTES: u32 = 24;
const READERS_MAX: u32 = 4;
/// Multi-row statements come in a few fixed sizes per table, so that all of them stay prepared.
const STATEMENTS_CACHED: usize = 200;
/// Rows that SQLite's thread may be ahead of whoever reads them: with fewer, the two wait for each other in turn.
const ROWS_BUFFERED: usize = 1024;
static MIGRATIONS: Migrator = sqlx::migrate!();

#[cfg(test)]
mod tests;

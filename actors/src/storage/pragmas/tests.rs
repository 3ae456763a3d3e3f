//! The rules every connection follows, read back from each connection that is handed out.

use std::{sync::atomic::AtomicBool, time::Duration};

use sqlx::{Row, pool::PoolConnection};

use super::*;
use crate::storage::{disk::RealDisk, keeper::Keeper, open::open as open_store};

/// Settings that differ from SQLite's own, from sqlx's, and from ours.
fn unusual(folder: &Path) -> StorageConfig {
    StorageConfig {
        sqlite_cache_kib: 7000,
        sqlite_busy_timeout: Duration::from_millis(1234),
        sqlite_wal_autocheckpoint_pages: 77,
        ..StorageConfig::with_defaults(folder)
    }
}

/// Every connection at once, so that none is handed out twice: the writer, each reader, the planner.
struct Connections {
    writer: PoolConnection<sqlx::Sqlite>,
    readers: Vec<PoolConnection<sqlx::Sqlite>>,
    planner: SqliteConnection,
}

impl Connections {
    async fn of(database: &Database) -> Self {
        assert_eq!(database.writer.options().get_max_connections(), 1, "there is one writer");
        let writer = database.writer.acquire().await.unwrap();
        let mut readers = Vec::new();
        for _ in 0..database.readers.options().get_max_connections() {
            readers.push(database.readers.acquire().await.unwrap());
        }
        assert!(database.readers.try_acquire().is_none(), "and there are no more readers than these");
        Self { writer, readers, planner: database.planner().await.unwrap() }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut SqliteConnection> {
        let pooled = std::iter::once(&mut self.writer).chain(&mut self.readers).map(|pooled| &mut **pooled);
        pooled.chain([&mut self.planner])
    }

    async fn close(self) {
        self.planner.close().await.unwrap();
    }
}

async fn number(connection: &mut SqliteConnection, pragma: &'static str) -> i64 {
    sqlx::query_scalar(pragma).fetch_one(connection).await.unwrap()
}

/// Every connection follows these settings.
async fn check(database: &Database, config: &StorageConfig) {
    let mut connections = Connections::of(database).await;
    for connection in connections.all() {
        let mode: String =
            sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await.unwrap();
        assert_eq!(mode, "wal");
        let (normal, full) = (1, 2);
        let synchronous = if config.sqlite_synchronous_full { full } else { normal };
        let busy_timeout = i64::try_from(config.sqlite_busy_timeout.as_millis()).unwrap();
        for (pragma, expected) in [
            ("PRAGMA foreign_keys", 1),
            ("PRAGMA synchronous", synchronous),
            ("PRAGMA busy_timeout", busy_timeout),
            ("PRAGMA wal_autocheckpoint", config.sqlite_wal_autocheckpoint_pages.into()),
            ("PRAGMA temp_store", 2),
            ("PRAGMA page_size", PAGE_BYTES.into()),
        ] {
            assert_eq!(number(connection, pragma).await, expected, "{pragma}");
        }
    }
    connections.close().await;
}

#[tokio::test]
async fn every_connection_follows_the_configuration() {
    for sqlite_synchronous_full in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let config = StorageConfig { sqlite_synchronous_full, ..unusual(folder.path()) };
        let database = open_database(&config).await.unwrap();
        check(&database, &config).await;
        database.close().await;
    }
}

/// See `.cargo/config.toml`.
#[tokio::test]
async fn databases_share_no_memory_under_one_lock() {
    let mut connection = scratch().await.unwrap();
    let options = sqlx::query_scalar("PRAGMA compile_options").fetch_all(&mut connection);
    let options: Vec<String> = options.await.unwrap();
    let has = |option: &str| options.iter().any(|one| one == option);
    assert!(has("DEFAULT_MEMSTATUS=0") && has("DEFAULT_PCACHE_INITSZ=64"), "{options:?}");
    assert!(!has("ENABLE_MEMORY_MANAGEMENT"), "{options:?}");
}

#[tokio::test]
async fn database_in_memory_follows_the_same_rules_and_goes_with_its_last_copy() {
    let database = open_in_memory().await.unwrap();
    let other = open_in_memory().await.unwrap();
    let folder = database._scratch.as_ref().unwrap().0.clone();
    check(&database, &StorageConfig::with_defaults(&folder)).await;
    sqlx::query("UPDATE log SET next_seq = 9").execute(&database.writer).await.unwrap();
    let next_seq = "SELECT next_seq FROM log";
    assert_eq!(number(&mut database.readers.acquire().await.unwrap(), next_seq).await, 9);
    assert_eq!(number(&mut other.readers.acquire().await.unwrap(), next_seq).await, 1, "each is its own");
    database.close().await;
    let copy = database.clone();
    drop(database);
    assert!(folder.exists());
    drop(copy);
    assert!(!folder.exists());
    other.close().await;
}

/// SQLite gives a negative cache size back as it was set: in KiB.
#[tokio::test]
async fn page_caches_of_all_connections_together_are_what_is_configured() {
    for total in [0, 1, 2000, 7000, 64_000, u32::MAX] {
        let folder = tempfile::tempdir().unwrap();
        let config = StorageConfig { sqlite_cache_kib: total, ..unusual(folder.path()) };
        let database = open_database(&config).await.unwrap();
        let mut connections = Connections::of(&database).await;
        let mut sizes = Vec::new();
        for connection in connections.all() {
            sizes.push(-number(connection, "PRAGMA cache_size").await);
        }
        let (total, sum) = (i64::from(total), sizes.iter().sum::<i64>());
        assert_eq!(sizes.first(), Some(&(total / 2)), "the writer has half: {sizes:?}");
        let unshared = i64::try_from(sizes.len()).unwrap();
        assert!((total - unshared..=total).contains(&sum), "{sizes:?} of {total}");
        connections.close().await;
        database.close().await;
    }
}

#[tokio::test]
async fn readers_and_planner_cannot_write() {
    let database = open_in_memory().await.unwrap();
    let mut connections = Connections::of(&database).await;
    for (at, connection) in connections.all().enumerate() {
        let written = sqlx::query("UPDATE log SET next_seq = 9").execute(&mut *connection).await;
        assert_eq!(written.is_ok(), at == 0, "only the writer writes: {written:?}");
    }
    connections.close().await;
    database.close().await;
}

#[tokio::test]
async fn row_that_refers_to_nothing_is_refused_at_the_commit() {
    let database = open_in_memory().await.unwrap();
    let orphan = "INSERT INTO holdings VALUES (x'01', x'02', 1, 1, x'03')";
    let refused = sqlx::query(orphan).execute(&database.writer).await.unwrap_err();
    assert!(refused.to_string().contains("FOREIGN KEY"), "{refused}");
    database.close().await;
}

fn wal(folder: &Path) -> PathBuf {
    folder.join(format!("{INDEX_FILE}-wal"))
}

#[tokio::test]
async fn wal_is_on_disk_while_open_bounded_by_checkpoints_and_gone_after_the_close() {
    let folder = tempfile::tempdir().unwrap();
    let config = StorageConfig { sqlite_wal_autocheckpoint_pages: 10, ..unusual(folder.path()) };
    let database = open_database(&config).await.unwrap();
    assert!(wal(folder.path()).exists());
    let mut largest = 0;
    for number in 0..200 {
        sqlx::query("UPDATE log SET next_seq = ?").bind(number).execute(&database.writer).await.unwrap();
        largest = largest.max(std::fs::metadata(wal(folder.path())).unwrap().len());
    }
    // The pages of the migration, or of one checkpoint and of the transaction that goes beyond it.
    let bound = 60 * FRAME_BYTES;
    assert!((FRAME_BYTES..bound).contains(&largest), "it grew to {largest} bytes, not below {bound}");
    database.close().await;
    assert!(!wal(folder.path()).exists());
    assert!(folder.path().join(INDEX_FILE).exists());
}

async fn migrations(database: &Database) -> Vec<(i64, String, Vec<u8>)> {
    let sql = "SELECT version, installed_on, checksum FROM _sqlx_migrations ORDER BY version";
    let rows = sqlx::query(sql).fetch_all(&database.readers).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

#[tokio::test]
async fn migrations_are_applied_once_and_a_second_open_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = unusual(folder.path());
    let database = open_database(&config).await.unwrap();
    let applied = migrations(&database).await;
    let known: Vec<_> = MIGRATIONS.iter().map(|known| (known.version, known.checksum.to_vec())).collect();
    let versions: Vec<_> = applied.iter().map(|(version, _, sum)| (*version, sum.clone())).collect();
    assert_eq!(versions, known);
    sqlx::query("UPDATE log SET next_seq = 9").execute(&database.writer).await.unwrap();
    // So that one applied anew would be told apart.
    let sql = "UPDATE _sqlx_migrations SET installed_on = 'long ago'";
    sqlx::query(sql).execute(&database.writer).await.unwrap();
    let before = migrations(&database).await;
    database.close().await;
    let file = std::fs::read(folder.path().join(INDEX_FILE)).unwrap();

    let database = open_database(&config).await.unwrap();
    assert_eq!(migrations(&database).await, before);
    let next_seq = number(&mut database.writer.acquire().await.unwrap(), "SELECT next_seq FROM log").await;
    assert_eq!(next_seq, 9);
    database.close().await;
    assert_eq!(std::fs::read(folder.path().join(INDEX_FILE)).unwrap(), file, "not a byte");
}

/// After this change the index is refused as one of another version, with a message that says what to do; and it stays
/// where it is, even though it could be made anew.
async fn check_refused(change: &'static str, says: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let config = unusual(folder.path());
    let database = open_database(&config).await.unwrap();
    sqlx::query(change).execute(&database.writer).await.unwrap();
    database.close().await;
    let file = std::fs::read(folder.path().join(INDEX_FILE)).unwrap();
    let disk: Arc<dyn crate::storage::disk::Disk> = Arc::new(RealDisk);
    let opened = open_store(&config, &disk, &Keeper::default(), &AtomicBool::new(false)).await;
    for refused in [open_database(&config).await.err(), opened.err()] {
        let Some(ActorError::Version { what }) = refused else { panic!("{change}: {refused:?}") };
        for part in says {
            assert!(what.contains(part), "{what:?} does not say {part:?}");
        }
    }
    assert_eq!(std::fs::read(folder.path().join(INDEX_FILE)).unwrap(), file, "{change}");
    let left = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let aside: Vec<_> = left.filter(|name| name.to_string_lossy().contains("damaged")).collect();
    assert!(aside.is_empty(), "{change}: {aside:?}");
}

#[tokio::test]
async fn newer_schema_is_refused_with_what_to_do() {
    let newer = "INSERT INTO _sqlx_migrations VALUES (99, 'later', 'now', 1, x'00', 0)";
    check_refused(newer, &["index.db", "schema 99", "newer version", "use that"]).await;
}

#[test]
fn sqlite_before_the_fix_of_the_wal_is_refused() {
    for (version, is_old) in [
        ("", true),
        ("3", true),
        ("2.99.99", true),
        ("3.9.100", true),
        ("3.50.9", true),
        ("3.51", true),
        ("3.51.2", true),
        ("3.51.3", false),
        ("3.51.10", false),
        ("3.52.0", false),
        ("3.100.1", false),
        ("4.0.0", false),
    ] {
        match require_sqlite(version, SQLITE_MIN) {
            Ok(()) => assert!(!is_old, "{version}"),
            Err(ActorError::Version { what }) => {
                assert!(is_old, "{version}");
                assert!(what.contains(version) && what.contains("3.51.3"), "{what}");
            }
            Err(other) => panic!("{version}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn database_is_not_opened_with_an_sqlite_that_is_too_old() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(INDEX_FILE);
    let refused = open(&path, &unusual(folder.path()), [99, 0, 0]).await;
    assert!(matches!(refused, Err(ActorError::Version { .. })), "{refused:?}");
}

/// Damage and a full disk are met in the middle of a migration, too; what is done about them depends on their codes.
#[tokio::test]
async fn error_within_a_migration_keeps_its_code() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(INDEX_FILE), b"this is no database, and was none before").unwrap();
    let refused = open_database(&unusual(folder.path())).await.unwrap_err();
    assert!(refused.is_damaged_index(), "{refused:?}");
    let options = SqliteConnectOptions::new().filename(folder.path().join(INDEX_FILE));
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let not_a_database = sqlx::query("CREATE TABLE one (two)").execute(&mut connection).await.unwrap_err();
    let refused = not_migrated(MigrateError::ExecuteMigration(not_a_database, 1));
    assert!(refused.is_damaged_index(), "{refused:?}");
}

/// A page of the WAL with its header.
const FRAME_BYTES: u64 = PAGE_BYTES as u64 + 24;

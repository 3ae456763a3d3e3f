//! The rules every connection follows, read back from each connection that is handed out.

use std::time::Duration;

use super::*;
use crate::storage::{disk::RealDisk, open::open as open_store};

/// Settings that differ from SQLite's own, from sqlx's, and from ours.
fn unusual(folder: &Path) -> StorageConfig {
    StorageConfig {
        sqlite_cache_kib: 7000,
        sqlite_busy_timeout: Duration::from_millis(1234),
        sqlite_wal_autocheckpoint_pages: 77,
        ..StorageConfig::with_defaults(folder)
    }
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
    for refused in [open_database(&config).await.err(), open_store(&config, &disk).await.err()] {
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
async fn migration_altered_since_it_was_applied_is_refused_with_what_to_do() {
    let altered = "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1";
    check_refused(altered, &["index.db", "schema 1", "the version that made it", "move index.db away"]).await;
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

//! The rows of files in the real index, `synchronous=FULL`: with files, the database is all that knows of them.

use std::path::Path;

use actors::storage::{Database, open_database};
use config::StorageConfig;
use proto::{AccountId, Checksum, FragmentId};

use crate::Result;

/// A file that is durable and has no rows yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) id: FragmentId,
    pub(crate) checksum: Checksum,
    pub(crate) bytes: i64,
}

/// The index.
#[derive(Debug, Clone)]
pub(crate) struct FileIndex {
    database: Database,
}

impl FileIndex {
    pub(crate) async fn open(folder: &Path) -> Result<Self> {
        let config = StorageConfig { sqlite_synchronous_full: true, ..StorageConfig::with_defaults(folder) };
        Ok(Self { database: open_database(&config).await? })
    }

    /// Adds the rows of these entries in one transaction.
    pub(crate) async fn insert(&self, entries: &[Entry]) -> Result<()> {
        let mut transaction = self.database.writer.begin_with("BEGIN IMMEDIATE").await?;
        for Entry { id, checksum, bytes } in entries {
            let (tessera, checksum) = (id.tessera.as_bytes().as_slice(), checksum.as_bytes().as_slice());
            let account = AccountId::LOCAL;
            let account = account.as_bytes().as_slice();
            let (tesserae, blobs) = (sqlx::query(TESSERA).bind(tessera), sqlx::query(BLOB));
            tesserae.execute(&mut *transaction).await?;
            blobs.bind(checksum).bind(bytes).execute(&mut *transaction).await?;
            let [fragment, deposit] =
                [FRAGMENT, DEPOSIT].map(|sql| sqlx::query(sql).bind(tessera).bind(id.stripe).bind(id.index));
            fragment.bind(checksum).execute(&mut *transaction).await?;
            deposit.bind(account).execute(&mut *transaction).await?;
            sqlx::query(HOLDING).bind(account).bind(tessera).bind(bytes).execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }
}

const TESSERA: &str = "INSERT INTO tesseras VALUES (?, 0, 1, 0, 0, 0) ON CONFLICT DO NOTHING";
const BLOB: &str = "INSERT INTO blobs VALUES (?, 0, 0, ?, 1, 0)";
const FRAGMENT: &str = "INSERT INTO fragments VALUES (?, ?, ?, ?, 1, 0)";
const DEPOSIT: &str = "INSERT INTO deposits VALUES (?, ?, ?, ?, 0, 0)";
const HOLDING: &str = "INSERT INTO holdings VALUES (?, ?, 1, ?, x'') \
     ON CONFLICT DO UPDATE SET fragments = fragments + 1, bytes = bytes + excluded.bytes";

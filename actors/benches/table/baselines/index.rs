//! The rows of files in the real index, `synchronous=FULL`: with files, the database is all that knows of them.

use std::path::Path;

use actors::storage::{Database, open_database};
use config::StorageConfig;
use proto::{AccountId, Checksum, FragmentId};
use sqlx::{Arguments as _, AssertSqlSafe, sqlite::SqliteArguments};

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

    /// Adds rows in one transaction. One entry costs a single call; many are cut into statements of fixed sizes, so
    /// that they stay prepared.
    pub(crate) async fn insert(&self, entries: &[Entry]) -> Result<()> {
        if let [entry] = entries {
            let (sql, arguments) = statements(std::slice::from_ref(entry))?;
            let sql = AssertSqlSafe(format!("BEGIN IMMEDIATE;{sql}COMMIT;"));
            sqlx::query_with(sql, arguments).execute(&self.database.writer).await?;
            return Ok(());
        }
        let mut transaction = self.database.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut rest = entries;
        for size in CHUNK_SIZES {
            while let Some((chunk, later)) = rest.split_at_checked(size) {
                rest = later;
                let (sql, arguments) = statements(chunk)?;
                sqlx::query_with(AssertSqlSafe(sql), arguments).execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// The statements that add these entries to every table, and what they are given.
fn statements(entries: &[Entry]) -> Result<(String, SqliteArguments)> {
    let (mut sql, mut arguments) = (String::new(), SqliteArguments::default());
    for table in TABLES {
        sql.push_str(table.head);
        sql.push_str(&vec![table.row; entries.len()].join(","));
        sql.push_str(table.tail);
        for entry in entries {
            (table.bind)(entry, &mut arguments)?;
        }
    }
    Ok((sql, arguments))
}

/// How the rows of one table are added.
struct Table {
    head: &'static str,
    row: &'static str,
    tail: &'static str,
    bind: fn(&Entry, &mut SqliteArguments) -> Result<()>,
}

fn add_tessera(entry: &Entry, to: &mut SqliteArguments) -> Result<()> {
    to.add(entry.id.tessera.as_bytes().as_slice())
}

fn add_blob(entry: &Entry, to: &mut SqliteArguments) -> Result<()> {
    to.add(entry.checksum.as_bytes().as_slice())?;
    to.add(entry.bytes)
}

fn add_fragment(entry: &Entry, to: &mut SqliteArguments) -> Result<()> {
    add_tessera(entry, to)?;
    to.add(entry.id.stripe)?;
    to.add(entry.id.index)?;
    to.add(entry.checksum.as_bytes().as_slice())
}

fn add_deposit(entry: &Entry, to: &mut SqliteArguments) -> Result<()> {
    add_tessera(entry, to)?;
    to.add(entry.id.stripe)?;
    to.add(entry.id.index)?;
    to.add(AccountId::LOCAL.as_bytes().as_slice())
}

fn add_holding(entry: &Entry, to: &mut SqliteArguments) -> Result<()> {
    to.add(AccountId::LOCAL.as_bytes().as_slice())?;
    add_tessera(entry, to)?;
    to.add(entry.bytes)
}

/// Largest first; the last is one, so every number of rows can be cut into these.
const CHUNK_SIZES: [usize; 3] = [32, 8, 1];
/// All that a put changes, with constants for what files have no use for.
const TABLES: [Table; 5] = [
    Table {
        head: "INSERT INTO tesseras VALUES ",
        row: "(?,0,1,0)",
        tail: " ON CONFLICT DO NOTHING;",
        bind: add_tessera,
    },
    Table { head: "INSERT INTO blobs VALUES ", row: "(?,0,0,?,1,0)", tail: ";", bind: add_blob },
    Table { head: "INSERT INTO fragments VALUES ", row: "(?,?,?,?,1)", tail: ";", bind: add_fragment },
    Table { head: "INSERT INTO deposits VALUES ", row: "(?,?,?,?,0,0)", tail: ";", bind: add_deposit },
    Table {
        head: "INSERT INTO holdings VALUES ",
        row: "(?,?,1,?,x'')",
        tail: " ON CONFLICT DO UPDATE SET fragments=fragments+1, bytes=bytes+excluded.bytes;",
        bind: add_holding,
    },
];

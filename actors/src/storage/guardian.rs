//! Keeps SQLite's write-ahead log bounded.
//!
//! SQLite moves it into the database by itself whenever it has grown to `sqlite_wal_autocheckpoint_pages`, and begins it
//! anew when nobody reads it at that moment. Somebody who reads for long, or many who take turns, keep it from that, and
//! then it grows with every commit. So once it has outgrown its bound, whoever comes to read waits, whoever reads for long
//! is cut, and it is begun anew. When nothing was written for a while, what is left is moved and the file shortened, once.

use std::{path::PathBuf, time::Duration};

use config::StorageConfig;
use sqlx::{Row, SqlitePool};

use super::{
    lending::Lending,
    pragmas::{INDEX_FILE, wal_bytes},
};
use crate::error::ActorError;

/// Looks after the write-ahead log, commit by commit.
#[derive(Debug)]
pub(crate) struct Guardian {
    wal: PathBuf,
    /// It may grow to this.
    bytes_max: u64,
    readers: Lending,
}

impl Guardian {
    pub(crate) fn new(config: &StorageConfig, readers: Lending) -> Self {
        let wal = config.data_dir.join(format!("{INDEX_FILE}-wal"));
        let grown = wal_bytes(config.sqlite_wal_autocheckpoint_pages);
        Self { wal, bytes_max: grown + grown / OVERGROWN_SHARE, readers }
    }

    /// Something was committed: the log is begun anew if it has outgrown its bound.
    pub(crate) async fn committed(&self, writer: &SqlitePool) {
        let bytes = self.bytes();
        if bytes <= self.bytes_max {
            return;
        }
        // What can be moved while others read is moved first: they wait for the rest only.
        let moved = checkpoint(writer).await;
        let (alone, cut) = self.readers.alone(READING_MAX).await;
        if cut > 0 {
            tracing::warn!(
                wal_bytes = bytes,
                cut,
                "questions to the index took too long while much was written, and were ended"
            );
        }
        let begun_anew = truncate(writer).await;
        drop(alone);
        if let Err(error) = moved.and(begun_anew) {
            tracing::debug!(%error, "the write-ahead log of the index could not be begun anew: it is at the next commit");
        }
    }

    /// Nothing was written for a while: what is in the log is moved, and its file shortened.
    pub(crate) async fn rest(&self, writer: &SqlitePool) {
        if self.bytes() < REST_BYTES_MIN {
            return;
        }
        if let Err(error) = shorten(writer).await {
            tracing::debug!(%error, "the write-ahead log of the index could not be shortened: it is later");
        }
    }

    fn bytes(&self) -> u64 {
        std::fs::metadata(&self.wal).map_or(0, |wal| wal.len())
    }
}

async fn shorten(writer: &SqlitePool) -> Result<(), ActorError> {
    // When nobody reads what is older, this does not wait for anybody.
    if checkpoint(writer).await? { truncate(writer).await } else { Ok(()) }
}

/// Moves what is left, and shortens the file. Waits for whoever reads.
async fn truncate(writer: &SqlitePool) -> Result<(), ActorError> {
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(writer).await?;
    Ok(())
}

/// Moves the whole WAL into the database file, which SQLite then syncs; `false` when a reader was in the way, which
/// is not waited for: no batch could be committed meanwhile. (Syncing the file here once more would do harm:
/// closing any descriptor of it takes SQLite's locks away.)
pub(crate) async fn checkpoint(writer: &SqlitePool) -> Result<bool, ActorError> {
    let row = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(writer).await?;
    let (busy, frames, moved): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(busy == 0 && frames == moved)
}

/// Nothing was written for so long.
pub(crate) const QUIET: Duration = Duration::from_secs(30);
/// A log that is overgrown by one part in so many is too long.
const OVERGROWN_SHARE: u64 = 8;
/// Nobody need read for longer while much is written.
const READING_MAX: Duration = Duration::from_millis(250);
/// Less is left where it is: moving it costs two syncs.
const REST_BYTES_MIN: u64 = 4 << 20;

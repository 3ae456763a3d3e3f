//! Keeps SQLite's write-ahead log bounded.
//!
//! SQLite moves it into the database by itself whenever it has grown to `sqlite_wal_autocheckpoint_pages`, and begins it
//! anew when nobody reads it at that moment. Somebody who reads for long, or many who take turns, keep it from that, and
//! then it grows with every commit. So once it has outgrown its bound, whoever comes to read waits, whoever reads for long
//! is cut, and it is begun anew. When nothing was written for a while, what is left is moved and the file shortened, once.
//!
//! # Not guaranteed
//! Whoever reads the index with a program of his own cannot be cut: as long as he does, the log grows. Nobody waits for
//! him; puts are refused when the disk gets short.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use config::StorageConfig;
use sqlx::{AssertSqlSafe, Row, SqliteConnection, SqlitePool};

use super::{
    lending::Lending,
    pragmas::{INDEX_FILE, wal_bytes},
    reserve::Reserve,
};
use crate::error::ActorError;

/// Looks after the write-ahead log, commit by commit.
#[derive(Debug)]
pub(crate) struct Guardian {
    wal: PathBuf,
    /// It may grow to this.
    bytes_max: u64,
    readers: Lending,
    reserve: Reserve,
    /// How long statements wait for a lock, but for those here.
    busy_timeout: Duration,
    /// It could not be begun anew: not before this.
    retry_at: Mutex<Option<Instant>>,
}

impl Guardian {
    pub(crate) fn new(config: &StorageConfig, readers: Lending, reserve: Reserve) -> Self {
        let wal = config.data_dir.join(format!("{INDEX_FILE}-wal"));
        let grown = wal_bytes(config.sqlite_wal_autocheckpoint_pages);
        let busy_timeout = config.sqlite_busy_timeout;
        let retry_at = Mutex::default();
        Self { wal, bytes_max: grown + grown / OVERGROWN_SHARE, readers, reserve, busy_timeout, retry_at }
    }

    /// Something was committed: the log is begun anew if it has outgrown its bound.
    pub(crate) async fn committed(&self, writer: &SqlitePool) {
        let bytes = self.bytes();
        if bytes <= self.bytes_max() || self.retry_at().is_some_and(|at| Instant::now() < at) {
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
        let begun_anew = self.truncate(writer).await;
        drop(alone);
        let is_done = matches!((&moved, &begun_anew), (Ok(_), Ok(true)));
        if !is_done {
            tracing::debug!(
                ?moved,
                ?begun_anew,
                "the write-ahead log of the index could not be begun anew yet"
            );
        }
        *self.retry_at.lock().unwrap_or_else(PoisonError::into_inner) =
            (!is_done).then(|| Instant::now() + RETRY);
    }

    /// Nothing was written for a while: what is in the log is moved, and its file shortened.
    pub(crate) async fn rest(&self, writer: &SqlitePool) {
        if self.bytes() < REST_BYTES_MIN {
            return;
        }
        let shortened = match checkpoint(writer).await {
            Ok(true) => self.truncate(writer).await,
            moved => moved,
        };
        tracing::debug!(?shortened, "the write-ahead log of the index was to be shortened");
    }

    /// Moves what is left, and shortens the file; `false` when somebody reads it for longer than a moment.
    async fn truncate(&self, writer: &SqlitePool) -> Result<bool, ActorError> {
        let mut writer = writer.acquire().await?;
        set_busy_timeout(&mut writer, TRUNCATE_WAIT).await?;
        let truncated = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *writer).await;
        set_busy_timeout(&mut writer, self.busy_timeout).await?;
        Ok(truncated?.try_get::<i64, _>(0)? == 0)
    }

    fn retry_at(&self) -> Option<Instant> {
        *self.retry_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On a disk that is full there is only what the reserve has given.
    fn bytes_max(&self) -> u64 {
        let given_way = self.reserve.given() > 0;
        if given_way { self.bytes_max.min(self.reserve.whole() / RESERVE_SHARE) } else { self.bytes_max }
    }

    fn bytes(&self) -> u64 {
        std::fs::metadata(&self.wal).map_or(0, |wal| wal.len())
    }
}

async fn set_busy_timeout(writer: &mut SqliteConnection, timeout: Duration) -> Result<(), ActorError> {
    let pragma = format!("PRAGMA busy_timeout = {}", timeout.as_millis());
    sqlx::query(AssertSqlSafe(pragma)).execute(writer).await?;
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
/// As long as the reserve is not whole, it may take this part of it.
const RESERVE_SHARE: u64 = 4;
/// Nobody need read for longer while much is written.
const READING_MAX: Duration = Duration::from_millis(250);
/// Commits wait for somebody who reads with a program of his own for this long, once in [`RETRY`].
const TRUNCATE_WAIT: Duration = Duration::from_millis(50);
const RETRY: Duration = Duration::from_secs(1);
/// Less is left where it is: moving it costs two syncs.
const REST_BYTES_MIN: u64 = 4 << 20;

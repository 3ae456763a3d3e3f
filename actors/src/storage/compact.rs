//! Compaction: what still counts in a mostly dead segment is copied to the end of the log, then the file goes.
//!
//! # Invariants
//! 1. Copies go through the writer like everything else, which decides anew whether each still counts.
//! 2. A file is unlinked only after a checkpoint that holds all moves out of it, with the database file synced.
//! 3. A segment with damage in it that still counts is left alone: it can be neither copied nor given up.

use std::{collections::HashSet, future::Future};

use proto::record::Record;
use sqlx::Row;
use tokio::sync::mpsc;

use super::{
    facts,
    ops::{Copied, Op, Outcome},
    pragmas::{Database, INDEX_FILE},
    read::Reader,
    rows::{Seal, SegmentRow},
    scan::{Found, read_chunks},
    segment,
};
use crate::{
    error::ActorError,
    metrics::{ReadReason, StorageMetrics},
};

/// What a compaction has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Segments whose files are gone.
    pub unlinked: Vec<u32>,
    /// Segments that could not be emptied; not tried again until the next start.
    pub stuck: Vec<u32>,
}

/// What a compaction works with. `submit` hands an operation to the writer.
pub(crate) struct Compaction<S> {
    pub(crate) config: config::StorageConfig,
    pub(crate) database: Database,
    pub(crate) reader: Reader,
    pub(crate) metrics: StorageMetrics,
    /// Segments found stuck before.
    pub(crate) stuck: HashSet<u32>,
    pub(crate) submit: S,
}

/// The segment that is worth compacting most: the one with the smallest share of live bytes, if that is below the
/// threshold.
pub(crate) fn victim<'a>(
    segments: impl IntoIterator<Item = (&'a u32, &'a SegmentRow)>,
    below: f64,
    stuck: &HashSet<u32>,
) -> Option<u32> {
    let sealed = segments.into_iter().filter(|(id, row)| row.seal == Seal::Sealed && !stuck.contains(id));
    let shares = sealed.map(|(id, row)| (*id, share(row)));
    let worth = shares.filter(|(_, share)| *share < below);
    worth.min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0))).map(|(id, _)| id)
}

impl<S, F> Compaction<S>
where
    S: Fn(Op) -> F + Send + Sync,
    F: Future<Output = Result<Outcome, ActorError>> + Send,
{
    /// Compacts until nothing is worth it.
    pub(crate) async fn run(mut self) -> Result<Compacted, ActorError> {
        let mut done = Compacted::default();
        loop {
            let segments = facts::segments(&mut *self.database.readers.acquire().await?).await?;
            self.unlink_drained(&segments, &mut done).await?;
            let Some(id) = victim(&segments, self.config.compact_below, &self.stuck) else { break };
            if !self.empty(id).await? {
                done.stuck.push(id);
                self.stuck.insert(id);
            }
        }
        Ok(done)
    }

    /// Copies forward what counts; `false` when something remains.
    async fn empty(&self, id: u32) -> Result<bool, ActorError> {
        let (sender, mut chunks) = mpsc::channel(1);
        let files = self.reader.files().clone();
        let context = format!("cannot read segment {id}");
        let scan = tokio::task::spawn_blocking(move || {
            let file = files.open(id)?;
            let length = file.metadata()?.len();
            read_chunks(files.disk(), &file, 0, length, &sender)
        });
        while let Some(chunk) = chunks.recv().await {
            for records in batches(chunk) {
                self.count(&records);
                if (self.submit)(Op::Copy { from: id, records }).await? == Outcome::Stale {
                    return Ok(false);
                }
            }
        }
        scan.await.map_err(std::io::Error::other)?.map_err(ActorError::io(context))?;
        Ok((self.submit)(Op::Drained { segment: id }).await? == Outcome::Done)
    }

    fn count(&self, records: &[Copied]) {
        for copied in records {
            if let Record::Blob(bytes) = &copied.record {
                self.metrics.read(ReadReason::Compact, bytes.len() as u64);
            }
        }
    }

    async fn unlink_drained(
        &self,
        segments: &std::collections::HashMap<u32, SegmentRow>,
        done: &mut Compacted,
    ) -> Result<(), ActorError> {
        let drained = segments.iter().filter(|(_, row)| row.seal == Seal::Drained).map(|(id, _)| *id);
        let drained: Vec<u32> = drained.collect();
        if drained.is_empty() || !self.checkpoint().await? {
            return Ok(());
        }
        let folder = self.config.data_dir.join(segment::SEGMENTS_FOLDER);
        for id in drained {
            let (files, folder) = (self.reader.files().clone(), folder.clone());
            let unlink = move || {
                files.forget(id);
                match files.disk().remove(&segment::path(&folder, id)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                    _ => files.disk().sync_folder(&folder),
                }
            };
            let unlinked = tokio::task::spawn_blocking(unlink).await.map_err(std::io::Error::other)?;
            unlinked.map_err(ActorError::io(format!("cannot remove segment {id}")))?;
            (self.submit)(Op::Unlinked { segment: id }).await?;
            done.unlinked.push(id);
        }
        Ok(())
    }

    /// Moves the whole WAL into the database file and syncs that; `false` when a reader was in the way.
    async fn checkpoint(&self) -> Result<bool, ActorError> {
        let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&self.database.writer).await?;
        if row.try_get::<i64, _>(0)? != 0 {
            return Ok(false);
        }
        let disk = self.reader.files().clone();
        let path = self.config.data_dir.join(INDEX_FILE);
        let sync = move || disk.disk().open(&path).and_then(|file| disk.disk().sync(&file));
        let synced = tokio::task::spawn_blocking(sync).await.map_err(std::io::Error::other)?;
        synced.map_err(ActorError::io("cannot make the index durable"))?;
        Ok(true)
    }
}

/// Valid records, in bounded portions. What is damaged is left out: where it counts, the segment stays.
fn batches(chunk: Vec<Found>) -> impl Iterator<Item = Vec<Copied>> {
    let mut found = chunk.into_iter();
    std::iter::from_fn(move || {
        let mut records = Vec::new();
        let mut bytes = 0;
        while records.len() < COPY_RECORDS_MAX && bytes < COPY_BYTES_MAX {
            let Some(next) = found.next() else { break };
            let Found::Record { position, header, payload } = next else { continue };
            if let Ok(record) = Record::decode(header.kind, &payload) {
                bytes += header.record_len();
                records.push(Copied { position, header, record });
            }
        }
        (!records.is_empty()).then_some(records)
    })
}

#[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
fn share(row: &SegmentRow) -> f64 {
    row.live_bytes as f64 / row.bytes.max(1) as f64
}

const COPY_RECORDS_MAX: usize = 128;
const COPY_BYTES_MAX: u64 = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: &[(u32, u64, u64, Seal)], stuck: &[u32], expected: Option<u32>) {
        let row = |bytes, live_bytes, seal| SegmentRow {
            bytes,
            live_bytes,
            min_seq: 0,
            seal,
            written_at_ms: 0,
            verified_at_ms: None,
        };
        let rows: Vec<_> =
            rows.iter().map(|(id, bytes, live, seal)| (*id, row(*bytes, *live, *seal))).collect();
        let stuck = stuck.iter().copied().collect();
        assert_eq!(victim(rows.iter().map(|(id, row)| (id, row)), 0.5, &stuck), expected);
    }

    #[test]
    fn emptiest_sealed_segment_below_the_threshold_is_chosen() {
        check(&[(1, 100, 50, Seal::Sealed)], &[], None);
        check(&[(1, 100, 49, Seal::Sealed), (2, 100, 10, Seal::Sealed)], &[], Some(2));
        check(&[(1, 100, 0, Seal::Active), (2, 100, 0, Seal::Drained)], &[], None);
        check(&[(1, 100, 40, Seal::Sealed), (2, 100, 10, Seal::Sealed)], &[2], Some(1));
        check(&[(1, 0, 0, Seal::Sealed)], &[], Some(1));
    }
}

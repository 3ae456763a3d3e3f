//! Compaction: what still counts in a mostly dead segment is copied to the end of the log, then the file goes.
//!
//! # Invariants
//! 1. Copies go through the writer like everything else, which decides anew whether each still counts.
//! 2. A file is unlinked only after a checkpoint that holds all moves out of it, with the database file synced.
//! 3. A segment with damage in it that still counts is left alone: it can be neither copied nor given up.
//! 4. A segment that the disk does not give is read again when other bytes of it count, or after the next start: a
//!    failing disk is not kept busy with what it cannot read.
//! 5. What cannot be given up yet is not copied from segment to segment: drops count as live as long as they must stay.
//! 6. Drops do not pile up for ever because something old is kept for ever: when they come to a quarter of what counts,
//!    the oldest segments are copied forward although they are full. (One that is damaged cannot be until what is
//!    damaged is put again.)

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    future::Future,
    sync::Arc,
};

use proto::{
    Checksum,
    record::{Kind, Record},
};
use rustix::io::Errno;
use sqlx::Row;
use tokio::sync::{OwnedMutexGuard, mpsc};

use super::{
    disk,
    facts::{self, place},
    guardian,
    ops::{Copied, Op, Outcome},
    pragmas::Database,
    read::Reader,
    readers::Readers,
    reserve::Reserve,
    rows::{Seal, SegmentRow},
    scan::{Found, Scan, read_chunks},
    segment, space,
    victim::{Bounds, holding_up, kept, oldest, oldest_elsewhere, victim},
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
    /// Segments that could not be emptied, with the bytes that must be kept of them: not tried again as long as these
    /// stay the same.
    pub stuck: BTreeMap<u32, u64>,
}

/// What a compaction works with. `submit` hands an operation to the writer.
pub(crate) struct Compaction<S> {
    pub(crate) config: config::StorageConfig,
    pub(crate) database: Database,
    pub(crate) index: Readers,
    pub(crate) reader: Reader,
    pub(crate) reserve: Reserve,
    pub(crate) metrics: StorageMetrics,
    /// Segments found stuck before.
    pub(crate) stuck: BTreeMap<u32, u64>,
    /// Bytes that were refused for lack of room.
    pub(crate) wanted: Option<u64>,
    pub(crate) submit: S,
    /// Nobody else opens the store while this may still unlink a file.
    pub(crate) _lease: Arc<OwnedMutexGuard<()>>,
}

/// How a compaction has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: Result<Compacted, ActorError>,
    /// As [`Compacted::stuck`], whatever the outcome.
    pub(crate) stuck: BTreeMap<u32, u64>,
    /// There is room for what was refused and for a segment more: with less it would soon be short again.
    pub(crate) has_room: bool,
    /// The index could not be made to let go of a segment yet.
    pub(crate) left_over: bool,
}

/// How emptying a segment ended.
enum Emptied {
    /// It was the active one and is not any more, so it can be emptied.
    Sealed,
    /// Nothing of it counts any more.
    All,
    /// Something remains that could not be read.
    Stuck,
    /// A session needs it.
    NotNow,
    /// The disk did not give all of it. Nothing of it is given up.
    Unread(std::io::Error),
}

impl<S, F> Compaction<S>
where
    S: Fn(Op) -> F + Send + Sync,
    F: Future<Output = Result<Outcome, ActorError>> + Send,
{
    /// Compacts until nothing is worth it.
    pub(crate) async fn run(self) -> Ended {
        let mut done = Compacted { stuck: self.stuck.clone(), ..Compacted::default() };
        let outcome = self.empty_all(&mut done).await;
        let segments = self.segments().await.unwrap_or_default();
        Ended {
            stuck: done.stuck.clone(),
            outcome: outcome.map(|()| done),
            has_room: self.wanted.is_some() && !self.is_short(&segments),
            left_over: segments.values().any(|row| row.seal == Seal::Drained),
        }
    }

    /// A segment that cannot be read does not keep the others from being compacted; its error is told in the end.
    async fn empty_all(&self, done: &mut Compacted) -> Result<(), ActorError> {
        let (mut not_now, mut unread) = (HashSet::new(), None);
        loop {
            let segments = self.segments().await?;
            done.stuck
                .retain(|id, bytes| segments.get(id).is_some_and(|row| kept(&segments, *id, row) == *bytes));
            let is_out = |id, _: &SegmentRow| not_now.contains(&id) || done.stuck.contains_key(&id);
            let bounds = self.bounds(&segments);
            // First what keeps all others from being emptied: under load there may always be another victim.
            let next = oldest(&segments, &bounds, is_out).or_else(|| victim(&segments, &bounds, is_out));
            if (next.is_none() || self.is_time_to_unlink(&segments, &bounds))
                && self.unlink_drained(&segments, done).await?
            {
                // What is gone may have kept drops in others.
                continue;
            }
            let Some(id) = next else { break };
            let is_stuck = match self.empty(id, &segments).await? {
                Emptied::All | Emptied::Sealed => false,
                Emptied::NotNow => !not_now.insert(id),
                Emptied::Stuck => true,
                Emptied::Unread(error) => {
                    let is_lasting = !is_passing(&error);
                    unread.get_or_insert(ActorError::io(format!("cannot read segment {id}"))(error));
                    is_lasting || !not_now.insert(id)
                }
            };
            if is_stuck {
                let segments = self.segments().await?;
                done.stuck.extend(segments.get(&id).map(|row| (id, kept(&segments, id, row))));
            }
        }
        unread.map_or(Ok(()), Err)
    }

    /// A checkpoint is not made for each small segment.
    fn is_time_to_unlink(&self, segments: &HashMap<u32, SegmentRow>, bounds: &Bounds) -> bool {
        let drained = segments.values().filter(|row| row.seal == Seal::Drained).map(|row| row.bytes);
        drained.sum::<u64>() >= self.config.segment_bytes
            || holding_up(segments, bounds).is_some_and(|(_, row)| row.seal == Seal::Drained)
            || self.is_short(segments)
    }

    async fn segments(&self) -> Result<HashMap<u32, SegmentRow>, ActorError> {
        self.index.as_it_is(facts::segments).await
    }

    /// Whether there is no room yet for what was refused.
    fn is_short(&self, segments: &HashMap<u32, SegmentRow>) -> bool {
        let used = segments.values().map(|row| row.bytes).sum();
        let wanted = self.wanted.map(|bytes| bytes + self.config.segment_bytes);
        wanted.is_some_and(|wanted| space::refusal(&self.config, self.reserve.room(), used, wanted).is_some())
    }

    /// As long as room is short, segments are compacted that are not worth it otherwise, one by one.
    fn bounds(&self, segments: &HashMap<u32, SegmentRow>) -> Bounds {
        let below = self.config.compact_below;
        let (below, seal_share) = if self.is_short(segments) {
            (below.max(BELOW_WHEN_SHORT), SEAL_SHARE_WHEN_SHORT)
        } else {
            (below, SEAL_SHARE)
        };
        let active_dead_min = self.config.segment_bytes / seal_share;
        let live: u64 = segments.values().map(|row| row.live_bytes).sum();
        Bounds {
            below,
            active_dead_min,
            drop_bytes_max: active_dead_min.max(live / DROPS_SHARE),
            room: self.reserve.space().map_or(u64::MAX, |space| space.free / COPY_SHARE),
        }
    }

    /// Copies forward what counts.
    async fn empty(&self, id: u32, segments: &HashMap<u32, SegmentRow>) -> Result<Emptied, ActorError> {
        let Some(row) = segments.get(&id).copied() else { return Ok(Emptied::NotNow) };
        if row.seal == Seal::Active {
            let sealed = (self.submit)(Op::Seal { segment: id }).await?;
            return Ok(if sealed == Outcome::Done { Emptied::Sealed } else { Emptied::NotNow });
        }
        let (sender, mut chunks) = mpsc::channel(1);
        let files = self.reader.files().clone();
        let scan = tokio::task::spawn_blocking(move || {
            let file = files.open(id)?;
            let length = file.metadata()?.len().min(row.bytes);
            read_chunks(Scan::new(files.disk(), &file, files.salt(), 0, length), &sender)
        });
        let mut read = Read::default();
        while let Some(chunk) = chunks.recv().await {
            for records in batches(chunk) {
                self.count(&records);
                read.note(&records);
                if (self.submit)(Op::Copy { from: id, records }).await? == Outcome::Stale {
                    return Ok(Emptied::NotNow);
                }
            }
        }
        if let Err(error) = scan.await.map_err(std::io::Error::other)? {
            return Ok(Emptied::Unread(error));
        }
        if read.bytes < row.bytes {
            tracing::error!(segment = id, "a part of the segment is damaged");
            self.give_up_blobs(id).await?;
            if read.drop_bytes < row.drop_bytes && oldest_elsewhere(segments, id) < row.drop_seq {
                // Without the drop that is damaged, what it ended would count again.
                return Ok(Emptied::Stuck);
            }
        }
        let drained = (self.submit)(Op::Drained { segment: id }).await?;
        Ok(if drained == Outcome::Done { Emptied::All } else { Emptied::Stuck })
    }

    /// Blobs that the index still has in a segment all of which was read are damaged. Those that nobody wants must be
    /// forgotten too, or they would be taken for good when somebody puts the same bytes.
    async fn give_up_blobs(&self, segment: u32) -> Result<(), ActorError> {
        let blobs = sqlx::query("SELECT checksum, segment, position, len FROM blobs WHERE segment = ?");
        let of_segment = async |index: &mut _| Ok(blobs.bind(segment).fetch_all(index).await?);
        let rows = self.index.as_it_is(of_segment).await?;
        for row in &rows {
            let (checksum, place) = (Checksum::try_from(row.try_get::<&[u8], _>(0)?)?, place(row, 1)?);
            (self.submit)(Op::Suspect { checksum, place }).await?;
        }
        Ok(())
    }

    fn count(&self, records: &[Copied]) {
        for copied in records {
            if let Record::Blob(bytes) = &copied.record {
                self.metrics.read(ReadReason::Compact, bytes.len() as u64);
            }
        }
    }

    /// Whether any file went.
    async fn unlink_drained(
        &self,
        segments: &HashMap<u32, SegmentRow>,
        done: &mut Compacted,
    ) -> Result<bool, ActorError> {
        let drained = segments.iter().filter(|(_, row)| row.seal == Seal::Drained);
        if let Some((id, _)) = drained.clone().find(|(_, row)| row.live_bytes > 0) {
            let reason = format!("segment {id} is given up and yet counts");
            return Err(ActorError::damaged_index(reason));
        }
        let drained: Vec<u32> = drained.map(|(id, _)| *id).collect();
        if drained.is_empty() || !guardian::checkpoint(&self.database.writer).await? {
            return Ok(false);
        }
        let folder = self.config.data_dir.join(segment::SEGMENTS_FOLDER);
        for id in drained {
            let (files, folder) = (self.reader.files().clone(), folder.clone());
            let unlink = move || {
                let removed = disk::remove_if_there(files.disk(), &segment::path(&folder, id));
                files.forget(id);
                removed.and_then(|()| files.disk().sync_folder(&folder))
            };
            let unlinked = tokio::task::spawn_blocking(unlink).await.map_err(std::io::Error::other)?;
            unlinked.map_err(ActorError::io(format!("cannot remove segment {id}")))?;
            (self.submit)(Op::Unlinked { segment: id }).await?;
            done.unlinked.push(id);
        }
        Ok(true)
    }
}

/// What was read of a segment.
#[derive(Debug, Default)]
struct Read {
    bytes: u64,
    drop_bytes: u64,
}

impl Read {
    fn note(&mut self, records: &[Copied]) {
        for Copied { header, .. } in records {
            self.bytes += header.record_len();
            match header.kind {
                Kind::Drop | Kind::Commit | Kind::Forget => self.drop_bytes += header.record_len(),
                Kind::Blob | Kind::Ref | Kind::Document => {}
            }
        }
    }
}

/// Whether the cause lies with this process or the system, and not with the disk or what is on it.
fn is_passing(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// Valid records, in bounded portions. What is damaged is left out: where it counts, the segment stays.
fn batches(chunk: Vec<Found>) -> impl Iterator<Item = Vec<Copied>> {
    let mut found = chunk.into_iter();
    std::iter::from_fn(move || {
        let mut records = Vec::new();
        let mut bytes = 0;
        while records.len() < COPY_RECORDS_MAX && bytes < COPY_BYTES_MAX {
            let Some(next) = found.next() else { break };
            let Found::Record { position, header, record } = next else { continue };
            bytes += header.record_len();
            records.push(Copied { position, header, record });
        }
        (!records.is_empty()).then_some(records)
    })
}

const COPY_RECORDS_MAX: usize = 128;
const COPY_BYTES_MAX: u64 = 2 << 20;
/// Copies take at most this part of what the disk has free, what is kept free included: the index needs some, too.
const COPY_SHARE: u64 = 2;
/// The active segment is sealed when at least this part of a full one need not be kept.
const SEAL_SHARE: u64 = 4;
/// Drops that must stay take at most this part of what counts, or of a segment that is sealed before it is full.
const DROPS_SHARE: u64 = 4;
/// While room is short: at most three bytes are copied for each that is won.
const BELOW_WHEN_SHORT: f64 = 0.75;
/// As [`SEAL_SHARE`], while room is short.
const SEAL_SHARE_WHEN_SHORT: u64 = 64;

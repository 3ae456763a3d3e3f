//! Bringing the index up to the log's end: at start, and after a write that failed.
//!
//! The log is the truth. What stands behind the watermark is read twice ([`super::replay`]); per account and fragment
//! the highest sequence number wins. With an empty index the same replay, from the first segment on, rebuilds all of it.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use config::StorageConfig;
use proto::{
    Checksum, TesseraId,
    record::{Salt, SessionId},
};
use tokio::sync::mpsc;

use super::{
    disk::Disk,
    facts, index,
    log::Log,
    pragmas::Database,
    rows::{DepositKey, LogEnd, Seal, SegmentRow, Watermark},
    salt,
    scan::{Found, Scan, read_chunks},
    segment,
    snapshot::Restored,
    view::View,
};
use crate::{clock, error::ActorError};

/// The log and its index, in step.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) view: View,
    pub(crate) log: Log,
    pub(crate) next_seq: u64,
    /// Tesserae that do not count and are to be purged.
    pub(crate) purge: Vec<TesseraId>,
    /// Whether the log had been closed in good order.
    pub(crate) was_clean: bool,
    /// Of an index that was empty before: of which tesserae something was dropped, and with which sequence number last, as
    /// far as the log says so.
    pub(crate) dropped: Option<HashMap<TesseraId, u64>>,
    pub(crate) report: Report,
}

/// Whether what stands behind the watermark is on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// It may be in the page cache only, as a killed process left it: it is synced before it is built upon.
    Unknown,
    /// It was synced, and what was not was cut off. A sync that failed is not tried again.
    Synced,
}

/// What a recovery found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Records read behind the watermark.
    pub records: u64,
    /// Places in segments that are no valid record although one follows, or that the device does not give.
    pub damage: Vec<Damage>,
    /// Bytes at the end of a segment that are no valid record and have none behind them there: what a write left that
    /// never came to its end. It stays, so whoever reads the segment again finds it again.
    pub unfinished: Vec<Damage>,
    /// Segments that are shorter than they were, or gone.
    pub lost_segments: Vec<u32>,
    /// The tesserae whose documents were in them, one for each document.
    pub lost_documents: Vec<TesseraId>,
    /// Whether the whole index was made anew from the segments.
    pub rebuilt: bool,
    /// What it then got back of what the segments do not know; `None` when there was no snapshot of that.
    pub restored: Option<Restored>,
}

/// Bytes in a segment that are no valid record.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Damage {
    /// The segment's number.
    pub segment: u32,
    /// Where it starts, in bytes.
    pub position: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// The checksum of the blob that was there, when its header can still be read.
    pub blob: Option<Checksum>,
}

/// Brings index and log into step and says where to go on. Nothing is ever appended behind an unclean end: the last
/// segment is sealed and a new one begun.
pub(crate) async fn recover(
    config: &StorageConfig,
    disk: &Arc<dyn Disk>,
    database: &Database,
    tail: Tail,
) -> Result<Recovered, ActorError> {
    let folder = config.data_dir.join(segment::SEGMENTS_FOLDER);
    let ids = durable_ids(disk, &folder).await?;
    let salt = settle_salt(disk, &config.data_dir, &ids).await?;
    let mut connection = database.planner().await?;
    let state = facts::log_end(&mut connection).await?;
    let segments = facts::segments(&mut connection).await?;
    let view = View::new(segments, facts::scrub(&mut connection).await?);
    let mut replay = Replay {
        database,
        disk: disk.clone(),
        folder,
        salt,
        connection,
        view,
        state,
        committed: HashSet::new(),
        tombstones: HashMap::new(),
        forgotten: HashMap::new(),
        first_seq: state.next_seq,
        is_new: state.watermark == Watermark::default(),
        report: Report {
            rebuilt: state.watermark == Watermark::default() && !ids.is_empty(),
            ..Report::default()
        },
        tail,
        told: Instant::now(),
    };
    replay.compare_segments(&ids).await?;
    let end = replay.clean_end(&ids)?;
    if end.is_none() {
        replay.run(&ids).await?;
    }
    replay.finish(config, &ids, end).await
}

/// The segments that are there. A file that was made or removed just before a crash has its name, or is gone, durably
/// when this returns: both are built upon from here on.
async fn durable_ids(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Vec<u32>, ActorError> {
    let context = format!("cannot list {}", folder.display());
    let (disk, folder) = (disk.clone(), folder.to_owned());
    let listed = tokio::task::spawn_blocking(move || {
        let ids = segment::ids(&folder)?;
        disk.sync_folder(&folder)?;
        Ok(ids)
    });
    listed.await.map_err(std::io::Error::other)?.map_err(ActorError::io(context))
}

async fn settle_salt(disk: &Arc<dyn Disk>, data_dir: &Path, ids: &[u32]) -> Result<Salt, ActorError> {
    let (disk, data_dir, ids) = (disk.clone(), data_dir.to_owned(), ids.to_vec());
    let settled = tokio::task::spawn_blocking(move || salt::settle(disk.as_ref(), &data_dir, &ids));
    settled.await.map_err(std::io::Error::other)?
}

/// A recovery under way.
pub(super) struct Replay<'a> {
    database: &'a Database,
    pub(super) disk: Arc<dyn Disk>,
    folder: PathBuf,
    salt: Salt,
    pub(super) connection: sqlx::SqliteConnection,
    pub(super) view: View,
    pub(super) state: LogEnd,
    pub(super) committed: HashSet<SessionId>,
    /// The newest drop of each deposit. Bounded by the drops behind the watermark.
    pub(super) tombstones: HashMap<DepositKey, u64>,
    /// When each tessera was last forgotten, by sequence number.
    pub(super) forgotten: HashMap<TesseraId, u64>,
    /// Records written after the watermark for the first time have at least this sequence number.
    pub(super) first_seq: u64,
    pub(super) report: Report,
    /// The index was empty.
    is_new: bool,
    tail: Tail,
    told: Instant,
}

impl Replay<'_> {
    /// Where a cleanly closed log ends, if it was closed cleanly and nothing has touched it since.
    fn clean_end(&self, ids: &[u32]) -> Result<Option<Watermark>, ActorError> {
        let end = self.state.watermark;
        let untouched = self.state.clean && self.tail == Tail::Unknown && ids.last() == Some(&end.segment);
        Ok((untouched && self.length(end.segment)? == end.position).then_some(end))
    }

    async fn run(&mut self, ids: &[u32]) -> Result<(), ActorError> {
        let from = self.state.watermark;
        let behind: Vec<u32> = ids.iter().copied().filter(|id| *id >= from.segment).collect();
        for pass in [Pass::Gather, Pass::Apply] {
            if pass == Pass::Apply {
                self.purge_ended_sessions().await?;
            }
            for id in &behind {
                let position = if *id == from.segment { from.position } else { 0 };
                self.segment(pass, *id, position).await?;
            }
        }
        Ok(())
    }

    async fn segment(&mut self, pass: Pass, id: u32, from: u64) -> Result<(), ActorError> {
        let path = segment::path(&self.folder, id);
        let context = format!("cannot read {}", path.display());
        let file = Arc::new(self.disk.open(&path).map_err(ActorError::io(context.clone()))?);
        let length = self.length(id)?;
        if pass == Pass::Gather {
            if self.tail == Tail::Unknown {
                self.make_durable(&file, &context).await?;
            }
            let now = clock::now_ms();
            self.view.segments.entry(id).or_insert(new_segment(from, now));
        }
        let (sender, mut chunks) = mpsc::channel(CHUNKS_AHEAD);
        // While the node runs, what cannot be read is tried again later: it may be a disk that fails for a moment, and
        // what is skipped here is not looked at again. At a start there is no later.
        let (disk, salt, at_start) = (self.disk.clone(), self.salt, self.tail == Tail::Unknown);
        let reader = tokio::task::spawn_blocking(move || {
            let scan = Scan::new(disk.as_ref(), &file, salt, from, length);
            read_chunks(if at_start { scan.skipping_unreadable() } else { scan }, &sender)
        });
        let mut trailing = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            match pass {
                Pass::Gather => self.gather(id, &chunk, &mut trailing).await?,
                Pass::Apply => self.apply(id, &chunk).await?,
            }
            self.tell(id, &chunk);
        }
        reader.await.map_err(std::io::Error::other)?.map_err(ActorError::io(context))?;
        self.flush().await?;
        self.report.unfinished.append(&mut trailing);
        Ok(())
    }

    /// What is only in the page cache must not be built upon: a later power cut would take it away from under
    /// what was acknowledged since.
    async fn make_durable(&self, file: &Arc<File>, context: &str) -> Result<(), ActorError> {
        let (disk, file) = (self.disk.clone(), file.clone());
        let synced = tokio::task::spawn_blocking(move || disk.sync(&file)).await;
        synced.map_err(std::io::Error::other)?.map_err(ActorError::io(context))
    }

    /// Begins or goes on with a segment, and writes that this is done.
    async fn finish(
        mut self,
        config: &StorageConfig,
        ids: &[u32],
        clean: Option<Watermark>,
    ) -> Result<Recovered, ActorError> {
        let mut log = self.open_log(config, ids, clean)?;
        let active = log.end().segment;
        let known: Vec<u32> = self.view.segments.keys().copied().filter(|id| *id != active).collect();
        for id in known {
            self.view
                .segment(id, |row| row.seal = if row.seal == Seal::Active { Seal::Sealed } else { row.seal });
        }
        self.view.segments.entry(active).or_insert(new_segment(0, clock::now_ms()));
        self.view.segment(active, |row| row.seal = Seal::Active);
        self.state.watermark = log.end();
        self.flush().await?;
        self.write_lost_refs(&mut log).await?;
        let purge = facts::not_counting(&mut self.connection).await?;
        let purge = purge.into_iter().map(|(tessera, _)| tessera).collect();
        let (next_seq, was_clean) = (self.state.next_seq, clean.is_some());
        let mut dropped = self.forgotten;
        for ((_, id), seq) in self.tombstones {
            let newest = dropped.entry(id.tessera).or_default();
            *newest = seq.max(*newest);
        }
        let dropped = self.is_new.then_some(dropped);
        Ok(Recovered { view: self.view, log, next_seq, purge, was_clean, dropped, report: self.report })
    }

    /// A new segment has a number that none had before: what the index says of a lost one must not be said of it.
    fn open_log(
        &self,
        config: &StorageConfig,
        ids: &[u32],
        clean: Option<Watermark>,
    ) -> Result<Log, ActorError> {
        let (disk, folder, size) = (self.disk.clone(), self.folder.clone(), config.segment_bytes);
        let salt = self.salt;
        let known = self.view.segments.keys().chain(ids).copied();
        let last = known.chain([self.state.watermark.segment]).max().unwrap_or(0);
        // An empty one may be gone on with, unless writing has just failed in it.
        let is_empty = self.tail == Tail::Unknown && self.length(last).is_ok_and(|length| length == 0);
        match clean.or(is_empty.then_some(Watermark { segment: last, position: 0 })) {
            Some(end) => Log::reopen(disk, folder, size, salt, end),
            None => Log::begin(disk, folder, size, salt, last + 1),
        }
    }

    /// As [`Replay::flush`], once there is enough for it: rows that are written together share pages.
    pub(super) async fn flush_if_many(&mut self) -> Result<(), ActorError> {
        if self.view.rows_changed() >= ROWS_PER_WRITE { self.flush().await } else { Ok(()) }
    }

    /// Writes what was changed, under the watermark as it was: a replay that is interrupted begins anew.
    pub(super) async fn flush(&mut self) -> Result<(), ActorError> {
        let changes = self.view.take_changes();
        let end = LogEnd { watermark: self.state.watermark, next_seq: self.state.next_seq, clean: false };
        index::write(self.database, &changes, end, clock::now_ms()).await?;
        self.view.settle(&changes);
        Ok(())
    }

    pub(super) fn length(&self, id: u32) -> Result<u64, ActorError> {
        let path = segment::path(&self.folder, id);
        let metadata = std::fs::metadata(&path);
        Ok(metadata.map_err(ActorError::io(format!("cannot look at {}", path.display())))?.len())
    }

    fn tell(&mut self, segment: u32, chunk: &[Found]) {
        if self.told.elapsed() >= TELL_INTERVAL {
            self.told = Instant::now();
            let position = match chunk.last() {
                Some(Found::Record { position, .. } | Found::Damage { position, .. }) => *position,
                None => 0,
            };
            tracing::info!(
                segment,
                position,
                records = self.report.records,
                "recovering the index from the log"
            );
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Gather,
    Apply,
}

pub(crate) fn new_segment(bytes: u64, now_ms: i64) -> SegmentRow {
    SegmentRow {
        bytes,
        live_bytes: 0,
        min_seq: u64::MAX,
        drop_bytes: 0,
        drop_seq: 0,
        ref_seqs: 0,
        seal: Seal::Active,
        written_at_ms: now_ms,
        verified_at_ms: None,
    }
}

/// Some hundred bytes of memory each.
const ROWS_PER_WRITE: usize = 16384;
const CHUNKS_AHEAD: usize = 2;
/// Whatever takes longer says how far it is.
const TELL_INTERVAL: Duration = Duration::from_secs(2);

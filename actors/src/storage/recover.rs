//! Bringing the index up to the log's end: at start, and after a write that failed.
//!
//! The log is the truth. What stands behind the watermark is read twice: first the blobs and the commits, then refs,
//! drops and documents, of which per account and fragment the highest sequence number wins. With an empty index the
//! same replay, from the first segment on, rebuilds all of it.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use config::StorageConfig;
use proto::{
    Checksum, TesseraId,
    record::{Claim, Kind, Record, SessionId},
};
use tokio::sync::mpsc;

use super::{
    disk::Disk,
    facts::{self, LogState, Need},
    index::{self, LogEnd},
    log::Log,
    ops,
    pragmas::Database,
    rows::{BlobState, DepositKey, Place, Seal, SegmentRow, Watermark},
    scan::{Found, Scan},
    segment,
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
    /// Places in segments that are no valid record.
    pub damage: Vec<Damage>,
    /// Segments that are shorter than they were, or gone.
    pub lost_segments: Vec<u32>,
    /// Whether the whole index was made anew from the segments.
    pub rebuilt: bool,
}

/// Bytes in a segment that are no valid record although valid ones follow.
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
    let mut connection = database.planner().await?;
    let state = facts::log_state(&mut connection).await?;
    let view = View::new(facts::segments(&mut connection).await?);
    let mut replay = Replay {
        database,
        disk: disk.clone(),
        folder,
        connection,
        view,
        state,
        committed: HashSet::new(),
        tombstones: HashMap::new(),
        report: Report {
            rebuilt: state.watermark == Watermark::default() && !ids.is_empty(),
            ..Report::default()
        },
        tail,
        told: Instant::now(),
    };
    replay.find_lost_segments(&ids).await?;
    let end = replay.clean_end(&ids)?;
    if end.is_none() {
        replay.run(&ids).await?;
    }
    replay.finish(config, &ids, end).await
}

/// The segments that are there. A file that was made or removed just before a crash has its name, or is gone, durably
/// when this returns: both are built upon from here on.
async fn durable_ids(disk: &Arc<dyn Disk>, folder: &std::path::Path) -> Result<Vec<u32>, ActorError> {
    let context = format!("cannot list {}", folder.display());
    let (disk, folder) = (disk.clone(), folder.to_owned());
    let listed = tokio::task::spawn_blocking(move || {
        let ids = segment::ids(&folder)?;
        disk.sync_folder(&folder)?;
        Ok(ids)
    });
    listed.await.map_err(std::io::Error::other)?.map_err(ActorError::io(context))
}

struct Replay<'a> {
    database: &'a Database,
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    connection: sqlx::SqliteConnection,
    view: View,
    state: LogState,
    committed: HashSet<SessionId>,
    /// The newest drop of each deposit seen so far. Bounded by the drops behind the watermark.
    tombstones: HashMap<DepositKey, u64>,
    report: Report,
    tail: Tail,
    told: Instant,
}

impl Replay<'_> {
    /// Compares the segments the index knows with the files. Blobs in what is gone are marked missing.
    async fn find_lost_segments(&mut self, ids: &[u32]) -> Result<(), ActorError> {
        let rows: Vec<_> = self.view.segments.iter().map(|(id, row)| (*id, *row)).collect();
        for (id, row) in rows {
            let length = if ids.contains(&id) { self.length(id)? } else { 0 };
            if length >= row.bytes {
                continue;
            }
            if !ids.contains(&id) && row.live_bytes == 0 {
                self.view.segments.remove(&id);
                self.view.touched_segments.push(id);
                continue;
            }
            self.report.lost_segments.push(id);
            self.mark_missing(id, length).await?;
        }
        self.flush().await
    }

    async fn mark_missing(&mut self, segment: u32, from: u64) -> Result<(), ActorError> {
        let sql = "SELECT checksum FROM blobs WHERE segment = ? AND position + 64 + len > ?";
        let lost: Vec<Vec<u8>> = sqlx::query_scalar(sql)
            .bind(segment)
            .bind(from.cast_signed())
            .fetch_all(&mut self.connection)
            .await?;
        for chunk in lost.chunks(RECORDS_PER_WRITE) {
            let sums = chunk.iter().map(|sum| Checksum::try_from(sum.as_slice()));
            let sums = sums.collect::<Result<Vec<_>, _>>()?;
            let needs: Vec<_> = sums.iter().map(|sum| ops::blob(*sum)).collect();
            facts::load(&mut self.connection, &mut self.view, &needs).await?;
            for sum in sums {
                self.view.doubt_blob(sum, BlobState::Missing);
            }
            self.flush().await?;
        }
        Ok(())
    }

    /// Where a cleanly closed log ends, if it was closed cleanly and nothing has touched it since.
    fn clean_end(&self, ids: &[u32]) -> Result<Option<Watermark>, ActorError> {
        let end = self.state.watermark;
        let untouched = self.state.clean && ids.last() == Some(&end.segment);
        Ok((untouched && self.length(end.segment)? == end.position).then_some(end))
    }

    async fn run(&mut self, ids: &[u32]) -> Result<(), ActorError> {
        let from = self.state.watermark;
        let behind: Vec<u32> = ids.iter().copied().filter(|id| *id >= from.segment).collect();
        for pass in [Pass::Blobs, Pass::Claims] {
            for id in &behind {
                let position = if *id == from.segment { from.position } else { 0 };
                self.segment(pass, *id, position, Some(id) == behind.last()).await?;
            }
        }
        Ok(())
    }

    async fn segment(&mut self, pass: Pass, id: u32, from: u64, last: bool) -> Result<(), ActorError> {
        let path = segment::path(&self.folder, id);
        let context = format!("cannot read {}", path.display());
        let file = Arc::new(self.disk.open(&path).map_err(ActorError::io(context.clone()))?);
        let length = self.length(id)?;
        if pass == Pass::Blobs {
            if self.tail == Tail::Unknown {
                self.make_durable(&file, &context).await?;
            }
            let now = clock::now_ms();
            self.view.segments.entry(id).or_insert(new_segment(from, now));
        }
        let (sender, mut chunks) = mpsc::channel(CHUNKS_AHEAD);
        let disk = self.disk.clone();
        let reader =
            tokio::task::spawn_blocking(move || read_chunks(disk.as_ref(), &file, from, length, &sender));
        let mut trailing = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            match pass {
                Pass::Blobs => self.blobs(id, &chunk, &mut trailing).await?,
                Pass::Claims => self.claims(id, &chunk).await?,
            }
            self.tell(id, &chunk);
        }
        reader.await.map_err(std::io::Error::other)?.map_err(ActorError::io(context))?;
        // Without a valid record behind it, it is what a write left that never came to its end.
        if !last {
            self.report.damage.append(&mut trailing);
        }
        Ok(())
    }

    /// What is only in the page cache must not be built upon: a later power cut would take it away from under
    /// what was acknowledged since.
    async fn make_durable(&self, file: &Arc<File>, context: &str) -> Result<(), ActorError> {
        let (disk, file) = (self.disk.clone(), file.clone());
        let synced = tokio::task::spawn_blocking(move || disk.sync(&file)).await;
        synced.map_err(std::io::Error::other)?.map_err(ActorError::io(context))
    }

    async fn blobs(
        &mut self,
        segment: u32,
        chunk: &[Found],
        trailing: &mut Vec<Damage>,
    ) -> Result<(), ActorError> {
        let mut needs = Vec::new();
        for found in chunk {
            match found {
                Found::Record { header, .. } if header.kind == Kind::Blob => {
                    needs.push(ops::blob(header.payload_hash));
                }
                _ => {}
            }
        }
        facts::load(&mut self.connection, &mut self.view, &needs).await?;
        for found in chunk {
            match found {
                Found::Record { position, header, payload } => {
                    self.report.damage.append(trailing);
                    self.report.records += 1;
                    self.note(segment, *position, header);
                    match Record::decode(header.kind, payload)? {
                        Record::Blob(_) => self.blob(segment, *position, header),
                        Record::Commit { session, .. } => {
                            self.committed.insert(session);
                        }
                        _ => {}
                    }
                }
                Found::Damage { position, length, header } => {
                    let blob =
                        header.filter(|header| header.kind == Kind::Blob).map(|header| header.payload_hash);
                    trailing.push(Damage { segment, position: *position, length: *length, blob });
                }
            }
        }
        self.flush().await
    }

    fn blob(&mut self, segment: u32, position: u64, header: &proto::record::Header) {
        let row = self.view.blobs.get(&header.payload_hash);
        if row.is_none_or(|row| row.state != BlobState::Ok) {
            let place = Place { segment, position, len: header.payload_len };
            self.view.add_blob(header.payload_hash, place);
        }
    }

    fn note(&mut self, segment: u32, position: u64, header: &proto::record::Header) {
        self.state.next_seq = self.state.next_seq.max(header.sequence + 1);
        let refers = matches!(header.kind, Kind::Ref | Kind::Document);
        self.view.segment(segment, |row| {
            row.bytes = row.bytes.max(position + header.record_len());
            if refers {
                row.min_seq = row.min_seq.min(header.sequence);
            }
        });
    }

    async fn claims(&mut self, segment: u32, chunk: &[Found]) -> Result<(), ActorError> {
        let mut records = Vec::new();
        let mut needs = Vec::new();
        for found in chunk {
            let Found::Record { position, header, payload } = found else { continue };
            if header.kind == Kind::Blob {
                continue;
            }
            let record = Record::decode(header.kind, payload)?;
            match &record {
                Record::Ref(claim) | Record::Drop(claim) => needs.push(Need {
                    account: claim.account,
                    fragment: claim.fragment,
                    checksum: Some(claim.checksum),
                }),
                Record::Document { tessera, kind, bytes, .. } => {
                    let key = (*tessera, *kind, Checksum::of(bytes));
                    facts::load_document(&mut self.connection, &mut self.view, key).await?;
                }
                Record::Commit { tessera, .. } => {
                    facts::load_tessera(&mut self.connection, &mut self.view, *tessera).await?;
                }
                Record::Blob(_) => {}
            }
            records.push((*position, *header, record));
        }
        facts::load(&mut self.connection, &mut self.view, &needs).await?;
        for (position, header, record) in records {
            let place = Place { segment, position, len: header.payload_len };
            self.claim(place, header.sequence, &record);
        }
        self.flush().await
    }

    fn claim(&mut self, place: Place, seq: u64, record: &Record) {
        let now = clock::now_ms();
        match record {
            Record::Ref(claim) if self.counts(claim.session) => self.refer(place.segment, seq, claim),
            Record::Drop(claim) => {
                let key = (claim.account, claim.fragment);
                let newest = self.tombstones.entry(key).or_default();
                *newest = seq.max(*newest);
                if self.view.deposits.get(&key).is_some_and(|row| row.seq < seq) {
                    self.view.remove_deposit(claim.account, claim.fragment);
                }
            }
            Record::Document { session, tessera, kind, bytes } if self.counts(*session) => {
                let key = (*tessera, *kind, Checksum::of(bytes));
                if self.view.documents.get(&key).is_none() {
                    self.view.add_document(key, place, SessionId::NONE, now);
                }
            }
            Record::Commit { tessera, .. } => self.view.commit_tessera(*tessera),
            Record::Ref(_) | Record::Document { .. } | Record::Blob(_) => {}
        }
    }

    fn refer(&mut self, segment: u32, seq: u64, claim: &Claim) {
        let key = (claim.account, claim.fragment);
        let dropped = self.tombstones.get(&key).is_some_and(|drop| *drop > seq);
        let newer = self.view.deposits.get(&key).is_some_and(|row| row.seq >= seq);
        if !dropped && !newer {
            let counting = Claim { session: SessionId::NONE, ..*claim };
            self.view.add_deposit(&counting, segment, seq, clock::now_ms());
        }
    }

    fn counts(&self, session: SessionId) -> bool {
        session == SessionId::NONE || self.committed.contains(&session)
    }

    /// Begins or goes on with a segment, and writes that this is done.
    async fn finish(
        mut self,
        config: &StorageConfig,
        ids: &[u32],
        clean: Option<Watermark>,
    ) -> Result<Recovered, ActorError> {
        let last = ids.last().copied();
        let (disk, folder, size) = (self.disk.clone(), self.folder.clone(), config.segment_bytes);
        let empty_last = last.filter(|id| self.length(*id).is_ok_and(|length| length == 0));
        let end = clean.or(empty_last.map(|segment| Watermark { segment, position: 0 }));
        let log = match end {
            Some(end) => Log::reopen(disk, folder, size, end)?,
            None => Log::begin(disk, folder, size, last.map_or(1, |last| last + 1))?,
        };
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
        let sql = "SELECT tessera FROM tesseras WHERE session != 0 OR holdings = 0";
        let purge: Vec<Vec<u8>> = sqlx::query_scalar(sql).fetch_all(&mut self.connection).await?;
        let purge = purge.iter().map(|id| TesseraId::try_from(id.as_slice())).collect::<Result<_, _>>()?;
        Ok(Recovered { view: self.view, log, next_seq: self.state.next_seq, purge, report: self.report })
    }

    /// Writes what was changed, under the watermark as it was: a replay that is interrupted begins anew.
    async fn flush(&mut self) -> Result<(), ActorError> {
        let changes = self.view.take_changes();
        let end = LogEnd { watermark: self.state.watermark, next_seq: self.state.next_seq, clean: false };
        index::write(&self.database.writer, &changes, end, clock::now_ms()).await?;
        self.view.settle(&changes);
        Ok(())
    }

    fn length(&self, id: u32) -> Result<u64, ActorError> {
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
    Blobs,
    Claims,
}

pub(crate) fn new_segment(bytes: u64, now_ms: i64) -> SegmentRow {
    SegmentRow {
        bytes,
        live_bytes: 0,
        min_seq: u64::MAX,
        seal: Seal::Active,
        written_at_ms: now_ms,
        verified_at_ms: None,
    }
}

/// Scans a segment and passes on what it finds, some records at a time.
pub(crate) fn read_chunks(
    disk: &dyn Disk,
    file: &File,
    from: u64,
    length: u64,
    sender: &mpsc::Sender<Vec<Found>>,
) -> std::io::Result<()> {
    let mut scan = Scan::new(disk, file, from, length);
    let mut chunk = Vec::new();
    let mut bytes = 0;
    while let Some(found) = scan.next()? {
        bytes += if let Found::Record { payload, .. } = &found { payload.len() } else { 0 };
        chunk.push(found);
        if chunk.len() >= RECORDS_PER_WRITE || bytes >= CHUNK_BYTES_MAX {
            bytes = 0;
            if sender.blocking_send(std::mem::take(&mut chunk)).is_err() {
                return Ok(());
            }
        }
    }
    // A receiver that is gone has failed for a reason of its own.
    let _ = sender.blocking_send(chunk);
    Ok(())
}

const RECORDS_PER_WRITE: usize = 1024;
const CHUNK_BYTES_MAX: usize = 8 << 20;
const CHUNKS_AHEAD: usize = 2;
/// Whatever takes longer says how far it is.
const TELL_INTERVAL: Duration = Duration::from_secs(2);

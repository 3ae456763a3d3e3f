//! The storage actor: decides when; the files beside it decide what.

mod compacting;
mod rebuilding;
mod records;
mod snapshots;
mod sums;
mod usage;
mod verifying;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use config::StorageConfig;
use proto::{Checksum, Fragment, FragmentId, TesseraId, record::DocumentKind};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tracing::Instrument;

use super::{
    alarm::Alarm,
    background::Background,
    compact::Compacted,
    disk::Disk,
    doubts::Doubts,
    guardian::Guardian,
    health::Damaged,
    jobs,
    keeper::Keeper,
    lending::Lending,
    locations::Locations,
    lookup::Lookup,
    message::{Reply, StorageMsg},
    open,
    ops::Submission,
    pragmas::{self, Database},
    pressure::Pressure,
    queries,
    read::Reader,
    readers::{Progress, Readers},
    recover::Report,
    reserve::Reserve,
    segment::{SEGMENTS_FOLDER, SegmentFiles},
    soundness::Soundness,
    space,
    verify::Stock,
    writer::{self, Notice, Queue, Tools},
};
use snapshots::LastSnapshot;

use crate::{error::ActorError, metrics::StorageMetrics, store::FragmentRow, supervision::gate::Slot};

/// The actor. All state is in [`State`].
pub(super) struct StorageActor;

/// What it is started with.
#[derive(Clone)]
pub(super) struct Arguments {
    pub(super) config: StorageConfig,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) metrics: StorageMetrics,
    pub(super) doubts: Doubts,
    pub(super) alarm: Alarm,
    /// Held by the one writer alive, over restarts of this actor.
    pub(super) lease: Arc<Mutex<()>>,
    /// Over restarts of this actor.
    pub(super) keeper: Keeper,
    /// Whether the index need not be looked through in this process any more: it was closed in good order, made anew, or
    /// looked through, and nobody has found it damaged since. A panic damages no pages.
    pub(super) checked: Arc<AtomicBool>,
    /// Whether the next one makes the index anew.
    pub(super) rebuilds: Arc<AtomicBool>,
}

pub(super) struct State {
    arguments: Arguments,
    database: Database,
    queue: Queue,
    index: Readers,
    reader: Reader,
    reserve: Reserve,
    locations: Locations,
    soundness: Soundness,
    background: Background,
    /// What verifying knows of the segments it is at.
    stock: Stock,
    /// As [`Compacted::stuck`].
    stuck: BTreeMap<u32, u64>,
    /// For compactions: they go on for a moment when this actor falls.
    lease: Arc<OwnedMutexGuard<()>>,
    lending: Lending,
    /// Held while a snapshot is taken.
    snapshots: Arc<Mutex<LastSnapshot>>,
    /// When one is to be taken at the latest, because of what was noted since the last.
    snapshot_by: Option<Instant>,
    compacting: bool,
    /// Who asked for a compaction while another one was running.
    asked: VecDeque<(Slot, Reply<Compacted>)>,
    pressure: Pressure,
    read_only: Option<String>,
    recovery: Report,
    lacking: Damaged,
    opened_at: Instant,
}

impl Actor for StorageActor {
    type Msg = StorageMsg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        me: ActorRef<StorageMsg>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let state = State::open(&me, arguments).await?;
        me.send_after(COMPACTION_INTERVAL, || StorageMsg::Tick);
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<StorageMsg>,
        message: StorageMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            StorageMsg::Submit(submission) => state.submit(submission),
            StorageMsg::Get { id, slot, reply } => state.get(&me, id, slot, reply),
            StorageMsg::Located { id, location, epoch } => state.locations.note(id, location, epoch),
            StorageMsg::Moved { id } => state.locations.forget(&[id]),
            StorageMsg::Document { tessera, kind, hash, slot, reply } => {
                state.document(&me, tessera, kind, hash, slot, reply);
            }
            StorageMsg::Checksums { tessera, from, limit, slot, reply } => {
                state.checksums(&me, tessera, (from, limit), slot, reply);
            }
            StorageMsg::Tesseras { from, to, limit, slot, reply } => {
                let index = state.index.clone();
                let rows = async move {
                    let listed = async |index: &mut _| queries::tesseras(index, from, to, limit).await;
                    index.between(from, to, listed).await
                };
                state.answer(&me, slot, reply, rows);
            }
            StorageMsg::AddsUp { tessera, slot, reply } => {
                let index = state.index.clone();
                let sums = async move {
                    index.about(tessera, async |index| queries::adds_up(index, tessera).await).await
                };
                state.answer(&me, slot, reply, sums);
            }
            StorageMsg::Segments { slot, reply } => state.segments(&me, slot, reply),
            StorageMsg::Verify { piece, slot, reply } => state.verify(&me, piece, slot, reply),
            StorageMsg::Prove { checksum, group, slot, reply } => {
                let lookup = state.lookup(&me);
                state.answer(&me, slot, reply, async move { lookup.prove(checksum, group).await });
            }
            StorageMsg::LookThrough { from, slot, reply } => state.look_through(&me, from, slot, reply),
            StorageMsg::Records(asked) => state.records(&me, asked),
            StorageMsg::Sums(asked) => state.sums(&me, asked),
            StorageMsg::Usage { slot, reply } => state.usage(&me, slot, reply),
            StorageMsg::Room { slot, reply } => state.room(&me, slot, reply),
            StorageMsg::Compact { slot, reply } => state.compact(&me, Some((slot, reply))),
            StorageMsg::Compacted { ended, reply } => state.compacted(&me, *ended, reply),
            StorageMsg::Notice(notice) => state.notice(&me, notice)?,
            StorageMsg::Relieve => state.look(&me),
            StorageMsg::Jobs { only, limit, slot, reply } => {
                let index = state.index.clone();
                state.answer(&me, slot, reply, async move { jobs::waiting(&index, only, limit).await });
            }
            StorageMsg::Rebuild { reason, slot, reply } => state.rebuild(&me, &reason, slot, reply),
            StorageMsg::Snapshot { slot, reply } => state.snapshot(&me, Some((slot, reply))),
            StorageMsg::Tick => {
                state.compact(&me, None);
                state.snapshot(&me, None);
                let reserve = state.reserve.clone();
                tokio::spawn(async move { reserve.settle(0).await });
                me.send_after(COMPACTION_INTERVAL, || StorageMsg::Tick);
            }
            StorageMsg::Ping(reply) => drop(reply.send(())),
            #[cfg(feature = "faults")]
            StorageMsg::HoldReader { slot, reply } => {
                let index = state.index.clone();
                let held = async move { index.now(async |index, _| queries::hold(index).await).await };
                state.answer(&me, slot, reply, held);
            }
            #[cfg(feature = "faults")]
            #[expect(clippy::panic, reason = "a test asked for it")]
            StorageMsg::Panic => panic!("asked to"),
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<StorageMsg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.queue.close().await;
        state.index.close().await;
        state.arguments.keeper.let_go().await;
        state.database.close().await;
        Ok(())
    }
}

impl State {
    async fn open(me: &ActorRef<StorageMsg>, arguments: Arguments) -> Result<Self, ActorError> {
        let waited = tokio::time::timeout(LEASE_DEADLINE, arguments.lease.clone().lock_owned()).await;
        let lease = waited.map_err(|_| ActorError::ReadOnly {
            reason: "the writes of the storage before this one have not ended in time".to_owned(),
        })?;
        let lease = Arc::new(lease);
        let space = arguments.disk.space(&arguments.config.data_dir).ok();
        let arguments = Arguments { config: space::fit(arguments.config, space), ..arguments };
        let (config, disk) = (arguments.config.clone(), arguments.disk.clone());
        let reserve = tokio::task::spawn_blocking(move || Reserve::open(&config, &disk)).await;
        let reserve = reserve.map_err(std::io::Error::other)?;
        let opened = open::open(&arguments.config, &arguments.disk, &arguments.keeper, &arguments.rebuilds);
        let (database, recovered) = opened.instrument(tracing::debug_span!("recovery")).await?;
        arguments.metrics.indexed(database.meter.take());
        tell_recovery(&recovered.report);
        let recovery = recovered.report.clone();
        let actor = me.clone();
        let notify = move |notice| {
            // A fallen actor needs no notice.
            let _ = actor.send_message(StorageMsg::Notice(notice));
        };
        let progress = Progress::new();
        let lending = Lending::new(&database);
        let index = Readers::new(lending.clone(), progress.clone());
        let tools = Tools {
            config: arguments.config.clone(),
            disk: arguments.disk.clone(),
            database: database.clone(),
            metrics: arguments.metrics.clone(),
            progress,
            guardian: Guardian::new(&arguments.config, lending.clone(), reserve.clone()),
            reserve: reserve.clone(),
            notify: Arc::new(notify),
            _lease: lease.clone(),
        };
        if recovered.was_clean || recovered.report.rebuilt {
            arguments.checked.store(true, Ordering::Relaxed);
        } else if !arguments.checked.load(Ordering::Relaxed) {
            tokio::spawn(check_index(me.clone(), index.clone(), arguments.checked.clone()));
        }
        let folder = arguments.config.data_dir.join(SEGMENTS_FOLDER);
        let files = SegmentFiles::new(arguments.disk.clone(), folder, recovered.log.salt());
        let queue = writer::start(tools, recovered).await?;
        Ok(Self {
            index,
            database,
            queue,
            reader: Reader::new(files, arguments.metrics.clone()),
            reserve,
            locations: Locations::new(arguments.config.location_map_bytes),
            soundness: Soundness::new(),
            background: Background::start("verify").map_err(ActorError::io("cannot start a thread"))?,
            stock: Stock::default(),
            stuck: BTreeMap::new(),
            lease,
            lending,
            snapshots: Arc::default(),
            snapshot_by: None,
            compacting: false,
            asked: VecDeque::new(),
            pressure: Pressure::default(),
            read_only: None,
            recovery,
            lacking: Damaged::default(),
            opened_at: Instant::now(),
            arguments,
        })
    }

    fn submit(&mut self, submission: Submission) {
        self.note_haste(&submission.op);
        self.queue.submit(submission);
    }

    fn checksums(
        &self,
        me: &ActorRef<StorageMsg>,
        tessera: TesseraId,
        (from, limit): ((u32, u16), u32),
        slot: Slot,
        reply: Reply<Vec<FragmentRow>>,
    ) {
        let (index, soundness) = (self.index.clone(), self.soundness.clone());
        self.answer(me, slot, reply, async move {
            soundness.check(&index, tessera).await?;
            let listed = async |index: &mut _| queries::checksums(index, tessera, from, limit).await;
            index.about(tessera, listed).await
        });
    }

    fn get(&mut self, me: &ActorRef<StorageMsg>, id: FragmentId, slot: Slot, reply: Reply<Fragment>) {
        if reply.is_closed() {
            return;
        }
        let lookup = self.lookup(me);
        let known = self.locations.get(&id);
        tokio::spawn(async move {
            let outcome = lookup.fragment(id, known).await;
            // A caller that gave up has nothing to be told.
            let _ = reply.send(outcome);
            drop(slot);
        });
    }

    fn lookup(&self, me: &ActorRef<StorageMsg>) -> Lookup {
        Lookup {
            storage: me.clone(),
            index: self.index.clone(),
            reader: self.reader.clone(),
            epoch: self.locations.epoch(),
            soundness: self.soundness.clone(),
            doubts: self.arguments.doubts.clone(),
        }
    }

    fn document(
        &self,
        me: &ActorRef<StorageMsg>,
        tessera: TesseraId,
        kind: DocumentKind,
        hash: Option<Checksum>,
        slot: Slot,
        reply: Reply<Bytes>,
    ) {
        let lookup = self.lookup(me);
        let document = async move { lookup.document(tessera, kind, hash).await };
        self.answer(me, slot, reply, document);
    }

    /// Answers from the index, in a task of its own.
    fn answer<T: Send + 'static>(
        &self,
        me: &ActorRef<StorageMsg>,
        slot: Slot,
        reply: Reply<T>,
        work: impl Future<Output = Result<T, ActorError>> + Send + 'static,
    ) {
        if reply.is_closed() {
            return;
        }
        let me = me.clone();
        tokio::spawn(async move {
            let outcome = work.await;
            report_damage(&me, outcome.as_ref().err());
            // A caller that gave up has nothing to be told.
            let _ = reply.send(outcome);
            drop(slot);
        });
    }

    /// An error ends this actor; it then starts anew from what is on disk.
    fn notice(&mut self, me: &ActorRef<StorageMsg>, notice: Notice) -> Result<(), ActorProcessingErr> {
        match notice {
            Notice::Dropped(ids) => {
                self.locations.forget(&ids);
                self.freed(me);
            }
            Notice::Damaged => self.arguments.alarm.sound(),
            Notice::SessionEnded => self.freed(me),
            Notice::NoRoom { bytes } => self.refused(me, bytes),
            Notice::Writing(reason) => {
                // What failed may have been found in the log and carried out after all: drops, too.
                self.locations.clear();
                if reason.is_none() {
                    // All sessions have ended.
                    self.freed(me);
                }
                self.read_only = reason;
            }
            Notice::Stopped => return Err("a stage of the writer panicked".into()),
            Notice::IndexDamaged(reason) => {
                self.arguments.checked.store(false, Ordering::Relaxed);
                tracing::error!(
                    reason,
                    "the index contradicts the log: it will be made anew from the segments"
                );
                if let Err(error) = open::ask_for_rebuild(&self.arguments.config, &reason) {
                    tracing::debug!(%error, "if the process ends now, the damage has to be found again");
                }
                self.arguments.rebuilds.store(true, Ordering::Relaxed);
                // In good order, not by an error: connections that close later would take the new one's log away.
                me.stop(Some(format!("the index is damaged: {reason}")));
            }
        }
        Ok(())
    }
}

/// Looks through the whole index, beside everything else: a crash may have damaged pages that nobody reads for long.
async fn check_index(me: ActorRef<StorageMsg>, index: Readers, checked: Arc<AtomicBool>) {
    let look = async || index.aside(async |index| Ok(pragmas::wrong(index).await?)).await;
    let mut outcome = look().await;
    while matches!(outcome, Err(ActorError::Cut)) {
        tokio::time::sleep(LOOK_AGAIN).await;
        outcome = look().await;
    }
    match outcome {
        Ok(None) => checked.store(true, Ordering::Relaxed),
        // An actor that fell meanwhile has begun to look itself.
        Ok(Some(wrong)) => drop(me.send_message(StorageMsg::Notice(Notice::IndexDamaged(wrong)))),
        Err(error) => {
            tracing::warn!(%error, "the index could not be looked through: the next start does");
            report_damage(&me, Some(&error));
        }
    }
}

/// SQLite finding its file damaged is for the actor to know, whoever stumbled over it.
pub(super) fn report_damage(me: &ActorRef<StorageMsg>, error: Option<&ActorError>) {
    if let Some(error) = error.filter(|error| error.is_damaged_index()) {
        // When the actor has fallen meanwhile, whoever stumbles over it next tells the one after it.
        let _ = me.send_message(StorageMsg::Notice(Notice::IndexDamaged(error.to_string())));
    }
}

fn tell_recovery(report: &Report) {
    for damage in &report.damage {
        let (segment, position, length) = (damage.segment, damage.position, damage.length);
        let blob = damage.blob.map(|blob| blob.to_string());
        tracing::error!(segment, position, length, blob, "part of the log is damaged");
    }
    for unfinished in &report.unfinished {
        let (segment, position, length) = (unfinished.segment, unfinished.position, unfinished.length);
        tracing::warn!(
            segment,
            position,
            length,
            "a segment ends in what is no valid record: a write never ended"
        );
    }
    for tessera in &report.lost_documents {
        tracing::error!(%tessera, "a document of it is lost: restore it from another copy");
    }
    if let Some(missing) =
        report.restored.as_ref().map(|restored| &restored.missing).filter(|it| it.count > 0)
    {
        let (count, first) = (missing.count, missing.first.first().map(ToString::to_string));
        tracing::warn!(count, first, "a snapshot knew tesserae that are not here: forgotten since, or lost");
    }
    for segment in &report.lost_segments {
        tracing::error!(segment, "a segment is gone or cut short: what was in it is missing");
    }
    if report.records > 0 {
        tracing::info!(
            records = report.records,
            rebuilt = report.rebuilt,
            "the index was brought up to the log"
        );
    }
}

/// When much is written, the index is looked through later.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How often the actor looks for something worth compacting.
const COMPACTION_INTERVAL: Duration = Duration::from_secs(60);
/// How long a restarted actor waits for the writer before it.
const LEASE_DEADLINE: Duration = Duration::from_secs(30);

//! The second and third stage of the writer: sync and reply, then commit.

use std::sync::Arc;

use proto::FragmentId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    index::{self, LogEnd},
    log::Tape,
    ops::{Outcome, Submission},
    trouble::{Cause, Trouble},
    view::Changes,
    writer::{Notice, Tools, watch},
};
use crate::{clock, error::ActorError};

/// A batch on its way: appended, not yet durable.
pub(crate) struct Flight {
    pub(crate) tape: Tape,
    pub(crate) changes: Arc<Changes>,
    pub(crate) end: LogEnd,
    pub(crate) replies: Vec<(Submission, Result<Outcome, ActorError>)>,
    pub(crate) dropped: Vec<FragmentId>,
}

impl Flight {
    /// It is the first to fail. Whoever hears that it did finds that nothing is written until it is mended.
    pub(crate) fn fail_first(self, tools: &Tools, trouble: &Trouble, error: &ActorError) {
        trouble.set(&error.to_string(), error.is_full_disk());
        (tools.notify)(Notice::Writing(Some(error.to_string())));
        if error.is_full_disk() {
            (tools.notify)(Notice::NoRoom { bytes: self.tape.bytes() });
        }
        self.fail(trouble);
    }

    /// Answers everything that the log alone brings back. It is durable.
    fn acknowledge(&mut self, tools: &Tools) {
        tools.metrics.batch(self.replies.len());
        // First, so that whoever hears of the answer finds what it says in the index.
        tools.progress.acknowledge(&self.changes);
        if !self.dropped.is_empty() {
            (tools.notify)(Notice::Dropped(std::mem::take(&mut self.dropped)));
        }
        let answered = self.replies.extract_if(.., |(submission, _)| submission.op.is_logged());
        answered.for_each(answer);
    }

    /// Tells everyone in it who was not answered yet that it is unknown whether it was done. Those that were refused too: what they were
    /// refused for may have been decided in this batch or in one before it that failed with it.
    pub(crate) fn fail(self, trouble: &Trouble) {
        for (submission, _) in self.replies {
            // A caller that gave up has nothing to be told.
            let _ = submission.reply.send(Err(trouble.error()));
        }
    }
}

/// The way into the two stages.
pub(crate) struct Stages {
    sync: Stage,
    commit: Stage,
}

/// A stage holds a few batches; the next one waits until one of them has been passed on.
#[derive(Clone)]
struct Stage {
    batches: u32,
    free: Arc<Semaphore>,
    sender: mpsc::UnboundedSender<Inside>,
}

/// A batch in a stage, and its place there.
type Inside = (Flight, OwnedSemaphorePermit);

impl Stage {
    fn new(batches: u32) -> (Self, mpsc::UnboundedReceiver<Inside>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { batches, free: Arc::new(Semaphore::new(batches as usize)), sender }, receiver)
    }

    async fn enter(&self, flight: Flight) {
        // Neither is ever closed while the writer lives.
        if let Ok(permit) = self.free.clone().acquire_owned().await {
            let _ = self.sender.send((flight, permit));
        }
    }

    async fn idle(&self) {
        drop(self.free.acquire_many(self.batches).await);
    }
}

impl Stages {
    /// Starts both. What they have committed comes back through the receiver.
    pub(crate) fn start(
        tools: &Arc<Tools>,
        trouble: &Trouble,
    ) -> (Self, mpsc::UnboundedReceiver<Arc<Changes>>) {
        let (sync, to_sync) = Stage::new(1);
        let (commit, to_commit) = Stage::new(BEHIND_MAX);
        let (settle, settled) = mpsc::unbounded_channel();
        let syncing = sync_stage(tools.clone(), trouble.clone(), to_sync, commit.clone());
        watch(tools, tokio::spawn(syncing));
        let committing = commit_stage(tools.clone(), trouble.clone(), to_commit, settle);
        watch(tools, tokio::spawn(committing));
        (Self { sync, commit }, settled)
    }

    /// Hands an appended batch on, as soon as the one before it is durable.
    pub(crate) async fn hand_over(&self, flight: Flight) {
        self.sync.enter(flight).await;
    }

    /// Waits until no batch is in either stage. Only the writer puts any in, so none is afterwards.
    pub(crate) async fn idle(&self) {
        self.sync.idle().await;
        self.commit.idle().await;
    }
}

async fn sync_stage(
    tools: Arc<Tools>,
    trouble: Trouble,
    mut flights: mpsc::UnboundedReceiver<Inside>,
    commit: Stage,
) {
    while let Some((mut flight, permit)) = flights.recv().await {
        if trouble.is_set() {
            flight.fail(&trouble);
            continue;
        }
        match sync(&tools, &flight.tape).await {
            Ok(()) => {
                trouble.note_durable(flight.end.watermark);
                flight.acknowledge(&tools);
                commit.enter(flight).await;
            }
            Err(error) => {
                let error = ActorError::io("cannot make the log durable")(error);
                tracing::error!(%error, "a sync failed; it is not tried again, a new segment is begun");
                flight.fail_first(&tools, &trouble, &error);
            }
        }
        drop(permit);
    }
}

async fn sync(tools: &Arc<Tools>, tape: &Tape) -> std::io::Result<()> {
    if tape.is_empty() {
        return Ok(());
    }
    let (disk, file) = (tools.disk.clone(), tape.file().clone());
    let synced = tokio::task::spawn_blocking(move || disk.sync(&file)).await;
    tools.metrics.sync(tape.bytes());
    synced.map_err(std::io::Error::other)?
}

async fn commit_stage(
    tools: Arc<Tools>,
    trouble: Trouble,
    mut flights: mpsc::UnboundedReceiver<Inside>,
    settle: mpsc::UnboundedSender<Arc<Changes>>,
) {
    while let Some((first, permit)) = flights.recv().await {
        let mut permits = vec![permit];
        let mut group = vec![first];
        // What has arrived by now goes into one transaction.
        while let Ok((next, permit)) = flights.try_recv() {
            group.push(next);
            permits.push(permit);
        }
        if commit(&tools, &trouble, &group).await {
            tools.progress.commit(group.len());
            group.into_iter().for_each(|flight| finish(flight, &settle));
        } else {
            group.into_iter().for_each(|flight| flight.fail(&trouble));
        }
        drop(permits);
    }
}

/// Writes the rows of these batches, or tells that they and all behind them must come back from the log.
async fn commit(tools: &Tools, trouble: &Trouble, group: &[Flight]) -> bool {
    let Some(last) = group.last().filter(|_| !tools.progress.is_stuck()) else { return false };
    let changes = Changes::of_all(group.iter().map(|flight| flight.changes.as_ref()));
    let written = index::write(&tools.database.writer, &changes, last.end, clock::now_ms()).await;
    let Err(error) = written else { return true };
    tracing::error!(%error, "what is durable in the log could not be written into the index");
    if error.is_damaged_index() {
        (tools.notify)(Notice::IndexDamaged(error.to_string()));
    }
    trouble.set(&error.to_string(), error.is_full_disk());
    tools.progress.stick(Cause::of(&error));
    (tools.notify)(Notice::Writing(Some(error.to_string())));
    false
}

fn finish(flight: Flight, settle: &mpsc::UnboundedSender<Arc<Changes>>) {
    // The writer is there until this stage is idle.
    let _ = settle.send(flight.changes);
    flight.replies.into_iter().for_each(answer);
}

fn answer((submission, outcome): (Submission, Result<Outcome, ActorError>)) {
    // A caller that gave up has nothing to be told; what it asked for is done.
    let _ = submission.reply.send(outcome);
}

/// How many acknowledged batches the index may be behind.
const BEHIND_MAX: u32 = 8;

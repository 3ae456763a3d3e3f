//! The second and third stage of the writer: sync, then commit and reply.

use std::sync::Arc;

use proto::FragmentId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    index::{self, LogEnd},
    log::Tape,
    ops::{Outcome, Submission},
    trouble::Trouble,
    view::Changes,
    writer::{Notice, Tools, watch},
};
use crate::{clock, error::ActorError};

/// A batch on its way: appended, not yet durable.
pub(crate) struct Flight {
    pub(crate) tape: Tape,
    pub(crate) changes: Changes,
    pub(crate) end: LogEnd,
    pub(crate) replies: Vec<(Submission, Result<Outcome, ActorError>)>,
    pub(crate) dropped: Vec<FragmentId>,
}

impl Flight {
    /// It is the first to fail. Whoever hears that it did finds that nothing is written until it is mended.
    pub(crate) fn fail_first(self, tools: &Tools, trouble: &Trouble, error: &ActorError) {
        trouble.set(&error.to_string(), error.is_full_disk());
        (tools.notify)(Notice::Writing(Some(error.to_string())));
        self.fail(trouble);
    }

    /// Tells everyone in it that it is unknown whether it was done. Those that were refused too: what they were
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

/// A stage holds one batch; the next one waits until it has passed it on.
#[derive(Clone)]
struct Stage {
    free: Arc<Semaphore>,
    sender: mpsc::UnboundedSender<(Flight, OwnedSemaphorePermit)>,
}

impl Stage {
    fn new() -> (Self, mpsc::UnboundedReceiver<(Flight, OwnedSemaphorePermit)>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { free: Arc::new(Semaphore::new(1)), sender }, receiver)
    }

    async fn enter(&self, flight: Flight) {
        // Neither is ever closed while the writer lives.
        if let Ok(permit) = self.free.clone().acquire_owned().await {
            let _ = self.sender.send((flight, permit));
        }
    }
}

impl Stages {
    /// Starts both. What they have committed comes back through the receiver.
    pub(crate) fn start(tools: &Arc<Tools>, trouble: &Trouble) -> (Self, mpsc::UnboundedReceiver<Changes>) {
        let (sync, to_sync) = Stage::new();
        let (commit, to_commit) = Stage::new();
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
        drop(self.sync.free.acquire().await);
        drop(self.commit.free.acquire().await);
    }
}

async fn sync_stage(
    tools: Arc<Tools>,
    trouble: Trouble,
    mut flights: mpsc::UnboundedReceiver<(Flight, OwnedSemaphorePermit)>,
    commit: Stage,
) {
    while let Some((flight, permit)) = flights.recv().await {
        if trouble.is_set() {
            flight.fail(&trouble);
            continue;
        }
        match sync(&tools, &flight.tape).await {
            Ok(()) => {
                trouble.note_durable(flight.end.watermark);
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
    mut flights: mpsc::UnboundedReceiver<(Flight, OwnedSemaphorePermit)>,
    settle: mpsc::UnboundedSender<Changes>,
) {
    while let Some((flight, permit)) = flights.recv().await {
        if trouble.is_set() {
            flight.fail(&trouble);
            continue;
        }
        let written =
            index::write(&tools.database.writer, &flight.changes, flight.end, clock::now_ms()).await;
        match written {
            Ok(()) => acknowledge(&tools, flight, &settle),
            Err(error) => {
                tracing::error!(%error, "a batch is durable in the log but could not be written into the index");
                if error.is_damaged_index() {
                    (tools.notify)(Notice::IndexDamaged(error.to_string()));
                }
                flight.fail_first(&tools, &trouble, &error);
            }
        }
        drop(permit);
    }
}

fn acknowledge(tools: &Tools, flight: Flight, settle: &mpsc::UnboundedSender<Changes>) {
    tools.metrics.batch(flight.replies.len());
    if !flight.dropped.is_empty() {
        (tools.notify)(Notice::Dropped(flight.dropped));
    }
    // The writer is there until this stage is idle.
    let _ = settle.send(flight.changes);
    for (submission, outcome) in flight.replies {
        // A caller that gave up has nothing to be told; what it asked for is done.
        let _ = submission.reply.send(outcome);
    }
}

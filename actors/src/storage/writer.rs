//! The writer: group commit as a pipeline of three stages.
//!
//! ```text
//! queue → decide + append ──→ one sync + replies ──→ one transaction for all that wait
//! ```
//!
//! # Invariants
//! 1. Nothing is acknowledged before its records are synced; what only the index says, not before that is committed.
//!    Readers see what the index still lacks ([`Readers`](super::readers::Readers)), so the log alone sets the pace.
//! 2. Batches know no timers: what arrives while one is under way is the next one.
//! 3. A failed append, sync or transaction fails its batch and all behind it. It is never tried again (see
//!    [`mend`]).
//! 4. Only one writer is alive at a time: it holds the lease until its last stage has ended.

mod mend;

use std::{collections::VecDeque, sync::Arc};

use config::StorageConfig;
use proto::{FragmentId, TesseraId};
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};
use tracing::Instrument;

use super::{
    disk::Disk,
    guardian::Guardian,
    log::Log,
    needed::{self, Extra},
    ops::{Op, Outcome, Submission},
    plan::{Planner, Scene},
    pragmas::Database,
    readers::Progress,
    recover::{Recovered, new_segment},
    reserve::Reserve,
    sessions::Sessions,
    space,
    stages::{Flight, Stages},
    trouble::{Cause, Trouble},
    view::View,
};
use crate::{clock, error::ActorError, metrics::StorageMetrics};

/// What the writer tells its actor.
#[derive(Debug)]
pub(crate) enum Notice {
    /// These fragments may be gone: forget their places. Sent before the replies.
    Dropped(Vec<FragmentId>),
    /// There was no room for so many bytes.
    NoRoom { bytes: u64 },
    /// Something was found damaged. Sent once that is in the index.
    Damaged,
    /// It keeps no segment from compaction any more.
    SessionEnded,
    /// The index contradicts itself or the log: it must be rebuilt.
    IndexDamaged(String),
    /// Writing stopped (with the reason) or works again.
    Writing(Option<String>),
    /// A stage of the writer ended in a panic: nothing is written any more.
    Stopped,
}

/// What the writer works with.
pub(crate) struct Tools {
    pub(crate) config: StorageConfig,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) database: Database,
    pub(crate) metrics: StorageMetrics,
    /// How far the index is behind what was acknowledged.
    pub(crate) progress: Progress,
    pub(crate) guardian: Guardian,
    pub(crate) reserve: Reserve,
    pub(crate) notify: Arc<dyn Fn(Notice) + Send + Sync>,
    /// Freed when all three stages have ended, whichever way.
    pub(crate) _lease: Arc<OwnedMutexGuard<()>>,
}

/// Where submissions go. The writer ends when this is dropped, after what was submitted.
#[derive(Debug)]
pub(crate) struct Queue {
    sender: mpsc::UnboundedSender<Request>,
}

#[derive(Debug)]
enum Request {
    Submit(Box<Submission>),
    Close(oneshot::Sender<()>),
}

impl Queue {
    /// Hands over a submission. Its reply port is dropped, which the caller sees, when the writer is gone.
    pub(crate) fn submit(&self, submission: Submission) {
        // The bound is the gate whose slot the submission carries.
        let _ = self.sender.send(Request::Submit(Box::new(submission)));
    }

    /// Ends the writer in good order: all that was submitted is done, and the index says that the log ends here.
    pub(crate) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.sender.send(Request::Close(reply)).is_ok() {
            // An error means that the writer is gone already, which the next start finds out.
            let _ = closed.await;
        }
    }
}

/// Starts the writer.
pub(crate) async fn start(tools: Tools, recovered: Recovered) -> Result<Queue, ActorError> {
    let (sender, requests) = mpsc::unbounded_channel();
    let connection = tools.database.planner().await?;
    let trouble = Trouble::new(recovered.log.end());
    let tools = Arc::new(tools);
    let (stages, settled) = Stages::start(&tools, &trouble);
    let tools_watched = tools.clone();
    let writer = Writer {
        planner: planner(recovered.view, recovered.next_seq),
        log: recovered.log,
        purges: recovered.purge.into(),
        purges_wait: false,
        tools,
        connection,
        requests,
        held_over: None,
        stages,
        settled,
        trouble,
    };
    watch(&tools_watched, tokio::spawn(writer.run()));
    Ok(Queue { sender })
}

/// The first stage: decides and appends.
struct Writer {
    tools: Arc<Tools>,
    planner: Planner,
    log: Log,
    purges: VecDeque<TesseraId>,
    /// The last batch was refused: purges wait for the next request, not to be tried without end.
    purges_wait: bool,
    connection: SqliteConnection,
    requests: mpsc::UnboundedReceiver<Request>,
    /// A request that no longer fitted into the last batch.
    held_over: Option<Request>,
    stages: Stages,
    settled: mpsc::UnboundedReceiver<Arc<super::view::Changes>>,
    trouble: Trouble,
}

impl Writer {
    async fn run(mut self) {
        let mut closing = None;
        while closing.is_none() {
            let Some(first) = self.first().await else { break };
            let (batch, close) = self.collect(first);
            closing = close;
            if !batch.is_empty() {
                let span = tracing::debug_span!("storage_batch", requests = batch.len().cast_signed());
                self.carry_out(batch).instrument(span).await;
            }
        }
        self.stages.idle().await;
        self.mend_before_the_end().await;
        if let Some(reply) = closing {
            self.close(reply).await;
        }
    }

    /// The next request. While there is none, purges are done, and what has failed is mended.
    async fn first(&mut self) -> Option<Request> {
        if let Some(request) = self.held_over.take() {
            return Some(request);
        }
        loop {
            if let Ok(request) = self.requests.try_recv() {
                return Some(request);
            }
            if !self.purges.is_empty() && !self.purges_wait {
                return Some(Request::Submit(Box::new(purge(self.purges.pop_front()?))));
            }
            tokio::select! {
                request = self.requests.recv() => return request,
                () = self.trouble.may_be_mended() => {
                    self.mend_if_broken().await;
                }
            }
        }
    }

    /// What has arrived by now, within the bounds of a batch.
    fn collect(&mut self, first: Request) -> (Vec<Submission>, Option<oneshot::Sender<()>>) {
        let mut batch: Vec<_> = self.purges.pop_front().map(purge).into_iter().collect();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Close(reply) => return (batch, Some(reply)),
                Request::Submit(submission) => {
                    let size = submission.op.record_bytes();
                    if !batch.is_empty() && bytes + size > BATCH_BYTES_MAX {
                        self.held_over = Some(Request::Submit(submission));
                        break;
                    }
                    bytes += size;
                    batch.push(*submission);
                }
            }
            next = if batch.len() < BATCH_OPS_MAX { self.requests.try_recv().ok() } else { None };
        }
        (batch, None)
    }

    async fn carry_out(&mut self, batch: Vec<Submission>) {
        self.tools.reserve.settle(owed_bytes(&batch)).await;
        if !self.mend_if_broken().await {
            return self.refuse(batch, &self.trouble.cause());
        }
        match self.decide(batch).await {
            Ok(flight) => {
                self.purges_wait = false;
                self.append(flight).await;
            }
            Err((batch, error)) => {
                if error.is_damaged_index() {
                    (self.tools.notify)(Notice::IndexDamaged(error.to_string()));
                }
                self.refuse(batch, &Cause::of(&error));
            }
        }
    }

    /// Tells everyone in a batch of which nothing was begun.
    fn refuse(&mut self, batch: Vec<Submission>, cause: &Cause) {
        self.purges_wait = true;
        for submission in batch {
            match submission.op {
                Op::Purge { tessera } => self.purges.push_back(tessera),
                // Needs nothing of log or index, and nobody would ask again.
                Op::Abort { session } => self.purges.extend(self.planner.sessions.end(session)),
                _ => {}
            }
            // A caller that gave up has nothing to be told.
            let _ = submission.reply.send(Err(cause.error()));
        }
    }

    /// Loads what must be known and decides all operations, in order.
    async fn decide(&mut self, batch: Vec<Submission>) -> Result<Flight, (Vec<Submission>, ActorError)> {
        if batch.iter().any(|submission| matches!(submission.op, Op::Purge { .. })) {
            // A purge takes back all rows of a tessera, so none may be on its way.
            self.stages.idle().await;
            if self.trouble.is_set() {
                // What failed meanwhile is in the view and not in the index.
                return Err((batch, self.trouble.error()));
            }
        }
        while let Ok(changes) = self.settled.try_recv() {
            self.planner.view.settle(&changes);
        }
        let bytes: u64 = batch.iter().map(|submission| submission.op.record_bytes()).sum();
        let (extra, no_segment) = match self.prepare(&batch, bytes).await {
            Ok(prepared) => prepared,
            Err(error) => return Err((batch, error)),
        };
        let no_room = no_segment.or_else(|| self.no_room(bytes));
        let mut tape = self.log.tape();
        let mut dropped = Vec::new();
        let mut replies = Vec::with_capacity(batch.len());
        for submission in batch {
            let mut scene = Scene {
                tape: &mut tape,
                extra: &extra,
                no_room: no_room.as_deref(),
                now_ms: clock::now_ms(),
                dropped: &mut dropped,
            };
            let outcome = self.planner.decide(&submission.op, &mut scene);
            if let Some(error) = outcome.as_ref().err().filter(|error| error.is_damaged_index()) {
                (self.tools.notify)(Notice::IndexDamaged(error.to_string()));
            }
            self.note_purge(&submission.op, &outcome);
            replies.push((submission, outcome));
        }
        self.tell_of_room(&replies, no_room.is_some().then_some(bytes));
        let (end, bytes) = (tape.end(), tape.bytes());
        self.planner.view.segment(end.segment, |row| row.bytes += bytes);
        let end = super::rows::LogEnd { watermark: end, next_seq: self.planner.next_seq, clean: false };
        let changes = Arc::new(self.planner.view.take_changes());
        Ok(Flight { tape, changes, end, replies, dropped })
    }

    /// Makes room in the log and reads the rows that the batch needs; says why the disk has no room for another segment,
    /// if it has none. What makes room itself then goes into this one: nothing else could.
    async fn prepare(
        &mut self,
        batch: &[Submission],
        bytes: u64,
    ) -> Result<(Extra, Option<String>), ActorError> {
        let mut no_segment = None;
        if self.log.is_full_for(bytes) || self.is_to_be_sealed(batch) {
            match self.rotate().await {
                Err(error) if error.is_full_disk() => no_segment = Some(error.to_string()),
                rotated => rotated?,
            }
        }
        let extra = needed::load(&mut self.connection, &mut self.planner.view, batch).await?;
        Ok((extra, no_segment))
    }

    /// Whether the active segment is asked to end. A session that writes to it would keep it from compaction anyway.
    fn is_to_be_sealed(&self, batch: &[Submission]) -> bool {
        let end = self.log.end();
        let is_it = |op: &Op| matches!(op, Op::Seal { segment } if *segment == end.segment);
        let asked = batch.iter().any(|submission| is_it(&submission.op));
        asked && end.position > 0 && self.planner.sessions.first_segment().is_none()
    }

    async fn rotate(&mut self) -> Result<(), ActorError> {
        let sealed = self.log.end().segment;
        self.log.rotate().await?;
        let active = self.log.end().segment;
        let view = &mut self.planner.view;
        view.segment(sealed, |row| row.seal = super::rows::Seal::Sealed);
        view.segments.insert(active, new_segment(0, clock::now_ms()));
        view.touched_segments.push(active);
        Ok(())
    }

    fn no_room(&self, bytes: u64) -> Option<String> {
        let used = self.planner.view.segments.values().map(|row| row.bytes).sum();
        space::refusal(&self.tools.config, self.tools.reserve.room(), used, bytes)
    }

    /// What an ended session or a purge leaves to be purged is done between other requests.
    fn note_purge(&mut self, op: &Op, outcome: &Result<Outcome, ActorError>) {
        match (op, outcome) {
            (_, Ok(Outcome::Emptied(tessera))) => self.purges.push_back(*tessera),
            (Op::Purge { tessera }, Ok(Outcome::More)) => self.purges.push_back(*tessera),
            _ => {}
        }
    }

    /// Tells the actor what it needs to know to make room in time.
    fn tell_of_room(&self, replies: &[(Submission, Result<Outcome, ActorError>)], lacking: Option<u64>) {
        let any = |is_it: fn(&Op) -> bool| replies.iter().any(|(submission, _)| is_it(&submission.op));
        // Drops are never refused, but very many of them take what is kept free for them.
        let takes_room = any(|op| op.needs_room() || matches!(op, Op::Drop { .. }));
        if let Some(bytes) = lacking.filter(|_| takes_room) {
            (self.tools.notify)(Notice::NoRoom { bytes });
        }
        if any(|op| matches!(op, Op::Abort { .. } | Op::Commit { .. })) {
            (self.tools.notify)(Notice::SessionEnded);
        }
    }

    async fn append(&mut self, flight: Flight) {
        let disk = self.tools.disk.clone();
        let Ok((flight, written)) = tokio::task::spawn_blocking(move || {
            let written = flight.tape.write(disk.as_ref());
            (flight, written)
        })
        .await
        else {
            return self.trouble.set("a write ended in a panic", false);
        };
        match written {
            Ok(()) => {
                self.log.advance(&flight.tape);
                self.stages.hand_over(flight).await;
            }
            Err(error) => {
                let error = ActorError::io("cannot write to the log")(error);
                flight.fail_first(&self.tools, &self.trouble, &error);
            }
        }
    }

    async fn close(mut self, reply: oneshot::Sender<()>) {
        // A stage that fell has left batches behind: the next start finds them in the log.
        if !self.trouble.is_set() && self.tools.progress.is_level() {
            let changes = self.planner.view.take_changes();
            let end = super::rows::LogEnd {
                watermark: self.log.end(),
                next_seq: self.planner.next_seq,
                clean: self.planner.sessions.first_segment().is_none(),
            };
            let written = super::index::write(&self.tools.database, &changes, end, clock::now_ms()).await;
            if let Err(error) = written {
                tracing::warn!(%error, "the clean stop could not be noted: the next start reads the log's end again");
            }
        }
        // Left to itself it may outlive the others, and then SQLite leaves its WAL behind.
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "the planner's connection did not close well");
        }
        let _ = reply.send(());
    }
}

fn planner(view: View, next_seq: u64) -> Planner {
    Planner { view, sessions: Sessions::default(), next_seq }
}

/// Tells the actor when a stage ends in a panic.
pub(crate) fn watch(tools: &Arc<Tools>, stage: tokio::task::JoinHandle<()>) {
    let (notify, progress) = (tools.notify.clone(), tools.progress.clone());
    tokio::spawn(async move {
        if stage.await.is_err() {
            progress.stick(Cause::of(&ActorError::Restarting { actor: super::NAME }));
            notify(Notice::Stopped);
        }
    });
}

/// Bytes of records that the reserve gives way to, if any do.
fn owed_bytes(batch: &[Submission]) -> u64 {
    let owed = batch.iter().filter(|submission| submission.op.is_owed());
    // It is not the record alone: also what only the index says is written.
    owed.map(|submission| submission.op.record_bytes().max(1)).sum()
}

/// A request of the writer's own: nobody waits for it.
fn purge(tessera: TesseraId) -> Submission {
    let (reply, _) = ractor::concurrency::oneshot();
    Submission { op: Op::Purge { tessera }, reply: reply.into(), _slot: None }
}

const BATCH_OPS_MAX: usize = 256;
const BATCH_BYTES_MAX: u64 = 8 << 20;

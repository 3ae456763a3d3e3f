//! The second and third stage of the writer: sync and reply, then commit.

use std::{fs::File, sync::Arc, time::Duration};

use proto::FragmentId;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::Instant,
};
use tracing::Instrument;

use super::{
    guardian, index,
    log::Tape,
    ops::{Outcome, Submission},
    readers::Progress,
    rows::LogEnd,
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
    pub(crate) replies: Vec<Reply>,
    pub(crate) dropped: Vec<FragmentId>,
}

/// A batch that is durable, of which the index does not know yet.
struct Landed {
    changes: Arc<Changes>,
    end: LogEnd,
    /// Those that wait for the index.
    replies: Vec<Reply>,
}

/// Someone who waits, and what is answered if all goes well.
type Reply = (Submission, Result<Outcome, ActorError>);

impl Flight {
    /// It is the first to fail. Whoever hears that it did finds that nothing is written until it is mended.
    pub(crate) fn fail_first(self, tools: &Tools, trouble: &Trouble, error: &ActorError) {
        stop_writing(tools, trouble, error);
        if error.is_full_disk() {
            (tools.notify)(Notice::NoRoom { bytes: self.tape.bytes() });
        }
        fail(self.replies, trouble);
    }

    /// What of it need not stay in the page cache, where it would push out what the machine is used for: what this node does not
    /// keep for itself, if it is not little. File, position, and length in bytes.
    fn stale(&self) -> Option<(Arc<File>, u64, u64)> {
        let is_own = self.replies.iter().any(|(submission, _)| submission.op.is_own());
        let is_worth_it = self.tape.bytes() >= LET_GO_BYTES_MIN && !is_own;
        // The next batch goes on in the last page, and this one in the last of the one before.
        let [start, end] =
            [self.tape.start(), self.tape.end().position].map(|at| at / PAGE_BYTES_MAX * PAGE_BYTES_MAX);
        is_worth_it.then(|| (self.tape.file().clone(), start, end - start))
    }

    /// Answers everything that the log alone brings back. It is durable.
    fn land(mut self, tools: &Tools) -> Landed {
        tools.metrics.batch(self.replies.len());
        // First, so that whoever hears of the answer finds what it says in the index.
        tools.progress.acknowledge(&self.changes);
        if !self.dropped.is_empty() {
            (tools.notify)(Notice::Dropped(self.dropped));
        }
        self.replies.extract_if(.., |(submission, _)| submission.op.is_logged()).for_each(answer);
        Landed { changes: self.changes, end: self.end, replies: self.replies }
    }
}

/// The way into the two stages.
pub(crate) struct Stages {
    sync: Stage<Flight>,
    commit: Stage<Landed>,
    progress: Progress,
}

/// A stage has room for some batches; the next one waits until enough of them have been passed on.
struct Stage<T> {
    room: u32,
    free: Arc<Semaphore>,
    sender: mpsc::UnboundedSender<Inside<T>>,
}

/// A batch in a stage, and its place there.
type Inside<T> = (T, OwnedSemaphorePermit);

impl<T> Stage<T> {
    fn new(room: u32) -> (Self, mpsc::UnboundedReceiver<Inside<T>>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { room, free: Arc::new(Semaphore::new(room as usize)), sender }, receiver)
    }

    /// Waits until there is room for it. One that is larger than the stage has it to itself.
    async fn enter(&self, batch: T, size: u32) {
        // Neither is ever closed while the writer lives.
        if let Ok(permit) = self.free.clone().acquire_many_owned(size.clamp(1, self.room)).await {
            let _ = self.sender.send((batch, permit));
        }
    }

    fn has_room(&self, size: u32) -> bool {
        self.free.available_permits() >= size.min(self.room) as usize
    }

    async fn idle(&self) {
        drop(self.free.acquire_many(self.room).await);
    }

    /// The same stage, for whoever hands batches over to it.
    fn door(&self) -> Self {
        Self { room: self.room, free: self.free.clone(), sender: self.sender.clone() }
    }
}

impl Stages {
    /// Starts both. What they have committed comes back through the receiver.
    pub(crate) fn start(
        tools: &Arc<Tools>,
        trouble: &Trouble,
    ) -> (Self, mpsc::UnboundedReceiver<Arc<Changes>>) {
        let (sync, to_sync) = Stage::new(1);
        let (commit, to_commit) = Stage::new(ROWS_BEHIND_MAX);
        let (settle, settled) = mpsc::unbounded_channel();
        let syncing = sync_stage(tools.clone(), trouble.clone(), to_sync, commit.door());
        watch(tools, tokio::spawn(syncing));
        let committing = commit_stage(tools.clone(), trouble.clone(), to_commit, settle);
        watch(tools, tokio::spawn(committing));
        (Self { sync, commit, progress: tools.progress.clone() }, settled)
    }

    /// Hands an appended batch on, as soon as the one before it is durable.
    pub(crate) async fn hand_over(&self, flight: Flight) {
        self.sync.enter(flight, 1).await;
    }

    /// Waits until no batch is in either stage. Only the writer puts any in, so none is afterwards.
    pub(crate) async fn idle(&self) {
        self.sync.idle().await;
        self.progress.hurry();
        self.commit.idle().await;
    }
}

async fn sync_stage(
    tools: Arc<Tools>,
    trouble: Trouble,
    mut flights: mpsc::UnboundedReceiver<Inside<Flight>>,
    commit: Stage<Landed>,
) {
    while let Some((flight, permit)) = flights.recv().await {
        if trouble.is_set() {
            fail(flight.replies, &trouble);
            continue;
        }
        let span = tracing::debug_span!("storage_sync", bytes = flight.tape.bytes().cast_signed());
        match sync(&tools, &flight.tape).instrument(span).await {
            Ok(()) => {
                trouble.note_durable(flight.end.watermark);
                let stale = flight.stale();
                let landed = flight.land(&tools);
                if let Some((file, start, bytes)) = stale {
                    let disk = tools.disk.clone();
                    // Nobody waits for it.
                    tokio::task::spawn_blocking(move || disk.let_go(&file, start, bytes));
                }
                let rows = u32::try_from(landed.changes.rows()).unwrap_or(u32::MAX);
                if !commit.has_room(rows) {
                    tools.progress.hurry();
                }
                commit.enter(landed, rows).await;
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
    mut batches: mpsc::UnboundedReceiver<Inside<Landed>>,
    settle: mpsc::UnboundedSender<Arc<Changes>>,
) {
    let mut begun = None;
    while let Some(first) = next(&tools, &mut batches, begun.is_some()).await {
        let mut group = Group::default();
        group.push(first);
        let not_before = begun.map_or_else(Instant::now, |begun: Instant| begun + COMMIT_INTERVAL);
        group.wait(&mut batches, not_before, &tools.progress).await;
        while let Ok(next) = batches.try_recv() {
            group.push(next);
        }
        begun = Some(Instant::now());
        let Group { batches: group, permits, .. } = group;
        let span = tracing::debug_span!("index_commit", batches = group.len().cast_signed());
        if commit(&tools, &trouble, &group).instrument(span).await {
            tools.progress.commit(group.len());
            group.into_iter().for_each(|landed| finish(landed, &settle));
        } else {
            group.into_iter().for_each(|landed| fail(landed.replies, &trouble));
        }
        drop(permits);
        tools.guardian.committed(&tools.database.writer).await;
    }
}

/// The next batch. When none comes for a while after one was committed, the write-ahead log is put in order once.
async fn next(
    tools: &Tools,
    batches: &mut mpsc::UnboundedReceiver<Inside<Landed>>,
    has_committed: bool,
) -> Option<Inside<Landed>> {
    if has_committed {
        if let Ok(next) = tokio::time::timeout(guardian::QUIET, batches.recv()).await {
            return next;
        }
        tools.guardian.rest(&tools.database.writer).await;
    }
    batches.recv().await
}

/// Batches that are committed in one transaction.
#[derive(Default)]
struct Group {
    batches: Vec<Landed>,
    permits: Vec<OwnedSemaphorePermit>,
}

impl Group {
    fn push(&mut self, (landed, permit): Inside<Landed>) {
        self.batches.push(landed);
        self.permits.push(permit);
    }

    /// Lets more batches join until this time comes, someone waits for the index, or half of the room is taken.
    async fn wait(
        &mut self,
        more: &mut mpsc::UnboundedReceiver<Inside<Landed>>,
        until: Instant,
        progress: &Progress,
    ) {
        while !self.is_awaited() && self.rows() < ROWS_BEHIND_MAX as usize / 2 {
            tokio::select! {
                next = more.recv() => match next {
                    Some(next) => self.push(next),
                    None => return,
                },
                () = tokio::time::sleep_until(until) => return,
                () = progress.awaited() => return,
            }
        }
    }

    fn is_awaited(&self) -> bool {
        self.batches.iter().any(|landed| !landed.replies.is_empty())
    }

    fn rows(&self) -> usize {
        self.batches.iter().map(|landed| landed.changes.rows()).sum()
    }
}

/// Writes the rows of these batches, or tells that they and all behind them must come back from the log.
async fn commit(tools: &Tools, trouble: &Trouble, group: &[Landed]) -> bool {
    let Some(last) = group.last().filter(|_| !tools.progress.is_stuck()) else { return false };
    let changes = Changes::of_all(group.iter().map(|landed| landed.changes.as_ref()));
    let written = index::write(&tools.database, &changes, last.end, clock::now_ms()).await;
    tools.metrics.indexed(tools.database.meter.take());
    let Err(error) = written else {
        if changes.jobs.iter().any(|(_, is_queued)| *is_queued) {
            (tools.notify)(Notice::Damaged);
        }
        return true;
    };
    tracing::error!(%error, "what is durable in the log could not be written into the index");
    if error.is_damaged_index() {
        (tools.notify)(Notice::IndexDamaged(error.to_string()));
    }
    stop_writing(tools, trouble, &error);
    tools.progress.stick(Cause::of(&error));
    false
}

/// Nothing more is written until what this error has left is mended.
fn stop_writing(tools: &Tools, trouble: &Trouble, error: &ActorError) {
    trouble.set(&error.to_string(), error.is_full_disk());
    (tools.notify)(Notice::Writing(Some(error.to_string())));
}

/// Tells those who were not answered yet that it is unknown whether it was done. Those that were refused, too: what
/// they were refused for may have been decided in this batch or in one before it that failed with it.
fn fail(replies: Vec<Reply>, trouble: &Trouble) {
    for (submission, _) in replies {
        // A caller that gave up has nothing to be told.
        let _ = submission.reply.send(Err(trouble.error()));
    }
}

fn finish(landed: Landed, settle: &mpsc::UnboundedSender<Arc<Changes>>) {
    // The writer is there until this stage is idle.
    let _ = settle.send(landed.changes);
    landed.replies.into_iter().for_each(answer);
}

fn answer((submission, outcome): Reply) {
    // A caller that gave up has nothing to be told; what it asked for is done.
    let _ = submission.reply.send(outcome);
}

/// How many rows of acknowledged batches the index may lack; some hundred bytes of memory each.
const ROWS_BEHIND_MAX: u32 = 16384;
/// The index is not written more often than this, unless someone waits for it or there is no room left: rows that are
/// written together share pages, and pages are what it costs.
const COMMIT_INTERVAL: Duration = Duration::from_millis(50);
/// What is less stays in the page cache, whosever it is, in bytes: to read it from the device costs more than it takes there.
const LET_GO_BYTES_MIN: u64 = 256 << 10;
/// No page of any machine is longer.
const PAGE_BYTES_MAX: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use proto::{AccountId, TesseraId};

    use super::*;
    use crate::storage::{ops::Op, rows::Watermark};

    /// A batch that changes so many rows.
    fn landed(rows: usize) -> Landed {
        let holding = ((AccountId::LOCAL, TesseraId::from_bytes([1; 32])), None);
        let changes = Changes { holdings: vec![holding; rows], ..Changes::default() };
        let watermark = Watermark { segment: 0, position: 0 };
        let end = LogEnd { watermark, next_seq: 1, clean: false };
        Landed { changes: Arc::new(changes), end, replies: Vec::new() }
    }

    fn unanswered(op: Op) -> Reply {
        let (reply, _) = ractor::concurrency::oneshot();
        (Submission { op, reply: reply.into(), _slot: None }, Ok(Outcome::Done))
    }

    #[tokio::test]
    async fn stage_without_room_lets_nothing_in_until_enough_has_left() {
        let (stage, mut inside) = Stage::new(4);
        assert!(stage.has_room(100), "what is larger than the stage has it to itself");
        stage.enter("small", 3).await;
        assert!(stage.has_room(1) && !stage.has_room(2));
        let mut next = Box::pin(stage.enter("next", 3));
        assert!(next.as_mut().now_or_never().is_none());
        let small = inside.try_recv().unwrap();
        assert!(next.as_mut().now_or_never().is_none(), "it is still in the stage");
        drop(small);
        next.await;
        assert_eq!(inside.try_recv().unwrap().0, "next");
        stage.enter("larger than the stage", 100).await;
        assert!(stage.enter("last", 1).now_or_never().is_none());
        assert!(stage.idle().now_or_never().is_none());
        drop(inside.try_recv().unwrap());
        stage.idle().await;
    }

    /// What keeps a group from waiting until its time, which never comes here.
    async fn check(first: Landed, behind: &[usize], is_someone_waiting: bool, expected: Option<usize>) {
        let progress = Progress::new();
        let (stage, mut more) = Stage::new(ROWS_BEHIND_MAX);
        let mut group = Group::default();
        progress.acknowledge(&first.changes);
        stage.enter(first, 1).await;
        group.push(more.try_recv().unwrap());
        for rows in behind {
            stage.enter(landed(*rows), 1).await;
        }
        if is_someone_waiting {
            progress.hurry();
        }
        let never = Instant::now() + Duration::from_secs(1 << 30);
        let waited = group.wait(&mut more, never, &progress).now_or_never();
        assert_eq!(waited.map(|()| group.rows()), expected);
    }

    #[tokio::test]
    async fn group_waits_only_while_nobody_waits_for_it_and_there_is_room() {
        let half = ROWS_BEHIND_MAX as usize / 2;
        check(landed(1), &[2, 3], false, None).await;
        check(landed(1), &[2, half, 3], false, Some(half + 3)).await;
        check(landed(1), &[], true, Some(1)).await;
        let purge = Op::Purge { tessera: TesseraId::from_bytes([1; 32]) };
        check(Landed { replies: vec![unanswered(purge)], ..landed(1) }, &[2], false, Some(1)).await;
    }
}

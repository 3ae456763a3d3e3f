//! The replication actor: keeps the list of jobs; each runs as a task of its own.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proto::TesseraId;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::{
    sync::{Semaphore, watch},
    task::{AbortHandle, JoinSet},
};

use super::{
    Tools, fetch,
    message::{Order, Progress, ReplicationMsg, Reply, Step},
    publish,
    recover::{self, Recoverable},
    repair, standing,
    told::Told,
};
use crate::{
    clock,
    error::ActorError,
    storage::{JobKind, JobState, Jobs, Note, RecordsHandle, ReplicationJob},
    supervision::gate::Slot,
};

/// The actor. All state is in [`State`].
pub(super) struct ReplicationActor;

/// What it is started with.
pub(super) type Arguments = Arc<Tools>;

pub(super) struct State {
    tools: Arc<Tools>,
    /// The number of the next job; `None` until it is known what there was before.
    next_id: Option<u64>,
    /// What was asked for before that.
    waiting: Vec<(Order, Slot, Reply<ReplicationJob>)>,
    under_way: BTreeMap<u64, UnderWay>,
    /// How many jobs may run at a time.
    turns: Arc<Semaphore>,
    /// All that this actor has begun ends with it; the next one takes it up again.
    tasks: JoinSet<()>,
}

struct UnderWay {
    job: ReplicationJob,
    progress: watch::Receiver<Progress>,
    task: AbortHandle,
}

impl Actor for ReplicationActor {
    type Msg = ReplicationMsg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        me: ActorRef<ReplicationMsg>,
        tools: Arc<Tools>,
    ) -> Result<State, ActorProcessingErr> {
        let mut state = State {
            tools,
            next_id: None,
            waiting: Vec::new(),
            under_way: BTreeMap::new(),
            turns: Arc::new(Semaphore::new(JOBS_RUNNING_MAX)),
            tasks: JoinSet::new(),
        };
        state.load(&me, Duration::ZERO);
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<ReplicationMsg>,
        message: ReplicationMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        while state.tasks.try_join_next().is_some() {}
        match message {
            ReplicationMsg::Loaded(loaded) => state.loaded(&me, loaded),
            ReplicationMsg::Begin { order, slot, reply } => state.begin(&me, order, slot, reply),
            ReplicationMsg::Watch { id, slot: _slot, reply } => {
                let progress = state.under_way.get(&id).map(|one| one.progress.clone());
                let _ = reply.send(Ok(progress));
            }
            ReplicationMsg::Safety { tessera, slot, reply } => state.safety(tessera, slot, reply),
            ReplicationMsg::Recoverable { slot, reply } => state.recoverable(slot, reply),
            ReplicationMsg::Cancel { id, slot, reply } => state.cancel(id, slot, reply),
            ReplicationMsg::Ended { id } => drop(state.under_way.remove(&id)),
            ReplicationMsg::Ping(reply) => drop(reply.send(())),
            #[cfg(feature = "faults")]
            #[expect(clippy::panic, reason = "a test asked for it")]
            ReplicationMsg::Panic => panic!("asked to"),
        }
        Ok(())
    }
}

impl State {
    /// Looks up what was not finished before.
    fn load(&mut self, me: &ActorRef<ReplicationMsg>, after: Duration) {
        let (me, records) = (me.clone(), self.tools.storage.records());
        self.tasks.spawn(async move {
            tokio::time::sleep(after).await;
            // An actor that is gone has nothing to go on with.
            let _ = me.send_message(ReplicationMsg::Loaded(unfinished(&records).await));
        });
    }

    fn loaded(
        &mut self,
        me: &ActorRef<ReplicationMsg>,
        loaded: Result<(Vec<ReplicationJob>, u64), ActorError>,
    ) {
        let (unfinished, last) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::warn!(%error, "what was not finished before the start cannot be read yet");
                return self.load(me, LOAD_AGAIN);
            }
        };
        self.next_id = Some(last + 1);
        for job in unfinished {
            tracing::info!(job = job.id, tessera = %job.tessera, "a job goes on");
            self.run(me, job, None);
        }
        for (order, slot, reply) in std::mem::take(&mut self.waiting) {
            self.begin(me, order, slot, reply);
        }
    }

    fn begin(
        &mut self,
        me: &ActorRef<ReplicationMsg>,
        order: Order,
        slot: Slot,
        reply: Reply<ReplicationJob>,
    ) {
        if reply.is_closed() {
            return;
        }
        let Some(id) = self.next_id else { return self.waiting.push((order, slot, reply)) };
        let is_it = |one: &&UnderWay| (one.job.kind, one.job.tessera) == (order.kind, order.tessera);
        if let Some(same) = self.under_way.values().find(is_it) {
            let _ = reply.send(Ok(same.job.clone()));
            return;
        }
        if self.under_way.len() >= JOBS_WAITING_MAX {
            let busy = ActorError::Busy { actor: super::NAME, limit: JOBS_WAITING_MAX };
            let _ = reply.send(Err(busy));
            return;
        }
        self.next_id = Some(id + 1);
        let now_ms = clock::now_ms();
        let job = ReplicationJob {
            id,
            kind: order.kind,
            tessera: order.tessera,
            state: JobState::Pending,
            began_at_ms: now_ms,
            changed_at_ms: now_ms,
            told: None,
        };
        self.run(me, job, Some((slot, reply)));
    }

    /// Runs a job as a task. A new one is written down first, and then acknowledged.
    fn run(
        &mut self,
        me: &ActorRef<ReplicationMsg>,
        job: ReplicationJob,
        asked: Option<(Slot, Reply<ReplicationJob>)>,
    ) {
        let (progress, seen) = watch::channel(Progress::of(Step::Waiting, 0));
        let (me, tools, turns, this) = (me.clone(), self.tools.clone(), self.turns.clone(), job.clone());
        let task = self.tasks.spawn(async move {
            let ended = Ended { me, id: this.id };
            if let Some((slot, reply)) = asked {
                let kept = tools.storage.records().note(vec![Note::Job(this.clone())]).await;
                let is_kept = kept.is_ok();
                let _ = reply.send(kept.map(|_| this.clone()));
                drop(slot);
                if !is_kept {
                    return;
                }
            } else if let Err(error) = tools.peers.refresh().await {
                // Just started, nobody is known yet.
                tracing::warn!(%error, job = this.id, "a job goes on, and what is known of other nodes cannot be read");
            }
            // Never closed.
            let turn = turns.acquire().await;
            let outcome = do_it(&tools, &this, progress).await;
            drop(turn);
            finish(&tools, this, outcome).await;
            drop(ended);
        });
        self.under_way.insert(job.id, UnderWay { job, progress: seen, task });
    }

    fn safety(&mut self, tessera: TesseraId, slot: Slot, reply: Reply<Option<Told>>) {
        let tools = self.tools.clone();
        self.tasks.spawn(async move {
            // A caller that gave up has nothing to be told.
            let _ = reply.send(standing::as_known(&tools, tessera).await);
            drop(slot);
        });
    }

    fn recoverable(&mut self, slot: Slot, reply: Reply<Recoverable>) {
        let tools = self.tools.clone();
        self.tasks.spawn(async move {
            // A caller that gave up has nothing to be told.
            let _ = reply.send(recover::recoverable(&tools).await);
            drop(slot);
        });
    }

    fn cancel(&mut self, id: u64, slot: Slot, reply: Reply<bool>) {
        let Some(UnderWay { job, task, .. }) = self.under_way.remove(&id) else {
            let _ = reply.send(Ok(false));
            return;
        };
        task.abort();
        let records = self.tools.storage.records();
        self.tasks.spawn(async move {
            let job = ReplicationJob { state: JobState::Cancelled, changed_at_ms: clock::now_ms(), ..job };
            let _ = reply.send(records.note(vec![Note::Job(job)]).await.map(|_| true));
            drop(slot);
        });
    }
}

/// Tells the actor that a job has ended, however it did.
struct Ended {
    me: ActorRef<ReplicationMsg>,
    id: u64,
}

impl Drop for Ended {
    fn drop(&mut self) {
        // An actor that is gone has no list of jobs.
        let _ = self.me.send_message(ReplicationMsg::Ended { id: self.id });
    }
}

async fn unfinished(records: &RecordsHandle) -> Result<(Vec<ReplicationJob>, u64), ActorError> {
    let last = records.replication_jobs(Jobs::Last(1)).await?;
    let pending = records.replication_jobs(Jobs::Pending).await?;
    Ok((pending, last.first().map_or(0, |job| job.id)))
}

async fn do_it(
    tools: &Tools,
    job: &ReplicationJob,
    progress: watch::Sender<Progress>,
) -> Result<Told, ActorError> {
    match job.kind {
        JobKind::Publish => publish::publish(tools, job.tessera, false, &progress).await,
        JobKind::Relayout => publish::publish(tools, job.tessera, true, &progress).await,
        JobKind::Repair => repair::repair(tools, job.tessera, &progress).await,
        JobKind::Fetch => fetch::fetch(tools, job.tessera, &progress).await,
    }
}

/// Writes down what came of a job. When that fails, it is done again with the next start, and finds everything done.
async fn finish(tools: &Tools, job: ReplicationJob, outcome: Result<Told, ActorError>) {
    let (state, told) = match &outcome {
        Ok(told) if told.is_as_asked() => (JobState::Done, told.clone()),
        Ok(told) => (JobState::Degraded, told.clone()),
        Err(error) => (JobState::Failed, Told::failed(error)),
    };
    tools.metrics.ended(job.kind, state);
    tracing::info!(job = job.id, tessera = %job.tessera, ?state, told = %told.sentence, "a job has ended");
    let told = serde_json::to_string(&told).ok();
    let job = ReplicationJob { state, changed_at_ms: clock::now_ms(), told, ..job };
    if let Err(error) = tools.storage.records().note(vec![Note::Job(job)]).await {
        tracing::warn!(%error, "it is not written down that a job has ended");
    }
}

/// Jobs that run at a time: what they send is bounded apart.
const JOBS_RUNNING_MAX: usize = 16;
/// Jobs that are not finished at a time.
const JOBS_WAITING_MAX: usize = 100_000;
/// When to look once more what was not finished.
const LOAD_AGAIN: Duration = Duration::from_secs(1);

//! The replication actor: keeps the list of jobs; each runs as a task of its own.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proto::{TesseraId, placement::Placement};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::{
    sync::{Notify, OnceCell, Semaphore, mpsc, mpsc::error::SendError, watch},
    task::JoinSet,
};

use super::{
    Tools,
    job::{Job, Turns, Word},
    meeting,
    message::{Order, Progress, ReplicationMsg, Reply, Step},
    recover::{self, Recoverable},
    retract,
    spending::Mending,
    standing, sweep,
    told::Told,
};
use crate::{
    clock,
    error::ActorError,
    storage::{JobKind, JobState, Jobs, RecordsHandle, ReplicationJob},
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
    /// Set as soon as those have been waited for that were there before the start.
    arrived: Arc<OnceCell<()>>,
    /// How many jobs may run at a time.
    turns: Arc<Semaphore>,
    /// Has the sweep look whether there is anything to do.
    wake: Arc<Notify>,
    /// All that this actor has begun ends with it; the next one takes it up again.
    tasks: JoinSet<()>,
}

/// How a job begins.
enum Begins {
    /// It was written down before.
    Again,
    /// The sweep has found that it is needed; since when; as long as it runs it is one of a few.
    ByItself(Option<i64>, Mending),
    /// Somebody asks for it.
    Asked(Slot, Reply<ReplicationJob>),
}

struct UnderWay {
    of: (JobKind, TesseraId),
    progress: watch::Receiver<Progress>,
    words: mpsc::UnboundedSender<Word>,
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
            arrived: Arc::default(),
            turns: Arc::new(Semaphore::new(JOBS_RUNNING_MAX)),
            wake: Arc::default(),
            tasks: JoinSet::new(),
        };
        state.load(&me, Duration::ZERO);
        state.tasks.spawn(retract::ask_again(state.tools.clone()));
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
            ReplicationMsg::Mend { tessera, since_ms, mending } => {
                state.mend(&me, tessera, Begins::ByItself(since_ms, mending));
            }
            ReplicationMsg::Meet(placement) => state.meet(placement),
            ReplicationMsg::Ended { id } => state.ended(id),
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
            self.run(me, job, Begins::Again);
        }
        self.tasks.spawn(sweep::run(self.tools.clone(), me.clone(), self.wake.clone()));
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
        let mut asked = (slot, reply);
        let is_it = |one: &&UnderWay| one.of == (order.kind, order.tessera);
        for same in self.under_way.values().filter(is_it) {
            match same.words.send(Word::Asked(asked.0, asked.1)) {
                Err(SendError(Word::Asked(slot, reply))) => asked = (slot, reply),
                _ => return,
            }
        }
        let (slot, reply) = asked;
        if self.under_way.len() >= JOBS_WAITING_MAX {
            let busy = ActorError::Busy { actor: super::NAME, limit: JOBS_WAITING_MAX };
            let _ = reply.send(Err(busy));
            return;
        }
        let job = self.new_job(id, order);
        self.run(me, job, Begins::Asked(slot, reply));
    }

    fn ended(&mut self, id: u64) {
        if self.under_way.remove(&id).is_some_and(|one| one.of.0.is_followed_by_a_look()) {
            self.wake.notify_one();
        }
    }

    /// Mends a tessera, unless that is being done.
    fn mend(&mut self, me: &ActorRef<ReplicationMsg>, tessera: TesseraId, begins: Begins) {
        let is_it = |one: &UnderWay| one.of == (JobKind::Repair, tessera);
        if !self.under_way.values().any(is_it)
            && let Some(id) = self.next_id
        {
            let job = self.new_job(id, Order { kind: JobKind::Repair, tessera });
            tracing::info!(job = id, %tessera, "too much of it is lost: it is mended");
            self.run(me, job, begins);
        }
    }

    fn meet(&mut self, placement: Placement) {
        let strangers = meeting::strangers(&self.tools, &placement);
        if !strangers.is_empty() {
            let tools = self.tools.clone();
            self.tasks.spawn(async move { meeting::meet(&tools, &placement, strangers).await });
        }
    }

    fn new_job(&mut self, id: u64, Order { kind, tessera }: Order) -> ReplicationJob {
        self.next_id = Some(id + 1);
        let now_ms = clock::now_ms();
        ReplicationJob {
            id,
            kind,
            tessera,
            state: JobState::Pending,
            began_at_ms: now_ms,
            changed_at_ms: now_ms,
            told: None,
        }
    }

    /// Runs a job as a task. A new one is written down first, and then acknowledged.
    fn run(&mut self, me: &ActorRef<ReplicationMsg>, job: ReplicationJob, begins: Begins) {
        let (progress, seen) = watch::channel(Progress::of(Step::Waiting, 0));
        let (sender, words) = mpsc::unbounded_channel();
        let turns = Turns { all: self.turns.clone(), of_tessera: self.tools.turn_of(job.tessera) };
        let ended = Ended { me: me.clone(), id: job.id };
        self.under_way
            .insert(job.id, UnderWay { of: (job.kind, job.tessera), progress: seen, words: sender.clone() });
        let job = Job { tools: self.tools.clone(), job, words, progress, turns, missed_since_ms: None };
        let arrived = self.arrived.clone();
        self.tasks.spawn(async move {
            match begins {
                Begins::Again => job.go_on(arrived).await,
                Begins::ByItself(since_ms, mending) => {
                    job.begin_by_itself(since_ms).await;
                    drop(mending);
                }
                Begins::Asked(slot, reply) => {
                    // The job has the receiver.
                    let _ = sender.send(Word::Asked(slot, reply));
                    job.begin().await;
                }
            }
            drop(ended);
        });
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

    fn cancel(&self, id: u64, slot: Slot, reply: Reply<bool>) {
        let Some(job) = self.under_way.get(&id) else { return drop(reply.send(Ok(false))) };
        if let Err(SendError(Word::Cancel(_slot, reply))) = job.words.send(Word::Cancel(slot, reply)) {
            // It has just ended.
            let _ = reply.send(Ok(false));
        }
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

/// Jobs that run at a time: what they send is bounded apart.
const JOBS_RUNNING_MAX: usize = 16;
/// Jobs that are not finished at a time.
const JOBS_WAITING_MAX: usize = 100_000;
/// When to look once more what was not finished.
const LOAD_AGAIN: Duration = Duration::from_secs(1);

//! Supervisor: starts the actors, starts again what falls, and gives up by name when one falls too often.
//!
//! # Invariants
//! 1. One for one: only the actor that fell is started again, in the same way as the first time.
//! 2. While it is down its seat is empty, so callers get `Restarting` and never wait for nobody.
//! 3. A restart that fails counts as a fall, and is tried again as long as the budget lasts. Only the first start of
//!    all must succeed at once.
//! 4. An actor is in its seat only if a fall of it will be heard of from then on.
//! 5. Absent on purpose: no named actors and no registry, so two nodes run in one process.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent};
use tokio::sync::watch;

use super::budget::{History, RestartBudget};
use crate::{clock, metrics::ActorMetrics};

/// Starts one kind of actor, as often as needed.
pub(crate) trait Child: Send + Sync + 'static {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Starts it under this supervisor and puts it into its seat.
    fn start(&self, supervisor: ActorCell) -> BoxFuture<'_, Result<ActorCell, SpawnErr>>;
    /// Empties its seat.
    fn vacate(&self);
}

/// What has become of an actor.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ActorStatus {
    /// Its name.
    pub name: &'static str,
    /// Whether it answers.
    pub running: bool,
    /// How often it was started again.
    pub restarts: u64,
    /// Why it fell the last time.
    pub last_fall: Option<String>,
    /// When that was, in milliseconds since 1970.
    pub last_fall_ms: Option<i64>,
}

/// What the supervisor shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// All actors, in start order.
    pub actors: Vec<ActorStatus>,
    /// Why the process must end, once an actor has fallen too often or could not be started again so often.
    pub fatal: Option<String>,
}

pub(crate) struct Supervisor;

pub(crate) struct Arguments {
    /// In start order.
    pub(crate) children: Vec<Box<dyn Child>>,
    pub(crate) budget: RestartBudget,
    pub(crate) metrics: ActorMetrics,
    pub(crate) standing: watch::Sender<Standing>,
}

pub(crate) struct State {
    seats: Vec<Seated>,
    budget: RestartBudget,
    metrics: ActorMetrics,
    standing: watch::Sender<Standing>,
    draining: bool,
}

struct Seated {
    child: Arc<dyn Child>,
    current: Option<ActorCell>,
    history: History,
    restarts: u64,
    last_fall: Option<(String, i64)>,
}

/// How an actor ended.
enum End {
    /// It failed, or was killed.
    Fell(String),
    /// It stopped by itself, in good order, to be started again.
    Asked(String),
}

#[derive(Debug)]
pub(crate) enum SupervisorMsg {
    /// An actor was started again, or could not be.
    Restarted { seat: usize, outcome: Result<ActorCell, SpawnErr> },
    /// Is anybody there?
    Ping(RpcReplyPort<()>),
    /// Stop all actors in good order, the last started first.
    Drain { done: RpcReplyPort<()> },
}

impl Actor for Supervisor {
    type Msg = SupervisorMsg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        me: ActorRef<SupervisorMsg>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let mut seats = Vec::new();
        for child in arguments.children {
            let current = Some(child.start(me.get_cell()).await.map_err(startup_error)?);
            let child: Arc<dyn Child> = child.into();
            seats.push(Seated { child, current, history: History::default(), restarts: 0, last_fall: None });
        }
        let (budget, metrics, standing) = (arguments.budget, arguments.metrics, arguments.standing);
        let state = State { seats, budget, metrics, standing, draining: false };
        state.publish();
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<SupervisorMsg>,
        message: SupervisorMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMsg::Restarted { seat, outcome } => state.restarted(&me, seat, outcome),
            SupervisorMsg::Ping(reply) => drop(reply.send(())),
            SupervisorMsg::Drain { done } => state.drain(&me, done),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<SupervisorMsg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(who, error) => state.ended(&me, &who, End::Fell(error.to_string())),
            // One that was killed leaves no state.
            SupervisionEvent::ActorTerminated(who, Some(_), Some(reason)) => {
                state.ended(&me, &who, End::Asked(reason));
            }
            SupervisionEvent::ActorTerminated(who, _, reason) => {
                state.ended(&me, &who, End::Fell(reason.unwrap_or_else(|| "it stopped".to_owned())));
            }
            _ => {}
        }
        Ok(())
    }
}

impl State {
    fn ended(&mut self, me: &ActorRef<SupervisorMsg>, who: &ActorCell, end: End) {
        let is_it =
            |seated: &Seated| seated.current.as_ref().is_some_and(|cell| cell.get_id() == who.get_id());
        let Some(seat) = self.seats.iter().position(is_it) else { return };
        self.vacant(me, seat, end);
    }

    fn vacant(&mut self, me: &ActorRef<SupervisorMsg>, seat: usize, end: End) {
        let Some(seated) = self.seats.get_mut(seat) else { return };
        seated.current = None;
        seated.child.vacate();
        if self.draining {
            return;
        }
        let name = seated.child.name();
        let reason = match end {
            End::Fell(reason) => {
                tracing::error!(actor = name, reason, "an actor fell");
                seated.fell(&reason, &self.metrics);
                reason
            }
            End::Asked(reason) => {
                tracing::info!(actor = name, reason, "an actor is started again, as it was asked to");
                reason
            }
        };
        match seated.history.fell(Instant::now(), &self.budget) {
            Some(wait) => self.restart(me, seat, wait),
            None => {
                let RestartBudget { restarts_max, window, .. } = self.budget;
                self.give_up(format!(
                    "{name} fell more than {restarts_max} times within {} s, the last time because: {reason}",
                    window.as_secs()
                ));
            }
        }
        self.publish();
    }

    fn restart(&mut self, me: &ActorRef<SupervisorMsg>, seat: usize, wait: Duration) {
        let Some(seated) = self.seats.get_mut(seat) else { return };
        seated.restarts += 1;
        restart(me.clone(), seat, seated.child.clone(), wait);
    }

    fn restarted(&mut self, me: &ActorRef<SupervisorMsg>, seat: usize, outcome: Result<ActorCell, SpawnErr>) {
        let Some(seated) = self.seats.get_mut(seat) else { return };
        match outcome {
            Ok(cell) if self.draining => cell.stop(None),
            Err(_) if self.draining => {}
            // The event of its fall came before it was known whose seat that was.
            Ok(cell) if cell.get_status() >= ractor::ActorStatus::Stopping => {
                return self.vacant(me, seat, End::Fell("it fell as soon as it ran".to_owned()));
            }
            Ok(cell) => {
                tracing::info!(actor = seated.child.name(), "an actor runs again");
                seated.current = Some(cell);
            }
            Err(error) => {
                let (name, reason) = (seated.child.name(), startup_error(error).to_string());
                tracing::error!(actor = name, reason, "an actor could not be started again");
                seated.fell(&reason, &self.metrics);
                match seated.history.not_started(Instant::now(), &self.budget) {
                    Some(wait) => self.restart(me, seat, wait),
                    None => self.give_up(format!(
                        "{name} fell and could not be started again within {} restarts, the last of which failed \
                         because: {reason}",
                        self.budget.restarts_max
                    )),
                }
            }
        }
        self.publish();
    }

    fn give_up(&self, reason: String) {
        tracing::error!(reason, "giving up");
        self.standing.send_modify(|standing| {
            standing.fatal.get_or_insert(reason);
        });
    }

    fn drain(&mut self, me: &ActorRef<SupervisorMsg>, done: RpcReplyPort<()>) {
        self.draining = true;
        let children: Vec<_> =
            self.seats.iter().rev().map(|seat| (seat.child.clone(), seat.current.clone())).collect();
        let me = me.clone();
        tokio::spawn(async move {
            for (child, cell) in children {
                child.vacate();
                let Some(cell) = cell else { continue };
                if let Err(error) = cell.drain_and_wait(Some(DRAIN_DEADLINE)).await {
                    tracing::warn!(actor = child.name(), %error, "an actor did not end in time");
                }
            }
            // Whoever asked may be gone; all is stopped anyway.
            let _ = done.send(());
            me.stop(None);
        });
    }

    fn publish(&self) {
        let actors = self.seats.iter().map(|seated| ActorStatus {
            name: seated.child.name(),
            running: seated.current.is_some(),
            restarts: seated.restarts,
            last_fall: seated.last_fall.as_ref().map(|(reason, _)| reason.clone()),
            last_fall_ms: seated.last_fall.as_ref().map(|(_, at_ms)| *at_ms),
        });
        let actors = actors.collect();
        self.standing.send_modify(|standing| standing.actors = actors);
    }
}

impl Seated {
    fn fell(&mut self, reason: &str, metrics: &ActorMetrics) {
        self.last_fall = Some((reason.to_owned(), clock::now_ms()));
        metrics.fell(self.child.name());
    }
}

/// Starts an actor again in a task of its own: it may take as long as a recovery does.
fn restart(me: ActorRef<SupervisorMsg>, seat: usize, child: Arc<dyn Child>, wait: Duration) {
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        let outcome = child.start(me.get_cell()).await;
        // Without a supervisor the process is ending.
        let _ = me.send_message(SupervisorMsg::Restarted { seat, outcome });
    });
}

/// What kept an actor from starting, without ractor's words around it.
pub(crate) fn startup_error(error: SpawnErr) -> ActorProcessingErr {
    match error {
        SpawnErr::StartupFailed(cause) => cause,
        other => other.into(),
    }
}

/// Its name among those of the actors.
pub(crate) const NAME: &str = "supervisor";
/// How long one actor may take to end.
const DRAIN_DEADLINE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::testbed::Measured;

    struct Idle;

    impl Actor for Idle {
        type Msg = ();
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
    }

    /// Its actor is gone by the time it is handed over, the second and the third time it is started.
    struct Short {
        starts: Arc<AtomicU64>,
        first: watch::Sender<Option<ActorCell>>,
    }

    impl Child for Short {
        fn name(&self) -> &'static str {
            "short"
        }

        fn start(&self, supervisor: ActorCell) -> BoxFuture<'_, Result<ActorCell, SpawnErr>> {
            Box::pin(async {
                let (actor, ended) = Actor::spawn_linked(None, Idle, (), supervisor).await?;
                match self.starts.fetch_add(1, Ordering::Relaxed) {
                    0 => drop(self.first.send_replace(Some(actor.get_cell()))),
                    1 | 2 => {
                        actor.kill();
                        ended.await.map_err(|error| SpawnErr::StartupFailed(error.into()))?;
                    }
                    _ => {}
                }
                Ok(actor.get_cell())
            })
        }

        fn vacate(&self) {}
    }

    #[tokio::test]
    async fn actor_that_falls_before_it_is_seated_is_started_again() {
        let (starts, (first, first_seen)) = (Arc::new(AtomicU64::new(0)), watch::channel(None));
        let (standing, mut standing_seen) = watch::channel(Standing::default());
        let child = Short { starts: starts.clone(), first };
        let budget = RestartBudget { backoff: Duration::ZERO, ..RestartBudget::default() };
        let metrics = Measured::new().metrics.actors;
        let arguments = Arguments { children: vec![Box::new(child)], budget, metrics, standing };
        let (supervisor, _) = Actor::spawn(None, Supervisor, arguments).await.unwrap();
        first_seen.borrow().as_ref().unwrap().kill();
        let is_back =
            |standing: &Standing| standing.actors.iter().any(|one| one.running && one.restarts == 3);
        let back = tokio::time::timeout(Duration::from_secs(30), standing_seen.wait_for(is_back)).await;
        assert!(back.is_ok(), "it stays away");
        assert_eq!(starts.load(Ordering::Relaxed), 4);
        supervisor.stop(None);
    }
}

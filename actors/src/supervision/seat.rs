//! Seats: how a handle finds the actor that does the work now, and asks it.

use std::fmt;

use ractor::{ActorRef, Message, RpcReplyPort};
use tokio::sync::watch;

use super::gate::{Gate, Slot};
use crate::{error::ActorError, metrics::ActorMetrics};

/// Where the supervisor puts the current reference of one actor. Every handle of that actor holds a copy, so handles
/// outlive restarts.
pub(crate) struct Seat<M> {
    gate: Gate,
    metrics: ActorMetrics,
    current: watch::Receiver<Option<ActorRef<M>>>,
}

impl<M> Clone for Seat<M> {
    fn clone(&self) -> Self {
        Self { gate: self.gate.clone(), metrics: self.metrics.clone(), current: self.current.clone() }
    }
}

impl<M> fmt::Debug for Seat<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seat({})", self.gate.actor())
    }
}

impl<M: Message> Seat<M> {
    /// An empty seat, and what the supervisor fills it with.
    pub(crate) fn new(gate: Gate, metrics: ActorMetrics) -> (Self, watch::Sender<Option<ActorRef<M>>>) {
        let (sender, current) = watch::channel(None);
        (Self { gate, metrics, current }, sender)
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Asks the actor. Errors with [`ActorError::Busy`] when it is not admitted in time, and with
    /// [`ActorError::Restarting`] when the actor falls before it answers.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        message: impl FnOnce(Slot, RpcReplyPort<Result<T, ActorError>>) -> M,
    ) -> Result<T, ActorError> {
        let slot = self.gate.admit().await.inspect_err(|_| self.metrics.busy(self.gate.actor()))?;
        let (reply, answer) = ractor::concurrency::oneshot();
        self.send(message(slot, reply.into()))?;
        answer.await.unwrap_or_else(|_| Err(self.restarting()))
    }

    /// Asks the actor whether it is there, past the gate: a busy actor answers like an idle one, after what came before.
    /// `false` when there is none, or when it falls first. Waits for as long as the actor is stuck.
    pub(crate) async fn answers(&self, question: impl FnOnce(RpcReplyPort<()>) -> M) -> bool {
        let (reply, answer) = ractor::concurrency::oneshot();
        self.send(question(reply.into())).is_ok() && answer.await.is_ok()
    }

    /// Tells the actor something that needs no answer and no admission.
    pub(crate) fn tell(&self, message: M) {
        // An actor that has just fallen hears of it from nobody: its successor starts from what is stored.
        let _ = self.send(message);
    }

    fn send(&self, message: M) -> Result<(), ActorError> {
        let current = self.current.borrow();
        let actor = current.as_ref().ok_or_else(|| self.restarting())?;
        actor.send_message(message).map_err(|_| self.restarting())
    }

    fn restarting(&self) -> ActorError {
        ActorError::Restarting { actor: self.gate.actor() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ractor::{Actor, ActorProcessingErr};
    use tokio::time::timeout;

    use super::*;
    use crate::testbed::Measured;

    enum Told {
        Ping(RpcReplyPort<()>),
        /// Handle this for ever.
        Hang,
        Fall,
    }

    struct Listener;

    impl Actor for Listener {
        type Msg = Told;
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _: ActorRef<Told>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }

        async fn handle(&self, _: ActorRef<Told>, told: Told, (): &mut ()) -> Result<(), ActorProcessingErr> {
            match told {
                Told::Ping(reply) => drop(reply.send(())),
                Told::Hang => std::future::pending().await,
                Told::Fall => return Err("told to".into()),
            }
            Ok(())
        }
    }

    /// A seat for one request at a time, and what fills it.
    fn empty() -> (Seat<Told>, watch::Sender<Option<ActorRef<Told>>>) {
        Seat::new(Gate::new("listener", 1), Measured::new().metrics.actors)
    }

    async fn taken() -> Seat<Told> {
        let (seat, sender) = empty();
        sender.send_replace(Some(Actor::spawn(None, Listener, ()).await.unwrap().0));
        seat
    }

    #[tokio::test]
    async fn actor_behind_a_full_gate_answers_all_the_same() {
        let seat = taken().await;
        let _slot = seat.gate().admit().await.unwrap();
        assert!(seat.answers(Told::Ping).await);
    }

    #[tokio::test]
    async fn empty_seat_does_not_answer() {
        let (seat, _sender) = empty();
        assert!(!seat.answers(Told::Ping).await);
    }

    #[tokio::test]
    async fn actor_that_falls_before_it_answers_has_not_answered() {
        let seat = taken().await;
        seat.tell(Told::Fall);
        assert!(!seat.answers(Told::Ping).await);
    }

    #[tokio::test(start_paused = true)]
    async fn actor_that_is_stuck_never_answers() {
        let seat = taken().await;
        seat.tell(Told::Hang);
        assert!(timeout(Duration::from_secs(3600), seat.answers(Told::Ping)).await.is_err());
    }
}

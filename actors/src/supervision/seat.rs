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

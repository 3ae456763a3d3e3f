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

    /// Asks the actor, waiting for admission. Errors with [`ActorError::Restarting`] when it falls before it answers.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        message: impl FnOnce(Slot, RpcReplyPort<Result<T, ActorError>>) -> M,
    ) -> Result<T, ActorError> {
        let slot = self.gate.admit().await?;
        self.ask(slot, message).await
    }

    /// As [`Seat::call`], but errors with [`ActorError::Busy`] instead of waiting for admission.
    pub(crate) async fn try_call<T: Send + 'static>(
        &self,
        message: impl FnOnce(Slot, RpcReplyPort<Result<T, ActorError>>) -> M,
    ) -> Result<T, ActorError> {
        let slot = self.gate.try_admit().inspect_err(|_| self.metrics.busy(self.gate.actor()))?;
        self.ask(slot, message).await
    }

    /// Tells the actor something that needs no answer and no admission.
    pub(crate) fn tell(&self, message: M) {
        if let Some(actor) = self.current.borrow().as_ref() {
            // An actor that has just fallen hears of it from nobody: its successor starts from what is stored.
            let _ = actor.send_message(message);
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        slot: Slot,
        message: impl FnOnce(Slot, RpcReplyPort<Result<T, ActorError>>) -> M,
    ) -> Result<T, ActorError> {
        let (reply, answer) = ractor::concurrency::oneshot();
        {
            let current = self.current.borrow();
            let actor = current.as_ref().ok_or_else(|| self.restarting())?;
            actor.send_message(message(slot, reply.into())).map_err(|_| self.restarting())?;
        }
        answer.await.unwrap_or_else(|_| Err(self.restarting()))
    }

    fn restarting(&self) -> ActorError {
        ActorError::Restarting { actor: self.gate.actor() }
    }
}

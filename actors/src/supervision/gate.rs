//! Gates: how many requests may wait or run in an actor.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ActorError;

/// Bounds the requests waiting or running in one actor. Made once by the supervisor; outlives restarts.
#[derive(Debug, Clone)]
pub struct Gate {
    actor: &'static str,
    limit: usize,
    free: Arc<Semaphore>,
}

/// A place behind a gate. It travels inside the message and is freed on drop, so a caller that gave up does not free
/// it early.
#[derive(Debug)]
pub struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Gate {
    /// A gate for so many requests.
    pub fn new(actor: &'static str, limit: usize) -> Self {
        Self { actor, limit, free: Arc::new(Semaphore::new(limit)) }
    }

    /// A place now, or [`ActorError::Busy`]. For peers and whoever can come back later.
    pub fn try_admit(&self) -> Result<Slot, ActorError> {
        match self.free.clone().try_acquire_owned() {
            Ok(permit) => Ok(Slot { _permit: permit }),
            Err(_) => Err(self.busy()),
        }
    }

    /// A place as soon as there is one. For local jobs, which hold nothing while they wait.
    pub async fn admit(&self) -> Result<Slot, ActorError> {
        match self.free.clone().acquire_owned().await {
            Ok(permit) => Ok(Slot { _permit: permit }),
            Err(_) => Err(self.busy()),
        }
    }

    /// Places taken.
    pub fn taken(&self) -> usize {
        self.limit.saturating_sub(self.free.available_permits())
    }

    /// Places in all.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The actor behind it.
    pub fn actor(&self) -> &'static str {
        self.actor
    }

    fn busy(&self) -> ActorError {
        ActorError::Busy { actor: self.actor, limit: self.limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_beyond_the_gate_is_refused_as_busy() {
        let gate = Gate::new("storage", 1);
        let slot = gate.try_admit().unwrap();
        assert!(matches!(gate.try_admit(), Err(ActorError::Busy { actor: "storage", limit: 1 })));
        assert_eq!(gate.taken(), 1);
        drop(slot);
        assert!(gate.try_admit().is_ok());
    }
}

//! Gates: how many requests may wait or run in an actor.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ActorError;

/// Bounds the requests waiting or running in one actor. Made once by the supervisor; outlives restarts.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    actor: &'static str,
    limit: usize,
    free: Arc<Semaphore>,
}

/// A place behind a gate. It travels inside the message and is freed on drop, so a caller that gave up does not free
/// it early.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Gate {
    /// A gate for so many requests.
    pub(crate) fn new(actor: &'static str, limit: usize) -> Self {
        Self { actor, limit, free: Arc::new(Semaphore::new(limit)) }
    }

    /// A place now, or [`ActorError::Busy`].
    fn try_admit(&self) -> Result<Slot, ActorError> {
        match self.free.clone().try_acquire_owned() {
            Ok(permit) => Ok(Slot { _permit: permit }),
            Err(_) => Err(ActorError::Busy { actor: self.actor, limit: self.limit }),
        }
    }

    /// A place as soon as there is one; [`ActorError::Busy`] when none gets free in time.
    pub(crate) async fn admit(&self) -> Result<Slot, ActorError> {
        if let Ok(slot) = self.try_admit() {
            return Ok(slot);
        }
        match tokio::time::timeout(ADMISSION_DEADLINE, self.free.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Slot { _permit: permit }),
            _ => Err(ActorError::Busy { actor: self.actor, limit: self.limit }),
        }
    }

    /// Places taken.
    pub(crate) fn taken(&self) -> usize {
        self.limit.saturating_sub(self.free.available_permits())
    }

    /// Places in all.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// The actor behind it.
    pub(crate) fn actor(&self) -> &'static str {
        self.actor
    }
}

/// How long a local request waits for its place.
const ADMISSION_DEADLINE: Duration = Duration::from_secs(30);

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

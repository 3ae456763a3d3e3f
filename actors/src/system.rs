//! All actors of one node, started together and stopped together.

use std::sync::Arc;

use config::StorageConfig;
use ractor::{Actor, ActorRef, SpawnErr};
use tokio::sync::watch;

use crate::{
    error::ActorError,
    metrics::Metrics,
    storage::{
        self, StorageHandle,
        disk::{Disk, RealDisk},
    },
    supervision::{
        RestartBudget, Standing,
        supervisor::{self, Child, Supervisor, SupervisorMsg, startup_error},
    },
};

/// What a node's actors are started with.
#[derive(Debug)]
pub struct SystemConfig {
    /// The segment log and its index.
    pub storage: StorageConfig,
    /// How often an actor may fall.
    pub budget: RestartBudget,
    /// What they count with.
    pub metrics: Metrics,
    /// The disk; a test may pass one that fails.
    pub disk: Arc<dyn Disk>,
}

/// The running actors.
#[derive(Debug)]
pub struct System {
    /// Fragments, documents and records.
    pub storage: StorageHandle,
    /// Which actors run, and whether the process must end.
    pub standing: watch::Receiver<Standing>,
    supervisor: ActorRef<SupervisorMsg>,
}

impl SystemConfig {
    /// The defaults over a storage configuration.
    pub fn new(storage: StorageConfig) -> Self {
        Self {
            storage,
            budget: RestartBudget::default(),
            metrics: Metrics::unread(),
            disk: Arc::new(RealDisk),
        }
    }
}

impl System {
    /// Starts all actors; returns when they answer, which is after recovery.
    pub async fn start(config: SystemConfig) -> Result<Self, ActorError> {
        let metrics = config.metrics;
        let (storage, starter) =
            storage::Starter::new(config.storage, config.disk, metrics.storage, metrics.actors.clone());
        let children: Vec<Box<dyn Child>> = vec![Box::new(starter)];
        let (standing, standing_seen) = watch::channel(Standing::default());
        let arguments =
            supervisor::Arguments { children, budget: config.budget, metrics: metrics.actors, standing };
        let (supervisor, _) = Actor::spawn(None, Supervisor, arguments).await.map_err(typed)?;
        Ok(Self { storage, standing: standing_seen, supervisor })
    }

    /// Stops all actors in good order: what was asked of them before is done.
    pub async fn drain(self) {
        let (done, stopped) = ractor::concurrency::oneshot();
        if self.supervisor.send_message(SupervisorMsg::Drain { done: done.into() }).is_ok() {
            // An error means that the supervisor is gone, and with it all actors.
            let _ = stopped.await;
        }
    }

    /// Ends everything at once, as a crash would: nothing is finished, nothing is closed.
    #[cfg(feature = "faults")]
    pub async fn crash(self) {
        self.supervisor.kill();
    }
}

/// The error of the actor that could not be started, as it was.
fn typed(error: SpawnErr) -> ActorError {
    match startup_error(error).downcast::<ActorError>() {
        Ok(error) => *error,
        Err(error) => ActorError::Index { reason: format!("the actors could not be started: {error}") },
    }
}

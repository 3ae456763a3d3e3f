//! All actors of one node, started together and stopped together.

use std::{sync::Arc, time::Duration};

use config::{IntegrityConfig, NetworkConfig, StorageConfig};
use futures::{
    FutureExt,
    future::{self, BoxFuture},
};
use proto::{AccountId, NodeKey, TesseraId, credential::SignedCredential};
use ractor::{Actor, ActorRef, SpawnErr};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    acquaintance::Acquaintance,
    attestation::{self, AttestationHandle},
    cache::{self, CacheHandle},
    conn_pool::{self, ConnPoolHandle, INBOUND_MAX, Inbound},
    dropping::drop_for,
    error::ActorError,
    metrics::{ActorMetrics, Metrics},
    peers::Peers,
    remote::Remote,
    replication::{self, ReplicationHandle},
    scrub::{self, ScrubHandle},
    serve::{self, Server},
    storage::{
        self, StorageHandle,
        disk::{Disk, RealDisk},
    },
    supervision::{
        RestartBudget, Standing,
        supervisor::{self, Child, Supervisor, SupervisorMsg, startup_error},
    },
    throttle::Throttles,
};

/// What a node's actors are started with.
#[derive(Debug)]
pub struct SystemConfig {
    /// The segment log and its index.
    pub storage: StorageConfig,
    /// How often what is stored is read back, and how loudly.
    pub integrity: IntegrityConfig,
    /// The cap of the fragment cache, in bytes.
    pub cache_bytes_max: u64,
    /// This machine's key: it signs what is attested, and is its identity on the wire.
    pub node_key: NodeKey,
    /// What it shows others to be charged to its author.
    pub credential: Option<SignedCredential>,
    /// Who the other nodes are, and what they may.
    pub network: NetworkConfig,
    /// How tesserae are spread over them.
    pub replication: replication::Settings,
    /// Memory for what is on its way to and from other nodes, in bytes.
    pub transfer_bytes_max: u64,
    /// How often an actor may fall.
    pub budget: RestartBudget,
    /// What they count with.
    pub metrics: Metrics,
    /// The disk; a test may pass one that fails.
    pub disk: Arc<dyn Disk>,
}

/// The running actors. Copies are of the handles; there is one of each actor.
#[derive(Debug, Clone)]
pub struct System {
    /// Fragments, documents and records, straight from the log.
    pub storage: StorageHandle,
    /// The same fragments, through the cache: what is asked for again and again.
    pub cache: CacheHandle<StorageHandle>,
    /// Signed claims of what is held.
    pub attestation: AttestationHandle,
    /// Reading back what is stored.
    pub scrub: ScrubHandle,
    /// The nodes that are known.
    pub peers: Peers,
    /// The connections to them.
    pub pool: ConnPoolHandle,
    /// Asking them.
    pub remote: Remote,
    /// Having tesserae kept by them.
    pub replication: ReplicationHandle,
    server: Arc<Server>,
    /// Which actors run, and whether the process must end.
    pub standing: watch::Receiver<Standing>,
    supervisor: ActorRef<SupervisorMsg>,
    metrics: ActorMetrics,
}

/// Memory that is held from one request to the next, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// By the fragment cache.
    pub cache_bytes: u64,
    /// By the map of where fragments lie.
    pub location_map_bytes: u64,
}

impl SystemConfig {
    /// The defaults for a storage configuration and a machine.
    pub fn new(storage: StorageConfig, node_key: NodeKey) -> Self {
        Self {
            storage,
            integrity: IntegrityConfig::default(),
            cache_bytes_max: CACHE_BYTES_MAX,
            node_key,
            credential: None,
            replication: replication::Settings::default(),
            network: NetworkConfig { listen_addr: None, ..NetworkConfig::default() },
            transfer_bytes_max: TRANSFER_BYTES_MAX,
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
        let (actors, key) = (metrics.actors, config.node_key);
        let (storage, store) =
            storage::Starter::new(config.storage, config.disk, metrics.storage, actors.clone());
        let (cache, shelves) =
            cache::Starter::new(config.cache_bytes_max, storage.clone(), metrics.cache, actors.clone());
        let records = storage.records();
        let peers = Peers::new(key.id(), config.credential, config.network.clone(), records.clone());
        let (inbound, streams) = mpsc::channel(INBOUND_MAX);
        let (pool, port) = conn_pool::Starter::new(
            &config.network,
            &key,
            peers.watch(),
            inbound,
            metrics.pool,
            actors.clone(),
        )?;
        let thread = port.thread().clone();
        let throttles = Arc::new(Throttles::new(&config.network));
        let remote = Remote::new(pool.clone(), peers.clone(), throttles.clone(), metrics.requests.clone());
        let doors =
            attestation::Doors { checksums: storage.checksums_door(), records, remote: remote.clone() };
        let (attestation, witness) =
            attestation::Starter::new(key.clone(), doors, metrics.attestation, actors.clone());
        let (scrub, verifier) =
            scrub::Starter::new(config.integrity, storage.segments_door(), metrics.scrub, actors.clone());
        let (replication, publisher) = replication::Starter::new(
            config.replication,
            replication::Doors::of(&storage, &cache, &attestation, &pool, &remote),
            key.clone(),
            peers.clone(),
            metrics.replication,
            actors.clone(),
        );
        let mut children: Vec<Box<dyn Child>> = vec![Box::new(store), Box::new(shelves), Box::new(witness)];
        children.extend([Box::new(verifier) as Box<dyn Child>, Box::new(port), Box::new(publisher)]);
        let (supervisor, standing) = supervise(children, config.budget, actors.clone()).await?;
        let server = Arc::new(Server {
            key,
            config: config.network,
            storage: storage.clone(),
            cache: cache.clone(),
            attestation: attestation.clone(),
            scrub: scrub.clone(),
            peers: peers.clone(),
            pool: pool.clone(),
            remote: remote.clone(),
            replication: replication.clone(),
            metrics: metrics.requests,
            throttles,
            state: serve::State::new(config.transfer_bytes_max),
        });
        let system = Self {
            storage,
            cache,
            attestation,
            scrub,
            peers,
            pool,
            remote,
            replication,
            server,
            standing,
            supervisor,
            metrics: actors,
        };
        system.meet_others(thread, streams).await;
        Ok(system)
    }

    /// Begins to talk to others as soon as all is known of them. An index that is being made anew does not tell yet, and is no
    /// reason not to start: until then whoever asks waits.
    async fn meet_others(&self, thread: Handle, streams: mpsc::Receiver<Inbound>) {
        let Err(error) = self.peers.refresh().await else { return self.talk(&thread, streams) };
        tracing::warn!(%error, "what is known of other nodes cannot be read yet");
        let system = self.clone();
        tokio::spawn(async move {
            let mut standing = system.standing.clone();
            while system.peers.refresh().await.is_err() {
                tokio::select! {
                    gone = standing.changed() => if gone.is_err() { return },
                    () = tokio::time::sleep(REFRESH_INTERVAL) => {}
                }
            }
            system.talk(&thread, streams);
        });
    }

    fn talk(&self, thread: &Handle, streams: mpsc::Receiver<Inbound>) {
        self.server.clone().run(thread, streams);
        self.pool.book_changed();
        let system = self.clone();
        tokio::spawn(async move { system.drop_blocked().await });
        let (pool, mut book) = (self.pool.clone(), self.peers.watch());
        // Ends with the last that knows of peers.
        tokio::spawn(async move {
            while book.changed().await.is_ok() {
                pool.book_changed();
            }
        });
        let acquaintance = Acquaintance {
            peers: self.peers.clone(),
            pool: self.pool.clone(),
            remote: self.remote.clone(),
            listens: self.server.config.listen_addr.is_some(),
        };
        acquaintance.spawn(self.standing.clone());
    }

    /// Brings the gauges up to date: what is stored, and how many requests wait or run. For whoever is about to read
    /// them.
    pub async fn measure(&self) -> Result<Held, ActorError> {
        for (actor, waiting) in self.waiting() {
            self.metrics.waiting(actor, waiting);
        }
        self.scrub.status().await?;
        let location_map_bytes = self.storage.usage().await?.location_map_bytes;
        Ok(Held { location_map_bytes, cache_bytes: self.cache.usage().await?.bytes })
    }

    /// Drops what is blocked and still here: whoever blocked it may have been interrupted.
    async fn drop_blocked(&self) {
        for tessera in self.peers.book().blocked_tesseras.keys() {
            match self.drop_for_others(*tessera).await {
                Ok(0) => {}
                Ok(dropped) => {
                    tracing::warn!(%tessera, dropped, "it is blocked: what was still here of it was dropped")
                }
                Err(error) => {
                    tracing::warn!(%tessera, %error, "it is blocked, and what is here of it is not dropped yet")
                }
            }
        }
    }

    /// Drops all that is here of a tessera, unless this node keeps it by its own wish.
    async fn drop_for_others(&self, tessera: TesseraId) -> Result<u64, ActorError> {
        let is_own = self.storage.records().keepers(tessera).await?.contains(&AccountId::LOCAL);
        if is_own { Ok(0) } else { self.drop_for_all(tessera).await }
    }

    /// Drops all that is here of a tessera, for whomever it is kept. How many fragments that were, each once for each account.
    pub async fn drop_for_all(&self, tessera: TesseraId) -> Result<u64, ActorError> {
        let mut dropped = 0;
        for account in self.storage.records().keepers(tessera).await? {
            dropped += drop_for(&self.storage, &self.cache, account, tessera).await?;
        }
        Ok(dropped)
    }

    /// Requests waiting or running in each actor.
    pub fn waiting(&self) -> [(&'static str, usize); 6] {
        [
            (storage::NAME, self.storage.load().0),
            (cache::NAME, self.cache.load().0),
            (attestation::NAME, self.attestation.load().0),
            (scrub::NAME, self.scrub.load().0),
            (conn_pool::NAME, self.pool.load().0),
            (replication::NAME, self.replication.load().0),
        ]
    }

    /// Those that do not answer within so long, the supervisor among them: they are down or stuck. All are asked at
    /// once, past their gates: busy is not dead.
    pub async fn silent(&self, deadline: Duration) -> Vec<&'static str> {
        let asked: [(&'static str, BoxFuture<'_, bool>); 7] = [
            (storage::NAME, self.storage.answers().boxed()),
            (cache::NAME, self.cache.answers().boxed()),
            (attestation::NAME, self.attestation.answers().boxed()),
            (scrub::NAME, self.scrub.answers().boxed()),
            (conn_pool::NAME, self.pool.answers().boxed()),
            (replication::NAME, self.replication.answers().boxed()),
            (supervisor::NAME, self.supervisor_answers().boxed()),
        ];
        let within = asked.map(async |(name, answer)| {
            timeout(deadline, answer).await.is_ok_and(|answered| answered).then_some(name)
        });
        let answered = future::join_all(within).await;
        // An actor that is not asked here counts as silent too, so that it is missed.
        let standing = self.standing.borrow();
        let all = standing.actors.iter().map(|actor| actor.name).chain([supervisor::NAME]);
        all.filter(|name| !answered.contains(&Some(name))).collect()
    }

    async fn supervisor_answers(&self) -> bool {
        let (reply, answer) = ractor::concurrency::oneshot();
        self.supervisor.send_message(SupervisorMsg::Ping(reply.into())).is_ok() && answer.await.is_ok()
    }

    /// Stops all actors in good order: what was asked of them before is done. What is under way with other nodes may end, if
    /// it does so soon.
    pub async fn drain(self) {
        self.server.drain();
        let _ = timeout(LAST_LOOK, self.see_who_is_there()).await;
        self.pool.finish().await;
        let (done, stopped) = ractor::concurrency::oneshot();
        if self.supervisor.send_message(SupervisorMsg::Drain { done: done.into() }).is_ok() {
            // An error means that the supervisor is gone, and with it all actors.
            let _ = stopped.await;
        }
    }

    /// What transfers with other nodes hold.
    #[cfg(feature = "faults")]
    pub fn parked(&self) -> serve::Parked {
        self.server.parked()
    }

    /// Else it is written down only once in a while who is there.
    async fn see_who_is_there(&self) {
        if let Ok(status) = self.pool.status().await {
            let connected = status.connections.iter().map(|connection| connection.node);
            self.peers.saw(connected, Duration::ZERO).await;
        }
    }

    /// Ends everything at once, as a crash would: nothing is finished, nothing is closed.
    #[cfg(feature = "faults")]
    pub async fn crash(self) {
        self.supervisor.kill();
    }
}

async fn supervise(
    children: Vec<Box<dyn Child>>,
    budget: RestartBudget,
    metrics: ActorMetrics,
) -> Result<(ActorRef<SupervisorMsg>, watch::Receiver<Standing>), ActorError> {
    let (standing, seen) = watch::channel(Standing::default());
    let arguments = supervisor::Arguments { children, budget, metrics, standing };
    let (supervisor, _) = Actor::spawn(None, Supervisor, arguments).await.map_err(typed)?;
    Ok((supervisor, seen))
}

/// The cache's cap where nothing is configured, in bytes.
const CACHE_BYTES_MAX: u64 = 128 << 20;
/// How long a stop may take to write down who is there.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// How often it is tried again to read what is known of other nodes.
const REFRESH_INTERVAL: Duration = Duration::from_millis(500);
/// Memory for what is on its way, where nothing is configured, in bytes.
const TRANSFER_BYTES_MAX: u64 = 16 << 20;

/// The error of the actor that could not be started, as it was.
fn typed(error: SpawnErr) -> ActorError {
    match startup_error(error).downcast::<ActorError>() {
        Ok(error) => *error,
        Err(error) => ActorError::Index { reason: format!("the actors could not be started: {error}") },
    }
}

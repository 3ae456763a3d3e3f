//! ReplicationActor: has tesserae kept by other nodes, and says how safe they are.
//!
//! # Invariants
//! 1. A job is written down before it is acknowledged and goes on after a restart. No fragment is sent again that there is
//!    evidence for: what its holder has said since the job began, or a receipt of one that is not there to say so.
//! 2. The guarantee is computed from what holders say that they have, never from what was planned.
//! 3. Memory for a stripe is reserved before it is read, out of what is shared by all that work; at most three quarters of
//!    that, or the widest stripe.
//! 4. Fragments are read from storage and not through the cache: a scan would empty it.
//! 5. Absent on purpose: connections (the pool's), what is known of others (the peers').

mod actor;
mod adopt;
mod coding;
mod copy;
mod crowding;
mod damage;
mod fetch;
mod gathering;
mod handle;
mod holders;
mod job;
mod leave;
mod meeting;
mod message;
mod origin;
mod own;
mod pages;
mod placing;
mod publish;
mod recover;
mod repair;
mod retiring;
mod retract;
mod sending;
mod sources;
mod spending;
mod standing;
mod survey;
mod sweep;
mod told;
mod transfers;
mod turn;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use config::{IntegrityConfig, ReplicationConfig};
use futures::future::BoxFuture;
use proto::{AuthorId, AuthorKey, NodeKey, TesseraId, layout::Layout};
use ractor::{Actor, ActorCell, ActorRef, SpawnErr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub use handle::ReplicationHandle;
pub use message::{Progress, Step};
pub use recover::{Asked, Recovering};
pub use standing::Guarantee;
pub use told::{Failure, Left, Told, Turned};

use crate::{
    attestation::AttestationHandle,
    budget::Budget,
    cache::CacheHandle,
    conn_pool::ConnPoolHandle,
    metrics::{ActorMetrics, ReplicationMetrics},
    peers::Peers,
    remote::Remote,
    storage::StorageHandle,
    supervision::{gate::Gate, seat::Seat, supervisor::Child},
};

/// What a job needs.
struct Tools {
    config: ReplicationConfig,
    /// How long a proof counts.
    prove_within: Duration,
    /// Signs layouts and placements of what is its own.
    author: Option<AuthorKey>,
    /// Signs for this node as a holder.
    key: NodeKey,
    storage: StorageHandle,
    /// The same with what is in front of it: what is dropped is dropped there as well.
    cache: CacheHandle<StorageHandle>,
    attestation: AttestationHandle,
    peers: Peers,
    pool: ConnPoolHandle,
    remote: Remote,
    metrics: ReplicationMetrics,
    memory: Memory,
    transfers: transfers::Transfers,
    heard: survey::Heard,
    coders: coding::Coders,
    /// Holders that were looked for.
    sought: meeting::Sought,
    /// Placements that holders do not agree about.
    disputes: retiring::Disputes,
    tesserae: Mutex<job::Tesserae>,
    /// Tesserae that the sweep mends at a time: what is worst off comes before what waits.
    mending: Arc<Semaphore>,
    /// What that moves.
    spending: Arc<spending::Spending>,
}

impl Tools {
    /// So much was sent to mend something, or read for it.
    fn mended(&self, bytes: u64) {
        self.spending.moved(bytes);
        self.metrics.mended(bytes);
    }

    /// Whether this node acts for an author: what is that author's is its own.
    fn acts_for(&self, author: AuthorId) -> bool {
        self.author.as_ref().is_some_and(|key| key.id() == author)
    }

    /// Whether a layout is the one for as many machines as keep it now: another would be no better.
    fn fits(&self, layout: &Layout, found: &Guarantee) -> bool {
        layout.code() == self.config.code(found.machines.into())
    }

    /// What all that is done about a tessera has in common: one at a time.
    fn turn_of(&self, tessera: TesseraId) -> Arc<tokio::sync::Mutex<()>> {
        self.tesserae.lock().unwrap_or_else(PoisonError::into_inner).turn(tessera)
    }
}

/// What replication is to do, and with what.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How tesserae are spread over other nodes.
    pub config: ReplicationConfig,
    /// How long a proof counts: each holder gives one as often.
    pub prove_within: Duration,
    /// The author's key: it signs who keeps what of the author's tesserae. Without it none is published.
    pub author: Option<AuthorKey>,
    /// Memory that is shared by all that work on something large.
    pub working: Budget,
}

impl Default for Settings {
    fn default() -> Self {
        let working = Budget::new(WORKING_BYTES);
        let prove_within = IntegrityConfig::default().prove_within;
        Self { config: ReplicationConfig::default(), prove_within, author: None, working }
    }
}

/// Whom replication asks.
pub(crate) struct Doors {
    storage: StorageHandle,
    cache: CacheHandle<StorageHandle>,
    attestation: AttestationHandle,
    pool: ConnPoolHandle,
    remote: Remote,
}

impl Doors {
    /// These.
    pub(crate) fn of(
        storage: &StorageHandle,
        cache: &CacheHandle<StorageHandle>,
        attestation: &AttestationHandle,
        pool: &ConnPoolHandle,
        remote: &Remote,
    ) -> Self {
        let (storage, attestation) = (storage.clone(), attestation.clone());
        Self { storage, cache: cache.clone(), attestation, pool: pool.clone(), remote: remote.clone() }
    }
}

/// Memory for stripes: a part of what all that work share.
struct Memory {
    shared: Budget,
    own: Budget,
}

/// Memory that is spoken for, until it is dropped.
struct Reserved {
    own: Option<OwnedSemaphorePermit>,
    shared: Option<OwnedSemaphorePermit>,
}

impl Reserved {
    /// One of so many equal parts of it, for what is given up before the rest.
    fn part(&mut self, parts: usize) -> Self {
        let split = |whole: &mut Option<OwnedSemaphorePermit>| {
            let whole = whole.as_mut()?;
            whole.split(whole.num_permits() / parts.max(1))
        };
        Self { own: split(&mut self.own), shared: split(&mut self.shared) }
    }
}

impl Memory {
    /// At most three quarters of this, which is two of the widest stripes by default, but enough for one.
    fn new(shared: Budget) -> Self {
        let own = Budget::new((shared.total_bytes() / 4 * 3).max(STRIPE_BYTES_MAX));
        Self { shared, own }
    }

    /// Waits until so many bytes are free.
    async fn reserve(&self, bytes: u64) -> Reserved {
        let own = self.own.reserve(self.own.permits(bytes)).await;
        let shared = self.shared.reserve(self.shared.permits(bytes)).await;
        Reserved { own, shared }
    }
}

/// What the supervisor starts replication with, every time.
pub(crate) struct Starter {
    arguments: actor::Arguments,
    seat: watch::Sender<Option<ActorRef<message::ReplicationMsg>>>,
}

impl Starter {
    /// A handle, and what starts the actor behind it.
    pub(crate) fn new(
        Settings { config, prove_within, author, working }: Settings,
        Doors { storage, cache, attestation, pool, remote }: Doors,
        key: NodeKey,
        peers: Peers,
        metrics: ReplicationMetrics,
        actors: ActorMetrics,
    ) -> (ReplicationHandle, Self) {
        let (seat, sender) = Seat::new(Gate::new(NAME, REQUESTS_MAX), actors);
        let (memory, coders) = (Memory::new(working), coding::Coders::default());
        let transfers = transfers::Transfers::new(config.max_concurrent_transfers);
        let tools = Tools {
            config,
            prove_within,
            author,
            key,
            storage,
            cache,
            attestation,
            peers,
            pool,
            remote,
            metrics,
            memory,
            transfers,
            heard: survey::Heard::default(),
            sought: meeting::Sought::default(),
            disputes: retiring::Disputes::default(),
            coders,
            tesserae: Mutex::default(),
            mending: Arc::new(Semaphore::new(MENDING_MAX)),
            spending: Arc::default(),
        };
        (ReplicationHandle::new(seat), Self { arguments: Arc::new(tools), seat: sender })
    }
}

impl Child for Starter {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start(&self, supervisor: ActorCell) -> BoxFuture<'_, Result<ActorCell, SpawnErr>> {
        Box::pin(async {
            let (actor, arguments) = (actor::ReplicationActor, self.arguments.clone());
            let (actor, _) = Actor::spawn_linked(None, actor, arguments, supervisor).await?;
            self.seat.send_replace(Some(actor.clone()));
            Ok(actor.get_cell())
        })
    }

    fn vacate(&self) {
        self.seat.send_replace(None);
    }
}

/// The actor's name in errors, metrics and on the status page.
pub const NAME: &str = "replication";
/// Requests waiting or running at a time. Jobs are none: they are written down and wait there.
const REQUESTS_MAX: usize = 64;
/// Tesserae that the sweep mends at a time.
const MENDING_MAX: usize = 2;
/// Memory to work in, where nothing is configured, in bytes.
const WORKING_BYTES: u64 = 64 << 20;
/// The fragments of the widest stripe, in bytes.
const STRIPE_BYTES_MAX: u64 =
    proto::limits::STRIPE_TOTAL_MAX as u64 * proto::limits::FRAGMENT_BYTES_MAX as u64;

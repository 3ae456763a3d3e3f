//! ConnPoolActor: the only owner of the QUIC endpoint and of every connection, whoever dialled it.
//!
//! # Invariants
//! 1. At most one connection per node is given out, and never more in all than the bound, those being dialled included.
//! 2. A connection with a stream open is neither reaped nor evicted, even though handles take one that is there without
//!    asking: one that is about to go is retired first, and only when nobody uses it. A newcomer from outside evicts
//!    nobody, unless the operator wants it: then a guest makes way, and some places are kept for such nodes from the
//!    beginning.
//! 3. A connection that a node holds open that the operator wants, from behind its router, is not reaped: this side could
//!    not dial it again. No more are than there are places kept for such nodes, and guests hold none.
//! 4. One dial per node at a time, however many wait for it; a node that did not answer is left alone for longer each
//!    time; all dials together stay below a budget per minute.
//! 5. Nobody is taken for somebody else: the handshake proves the key, and the key is the id.
//! 6. Absent on purpose: what is said on the streams. Those that peers open are handed to `serve` over a bounded channel;
//!    those that this node opens are used through a [`Lease`].

mod accept;
mod actor;
mod book;
mod dial;
mod dialling;
mod endpoint;
mod handle;
mod identity;
mod limits;
mod line;
mod link;
mod links;
mod message;
mod places;
#[cfg(feature = "faults")]
pub mod raw;
mod reap;
mod reset;
mod strikes;
#[cfg(test)]
mod tests;
mod trouble;
mod windows;

use std::sync::Arc;

use config::NetworkConfig;
use futures::future::BoxFuture;
use proto::NodeKey;
use ractor::{Actor, ActorCell, ActorRef, SpawnErr};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};

pub use book::{Known, PeerBook};
pub use handle::ConnPoolHandle;
pub(crate) use limits::{INBOUND_MAX, KEEP_ALIVE};
pub use link::{Close, Lease};
pub(crate) use links::View;
pub use message::{ConnectionStatus, Inbound, PoolStatus, WaitingStatus};
pub use trouble::PeerTrouble;

use crate::{
    error::ActorError,
    metrics::{ActorMetrics, PoolMetrics},
    supervision::{gate::Gate, seat::Seat, supervisor::Child},
};

/// What the supervisor starts the pool with, every time.
pub(crate) struct Starter {
    arguments: actor::Arguments,
    seat: watch::Sender<Option<ActorRef<message::PoolMsg>>>,
}

impl Starter {
    /// A handle, and what starts the actor behind it. Binds the socket. Streams that peers open go to `inbound`.
    pub(crate) fn new(
        config: &NetworkConfig,
        key: &NodeKey,
        book: watch::Receiver<Arc<PeerBook>>,
        inbound: mpsc::Sender<Inbound>,
        metrics: PoolMetrics,
        actors: ActorMetrics,
    ) -> Result<(ConnPoolHandle, Self), ActorError> {
        let port = Arc::new(endpoint::Port::bind(
            config.listen_addr,
            key,
            config.pool_idle_timeout,
            config.pool_max_connections,
        )?);
        let settings = actor::Settings {
            connections_max: config.pool_max_connections,
            idle: config.pool_idle_timeout,
            reap_every: config.pool_reaper_interval,
            dials_per_minute: config.dials_per_minute,
            handshakes_max: config.max_concurrent_handshakes,
        };
        let (seat, sender) = Seat::new(Gate::new(NAME, REQUESTS_MAX), actors);
        let shown = links::Shown::default();
        let handle = ConnPoolHandle::new(seat, View::of(&shown), metrics.clone(), port.address());
        let arguments = actor::Arguments { us: key.id(), port, settings, book, shown, inbound, metrics };
        Ok((handle, Self { arguments, seat: sender }))
    }

    /// The runtime of the endpoint's thread: whoever serves streams does it there.
    pub(crate) fn thread(&self) -> &Handle {
        self.arguments.port.thread()
    }
}

impl Child for Starter {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start(&self, supervisor: ActorCell) -> BoxFuture<'_, Result<ActorCell, SpawnErr>> {
        Box::pin(async {
            let arguments = self.arguments.clone();
            let (actor, _) = Actor::spawn_linked(None, actor::ConnPoolActor, arguments, supervisor).await?;
            self.seat.send_replace(Some(actor.clone()));
            Ok(actor.get_cell())
        })
    }

    fn vacate(&self) {
        self.seat.send_replace(None);
    }
}

/// The actor's name in errors, metrics and on the status page.
pub const NAME: &str = "pool";
/// Requests waiting for a connection at a time.
const REQUESTS_MAX: usize = 1024;

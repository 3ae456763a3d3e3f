//! CacheActor: the only owner of the fragment cache.
//!
//! # Invariants
//! 1. Bytes held never exceed the cap by more than one fragment, and every entry owns exactly its bytes.
//! 2. One load per fragment, however many ask; a change (put or drop) during a load wins.
//! 3. A change is told to the cache before whoever made it hears of its end, whatever that end was: the mailbox is in
//!    order, so every later get is answered after it. Hits are read from the shelf without asking (see `front`), but not
//!    while any change is under way.
//! 4. Absent on purpose: no disk, no network. Misses and changes go to the [`crate::FragmentStore`] underneath, from
//!    tasks of their own.
//!
//! # Not guaranteed
//! What goes around the cache, straight to the store, is not seen by it: whoever drops fragments holds a
//! [`CacheHandle`]. A get that runs beside a change may see either side of it.

mod actor;
mod front;
mod handle;
mod loads;
mod message;
mod shelf;
#[cfg(test)]
mod tests;

use futures::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorRef, SpawnErr};
use tokio::sync::watch;

pub use handle::{CacheHandle, Uncached};
pub use message::CacheUsage;

use crate::{
    metrics::{ActorMetrics, CacheMetrics},
    store::FragmentStore,
    supervision::{gate::Gate, seat::Seat, supervisor::Child},
};

/// What the supervisor starts the cache with, every time.
pub(crate) struct Starter<S> {
    arguments: actor::Arguments<S>,
    seat: watch::Sender<Option<ActorRef<message::CacheMsg>>>,
}

impl<S: FragmentStore> Starter<S> {
    /// A handle on the store, now with a cache of so many bytes, and what starts the actor behind it.
    pub(crate) fn new(
        bytes_max: u64,
        store: S,
        metrics: CacheMetrics,
        actors: ActorMetrics,
    ) -> (CacheHandle<S>, Self) {
        let (seat, sender) = Seat::new(Gate::new(NAME, REQUESTS_MAX), actors);
        let (fronts, seen) = watch::channel(None);
        let handle = CacheHandle::new(seat, store.clone(), seen, metrics.clone());
        (handle, Self { arguments: actor::Arguments { bytes_max, store, metrics, fronts }, seat: sender })
    }
}

impl<S: FragmentStore> Child for Starter<S> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start(&self, supervisor: ActorCell) -> BoxFuture<'_, Result<ActorCell, SpawnErr>> {
        Box::pin(async {
            let (actor, arguments) = (actor::CacheActor::new(), self.arguments.clone());
            let (actor, _) = Actor::spawn_linked(None, actor, arguments, supervisor).await?;
            self.seat.send_replace(Some(actor.clone()));
            Ok(actor.get_cell())
        })
    }

    fn vacate(&self) {
        self.seat.send_replace(None);
        self.arguments.fronts.send_replace(None);
    }
}

/// The actor's name in errors, metrics and on the status page.
pub const NAME: &str = "cache";
/// Requests waiting or running at a time.
const REQUESTS_MAX: usize = 1024;

//! ScrubActor: keeps what is said of stored bytes true, by reading all of them back from the disk, again and again.
//!
//! # Invariants
//! 1. Everything is verified within the configured span, or it is said in advance that it cannot be.
//! 2. Never faster than the configured rate, in bursts, so that the disk rests in between; not in quiet hours, and not
//!    while puts and gets take twice as long as without it.
//! 3. How far it has come is kept over restarts.
//! 4. Where somebody finds something damaged, the rest of that segment comes next.
//! 5. What others want proof of is read here, and nowhere else but for a get.
//! 6. Absent on purpose: no bytes but those of proofs. Storage reads, checks and marks; this only says what, when and how
//!    much.

mod actor;
mod handle;
mod message;
mod pace;
mod schedule;
mod strain;
#[cfg(test)]
mod tests;

use config::IntegrityConfig;
use futures::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorRef, SpawnErr};
use tokio::sync::watch;

pub use handle::ScrubHandle;
pub use message::{Cursor, Findings, Mode, ScrubStatus};
pub use schedule::Outlook;

use crate::{
    clock,
    metrics::{ActorMetrics, ScrubMetrics},
    storage::SegmentsHandle,
    supervision::{gate::Gate, seat::Seat, supervisor::Child},
};

/// What the supervisor starts scrubbing with, every time.
pub(crate) struct Starter {
    arguments: actor::Arguments,
    seat: watch::Sender<Option<ActorRef<message::ScrubMsg>>>,
}

impl Starter {
    /// A handle, and what starts the actor behind it.
    pub(crate) fn new(
        config: IntegrityConfig,
        segments: SegmentsHandle,
        metrics: ScrubMetrics,
        actors: ActorMetrics,
    ) -> (ScrubHandle, Self) {
        let (seat, sender) = Seat::new(Gate::new(NAME, REQUESTS_MAX), actors);
        let (now_ms, minute) = (clock::now_ms, clock::minute_of_day);
        let (configure, config) = watch::channel(config);
        let arguments = actor::Arguments { config, segments, metrics, now_ms, minute };
        (ScrubHandle::new(seat, configure), Self { arguments, seat: sender })
    }
}

impl Child for Starter {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start(&self, supervisor: ActorCell) -> BoxFuture<'_, Result<ActorCell, SpawnErr>> {
        Box::pin(async {
            let (actor, arguments) = (actor::ScrubActor, self.arguments.clone());
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
pub const NAME: &str = "scrub";
/// Requests waiting or running at a time.
const REQUESTS_MAX: usize = 64;

//! AttestationActor: says, signed, what this node holds of a tessera; and checks what others say.
//!
//! # Invariants
//! 1. Zero blob reads: it holds the checksum door and the records door only, and neither can ask for a blob.
//! 2. What is not known to be in order is never claimed; the report of rows shows it all the same.
//! 3. A claim covers whole stripes: what it covers and does not list is not held.
//! 4. What another node claims counts only as far as the layout names it so, and is noted as claimed, never as proven.
//! 5. Absent on purpose: proofs of possession (they read blobs), disk; connections are the pool's.

mod actor;
mod audit;
mod handle;
mod message;
mod page;
mod report;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures::future::BoxFuture;
use proto::NodeKey;
use ractor::{Actor, ActorCell, ActorRef, SpawnErr};
use tokio::sync::watch;

pub use audit::Audit;
pub use handle::AttestationHandle;
pub use message::{Attestation, Question};
pub use report::AttestedRow;

use crate::{
    clock,
    metrics::{ActorMetrics, AttestationMetrics},
    remote::Remote,
    storage::{ChecksumHandle, RecordsHandle},
    supervision::{gate::Gate, seat::Seat, supervisor::Child},
};

/// All that attestation may ask: none of it gives the bytes of a blob.
pub(crate) struct Doors {
    /// What the index says of fragments.
    pub(crate) checksums: ChecksumHandle,
    /// What is kept of tesserae and of others.
    pub(crate) records: RecordsHandle,
    /// Asking others.
    pub(crate) remote: Remote,
}

/// What the supervisor starts attestation with, every time.
pub(crate) struct Starter {
    arguments: actor::Arguments,
    seat: watch::Sender<Option<ActorRef<message::AttestationMsg>>>,
}

impl Starter {
    /// A handle, and what starts the actor behind it.
    pub(crate) fn new(
        key: NodeKey,
        doors: Doors,
        metrics: AttestationMetrics,
        actors: ActorMetrics,
    ) -> (AttestationHandle, Self) {
        let (seat, sender) = Seat::new(Gate::new(NAME, REQUESTS_MAX), actors);
        let handle = AttestationHandle::new(seat, metrics);
        let witness = actor::Witness { key, doors, now_ms: clock::now_ms };
        (handle, Self { arguments: Arc::new(witness), seat: sender })
    }
}

impl Child for Starter {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start(&self, supervisor: ActorCell) -> BoxFuture<'_, Result<ActorCell, SpawnErr>> {
        Box::pin(async {
            let (actor, arguments) = (actor::AttestationActor, self.arguments.clone());
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
pub const NAME: &str = "attestation";
/// Requests waiting or running at a time; each holds at most a page of rows.
const REQUESTS_MAX: usize = 64;

//! StorageActor: the only owner of the segment log and of the SQLite index over it.
//!
//! # Invariants
//! 1. Nothing is acknowledged before its records are synced; the index follows, and readers know by how much.
//! 2. The log alone rebuilds everything that was acknowledged; the index is a view of it that may be thrown away.
//! 3. No byte leaves without its hash being checked.
//! 4. Decisions are made in log order, by one writer at a time, over restarts too.
//! 5. Absent on purpose: no cache, no network, no other actor. Handlers await neither disk nor SQLite: they spawn.
//!
//! # Not guaranteed
//! A request that failed may still have been carried out. What only the index knows (which blobs are suspect, when a
//! segment was verified) may be lost in a power cut and is found out again; what is kept of others (peers, blocks,
//! receipts, that an invite was taken) may be lost likewise unless SQLite syncs each commit, and when the index is, it is
//! again what the newest snapshot says.

mod actor;
mod ahead;
mod alarm;
mod background;
mod change;
mod compact;
mod device_memory;
mod digest;
pub mod disk;
mod doubts;
mod facts;
mod guardian;
mod handle;
mod health;
mod index;
mod inventory;
mod jobs;
mod keeper;
mod leash;
mod ledger;
mod lending;
mod lists;
mod locations;
mod log;
mod look;
mod lookup;
mod losses;
mod lost;
mod message;
mod missed;
mod needed;
mod notes;
mod open;
mod ops;
mod parting;
mod plan;
mod pragmas;
mod pressure;
mod prove;
mod pulse;
mod queries;
mod read;
mod readers;
mod records;
mod recount;
mod recover;
mod replay;
mod replication;
mod reserve;
mod rows;
mod salt;
mod scan;
mod segment;
mod session;
mod sessions;
mod snapshot;
mod soundness;
pub mod space;
mod stages;
mod sums;
mod trouble;
mod untaken;
mod verify;
mod victim;
mod view;
mod watched;
mod writer;
mod written;

use std::sync::Arc;

use config::StorageConfig;
use futures::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorRef, SpawnErr};
use tokio::sync::watch;

pub use alarm::FreshDamage;
pub use compact::Compacted;
pub use handle::{ChecksumHandle, Expected, ExpectedFragment, RecordsHandle, SegmentsHandle, StorageHandle};
pub use health::TesseraHealth;
pub use jobs::Job;
pub use ledger::{Ledger, LedgerRow, Signed};
pub use losses::{LOSSES_FILE, Loss, losses};
pub use message::{SegmentAge, Segments, Usage};
pub use notes::{Blocked, Invite, NOTE_ROWS_MAX, Note, Noted, Origin, Receipt, Score};
pub use open::{ask_for_rebuild, keep_aside, old_index};
pub use ops::ScrubNote;
pub use parting::KeptRetraction;
pub use pragmas::{Database, INDEX_FILE, open_database, open_in_memory, sqlite_version};
pub use prove::Proof;
pub use pulse::Beats;
#[cfg(test)]
pub(crate) use pulse::beats;
pub use queries::{TesseraRow, Totals};
pub use records::{AccountTotals, Block, Claimed, HeldDocument, Holder, Peer};
pub(crate) use records::{CLAIM_STRIPES, PLACE_BYTES};
pub use recover::{Damage, Report};
pub use replication::{JobKind, JobState, Jobs, KeptPlacement, ReplicationJob};
pub use reserve::RESERVE_FILE;
pub use rows::{BlobState, ScrubRow};
pub use salt::SALT_FILE;
pub use segment::{OPEN_SEGMENTS_MAX, SEGMENTS_FOLDER};
pub use session::Session;
pub use snapshot::{Missing, Restored, SNAPSHOTS_FOLDER, is_snapshot, newest_snapshot};
pub use sums::Side;
pub use verify::{Piece, Verified};
pub use watched::{RepairAllowance, Watched, WatchedTotals, Which};
pub(crate) use written::Written;

use crate::{
    metrics::{ActorMetrics, StorageMetrics},
    supervision::{gate::Gate, seat::Seat, supervisor::Child},
};

/// What the supervisor starts storage with, every time.
pub(crate) struct Starter {
    arguments: actor::Arguments,
    seat: watch::Sender<Option<ActorRef<message::StorageMsg>>>,
}

impl Starter {
    /// A handle, and what starts the actor behind it.
    pub(crate) fn new(
        config: StorageConfig,
        disk: Arc<dyn disk::Disk>,
        metrics: StorageMetrics,
        actors: ActorMetrics,
    ) -> (StorageHandle, Self) {
        let (seat, sender) = Seat::new(Gate::new(NAME, REQUESTS_MAX), actors);
        let (pulse, doubts, alarm) = (pulse::Pulse::new(), doubts::Doubts::new(), alarm::Alarm::new());
        let handle = StorageHandle::new(seat, metrics.clone(), pulse, doubts.clone(), alarm.clone());
        let arguments = actor::Arguments {
            config,
            disk,
            metrics,
            doubts,
            alarm,
            lease: Arc::default(),
            keeper: keeper::Keeper::default(),
            checked: Arc::default(),
            rebuilds: Arc::default(),
        };
        (handle, Self { arguments, seat: sender })
    }
}

impl Child for Starter {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start(&self, supervisor: ActorCell) -> BoxFuture<'_, Result<ActorCell, SpawnErr>> {
        Box::pin(async {
            let arguments = self.arguments.clone();
            let (actor, _) = Actor::spawn_linked(None, actor::StorageActor, arguments, supervisor).await?;
            self.seat.send_replace(Some(actor.clone()));
            Ok(actor.get_cell())
        })
    }

    fn vacate(&self) {
        self.seat.send_replace(None);
    }
}

/// The actor's name in errors, metrics and on the status page.
pub const NAME: &str = "storage";
/// Requests waiting or running at a time.
const REQUESTS_MAX: usize = 1024;

//! What the storage actor can be told. Nobody outside this folder can name these.

use std::path::PathBuf;

use bytes::Bytes;
use proto::{Checksum, Fragment, FragmentId, TesseraId, record::DocumentKind};
use ractor::RpcReplyPort;

use super::{
    compact::{Compacted, Ended},
    health::TesseraHealth,
    jobs::Job,
    locations::Location,
    ops::Submission,
    prove::Proof,
    queries::{TesseraRow, Totals},
    records::RecordsMsg,
    recover::Report,
    rows::ScrubRow,
    sums::SumsMsg,
    verify::{Piece, Verified},
    writer::Notice,
};
use crate::{error::ActorError, store::FragmentRow, supervision::gate::Slot};

/// A reply to a request.
pub(super) type Reply<T> = RpcReplyPort<Result<T, ActorError>>;

/// A message to the storage actor.
#[derive(Debug)]
pub(super) enum StorageMsg {
    /// Something for the writer.
    Submit(Submission),
    /// The bytes of a fragment.
    Get { id: FragmentId, slot: Slot, reply: Reply<Fragment> },
    /// A look-up has found where a fragment lies.
    Located { id: FragmentId, location: Location, epoch: u64 },
    /// A place turned out to be out of date.
    Moved { id: FragmentId },
    /// The bytes of a document.
    Document {
        tessera: TesseraId,
        kind: DocumentKind,
        hash: Option<Checksum>,
        slot: Slot,
        reply: Reply<Bytes>,
    },
    /// What the index says of a tessera's fragments.
    Checksums { tessera: TesseraId, from: (u32, u16), limit: u32, slot: Slot, reply: Reply<Vec<FragmentRow>> },
    /// What the index says of the tesserae in a range of ids.
    Tesseras { from: TesseraId, to: TesseraId, limit: u32, slot: Slot, reply: Reply<Vec<TesseraRow>> },
    /// Whether the rows of a tessera add up to what is kept beside them.
    AddsUp { tessera: TesseraId, slot: Slot, reply: Reply<bool> },
    /// What there is to verify, and how far that has come.
    Segments { slot: Slot, reply: Reply<Segments> },
    /// Verify a piece of a segment.
    Verify { piece: Piece, slot: Slot, reply: Reply<Verified> },
    /// Prove a group of some bytes.
    Prove { checksum: Checksum, group: u32, slot: Slot, reply: Reply<Proof> },
    /// Look through the index, from a tessera on; where to go on.
    LookThrough { from: TesseraId, slot: Slot, reply: Reply<Option<TesseraId>> },
    /// Keep aside now what only the index knows; where the newest snapshot is, if nothing has changed since that.
    Snapshot { slot: Slot, reply: Reply<PathBuf> },
    /// Set the index aside and make it anew; where the old one will be.
    Rebuild { reason: String, slot: Slot, reply: Reply<PathBuf> },
    /// Damaged bytes that wait for their repair: all, or those with this checksum.
    Jobs { only: Option<Checksum>, limit: u32, slot: Slot, reply: Reply<Vec<Job>> },
    /// Something about others.
    Records(RecordsMsg),
    /// Something about digests and sums.
    Sums(SumsMsg),
    /// How much is stored.
    Usage { slot: Slot, reply: Reply<Usage> },
    /// How much more can be.
    Room { slot: Slot, reply: Reply<Option<u64>> },
    /// Compact now what is worth it.
    Compact { slot: Slot, reply: Reply<Compacted> },
    /// A compaction has ended.
    Compacted { ended: Box<Ended>, reply: Option<(Slot, Reply<Compacted>)> },
    /// From the writer.
    Notice(Notice),
    /// Something was freed while room was short.
    Relieve,
    /// Time to see whether anything is worth compacting.
    Tick,
    /// Is anybody there? Answered at once, and without a slot.
    Ping(RpcReplyPort<()>),
    /// Read the index for ever, for the tests of who is cut.
    #[cfg(feature = "faults")]
    HoldReader { slot: Slot, reply: Reply<()> },
    /// Fall, for the tests of supervision.
    #[cfg(feature = "faults")]
    Panic,
}

/// One segment, as far as verifying it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentAge {
    /// Its number.
    pub id: u32,
    /// Its bytes.
    pub bytes: u64,
    /// When it was begun, in milliseconds since 1970.
    pub written_at_ms: i64,
    /// When all of it was last read back from the device, in milliseconds since 1970.
    pub verified_at_ms: Option<i64>,
}

/// What there is to verify, and how far that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segments {
    /// All segments that hold anything, in no order.
    pub segments: Vec<SegmentAge>,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// How far scrubbing has come.
    pub scrub: ScrubRow,
}

/// How much is stored, and whether more can be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// What is stored.
    #[serde(flatten)]
    pub totals: Totals,
    /// The configured bound on segment bytes.
    pub capacity_bytes: Option<u64>,
    /// Free on the disk, if the system says.
    pub free_bytes: Option<u64>,
    /// Size of the disk.
    pub disk_bytes: Option<u64>,
    /// Kept free.
    pub min_free_bytes: Option<u64>,
    /// How much more may be stored, if the system says.
    pub room_bytes: Option<u64>,
    /// How the tesserae fare.
    pub health: TesseraHealth,
    /// Bytes of SQLite's write-ahead log.
    pub wal_bytes: u64,
    /// Memory of the map from fragments to places.
    pub location_map_bytes: u64,
    /// Why nothing is written at the moment, if that is so.
    pub read_only: Option<String>,
    /// What the last start found.
    pub recovery: Report,
}

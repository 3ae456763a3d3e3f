//! What the scrub actor can be told. Nobody outside this folder can name the messages.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use proto::{Checksum, TesseraId};
use ractor::RpcReplyPort;

use super::schedule::Outlook;
use crate::{
    error::ActorError,
    storage::{Piece, Proof, Segments, Verified},
    supervision::gate::Slot,
};

/// A reply to a request.
pub(super) type Reply<T> = RpcReplyPort<Result<T, ActorError>>;

/// A message to the scrub actor.
#[derive(Debug)]
pub(super) enum ScrubMsg {
    /// Time to do what comes next, unless something has come in between since that turn was set.
    Turn(u64),
    /// What there is to verify.
    Looked(Result<Segments, ActorError>),
    /// A piece was verified, or could not be.
    Verified { piece: Piece, began: Instant, outcome: Result<Verified, ActorError> },
    /// A part of the index was looked through, or could not be.
    LookedThrough { began: Instant, outcome: Result<Option<TesseraId>, ActorError> },
    /// Something was found damaged in these segments.
    Doubted(BTreeSet<u32>),
    /// There are other settings.
    Configured,
    /// Something was asked for: look again.
    Changed,
    /// Verify now what was not verified since now.
    Start { slot: Slot, reply: Reply<ScrubStatus> },
    /// Verify nothing for so long.
    Pause { span: Duration, slot: Slot, reply: Reply<ScrubStatus> },
    /// Prove a group of some bytes.
    Prove { checksum: Checksum, group: u32, slot: Slot, reply: Reply<Proof> },
    /// How it stands.
    Status { slot: Slot, reply: Reply<ScrubStatus> },
    /// What is stored, for somebody who asked how it stands.
    Answer { stored: Result<Segments, ActorError>, slot: Slot, reply: Reply<ScrubStatus> },
    /// Is anybody there? Answered at once, and without a slot.
    Ping(RpcReplyPort<()>),
    /// Fall, for the tests of supervision.
    #[cfg(feature = "faults")]
    Panic,
}

/// How scrubbing stands.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ScrubStatus {
    /// What it does.
    pub mode: Mode,
    /// Why the last try failed, if it did.
    pub trouble: Option<String>,
    /// For how long it is paused, in milliseconds.
    pub paused_for_ms: Option<u64>,
    /// For how long the quiet hours still last, in milliseconds, if they are what it waits for.
    pub quiet_for_ms: Option<u64>,
    /// The segment that is being verified.
    pub cursor: Option<Cursor>,
    /// Bytes that were asked to be verified now and are not yet.
    pub asked_bytes: u64,
    /// How it stands with all that is stored.
    pub outlook: Outlook,
    /// What was found since the actor was started.
    pub findings: Findings,
    /// Everything is to be verified at least this often, in milliseconds.
    pub within_ms: u64,
    /// The most that is read for that, in bytes a second.
    pub rate: Option<u64>,
}

/// What scrubbing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing is due.
    Idle,
    /// It reads.
    Verifying,
    /// It has read as much as the rate allows for now.
    Resting,
    /// Puts and gets became slower.
    GivingWay,
    /// The quiet hours.
    QuietHours,
    /// Somebody paused it.
    Paused,
    /// It could not verify, and tries again.
    Failing,
}

/// How far a segment is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Cursor {
    /// The segment.
    pub segment: u32,
    /// Verified up to here, in bytes.
    pub position: u64,
}

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Findings {
    /// Bytes verified.
    pub bytes: u64,
    /// Blobs that turned out to be damaged.
    pub blobs: u64,
    /// Documents that turned out to be damaged.
    pub documents: u64,
    /// Records that were damaged and written again, as all of them was known.
    pub mended: u64,
}

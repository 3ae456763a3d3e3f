//! What the cache actor can be told. Nobody outside this folder can name these.

use proto::{Fragment, FragmentId};
use ractor::RpcReplyPort;

use super::{front::Change, loads::LoadNumber};
use crate::{error::ActorError, supervision::gate::Slot};

/// A reply to a request.
pub(super) type Reply<T> = RpcReplyPort<Result<T, ActorError>>;

/// A message to the cache actor.
#[derive(Debug)]
pub(super) enum CacheMsg {
    /// A fragment.
    Get { id: FragmentId, slot: Slot, reply: Reply<Fragment> },
    /// A load has ended.
    Loaded { id: FragmentId, load: LoadNumber, outcome: Result<Fragment, ActorError> },
    /// The store was asked to put or drop it: what was known of it may be wrong.
    Changed { id: FragmentId, change: Change },
    /// How much is held.
    Usage { slot: Slot, reply: Reply<CacheUsage> },
    /// Is anybody there? Answered at once, and without a slot.
    Ping(RpcReplyPort<()>),
    /// Fall, for the tests of supervision.
    #[cfg(feature = "faults")]
    Panic,
}

/// How much the cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct CacheUsage {
    /// Fragments.
    pub entries: u64,
    /// Their bytes, with what it takes to keep them.
    pub bytes: u64,
    /// The configured bound on bytes.
    pub bytes_max: u64,
    /// Loads under way.
    pub loads: u64,
}

//! What the replication actor can be told. Nobody outside this folder can name the messages.

use proto::{TesseraId, placement::Placement};
use ractor::RpcReplyPort;
use tokio::sync::watch;

use super::{recover::Recoverable, spending::Mending, told::Told};
use crate::{
    error::ActorError,
    storage::{JobKind, ReplicationJob},
    supervision::gate::Slot,
};

/// A reply to a request.
pub(super) type Reply<T> = RpcReplyPort<Result<T, ActorError>>;

/// A message to the replication actor.
#[derive(Debug)]
pub(super) enum ReplicationMsg {
    /// What was not finished before, and the highest number of a job.
    Loaded(Result<(Vec<ReplicationJob>, u64), ActorError>),
    /// Do this. The answer is the job, written down; the same job as long as it is not finished.
    Begin { order: Order, slot: Slot, reply: Reply<ReplicationJob> },
    /// How far a job is; `None` when it is not under way.
    Watch { id: u64, slot: Slot, reply: Reply<Option<watch::Receiver<Progress>>> },
    /// Give a job up.
    Cancel { id: u64, slot: Slot, reply: Reply<bool> },
    /// How safe a tessera is by what others claim; `None` when nobody says who keeps it.
    Safety { tessera: TesseraId, slot: Slot, reply: Reply<Option<Told>> },
    /// It is this node's turn to mend a tessera, which has needed it since then, in milliseconds since 1970.
    Mend { tessera: TesseraId, since_ms: Option<i64>, mending: Mending },
    /// Others keep what this node keeps: whoever of them is not known is to be met.
    Meet(Placement),
    /// What other nodes keep of this node's author.
    Recoverable { slot: Slot, reply: Reply<Recoverable> },
    /// A job has ended, whatever came of it.
    Ended { id: u64 },
    /// Is anybody there? Answered at once, and without a slot.
    Ping(RpcReplyPort<()>),
    /// Fall, for the tests of supervision.
    #[cfg(feature = "faults")]
    Panic,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) kind: JobKind,
    pub(super) tessera: TesseraId,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Progress {
    /// What it does.
    pub step: Step,
    /// How much of that is done, in bytes.
    pub done_bytes: u64,
    /// Of how much; 0 when that is not known.
    pub total_bytes: u64,
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// It waits until others are done.
    Waiting,
    /// It asks who is there, and how much room they have.
    Asking,
    /// It computes parity.
    Coding,
    /// It sends fragments.
    Sending,
    /// It gets fragments.
    Receiving,
    /// It tells the holders who keeps what, and looks how safe it is now.
    Finishing,
}

impl Progress {
    /// At the beginning of a step.
    pub(super) fn of(step: Step, total_bytes: u64) -> Self {
        Self { step, done_bytes: 0, total_bytes }
    }
}

//! What the attestation actor can be told. Nobody outside this folder can name the messages.

use std::ops::Range;

use proto::{NodeId, TesseraId, attestation::SignedClaim};
use ractor::RpcReplyPort;

use super::{audit::Audit, report::AttestedRow};
use crate::{error::ActorError, supervision::gate::Slot};

/// A reply to a request.
pub(super) type Reply<T> = RpcReplyPort<Result<T, ActorError>>;

/// A message to the attestation actor.
#[derive(Debug)]
pub(super) enum AttestationMsg {
    /// What is held of a tessera?
    Attest { question: Question, slot: Slot, reply: Reply<Attestation> },
    /// What does another node hold of a tessera?
    Audit { holder: NodeId, tessera: TesseraId, slot: Slot, reply: Reply<Audit> },
    /// Is anybody there? Answered at once, and without a slot.
    Ping(RpcReplyPort<()>),
    /// Fall, for the tests of supervision.
    #[cfg(feature = "faults")]
    Panic,
}

/// What a verifier asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The tessera.
    pub tessera: TesseraId,
    /// The stripes: the first, and the one behind the last. `0..u32::MAX` for all.
    pub stripes: Range<u32>,
    /// Who asks.
    pub verifier: NodeId,
    /// What the verifier sent, so that an old claim is no answer.
    pub nonce: [u8; 32],
    /// The connection it was asked on (its TLS exporter); zeros for a local one.
    pub binding: [u8; 32],
}

/// What is held, as far as one claim goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// What is in order, signed; fits into one control frame.
    pub claim: SignedClaim,
    /// Every row of the stripes that the claim covers, in order, also what is not in order and so not claimed.
    pub rows: Vec<AttestedRow>,
    /// Where the next question has to start, when there is more.
    pub next_stripe: Option<u32>,
}

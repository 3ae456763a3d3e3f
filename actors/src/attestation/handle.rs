//! The way to ask what this node holds.

use std::time::Instant;

use proto::{NodeId, TesseraId};

use super::{
    audit::Audit,
    message::{Attestation, AttestationMsg, Question},
};
use crate::{error::ActorError, metrics::AttestationMetrics, supervision::seat::Seat};

/// Asks the attestation actor.
#[derive(Debug, Clone)]
pub struct AttestationHandle {
    seat: Seat<AttestationMsg>,
    metrics: AttestationMetrics,
}

impl AttestationHandle {
    pub(super) fn new(seat: Seat<AttestationMsg>, metrics: AttestationMetrics) -> Self {
        Self { seat, metrics }
    }

    /// A signed claim of what is held of a tessera's stripes, and the rows behind it. No blob is read.
    ///
    /// Errors with [`ActorError::NotFound`] when nothing of the tessera is here, and with [`ActorError::Proto`] for
    /// stripes that end before they begin.
    pub async fn attest(&self, question: Question) -> Result<Attestation, ActorError> {
        let start = Instant::now();
        let outcome = self.seat.call(|slot, reply| AttestationMsg::Attest { question, slot, reply }).await;
        self.metrics.answered(outcome.is_ok(), start.elapsed().as_secs_f64());
        outcome
    }

    /// Asks another node what it holds of a tessera, compares every checksum with the layout, and notes what it claims.
    ///
    /// Errors with [`ActorError::Peer`] when it cannot be asked or its answer is no claim, and with
    /// [`ActorError::NotFound`] when no layout of the tessera is here: then nothing could be compared.
    pub async fn audit(&self, holder: NodeId, tessera: TesseraId) -> Result<Audit, ActorError> {
        let audit = |slot, reply| AttestationMsg::Audit { holder, tessera, slot, reply };
        let outcome = self.seat.call(audit).await;
        self.metrics.audited(outcome.as_ref().map(|audit| audit.wrong == 0));
        outcome
    }

    /// Requests waiting or running, and how many there may be.
    pub fn load(&self) -> (usize, usize) {
        (self.seat.gate().taken(), self.seat.gate().limit())
    }

    /// Whether the actor is there and takes messages.
    pub(crate) async fn answers(&self) -> bool {
        self.seat.answers(AttestationMsg::Ping).await
    }

    /// Makes the actor fall.
    #[cfg(feature = "faults")]
    pub fn panic(&self) {
        self.seat.tell(AttestationMsg::Panic);
    }
}

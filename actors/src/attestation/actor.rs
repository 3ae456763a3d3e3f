//! The attestation actor: decides when; the page, the rows and the audit decide what.

use std::sync::Arc;

use proto::{NodeId, NodeKey, TesseraId, attestation::Claim};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{
    Doors,
    audit::{Audit, Expected},
    message::{Attestation, AttestationMsg, Question, Reply},
    page::{self, Page},
    report::AttestedRow,
};
use crate::{conn_pool::PeerTrouble, error::ActorError, storage::Note, supervision::gate::Slot};

/// The actor. All state is in its [`Witness`], which never changes.
pub(super) struct AttestationActor;

/// What it is started with.
pub(super) type Arguments = Arc<Witness>;

/// What it takes to say what is held.
pub(super) struct Witness {
    pub(super) key: NodeKey,
    pub(super) doors: Doors,
    /// The wall clock, in milliseconds since 1970.
    pub(super) now_ms: fn() -> i64,
}

impl Actor for AttestationActor {
    type Msg = AttestationMsg;
    type State = Arc<Witness>;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        _: ActorRef<AttestationMsg>,
        witness: Arc<Witness>,
    ) -> Result<Arc<Witness>, ActorProcessingErr> {
        Ok(witness)
    }

    async fn handle(
        &self,
        _: ActorRef<AttestationMsg>,
        message: AttestationMsg,
        witness: &mut Arc<Witness>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AttestationMsg::Attest { question, slot, reply } => attest(witness, question, slot, reply),
            AttestationMsg::Audit { holder, tessera, slot, reply } => {
                audit(witness, holder, tessera, slot, reply);
            }
            AttestationMsg::Ping(reply) => drop(reply.send(())),
            #[cfg(feature = "faults")]
            #[expect(clippy::panic, reason = "a test asked for it")]
            AttestationMsg::Panic => panic!("asked to"),
        }
        Ok(())
    }
}

fn attest(witness: &Arc<Witness>, question: Question, slot: Slot, reply: Reply<Attestation>) {
    if reply.is_closed() {
        return;
    }
    let witness = witness.clone();
    tokio::spawn(async move {
        let outcome = witness.answer(question).await;
        // A caller that gave up has nothing to be told.
        let _ = reply.send(outcome);
        drop(slot);
    });
}

fn audit(witness: &Arc<Witness>, holder: NodeId, tessera: TesseraId, slot: Slot, reply: Reply<Audit>) {
    if reply.is_closed() {
        return;
    }
    let witness = witness.clone();
    tokio::spawn(async move {
        let outcome = witness.audit(holder, tessera).await;
        // A caller that gave up has nothing to be told.
        let _ = reply.send(outcome);
        drop(slot);
    });
}

impl Witness {
    async fn audit(&self, holder: NodeId, tessera: TesseraId) -> Result<Audit, ActorError> {
        let mut audit = Audit::new(holder, tessera);
        let mut from = 0;
        loop {
            let claim = self.doors.remote.attest(holder, tessera, from..u32::MAX).await?;
            let page = audit.add(&claim, &self.expected(&claim).await?);
            if audit.wrong > 0 {
                let what = format!("{} fragments of {tessera} that the layout does not name so", audit.wrong);
                self.doors.remote.distrust(holder, PeerTrouble::Lied { what });
            }
            let at_ms = (self.now_ms)();
            let note = Note::Claim { holder, tessera, stripes: page.stripes, held: page.held, at_ms };
            self.doors.records.note(vec![note]).await?;
            match claim.next_stripe.filter(|next| *next > from) {
                Some(next) => from = next,
                None => return Ok(audit),
            }
        }
    }

    /// What the layout says of the fragments that a claim names.
    async fn expected(&self, claim: &Claim) -> Result<Expected, ActorError> {
        let (Some(first), Some(last)) = (claim.fragments.first(), claim.fragments.last()) else {
            return Ok(Expected::new());
        };
        let stripes = first.stripe..last.stripe.saturating_add(1);
        let expected = self.doors.checksums.expected(claim.tessera, stripes, EXPECTED_MAX).await?;
        Ok(expected
            .fragments
            .into_iter()
            .map(|row| ((row.stripe, row.index), (row.checksum, row.length)))
            .collect())
    }

    async fn answer(&self, question: Question) -> Result<Attestation, ActorError> {
        let Question { tessera, stripes, verifier, nonce, binding } = question;
        let limit = page::rows_needed(&stripes);
        let rows = self.doors.checksums.checksums(tessera, (stripes.start, 0), limit).await?;
        if rows.is_empty() {
            // Nothing of these stripes; or nothing at all, which is another answer.
            self.doors.records.tessera(tessera).await?;
        }
        let first = stripes.start;
        let page = page::cut(stripes, rows).ok_or_else(|| ActorError::Conflict {
            what: format!("stripe {first} of {tessera} has more fragments here than any layout: forget it"),
        })?;
        let Page { stripes, next_stripe, rows } = page;
        let now_ms = (self.now_ms)();
        let rows: Vec<_> = rows.iter().map(|row| AttestedRow::new(row, now_ms)).collect();
        let claim = Claim {
            node: self.key.id(),
            verifier,
            nonce,
            binding,
            tessera,
            made_at_ms: u64::try_from(now_ms).unwrap_or(0),
            stripes,
            next_stripe,
            fragments: rows.iter().filter_map(AttestedRow::claimed).collect(),
        };
        Ok(Attestation { claim: claim.sign(&self.key)?, rows, next_stripe })
    }
}

/// Fragments that the stripes of one claim may have: those that are not claimed are among them.
const EXPECTED_MAX: u32 = 1 << 16;

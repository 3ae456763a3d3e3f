//! The attestation actor: decides when; the page, the rows and the audit decide what.

use std::{collections::BTreeMap, sync::Arc};

use proto::{
    NodeId, NodeKey, TesseraId,
    attestation::Claim,
    limits::{CLAIM_FRAGMENTS_MAX, STRIPE_TOTAL_MAX},
};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{
    Doors,
    audit::{self, Audit, Expected},
    message::{Attestation, AttestationMsg, Question, Reply},
    page::{self, Page},
    report::AttestedRow,
};
use crate::{conn_pool::PeerTrouble, error::ActorError, remote, storage::Note, supervision::gate::Slot};

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
        let (remote, mut audit, mut from) = (&self.doors.remote, Audit::new(holder, tessera), 0);
        let end = self.end(tessera).await?;
        while from < end {
            let asked_at_ms = (self.now_ms)();
            let claim = match remote.attest(holder, tessera, from..end).await {
                Err(error) if from == 0 && remote::is_not_there(&error) => {
                    let nothing = audit::Page { stripes: 0..u32::MAX, held: Vec::new() };
                    self.claimed(holder, tessera, nothing, asked_at_ms).await?;
                    return Err(error);
                }
                claim => claim?,
            };
            let page = audit.add(&claim, &self.expected(holder, &claim).await?);
            self.claimed(holder, tessera, page, asked_at_ms).await?;
            match claim.next_stripe {
                // A page that goes on is full: else a liar could go on for ever.
                Some(next) if next - from >= STRIPES_MIN => from = next,
                Some(_) => {
                    let trouble =
                        PeerTrouble::Lied { what: "a claim that goes on and says little".to_owned() };
                    remote.distrust(holder, &trouble);
                    return Err(ActorError::Peer { node: holder, trouble });
                }
                None => break,
            }
        }
        if audit.wrong > 0 {
            let what = format!("{} fragments of {tessera} that the layout does not name so", audit.wrong);
            remote.distrust(holder, &PeerTrouble::Lied { what });
        }
        Ok(audit)
    }

    /// The end of all stripes that a layout here names. Of others nothing counts, and a liar has no end of them.
    async fn end(&self, tessera: TesseraId) -> Result<u32, ActorError> {
        match self.doors.checksums.expected(tessera, 0..0, 0, &BTreeMap::new()).await {
            Ok(expected) => Ok(expected.layouts.iter().map(|(_, stripes)| stripes.end).max().unwrap_or(1)),
            Err(ActorError::NotFound { .. }) => Ok(1),
            Err(error) => Err(error),
        }
    }

    async fn claimed(
        &self,
        holder: NodeId,
        tessera: TesseraId,
        page: audit::Page,
        asked_at_ms: i64,
    ) -> Result<(), ActorError> {
        let audit::Page { stripes, held } = page;
        let note = Note::Claim { holder, tessera, stripes, held, asked_at_ms, at_ms: (self.now_ms)() };
        self.doors.records.note(vec![note]).await.map(drop)
    }

    /// What the layouts say of the fragments that a claim names. They may be far apart.
    async fn expected(&self, holder: NodeId, claim: &Claim) -> Result<Expected, ActorError> {
        let Doors { checksums, remote, .. } = &self.doors;
        let mut expected = Expected::default();
        let mut rest = claim.fragments.as_slice();
        while let Some(first) = rest.first() {
            let end = first.stripe.saturating_add(STRIPES_AT_ONCE);
            let (these, others) = rest.split_at(rest.partition_point(|fragment| fragment.stripe < end));
            let last = these.last().map_or(first.stripe, |last| last.stripe);
            let stripes = first.stripe..last.saturating_add(1);
            let rows = remote.expected(checksums, holder, claim.tessera, stripes, EXPECTED_MAX).await?;
            expected.stripes = rows.layouts.into_iter().map(|(_, stripes)| stripes).collect();
            let rows = rows.fragments.into_iter();
            expected.fragments.extend(rows.map(|row| ((row.stripe, row.index), (row.checksum, row.length))));
            rest = others;
        }
        Ok(expected)
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

/// Stripes whose checksums are looked up together.
const STRIPES_AT_ONCE: u32 = 1024;
/// More fragments than they have.
const EXPECTED_MAX: u32 = 1 << 16;
/// Stripes of a full page, at least.
const STRIPES_MIN: u32 = 42;
const _: () = assert!(STRIPES_AT_ONCE as usize * (STRIPE_TOTAL_MAX as usize) < EXPECTED_MAX as usize);
const _: () = assert!(STRIPES_MIN as usize <= CLAIM_FRAGMENTS_MAX / STRIPE_TOTAL_MAX as usize);

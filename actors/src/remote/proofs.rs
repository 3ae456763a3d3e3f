//! Having other nodes prove that they have what they claim. A claim speaks of records; only bytes prove anything.

use std::{collections::BTreeMap, ops::Range};

use proto::{Checksum, FragmentId, NodeId, TesseraId, proof, record::DocumentKind, wire::RefusalKind};

use super::{Remote, is_no_reason, is_not_there, refused};
use crate::{
    clock,
    conn_pool::PeerTrouble,
    error::ActorError,
    storage::{CLAIM_STRIPES, ChecksumHandle, Claimed, Expected, Note, RecordsHandle},
};

/// A proof that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proven {
    /// The fragment.
    pub fragment: FragmentId,
    /// The group of 16 KiB that was picked, from 0.
    pub group: u32,
    /// Of so many.
    pub groups: u32,
    /// How many bytes the proof took.
    pub bytes: usize,
}

/// Why a node has not proven what it claims.
#[derive(Debug)]
pub struct Unproven {
    /// What it was asked for; `None` when it was not asked.
    pub fragment: Option<FragmentId>,
    /// Why not.
    pub error: ActorError,
}

impl From<ActorError> for Unproven {
    fn from(error: ActorError) -> Self {
        Self { fragment: None, error }
    }
}

impl Remote {
    /// Has a node prove one of the fragments of a tessera that it claims, with a group of it: both picked at random, so
    /// that it cannot keep just what it will be asked for. Notes the proof; or that it claims this fragment no more and is
    /// doubted, if it has none.
    ///
    /// Errors with [`ActorError::NotFound`] when it claims none, or no layout of the tessera is here.
    pub async fn prove_one(
        &self,
        records: &RecordsHandle,
        checksums: &ChecksumHandle,
        holder: NodeId,
        tessera: TesseraId,
    ) -> Result<Proven, Unproven> {
        let claimed = pick(records, holder, tessera).await?;
        let (stripe, index) = (claimed.stripe, claimed.index);
        let stripes = stripe..stripe.saturating_add(1);
        let expected = self.expected(checksums, holder, tessera, stripes, STRIPE_MAX).await?;
        let row =
            expected.fragments.into_iter().find(|row| (row.index, row.checksum) == (index, claimed.checksum));
        let row =
            row.ok_or_else(|| ActorError::NotFound { what: format!("a layout of {tessera} with it") })?;
        let fragment = FragmentId { tessera, stripe, index };
        let (proof, notes) = self.prove_this(holder, fragment, (row.checksum, row.length)).await;
        if !notes.is_empty()
            && let Err(error) = records.note(notes).await
        {
            tracing::warn!(%holder, %fragment, %error, "it is not written down what came of asking for a proof");
            proof?;
            return Err(error.into());
        }
        proof
    }

    /// What a holder may have of some stripes by the layouts that are here, at most `limit` fragments. Pages that are not here it
    /// has to show: who has a fragment has the page that names it, and may have no other.
    pub(crate) async fn expected(
        &self,
        checksums: &ChecksumHandle,
        holder: NodeId,
        tessera: TesseraId,
        stripes: Range<u32>,
        limit: u32,
    ) -> Result<Expected, ActorError> {
        let mut shown = BTreeMap::new();
        let expected = checksums.expected(tessera, stripes.clone(), limit, &shown).await?;
        for hash in &expected.absent {
            match self.document(holder, tessera, DocumentKind::LayoutPage, Some(*hash)).await {
                Err(error) if is_not_there(&error) => {}
                bytes => drop(shown.insert(*hash, bytes?)),
            }
        }
        if shown.is_empty() {
            return Ok(expected);
        }
        checksums.expected(tessera, stripes, limit, &shown).await
    }

    /// The same of one fragment, which has this checksum and so many bytes; and what is to be noted of it.
    pub(crate) async fn prove_this(
        &self,
        holder: NodeId,
        fragment: FragmentId,
        (checksum, length): (Checksum, u32),
    ) -> (Result<Proven, Unproven>, Vec<Note>) {
        let groups = proof::groups(length);
        let group = fastrand::u32(..groups.max(1));
        let proof = self.prove(holder, checksum, length, group).await;
        if let Some(outcome) = outcome(&proof) {
            self.metrics.proof(outcome);
        }
        let at_ms = clock::now_ms();
        match proof {
            Ok(bytes) => {
                let proven = Proven { fragment, group, groups, bytes };
                (Ok(proven), vec![Note::Proof { holder, fragment, checksum, at_ms }])
            }
            Err(error) => {
                let notes = disproof(&error, holder, fragment, at_ms);
                (Err(Unproven { fragment: Some(fragment), error }), notes)
            }
        }
    }
}

/// What counts no more when a holder could not show what it claims, or would not. Whoever does not answer, or has too much to do,
/// may still have it.
fn disproof(error: &ActorError, holder: NodeId, fragment: FragmentId, at_ms: i64) -> Vec<Note> {
    let doubted = Note::Doubted { holder, tessera: fragment.tessera, at_ms };
    match refused(error) {
        // It has found that itself, and does not claim it any more.
        Some(RefusalKind::Corrupt) => vec![Note::Disproven { holder, fragment }],
        Some(RefusalKind::NotFound) => vec![Note::Disproven { holder, fragment }, doubted],
        Some(kind) if is_no_reason(kind) => vec![doubted],
        _ => match error {
            ActorError::Peer {
                trouble: PeerTrouble::Lied { .. } | PeerTrouble::Malformed { .. }, ..
            } => {
                vec![doubted]
            }
            _ => Vec::new(),
        },
    }
}

/// What asking for a proof says of the node that was asked. `None` when it was not: then something is wrong here.
fn outcome(proof: &Result<usize, ActorError>) -> Option<&'static str> {
    let trouble = match proof {
        Ok(_) => return Some("ok"),
        Err(ActorError::Peer { trouble, .. }) => trouble,
        Err(_) => return None,
    };
    match trouble {
        PeerTrouble::Lied { .. } | PeerTrouble::Malformed { .. } => Some("wrong"),
        PeerTrouble::Refused(_) | PeerTrouble::NotKnown { .. } | PeerTrouble::Blocked { .. } => {
            Some("refused")
        }
        PeerTrouble::BlockedHere { .. } | PeerTrouble::DialBudget { .. } | PeerTrouble::Itself => None,
        _ => Some("unreachable"),
    }
}

/// One of those that a node claims, at random.
async fn pick(records: &RecordsHandle, holder: NodeId, tessera: TesseraId) -> Result<Claimed, ActorError> {
    // One out of all without having all: the more that come, the less likely each is to be it.
    let known = records.holders(tessera).await?.into_iter().find(|one| one.node == holder);
    let claimed = known.map_or(0, |known| known.claimed);
    let (mut picked, mut seen, mut from, mut empty) = (None, 0_u64, 0_u32, 0_u32);
    loop {
        let before = seen;
        let to = from.saturating_add(CLAIM_STRIPES);
        for claimed in records.claims(tessera, from..to).await?.into_iter().filter(|one| one.holder == holder)
        {
            seen += 1;
            if fastrand::u64(..seen) == 0 {
                picked = Some(claimed);
            }
        }
        // Claims may have gone meanwhile, and nobody has any of the stripes behind the last.
        empty = if seen == before { empty + 1 } else { 0 };
        if seen >= claimed || empty > EMPTY_MAX {
            let what = format!("a claim of {holder} to hold anything of {tessera} (ask it first: `attest`)");
            return picked.ok_or(ActorError::NotFound { what });
        }
        from = to;
    }
}

/// So many times nothing is found before no more is looked for: earlier layouts have the first stripes.
const EMPTY_MAX: u32 = 4096;
/// More than a stripe has.
const STRIPE_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proof_is_counted_by_what_it_says_of_the_other_node() {
        let check = |trouble, expected| {
            let proof = Err(ActorError::Peer { node: NodeId::from_bytes([1; 32]), trouble });
            assert_eq!(outcome(&proof), expected, "{proof:?}");
        };
        let reason = || "a reason".to_owned();
        assert_eq!(outcome(&Ok(7)), Some("ok"));
        check(PeerTrouble::Lied { what: reason() }, Some("wrong"));
        check(PeerTrouble::Malformed { what: reason() }, Some("wrong"));
        check(PeerTrouble::Refused(RefusalKind::NotFound.because("gone")), Some("refused"));
        check(PeerTrouble::Blocked { reason: reason() }, Some("refused"));
        check(PeerTrouble::Unreachable { reason: reason() }, Some("unreachable"));
        check(PeerTrouble::Silent { what: "answer", seconds: 9 }, Some("unreachable"));
        // That is this node's own doing.
        check(PeerTrouble::BlockedHere { reason: reason() }, None);
        check(PeerTrouble::DialBudget { retry_after_ms: 1 }, None);
        assert_eq!(outcome(&Err(ActorError::Busy { actor: "pool", limit: 1 })), None);
    }
}

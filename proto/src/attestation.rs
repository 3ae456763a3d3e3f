//! The attestation claim: what a node says it holds of a tessera, for one verifier, one question and one connection.
//! A claim is a statement about records, not a proof of possession.
//!
//! | field | holds |
//! |---|---|
//! | 0 | version, 1 |
//! | 1 | node that claims and signs, 32 bytes |
//! | 2 | verifier that asked, 32 bytes |
//! | 3 | nonce of the verifier, 32 bytes |
//! | 4 | binding to the connection: its TLS exporter, or 32 zero bytes for a local one |
//! | 5 | tessera, 32 bytes |
//! | 6 | time on the clock of the node, milliseconds since 1970 |
//! | 7, 8 | stripes that are covered: the first, and the one behind the last |
//! | 9 | optional: the stripe to ask for next, equal to field 8 |
//! | 10 | array of held fragments by stripe and index, each a map: 0 stripe, 1 index, 2 checksum, 3 length in bytes, 4 optional: milliseconds since it was last read back from the device and found right |

use std::ops::Range;

use bytes::Bytes;
use minicbor::Decoder;

use crate::{
    cbor::{self, Fields, Writer},
    error::ProtoError,
    ids::{Checksum, NodeId, TesseraId},
    keys::NodeKey,
    limits::{CLAIM_BYTES_MAX, CLAIM_FRAGMENTS_MAX, FRAGMENT_BYTES_MAX, SIGNATURE_BYTES, TIME_MS_MAX},
    signed::Form,
};

/// One fragment that a node says it holds. What is missing, damaged or suspected is never claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ClaimedFragment {
    /// Its stripe.
    pub stripe: u32,
    /// Its place in the stripe.
    pub index: u16,
    /// The checksum of the bytes that are held; the verifier compares it with the layout.
    pub checksum: Checksum,
    /// Their length, in bytes.
    pub length: u32,
    /// How long ago they were last read back and found right, in milliseconds on the node's own clock; `None` when
    /// they were written and not read back yet.
    pub verified_age_ms: Option<u64>,
}

/// What a node says it holds of a range of stripes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who claims.
    pub node: NodeId,
    /// Who asked.
    pub verifier: NodeId,
    /// What the verifier sent, so that an old claim is no answer.
    pub nonce: [u8; 32],
    /// The connection it was asked on, so that nobody else can pass it on; zeros for a local one.
    pub binding: [u8; 32],
    /// The tessera.
    pub tessera: TesseraId,
    /// When, in milliseconds since 1970 on the node's own clock.
    pub made_at_ms: u64,
    /// The stripes that this claim covers: a fragment of them that is not listed is not held.
    pub stripes: Range<u32>,
    /// Where the next claim has to start, when there is more: the end of `stripes`.
    pub next_stripe: Option<u32>,
    /// What is held, ascending by stripe and index; at most [`CLAIM_FRAGMENTS_MAX`].
    pub fragments: Vec<ClaimedFragment>,
}

/// What a verifier knows about the claim it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    /// Whom it asked.
    pub node: NodeId,
    /// Itself.
    pub verifier: NodeId,
    /// What it sent.
    pub nonce: [u8; 32],
    /// The connection it asked on.
    pub binding: [u8; 32],
    /// The tessera it asked about.
    pub tessera: TesseraId,
}

impl Claim {
    /// Makes the document. Errors with [`ProtoError::Malformed`] for another node's key, for fragments that are too
    /// many, out of order or outside `stripes`, and for a wrong `next_stripe`.
    pub fn sign(&self, key: &NodeKey) -> Result<SignedClaim, ProtoError> {
        if key.id() != self.node {
            let reason = format!("its node is {}, the key is that of {}", self.node, key.id());
            return Err(ProtoError::malformed(WHAT, reason));
        }
        self.check()?;
        Ok(SignedClaim { bytes: FORM.sign(self.encode(), |message| key.sign(message))? })
    }

    fn check(&self) -> Result<(), ProtoError> {
        let refuse = |reason: String| Err(ProtoError::malformed(WHAT, reason));
        let Range { start, end } = self.stripes;
        if start > end {
            return refuse(format!("it covers stripes {start} to {end}"));
        }
        if let Some(next) = self.next_stripe.filter(|next| *next != end) {
            return refuse(format!("it covers stripes up to {end} and continues at {next}"));
        }
        if self.made_at_ms > TIME_MS_MAX {
            return refuse(format!("made at {} ms", self.made_at_ms));
        }
        if self.fragments.len() > CLAIM_FRAGMENTS_MAX {
            return refuse(format!("{} fragments; at most {CLAIM_FRAGMENTS_MAX}", self.fragments.len()));
        }
        let places = self.fragments.iter().map(ClaimedFragment::place);
        if !places.is_sorted_by(|before, after| before < after) {
            return refuse("fragments repeated or out of order".to_owned());
        }
        self.fragments.iter().try_for_each(|fragment| fragment.check(&self.stripes))
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::document(VERSION);
        out.bytes(1, self.node.as_bytes());
        out.bytes(2, self.verifier.as_bytes());
        out.bytes(3, &self.nonce);
        out.bytes(4, &self.binding);
        out.bytes(5, self.tessera.as_bytes());
        out.unsigned(6, self.made_at_ms);
        out.unsigned(7, self.stripes.start);
        out.unsigned(8, self.stripes.end);
        self.next_stripe.iter().for_each(|next| out.unsigned(9, *next));
        out.maps(10, self.fragments.iter().map(ClaimedFragment::writer));
        out.finish()
    }

    fn decode(map: &[u8]) -> Result<Self, ProtoError> {
        let mut decoder = Decoder::new(map);
        let mut fields = Fields::enter(WHAT, &mut decoder)?;
        fields.version(VERSION)?;
        let claim = Self {
            node: fields.required(1, cbor::bytes32)?,
            verifier: fields.required(2, cbor::bytes32)?,
            nonce: fields.required(3, cbor::bytes32)?,
            binding: fields.required(4, cbor::bytes32)?,
            tessera: fields.required(5, cbor::bytes32)?,
            made_at_ms: fields.required(6, Decoder::u64)?,
            stripes: fields.required(7, Decoder::u32)?..fields.required(8, Decoder::u32)?,
            next_stripe: fields.optional(9, Decoder::u32)?,
            fragments: fields.maps(10, CLAIM_FRAGMENTS_MAX, ClaimedFragment::read)?,
        };
        claim.check()?;
        Ok(claim)
    }
}

impl ClaimedFragment {
    fn place(&self) -> (u32, u16) {
        (self.stripe, self.index)
    }

    fn check(&self, stripes: &Range<u32>) -> Result<(), ProtoError> {
        if !stripes.contains(&self.stripe) {
            return Err(ProtoError::malformed(WHAT, format!("it does not cover stripe {}", self.stripe)));
        }
        if self.length == 0 || self.length as usize > FRAGMENT_BYTES_MAX {
            return Err(ProtoError::malformed(WHAT, format!("a fragment of {} bytes", self.length)));
        }
        Ok(())
    }

    fn writer(&self) -> Writer {
        let mut out = Writer::new();
        out.unsigned(0, self.stripe);
        out.unsigned(1, self.index);
        out.bytes(2, self.checksum.as_bytes());
        out.unsigned(3, self.length);
        self.verified_age_ms.iter().for_each(|age| out.unsigned(4, *age));
        out
    }

    fn read(fields: &mut Fields<'_, '_>) -> Result<Self, ProtoError> {
        Ok(Self {
            stripe: fields.required(0, Decoder::u32)?,
            index: fields.required(1, Decoder::u16)?,
            checksum: fields.required(2, cbor::bytes32)?,
            length: fields.required(3, Decoder::u32)?,
            verified_age_ms: fields.optional(4, Decoder::u64)?,
        })
    }
}

/// A claim as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedClaim {
    bytes: Bytes,
}

impl SignedClaim {
    /// Reads a claim and checks that it is the answer that was waited for. Whether its checksums are those of the
    /// layout remains to be compared. Errors with [`ProtoError::TooLong`], [`ProtoError::Malformed`] (also for an
    /// answer to another question), [`ProtoError::NewerVersion`] and [`ProtoError::BadSignature`].
    pub fn verify(bytes: &[u8], expect: &Expect) -> Result<Claim, ProtoError> {
        let claim = Claim::decode(FORM.map(bytes)?)?;
        FORM.verify(bytes, expect.node.as_bytes())?;
        let fits = [
            ("node", claim.node == expect.node),
            ("verifier", claim.verifier == expect.verifier),
            ("nonce", claim.nonce == expect.nonce),
            ("connection", claim.binding == expect.binding),
            ("tessera", claim.tessera == expect.tessera),
        ];
        match fits.into_iter().find(|(_, fits)| !fits) {
            None => Ok(claim),
            Some((what, _)) => Err(ProtoError::malformed(WHAT, format!("it is for another {what}"))),
        }
    }

    /// The bytes to send.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

const WHAT: &str = "claim";
const VERSION: u64 = 1;
const FORM: Form = Form { what: WHAT, context: b"tesseras/1 claim\0", bytes_max: CLAIM_BYTES_MAX };

/// The longest map of a fragment: head, five keys, and values of 5, 3, 34, 5 and 9 bytes.
const FRAGMENT_MAP_BYTES_MAX: usize = 1 + 5 + 5 + 3 + 34 + 5 + 9;
/// The longest rest: head, eleven keys, five values of 34 bytes, one of 9, three of 5, a version and an array head.
const REST_BYTES_MAX: usize = 1 + 11 + 5 * 34 + 9 + 3 * 5 + 1 + 3;
const _: () = assert!(
    CLAIM_FRAGMENTS_MAX * FRAGMENT_MAP_BYTES_MAX + REST_BYTES_MAX + SIGNATURE_BYTES <= CLAIM_BYTES_MAX
);

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> NodeKey {
        NodeKey::from_seed([1; 32])
    }

    fn expect() -> Expect {
        Expect {
            node: key().id(),
            verifier: NodeKey::from_seed([2; 32]).id(),
            nonce: [3; 32],
            binding: [4; 32],
            tessera: TesseraId::from_bytes([5; 32]),
        }
    }

    fn fragment(stripe: u32, index: u16) -> ClaimedFragment {
        let checksum = Checksum::of(&[7]);
        ClaimedFragment { stripe, index, checksum, length: 4096, verified_age_ms: None }
    }

    fn claim(fragments: Vec<ClaimedFragment>) -> Claim {
        let Expect { node, verifier, nonce, binding, tessera } = expect();
        let (made_at_ms, stripes, next_stripe) = (1_750_000_000_000, 2..6, Some(6));
        Claim { node, verifier, nonce, binding, tessera, made_at_ms, stripes, next_stripe, fragments }
    }

    fn refused(claim: &Claim, reason: &str) {
        let error = claim.sign(&key()).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        // The same rule holds for what others signed.
        let foreign = FORM.sign(claim.encode(), |message| key().sign(message)).unwrap();
        assert!(SignedClaim::verify(&foreign, &expect()).is_err());
    }

    #[test]
    fn claim_signed_and_verified_is_the_same() {
        let read_back = ClaimedFragment { verified_age_ms: Some(86_400_000), ..fragment(5, 0) };
        for fragments in [vec![], vec![fragment(2, 0), fragment(2, 3), read_back]] {
            let claim = claim(fragments);
            let signed = claim.sign(&key()).unwrap();
            assert_eq!(SignedClaim::verify(signed.bytes(), &expect()), Ok(claim));
        }
    }

    #[test]
    fn largest_claim_fits_a_frame() {
        let first = u32::MAX - 1024;
        let largest = (first..u32::MAX).map(|stripe| ClaimedFragment {
            stripe,
            index: u16::MAX,
            length: 1 << 20,
            verified_age_ms: Some(u64::MAX),
            ..fragment(0, 0)
        });
        let mut claim = claim(largest.collect());
        claim.stripes = first..u32::MAX;
        claim.next_stripe = Some(u32::MAX);
        claim.made_at_ms = TIME_MS_MAX;
        let signed = claim.sign(&key()).unwrap();
        assert_eq!(
            signed.bytes().len(),
            CLAIM_FRAGMENTS_MAX * FRAGMENT_MAP_BYTES_MAX + REST_BYTES_MAX + SIGNATURE_BYTES
        );
        assert_eq!(SignedClaim::verify(signed.bytes(), &expect()), Ok(claim));
    }

    #[test]
    fn answer_to_another_question_is_refused_by_name() {
        let signed = claim(vec![]).sign(&key()).unwrap();
        let refused = |expect: Expect, reason: &str| {
            let error = SignedClaim::verify(signed.bytes(), &expect).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        };
        let other = NodeKey::from_seed([9; 32]).id();
        refused(Expect { node: other, ..expect() }, "signature of the claim");
        refused(Expect { verifier: other, ..expect() }, "another verifier");
        refused(Expect { nonce: [0; 32], ..expect() }, "another nonce");
        refused(Expect { binding: [0; 32], ..expect() }, "another connection");
        refused(Expect { tessera: TesseraId::from_bytes([0; 32]), ..expect() }, "another tessera");
    }

    #[test]
    fn inconsistent_claim_is_refused() {
        refused(&claim(vec![fragment(6, 0)]), "does not cover stripe 6");
        refused(&claim(vec![fragment(1, 0)]), "does not cover stripe 1");
        refused(&claim(vec![fragment(2, 0), fragment(2, 0)]), "repeated or out of order");
        refused(&claim(vec![fragment(3, 0), fragment(2, 0)]), "repeated or out of order");
        refused(&claim(vec![ClaimedFragment { length: 0, ..fragment(2, 0) }]), "a fragment of 0 bytes");
        refused(&Claim { next_stripe: Some(7), ..claim(vec![]) }, "continues at 7");
        refused(&Claim { stripes: Range { start: 7, end: 6 }, ..claim(vec![]) }, "stripes 7 to 6");
        let error = claim(vec![]).sign(&NodeKey::from_seed([2; 32])).unwrap_err().to_string();
        assert!(error.contains("its node is node1"), "{error}");
    }

    #[test]
    fn too_many_fragments_are_refused() {
        let many = (0..=1024).map(|index| fragment(2, index)).collect();
        let error = claim(many).sign(&key()).unwrap_err().to_string();
        assert!(error.contains("1025 fragments; at most 1024"), "{error}");
    }
}

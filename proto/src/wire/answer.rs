//! The answers, one to each request.

use bytes::Bytes;
use minicbor::Decoder;

use super::{Refusal, check_addresses, check_count, check_greeting, check_length, frame, page, read};
use crate::{
    cbor::{self, Fields, Writer},
    compare::{Digest, Sum},
    error::ProtoError,
    ids::{Checksum, NodeId, TesseraId},
    limits::{
        ADDRESS_BYTES_MAX, ADDRESSES_MAX, CLAIM_BYTES_MAX, COMPARE_SUMS, CREDENTIAL_BYTES_MAX,
        DOCUMENT_BYTES_MAX, FRAGMENT_BYTES_MAX, FRAME_BYTES_MAX, PEER_SAMPLE_ADDRESSES_MAX, PEER_SAMPLE_MAX,
        PROOF_SLICE_BYTES_MAX, REASON_BYTES_MAX, RECEIPT_BYTES_MAX, SOFTWARE_BYTES_MAX,
    },
    wire::check_address,
};

/// A peer and where it may be dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSample {
    /// The peer.
    pub node: NodeId,
    /// Its addresses, `host:port`, at most [`PEER_SAMPLE_ADDRESSES_MAX`].
    pub addresses: Vec<String>,
}

/// Why a node keeps no more for somebody than it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Its operator allows no more.
    Allowance,
    /// It has no more room.
    Room,
    /// It keeps nothing for others.
    KeepsNothing,
    /// It is about to leave.
    Leaving,
}

impl Bound {
    /// All there are, in the order of their numbers, from 1.
    pub const ALL: [Self; 4] = [Self::Allowance, Self::Room, Self::KeepsNothing, Self::Leaving];

    fn read(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|bound| bound.number() == number)
    }

    const fn number(self) -> u64 {
        match self {
            Self::Allowance => 1,
            Self::Room => 2,
            Self::KeepsNothing => 3,
            Self::Leaving => 4,
        }
    }
}

/// What a node says to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// To `Hello`: who I am beside my key.
    Hello {
        /// Name and version of the software, at most [`SOFTWARE_BYTES_MAX`].
        software: String,
        /// Where I can be dialled, `host:port`, at most [`ADDRESSES_MAX`].
        addresses: Vec<String>,
        /// The address that the request came from.
        observed: String,
        /// Whether the dial-back worked; `None` when none was tried.
        dial_back: Option<bool>,
        /// The author I act for: a signed [`Credential`](crate::credential::Credential).
        credential: Option<Bytes>,
        /// How many more bytes the account of the one who asked may have kept here.
        allowance_bytes: u64,
        /// Why it is no more, if that is said.
        bound: Option<Bound>,
    },
    /// To `PutDocument`: it was checked, and fragments that it belongs to may follow. It is stored with the first of them.
    Done,
    /// To `GetDocument`: its bytes follow.
    Document {
        /// How many bytes follow.
        length: u32,
    },
    /// To `PutFragment`, before any byte of it is read: it is here already.
    Have {
        /// A signed [`Receipt`](crate::receipt::Receipt).
        receipt: Bytes,
    },
    /// To `PutFragment`: it is safe on the disk.
    Stored {
        /// A signed [`Receipt`](crate::receipt::Receipt).
        receipt: Bytes,
    },
    /// To `GetFragment`: its bytes follow.
    Fragment {
        /// Their checksum.
        checksum: Checksum,
        /// How many bytes follow.
        length: u32,
    },
    /// To `DropFragments`.
    Dropped {
        /// How many of the named fragments were held for the author, and no longer are.
        count: u32,
    },
    /// To `Attest`: a signed [`Claim`](crate::attestation::Claim) follows.
    Claim {
        /// How many bytes follow.
        length: u32,
    },
    /// To `Compare` of all, or under one byte: a sum for each value of the next byte.
    Sums(Box<[Sum; COMPARE_SUMS]>),
    /// To `Compare` under two bytes.
    Tesseras {
        /// The tesserae and what is held of them, strictly ascending, at most
        /// [`COMPARE_TESSERAS_MAX`](crate::limits::COMPARE_TESSERAS_MAX).
        list: Vec<(TesseraId, Digest)>,
        /// Whether some come behind the last of these.
        more: bool,
    },
    /// To `Compare` of one tessera.
    Fragments {
        /// Stripe, index and checksum, strictly ascending by place, at most
        /// [`COMPARE_FRAGMENTS_MAX`](crate::limits::COMPARE_FRAGMENTS_MAX).
        list: Vec<(u32, u16, Checksum)>,
        /// Whether some come behind the last of these.
        more: bool,
    },
    /// To `Prove`: the slice of the group follows, see [`proof`](crate::proof).
    Proof {
        /// The nonce of the request.
        nonce: [u8; 32],
        /// Length of the whole fragment in bytes, as its holder has it.
        fragment_len: u32,
        /// How many bytes follow.
        length: u32,
    },
    /// To `Peers`: some of those that are known, at most [`PEER_SAMPLE_MAX`].
    Peers(Vec<PeerSample>),
    /// To any request: no.
    Refused(Refusal),
}

impl Answer {
    /// The number that stands for it in a head.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Hello { .. } => HELLO,
            Self::Done => DONE,
            Self::Document { .. } => DOCUMENT,
            Self::Have { .. } => HAVE,
            Self::Stored { .. } => STORED,
            Self::Fragment { .. } => FRAGMENT,
            Self::Dropped { .. } => DROPPED,
            Self::Claim { .. } => CLAIM,
            Self::Sums(_) => SUMS,
            Self::Tesseras { .. } => TESSERAS,
            Self::Fragments { .. } => FRAGMENTS,
            Self::Proof { .. } => PROOF,
            Self::Peers(_) => PEERS,
            Self::Refused(_) => REFUSED,
        }
    }

    /// Its name in one word, for metrics and errors.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Done => "done",
            Self::Document { .. } => "document",
            Self::Have { .. } => "have",
            Self::Stored { .. } => "stored",
            Self::Fragment { .. } => "fragment",
            Self::Dropped { .. } => "dropped",
            Self::Claim { .. } => "claim",
            Self::Sums(_) => "sums",
            Self::Tesseras { .. } => "tesseras",
            Self::Fragments { .. } => "fragments",
            Self::Proof { .. } => "proof",
            Self::Peers(_) => "peers",
            Self::Refused(_) => "refused",
        }
    }

    /// How many raw bytes follow the frame; 0 for none.
    pub const fn bulk_len(&self) -> u32 {
        match self {
            Self::Document { length }
            | Self::Fragment { length, .. }
            | Self::Claim { length }
            | Self::Proof { length, .. } => *length,
            _ => 0,
        }
    }

    /// Head and body. What is outside the limits would be refused: see [`Answer::check`].
    pub fn frame(&self) -> Vec<u8> {
        debug_assert_eq!(self.check(), Ok(()));
        frame(self.kind(), self.body())
    }

    /// Reads the body of an answer of this kind, whose length the head gave. `None` for what only later software knows
    /// (a kind of answer or of refusal). Errors with [`ProtoError::Malformed`] and [`ProtoError::TooLong`].
    pub fn decode(kind: u8, body: &[u8]) -> Result<Option<Self>, ProtoError> {
        let answer = match kind {
            HELLO => read("hello", body, read_hello),
            DONE => read("done", body, |_| Ok(Some(Self::Done))),
            DOCUMENT => read("document", body, read_document),
            HAVE => read("have", body, read_have),
            STORED => read("stored", body, read_stored),
            FRAGMENT => read("fragment", body, read_fragment),
            DROPPED => read("dropped", body, read_dropped),
            CLAIM => read("claim", body, read_claim),
            SUMS => read("sums", body, |fields| Ok(Some(Self::Sums(page::read_sums(fields)?)))),
            TESSERAS => read("tesseras", body, read_tesseras),
            FRAGMENTS => read("fragments", body, read_fragments),
            PROOF => read("proof", body, read_proof),
            PEERS => read("peers", body, read_peers),
            REFUSED => read("refused", body, |fields| Ok(Refusal::read(fields)?.map(Self::Refused))),
            _ => return Ok(None),
        }?;
        answer.iter().try_for_each(Self::check)?;
        Ok(answer)
    }

    /// Whether it is one that a peer accepts. Errors with [`ProtoError::Malformed`] and [`ProtoError::TooLong`].
    pub fn check(&self) -> Result<(), ProtoError> {
        let what = self.name();
        match self {
            Self::Hello { software, addresses, observed, .. } => {
                check_greeting(what, software, addresses, ADDRESSES_MAX)?;
                check_address(observed)
            }
            Self::Document { length } => check_length(what, *length, DOCUMENT_BYTES_MAX),
            Self::Fragment { length, .. } => check_length(what, *length, FRAGMENT_BYTES_MAX),
            Self::Claim { length } => check_length(what, *length, CLAIM_BYTES_MAX),
            Self::Tesseras { list, more } => page::check_tesseras(what, list, *more),
            Self::Fragments { list, more } => page::check_fragments(what, list, *more),
            Self::Proof { fragment_len, length, .. } => {
                check_length(what, *fragment_len, FRAGMENT_BYTES_MAX)?;
                check_length(what, *length, PROOF_SLICE_BYTES_MAX)
            }
            Self::Peers(peers) => {
                check_count(what, peers.len(), PEER_SAMPLE_MAX)?;
                let mut each = peers.iter();
                each.try_for_each(|peer| check_addresses(what, &peer.addresses, PEER_SAMPLE_ADDRESSES_MAX))
            }
            _ => Ok(()),
        }
    }

    fn body(&self) -> Writer {
        let mut out = Writer::new();
        match self {
            Self::Hello { software, addresses, observed, dial_back, credential, allowance_bytes, bound } => {
                out.text(1, software);
                out.texts(2, addresses);
                out.text(3, observed);
                dial_back.iter().for_each(|worked| out.flag(4, *worked));
                credential.iter().for_each(|credential| out.bytes(5, credential));
                out.unsigned(6, *allowance_bytes);
                bound.iter().for_each(|bound| out.unsigned(7, bound.number()));
            }
            Self::Done => {}
            Self::Document { length } | Self::Claim { length } => out.unsigned(1, *length),
            Self::Have { receipt } | Self::Stored { receipt } => out.bytes(1, receipt),
            Self::Fragment { checksum, length } => {
                out.bytes(1, checksum.as_bytes());
                out.unsigned(2, *length);
            }
            Self::Dropped { count } => out.unsigned(1, *count),
            Self::Sums(sums) => page::write_sums(&mut out, sums),
            Self::Tesseras { list, more } => page::write_tesseras(&mut out, list, *more),
            Self::Fragments { list, more } => page::write_fragments(&mut out, list, *more),
            Self::Proof { nonce, fragment_len, length } => {
                out.bytes(1, nonce);
                out.unsigned(2, *fragment_len);
                out.unsigned(3, *length);
            }
            Self::Peers(peers) => out.maps(1, peers.iter().map(write_peer)),
            Self::Refused(refusal) => return refusal.write(),
        }
        out
    }
}

/// An answer, if this software knows it.
type Read = Result<Option<Answer>, ProtoError>;

fn read_hello(fields: &mut Fields<'_, '_>) -> Read {
    Ok(Some(Answer::Hello {
        software: fields.required(1, cbor::text)?,
        addresses: fields.required(2, cbor::texts_within::<ADDRESSES_MAX>)?,
        observed: fields.required(3, cbor::text)?,
        dial_back: fields.optional(4, Decoder::bool)?,
        credential: fields.optional(5, cbor::bytes_within::<CREDENTIAL_BYTES_MAX>)?,
        allowance_bytes: fields.required(6, Decoder::u64)?,
        // What is not known here says nothing.
        bound: fields.optional(7, Decoder::u64)?.and_then(Bound::read),
    }))
}

fn read_document(fields: &mut Fields<'_, '_>) -> Read {
    Ok(Some(Answer::Document { length: fields.required(1, Decoder::u32)? }))
}

fn read_have(fields: &mut Fields<'_, '_>) -> Read {
    Ok(Some(Answer::Have { receipt: fields.required(1, cbor::bytes_within::<RECEIPT_BYTES_MAX>)? }))
}

fn read_stored(fields: &mut Fields<'_, '_>) -> Read {
    Ok(Some(Answer::Stored { receipt: fields.required(1, cbor::bytes_within::<RECEIPT_BYTES_MAX>)? }))
}

fn read_fragment(fields: &mut Fields<'_, '_>) -> Read {
    let (checksum, length) = (fields.required(1, cbor::bytes32)?, fields.required(2, Decoder::u32)?);
    Ok(Some(Answer::Fragment { checksum, length }))
}

fn read_dropped(fields: &mut Fields<'_, '_>) -> Read {
    Ok(Some(Answer::Dropped { count: fields.required(1, Decoder::u32)? }))
}

fn read_claim(fields: &mut Fields<'_, '_>) -> Read {
    Ok(Some(Answer::Claim { length: fields.required(1, Decoder::u32)? }))
}

fn read_tesseras(fields: &mut Fields<'_, '_>) -> Read {
    let (list, more) = page::read_tesseras(fields)?;
    Ok(Some(Answer::Tesseras { list, more }))
}

fn read_fragments(fields: &mut Fields<'_, '_>) -> Read {
    let (list, more) = page::read_fragments(fields)?;
    Ok(Some(Answer::Fragments { list, more }))
}

fn read_proof(fields: &mut Fields<'_, '_>) -> Read {
    Ok(Some(Answer::Proof {
        nonce: fields.required(1, cbor::bytes32)?,
        fragment_len: fields.required(2, Decoder::u32)?,
        length: fields.required(3, Decoder::u32)?,
    }))
}

fn read_peers(fields: &mut Fields<'_, '_>) -> Read {
    let peers = fields.maps(1, PEER_SAMPLE_MAX, |fields| {
        let node = fields.required(0, cbor::bytes32)?;
        let addresses = fields.required(1, cbor::texts_within::<PEER_SAMPLE_ADDRESSES_MAX>)?;
        Ok(PeerSample { node, addresses })
    })?;
    Ok(Some(Answer::Peers(peers)))
}

fn write_peer(peer: &PeerSample) -> Writer {
    let mut out = Writer::new();
    out.bytes(0, peer.node.as_bytes());
    out.texts(1, &peer.addresses);
    out
}

const HELLO: u8 = 65;
const DONE: u8 = 66;
const DOCUMENT: u8 = 67;
const HAVE: u8 = 68;
const STORED: u8 = 69;
const FRAGMENT: u8 = 70;
const DROPPED: u8 = 71;
const CLAIM: u8 = 72;
const SUMS: u8 = 73;
const TESSERAS: u8 = 74;
const FRAGMENTS: u8 = 75;
const PROOF: u8 = 76;
const PEERS: u8 = 77;
const REFUSED: u8 = 127;

/// Head and key of one field, and the head of its value, at most.
const FIELD_BYTES_MAX: usize = 8;
const ADDRESS_FIELD_BYTES_MAX: usize = 2 + ADDRESS_BYTES_MAX;
const HELLO_BYTES_MAX: usize = 7 * FIELD_BYTES_MAX
    + SOFTWARE_BYTES_MAX
    + (ADDRESSES_MAX + 1) * ADDRESS_FIELD_BYTES_MAX
    + CREDENTIAL_BYTES_MAX
    + 8;
/// Each peer: head, two keys, an id of 34 bytes, an array head, and its addresses.
const PEERS_BYTES_MAX: usize = FIELD_BYTES_MAX
    + PEER_SAMPLE_MAX * (1 + 2 + 34 + 1 + PEER_SAMPLE_ADDRESSES_MAX * ADDRESS_FIELD_BYTES_MAX);
const _: () = assert!(HELLO_BYTES_MAX <= FRAME_BYTES_MAX);
const _: () = assert!(PEERS_BYTES_MAX <= FRAME_BYTES_MAX);
const _: () = assert!(FIELD_BYTES_MAX + RECEIPT_BYTES_MAX <= FRAME_BYTES_MAX);
const _: () = assert!(3 * FIELD_BYTES_MAX + REASON_BYTES_MAX <= FRAME_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        limits::FRAME_HEAD_BYTES,
        wire::{Head, RefusalKind},
    };

    fn decoded(frame: &[u8]) -> Result<Option<Answer>, ProtoError> {
        let (head, body) = frame.split_first_chunk::<FRAME_HEAD_BYTES>().unwrap();
        let head = Head::parse(*head).unwrap();
        assert_eq!(head.body_len as usize, body.len());
        Answer::decode(head.kind, body)
    }

    fn address() -> String {
        format!("{}:1", "a".repeat(253))
    }

    fn tesseras(count: u16) -> Vec<(TesseraId, Digest)> {
        let id = |number: u16| {
            let mut id = [9; 32];
            [id[0], id[1]] = number.to_be_bytes();
            TesseraId::from_bytes(id)
        };
        (0..count).map(|number| (id(number), Digest::from([0xee; 32]))).collect()
    }

    fn fragments(count: u32) -> Vec<(u32, u16, Checksum)> {
        (0..count).map(|at| (u32::MAX - count + at, u16::MAX, Checksum::of(b"x"))).collect()
    }

    fn peers(count: usize, addresses: usize) -> Answer {
        let node = NodeId::from_bytes([1; 32]);
        Answer::Peers(vec![PeerSample { node, addresses: vec![address(); addresses] }; count])
    }

    /// Each as long as it may be.
    fn all() -> Vec<Answer> {
        let receipt = || Bytes::from(vec![1; RECEIPT_BYTES_MAX]);
        let mut all = vec![
            Answer::Hello {
                software: "s".repeat(64),
                addresses: vec![address(); 8],
                observed: address(),
                dial_back: Some(true),
                credential: Some(vec![1; CREDENTIAL_BYTES_MAX].into()),
                allowance_bytes: u64::MAX,
                bound: Some(Bound::Leaving),
            },
            Answer::Done,
            Answer::Document { length: 16 << 20 },
            Answer::Have { receipt: receipt() },
            Answer::Stored { receipt: receipt() },
            Answer::Fragment { checksum: Checksum::of(b"x"), length: 1 << 20 },
            Answer::Dropped { count: u32::MAX },
            Answer::Claim { length: 65_536 },
            Answer::Sums(Box::new([Sum::wrapped(u64::MAX); 256])),
            Answer::Tesseras { list: tesseras(512), more: true },
            Answer::Fragments { list: fragments(1024), more: true },
            Answer::Proof { nonce: [3; 32], fragment_len: 1 << 20, length: 16_768 },
            peers(32, 4),
        ];
        all.extend(RefusalKind::ALL.map(|kind| Answer::Refused(kind.because("r".repeat(256)))));
        all
    }

    #[test]
    fn answer_written_and_read_is_the_same() {
        for answer in all() {
            let frame = answer.frame();
            assert!(frame.len() <= FRAME_HEAD_BYTES + FRAME_BYTES_MAX, "{answer:?}");
            assert_eq!(decoded(&frame), Ok(Some(answer)));
        }
    }

    #[test]
    fn answer_that_breaks_a_rule_is_refused() {
        let refused = |answer: Answer, reason: &str| {
            let error = answer.check().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
            let read = Answer::decode(answer.kind(), &answer.body().finish());
            assert!(read.is_err(), "{reason}: {read:?}");
        };
        refused(Answer::Document { length: 0 }, "a length of 0 bytes");
        refused(Answer::Document { length: (16 << 20) + 1 }, "at most 16777216");
        refused(Answer::Claim { length: 65_537 }, "at most 65536");
        refused(Answer::Fragment { checksum: Checksum::of(b""), length: 0 }, "a length of 0 bytes");
        let proof = |fragment_len, length| Answer::Proof { nonce: [0; 32], fragment_len, length };
        refused(proof((1 << 20) + 1, 1), "at most 1048576");
        refused(proof(1, 16_769), "at most 16768");
        refused(Answer::Tesseras { list: tesseras(513), more: false }, "513 items; at most 512");
        refused(Answer::Fragments { list: fragments(1025), more: false }, "1025 items; at most 1024");
        refused(Answer::Tesseras { list: vec![tesseras(1)[0]; 2], more: false }, "repeated or out of order");
        let backwards = fragments(2).into_iter().rev().collect();
        refused(Answer::Fragments { list: backwards, more: false }, "repeated or out of order");
        refused(Answer::Fragments { list: vec![], more: true }, "no items, and more");
        refused(peers(33, 0), "33 items; at most 32");
        refused(peers(1, 5), "5 items; at most 4");
    }

    #[test]
    fn what_only_later_software_knows_is_told_from_what_is_wrong() {
        for kind in [0, 1, 64, 78, 126, 128, 255] {
            assert_eq!(Answer::decode(kind, b"anything"), Ok(None), "{kind}");
        }
        let refusal = |code: u64, reason: &str| {
            let mut out = Writer::new();
            out.unsigned(1, code);
            out.text(2, reason);
            Answer::decode(REFUSED, &out.finish())
        };
        assert_eq!(refusal(13, "later"), Ok(None));
        let here = RefusalKind::NotFound.because("not here");
        assert_eq!(refusal(2, "not here"), Ok(Some(Answer::Refused(here))));
        assert!(refusal(1, "busy without a time").is_err());
        assert!(
            refusal(2, "").is_err() && refusal(2, "a\nb").is_err() && refusal(2, &"a".repeat(257)).is_err()
        );
        assert!(matches!(Answer::decode(DONE, &[0xa0, 0]), Err(ProtoError::Malformed { .. })));
    }
}

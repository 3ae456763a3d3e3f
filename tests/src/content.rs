//! What the workload stores: bytes that can be made again from a number, at places that are numbers too, so that a
//! journal of what was promised is short and needs no copy of the bytes.

use bytes::Bytes;
use proto::{AccountId, Checksum, Fragment, FragmentId, TesseraId, record::DocumentKind};
use serde::{Deserialize, Serialize};

/// Bytes, as the number they are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content(pub u32);

/// A fragment as one account wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Spot {
    /// Number of the tessera.
    pub tessera: u32,
    /// The stripe.
    pub stripe: u32,
    /// The place in the stripe.
    pub index: u16,
    /// Number of the account; 0 is the node itself.
    pub account: u8,
}

impl Content {
    /// From 1 byte to 64 KiB; as many below 256 bytes as above.
    pub fn length(self) -> usize {
        let [bits, low, high, ..] = *blake3::hash(&self.0.to_le_bytes()).as_bytes();
        let below = 1 << (bits % LENGTH_BITS);
        1 + usize::from(u16::from_le_bytes([low, high])) % below
    }

    /// The bytes.
    pub fn bytes(self) -> Bytes {
        stream(b"content", self.0, self.length())
    }

    /// The bytes with their hash.
    pub fn fragment(self) -> Fragment {
        Fragment::hash(self.bytes()).expect("at most 64 KiB")
    }
}

impl Spot {
    /// The fragment.
    pub fn fragment(&self) -> FragmentId {
        FragmentId { tessera: tessera_id(self.tessera), stripe: self.stripe, index: self.index }
    }

    /// The account that wants it.
    pub fn account(&self) -> AccountId {
        AccountId::from_bytes([self.account; 32])
    }
}

/// The id of a tessera. Ordered as the numbers are.
pub fn tessera_id(number: u32) -> TesseraId {
    let mut bytes = [0x7e; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    TesseraId::from_bytes(bytes)
}

/// What a session writes for a tessera: always the same, as a tessera's id follows from its content. One in sixteen
/// has more fragments than are written or purged at a time.
pub fn session_contents(tessera: u32) -> Vec<(Spot, Content)> {
    let count = if tessera.is_multiple_of(16) { 300 } else { 1 + tessera * 7 % 23 };
    let content = |stripe: u32| match (tessera + stripe) % 3 {
        0 => Content(stripe % SHARED_CONTENTS),
        _ => Content((tessera << 12) + stripe),
    };
    (0..count).map(|stripe| (Spot { tessera, stripe, index: 0, account: 0 }, content(stripe))).collect()
}

/// A document of a tessera that a session writes.
pub fn document(tessera: u32, kind: DocumentKind) -> Bytes {
    stream(b"document", tessera << 2 | u32::from(kind.code()), DOCUMENT_BYTES)
}

/// The hash of [`document`].
pub fn document_hash(tessera: u32, kind: DocumentKind) -> Checksum {
    Checksum::of(&document(tessera, kind))
}

fn stream(purpose: &[u8], number: u32, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(purpose).update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

/// Contents below this number are stored by everyone, so they are deduplicated.
pub const SHARED_CONTENTS: u32 = 48;
/// The documents that a session writes.
pub const DOCUMENT_KINDS: [DocumentKind; 2] = [DocumentKind::Manifest, DocumentKind::Layout];
const DOCUMENT_BYTES: usize = 1500;
const LENGTH_BITS: u8 = 17;

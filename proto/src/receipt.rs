//! The receipt: a holder's word that it keeps a fragment, who brought it, and whom it is charged to. It is given when
//! the fragment is safe on the holder's disk, and is what a quarrel about it can be settled with later.
//!
//! | field | holds |
//! |---|---|
//! | 0 | version, 1 |
//! | 1 | node that holds it and signs, 32 bytes |
//! | 2 | node that delivered it, 32 bytes |
//! | 3 | author whose manifest it belongs to and who is charged, 32 bytes |
//! | 4, 5, 6 | the fragment: tessera, 32 bytes; stripe; index |
//! | 7 | its checksum, 32 bytes |
//! | 8 | its length in bytes |
//! | 9 | since when it is held, on the clock of the holder, milliseconds since 1970 |

use bytes::Bytes;
use minicbor::Decoder;

use crate::{
    cbor::{self, Fields, Writer},
    error::ProtoError,
    fragment::FragmentId,
    ids::{AuthorId, Checksum, NodeId},
    keys::NodeKey,
    limits::{FRAGMENT_BYTES_MAX, RECEIPT_BYTES_MAX, SIGNATURE_BYTES, TIME_MS_MAX},
    signed::Form,
};

/// What a holder says about one fragment that it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Receipt {
    /// Who keeps it.
    pub holder: NodeId,
    /// Who brought it.
    pub deliverer: NodeId,
    /// Whom it is charged to: the author of the manifest, whoever delivered it.
    pub author: AuthorId,
    /// Which one.
    pub fragment: FragmentId,
    /// The checksum of the bytes that are kept.
    pub checksum: Checksum,
    /// Their length, in bytes.
    pub length: u32,
    /// Since when, in milliseconds since 1970 on the holder's own clock.
    pub held_at_ms: u64,
}

impl Receipt {
    /// Makes the document. Errors with [`ProtoError::Malformed`] for another node's key, for a length that no fragment
    /// has and for a time beyond its limit.
    pub fn sign(&self, key: &NodeKey) -> Result<SignedReceipt, ProtoError> {
        if key.id() != self.holder {
            let reason = format!("its holder is {}, the key is that of {}", self.holder, key.id());
            return Err(ProtoError::malformed(WHAT, reason));
        }
        self.check()?;
        Ok(SignedReceipt { bytes: FORM.sign(self.encode(), |message| key.sign(message))? })
    }

    fn check(&self) -> Result<(), ProtoError> {
        if self.length == 0 || self.length as usize > FRAGMENT_BYTES_MAX {
            return Err(ProtoError::malformed(WHAT, format!("a fragment of {} bytes", self.length)));
        }
        if self.held_at_ms > TIME_MS_MAX {
            return Err(ProtoError::malformed(WHAT, format!("held since {} ms", self.held_at_ms)));
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::document(VERSION);
        out.bytes(1, self.holder.as_bytes());
        out.bytes(2, self.deliverer.as_bytes());
        out.bytes(3, self.author.as_bytes());
        out.bytes(4, self.fragment.tessera.as_bytes());
        out.unsigned(5, self.fragment.stripe);
        out.unsigned(6, self.fragment.index);
        out.bytes(7, self.checksum.as_bytes());
        out.unsigned(8, self.length);
        out.unsigned(9, self.held_at_ms);
        out.finish()
    }

    fn decode(map: &[u8]) -> Result<Self, ProtoError> {
        let mut decoder = Decoder::new(map);
        let mut fields = Fields::enter(WHAT, &mut decoder)?;
        fields.version(VERSION)?;
        let receipt = Self {
            holder: fields.required(1, cbor::bytes32)?,
            deliverer: fields.required(2, cbor::bytes32)?,
            author: fields.required(3, cbor::bytes32)?,
            fragment: FragmentId {
                tessera: fields.required(4, cbor::bytes32)?,
                stripe: fields.required(5, Decoder::u32)?,
                index: fields.required(6, Decoder::u16)?,
            },
            checksum: fields.required(7, cbor::bytes32)?,
            length: fields.required(8, Decoder::u32)?,
            held_at_ms: fields.required(9, Decoder::u64)?,
        };
        receipt.check()?;
        Ok(receipt)
    }
}

/// A receipt as it is sent and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedReceipt {
    bytes: Bytes,
}

impl SignedReceipt {
    /// Reads a receipt and checks that this holder signed it. Whether it is for the fragment that was delivered remains
    /// to be compared. Errors with [`ProtoError::TooLong`], [`ProtoError::Malformed`] (also for another holder's),
    /// [`ProtoError::NewerVersion`] and [`ProtoError::BadSignature`].
    pub fn verify(bytes: &[u8], holder: NodeId) -> Result<Receipt, ProtoError> {
        let receipt = Receipt::decode(FORM.map(bytes)?)?;
        if receipt.holder != holder {
            return Err(ProtoError::malformed(WHAT, format!("it is of {}, not of {holder}", receipt.holder)));
        }
        FORM.verify(bytes, holder.as_bytes())?;
        Ok(receipt)
    }

    /// The bytes to send and to keep.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

const WHAT: &str = "receipt";
const VERSION: u64 = 1;
const FORM: Form = Form { what: WHAT, context: b"tesseras/1 receipt\0", bytes_max: RECEIPT_BYTES_MAX };

/// The longest map of this version: head, ten keys, a version, five values of 34 bytes, two of 5, one of 3, one of 9.
const MAP_BYTES_MAX: usize = 1 + 10 + 1 + 5 * 34 + 2 * 5 + 3 + 9;
const _: () = assert!(MAP_BYTES_MAX + SIGNATURE_BYTES <= RECEIPT_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ids::TesseraId, keys::AuthorKey};

    fn key() -> NodeKey {
        NodeKey::from_seed([1; 32])
    }

    fn receipt() -> Receipt {
        Receipt {
            holder: key().id(),
            deliverer: NodeKey::from_seed([2; 32]).id(),
            author: AuthorKey::from_seed([3; 32]).id(),
            fragment: FragmentId {
                tessera: TesseraId::from_bytes([4; 32]),
                stripe: u32::MAX,
                index: u16::MAX,
            },
            checksum: Checksum::of(b"fragment"),
            length: 1 << 20,
            held_at_ms: TIME_MS_MAX,
        }
    }

    #[test]
    fn receipt_written_and_read_is_the_same() {
        let signed = receipt().sign(&key()).unwrap();
        assert_eq!(SignedReceipt::verify(signed.bytes(), key().id()), Ok(receipt()));
        assert_eq!(signed.bytes().len(), MAP_BYTES_MAX + SIGNATURE_BYTES);
    }

    #[test]
    fn receipt_of_another_holder_is_refused() {
        let other = NodeKey::from_seed([9; 32]);
        let error = receipt().sign(&other).unwrap_err().to_string();
        assert!(error.contains("its holder is node1"), "{error}");

        let signed = receipt().sign(&key()).unwrap();
        let error = SignedReceipt::verify(signed.bytes(), other.id()).unwrap_err().to_string();
        assert!(error.contains("not of node1"), "{error}");

        let forged = FORM.sign(receipt().encode(), |message| other.sign(message)).unwrap();
        let refused = SignedReceipt::verify(&forged, key().id());
        assert_eq!(refused, Err(ProtoError::BadSignature { what: WHAT }));
    }

    #[test]
    fn receipt_that_cannot_be_true_is_refused() {
        let refused = |receipt: Receipt, reason: &str| {
            let error = receipt.sign(&key()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
            let file = FORM.sign(receipt.encode(), |message| key().sign(message)).unwrap();
            let error = SignedReceipt::verify(&file, key().id()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        };
        refused(Receipt { length: 0, ..receipt() }, "a fragment of 0 bytes");
        refused(Receipt { length: (1 << 20) + 1, ..receipt() }, "a fragment of 1048577 bytes");
        refused(Receipt { held_at_ms: TIME_MS_MAX + 1, ..receipt() }, "held since 9223372036854775808 ms");
    }
}

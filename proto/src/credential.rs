//! The credential: an author's word that a machine acts for them. With it a node may put, compare and drop in that
//! author's account; without it, only what the account's owner agreed on with the holder.
//!
//! | field | holds |
//! |---|---|
//! | 0 | version, 1 |
//! | 1 | author who says so and signs, 32 bytes |
//! | 2 | node that acts for them, 32 bytes |
//! | 3 | time on the clock of the author, milliseconds since 1970 |

use bytes::Bytes;
use minicbor::Decoder;

use crate::{
    cbor::{self, Fields, Writer},
    error::ProtoError,
    ids::{AuthorId, NodeId},
    keys::AuthorKey,
    limits::{CREDENTIAL_BYTES_MAX, SIGNATURE_BYTES, TIME_MS_MAX},
    signed::Form,
};

/// *This machine acts for me.*
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Credential {
    /// Who says so.
    pub author: AuthorId,
    /// The machine.
    pub node: NodeId,
    /// When, in milliseconds since 1970 on the author's own clock.
    pub made_at_ms: u64,
}

impl Credential {
    /// Makes the document. Errors with [`ProtoError::Malformed`] for another author's key and for a time beyond its
    /// limit.
    pub fn sign(&self, key: &AuthorKey) -> Result<SignedCredential, ProtoError> {
        if key.id() != self.author {
            let reason = format!("its author is {}, the key is that of {}", self.author, key.id());
            return Err(ProtoError::malformed(WHAT, reason));
        }
        self.check()?;
        Ok(SignedCredential { bytes: FORM.sign(self.encode(), |message| key.sign(message))? })
    }

    fn check(&self) -> Result<(), ProtoError> {
        if self.made_at_ms > TIME_MS_MAX {
            return Err(ProtoError::malformed(WHAT, format!("made at {} ms", self.made_at_ms)));
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::document(VERSION);
        out.bytes(1, self.author.as_bytes());
        out.bytes(2, self.node.as_bytes());
        out.unsigned(3, self.made_at_ms);
        out.finish()
    }

    fn decode(map: &[u8]) -> Result<Self, ProtoError> {
        let mut decoder = Decoder::new(map);
        let mut fields = Fields::enter(WHAT, &mut decoder)?;
        fields.version(VERSION)?;
        let credential = Self {
            author: fields.required(1, cbor::bytes32)?,
            node: fields.required(2, cbor::bytes32)?,
            made_at_ms: fields.required(3, Decoder::u64)?,
        };
        credential.check()?;
        Ok(credential)
    }
}

/// A credential as it is sent and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCredential {
    bytes: Bytes,
}

impl SignedCredential {
    /// Reads a credential and checks that its author signed it and that it is for this node, the one that showed it.
    /// Errors with [`ProtoError::TooLong`], [`ProtoError::Malformed`] (also for another node's),
    /// [`ProtoError::NewerVersion`] and [`ProtoError::BadSignature`].
    pub fn verify(bytes: &[u8], node: NodeId) -> Result<Credential, ProtoError> {
        let credential = Credential::decode(FORM.map(bytes)?)?;
        if credential.node != node {
            return Err(ProtoError::malformed(
                WHAT,
                format!("it is for {}, not for {node}", credential.node),
            ));
        }
        FORM.verify(bytes, credential.author.as_bytes())?;
        Ok(credential)
    }

    /// The bytes to send and to keep.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

const WHAT: &str = "credential";
const VERSION: u64 = 1;
const FORM: Form = Form { what: WHAT, context: b"tesseras/1 credential\0", bytes_max: CREDENTIAL_BYTES_MAX };

/// The longest map of this version: head, four keys, a version, two values of 34 bytes, one of 9.
const MAP_BYTES_MAX: usize = 1 + 4 + 1 + 2 * 34 + 9;
const _: () = assert!(MAP_BYTES_MAX + SIGNATURE_BYTES <= CREDENTIAL_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::NodeKey;

    fn key() -> AuthorKey {
        AuthorKey::from_seed([1; 32])
    }

    fn credential() -> Credential {
        let node = NodeKey::from_seed([2; 32]).id();
        Credential { author: key().id(), node, made_at_ms: TIME_MS_MAX }
    }

    #[test]
    fn credential_written_and_read_is_the_same() {
        let signed = credential().sign(&key()).unwrap();
        assert_eq!(SignedCredential::verify(signed.bytes(), credential().node), Ok(credential()));
        assert_eq!(signed.bytes().len(), MAP_BYTES_MAX + SIGNATURE_BYTES);
    }

    #[test]
    fn credential_of_another_machine_is_refused() {
        let signed = credential().sign(&key()).unwrap();
        let thief = NodeKey::from_seed([9; 32]).id();
        let error = SignedCredential::verify(signed.bytes(), thief).unwrap_err().to_string();
        assert!(error.contains("not for node1"), "{error}");
    }

    #[test]
    fn credential_that_somebody_else_signed_is_refused() {
        let other = AuthorKey::from_seed([9; 32]);
        let error = credential().sign(&other).unwrap_err().to_string();
        assert!(error.contains("its author is author1"), "{error}");
        let forged = FORM.sign(credential().encode(), |message| other.sign(message)).unwrap();
        let refused = SignedCredential::verify(&forged, credential().node);
        assert_eq!(refused, Err(ProtoError::BadSignature { what: WHAT }));
    }

    #[test]
    fn time_beyond_its_limit_is_refused() {
        let late = Credential { made_at_ms: TIME_MS_MAX + 1, ..credential() };
        assert!(late.sign(&key()).is_err());
        let file = FORM.sign(late.encode(), |message| key().sign(message)).unwrap();
        assert!(SignedCredential::verify(&file, late.node).is_err());
    }
}

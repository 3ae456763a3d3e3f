//! The retraction: an author's word that a tessera is not to be kept for them any more, by anybody and for ever. Holders keep
//! it when what it speaks of is gone, and show it: so that whoever was away, or mends what others have lost, does not bring
//! the tessera back.
//!
//! | field | holds |
//! |---|---|
//! | 0 | version, 1 |
//! | 1 | tessera, 32 bytes |
//! | 2 | its author, who signs, 32 bytes |
//! | 3 | time on the clock of the author, milliseconds since 1970 |

use bytes::Bytes;
use minicbor::Decoder;

use crate::{
    cbor::{self, Fields, Writer},
    error::ProtoError,
    ids::{AuthorId, TesseraId},
    keys::AuthorKey,
    limits::{RETRACTION_BYTES_MAX, SIGNATURE_BYTES, TIME_MS_MAX},
    signed::Form,
};

/// *I take this back.*
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Retraction {
    /// What is taken back.
    pub tessera: TesseraId,
    /// By whom.
    pub author: AuthorId,
    /// When, in milliseconds since 1970 on the author's own clock.
    pub retracted_at_ms: u64,
}

impl Retraction {
    /// Makes the document. Errors with [`ProtoError::Malformed`] for another author's key and for a time beyond its
    /// limit.
    pub fn sign(&self, key: &AuthorKey) -> Result<SignedRetraction, ProtoError> {
        if key.id() != self.author {
            let reason = format!("its author is {}, the key is that of {}", self.author, key.id());
            return Err(ProtoError::malformed(WHAT, reason));
        }
        self.check()?;
        let bytes = FORM.sign(self.encode(), |message| key.sign(message))?;
        Ok(SignedRetraction { retraction: *self, bytes })
    }

    fn check(&self) -> Result<(), ProtoError> {
        if self.retracted_at_ms > TIME_MS_MAX {
            return Err(ProtoError::malformed(WHAT, format!("retracted at {} ms", self.retracted_at_ms)));
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::document(VERSION);
        out.bytes(1, self.tessera.as_bytes());
        out.bytes(2, self.author.as_bytes());
        out.unsigned(3, self.retracted_at_ms);
        out.finish()
    }

    fn decode(map: &[u8]) -> Result<Self, ProtoError> {
        let mut decoder = Decoder::new(map);
        let mut fields = Fields::enter(WHAT, &mut decoder)?;
        fields.version(VERSION)?;
        let retraction = Self {
            tessera: fields.required(1, cbor::bytes32)?,
            author: fields.required(2, cbor::bytes32)?,
            retracted_at_ms: fields.required(3, Decoder::u64)?,
        };
        retraction.check()?;
        Ok(retraction)
    }
}

/// A retraction together with the file it stands in, whose signature was made or checked here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRetraction {
    retraction: Retraction,
    bytes: Bytes,
}

impl SignedRetraction {
    /// Reads the file, which must be of this tessera and signed by its author, as the manifest names them: anybody can sign
    /// that they take back what is somebody else's. Errors with [`ProtoError::TooLong`], [`ProtoError::Malformed`],
    /// [`ProtoError::NewerVersion`] and [`ProtoError::BadSignature`].
    pub fn parse(bytes: Bytes, tessera: TesseraId, author: AuthorId) -> Result<Self, ProtoError> {
        let retraction = Retraction::decode(FORM.map(&bytes)?)?;
        if retraction.tessera != tessera {
            let reason = format!("it is of {}, not of {tessera}", retraction.tessera);
            return Err(ProtoError::malformed(WHAT, reason));
        }
        if retraction.author != author {
            let reason = format!("it is by {}, and the tessera by {author}", retraction.author);
            return Err(ProtoError::malformed(WHAT, reason));
        }
        FORM.verify(&bytes, author.as_bytes())?;
        Ok(Self { retraction, bytes })
    }

    /// What it says.
    pub fn retraction(&self) -> &Retraction {
        &self.retraction
    }

    /// The file, as it was received.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

const WHAT: &str = "retraction";
const VERSION: u64 = 1;
const FORM: Form = Form { what: WHAT, context: b"tesseras/1 retraction\0", bytes_max: RETRACTION_BYTES_MAX };

/// The longest map of this version: head, four keys, a version, two values of 34 bytes, one of 9.
const MAP_BYTES_MAX: usize = 1 + 4 + 1 + 2 * 34 + 9;
const _: () = assert!(MAP_BYTES_MAX + SIGNATURE_BYTES <= RETRACTION_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    const TESSERA: TesseraId = TesseraId::from_bytes([3; 32]);

    fn key() -> AuthorKey {
        AuthorKey::from_seed([1; 32])
    }

    fn retraction() -> Retraction {
        Retraction { tessera: TESSERA, author: key().id(), retracted_at_ms: TIME_MS_MAX }
    }

    #[test]
    fn retraction_written_and_read_is_the_same() {
        let signed = retraction().sign(&key()).unwrap();
        let parsed = SignedRetraction::parse(signed.bytes().clone(), TESSERA, key().id()).unwrap();
        assert_eq!((parsed.retraction(), &parsed), (&retraction(), &signed));
        assert_eq!(signed.bytes().len(), MAP_BYTES_MAX + SIGNATURE_BYTES);
    }

    #[test]
    fn retraction_of_another_tessera_or_by_another_is_refused() {
        let signed = retraction().sign(&key()).unwrap();
        let parse = |tessera, author| SignedRetraction::parse(signed.bytes().clone(), tessera, author);
        let error = parse(TesseraId::from_bytes([4; 32]), key().id()).unwrap_err().to_string();
        assert!(error.contains("it is of tess1"), "{error}");
        let error = parse(TESSERA, AuthorKey::from_seed([9; 32]).id()).unwrap_err().to_string();
        assert!(error.contains("and the tessera by author1"), "{error}");
    }

    #[test]
    fn retraction_that_somebody_else_signed_is_refused() {
        let other = AuthorKey::from_seed([9; 32]);
        let error = retraction().sign(&other).unwrap_err().to_string();
        assert!(error.contains("its author is author1"), "{error}");
        let forged = FORM.sign(retraction().encode(), |message| other.sign(message)).unwrap();
        let refused = SignedRetraction::parse(forged, TESSERA, key().id());
        assert_eq!(refused, Err(ProtoError::BadSignature { what: WHAT }));
    }

    #[test]
    fn time_beyond_its_limit_is_refused() {
        let late = Retraction { retracted_at_ms: TIME_MS_MAX + 1, ..retraction() };
        assert!(late.sign(&key()).is_err());
        let file = FORM.sign(late.encode(), |message| key().sign(message)).unwrap();
        assert!(SignedRetraction::parse(file, TESSERA, key().id()).is_err());
    }
}

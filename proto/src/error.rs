//! The one error of this crate; variants by what the caller can do about them.

use crate::ids::Checksum;

/// Why bytes or text from outside were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtoError {
    /// Text that should name something (an id, a key) does not.
    #[error("{text:?} is not a valid {kind}: {reason}")]
    BadId {
        /// What was expected, as a person would say it: `tessera id`.
        kind: &'static str,
        /// The text as given, shortened.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes do not hash to the checksum they were announced with.
    #[error("the bytes hash to {found}, not to {expected}: they were damaged or exchanged")]
    Mismatch {
        /// The checksum they should have.
        expected: Checksum,
        /// The checksum they have.
        found: Checksum,
    },
    /// A length is outside its limit.
    #[error("{what} is {length} bytes long; at most {limit} are allowed")]
    TooLong {
        /// What was measured.
        what: &'static str,
        /// Its length in bytes.
        length: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// Bytes do not follow the format.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// Which rule it breaks.
        reason: String,
    },
    /// Fewer fragments of a stripe than its code needs.
    #[error("{held} fragments of the stripe are here; any {needed} of them are needed: fetch more")]
    TooFew {
        /// How many different ones were given.
        held: u16,
        /// How many are needed.
        needed: u16,
    },
    /// A signature does not fit its key and message.
    #[error("the signature of the {what} is not valid: it was changed, or signed by another key")]
    BadSignature {
        /// What was signed.
        what: &'static str,
    },
    /// Written by a later version of this software.
    #[error("this {what} has version {version}; this software knows versions up to {known}: update it")]
    NewerVersion {
        /// What was being read.
        what: &'static str,
        /// The version found.
        version: u64,
        /// The latest version known here.
        known: u64,
    },
}

impl ProtoError {
    /// A [`ProtoError::Malformed`] with the given reason.
    pub fn malformed(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Malformed { what, reason: reason.into() }
    }
}

//! A fragment: bytes together with the checksum they were proven to have.

use std::fmt;

use bytes::Bytes;

use crate::{
    buffer::Buffer,
    error::ProtoError,
    ids::{Checksum, TesseraId},
    limits::FRAGMENT_BYTES_MAX,
};

/// Where a fragment stands in a tessera.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct FragmentId {
    /// The tessera it is a piece of.
    pub tessera: TesseraId,
    /// The stripe, from 0.
    pub stripe: u32,
    /// The place in the stripe, from 0: data first, then parity.
    pub index: u16,
}

impl fmt::Display for FragmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tessera, self.stripe, self.index)
    }
}

impl fmt::Debug for FragmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Bytes and their BLAKE3. Exists only if that hash was computed or checked here, so whoever holds one need not
/// check again.
#[derive(Clone, PartialEq, Eq)]
pub struct Fragment {
    checksum: Checksum,
    bytes: Bytes,
}

impl Fragment {
    /// Hashes the bytes. Errors with [`ProtoError::TooLong`] above [`FRAGMENT_BYTES_MAX`].
    pub fn hash(bytes: Bytes) -> Result<Self, ProtoError> {
        fits(&bytes)?;
        Ok(Self { checksum: Checksum::of(&bytes), bytes })
    }

    /// Hashes the bytes and compares. Errors with [`ProtoError::Mismatch`] when they are not what was announced.
    pub fn check(expected: Checksum, bytes: Bytes) -> Result<Self, ProtoError> {
        let fragment = Self::hash(bytes)?;
        if fragment.checksum == expected {
            Ok(fragment)
        } else {
            Err(ProtoError::Mismatch { expected, found: fragment.checksum })
        }
    }

    /// The BLAKE3 of [`Fragment::bytes`].
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes, without the proof.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The same fragment in a buffer of exactly its own length, for whoever keeps it: a slice pins the buffer it
    /// was cut from.
    pub fn detached(&self) -> Self {
        Self { checksum: self.checksum, bytes: Buffer::copy_of(&self.bytes).freeze() }
    }
}

impl fmt::Debug for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fragment({}, {} bytes)", self.checksum, self.bytes.len())
    }
}

fn fits(bytes: &Bytes) -> Result<(), ProtoError> {
    if bytes.len() <= FRAGMENT_BYTES_MAX {
        return Ok(());
    }
    Err(ProtoError::TooLong {
        what: "fragment",
        length: bytes.len() as u64,
        limit: FRAGMENT_BYTES_MAX as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragment_with_a_wrong_checksum_does_not_exist() {
        let wrong = Checksum::of(b"other");
        assert!(matches!(
            Fragment::check(wrong, Bytes::from_static(b"bytes")),
            Err(ProtoError::Mismatch { expected, .. }) if expected == wrong
        ));
    }

    #[test]
    fn fragment_above_the_limit_is_refused() {
        let just = Bytes::from(vec![0; FRAGMENT_BYTES_MAX]);
        let over = Bytes::from(vec![0; FRAGMENT_BYTES_MAX + 1]);
        assert!(Fragment::hash(just).is_ok());
        assert!(matches!(Fragment::hash(over), Err(ProtoError::TooLong { .. })));
    }
}

//! A fragment: bytes together with the checksum they were proven to have.

use std::fmt;

use bytes::Bytes;

use crate::{
    buffer::Buffer,
    error::ProtoError,
    ids::{Checksum, TesseraId},
    limits::FRAGMENT_BYTES_MAX,
    proof::Outboard,
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
#[derive(Clone)]
pub struct Fragment {
    checksum: Checksum,
    bytes: Bytes,
    outboard: Option<Outboard>,
}

impl Fragment {
    /// Hashes the bytes. Errors with [`ProtoError::TooLong`] above [`FRAGMENT_BYTES_MAX`].
    pub fn hash(bytes: Bytes) -> Result<Self, ProtoError> {
        fits(&bytes)?;
        Ok(Self { checksum: Checksum::of(&bytes), bytes, outboard: None })
    }

    /// The same for whoever keeps it: its outboard comes of the same pass over the bytes.
    pub fn hash_to_keep(bytes: Bytes) -> Result<Self, ProtoError> {
        fits(&bytes)?;
        let outboard = Outboard::of(&bytes);
        let root = u32::try_from(bytes.len()).ok().and_then(|length| outboard.root(length).ok());
        let checksum = root.unwrap_or_else(|| Checksum::of(&bytes));
        Ok(Self { checksum, bytes, outboard: Some(outboard) })
    }

    /// Hashes the bytes and compares. Errors with [`ProtoError::Mismatch`] when they are not what was announced.
    pub fn check(expected: Checksum, bytes: Bytes) -> Result<Self, ProtoError> {
        Self::hash(bytes)?.expected(expected)
    }

    /// The same for whoever keeps it, as [`Fragment::hash_to_keep`].
    pub fn check_to_keep(expected: Checksum, bytes: Bytes) -> Result<Self, ProtoError> {
        Self::hash_to_keep(bytes)?.expected(expected)
    }

    fn expected(self, expected: Checksum) -> Result<Self, ProtoError> {
        if self.checksum == expected {
            return Ok(self);
        }
        Err(ProtoError::Mismatch { expected, found: self.checksum })
    }

    /// The BLAKE3 of [`Fragment::bytes`].
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its outboard, if it was made to be kept.
    pub fn outboard(&self) -> Option<&Outboard> {
        self.outboard.as_ref()
    }

    /// The bytes, without the proof.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The same fragment in a buffer of exactly its own length, for whoever keeps it: a slice pins the buffer it
    /// was cut from.
    pub fn detached(&self) -> Self {
        let bytes = Buffer::copy_of(&self.bytes).freeze();
        Self { checksum: self.checksum, bytes, outboard: None }
    }
}

/// Of the same bytes.
impl PartialEq for Fragment {
    fn eq(&self, other: &Self) -> bool {
        self.checksum == other.checksum && self.bytes == other.bytes
    }
}

impl Eq for Fragment {}

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
    use crate::limits::PROOF_GROUP_BYTES;

    #[test]
    fn fragment_with_a_wrong_checksum_does_not_exist() {
        let wrong = Checksum::of(b"other");
        assert!(matches!(
            Fragment::check(wrong, Bytes::from_static(b"bytes")),
            Err(ProtoError::Mismatch { expected, .. }) if expected == wrong
        ));
        assert!(Fragment::check_to_keep(wrong, Bytes::from_static(b"bytes")).is_err());
    }

    #[test]
    fn fragment_to_keep_is_the_same_with_its_outboard() {
        for length in [0, 1, PROOF_GROUP_BYTES, PROOF_GROUP_BYTES + 1, 5 * PROOF_GROUP_BYTES, 1 << 20] {
            let bytes = Bytes::from((0..251).cycle().take(length).collect::<Vec<u8>>());
            let kept = Fragment::hash_to_keep(bytes.clone()).unwrap();
            assert_eq!(kept, Fragment::hash(bytes.clone()).unwrap());
            assert_eq!(kept.outboard(), Some(&Outboard::of(&bytes)));
            assert_eq!((kept.detached(), kept.detached().outboard()), (kept, None));
        }
    }

    #[test]
    fn fragment_above_the_limit_is_refused() {
        let just = Bytes::from(vec![0; FRAGMENT_BYTES_MAX]);
        let over = Bytes::from(vec![0; FRAGMENT_BYTES_MAX + 1]);
        assert!(Fragment::hash(just).is_ok());
        assert!(matches!(Fragment::hash(over), Err(ProtoError::TooLong { .. })));
    }
}

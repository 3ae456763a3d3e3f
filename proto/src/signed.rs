//! The form all signed documents share: a map of numbered fields in strict CBOR, and behind it the 64 raw bytes of
//! an Ed25519 signature (RFC 8032) over `context ‖ map`. The context names the kind of document and ends with a zero
//! byte, so that no signature of one kind can be used for another. The hash of a document covers the whole file.
//! Documents are kept as they came and never encoded again.

use bytes::Bytes;
use ed25519_dalek::{Signature, VerifyingKey};

use crate::{cbor, error::ProtoError, limits::SIGNATURE_BYTES};

/// What distinguishes one kind of document from the others.
pub(crate) struct Form {
    /// Its name in error messages.
    pub(crate) what: &'static str,
    /// The bytes signed in front of the map.
    pub(crate) context: &'static [u8],
    /// The longest file, signature included, in bytes.
    pub(crate) bytes_max: usize,
}

impl Form {
    /// The file: the map and its signature. Errors with [`ProtoError::TooLong`].
    pub(crate) fn sign(
        &self,
        map: Vec<u8>,
        sign: impl FnOnce(&[u8]) -> [u8; SIGNATURE_BYTES],
    ) -> Result<Bytes, ProtoError> {
        self.fits(map.len() + SIGNATURE_BYTES)?;
        let signature = sign(&self.message(&map));
        let mut file = map;
        file.extend_from_slice(&signature);
        Ok(file.into())
    }

    /// The map of a file, in strict form. Says nothing about the signature: that is [`Form::verify`], as soon as the
    /// key is known. Errors with [`ProtoError::TooLong`] and [`ProtoError::Malformed`].
    pub(crate) fn map<'a>(&self, file: &'a [u8]) -> Result<&'a [u8], ProtoError> {
        let (map, _) = self.split(file)?;
        cbor::check(self.what, map)?;
        Ok(map)
    }

    /// Checks the signature with `verify_strict`, which has one answer for every implementation. Errors with
    /// [`ProtoError::BadSignature`], also when the key is not one.
    pub(crate) fn verify(&self, file: &[u8], key: &[u8; 32]) -> Result<(), ProtoError> {
        let (map, signature) = self.split(file)?;
        VerifyingKey::from_bytes(key)
            .and_then(|key| key.verify_strict(&self.message(map), &Signature::from_bytes(signature)))
            .map_err(|_| ProtoError::BadSignature { what: self.what })
    }

    fn split<'a>(&self, file: &'a [u8]) -> Result<(&'a [u8], &'a [u8; SIGNATURE_BYTES]), ProtoError> {
        self.fits(file.len())?;
        file.split_last_chunk().ok_or_else(|| ProtoError::malformed(self.what, "shorter than a signature"))
    }

    fn fits(&self, length: usize) -> Result<(), ProtoError> {
        if length <= self.bytes_max {
            return Ok(());
        }
        Err(ProtoError::TooLong { what: self.what, length: length as u64, limit: self.bytes_max as u64 })
    }

    fn message(&self, map: &[u8]) -> Vec<u8> {
        [self.context, map].concat()
    }
}

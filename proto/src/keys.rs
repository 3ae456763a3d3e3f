//! The two signing keys of a node, both Ed25519 (RFC 8032): the machine's and its person's. They differ in type, so
//! that one cannot sign for the other. Neither shows its secret half in `Debug`; seeds are arguments, because this
//! crate has no source of randomness.

use std::fmt;

pub use ed25519_dalek::pkcs8::spki::der::zeroize::Zeroizing;
use ed25519_dalek::{
    Signer, SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes, spki::der::pem::LineEnding},
};

use crate::{
    error::ProtoError,
    ids::{AuthorId, NodeId},
    limits::SIGNATURE_BYTES,
};

/// The key of a person: signs manifests and layouts. It outlives machines.
#[derive(Clone)]
pub struct AuthorKey(SigningKey);

impl AuthorKey {
    /// The key that follows from 32 secret random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// Reads PKCS#8 in DER (RFC 8410), with or without the public half. Errors with [`ProtoError::Malformed`].
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, ProtoError> {
        SigningKey::from_pkcs8_der(der).map(Self).map_err(|error| {
            ProtoError::malformed("author key", format!("{error}; an Ed25519 key in PKCS#8 is expected"))
        })
    }

    /// PKCS#8 version 1 in DER (RFC 8410 §7), 48 bytes. Overwritten with zeros when dropped.
    #[expect(clippy::expect_used, reason = "32 bytes always fit PKCS#8; a key must not become an empty file")]
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        private_half(&self.0).to_pkcs8_der().expect("a key of 32 bytes has a PKCS#8 form").to_bytes()
    }

    /// The public half.
    pub fn id(&self) -> AuthorId {
        AuthorId::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// Signs a message as it is. Documents are signed through their own `sign`, which separates their kinds.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for AuthorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorKey({})", self.id())
    }
}

/// The key of a machine: signs attestation claims and is its identity on the wire.
#[derive(Clone)]
pub struct NodeKey(SigningKey);

impl NodeKey {
    /// The key that follows from 32 secret random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// Reads PKCS#8 in PEM (`-----BEGIN PRIVATE KEY-----`). Errors with [`ProtoError::Malformed`].
    pub fn from_pem(pem: &str) -> Result<Self, ProtoError> {
        SigningKey::from_pkcs8_pem(pem).map(Self).map_err(|error| {
            ProtoError::malformed("node key", format!("{error}; an Ed25519 key in PKCS#8 PEM is expected"))
        })
    }

    /// PKCS#8 version 1 in PEM, as `openssl genpkey -algorithm ed25519` writes it. Overwritten with zeros when dropped.
    #[expect(clippy::expect_used, reason = "32 bytes always fit PKCS#8; a key must not become an empty file")]
    pub fn to_pem(&self) -> Zeroizing<String> {
        private_half(&self.0).to_pkcs8_pem(LineEnding::LF).expect("a key of 32 bytes has a PKCS#8 form")
    }

    /// The public half.
    pub fn id(&self) -> NodeId {
        NodeId::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// Signs a message as it is. Claims are signed through their own `sign`, which separates them from the rest.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.id())
    }
}

/// Without the public half: OpenSSL does not read the form that carries both.
fn private_half(key: &SigningKey) -> KeypairBytes {
    KeypairBytes { secret_key: key.to_bytes(), public_key: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032 §7.1, test 1.
    const RFC_SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const RFC_PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn hex(text: &str) -> [u8; 32] {
        *text.parse::<crate::Checksum>().unwrap().as_bytes()
    }

    #[test]
    fn public_half_is_that_of_the_rfc() {
        assert_eq!(AuthorKey::from_seed(hex(RFC_SEED)).id().as_bytes(), &hex(RFC_PUBLIC));
        assert_eq!(NodeKey::from_seed(hex(RFC_SEED)).id().as_bytes(), &hex(RFC_PUBLIC));
    }

    #[test]
    fn key_written_and_read_is_the_same() {
        let author = AuthorKey::from_seed([1; 32]);
        let der = author.to_pkcs8_der();
        assert_eq!(der.len(), 48);
        assert_eq!(AuthorKey::from_pkcs8_der(&der).unwrap().id(), author.id());

        let node = NodeKey::from_seed([2; 32]);
        let pem = node.to_pem();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{}", pem.len());
        assert_eq!(NodeKey::from_pem(&pem).unwrap().id(), node.id());
    }

    #[test]
    fn key_with_its_public_half_is_read() {
        let both = SigningKey::from_bytes(&[1; 32]).to_pkcs8_der().unwrap();
        assert_eq!(
            AuthorKey::from_pkcs8_der(both.as_bytes()).unwrap().id(),
            AuthorKey::from_seed([1; 32]).id()
        );
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(matches!(AuthorKey::from_pkcs8_der(b"nothing"), Err(ProtoError::Malformed { .. })));
        let refused = NodeKey::from_pem("-----BEGIN PUBLIC KEY-----\n").unwrap_err().to_string();
        assert!(refused.contains("PKCS#8 PEM is expected"), "{refused}");
    }

    #[test]
    fn debug_shows_the_public_half_only() {
        let shown = format!("{:?} {:?}", AuthorKey::from_seed([3; 32]), NodeKey::from_seed([3; 32]));
        assert!(shown.starts_with("AuthorKey(author1") && shown.contains(" NodeKey(node1"), "{shown}");
        assert!(!shown.contains("0303") && !shown.contains("3, 3"), "{shown}");
    }
}

//! What lets a node that was started anew tell others at once that their old connections to it are dead, instead of
//! leaving them to wait (RFC 9000 §10.3).

use proto::NodeKey;
use quinn::{
    ConnectionId, ConnectionIdGenerator,
    crypto::{CryptoError, HmacKey},
};

/// The key of stateless resets. It follows from the node's key, so that a node that was started anew can still tell
/// others that their old connections are dead.
pub(super) struct ResetKey([u8; 32]);

impl ResetKey {
    pub(super) fn of(key: &NodeKey) -> Self {
        // An Ed25519 signature is the same every time, and nobody else can make it.
        let secret = key.sign(RESET_CONTEXT);
        Self(blake3::derive_key("tesseras/1 stateless reset", &secret))
    }

    fn hash(&self, data: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.0, data)
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature: &mut [u8]) {
        let hash = self.hash(data);
        for (to, from) in signature.iter_mut().zip(hash.as_bytes()) {
            *to = *from;
        }
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // In constant time: a comparison of two hashes is.
        let given = blake3::Hash::from_slice(signature).map_err(|_| CryptoError)?;
        if self.hash(data) == given { Ok(()) } else { Err(CryptoError) }
    }
}

/// Ids of connections, at random. Any id may have been given out before a restart, so none is passed over in silence, as
/// quinn does with those that it does not recognise by itself.
pub(super) struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID_BYTES];
        // Without randomness from the system the keys of the handshake fail as well. An id that is not random tells only
        // which packets belong together.
        if getrandom::fill(&mut id).is_err() {
            fastrand::fill(&mut id);
        }
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

const ID_BYTES: usize = 8;
const RESET_CONTEXT: &[u8] = b"tesseras/1 reset\0";

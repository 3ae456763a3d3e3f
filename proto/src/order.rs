//! The order to drop: an author tells a holder that it need not keep some of their fragments any more. It removes
//! that author's deposit only: what others want stays. It is bound to one holder and one connection, so that an order
//! that was overheard or kept drops nothing that was stored again later.
//!
//! | field | holds |
//! |---|---|
//! | 0 | version, 1 |
//! | 1 | author who orders it and signs, 32 bytes |
//! | 2 | node that is told, 32 bytes |
//! | 3 | binding to the connection: its TLS exporter, or 32 zero bytes for a local one |
//! | 4 | tessera, 32 bytes |
//! | 5 | array of fragments by stripe and index, each a map: 0 stripe, 1 index |

use bytes::Bytes;
use minicbor::Decoder;

use crate::{
    cbor::{self, Fields, Writer},
    error::ProtoError,
    ids::{AuthorId, NodeId, TesseraId},
    keys::AuthorKey,
    limits::{DROP_FRAGMENTS_MAX, DROP_ORDER_BYTES_MAX, SIGNATURE_BYTES},
    signed::Form,
};

/// Which fragments an author no longer wants a holder to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropOrder {
    /// Who wants it.
    pub author: AuthorId,
    /// Who is told.
    pub holder: NodeId,
    /// The connection it is given on; zeros for a local one.
    pub binding: [u8; 32],
    /// The tessera.
    pub tessera: TesseraId,
    /// Stripe and index of each fragment, strictly ascending; at least one and at most [`DROP_FRAGMENTS_MAX`].
    pub fragments: Vec<(u32, u16)>,
}

impl DropOrder {
    /// Makes the document. Errors with [`ProtoError::Malformed`] for another author's key, and for fragments that are
    /// none, too many, or out of order.
    pub fn sign(&self, key: &AuthorKey) -> Result<SignedDropOrder, ProtoError> {
        if key.id() != self.author {
            let reason = format!("its author is {}, the key is that of {}", self.author, key.id());
            return Err(ProtoError::malformed(WHAT, reason));
        }
        self.check()?;
        Ok(SignedDropOrder { bytes: FORM.sign(self.encode(), |message| key.sign(message))? })
    }

    fn check(&self) -> Result<(), ProtoError> {
        let count = self.fragments.len();
        if count == 0 || count > DROP_FRAGMENTS_MAX {
            let reason = format!("{count} fragments; 1 to {DROP_FRAGMENTS_MAX} are expected");
            return Err(ProtoError::malformed(WHAT, reason));
        }
        if !self.fragments.is_sorted_by(|before, after| before < after) {
            return Err(ProtoError::malformed(WHAT, "fragments repeated or out of order"));
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::document(VERSION);
        out.bytes(1, self.author.as_bytes());
        out.bytes(2, self.holder.as_bytes());
        out.bytes(3, &self.binding);
        out.bytes(4, self.tessera.as_bytes());
        out.maps(5, self.fragments.iter().map(write_place));
        out.finish()
    }

    fn decode(map: &[u8]) -> Result<Self, ProtoError> {
        let mut decoder = Decoder::new(map);
        let mut fields = Fields::enter(WHAT, &mut decoder)?;
        fields.version(VERSION)?;
        let order = Self {
            author: fields.required(1, cbor::bytes32)?,
            holder: fields.required(2, cbor::bytes32)?,
            binding: fields.required(3, cbor::bytes32)?,
            tessera: fields.required(4, cbor::bytes32)?,
            fragments: fields.maps(5, DROP_FRAGMENTS_MAX, read_place)?,
        };
        order.check()?;
        Ok(order)
    }
}

fn write_place((stripe, index): &(u32, u16)) -> Writer {
    let mut out = Writer::new();
    out.unsigned(0, *stripe);
    out.unsigned(1, *index);
    out
}

fn read_place(fields: &mut Fields<'_, '_>) -> Result<(u32, u16), ProtoError> {
    Ok((fields.required(0, Decoder::u32)?, fields.required(1, Decoder::u16)?))
}

/// An order to drop as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDropOrder {
    bytes: Bytes,
}

impl SignedDropOrder {
    /// Reads an order and checks that its author signed it, for this holder and this connection. What it may drop is
    /// what is charged to [`DropOrder::author`]. Errors with [`ProtoError::TooLong`], [`ProtoError::Malformed`] (also
    /// for another holder or connection), [`ProtoError::NewerVersion`] and [`ProtoError::BadSignature`].
    pub fn verify(bytes: &[u8], holder: NodeId, binding: &[u8; 32]) -> Result<DropOrder, ProtoError> {
        let order = DropOrder::decode(FORM.map(bytes)?)?;
        if order.holder != holder {
            return Err(ProtoError::malformed(WHAT, format!("it is for {}, not for {holder}", order.holder)));
        }
        if order.binding != *binding {
            return Err(ProtoError::malformed(WHAT, "it is for another connection"));
        }
        FORM.verify(bytes, order.author.as_bytes())?;
        Ok(order)
    }

    /// The bytes to send.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

const WHAT: &str = "drop order";
const VERSION: u64 = 1;
const FORM: Form = Form { what: WHAT, context: b"tesseras/1 drop\0", bytes_max: DROP_ORDER_BYTES_MAX };

/// The longest map of a fragment: head, two keys, and values of 5 and 3 bytes.
const FRAGMENT_MAP_BYTES_MAX: usize = 1 + 2 + 5 + 3;
/// The longest rest: head, six keys, a version, four values of 34 bytes, and an array head.
const REST_BYTES_MAX: usize = 1 + 6 + 1 + 4 * 34 + 3;
const _: () = assert!(
    DROP_FRAGMENTS_MAX * FRAGMENT_MAP_BYTES_MAX + REST_BYTES_MAX + SIGNATURE_BYTES <= DROP_ORDER_BYTES_MAX
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::NodeKey;

    const BINDING: [u8; 32] = [5; 32];

    fn key() -> AuthorKey {
        AuthorKey::from_seed([1; 32])
    }

    fn order(fragments: Vec<(u32, u16)>) -> DropOrder {
        DropOrder {
            author: key().id(),
            holder: NodeKey::from_seed([2; 32]).id(),
            binding: BINDING,
            tessera: TesseraId::from_bytes([4; 32]),
            fragments,
        }
    }

    fn verify(bytes: &[u8]) -> Result<DropOrder, ProtoError> {
        SignedDropOrder::verify(bytes, order(vec![]).holder, &BINDING)
    }

    fn refused(order: DropOrder, reason: &str) {
        let error = order.sign(&key()).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        let file = FORM.sign(order.encode(), |message| key().sign(message)).unwrap();
        assert!(verify(&file).is_err(), "{reason}");
    }

    #[test]
    fn order_written_and_read_is_the_same() {
        let order = order(vec![(0, 0), (0, 7), (3, 2), (u32::MAX, u16::MAX)]);
        let signed = order.sign(&key()).unwrap();
        assert_eq!(verify(signed.bytes()), Ok(order));
    }

    #[test]
    fn longest_order_fits_its_limit() {
        let places = (1..=1024).map(|at| (u32::MAX - at, u16::MAX)).rev().collect();
        let signed = order(places).sign(&key()).unwrap();
        let longest = DROP_FRAGMENTS_MAX * FRAGMENT_MAP_BYTES_MAX + REST_BYTES_MAX + SIGNATURE_BYTES;
        assert_eq!(signed.bytes().len(), longest);
    }

    #[test]
    fn order_without_sense_is_refused() {
        refused(order(vec![]), "0 fragments; 1 to 1024");
        refused(order((0..1025).map(|at| (at, 0)).collect()), "1025 fragments");
        refused(order(vec![(1, 1), (1, 1)]), "repeated or out of order");
        refused(order(vec![(1, 1), (0, 2)]), "repeated or out of order");
    }

    #[test]
    fn order_for_another_holder_or_connection_is_refused() {
        let signed = order(vec![(0, 0)]).sign(&key()).unwrap();
        let other = NodeKey::from_seed([9; 32]).id();
        let error = SignedDropOrder::verify(signed.bytes(), other, &BINDING).unwrap_err().to_string();
        assert!(error.contains("not for node1"), "{error}");
        let holder = order(vec![]).holder;
        let error = SignedDropOrder::verify(signed.bytes(), holder, &[6; 32]).unwrap_err().to_string();
        assert!(error.contains("another connection"), "{error}");
    }

    #[test]
    fn order_that_somebody_else_signed_is_refused() {
        let other = AuthorKey::from_seed([9; 32]);
        let error = order(vec![(0, 0)]).sign(&other).unwrap_err().to_string();
        assert!(error.contains("its author is author1"), "{error}");
        let forged = FORM.sign(order(vec![(0, 0)]).encode(), |message| other.sign(message)).unwrap();
        assert_eq!(verify(&forged), Err(ProtoError::BadSignature { what: WHAT }));
    }
}

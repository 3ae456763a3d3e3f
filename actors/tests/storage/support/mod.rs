//! What the tests of storage stand on.

pub(crate) mod audit;
pub(crate) mod chance;
pub(crate) mod disk;
pub(crate) mod index;
pub(crate) mod log;
pub(crate) mod node;
pub(crate) mod platter;

use bytes::Bytes;
use proto::{AccountId, Fragment, FragmentId, TesseraId};

pub(crate) const LOCAL: AccountId = AccountId::LOCAL;

pub(crate) fn account(number: u8) -> AccountId {
    AccountId::from_bytes([number; 32])
}

pub(crate) fn tessera(number: u8) -> TesseraId {
    TesseraId::from_bytes([number; 32])
}

pub(crate) fn id(number: u8, stripe: u32) -> FragmentId {
    FragmentId { tessera: tessera(number), stripe, index: 0 }
}

/// Bytes that differ from those of every other number, and from place to place.
pub(crate) fn fragment(number: u64, length: usize) -> Fragment {
    let mut chance = chance::Chance::new(number + 1);
    let bytes: Vec<u8> =
        (0..length.div_ceil(8)).flat_map(|_| chance.next().to_le_bytes()).take(length).collect();
    Fragment::hash(Bytes::from(bytes)).unwrap()
}

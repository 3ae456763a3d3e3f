//! What two Tesseras nodes must agree on, and nothing else: ids, limits, documents, layout, erasure code,
//! attestation, and the codec of the records that make up a segment.
//!
//! # Invariants
//! 1. Pure: no runtime, no I/O, no clock. Time and randomness are arguments.
//! 2. Whatever comes from outside is parsed once, into a type that cannot be wrong.
//! 3. `FORMAT.md` beside this crate is enough to write another implementation; the vectors are kept for ever.

pub mod attestation;
pub mod cbor;
pub mod chunks;
pub mod erasure;
pub mod error;
pub mod fragment;
pub mod ids;
pub mod keys;
pub mod layout;
pub mod limits;
pub mod manifest;
pub mod prefix;
pub mod record;
mod signed;
mod stripe;

pub use error::ProtoError;
pub use fragment::{Fragment, FragmentId};
pub use ids::{AccountId, AuthorId, Checksum, NodeId, TesseraId};
pub use keys::{AuthorKey, NodeKey};

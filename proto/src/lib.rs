//! What two Tesseras nodes must agree on, and nothing else: ids, limits, documents, layout, erasure code, placement,
//! guarantee, repair, attestation, proof, comparison, the frames they send each other, and the codec of the records that make up a segment.
//!
//! # Invariants
//! 1. Pure: no runtime, no I/O, no clock. Time and randomness are arguments.
//! 2. Whatever comes from outside is parsed once, into a type that cannot be wrong.
//! 3. `FORMAT.md` beside this crate is enough to write another implementation; the vectors are kept for ever.
//!
//! # How the parts fit
//!
//! ```
//! use proto::{AuthorKey, Checksum, Fragment, ProtoError};
//! use proto::{chunks::Chunker, erasure::Coder, layout::{Code, Layout}, manifest::{Manifest, Visibility}};
//!
//! // Content is cut into fragments,
//! let mut chunker = Chunker::new();
//! let mut chunks: Vec<Fragment> = Vec::new();
//! let mut keep = |chunk| { chunks.push(chunk); Ok::<(), ProtoError>(()) };
//! chunker.push(&[7; 10_000], &mut keep)?;
//! let cut = chunker.finish(&mut keep)?;
//!
//! // a manifest says what it is,
//! let key = AuthorKey::from_seed([1; 32]);
//! let manifest = Manifest {
//!     author: key.id(),
//!     created_at_ms: 0,
//!     visibility: Visibility::Private,
//!     content_len: cut.content_len,
//!     content_hash: cut.content_hash,
//!     description: Default::default(),
//!     supersedes: None,
//!     part_of: None,
//!     rights: None,
//! }
//! .sign(&key)?;
//!
//! // and a layout says where its fragments are: here one stripe of three, and two for safety.
//! let parity = Coder::new().encode(&chunks, 2)?;
//! let checksums: Vec<Checksum> = chunks.iter().chain(&parity).map(Fragment::checksum).collect();
//! let code = Code::new(3, 2)?;
//! let (layout, pages) = Layout::build(manifest.id(), code, cut.fragment_len, cut.content_len, &checksums)?;
//! assert_eq!((layout.stripes(), layout.stripe_width(0), pages.len()), (1, (3, 2), 1));
//! # Ok::<(), ProtoError>(())
//! ```

pub mod attestation;
pub mod buffer;
pub mod cbor;
pub mod chunks;
pub mod compare;
pub mod credential;
pub mod erasure;
pub mod error;
pub mod fragment;
pub mod guarantee;
pub mod ids;
pub mod invite;
pub mod keys;
pub mod layout;
pub mod limits;
pub mod manifest;
pub mod order;
pub mod placement;
pub mod prefix;
pub mod proof;
pub mod receipt;
pub mod record;
pub mod repair;
pub mod retraction;
mod signed;
mod spare;
mod stripe;
pub mod wire;

pub use error::ProtoError;
pub use fragment::{Fragment, FragmentId};
pub use ids::{AccountId, AuthorId, Checksum, NodeId, TesseraId};
pub use keys::{AuthorKey, NodeKey};

//! The archive: files become tesserae, and tesserae files again. A task module, not an actor: it owns nothing and is
//! called by whoever has a store and an author.
//!
//! ```text
//! command line          daemon                                                             storage
//! walk → upload.tar ──► entries → bag → tarball → seal (age) → chunks ──► create ─────────► fragments, documents
//! unpack ◄─────────────────────────────────────── seal (age) ◄─────────── content, source ◄ fragments, documents
//! check (no daemon)
//! ```
//!
//! | content as stored, public | the tar of a BagIt bag, deterministic |
//! |---|---|
//! | private (the default) | that tar, encrypted with age to its author and those it is for |
//!
//! # Invariants
//! 1. One pass and bounded memory ([`CREATE_BYTES_MAX`]), however long a file is; only names and lists grow with the
//!    number of files, up to [`NAMES_BYTES_MAX`] and [`LISTING_BYTES_MAX`].
//! 2. All or nothing: an upload that is cut off, breaks a rule or changes while it is read becomes no tessera.
//! 3. What is read back is checked against the author's signature, not only against what the store says.
//! 4. Pure files know neither tokio nor a clock: they read, write and hash. The shells ([`create()`], [`content()`],
//!    [`read_file`], [`verify()`]) run them on blocking threads.
//! 5. Absent on purpose: placement, publishing, peers.

mod bag;
mod bridge;
mod check;
mod content;
mod create;
mod entries;
pub(crate) mod error;
mod listing;
mod metadata;
mod mtime;
mod names;
mod pieces;
mod pour;
mod rebuilt;
mod seal;
pub(crate) mod source;
mod tarball;
#[cfg(test)]
mod tests;
mod unpack;
mod verify;
mod walk;

pub use check::{ContentState, FolderReport, Problem, check_folder};
pub use content::{Content, FRAGMENTS_AHEAD, FileContent, Form, content, read_file};
pub use create::{CREATE_BYTES_MAX, ContentSink, Created, NewTessera, create};
pub use error::{ArchiveError, Refusal};
pub use listing::LISTING_BYTES_MAX;
pub use metadata::{METADATA_BYTES_MAX, METADATA_NAME, Metadata, date};
pub use names::{NAMES_BYTES_MAX, PART_BYTES_MAX, PATH_BYTES_MAX};
pub use pour::UPLOAD;
pub use source::{Named, TesseraStore, named};
pub use unpack::{MANIFEST_NAME, raw_name, unpack, unpack_raw};
pub use verify::{FAULTS_NAMED_MAX, Fault, FaultState, VerifyReport, verify};
pub use walk::{Progress, Special, Walk, walk};

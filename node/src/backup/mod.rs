//! A backup: what a data directory knows and nothing else does, in one small tar. The memories themselves are in the
//! segments, which only ever grow, so that any tool copies them.
//!
//! # Format
//! POSIX ustar with nothing but plain files: first `backup.json` ([`Manifest`]), then the files it lists, in its order and
//! of its lengths, then two blocks of zeros. `tar -xf` unpacks it.
//!
//! # Invariants
//! 1. The names are a closed set, and nothing is written under another one.
//! 2. Nothing is written before every byte of a backup was read and hashed; what is written is hashed once more.
//! 3. A key that differs is never replaced.

mod pack;
mod restore;
#[cfg(test)]
mod tests;
mod unpack;

use actors::{
    keys::{AUTHOR_KEY_NAME, NODE_KEY_NAME},
    storage::{SALT_FILE, SNAPSHOTS_FOLDER, is_snapshot},
};
use config::FILE_NAME;
use proto::{AuthorId, Checksum, NodeId};
use serde::{Deserialize, Serialize};

use crate::data_dir::MARKER;

pub(crate) use pack::Pack;
pub(crate) use restore::{Restored, restore};
pub(crate) use unpack::Backup;

/// `backup.json`: what is in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// The version of this form; a reader of another one must not guess.
    pub(crate) format: u32,
    /// The version of the software that made it.
    pub(crate) version: String,
    /// The machine whose key is in it.
    pub(crate) node: NodeId,
    /// The person whose key is in it.
    pub(crate) author: AuthorId,
    /// When it was made, in milliseconds since 1970.
    pub(crate) created_ms: u64,
    /// What follows, in this order.
    pub(crate) files: Vec<Listed>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listed {
    /// Its path in the data directory.
    pub(crate) name: String,
    /// Its length.
    pub(crate) bytes: u64,
    /// Its checksum.
    pub(crate) blake3: Checksum,
}

impl Manifest {
    /// When the snapshot in it was taken, in milliseconds since 1970: what it knows is as it was then.
    pub(crate) fn snapshot_ms(&self) -> Option<i64> {
        let snapshot = self.files.iter().find(|listed| listed.is_snapshot())?;
        let (_, name) = snapshot.name.split_once('/')?;
        name.split_once('-')?.0.parse().ok()
    }
}

impl Listed {
    /// Whether it is a snapshot, the one kind of file that may be large.
    pub(crate) fn is_snapshot(&self) -> bool {
        kind(&self.name) == Some(Member::Snapshot)
    }
}

/// What a file of a backup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    /// Without it a backup is none.
    Needed,
    /// It may be missing.
    Optional,
    /// What only the index knew.
    Snapshot,
}

fn kind(name: &str) -> Option<Member> {
    match name {
        MARKER | NODE_KEY_NAME | AUTHOR_KEY_NAME => Some(Member::Needed),
        FILE_NAME | SALT_FILE => Some(Member::Optional),
        _ => {
            let (folder, file) = name.split_once('/')?;
            (folder == SNAPSHOTS_FOLDER && is_snapshot(file)).then_some(Member::Snapshot)
        }
    }
}

/// How much of a file the tar takes.
fn padded(bytes: u64) -> Option<u64> {
    bytes.checked_next_multiple_of(BLOCK_BYTES as u64)?.checked_add(BLOCK_BYTES as u64)
}

/// What a backup without any of these is none.
const NEEDED: [&str; 3] = [MARKER, AUTHOR_KEY_NAME, NODE_KEY_NAME];
const MANIFEST_NAME: &str = "backup.json";
const FORMAT: u32 = 1;
/// Longer than a manifest of all names there are.
const MANIFEST_BYTES_MAX: u64 = 64 << 10;
/// The longest file that is no snapshot; such a file is held in memory.
const SMALL_FILE_BYTES_MAX: u64 = 1 << 20;
/// Of a tar.
const BLOCK_BYTES: usize = 512;
/// Zeros that end a tar.
const END_BYTES: u64 = 2 * BLOCK_BYTES as u64;

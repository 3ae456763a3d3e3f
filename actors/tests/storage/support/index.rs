//! SQLite's files from outside: what a power cut or a crash leaves of them.

use std::path::{Path, PathBuf};

use actors::storage::INDEX_FILE;

use super::chance::Chance;

/// The index's files at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    database: Option<Vec<u8>>,
    wal: Option<Vec<u8>>,
    frames: Frames,
}

/// Frames of the WAL that hold pages of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Frames {
    /// Those that a checkpoint may have moved already: they were synced before.
    moved: usize,
    /// All of them.
    all: usize,
}

/// How much of the WAL a power cut leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wal {
    /// All of it: what `synchronous=FULL` promises.
    All,
    /// As little as `synchronous=NORMAL` promises: what was synced for the last checkpoint.
    Least,
    /// Something in between.
    Some,
}

impl Snapshot {
    /// The files as they are, while they may be in use.
    pub(crate) fn take(folder: &Path) -> Self {
        loop {
            let (once, again) = (Self::read(folder), Self::read(folder));
            if once == again {
                return once;
            }
        }
    }

    fn read(folder: &Path) -> Self {
        let read = |suffix: &str| std::fs::read(path(folder, suffix)).ok();
        let wal = read("-wal");
        let frames = match (&wal, read("-shm")) {
            (Some(wal), Some(shared)) if wal.len() > WAL_HEADER_BYTES => Frames::of(&shared),
            _ => Frames::default(),
        };
        Self { database: read(""), wal, frames }
    }

    /// Puts the files back as they were, WAL cut short.
    pub(crate) fn restore(&self, folder: &Path, wal: Wal, chance: &mut Chance) {
        remove(folder);
        let Some(database) = &self.database else { return };
        std::fs::write(path(folder, ""), database).unwrap();
        let Some(bytes) = &self.wal else { return };
        let Frames { moved, all } = self.frames;
        let kept = match wal {
            Wal::All => all,
            Wal::Least => moved,
            Wal::Some => moved + usize::try_from(chance.below((all - moved) as u64 + 1)).unwrap(),
        };
        let length = WAL_HEADER_BYTES + kept * (FRAME_HEADER_BYTES + PAGE_BYTES);
        std::fs::write(path(folder, "-wal"), &bytes[..length.min(bytes.len())]).unwrap();
    }
}

impl Frames {
    /// From the WAL's index in shared memory: <https://sqlite.org/walformat.html#the_wal_index_file_format>.
    fn of(shared: &[u8]) -> Self {
        let number = |at: usize| {
            let bytes = shared.get(at..at + 4).map(|bytes| bytes.try_into().unwrap());
            usize::try_from(u32::from_ne_bytes(bytes.unwrap_or_default())).unwrap()
        };
        let all = number(16);
        Self { moved: number(128).max(number(96)).min(all), all }
    }
}

/// Removes the index: all of its files.
pub(crate) fn remove(folder: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(path(folder, suffix));
    }
}

/// One of the index's files.
pub(crate) fn path(folder: &Path, suffix: &str) -> PathBuf {
    folder.join(format!("{INDEX_FILE}{suffix}"))
}

const WAL_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const PAGE_BYTES: usize = 4096;

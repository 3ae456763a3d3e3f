//! The reserve: a file that only takes up space, so that some is left when somebody else has filled the disk.
//!
//! What makes room must itself be written: drops, commits, the rows of the index. It does not help that puts are refused
//! below what is kept free when others take that, too. So the reserve gives way to these, and never to a put.
//!
//! # Invariants
//! 1. It gives way by what is lacking, not all at once: whoever fills the disk takes what it gives, too.
//! 2. What it has given is not there for puts ([`Reserve::room`]): they do not eat it up.
//! 3. It is made whole again as soon as the disk has room, and nothing is written for that.
//!
//! # Not guaranteed
//! Where the file system cannot set space aside there is no reserve, and who goes on filling the disk fills it in the end.
//! What was acknowledged of puts before is brought into the index with its help, too.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use config::StorageConfig;

use super::disk::{Disk, Space};

/// The file, and how much of it there is. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Reserve {
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    /// `None` where there cannot be one.
    file: Option<Arc<File>>,
    /// Its length when it is whole, in bytes.
    whole: u64,
    held: Arc<AtomicU64>,
    /// Held by whoever changes the file.
    changing: Arc<Mutex<()>>,
    /// It does not grow before this.
    not_before: Arc<Mutex<Option<Instant>>>,
}

impl Reserve {
    /// Opens that of a data directory, or makes one if there is room for it. Opening a store writes, so it gives way to
    /// that. Blocks.
    pub(crate) fn open(config: &StorageConfig, disk: &Arc<dyn Disk>) -> Self {
        let path = config.data_dir.join(RESERVE_FILE);
        let opened = match disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(&path),
            opened => opened,
        };
        let space = disk.space(&config.data_dir);
        let none = Self {
            disk: disk.clone(),
            data_dir: config.data_dir.clone(),
            file: None,
            whole: 0,
            held: Arc::default(),
            changing: Arc::default(),
            not_before: Arc::default(),
        };
        let reserve = opened.and_then(|file| {
            let whole = whole(config, space?);
            let held = Arc::new(AtomicU64::new(held(&file)?.min(whole)));
            Ok(Self { file: Some(Arc::new(file)), whole, held, ..none.clone() })
        });
        let changed = reserve.and_then(|reserve| match reserve.change(1) {
            // What it has it keeps: it is tried again.
            Err(error) if reserve.held.load(Ordering::Relaxed) > 0 => {
                tracing::warn!(%error, file = %path.display(), "what is set aside for a full disk could not be changed");
                Ok(reserve)
            }
            changed => changed.map(|()| reserve),
        });
        changed.unwrap_or_else(|error| {
            tracing::warn!(%error, file = %path.display(), "nothing is set aside for a disk that somebody else fills");
            none
        })
    }

    /// Gives way to so many bytes that must not be refused, or, when there are none, becomes whole again.
    pub(crate) async fn settle(&self, wanted: u64) {
        if self.due(wanted).is_none() {
            return;
        }
        let reserve = self.clone();
        let changed = tokio::task::spawn_blocking(move || reserve.change(wanted)).await;
        if let Err(error) = changed.map_err(io::Error::other).flatten() {
            tracing::warn!(%error, "what is set aside for a full disk could not be changed");
        }
    }

    /// Its next length, if that is another one.
    fn due(&self, wanted: u64) -> Option<u64> {
        let held = self.held.load(Ordering::Relaxed);
        if held == self.whole && (wanted == 0 || held == 0) {
            return None;
        }
        let length = length(held, self.whole, self.space()?.free, wanted);
        let is_too_soon = length > held && self.not_before().is_some_and(|at| Instant::now() < at);
        (length != held && !is_too_soon).then_some(length)
    }

    fn not_before(&self) -> Option<Instant> {
        *self.not_before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, wanted: u64) -> io::Result<()> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((file, length)) = self.file.as_ref().zip(self.due(wanted)) else { return Ok(()) };
        if length < self.held.load(Ordering::Relaxed) {
            self.disk.truncate(file, length)?;
            self.held.store(length, Ordering::Relaxed);
            // What it gave is there for others only when the file system has noted that.
            self.disk.sync(file)?;
        } else {
            self.disk.allocate(file, length).inspect_err(|_| {
                // Not with every batch.
                let not_before = Some(Instant::now() + RETRY);
                *self.not_before.lock().unwrap_or_else(PoisonError::into_inner) = not_before;
            })?;
            self.held.store(length, Ordering::Relaxed);
        }
        tracing::info!(bytes = length, of = self.whole, "what is set aside for a full disk has changed");
        Ok(())
    }

    /// Bytes it has given; none when it is whole.
    pub(crate) fn given(&self) -> u64 {
        self.whole - self.held.load(Ordering::Relaxed)
    }

    /// Its length when it is whole, in bytes.
    pub(crate) fn whole(&self) -> u64 {
        self.whole
    }

    /// The disk as it is, when that is known.
    pub(crate) fn space(&self) -> Option<Space> {
        self.disk.space(&self.data_dir).ok()
    }

    /// The disk as it is for whatever needs room: what the reserve has given is not for that.
    pub(crate) fn room(&self) -> Option<Space> {
        self.space().map(|space| Space { free: space.free.saturating_sub(self.given()), ..space })
    }
}

/// A small part of the disk, and no more than a segment.
fn whole(config: &StorageConfig, space: Space) -> u64 {
    let bytes = WHOLE_BYTES_MAX.min(space.total / DISK_SHARE).min(config.segment_bytes);
    bytes - bytes % BLOCK_BYTES
}

/// Its next length. What is freed for something is that and some more: the index is written, too.
fn length(held: u64, whole: u64, free: u64, wanted: u64) -> u64 {
    let lacking = (wanted + whole / STEP_SHARE).saturating_sub(free).next_multiple_of(BLOCK_BYTES);
    if wanted > 0 && lacking > 0 {
        held.saturating_sub(lacking)
    } else if held < whole && free >= (whole - held) + whole {
        whole
    } else {
        held
    }
}

/// What the file takes of the disk: after a power cut it may have a length and nothing behind it.
fn held(file: &File) -> io::Result<u64> {
    let found = file.metadata()?;
    let bytes = found.len().min(found.blocks() * SECTOR_BYTES);
    Ok(bytes - bytes % BLOCK_BYTES)
}

/// In the data directory.
pub const RESERVE_FILE: &str = "reserve";
const RETRY: Duration = Duration::from_secs(60);
const WHOLE_BYTES_MAX: u64 = 16 << 20;
const DISK_SHARE: u64 = 32;
/// It gives way in steps of at least this part of it.
const STEP_SHARE: u64 = 8;
const BLOCK_BYTES: u64 = 4096;
/// What [`MetadataExt::blocks`] counts in.
const SECTOR_BYTES: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn reserve_gives_way_by_what_is_lacking_and_comes_back_when_there_is_room() {
        let check = |held: u64, free: u64, wanted: u64, expected: u64| {
            assert_eq!(length(held, 16 * MIB, free, wanted), expected, "{held} {free} {wanted}");
        };
        check(16 * MIB, 100 * MIB, 1, 16 * MIB);
        check(16 * MIB, 0, 0, 16 * MIB);
        check(16 * MIB, 0, 1, 14 * MIB - BLOCK_BYTES);
        check(16 * MIB, MIB, MIB, 14 * MIB);
        check(16 * MIB, 2 * MIB + 1, 1, 16 * MIB);
        check(MIB, 0, 1, 0);
        check(0, 0, 1, 0);
        check(14 * MIB, 17 * MIB, 0, 14 * MIB);
        check(14 * MIB, 18 * MIB, 0, 16 * MIB);
        check(14 * MIB, 18 * MIB, 1, 16 * MIB);
        check(0, 31 * MIB, 0, 0);
        check(0, 32 * MIB, 0, 16 * MIB);
    }

    #[test]
    fn reserve_is_a_small_part_of_disk_and_segments() {
        let check = |total, segment_bytes, expected| {
            let config = StorageConfig { segment_bytes, ..StorageConfig::with_defaults("unused") };
            assert_eq!(whole(&config, Space { free: 0, total }), expected);
        };
        check(1 << 40, 256 * MIB, 16 * MIB);
        check(320 * MIB, 256 * MIB, 10 * MIB);
        check(1 << 40, 8 * MIB, 8 * MIB);
        check(1 << 40, 4000, 0);
    }
}

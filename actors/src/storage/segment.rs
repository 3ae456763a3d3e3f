//! Segment files: their names, and the open ones that reads share.

use std::{
    fs::File,
    io,
    num::NonZeroUsize,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use lru::LruCache;
use proto::record::Salt;

use super::disk::Disk;

/// The folder of the segments in the data directory.
pub const SEGMENTS_FOLDER: &str = "segments";

/// The path of a segment.
pub(crate) fn path(folder: &Path, id: u32) -> PathBuf {
    folder.join(format!("{id:08}.seg"))
}

/// The ids of all segments in the folder, ascending. Files with other names are none of ours and are left alone.
pub(crate) fn ids(folder: &Path) -> io::Result<Vec<u32>> {
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".seg"));
        ids.extend(id.and_then(|id| id.parse::<u32>().ok()));
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Open segment files for reading, the most recently used ones, opened when first asked for. A file that was
/// unlinked stays readable for whoever still holds it.
#[derive(Debug, Clone)]
pub(crate) struct SegmentFiles {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    salt: Salt,
    open: Arc<Mutex<LruCache<u32, Arc<File>>>>,
}

impl SegmentFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>, folder: PathBuf, salt: Salt) -> Self {
        Self { disk, folder, salt, open: Arc::new(Mutex::new(LruCache::new(OPEN_SEGMENTS_MAX))) }
    }

    /// The file, if it is open already. Does not block.
    pub(crate) fn opened(&self, id: u32) -> Option<Arc<File>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// The file, opened if needed. May block. Errors with [`io::ErrorKind::NotFound`] when it is gone.
    pub(crate) fn open(&self, id: u32) -> io::Result<Arc<File>> {
        if let Some(file) = self.opened(id) {
            return Ok(file);
        }
        let file = Arc::new(self.disk.open(&path(&self.folder, id))?);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).put(id, file.clone());
        // Unlinked meanwhile, perhaps after others let go of it: kept open it would take its space all the same.
        if file.metadata().is_ok_and(|file| file.nlink() == 0) {
            self.forget(id);
        }
        Ok(file)
    }

    /// The file, for [`Disk::read_past_cache`]. May block. Errors with [`io::ErrorKind::NotFound`] when it is gone.
    pub(crate) fn open_past_cache(&self, id: u32) -> io::Result<File> {
        self.disk.open_past_cache(&path(&self.folder, id))
    }

    /// Lets go of a file that was unlinked.
    pub(crate) fn forget(&self, id: u32) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).pop(&id);
    }

    /// That of all records in them.
    pub(crate) fn salt(&self) -> Salt {
        self.salt
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        self.disk.as_ref()
    }
}

/// Segment files open for reading at a time; bounds the descriptors however large the store is.
pub const OPEN_SEGMENTS_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not zero");

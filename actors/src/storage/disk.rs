//! The few file operations the log needs, behind a trait, so that a test can make any of them fail.

use std::{
    fs::{File, OpenOptions},
    io::{self, IoSlice, IoSliceMut},
    num::NonZeroU64,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use rustix::{
    fs::{Advice, FallocateFlags, OFlags},
    io::{Errno, ReadWriteFlags},
};

/// File operations of the segment log: the operating system's, unless somebody knows better. All may block.
pub trait Disk: std::fmt::Debug + Send + Sync + 'static {
    /// Makes a new file for reading and writing; one that exists is an error.
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)
    }

    /// Opens a file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(path)
    }

    /// Writes all parts, one after the other, at a position in bytes. On an error some may have been written.
    fn write(&self, file: &File, mut parts: &mut [IoSlice<'_>], mut position: u64) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let (now, _) = parts.split_at(parts.len().min(PARTS_PER_CALL_MAX));
            match rustix::io::pwritev(file, now, position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    position += written as u64;
                    IoSlice::advance_slices(&mut parts, written);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Makes the file's content durable.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// What is durable there will hardly be read soon: it need not stay in the page cache.
    fn let_go(&self, file: &File, position: u64, length: u64) {
        // A hint. Where it is not taken, nothing is wrong.
        let _ = rustix::fs::fadvise(file, position, NonZeroU64::new(length), Advice::DontNeed);
    }

    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    /// Cuts the file to this length in bytes.
    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    /// Sets the file's length in bytes, all of which then takes space of the disk, whatever they are.
    fn allocate(&self, file: &File, length: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length)?)
    }

    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    /// Gives a file another name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    /// Fills the buffer from a position in bytes; errors with [`io::ErrorKind::UnexpectedEof`] behind the end.
    fn read(&self, file: &File, buffer: &mut [u8], position: u64) -> io::Result<()> {
        file.read_exact_at(buffer, position)
    }

    /// As [`Disk::read`], but only if no wait for the device is needed: `false` when it would be.
    fn read_cached(&self, file: &File, buffer: &mut [u8], position: u64) -> io::Result<bool> {
        let wanted = buffer.len();
        let mut parts = [IoSliceMut::new(buffer)];
        match rustix::io::preadv2(file, &mut parts, position, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(read == wanted),
            // Not in the page cache, or a file system that cannot tell: the caller reads it the slow way.
            Err(_) => Ok(false),
        }
    }

    /// Opens a file for [`Disk::read_past_cache`].
    fn open_past_cache(&self, path: &Path) -> io::Result<File> {
        self.open(path)
    }

    /// Fills the buffer from a position as far as the file goes, from the device itself and without a trace in the page
    /// cache, where the file system can do that. Returns how many bytes there were. The buffer's place in memory, its
    /// length and the position are multiples of [`DEVICE_BLOCK_BYTES`].
    fn read_past_cache(&self, file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let left = file.metadata()?.len().saturating_sub(position);
        let there = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let (buffer, _) = buffer.split_at_mut(there);
        self.read(file, buffer, position)?;
        Ok(there)
    }

    /// Space of the file system that holds a folder.
    fn space(&self, folder: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(folder)?;
        Ok(Space::of_blocks(stat.f_bavail, stat.f_blocks, stat.f_frsize))
    }
}

/// Removes a file's name, if it is there.
pub(crate) fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Whether an error of a read says that the device does not give these bytes, not that reading did not work at all
/// (too many open files, say). The errors are those of a bad sector and of a file system that checks its blocks.
pub(crate) fn is_unreadable(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
        || Errno::from_io_error(error).is_some_and(|errno| UNREADABLE.contains(&errno))
}

/// Space of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Free for this process.
    pub free: u64,
    /// In all.
    pub total: u64,
}

impl Space {
    /// From numbers of blocks and the length of each. XFS, when it is so full that not even its own reserve is left,
    /// says that fewer than none are free, which is a very large number.
    fn of_blocks(free: u64, total: u64, block_bytes: u64) -> Self {
        let free = if free > total { 0 } else { free };
        Self { free: free.saturating_mul(block_bytes), total: total.saturating_mul(block_bytes) }
    }
}

/// The operating system's file operations, past the page cache too.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open_past_cache(&self, path: &Path) -> io::Result<File> {
        let direct = OFlags::DIRECT.bits().cast_signed();
        match OpenOptions::new().read(true).custom_flags(direct).open(path) {
            // This file system has no other way than the page cache.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                let file = File::open(path)?;
                rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
                Ok(file)
            }
            opened => opened,
        }
    }

    fn read_past_cache(&self, file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut read = 0;
        while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, position + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            // Only the end of a file comes in less than whole blocks.
            if read % DEVICE_BLOCK_BYTES != 0 {
                break;
            }
        }
        if !rustix::fs::fcntl_getfl(file)?.contains(OFlags::DIRECT) {
            rustix::fs::fadvise(file, position, NonZeroU64::new(read as u64), Advice::DontNeed)?;
        }
        Ok(read)
    }
}

/// What reads past the page cache are cut into; enough for every device.
pub const DEVICE_BLOCK_BYTES: usize = 4096;
/// Linux takes at most 1024 parts in one call.
const PARTS_PER_CALL_MAX: usize = 1024;
const UNREADABLE: [Errno; 5] = [Errno::IO, Errno::NODATA, Errno::ILSEQ, Errno::BADMSG, Errno::UCLEAN];
const FILE_MODE: u32 = 0o600;

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that this process had read from devices.
    fn read_from_devices() -> u64 {
        let counts = std::fs::read_to_string("/proc/self/io").unwrap();
        let line = counts.lines().find_map(|line| line.strip_prefix("read_bytes: ")).unwrap();
        line.parse().unwrap()
    }

    #[test]
    fn file_system_with_less_than_nothing_free_is_full() {
        let check = |free, total, expected| assert_eq!(Space::of_blocks(free, total, 4096).free, expected);
        check(3, 10, 3 * 4096);
        check(10, 10, 10 * 4096);
        check(0_u64.wrapping_sub(24), 10, 0);
        check(0, u64::MAX, 0);
    }

    /// Not where temporary files are: that may be memory.
    fn folder() -> tempfile::TempDir {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
        std::fs::create_dir_all(&target).unwrap();
        tempfile::tempdir_in(target).unwrap()
    }

    #[test]
    fn what_is_let_go_is_not_in_the_cache_any_more_and_what_is_beside_it_is() {
        let folder = folder();
        let file = RealDisk.create(&folder.path().join("file")).unwrap();
        let block = DEVICE_BLOCK_BYTES as u64;
        let mut end = 0;
        // Records end where they end, not with a block.
        for length in [100, 64 * DEVICE_BLOCK_BYTES, 100] {
            RealDisk.write(&file, &mut [IoSlice::new(&vec![7; length])], end).unwrap();
            end += length as u64;
        }
        RealDisk.sync(&file).unwrap();
        let is_cached = |at: u64| RealDisk.read_cached(&file, &mut [0; 50], at).unwrap();
        assert!((0..65).all(|at| is_cached(at * block)));
        RealDisk.let_go(&file, 100, 64 * block);
        assert!(is_cached(0) && is_cached(end - 50), "others are there, too");
        assert!(!is_cached(32 * block));
        let mut back = vec![0; usize::try_from(end).unwrap()];
        RealDisk.read(&file, &mut back, 0).unwrap();
        assert!(back.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn read_past_the_cache_asks_the_device_and_ends_with_the_file() {
        let folder = folder();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..200_001_u32).map(|at| at.to_le_bytes()[at as usize % 2]).collect();
        std::fs::write(&path, &bytes).unwrap();
        File::open(&path).unwrap().sync_all().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "it is in the cache");
        let before = read_from_devices();
        let file = RealDisk.open_past_cache(&path).unwrap();
        let mut memory = vec![0; 66 * DEVICE_BLOCK_BYTES];
        let start = memory.as_ptr().align_offset(DEVICE_BLOCK_BYTES);
        let buffer = &mut memory[start..start + 64 * DEVICE_BLOCK_BYTES];
        let block = DEVICE_BLOCK_BYTES as u64;
        assert_eq!(RealDisk.read_past_cache(&file, buffer, block).unwrap(), bytes.len() - DEVICE_BLOCK_BYTES);
        assert_eq!(buffer[..bytes.len() - DEVICE_BLOCK_BYTES], bytes[DEVICE_BLOCK_BYTES..]);
        let behind = (bytes.len() as u64).next_multiple_of(block);
        assert_eq!(RealDisk.read_past_cache(&file, buffer, behind).unwrap(), 0);
        assert!(read_from_devices() >= before + bytes.len() as u64 - block, "the device was not asked");
    }
}

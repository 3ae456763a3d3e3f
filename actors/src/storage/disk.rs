//! The few file operations the log needs, behind a trait, so that a test can make any of them fail.

use std::{
    fs::{File, OpenOptions},
    io::{self, IoSlice, IoSliceMut},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use rustix::io::{Errno, ReadWriteFlags};

/// File operations of the segment log. All may block.
pub trait Disk: std::fmt::Debug + Send + Sync + 'static {
    /// Makes a new file for reading and writing; one that exists is an error.
    fn create(&self, path: &Path) -> io::Result<File>;

    /// Opens a file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<File>;

    /// Writes all parts, one after the other, at a position in bytes. On an error some may have been written.
    fn write(&self, file: &File, parts: &mut [IoSlice<'_>], position: u64) -> io::Result<()>;

    /// Makes the file's content durable.
    fn sync(&self, file: &File) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Cuts the file to this length in bytes.
    fn truncate(&self, file: &File, length: u64) -> io::Result<()>;

    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Fills the buffer from a position in bytes; errors with [`io::ErrorKind::UnexpectedEof`] behind the end.
    fn read(&self, file: &File, buffer: &mut [u8], position: u64) -> io::Result<()>;

    /// As [`Disk::read`], but only if no wait for the device is needed: `false` when it would be.
    fn read_cached(&self, file: &File, buffer: &mut [u8], position: u64) -> io::Result<bool>;

    /// Space of the file system that holds a folder.
    fn space(&self, folder: &Path) -> io::Result<Space>;
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

/// The operating system's file operations.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(path)
    }

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

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn read(&self, file: &File, buffer: &mut [u8], position: u64) -> io::Result<()> {
        file.read_exact_at(buffer, position)
    }

    fn read_cached(&self, file: &File, buffer: &mut [u8], position: u64) -> io::Result<bool> {
        let wanted = buffer.len();
        let mut parts = [IoSliceMut::new(buffer)];
        match rustix::io::preadv2(file, &mut parts, position, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(read == wanted),
            // Not in the page cache, or a file system that cannot tell: the caller reads it the slow way.
            Err(_) => Ok(false),
        }
    }

    fn space(&self, folder: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(folder)?;
        Ok(Space { free: stat.f_bavail * stat.f_frsize, total: stat.f_blocks * stat.f_frsize })
    }
}

/// Linux takes at most 1024 parts in one call.
const PARTS_PER_CALL_MAX: usize = 1024;
const UNREADABLE: [Errno; 5] = [Errno::IO, Errno::NODATA, Errno::ILSEQ, Errno::BADMSG, Errno::UCLEAN];
const FILE_MODE: u32 = 0o600;

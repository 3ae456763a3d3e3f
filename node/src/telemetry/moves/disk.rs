//! A disk that does as the test says.

use std::{
    fs::File,
    io,
    path::Path,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use actors::storage::disk::{Disk, RealDisk, Space};

/// The operating system's disk, until told otherwise.
#[derive(Debug, Default)]
pub(super) struct Tamed {
    /// Bytes taken by others.
    pub(super) taken: AtomicU64,
    /// Whether every sync fails.
    pub(super) is_failing: AtomicBool,
    is_stuck: Mutex<bool>,
    goes_on: Condvar,
}

impl Tamed {
    /// From now on reads come to no end.
    pub(super) fn stick(&self) {
        *self.is_stuck.lock().unwrap() = true;
    }

    /// All reads go on.
    pub(super) fn go_on(&self) {
        *self.is_stuck.lock().unwrap() = false;
        self.goes_on.notify_all();
    }
}

impl Disk for Tamed {
    fn sync(&self, file: &File) -> io::Result<()> {
        if self.is_failing.load(Ordering::Relaxed) {
            return Err(io::Error::other("the test says so"));
        }
        RealDisk.sync(file)
    }

    fn read(&self, file: &File, buffer: &mut [u8], position: u64) -> io::Result<()> {
        let stuck = self.is_stuck.lock().unwrap();
        drop(self.goes_on.wait_while(stuck, |stuck| *stuck).unwrap());
        RealDisk.read(file, buffer, position)
    }

    fn read_cached(&self, _: &File, _: &mut [u8], _: u64) -> io::Result<bool> {
        Ok(false)
    }

    fn space(&self, folder: &Path) -> io::Result<Space> {
        let Space { free, total } = RealDisk.space(folder)?;
        Ok(Space { free: free.saturating_sub(self.taken.load(Ordering::Relaxed)), total })
    }
}

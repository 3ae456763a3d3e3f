//! What a round costs: time of the processor, bytes written, syncs of the log.

use std::{
    fs::File,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use actors::storage::disk::{Disk, RealDisk};
use rustix::time::{ClockId, clock_gettime};

use crate::Result;

/// What has been used since the process began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reading {
    /// Of all threads, user and system.
    pub(crate) cpu_seconds: f64,
    /// Given to the disk or waiting in the page cache for it.
    pub(crate) written_bytes: u64,
    /// That reading from files was asked for.
    pub(crate) read_bytes: u64,
    /// Of the log.
    pub(crate) syncs: u64,
}

impl Reading {
    /// Reads all meters.
    pub(crate) fn now(syncs: &AtomicU64) -> Result<Self> {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let io = std::fs::read_to_string("/proc/self/io")?;
        let meter = |name: &str| -> Result<u64> {
            let line = io.lines().find_map(|line| line.strip_prefix(name));
            Ok(line.ok_or_else(|| format!("/proc/self/io has no {name}"))?.parse()?)
        };
        Ok(Self {
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            written_bytes: meter("write_bytes: ")?,
            read_bytes: meter("rchar: ")?,
            syncs: syncs.load(Ordering::Relaxed),
        })
    }

    /// What was used since another reading.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
            written_bytes: self.written_bytes - before.written_bytes,
            read_bytes: self.read_bytes - before.read_bytes,
            syncs: self.syncs - before.syncs,
        }
    }
}

/// The operating system's disk, which counts the syncs of the log.
#[derive(Debug, Clone, Default)]
pub(crate) struct CountingDisk {
    syncs: Arc<AtomicU64>,
}

impl CountingDisk {
    /// The count, which goes on while the disk is used.
    pub(crate) fn syncs(&self) -> Arc<AtomicU64> {
        self.syncs.clone()
    }
}

impl Disk for CountingDisk {
    fn sync(&self, file: &File) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        RealDisk.sync(file)
    }

    fn open_past_cache(&self, path: &Path) -> io::Result<File> {
        RealDisk.open_past_cache(path)
    }

    fn read_past_cache(&self, file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        RealDisk.read_past_cache(file, buffer, position)
    }
}

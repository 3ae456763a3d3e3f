//! Reading the next part of a segment past the page cache while the last one is hashed. A device and a processor that
//! take turns are each idle for half of the time, and here no kernel reads ahead.

use std::{
    fs::File,
    io,
    ops::Range,
    sync::mpsc::{Receiver, Sender, channel},
    thread::{Builder, Scope},
};

use bytes::Bytes;

use super::{
    device_memory::DeviceMemory,
    disk::{DEVICE_BLOCK_BYTES, Disk, is_unreadable},
};

/// A thread that reads ahead. It ends with what it was asked for, with the first error, or when this is dropped.
#[derive(Debug)]
pub(super) struct Ahead {
    /// Memory that may be filled again.
    emptied: Sender<Option<DeviceMemory>>,
    filled: Receiver<Result<Filled, Unread>>,
    last: Option<Filled>,
    failed_until: u64,
}

/// The device did not give something before this position.
#[derive(Debug)]
struct Unread {
    until: u64,
}

/// Bytes of the file, and what they are a part of.
#[derive(Debug)]
struct Filled {
    position: u64,
    bytes: Bytes,
    memory: DeviceMemory,
}

impl Ahead {
    /// Begins to read a range of a file that was opened with [`Disk::open_past_cache`]. `None` when that is not worth a
    /// thread, or there is none.
    pub(super) fn start<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        disk: &'env dyn Disk,
        file: &'env File,
        range: Range<u64>,
    ) -> Option<Self> {
        if range.end.saturating_sub(range.start) < WORTH_A_THREAD_BYTES {
            return None;
        }
        let (emptied, empty) = channel();
        let (done, filled) = channel();
        // One is read into while the other is hashed.
        (0..2).try_for_each(|_| emptied.send(None)).ok()?;
        let work = move || read(disk, file, range, &empty, &done);
        // As important as who asks for it: a thread begins with the niceness of the one that starts it.
        Builder::new().name("verify-ahead".to_owned()).spawn_scoped(scope, work).ok()?;
        Some(Self { emptied, filled, last: None, failed_until: 0 })
    }

    /// These bytes; `None` when they are not, or not yet, among those read ahead. What is before them is let go of.
    pub(super) fn take(&mut self, position: u64, wanted: usize) -> Option<Bytes> {
        let part = self.part(position, wanted)?;
        if part.len() == wanted {
            return Some(part);
        }
        let mut joined = Vec::with_capacity(wanted);
        joined.extend_from_slice(&part);
        drop(part);
        while joined.len() < wanted {
            let part = self.part(position + joined.len() as u64, wanted - joined.len())?;
            joined.extend_from_slice(&part);
        }
        Some(joined.into())
    }

    /// Up to where a part goes that the device did not give as a whole.
    pub(super) fn failed_until(&self) -> u64 {
        self.failed_until
    }

    /// As many of these bytes as are next to each other in memory: at least one.
    fn part(&mut self, position: u64, wanted: usize) -> Option<Bytes> {
        loop {
            if let Some(last) = &self.last {
                let start = usize::try_from(position.checked_sub(last.position)?).ok()?;
                if start < last.bytes.len() {
                    return Some(last.bytes.slice(start..last.bytes.len().min(start.saturating_add(wanted))));
                }
            }
            if let Some(Filled { memory, bytes, .. }) = self.last.take() {
                drop(bytes);
                // A thread that has ended needs none.
                let _ = self.emptied.send(Some(memory));
            }
            match self.filled.recv().ok()? {
                Ok(filled) => self.last = Some(filled),
                Err(Unread { until }) => self.failed_until = until,
            }
        }
    }
}

/// Fills one memory after the other, whole blocks of the file. Blocks.
fn read(
    disk: &dyn Disk,
    file: &File,
    range: Range<u64>,
    empty: &Receiver<Option<DeviceMemory>>,
    done: &Sender<Result<Filled, Unread>>,
) {
    let mut position = range.start - range.start % DEVICE_BLOCK_BYTES as u64;
    while position < range.end
        && let Ok(memory) = empty.recv()
    {
        let left = usize::try_from(range.end - position).unwrap_or(usize::MAX);
        let wanted = left.min(PART_BYTES);
        let filled = match fill(disk, file, position, wanted, memory) {
            Ok(filled) if !filled.bytes.is_empty() => filled,
            Err(error) if is_unreadable(&error) => {
                // Nobody may listen any more.
                let _ = done.send(Err(Unread { until: position + wanted as u64 }));
                return;
            }
            // Whoever wants these bytes asks for them by itself, and hears of the error then.
            _ => return,
        };
        position += filled.bytes.len() as u64;
        // The end of the file.
        let is_last = !position.is_multiple_of(DEVICE_BLOCK_BYTES as u64);
        if done.send(Ok(filled)).is_err() || is_last {
            return;
        }
    }
}

fn fill(
    disk: &dyn Disk,
    file: &File,
    position: u64,
    wanted: usize,
    memory: Option<DeviceMemory>,
) -> io::Result<Filled> {
    let mut memory = DeviceMemory::again(memory, wanted)?;
    let read = disk.read_past_cache(file, memory.blocks(wanted)?, position)?;
    Ok(Filled { position, bytes: memory.bytes(read), memory })
}

/// Read at a time: what is one page where there are large ones.
const PART_BYTES: usize = 2 << 20;
/// Starting a thread takes as long as reading some 100 KiB.
const WORTH_A_THREAD_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use std::{path::Path, thread::scope};

    use super::*;
    use crate::storage::disk::RealDisk;

    /// A file of these bytes, opened past the page cache.
    fn file_of(folder: &Path, bytes: &[u8]) -> File {
        let path = folder.join("segment");
        std::fs::write(&path, bytes).unwrap();
        RealDisk.open_past_cache(&path).unwrap()
    }

    fn bytes(length: u32) -> Vec<u8> {
        (0..length).map(|at| at.to_le_bytes()[at as usize % 3]).collect()
    }

    #[test]
    fn bytes_come_in_order_whole_wherever_the_parts_end() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = bytes((12 << 20) + 77);
        let file = file_of(folder.path(), &bytes);
        let (start, end) = (5000, bytes.len() - 100);
        for step in [64, 70_000, PART_BYTES, 3 * PART_BYTES + 5] {
            scope(|scope| {
                let mut ahead = Ahead::start(scope, &RealDisk, &file, start as u64..end as u64).unwrap();
                for at in (start..end - step).step_by(step) {
                    assert!(ahead.take(at as u64, step).unwrap() == bytes[at..at + step], "{at} {step}");
                }
                assert!(ahead.take(end as u64 - 9, 9).unwrap() == bytes[end - 9..end]);
                assert!(ahead.take(bytes.len() as u64, 1).is_none(), "there is no more");
            });
        }
    }

    #[test]
    fn what_was_let_go_of_and_what_is_skipped_are_not_given_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = bytes(12 << 20);
        let file = file_of(folder.path(), &bytes);
        scope(|scope| {
            let mut ahead = Ahead::start(scope, &RealDisk, &file, 0..bytes.len() as u64).unwrap();
            let far = 2 * PART_BYTES + 9;
            assert!(ahead.take(far as u64, 7).unwrap() == bytes[far..far + 7]);
            assert!(ahead.take(5, 7).is_none());
            assert!(ahead.take(far as u64 + 7, 7).unwrap() == bytes[far + 7..far + 14]);
        });
    }

    #[test]
    fn whoever_holds_bytes_keeps_them() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = bytes(12 << 20);
        let file = file_of(folder.path(), &bytes);
        scope(|scope| {
            let mut ahead = Ahead::start(scope, &RealDisk, &file, 0..bytes.len() as u64).unwrap();
            let held: Vec<_> = (0..6).map(|at| ahead.take(at << 21, PART_BYTES).unwrap()).collect();
            assert!(held.concat() == bytes);
        });
    }

    #[test]
    fn little_is_not_worth_a_thread() {
        let folder = tempfile::tempdir().unwrap();
        let file = file_of(folder.path(), &[1; 100]);
        scope(|scope| assert!(Ahead::start(scope, &RealDisk, &file, 0..100).is_none()));
    }
}

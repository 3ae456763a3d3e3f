//! A disk whose syncs can be held, and that can be full.

use std::{
    fs::File,
    io::{self, IoSlice},
    sync::{Arc, Condvar, Mutex},
};

use actors::storage::disk::{Disk, RealDisk};

/// Copies share one state.
#[derive(Debug, Clone, Default)]
pub(crate) struct SlowDisk(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Whether syncs are held, and how many wait.
    held: Mutex<(bool, usize)>,
    changed: Condvar,
    /// Bytes that may still be written, if that is bounded.
    room: Mutex<Option<usize>>,
}

impl SlowDisk {
    /// From now on syncs wait, or no more.
    pub(crate) fn hold(&self, hold: bool) {
        self.0.held.lock().unwrap().0 = hold;
        self.0.changed.notify_all();
    }

    /// From now on so many more bytes may be written.
    pub(crate) fn has_room_for(&self, bytes: usize) {
        *self.0.room.lock().unwrap() = Some(bytes);
    }

    /// Syncs that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.0.held.lock().unwrap().1
    }
}

impl Disk for SlowDisk {
    fn write(&self, file: &File, parts: &mut [IoSlice<'_>], position: u64) -> io::Result<()> {
        if let Some(room) = self.0.room.lock().unwrap().as_mut() {
            let more = parts.iter().map(|part| part.len()).sum();
            *room = room.checked_sub(more).ok_or(io::ErrorKind::StorageFull)?;
        }
        RealDisk.write(file, parts, position)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let mut held = self.0.held.lock().unwrap();
        held.1 += 1;
        let mut held = self.0.changed.wait_while(held, |(is_held, _)| *is_held).unwrap();
        held.1 -= 1;
        drop(held);
        file.sync_data()
    }
}

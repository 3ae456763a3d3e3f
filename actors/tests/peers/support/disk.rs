//! A disk whose syncs can be held.

use std::{
    fs::File,
    io,
    sync::{Arc, Condvar, Mutex},
};

use actors::storage::disk::Disk;

/// Copies share one state.
#[derive(Debug, Clone, Default)]
pub(crate) struct SlowDisk(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Whether syncs are held, and how many wait.
    held: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl SlowDisk {
    /// From now on syncs wait, or no more.
    pub(crate) fn hold(&self, hold: bool) {
        self.0.held.lock().unwrap().0 = hold;
        self.0.changed.notify_all();
    }

    /// Syncs that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.0.held.lock().unwrap().1
    }
}

impl Disk for SlowDisk {
    fn sync(&self, file: &File) -> io::Result<()> {
        let mut held = self.0.held.lock().unwrap();
        held.1 += 1;
        let mut held = self.0.changed.wait_while(held, |(is_held, _)| *is_held).unwrap();
        held.1 -= 1;
        drop(held);
        file.sync_data()
    }
}

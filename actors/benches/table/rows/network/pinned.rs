//! All threads of this process on one core, and back.

use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

use crate::Result;

/// Where they were.
pub(super) struct Pinned(CpuSet);

impl Pinned {
    /// Puts them there, with those that they begin.
    pub(super) fn to_one_core() -> Result<Self> {
        let before = sched_getaffinity(None)?;
        let first = (0..CpuSet::MAX_CPU).find(|core| before.is_set(*core)).ok_or("no core to run on")?;
        let mut one = CpuSet::new();
        one.set(first);
        put_all_on(&one)?;
        Ok(Self(before))
    }

    pub(super) fn release(self) -> Result<()> {
        put_all_on(&self.0)
    }
}

fn put_all_on(cores: &CpuSet) -> Result<()> {
    for thread in std::fs::read_dir("/proc/self/task")? {
        let id: i32 = thread?.file_name().to_string_lossy().parse()?;
        match sched_setaffinity(Pid::from_raw(id), cores) {
            // It has ended since.
            Err(rustix::io::Errno::SRCH) => {}
            done => done?,
        }
    }
    Ok(())
}

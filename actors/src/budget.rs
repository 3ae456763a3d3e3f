//! Memory that is shared by all that work: whoever needs some waits until it is free.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So much memory. Copies are of the same.
#[derive(Debug, Clone)]
pub struct Budget {
    /// A permit is a MiB.
    free: Arc<Semaphore>,
    total_mib: u32,
}

impl Budget {
    /// So many bytes; of less than a MiB, one.
    pub fn new(bytes: u64) -> Self {
        let total_mib = u32::try_from(bytes / MIB).unwrap_or(u32::MAX).clamp(1, PERMITS_MAX);
        Self { free: Arc::new(Semaphore::new(total_mib as usize)), total_mib }
    }

    /// How much there is, in bytes.
    pub fn total_bytes(&self) -> u64 {
        u64::from(self.total_mib) * MIB
    }

    /// How much is spoken for, in bytes.
    pub fn held_bytes(&self) -> u64 {
        u64::from(self.total_mib).saturating_sub(self.free.available_permits() as u64) * MIB
    }

    /// How many permits so many bytes take. What needs more than there is gets all of it.
    pub fn permits(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(MIB)).unwrap_or(u32::MAX).min(self.total_mib)
    }

    /// Waits until so many permits are free. `None` never comes: the semaphore is never closed.
    pub async fn reserve(&self, permits: u32) -> Option<OwnedSemaphorePermit> {
        self.free.clone().acquire_many_owned(permits).await.ok()
    }
}

const MIB: u64 = 1 << 20;
/// More than any machine has; within what a semaphore counts.
const PERMITS_MAX: u32 = 1 << 28;

//! Memory for requests: reserved once, here at the outermost door, so that nothing further in waits for it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::problem::{Kind, Problem};

/// What requests may hold together.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    /// A permit is a MiB.
    free: Arc<Semaphore>,
    total: u32,
}

/// Memory that is spoken for, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reserved {
    _permits: OwnedSemaphorePermit,
}

impl Reserved {
    /// The same bytes, with which this memory becomes free: whoever takes them slowly holds it for so long.
    pub(crate) fn until_dropped(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held { bytes, _reserved: self })
    }
}

/// Bytes and the memory they are in.
struct Held {
    bytes: Bytes,
    _reserved: Reserved,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Memory {
    /// So many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let total = u32::try_from(bytes / MIB).unwrap_or(u32::MAX).clamp(1, PERMITS_MAX);
        Self { free: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Waits until so many bytes are free. Fails with [`Kind::Busy`] when that takes too long. What needs more than
    /// there is gets all of it.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Reserved, Problem> {
        let wanted = u32::try_from((bytes as u64).div_ceil(MIB)).unwrap_or(u32::MAX).min(self.total);
        let permits = timeout(ADMISSION_DEADLINE, Arc::clone(&self.free).acquire_many_owned(wanted)).await;
        match permits {
            Ok(Ok(permits)) => Ok(Reserved { _permits: permits }),
            Ok(Err(_)) | Err(_) => Err(busy(wanted)),
        }
    }
}

fn busy(wanted: u32) -> Problem {
    let waited = ADMISSION_DEADLINE.as_secs();
    let detail = format!(
        "{wanted} MiB of memory were not free within {waited} s: other requests are under way. \
         Try again later, or raise performance.memory_budget_mb"
    );
    Problem::new(Kind::Busy, detail)
}

const MIB: u64 = 1 << 20;
/// More than any machine has; within what a semaphore counts.
const PERMITS_MAX: u32 = 1 << 28;
/// How long a request waits for admission.
const ADMISSION_DEADLINE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn request_that_finds_no_memory_waits_and_is_then_refused_as_busy() {
        let memory = Memory::new(10 << 20);
        let first = memory.reserve(6 << 20).await.unwrap();
        assert_eq!(memory.reserve(5 << 20).await.unwrap_err().kind(), Kind::Busy);
        let waiting = memory.reserve(5 << 20);
        let (second, ()) = tokio::join!(waiting, async { drop(first) });
        assert!(second.is_ok());
    }

    #[tokio::test]
    async fn request_for_more_than_there_is_gets_all() {
        let memory = Memory::new(10 << 20);
        assert!(memory.reserve(1 << 30).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn memory_of_bytes_is_free_when_the_last_of_them_is_gone() {
        let memory = Memory::new(1 << 20);
        let bytes = memory.reserve(1 << 20).await.unwrap().until_dropped(Bytes::from_static(b"abc"));
        let part = bytes.slice(1..2);
        drop(bytes);
        assert_eq!(memory.reserve(1).await.unwrap_err().kind(), Kind::Busy);
        assert_eq!(part, "b");
        drop(part);
        assert!(memory.reserve(1).await.is_ok());
    }
}

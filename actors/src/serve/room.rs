//! Memory for what is on its way, in or out. It is shared by all peers, so whoever stalls must not keep it: who waits
//! for some makes those give way that have not moved for a while.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use quinn::{RecvStream, SendStream};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    conn_pool::Lease,
    frames::{self, FrameError},
};

/// What transfers may hold together.
pub(super) struct Room {
    /// A permit is a KiB.
    free: Arc<Semaphore>,
    total: u32,
    transfers: Arc<Transfers>,
    /// Held by the one that waits first: hundreds may wait, and one is enough to look after those who stall.
    pressing: tokio::sync::Mutex<()>,
}

/// A turn among a peer's transfers, and memory for one.
pub(super) struct Place {
    joined: Joined,
    _turn: OwnedSemaphorePermit,
}

/// Those that are under way.
#[derive(Default)]
struct Transfers {
    all: Mutex<BTreeMap<u64, Arc<Transfer>>>,
    next: AtomicU64,
}

struct Transfer {
    begun: Instant,
    /// When it last moved, in milliseconds since it began.
    moved_at_ms: AtomicU64,
    give_way: Notify,
}

/// A transfer, until it is dropped.
pub(super) struct Joined {
    id: u64,
    transfer: Arc<Transfer>,
    transfers: Arc<Transfers>,
    _memory: OwnedSemaphorePermit,
}

impl Room {
    /// For so many bytes together.
    pub(super) fn new(bytes: u64) -> Self {
        let total = u32::try_from(bytes / KIB).unwrap_or(u32::MAX).clamp(LEAST_KIB, PERMITS_MAX);
        let free = Arc::new(Semaphore::new(total as usize));
        Self { free, total, transfers: Arc::default(), pressing: tokio::sync::Mutex::default() }
    }

    /// A place for a transfer, if there is one now.
    pub(super) fn try_enter(&self, lease: &Lease, bytes: usize) -> Option<Place> {
        let turn = lease.try_bulk()?;
        let memory = self.free.clone().try_acquire_many_owned(self.permits(bytes)).ok()?;
        Some(Place { joined: self.transfers.join(memory), _turn: turn })
    }

    /// A place for a transfer, as soon as there is one. `None` when there was none in time.
    pub(super) async fn enter(&self, lease: &Lease, bytes: usize) -> Option<Place> {
        let turn = timeout(BULK_PLACE, lease.bulk()).await.ok()??;
        Some(Place { joined: self.reserve(bytes).await?, _turn: turn })
    }

    /// Takes memory for so many bytes, until what is returned is dropped. `None` when there was none in time.
    pub(super) async fn reserve(&self, bytes: usize) -> Option<Joined> {
        let memory = timeout(ADMISSION, self.free(self.permits(bytes))).await.ok()??;
        Some(self.transfers.join(memory))
    }

    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from((bytes as u64).div_ceil(KIB)).unwrap_or(u32::MAX).min(self.total)
    }

    /// Bytes that are taken.
    #[cfg(feature = "faults")]
    pub(super) fn taken_bytes(&self) -> u64 {
        u64::from(self.total) * KIB - self.free.available_permits() as u64 * KIB
    }

    /// Waits for so much. Whoever waits first makes others give way meanwhile. The semaphore is never closed.
    async fn free(&self, wanted: u32) -> Option<OwnedSemaphorePermit> {
        let free = self.free.clone().acquire_many_owned(wanted);
        tokio::pin!(free);
        let _first = tokio::select! {
            biased;
            permits = free.as_mut() => return permits.ok(),
            first = self.pressing.lock() => first,
        };
        loop {
            tokio::select! {
                biased;
                permits = free.as_mut() => return permits.ok(),
                () = tokio::time::sleep(PRESSURE_INTERVAL) => self.transfers.cut_stalled(),
            }
        }
    }
}

impl Place {
    /// Reads the bytes that follow a frame.
    pub(super) async fn receive(&self, receive: &mut RecvStream, length: u32) -> Result<Bytes, FrameError> {
        let Joined { transfer, .. } = &self.joined;
        self.joined.unless_it_stalls(frames::read_bulk(receive, length, || transfer.moved())).await
    }

    /// Sends the bytes that follow a frame.
    pub(super) async fn send(&self, send: &mut SendStream, bulk: Bytes) -> Result<(), FrameError> {
        let Joined { transfer, .. } = &self.joined;
        self.joined.unless_it_stalls(frames::write_bulk(send, bulk, || transfer.moved())).await
    }
}

impl Transfers {
    fn join(self: &Arc<Self>, memory: OwnedSemaphorePermit) -> Joined {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (begun, moved_at_ms) = (Instant::now(), AtomicU64::new(0));
        let transfer = Arc::new(Transfer { begun, moved_at_ms, give_way: Notify::new() });
        self.lock().insert(id, transfer.clone());
        Joined { id, transfer, transfers: self.clone(), _memory: memory }
    }

    /// All that have not moved for a while are ended.
    fn cut_stalled(&self) {
        for transfer in self.lock().values().filter(|transfer| transfer.has_stalled()) {
            transfer.give_way.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Transfer>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transfer {
    fn age_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn moved(&self) {
        self.moved_at_ms.store(self.age_ms(), Ordering::Relaxed);
    }

    fn has_stalled(&self) -> bool {
        self.age_ms().saturating_sub(self.moved_at_ms.load(Ordering::Relaxed)) >= STALL_MS
    }
}

impl Joined {
    async fn unless_it_stalls<T>(
        &self,
        transfer: impl Future<Output = Result<T, FrameError>>,
    ) -> Result<T, FrameError> {
        tokio::select! {
            biased;
            outcome = transfer => outcome,
            () = self.transfer.give_way.notified() => Err(FrameError::Slow),
        }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.transfers.lock().remove(&self.id);
    }
}

const KIB: u64 = 1 << 10;
/// Two fragments. What is longer than all there is takes all there is.
const LEAST_KIB: u32 = 2 << 10;
/// More than any machine has; within what a semaphore counts.
const PERMITS_MAX: u32 = 1 << 28;
/// What is sent without asking for memory: the connection's window bounds it.
pub(super) const SMALL_BYTES: usize = 16 << 10;
/// How long a transfer waits for others of the same peer. Less than whoever asks waits for an answer.
const BULK_PLACE: Duration = Duration::from_secs(10);
/// How long a transfer waits for memory.
const ADMISSION: Duration = Duration::from_secs(2);
/// Whoever waits looks so often for others who have stalled.
const PRESSURE_INTERVAL: Duration = Duration::from_millis(100);
/// What has not moved for so long, while others wait, gives way.
const STALL_MS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn transfer_that_has_stalled_gives_way_to_one_that_waits() {
        let room = Room::new(0);
        let stalled = room.reserve(16 << 20).await.unwrap();
        let stalls = async {
            let outcome = stalled.unless_it_stalls(std::future::pending::<Result<(), FrameError>>()).await;
            drop(stalled);
            outcome
        };
        let (outcome, waiting) = tokio::join!(stalls, room.reserve(1));
        assert!(matches!(outcome, Err(FrameError::Slow)));
        assert!(waiting.is_some());
    }

    #[tokio::test]
    async fn transfer_that_moves_does_not_give_way_and_the_other_is_refused() {
        let room = Room::new(0);
        let moving = room.reserve(16 << 20).await.unwrap();
        let moves = async {
            loop {
                moving.transfer.moved();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let outcome = tokio::select! {
            outcome = moving.unless_it_stalls::<()>(moves) => panic!("{outcome:?}"),
            waiting = room.reserve(1) => waiting,
        };
        assert!(outcome.is_none());
    }
}

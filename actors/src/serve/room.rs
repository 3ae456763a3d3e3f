//! Memory for what is on its way, in or out. It is shared by all peers, so whoever is slow must not keep it: who waits for
//! some makes those give way that hardly move, and those that move slowly while their peer has more than its share.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use proto::{NodeId, limits::PROOF_SLICE_BYTES_MAX};
use quinn::{RecvStream, SendStream};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit},
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
    /// Answers that are being read and have no place yet.
    reading: Semaphore,
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
    node: NodeId,
    /// Memory that it holds.
    kib: u32,
    moved_bytes: AtomicU64,
    /// While it is under way.
    looked: Mutex<Option<Looked>>,
    give_way: Notify,
}

/// When somebody who waits has last looked at how fast a transfer is, how far it was then, and how fast, if that can be told.
#[derive(Debug, Clone, Copy)]
struct Looked {
    at: Instant,
    moved_bytes: u64,
    rate: Option<u64>,
    has_given_way: bool,
}

/// What a peer's transfers come to.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    held_kib: u32,
    /// Bytes per second, all together. `None` when one of them is too young to tell.
    rate: Option<u64>,
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
        let (transfers, pressing) = (Arc::default(), tokio::sync::Mutex::default());
        Self { free, total, transfers, reading: Semaphore::new(READING_MAX), pressing }
    }

    /// A turn among those who read an answer that may be long, until it has a place or is given up.
    pub(super) async fn read(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.reading.acquire().await.ok()
    }

    /// A place for an answer, if there is one now.
    pub(super) fn try_enter(&self, lease: &Lease, bytes: usize) -> Option<Place> {
        let turn = lease.try_answered(bytes)?;
        let permits = self.permits(bytes);
        let memory = self.free.clone().try_acquire_many_owned(permits).ok()?;
        Some(Place { joined: self.transfers.join(lease.node(), permits, memory), _turn: turn })
    }

    /// A place for an answer, as soon as there is one. `None` when there was none in time.
    pub(super) async fn enter(&self, lease: &Lease, bytes: usize) -> Option<Place> {
        let turn = timeout(BULK_PLACE, lease.answered(bytes)).await.ok()??;
        Some(Place { joined: self.reserve(lease.node(), bytes).await?, _turn: turn })
    }

    /// The same for what follows a request.
    pub(super) async fn enter_brought(&self, lease: &Lease, bytes: usize) -> Option<Place> {
        let turn = timeout(BULK_PLACE, lease.brought(bytes)).await.ok()??;
        Some(Place { joined: self.reserve(lease.node(), bytes).await?, _turn: turn })
    }

    /// Takes memory for so many bytes, until what is returned is dropped. `None` when there was none in time.
    pub(super) async fn reserve(&self, node: NodeId, bytes: usize) -> Option<Joined> {
        let permits = self.permits(bytes);
        let memory = timeout(ADMISSION, self.free(permits)).await.ok()??;
        Some(self.transfers.join(node, permits, memory))
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
                () = tokio::time::sleep(PRESSURE_INTERVAL) => self.transfers.press(self.total),
            }
        }
    }
}

impl Place {
    /// Reads the bytes that follow a frame.
    pub(super) async fn receive(&self, receive: &mut RecvStream, length: u32) -> Result<Bytes, FrameError> {
        let Joined { transfer, .. } = &self.joined;
        let read = frames::read_bulk(receive, length, |bytes| transfer.moved(bytes));
        self.joined.unless_it_stalls(read).await
    }

    /// Memory for what came, without the turn: others may come while it is used.
    pub(super) fn into_memory(self) -> Joined {
        self.joined
    }

    /// Sends the bytes that follow a frame.
    pub(super) async fn send(&self, send: &mut SendStream, bulk: Bytes) -> Result<(), FrameError> {
        let Joined { transfer, .. } = &self.joined;
        self.joined.unless_it_stalls(frames::write_bulk(send, bulk, |bytes| transfer.moved(bytes))).await
    }
}

impl Transfers {
    fn join(self: &Arc<Self>, node: NodeId, kib: u32, memory: OwnedSemaphorePermit) -> Joined {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (moved_bytes, looked) = (AtomicU64::new(0), Mutex::new(None));
        let transfer = Arc::new(Transfer { node, kib, moved_bytes, looked, give_way: Notify::new() });
        self.lock().insert(id, transfer.clone());
        Joined { id, transfer, transfers: self.clone(), _memory: memory }
    }

    /// Somebody waits: whoever is in the way is ended. Of a peer that has only too much at a time it is its newest transfer,
    /// one at a time, so that the others come to an end.
    fn press(&self, total_kib: u32) {
        let all = self.lock();
        let mut shares = HashMap::<NodeId, Share>::new();
        for transfer in all.values() {
            let rate = transfer.look();
            let fresh = Share { held_kib: 0, rate: Some(0) };
            let share = shares.entry(transfer.node).or_insert(fresh);
            share.held_kib += transfer.kib;
            share.rate = share.rate.zip(rate).map(|(all, one)| all.saturating_add(one));
        }
        for (node, share) in shares {
            let mut newest_first = all.values().rev().filter(|transfer| transfer.node == node);
            match in_the_way(share, total_kib) {
                Verdict::Stays => {}
                Verdict::HasTooMuch => {
                    newest_first.find(|transfer| transfer.give_way());
                }
                Verdict::Stalls => newest_first.for_each(|transfer| {
                    transfer.give_way();
                }),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Transfer>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transfer {
    fn moved(&self, bytes: usize) {
        self.moved_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn looked(&self) -> MutexGuard<'_, Option<Looked>> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How fast it is, in bytes per second; `None` when it is not under way, or for too short a time to tell.
    fn look(&self) -> Option<u64> {
        let mut looked = self.looked();
        let looked = looked.as_mut()?;
        let passed_ms = u64::try_from(looked.at.elapsed().as_millis()).unwrap_or(u64::MAX);
        if passed_ms >= LOOK_MS {
            let moved_bytes = self.moved_bytes.load(Ordering::Relaxed);
            let moved = moved_bytes.saturating_sub(looked.moved_bytes);
            let rate = Some(moved.saturating_mul(1000) / passed_ms);
            *looked = Looked { at: Instant::now(), moved_bytes, rate, ..*looked };
        }
        looked.rate
    }

    /// Ends it. `false` when that was done before, or it is not under way.
    fn give_way(&self) -> bool {
        let mut looked = self.looked();
        let Some(looked) = looked.as_mut().filter(|looked| !looked.has_given_way) else { return false };
        looked.has_given_way = true;
        self.give_way.notify_one();
        true
    }
}

/// What is done with a peer's transfers when others wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Stays,
    /// It has more memory than is fair for one so slow.
    HasTooMuch,
    /// It hardly moves.
    Stalls,
}

fn in_the_way(share: Share, total_kib: u32) -> Verdict {
    match share.rate {
        Some(rate) if rate < LEAST_RATE => Verdict::Stalls,
        Some(rate) if rate < FAIR_RATE && share.held_kib > total_kib / SHARE => Verdict::HasTooMuch,
        _ => Verdict::Stays,
    }
}

impl Joined {
    /// Does something with it, unless it has to make way for others. How fast it goes is told from here on, and not while
    /// it waits for something else.
    pub(super) async fn unless_it_stalls<T>(
        &self,
        transfer: impl Future<Output = Result<T, FrameError>>,
    ) -> Result<T, FrameError> {
        let moved_bytes = self.transfer.moved_bytes.load(Ordering::Relaxed);
        let begun = Looked { at: Instant::now(), moved_bytes, rate: None, has_given_way: false };
        *self.transfer.looked() = Some(begun);
        let outcome = tokio::select! {
            biased;
            outcome = transfer => outcome,
            () = self.transfer.give_way.notified() => Err(FrameError::GaveWay),
        };
        *self.transfer.looked() = None;
        outcome
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.transfers.lock().remove(&self.id);
    }
}

/// Answers that are read at a time: each may be as long as a document.
const READING_MAX: usize = 16;
const KIB: u64 = 1 << 10;
/// Two fragments. What is longer than all there is takes all there is.
const LEAST_KIB: u32 = 2 << 10;
/// More than any machine has; within what a semaphore counts.
const PERMITS_MAX: u32 = 1 << 28;
/// What is sent without asking for memory: the connection's window bounds it.
pub(super) const SMALL_BYTES: usize = 20 << 10;
const _: () = assert!(SMALL_BYTES >= PROOF_SLICE_BYTES_MAX);
/// How long a transfer waits for others of the same peer. Less than whoever asks waits for an answer.
const BULK_PLACE: Duration = Duration::from_secs(10);
/// How long a transfer waits for memory.
const ADMISSION: Duration = Duration::from_secs(2);
/// Whoever waits looks so often for others who are slow.
const PRESSURE_INTERVAL: Duration = Duration::from_millis(100);
/// How fast a transfer is, is told over at least so long.
const LOOK_MS: u64 = 1_000;
/// A slower peer gives way to whoever waits, in bytes per second: the slowest line that anybody is patient with.
const LEAST_RATE: u64 = 16 << 10;
/// A peer that is slower than this has at most this part of all the memory when others wait.
const FAIR_RATE: u64 = 2 << 20;
const SHARE: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    #[test]
    fn slow_peers_give_way_and_sooner_if_they_have_much() {
        let check = |rate, held_kib, expected| {
            assert_eq!(in_the_way(Share { held_kib, rate }, 8 << 10), expected, "{rate:?} {held_kib}");
        };
        check(Some(0), 1, Verdict::Stalls);
        check(Some(LEAST_RATE - 1), 1, Verdict::Stalls);
        check(Some(LEAST_RATE), 2 << 10, Verdict::Stays);
        check(Some(LEAST_RATE), (2 << 10) + 1, Verdict::HasTooMuch);
        check(Some(FAIR_RATE), 8 << 10, Verdict::Stays);
        check(None, 8 << 10, Verdict::Stays);
    }

    /// A fragment over a line that takes some seconds for it, asked for until it has come.
    async fn slow_transfer(room: &Room, number: u8) {
        loop {
            let Some(place) = room.reserve(node(number), 1 << 20).await else { continue };
            let transfer = place.transfer.clone();
            let moves = async move {
                for _ in 0..40 {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    transfer.moved(10 << 10);
                }
                Ok(())
            };
            if place.unless_it_stalls(moves).await.is_ok() {
                return;
            }
        }
    }

    #[tokio::test]
    async fn slow_peers_do_not_keep_each_other_from_ever_ending() {
        let room = Room::new(8 << 20);
        let all = (0..16).map(|number| slow_transfer(&room, number % 2));
        let ended = timeout(Duration::from_secs(60), futures::future::join_all(all)).await;
        assert!(ended.is_ok(), "they hinder each other");
    }

    /// Whether somebody who waits gets memory while another has all of it and moves so many bytes every 50 ms.
    async fn gets_memory_beside(bytes: usize) -> bool {
        let room = Room::new(0);
        let slow = room.reserve(node(1), 16 << 20).await.unwrap();
        let transfer = slow.transfer.clone();
        let moves = async move {
            loop {
                transfer.moved(bytes);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let ends = async move {
            let outcome = slow.unless_it_stalls::<()>(moves).await;
            assert!(matches!(outcome, Err(FrameError::GaveWay)));
        };
        let waits = room.reserve(node(2), 1);
        tokio::pin!(waits);
        tokio::select! {
            () = ends => {}
            waited = &mut waits => return waited.is_some(),
        }
        waits.await.is_some()
    }

    #[tokio::test]
    async fn transfer_that_stalls_or_drips_gives_way_to_one_that_waits() {
        assert!(gets_memory_beside(0).await);
        assert!(gets_memory_beside(1).await);
        // Fast enough for a telephone line, but its peer has everything.
        assert!(gets_memory_beside(2 << 10).await);
    }

    #[tokio::test]
    async fn transfer_that_moves_does_not_give_way_and_the_other_is_refused() {
        assert!(!gets_memory_beside(256 << 10).await);
    }
}

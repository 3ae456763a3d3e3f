//! The shelf: values by fragment, bounded by their bytes.
//!
//! moka decides what stays (TinyLFU) and keeps its books as it finds time; the shelf makes both exact. Every put is
//! followed by moka's maintenance, and a value leaves its cell the moment moka gives it up: the cell itself is freed
//! only when an epoch of moka's concurrent map has passed, which may be many entries later.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use moka::{future::Cache, notification::RemovalCause};
use proto::FragmentId;

/// Values by fragment.
pub(super) struct Shelf<V> {
    cells: Cache<FragmentId, Arc<Cell<V>>>,
    books: Arc<Books>,
    bytes_max: u64,
}

/// A value while it is on the shelf, and what it weighs.
struct Cell<V> {
    value: Mutex<Option<V>>,
    bytes: u32,
}

/// What is on the shelf, counted as it comes and goes.
#[derive(Debug, Default)]
struct Books {
    entries: AtomicU64,
    bytes: AtomicU64,
    evictions: AtomicU64,
}

impl<V: Clone + Send + Sync + 'static> Shelf<V> {
    /// An empty shelf for so many bytes.
    pub(super) fn new(bytes_max: u64) -> Self {
        let books = Arc::new(Books::default());
        let counted = books.clone();
        let cells = Cache::builder()
            .max_capacity(bytes_max)
            .weigher(|_, cell: &Arc<Cell<V>>| cell.bytes)
            .eviction_listener(move |_, cell: Arc<Cell<V>>, cause| counted.removed(&cell, cause))
            .build();
        Self { cells, books, bytes_max }
    }

    /// Whether a value of so many bytes may be put here: one large value would push out many small ones.
    pub(super) fn takes(bytes_max: u64, bytes: usize) -> bool {
        bytes as u64 <= bytes_max / SHARES
    }

    /// The value, which is then less likely to leave.
    pub(super) async fn get(&self, id: &FragmentId) -> Option<V> {
        self.cells.get(id).await?.value()
    }

    /// Puts a value of so many bytes, for a fragment that has none here. It may be refused, and others may leave.
    pub(super) async fn put(&self, id: FragmentId, value: V, bytes: usize) {
        if !Self::takes(self.bytes_max, bytes) {
            return;
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(ENTRY_OVERHEAD_BYTES);
        self.books.added(bytes);
        self.cells.insert(id, Arc::new(Cell { value: Mutex::new(Some(value)), bytes })).await;
        self.cells.run_pending_tasks().await;
    }

    /// Takes a value away.
    pub(super) async fn remove(&self, id: &FragmentId) {
        self.cells.invalidate(id).await;
    }

    /// Values here.
    pub(super) fn entries(&self) -> u64 {
        self.books.entries.load(Ordering::Relaxed)
    }

    /// Their bytes, with what it takes to keep them.
    pub(super) fn bytes(&self) -> u64 {
        self.books.bytes.load(Ordering::Relaxed)
    }

    /// The most bytes there may be.
    pub(super) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Values refused or pushed out for want of room, since this was last asked.
    pub(super) fn take_evictions(&self) -> u64 {
        self.books.evictions.swap(0, Ordering::Relaxed)
    }
}

impl<V: Clone> Cell<V> {
    fn value(&self) -> Option<V> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Books {
    fn added(&self, bytes: u32) {
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes.into(), Ordering::Relaxed);
    }

    /// moka gave a cell up: its value goes now.
    fn removed<V>(&self, cell: &Cell<V>, cause: RemovalCause) {
        drop(cell.value.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.entries.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(cell.bytes.into(), Ordering::Relaxed);
        if cause == RemovalCause::Size {
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// No value may take more than one share of the shelf.
const SHARES: u64 = 8;
/// What moka, the cell, the key and the allocations take beside a value's bytes: resident memory of 200,000 tiny values.
const ENTRY_OVERHEAD_BYTES: u32 = 480;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use proto::TesseraId;

    use super::*;

    const MIB: usize = 1 << 20;

    /// Bytes that are alive, and the most there ever were.
    #[derive(Debug, Default)]
    struct Alive {
        now: AtomicUsize,
        peak: AtomicUsize,
    }

    /// Stands for so many bytes.
    struct Load(usize, Arc<Alive>);

    impl Load {
        fn new(bytes: usize, alive: &Arc<Alive>) -> Arc<Self> {
            let now = alive.now.fetch_add(bytes, Ordering::SeqCst) + bytes;
            alive.peak.fetch_max(now, Ordering::SeqCst);
            Arc::new(Self(bytes, alive.clone()))
        }
    }

    impl Drop for Load {
        fn drop(&mut self) {
            self.1.now.fetch_sub(self.0, Ordering::SeqCst);
        }
    }

    fn id(stripe: u32) -> FragmentId {
        FragmentId { tessera: TesseraId::from_bytes([1; 32]), stripe, index: 0 }
    }

    /// Puts a burst of equal values, some of which are asked for again and again.
    async fn check_burst(bytes_max: usize, bytes: usize, values: u32) {
        let alive = Arc::new(Alive::default());
        let shelf = Shelf::new(bytes_max as u64);
        for number in 0..values {
            for again in 0..number % 7 {
                shelf.get(&id(number - again)).await;
            }
            shelf.put(id(number), Load::new(bytes, &alive), bytes).await;
            let now = alive.now.load(Ordering::SeqCst);
            assert!(now as u64 <= shelf.bytes(), "{now} bytes are alive, {} are counted", shelf.bytes());
            assert!(shelf.bytes() <= bytes_max as u64);
        }
        let peak = alive.peak.load(Ordering::SeqCst);
        assert!(peak <= bytes_max + bytes, "{peak} bytes were alive");
        assert!(peak > bytes_max / 2, "only {peak} bytes were ever alive");
        assert_eq!(shelf.take_evictions() + shelf.entries(), u64::from(values));
    }

    #[tokio::test]
    async fn burst_of_the_largest_entries_never_holds_more_than_the_cap_and_one() {
        check_burst(16 * MIB, 2 * MIB, 2000).await;
    }

    #[tokio::test]
    async fn burst_of_small_entries_never_holds_more_than_the_cap_and_one() {
        check_burst(MIB, 4096, 20_000).await;
    }

    #[tokio::test]
    async fn value_removed_is_gone_at_once() {
        let alive = Arc::new(Alive::default());
        let shelf = Shelf::new(16 * MIB as u64);
        shelf.put(id(0), Load::new(MIB, &alive), MIB).await;
        assert!(shelf.get(&id(0)).await.is_some());
        shelf.remove(&id(0)).await;
        assert!(shelf.get(&id(0)).await.is_none());
        assert_eq!((alive.now.load(Ordering::SeqCst), shelf.bytes(), shelf.entries()), (0, 0, 0));
    }

    #[tokio::test]
    async fn value_above_an_eighth_is_not_taken() {
        let alive = Arc::new(Alive::default());
        let shelf = Shelf::new(16 * MIB as u64);
        shelf.put(id(0), Load::new(2 * MIB + 1, &alive), 2 * MIB + 1).await;
        assert_eq!((alive.now.load(Ordering::SeqCst), shelf.entries()), (0, 0));
        shelf.put(id(0), Load::new(2 * MIB, &alive), 2 * MIB).await;
        assert_eq!(shelf.entries(), 1);
    }
}

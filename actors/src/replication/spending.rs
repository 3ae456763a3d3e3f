//! What mending moves: counted as it moves, so that what comes to nothing costs nothing.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::OwnedSemaphorePermit;

/// What mending has moved and is about to.
#[derive(Debug, Default)]
pub(super) struct Spending {
    /// Bytes that were moved and are still to be charged to what may be moved in a day.
    moved: AtomicU64,
    /// Bytes that those will move, about, who are under way by themselves.
    promised: AtomicU64,
}

/// A tessera that is mended by itself: until it is done, one of a few, and what it will move counts as moved.
#[derive(Debug)]
pub(super) struct Mending {
    spending: Arc<Spending>,
    bytes: u64,
    _permit: OwnedSemaphorePermit,
}

impl Spending {
    /// So much was sent to mend something, or read for it.
    pub(super) fn moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What was moved since the last time.
    pub(super) fn take_moved(&self) -> u64 {
        self.moved.swap(0, Ordering::Relaxed)
    }

    /// Bytes that are about to be moved.
    pub(super) fn promised(&self) -> u64 {
        self.promised.load(Ordering::Relaxed)
    }

    /// About so much is going to be moved for one tessera.
    pub(super) fn begin(self: &Arc<Self>, bytes: u64, permit: OwnedSemaphorePermit) -> Mending {
        self.promised.fetch_add(bytes, Ordering::Relaxed);
        Mending { spending: self.clone(), bytes, _permit: permit }
    }
}

impl Drop for Mending {
    fn drop(&mut self) {
        self.spending.promised.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn what_was_promised_and_not_moved_costs_nothing() {
        let (spending, one) = (Arc::new(Spending::default()), Arc::new(Semaphore::new(1)));
        let mending = spending.begin(1 << 40, one.clone().try_acquire_owned().unwrap());
        spending.moved(7);
        assert_eq!((spending.promised(), one.available_permits()), (1 << 40, 0));
        drop(mending);
        assert_eq!((spending.promised(), one.available_permits()), (0, 1));
        assert_eq!((spending.take_moved(), spending.take_moved()), (7, 0));
    }
}

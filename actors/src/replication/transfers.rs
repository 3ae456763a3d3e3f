//! How much is on its way to and from others at a time: so many of the largest fragments, or as many bytes of smaller ones,
//! which take longer to be acknowledged than to be sent.

use std::sync::{Mutex, PoisonError};

use futures::future::BoxFuture;
use proto::limits::FRAGMENT_BYTES_MAX;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::remote::Turn;

/// Turns that are taken for as long as a fragment is on its way.
pub(super) struct Transfers {
    /// A permit is [`UNIT_BYTES`].
    free: Semaphore,
    at_once: usize,
}

impl Transfers {
    /// So many of the largest fragments.
    pub(super) fn new(fragments: usize) -> Self {
        let at_once = fragments.saturating_mul(FRAGMENT_BYTES_MAX / UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self { free: Semaphore::new(at_once), at_once }
    }

    /// How many of the smallest there may be.
    pub(super) fn at_once(&self) -> usize {
        self.at_once
    }

    /// Waits until a fragment of so many bytes may be on its way. `None` never comes: the semaphore is never closed.
    pub(super) async fn turn(&self, bytes: u32) -> Option<SemaphorePermit<'_>> {
        let units = bytes.div_ceil(UNIT).max(1);
        self.free.acquire_many(units.min(u32::try_from(self.at_once).unwrap_or(units))).await.ok()
    }
}

/// One of these turns, taken when it comes to that.
pub(super) struct OneOf<'a> {
    transfers: &'a Transfers,
    bytes: u32,
    taken: Mutex<Option<SemaphorePermit<'a>>>,
}

impl<'a> OneOf<'a> {
    pub(super) fn new(transfers: &'a Transfers, bytes: u32) -> Self {
        Self { transfers, bytes, taken: Mutex::default() }
    }

    fn set(&self, permit: Option<SemaphorePermit<'a>>) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }
}

impl Turn for OneOf<'_> {
    fn take(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.set(None);
            self.set(self.transfers.turn(self.bytes).await);
        })
    }

    /// While the holder writes it and says so, another may be sent.
    fn give_back(&self) {
        self.set(None);
    }
}

/// What the smallest fragments take of it.
const UNIT: u32 = 64 << 10;
const UNIT_BYTES: usize = UNIT as usize;

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn small_ones_are_more_at_a_time_and_together_no_more_bytes() {
        let transfers = Transfers::new(2);
        let large: Vec<_> = (0..2).map(|_| transfers.turn(1 << 20).now_or_never().flatten()).collect();
        assert!(large.iter().all(Option::is_some) && transfers.turn(1).now_or_never().is_none());
        drop(large);
        let small: Vec<_> = (0..33).map_while(|_| transfers.turn(64 << 10).now_or_never()).collect();
        assert_eq!((small.len(), transfers.at_once()), (32, 32));
        assert!(transfers.turn(u32::MAX).now_or_never().is_none(), "it waits for all, and not for ever");
    }
}

//! The shelf's front: what is on the shelf, for handles to see without asking the actor. A hit then costs no hop between
//! threads; whoever serves small fragments to others does little else.
//!
//! The actor alone puts and takes away. Invariant 3 of the cache holds here too: while any change is under way, or has not
//! reached the shelf, the front is closed and everybody asks the actor.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use proto::{Fragment, FragmentId};
use tokio::sync::watch;

use super::shelf::Shelf;

/// The shelf of an actor that runs, and how many changes have not reached it.
pub(super) struct Front {
    pub(super) shelf: Shelf<Fragment>,
    changes: AtomicUsize,
}

/// Where handles find the front of the actor that runs now.
pub(super) type Fronts = watch::Receiver<Option<Arc<Front>>>;

/// A change that has begun. The actor settles it; one that no actor hears of closes its front for good.
#[derive(Default)]
pub(super) struct Change(Option<Arc<Front>>);

impl Front {
    pub(super) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { shelf: Shelf::new(bytes_max), changes: AtomicUsize::new(0) })
    }

    /// A fragment, if it is there and nothing is changing.
    pub(super) async fn glance(&self, id: &FragmentId) -> Option<Fragment> {
        let is_open = self.changes.load(Ordering::SeqCst) == 0;
        if is_open { self.shelf.get(id).await } else { None }
    }
}

impl Change {
    /// Begins one, of whatever is on the shelf now.
    pub(super) fn begin(fronts: &Fronts) -> Self {
        let front = fronts.borrow().clone();
        if let Some(front) = &front {
            front.changes.fetch_add(1, Ordering::SeqCst);
        }
        Self(front)
    }

    /// It has reached the shelf.
    pub(super) fn settle(self) {
        if let Some(front) = self.0 {
            front.changes.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Change")
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proto::TesseraId;

    use super::*;

    #[tokio::test]
    async fn front_is_closed_while_anything_changes() {
        let front = Front::new(1 << 20);
        let (_fronts, seen) = watch::channel(Some(front.clone()));
        let id = FragmentId { tessera: TesseraId::from_bytes([1; 32]), stripe: 0, index: 0 };
        let fragment = Fragment::hash(Bytes::from_static(b"here")).unwrap();
        front.shelf.put(id, fragment.clone(), 4).await;
        assert_eq!(front.glance(&id).await, Some(fragment.clone()));
        let (one, other) = (Change::begin(&seen), Change::begin(&seen));
        assert_eq!(front.glance(&id).await, None);
        one.settle();
        assert_eq!(front.glance(&id).await, None);
        other.settle();
        assert_eq!(front.glance(&id).await, Some(fragment));
        // One that nobody hears of.
        drop(Change::begin(&seen));
        assert_eq!(front.glance(&id).await, None);
    }
}

//! Which tesserae were found not to be taken back by their authors: it is asked for every fragment that comes, and hardly ever
//! is one.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use lru::LruCache;
use proto::TesseraId;

/// What was found since a retraction was noted last. One that is noted makes all of it be looked up again.
#[derive(Debug, Clone)]
pub(super) struct Untaken(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// How many retractions were begun to be noted.
    begun: AtomicU64,
    /// How many of them were: as long as these are fewer, nobody knows what the index says.
    noted: AtomicU64,
    /// How many were when each tessera was looked up.
    found: Mutex<LruCache<TesseraId, u64>>,
}

/// Before a tessera is looked up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked(u64);

impl Untaken {
    pub(super) fn new() -> Self {
        let (begun, noted) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Inner { begun, noted, found: Mutex::new(LruCache::new(TESSERAE)) }))
    }

    /// A retraction is about to be noted.
    pub(super) fn begin(&self) {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
    }

    /// It is in the index. Of one that was given up on the way nobody says so, and from then on all is looked up.
    pub(super) fn noted(&self) {
        self.0.noted.fetch_add(1, Ordering::SeqCst);
    }

    /// `None` when this tessera is known not to be taken back; else it is to be looked up.
    pub(super) fn ask(&self, tessera: TesseraId) -> Option<Asked> {
        let noted = self.0.noted.load(Ordering::SeqCst);
        let is_settled = self.0.begun.load(Ordering::SeqCst) == noted;
        let mut found = self.0.found.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = is_settled && found.get(&tessera) == Some(&noted);
        (!is_known).then_some(Asked(noted))
    }

    /// It was not taken back, as the index said after it was asked.
    pub(super) fn found(&self, tessera: TesseraId, asked: Asked) {
        self.0.found.lock().unwrap_or_else(PoisonError::into_inner).put(tessera, asked.0);
    }
}

/// Tesserae of which it is remembered: more than are on their way at a time.
const TESSERAE: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_counts_until_a_retraction_is_noted() {
        let (untaken, [one, other]) = (Untaken::new(), [1, 2].map(|id| TesseraId::from_bytes([id; 32])));
        let asked = untaken.ask(one).unwrap();
        assert!(untaken.ask(one).is_some(), "nothing was found yet");
        untaken.found(one, asked);
        assert!(untaken.ask(one).is_none());
        let asked = untaken.ask(other).unwrap();
        untaken.begin();
        assert!(untaken.ask(one).is_some(), "it may be taken back now");
        untaken.noted();
        // The index may have been asked before.
        untaken.found(other, asked);
        assert!(untaken.ask(one).is_some() && untaken.ask(other).is_some());
        let asked = untaken.ask(one).unwrap();
        untaken.found(one, asked);
        assert!(untaken.ask(one).is_none());
    }
}

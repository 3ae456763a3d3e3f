//! Whether all rows of a tessera are there. A flipped bit in a row's key hides what it is about without a trace in any other
//! row, but the sums show it.
//!
//! # Invariant
//! A fragment or document is said not to be here, and a list to be whole, only of a tessera whose rows added up once
//! since the start. One tessera is looked through at a time.

use std::{num::NonZeroUsize, sync::Arc};

use lru::LruCache;
use proto::TesseraId;
use tokio::sync::Mutex;

use super::{queries, readers::Readers};
use crate::error::ActorError;

/// The tesserae that were looked through.
#[derive(Debug, Clone)]
pub(super) struct Soundness {
    known: Arc<Mutex<LruCache<TesseraId, ()>>>,
}

impl Soundness {
    /// Nothing was looked through yet.
    pub(super) fn new() -> Self {
        Self { known: Arc::new(Mutex::new(LruCache::new(KNOWN_MAX))) }
    }

    /// Errors as damage of the index when the rows of the tessera do not add up.
    pub(super) async fn check(&self, index: &Readers, tessera: TesseraId) -> Result<(), ActorError> {
        let mut known = self.known.lock().await;
        if known.get(&tessera).is_some() {
            return Ok(());
        }
        if !queries::adds_up(index.about(tessera).await?, tessera).await? {
            return Err(ActorError::damaged_index(format!("the rows of {tessera} do not add up")));
        }
        known.put(tessera, ());
        Ok(())
    }
}

/// Tesserae that need not be looked through again.
const KNOWN_MAX: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

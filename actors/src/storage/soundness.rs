//! Whether all rows of a tessera are there. A flipped bit in a row's key hides what it is about without a trace in any
//! other row, but the sums show it.
//!
//! # Invariant
//! A fragment or document is said not to be here, and a list to be whole, only of a tessera whose rows added up once
//! since the start. One tessera is looked through at a time, and those that are known do not wait for it.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lru::LruCache;
use proto::TesseraId;

use super::{queries, readers::Readers};
use crate::error::ActorError;

/// The tesserae that were looked through.
#[derive(Debug, Clone)]
pub(super) struct Soundness {
    known: Arc<Mutex<LruCache<TesseraId, ()>>>,
    looking: Arc<tokio::sync::Mutex<()>>,
}

impl Soundness {
    /// Nothing was looked through yet.
    pub(super) fn new() -> Self {
        Self { known: Arc::new(Mutex::new(LruCache::new(KNOWN_MAX))), looking: Arc::default() }
    }

    /// Whether anything of the tessera may be here: `false` only when nothing is.
    ///
    /// Errors as damage of the index when its rows do not add up.
    pub(super) async fn check(&self, index: &Readers, tessera: TesseraId) -> Result<bool, ActorError> {
        if self.is_known(tessera) {
            return Ok(true);
        }
        let _looking = self.looking.lock().await;
        if self.is_known(tessera) {
            return Ok(true);
        }
        // Of most that are asked for first nothing is here, and looking through costs several times as much.
        let is_here = index.about(tessera, async |index| queries::is_here(index, tessera).await).await?;
        let adds_up = async |index: &mut _| queries::adds_up(index, tessera).await;
        if is_here && !index.about(tessera, adds_up).await? {
            return Err(ActorError::damaged_index(format!("the rows of {tessera} do not add up")));
        }
        self.known().put(tessera, ());
        Ok(is_here)
    }

    fn is_known(&self, tessera: TesseraId) -> bool {
        self.known().get(&tessera).is_some()
    }

    fn known(&self) -> MutexGuard<'_, LruCache<TesseraId, ()>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tesserae that need not be looked through again.
const KNOWN_MAX: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

//! The copy of a tessera that is here: its content, chunk by chunk.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex as SyncMutex, PoisonError},
};

use futures::{StreamExt, TryStreamExt, stream};
use proto::{Fragment, TesseraId, layout::SignedLayout, manifest::SignedManifest};
use tokio::sync::Mutex;

use crate::{
    archive::source::{Place, Source},
    error::ActorError,
    storage::StorageHandle,
};

/// A tessera whose content is here.
pub(super) struct Copy {
    source: Source<StorageHandle>,
    /// The page of checksums that was read last.
    page: Mutex<Option<(usize, Arc<Vec<Place>>)>>,
    /// Those that were read of a content that is small: it is coded first, and then sent.
    read: SyncMutex<BTreeMap<u64, Fragment>>,
}

impl Copy {
    /// Errors with [`ActorError::NotFound`] when it is not here, and when its documents are damaged.
    pub(super) async fn open(storage: StorageHandle, tessera: TesseraId) -> Result<Self, ActorError> {
        let source = Source::open(storage, tessera).await?;
        Ok(Self { source, page: Mutex::new(None), read: SyncMutex::default() })
    }

    pub(super) fn manifest(&self) -> &SignedManifest {
        &self.source.manifest
    }

    /// The layout by which it is here.
    pub(super) fn layout(&self) -> &SignedLayout {
        &self.source.layout
    }

    /// These chunks of the content, in order, each checked.
    pub(super) async fn chunks(&self, numbers: Vec<u64>) -> Result<Vec<Fragment>, ActorError> {
        stream::iter(numbers).map(|number| self.chunk(number)).buffered(READ_AT_ONCE).try_collect().await
    }

    async fn chunk(&self, number: u64) -> Result<Fragment, ActorError> {
        let layout = self.source.layout.layout();
        let read = || self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chunk) = read().get(&number) {
            return Ok(chunk.clone());
        }
        let absent = || ActorError::not_found(format!("chunk {number} of {}", layout.tessera()));
        let place = layout.chunk(number).and_then(|(stripe, index)| layout.number(stripe, index));
        let (page, at) = layout.page_of(place.ok_or_else(absent)?);
        let place = *self.page(page).await?.get(at).ok_or_else(absent)?;
        let chunk = self.source.fragment(place).await?;
        if layout.content_len() <= SMALL_BYTES {
            read().insert(number, chunk.clone());
        }
        Ok(chunk)
    }

    async fn page(&self, number: usize) -> Result<Arc<Vec<Place>>, ActorError> {
        let mut last = self.page.lock().await;
        if let Some((read, places)) = last.as_ref()
            && *read == number
        {
            return Ok(places.clone());
        }
        let places = Arc::new(self.source.places(number).await?);
        *last = Some((number, places.clone()));
        Ok(places)
    }
}

const READ_AT_ONCE: usize = 4;
/// A content that is read once only.
const SMALL_BYTES: u64 = 256 << 10;

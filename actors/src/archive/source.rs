//! A stored tessera: its signed documents, and its fragments in order, each checked against them.

use bytes::Bytes;
use proto::{
    Checksum, Fragment, FragmentId, TesseraId,
    layout::{Code, Layout, SignedLayout},
    limits::LAYOUT_PAGE_CHECKSUMS_MAX,
    manifest::SignedManifest,
    record::DocumentKind,
};

use super::error::ArchiveError;
use crate::{
    cache::CacheHandle,
    error::ActorError,
    storage::{BlobState, StorageHandle},
    store::FragmentStore,
};

/// What there is of the layouts of a tessera.
type Layouts = Vec<Result<SignedLayout, ActorError>>;

/// A store that also holds the documents of tesserae.
pub trait TesseraStore: FragmentStore {
    /// A document of a tessera, as stored; without a hash, the only one of its kind. Errors with
    /// [`ActorError::NotFound`], and with [`ActorError::CorruptDocument`] when the bytes are wrong.
    fn document(
        &self,
        tessera: TesseraId,
        kind: DocumentKind,
        hash: Option<Checksum>,
    ) -> impl Future<Output = Result<Bytes, ActorError>> + Send;

    /// The layouts of a tessera, the newest first. Errors as [`StorageHandle::layouts`].
    fn layouts(&self, tessera: TesseraId) -> impl Future<Output = Result<Layouts, ActorError>> + Send;
}

impl TesseraStore for StorageHandle {
    async fn document(
        &self,
        tessera: TesseraId,
        kind: DocumentKind,
        hash: Option<Checksum>,
    ) -> Result<Bytes, ActorError> {
        Self::document(self, tessera, kind, hash).await
    }

    async fn layouts(&self, tessera: TesseraId) -> Result<Layouts, ActorError> {
        Self::layouts(self, tessera).await
    }
}

impl<S: TesseraStore> TesseraStore for CacheHandle<S> {
    async fn document(
        &self,
        tessera: TesseraId,
        kind: DocumentKind,
        hash: Option<Checksum>,
    ) -> Result<Bytes, ActorError> {
        self.store().document(tessera, kind, hash).await
    }

    async fn layouts(&self, tessera: TesseraId) -> Result<Layouts, ActorError> {
        self.store().layouts(tessera).await
    }
}

/// A tessera whose documents were read and checked.
#[derive(Debug, Clone)]
pub(crate) struct Source<S> {
    store: S,
    pub(crate) manifest: SignedManifest,
    pub(crate) layout: SignedLayout,
}

/// Where a fragment stands, and what it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) id: FragmentId,
    pub(crate) checksum: Checksum,
    /// A chunk of the content; parity otherwise.
    pub(crate) is_data: bool,
}

/// What a tessera says of one of its fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// Nothing: what says how it is put together is not here, or damaged.
    Unknown,
    /// That it has none there.
    Nowhere,
    /// That it is this one.
    As(Checksum),
}

/// What the layout of its tessera says of a fragment. Errors with [`ArchiveError::Store`] when that could not be read.
pub async fn named<S: TesseraStore>(store: S, id: FragmentId) -> Result<Named, ArchiveError> {
    let looked = async {
        let source = Source::naming(store, id).await?;
        let layout = source.layout.layout();
        let Some(number) = layout.number(id.stripe, id.index) else { return Ok(Named::Nowhere) };
        let places = source.places(layout.page_of(number).0).await?;
        let place = places.into_iter().find(|place| place.id == id);
        Ok(place.map_or(Named::Nowhere, |place| Named::As(place.checksum)))
    };
    match looked.await {
        Err(
            ArchiveError::Store(ActorError::NotFound { .. } | ActorError::CorruptDocument { .. })
            | ArchiveError::Proto(_)
            | ArchiveError::Damaged { .. },
        ) => Ok(Named::Unknown),
        named => named,
    }
}

impl<S: TesseraStore> Source<S> {
    /// Reads manifest and layout: of several layouts the one by which its content is here. Errors with
    /// [`ArchiveError::Store`], [`ArchiveError::Proto`] and [`ArchiveError::Damaged`].
    pub(crate) async fn open(store: S, tessera: TesseraId) -> Result<Self, ArchiveError> {
        let manifest = manifest(&store, tessera).await?;
        let mut layouts = store.layouts(tessera).await?;
        // A whole copy stands by itself; what is kept for others of the same tessera says nothing about it.
        layouts.sort_by_key(|layout| {
            layout.as_ref().map_or(2, |it| u8::from(it.layout().code() != Code::WHOLE))
        });
        let mut begun = Vec::new();
        if layouts.len() > 1 {
            for (at, layout) in layouts.iter().enumerate() {
                if let Ok(layout) = layout
                    && is_here(&store, layout.layout()).await?
                {
                    begun.push(at);
                }
            }
        }
        let at = match begun[..] {
            [] => 0,
            [at] => at,
            _ => fullest(&store, &layouts, begun).await?,
        };
        let layout = layouts.swap_remove(at)?;
        Ok(Self { store, manifest, layout })
    }

    /// Reads manifest and layout: of several layouts the one that names a fragment, if any does.
    async fn naming(store: S, id: FragmentId) -> Result<Self, ArchiveError> {
        let manifest = manifest(&store, id.tessera).await?;
        let mut layouts = store.layouts(id.tessera).await?;
        let names = |layout: &Result<SignedLayout, ActorError>| {
            layout.as_ref().is_ok_and(|it| it.layout().number(id.stripe, id.index).is_some())
        };
        let at = layouts.iter().position(names).unwrap_or_default();
        let layout = layouts.swap_remove(at)?;
        Ok(Self { store, manifest, layout })
    }

    /// How many pages of [`Source::places`] there are.
    pub(crate) fn pages(&self) -> usize {
        self.layout.layout().pages().len()
    }

    /// The fragments of one page of the layout, in order.
    pub(crate) async fn places(&self, page: usize) -> Result<Vec<Place>, ArchiveError> {
        let layout = self.layout.layout();
        let tessera = layout.tessera();
        let hash = layout.pages().get(page).copied();
        let bytes = self.store.document(tessera, DocumentKind::LayoutPage, hash).await?;
        let checksums = layout.page(page, bytes)?;
        let first = (page * LAYOUT_PAGE_CHECKSUMS_MAX) as u64;
        let places = (first..).zip(checksums.iter()).filter_map(|(number, checksum)| {
            let (stripe, index) = layout.position(number)?;
            let is_data = index < layout.stripe_width(stripe).0;
            Some(Place { id: FragmentId { tessera, stripe, index }, checksum, is_data })
        });
        Ok(places.collect())
    }

    /// The fragment, which is the one its layout names. Errors with [`ArchiveError::Store`] and
    /// [`ArchiveError::Damaged`].
    pub(crate) async fn fragment(&self, place: Place) -> Result<Fragment, ArchiveError> {
        let fragment = self.store.get(place.id).await?;
        if fragment.checksum() == place.checksum {
            return Ok(fragment);
        }
        let what = format!("fragment {} is not the one its layout names ({})", place.id, place.checksum);
        Err(ArchiveError::Damaged { what })
    }
}

async fn manifest<S: TesseraStore>(store: &S, tessera: TesseraId) -> Result<SignedManifest, ArchiveError> {
    let manifest = SignedManifest::parse(store.document(tessera, DocumentKind::Manifest, None).await?)?;
    if manifest.id() != tessera {
        let what = format!("the manifest stored for {tessera} is that of {}", manifest.id());
        return Err(ArchiveError::Damaged { what });
    }
    Ok(manifest)
}

/// The one of these layouts of which least of the content is lacking, the first if several are as good: of others there may be
/// what was left of a fetch that came to nothing.
async fn fullest<S: TesseraStore>(
    store: &S,
    layouts: &Layouts,
    among: Vec<usize>,
) -> Result<usize, ActorError> {
    let (mut fullest, mut lacks) = (0, u64::MAX);
    for at in among {
        let Some(Ok(layout)) = layouts.get(at) else { continue };
        let (here, _) = data_here(store, layout.layout()).await?;
        let lacking = layout.layout().data_fragments().saturating_sub(here);
        if lacking < lacks {
            (fullest, lacks) = (at, lacking);
        }
    }
    Ok(fullest)
}

/// Whether all of the content is here by a layout, and in order, as far as the index knows.
pub(crate) async fn is_whole<S: FragmentStore>(store: &S, layout: &Layout) -> Result<bool, ActorError> {
    Ok(data_here(store, layout).await?.1 == layout.data_fragments())
}

/// How many data fragments of a layout are here, and how many of these in order, as far as the index knows.
async fn data_here<S: FragmentStore>(store: &S, layout: &Layout) -> Result<(u64, u64), ActorError> {
    let (stripes, mut here, mut in_order) = (layout.stripe_numbers(), 0, 0);
    let mut from = (stripes.start, 0);
    loop {
        let rows = store.checksums(layout.tessera(), from, ROWS).await?;
        let of_it = rows.iter().take_while(|row| row.stripe < stripes.end);
        for row in of_it.filter(|row| row.index < layout.stripe_width(row.stripe).0) {
            here += 1;
            in_order += u64::from(row.state == BlobState::Ok);
        }
        match rows.last() {
            Some(last) if rows.len() == ROWS as usize && last.stripe < stripes.end => {
                from = (last.stripe, last.index.saturating_add(1));
            }
            _ => return Ok((here, in_order)),
        }
    }
}

/// Rows of the index that are read together.
const ROWS: u32 = 4096;

/// Whether the content begins to be here by this layout.
async fn is_here<S: TesseraStore>(store: &S, layout: &Layout) -> Result<bool, ActorError> {
    let Some(first) = layout.position(0) else { return Ok(true) };
    let rows = store.checksums(layout.tessera(), first, 1).await?;
    Ok(rows.first().is_some_and(|row| (row.stripe, row.index) == first))
}

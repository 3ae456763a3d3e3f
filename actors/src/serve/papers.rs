//! Documents that came, or are here, of tesserae that fragments are coming of: read and verified once, not for each
//! fragment.
//!
//! What comes with `PutDocument` is kept in memory only, for a while and up to a bound: it is stored together with the
//! first fragment that needs it, so that nobody fills a disk with documents of nothing.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use lru::LruCache;
use proto::{
    Checksum, FragmentId, ProtoError, TesseraId,
    layout::{LayoutPage, SignedLayout},
    manifest::SignedManifest,
    record::DocumentKind,
    wire::{Answer, Refusal, RefusalKind},
};

use super::{Reply, Server, refusal};
use crate::{conn_pool::Inbound, error::ActorError};

/// A document that is offered.
pub(super) struct Paper {
    pub(super) tessera: TesseraId,
    pub(super) document: DocumentKind,
    pub(super) layout: Option<Checksum>,
    pub(super) length: u32,
}

/// What was read lately. Documents are found by their hash, so none is ever out of date.
pub(super) struct Papers {
    manifests: Shelf<SignedManifest>,
    layouts: Shelf<SignedLayout>,
    pages: Shelf<LayoutPage>,
}

/// The last few of a kind.
struct Shelf<T>(Mutex<LruCache<Checksum, Arc<T>>>);

/// The documents that make a fragment acceptable.
pub(super) struct Dossier {
    pub(super) manifest: Arc<SignedManifest>,
    pub(super) layout: Arc<SignedLayout>,
    page: Arc<LayoutPage>,
    at: usize,
}

impl Dossier {
    /// The checksum of the fragment that they were gathered for.
    pub(super) fn checksum(&self) -> Option<Checksum> {
        self.page.checksum(self.at)
    }

    /// All of them, as they are stored.
    pub(super) fn documents(&self) -> Vec<(DocumentKind, Bytes)> {
        vec![
            (DocumentKind::Manifest, self.manifest.bytes().clone()),
            (DocumentKind::Layout, self.layout.bytes().clone()),
            (DocumentKind::LayoutPage, self.page.bytes().clone()),
        ]
    }
}

impl Default for Papers {
    fn default() -> Self {
        Self { manifests: Shelf::new(), layouts: Shelf::new(), pages: Shelf::new() }
    }
}

impl<T> Shelf<T> {
    fn new() -> Self {
        Self(Mutex::new(LruCache::new(SHELF)))
    }

    fn find(&self, hash: Checksum) -> Option<Arc<T>> {
        self.lock().get(&hash).cloned()
    }

    fn keep(&self, hash: Checksum, paper: T) -> Arc<T> {
        let paper = Arc::new(paper);
        self.lock().put(hash, paper.clone());
        paper
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<Checksum, Arc<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// `PutDocument`.
    pub(super) async fn put_document(&self, stream: &mut Inbound, paper: Paper) -> Reply {
        if paper.length > bytes_max(paper.document) {
            let reason =
                format!("a {} of {} bytes is not taken from others", paper.document.name(), paper.length);
            return Err(RefusalKind::QuotaExceeded.because(reason));
        }
        self.refuse_blocked(paper.tessera)?;
        let bytes = self.receive(stream, paper.length).await?;
        let learnt = self.learn(&paper, bytes).await;
        if let Err(refusal) = &learnt
            && matches!(refusal.kind(), RefusalKind::Corrupt)
        {
            stream.lease.strike(refusal);
        }
        learnt.map(|()| (Answer::Done, Bytes::new()))
    }

    async fn learn(&self, paper: &Paper, bytes: Bytes) -> Result<(), Refusal> {
        let papers = &self.state.papers;
        let hash = Checksum::of(&bytes);
        match paper.document {
            DocumentKind::Manifest => {
                let manifest = SignedManifest::parse(bytes).map_err(corrupt)?;
                if manifest.id() != paper.tessera {
                    return Err(RefusalKind::Corrupt.because("that is the manifest of another tessera"));
                }
                papers.manifests.keep(hash, manifest);
            }
            DocumentKind::Layout => {
                let manifest = self.manifest(paper.tessera).await?;
                papers.layouts.keep(hash, SignedLayout::parse(bytes, &manifest).map_err(corrupt)?);
            }
            DocumentKind::LayoutPage => {
                let manifest = self.manifest(paper.tessera).await?;
                let root =
                    paper.layout.ok_or_else(|| RefusalKind::Malformed.because("a page names its layout"))?;
                let layout = self.layout(&manifest, root).await?;
                if !layout.layout().pages().contains(&hash) {
                    return Err(RefusalKind::Corrupt.because("that page is none of the layout's"));
                }
                papers.pages.keep(hash, LayoutPage::parse(hash, bytes).map_err(corrupt)?);
            }
        }
        Ok(())
    }

    /// The documents that say which checksum a fragment has to have.
    pub(super) async fn dossier(&self, id: FragmentId, root: Checksum) -> Result<Dossier, Refusal> {
        let manifest = self.manifest(id.tessera).await?;
        let layout = self.layout(&manifest, root).await?;
        let number = layout.layout().number(id.stripe, id.index);
        let number =
            number.ok_or_else(|| RefusalKind::Forbidden.because("the layout has no such fragment"))?;
        let (number, at) = layout.layout().page_of(number);
        let page = self.page(id.tessera, &layout, number).await?;
        Ok(Dossier { manifest, layout, page, at })
    }

    async fn manifest(&self, tessera: TesseraId) -> Result<Arc<SignedManifest>, Refusal> {
        let hash = Checksum::from_bytes(*tessera.as_bytes());
        if let Some(manifest) = self.state.papers.manifests.find(hash) {
            return Ok(manifest);
        }
        let bytes = self.held(tessera, DocumentKind::Manifest, hash).await?;
        Ok(self.state.papers.manifests.keep(hash, SignedManifest::parse(bytes).map_err(corrupt)?))
    }

    async fn layout(&self, manifest: &SignedManifest, root: Checksum) -> Result<Arc<SignedLayout>, Refusal> {
        let tessera = manifest.id();
        if let Some(layout) =
            self.state.papers.layouts.find(root).filter(|known| known.layout().tessera() == tessera)
        {
            return Ok(layout);
        }
        let bytes = self.held(tessera, DocumentKind::Layout, root).await?;
        Ok(self.state.papers.layouts.keep(root, SignedLayout::parse(bytes, manifest).map_err(corrupt)?))
    }

    async fn page(
        &self,
        tessera: TesseraId,
        layout: &SignedLayout,
        number: usize,
    ) -> Result<Arc<LayoutPage>, Refusal> {
        let hash = layout.layout().pages().get(number);
        let hash = *hash.ok_or_else(|| RefusalKind::Forbidden.because("the layout has no such page"))?;
        if let Some(page) = self.state.papers.pages.find(hash) {
            return Ok(page);
        }
        let bytes = self.held(tessera, DocumentKind::LayoutPage, hash).await?;
        // How many checksums there must be is the layout's to say.
        Ok(self.state.papers.pages.keep(hash, layout.layout().page(number, bytes).map_err(corrupt)?))
    }

    /// A document that is stored here; without it the peer has to send it.
    async fn held(&self, tessera: TesseraId, kind: DocumentKind, hash: Checksum) -> Result<Bytes, Refusal> {
        match self.storage.document(tessera, kind, Some(hash)).await {
            Ok(bytes) => Ok(bytes),
            // One that is damaged here is healed by the one that is sent.
            Err(ActorError::NotFound { .. } | ActorError::CorruptDocument { .. }) => {
                Err(RefusalKind::NeedManifest.because(format!("send the {} first", kind.name())))
            }
            Err(error) => Err(refusal(&error)),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` passes")]
fn corrupt(error: ProtoError) -> Refusal {
    RefusalKind::Corrupt.because(error.to_string())
}

/// The longest document of a kind that is taken from others, in bytes: a layout of this length is that of ten terabytes.
fn bytes_max(kind: DocumentKind) -> u32 {
    match kind {
        DocumentKind::Layout => LAYOUT_BYTES_MAX,
        DocumentKind::Manifest | DocumentKind::LayoutPage => u32::MAX,
    }
}

/// Documents of a kind that are remembered.
const SHELF: NonZeroUsize = NonZeroUsize::new(64).unwrap();
const LAYOUT_BYTES_MAX: u32 = 256 << 10;

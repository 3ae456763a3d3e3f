//! Documents that came, or are here, of tesserae that fragments are coming of: read and verified once, not for each
//! fragment.
//!
//! What comes with `PutDocument` and `Introduce` is kept in memory only, for a while and up to a bound: it is stored together with the
//! first fragment that needs it, so that nobody fills a disk with documents of nothing.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use lru::LruCache;
use proto::{
    AccountId, Checksum, FragmentId, ProtoError, TesseraId,
    layout::{LayoutPage, SignedLayout},
    limits::LAYOUT_PAGE_CHECKSUMS_MAX,
    manifest::SignedManifest,
    record::{DOCUMENT_FIELDS_BYTES, DocumentKind},
    wire::{Answer, Refusal, RefusalKind},
};

use super::{
    Reply, Server,
    absent::{self, Absent},
    refusal,
};
use crate::{
    conn_pool::{Inbound, Lease},
    error::ActorError,
    storage::Side,
    store::Deposited,
};

/// A document that is offered.
pub(super) struct Document {
    pub(super) tessera: TesseraId,
    pub(super) document: DocumentKind,
    pub(super) layout: Option<Checksum>,
}

/// What was read lately. Documents are found by their hash, so none is ever out of date.
pub(super) struct Papers {
    manifests: Shelf<SignedManifest>,
    layouts: Shelf<SignedLayout>,
    pages: Shelf<LayoutPage>,
    absent: Mutex<LruCache<absent::Key, Arc<Absent>>>,
    /// Which documents are paid for, by their tessera: because they are stored here, or come with a fragment that is on its
    /// way. What is not remembered is paid for once more.
    paid: Mutex<LruCache<(TesseraId, Checksum), Arc<AtomicBool>>>,
}

/// The last few of a kind.
struct Shelf<T>(Mutex<LruCache<Checksum, Arc<Paper<T>>>>);

/// A document, and its hash.
pub(super) struct Paper<T> {
    paper: T,
    /// BLAKE3 of its bytes.
    hash: Checksum,
}

/// What documents cost that come with a fragment, until they are stored.
pub(super) struct Charge {
    pub(super) bytes: u64,
    papers: Vec<Arc<AtomicBool>>,
}

/// The documents that make a fragment acceptable.
pub(super) struct Dossier {
    pub(super) manifest: Arc<Paper<SignedManifest>>,
    pub(super) layout: Arc<Paper<SignedLayout>>,
    page: Arc<Paper<LayoutPage>>,
    /// The number of the page, and the fragment's place in it.
    number: usize,
    at: usize,
}

impl Dossier {
    /// The checksum of the fragment that they were gathered for.
    pub(super) fn checksum(&self) -> Option<Checksum> {
        self.page.checksum(self.at)
    }

    /// Of which page of which tessera the fragment is, and its place there.
    pub(super) fn place(&self) -> (absent::Key, usize) {
        let author = self.manifest.manifest().author;
        ((AccountId::from(author), self.manifest.id(), self.layout.hash, self.number), self.at)
    }

    /// All of them, as they are stored.
    pub(super) fn documents(&self) -> Vec<Deposited> {
        let deposited = |kind, hash, bytes: &Bytes| Deposited { kind, hash, bytes: bytes.clone() };
        vec![
            deposited(DocumentKind::Manifest, self.manifest.hash, self.manifest.bytes()),
            deposited(DocumentKind::Layout, self.layout.hash, self.layout.bytes()),
            deposited(DocumentKind::LayoutPage, self.page.hash, self.page.bytes()),
        ]
    }

    /// Which documents these are, and how long they are as they are stored.
    fn lengths(&self) -> [(Checksum, usize); 3] {
        let lengths = [
            (self.manifest.hash, self.manifest.bytes().len()),
            (self.layout.hash, self.layout.bytes().len()),
            (self.page.hash, self.page.bytes().len()),
        ];
        lengths.map(|(hash, length)| (hash, length + DOCUMENT_FIELDS_BYTES))
    }
}

impl Papers {
    /// Charges those documents that are not stored and that nobody else is being charged for.
    pub(super) fn charge(&self, dossier: &Dossier) -> Charge {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let mut charge = Charge { bytes: 0, papers: Vec::new() };
        for (hash, length) in dossier.lengths() {
            let is_paid = paid.get_or_insert_mut((dossier.manifest.id(), hash), Arc::default);
            if !is_paid.swap(true, Ordering::Relaxed) {
                charge.bytes += length as u64;
                charge.papers.push(is_paid.clone());
            }
        }
        charge
    }

    /// Nothing of a tessera is here any more.
    pub(super) fn dropped(&self, tessera: TesseraId) {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = paid.iter().map(|(key, _)| *key).filter(|(of, _)| *of == tessera).collect();
        for key in gone {
            paid.pop(&key);
        }
    }

    /// A document of a tessera is stored here.
    fn is_stored(&self, tessera: TesseraId, hash: Checksum) {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        paid.get_or_insert_mut((tessera, hash), Arc::default).store(true, Ordering::Relaxed);
    }
}

impl Charge {
    /// They are stored now.
    pub(super) fn are_stored(mut self) {
        self.papers.clear();
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        // They were not stored: whoever comes next pays.
        self.papers.iter().for_each(|is_paid| is_paid.store(false, Ordering::Relaxed));
    }
}

impl Default for Papers {
    fn default() -> Self {
        let absent = Mutex::new(LruCache::new(SHELF));
        let paid = Mutex::new(LruCache::new(PAID));
        Self { manifests: Shelf::new(), layouts: Shelf::new(), pages: Shelf::new(), absent, paid }
    }
}

impl<T> Shelf<T> {
    fn new() -> Self {
        Self(Mutex::new(LruCache::new(SHELF)))
    }

    fn find(&self, hash: Checksum) -> Option<Arc<Paper<T>>> {
        self.lock().get(&hash).cloned()
    }

    fn keep(&self, hash: Checksum, paper: T) -> Arc<Paper<T>> {
        let paper = Arc::new(Paper { paper, hash });
        self.lock().put(hash, paper.clone());
        paper
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<Checksum, Arc<Paper<T>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> std::ops::Deref for Paper<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.paper
    }
}

impl Server {
    /// `PutDocument`.
    pub(super) async fn put_document(&self, stream: &mut Inbound, paper: Document, length: u32) -> Reply {
        if length as usize > paper.document.sent_bytes_max() {
            let reason = format!("a {} of {length} bytes is not taken from others", paper.document.name());
            return Err(RefusalKind::QuotaExceeded.because(reason));
        }
        if paper.document == DocumentKind::Retraction {
            return self.take_back(stream, paper.tessera, length).await;
        }
        self.refuse_blocked(paper.tessera)?;
        // Layouts come behind a manifest and before a fragment, which are refused as well.
        if matches!(paper.document, DocumentKind::Manifest | DocumentKind::Placement) {
            self.refuse_retracted(paper.tessera).await?;
        }
        if paper.document != DocumentKind::Placement {
            self.refuse_new()?;
        }
        let papers = self.papers(stream.lease.node());
        // Nobody's documents are read of whose tessera nothing would be kept.
        if paper.document != DocumentKind::Manifest {
            self.welcome(&*self.manifest(papers, paper.tessera).await?).await?;
        }
        let (bytes, _memory) = self.receive(stream, length).await?;
        self.learn_from(&stream.lease, &paper, bytes).await?;
        Ok((Answer::Done, Bytes::new()))
    }

    /// `Introduce`: what [`Server::put_document`] takes one after the other, when all of it is small.
    pub(super) async fn introduce(
        &self,
        stream: &mut Inbound,
        tessera: TesseraId,
        [manifest, layout, page]: [u32; 3],
    ) -> Reply {
        self.refuse_blocked(tessera)?;
        self.refuse_retracted(tessera).await?;
        self.refuse_new()?;
        let (mut bytes, _memory) = self.receive(stream, manifest + layout + page).await?;
        let [manifest, layout, page] = [manifest, layout, page].map(|length| bytes.split_to(length as usize));
        let root = Some(Checksum::of(&layout));
        for (document, layout, bytes) in [
            (DocumentKind::Manifest, None, manifest),
            (DocumentKind::Layout, None, layout),
            (DocumentKind::LayoutPage, root, page),
        ] {
            let paper = Document { tessera, document, layout };
            self.learn_from(&stream.lease, &paper, bytes).await?;
        }
        Ok((Answer::Done, Bytes::new()))
    }

    /// Learns a document. Whoever sends what is none is remembered for it.
    async fn learn_from(&self, from: &Lease, paper: &Document, bytes: Bytes) -> Result<(), Refusal> {
        let learnt = self.learn(self.papers(from.node()), paper, bytes).await;
        if let Err(refusal) = &learnt
            && matches!(refusal.kind(), RefusalKind::Corrupt)
        {
            from.strike(refusal);
        }
        learnt
    }

    async fn learn(&self, papers: &Papers, paper: &Document, bytes: Bytes) -> Result<(), Refusal> {
        let hash = Checksum::of(&bytes);
        match paper.document {
            DocumentKind::Manifest => {
                let manifest = SignedManifest::parse(bytes).map_err(corrupt)?;
                if manifest.id() != paper.tessera {
                    return Err(RefusalKind::Corrupt.because("that is the manifest of another tessera"));
                }
                self.welcome(&manifest).await?;
                papers.manifests.keep(hash, manifest);
            }
            DocumentKind::Layout => {
                let manifest = self.manifest(papers, paper.tessera).await?;
                papers.layouts.keep(hash, SignedLayout::parse(bytes, &manifest).map_err(corrupt)?);
            }
            DocumentKind::LayoutPage => {
                let manifest = self.manifest(papers, paper.tessera).await?;
                let root =
                    paper.layout.ok_or_else(|| RefusalKind::Malformed.because("a page names its layout"))?;
                let layout = self.layout(papers, &manifest, root).await?;
                let number = layout.layout().pages().iter().position(|page| *page == hash);
                let number = number
                    .ok_or_else(|| RefusalKind::Corrupt.because("that page is none of the layout's"))?;
                papers.pages.keep(hash, layout.layout().page(number, bytes).map_err(corrupt)?);
            }
            DocumentKind::Placement => {
                let manifest = self.manifest(papers, paper.tessera).await?;
                self.keep_placement(&manifest, bytes).await?;
            }
            // Taken back before it comes to this.
            DocumentKind::Retraction => return Err(super::unsupported()),
        }
        Ok(())
    }

    /// The documents that say which checksum a fragment has to have.
    pub(super) async fn dossier(
        &self,
        papers: &Papers,
        id: FragmentId,
        root: Checksum,
    ) -> Result<Dossier, Refusal> {
        let manifest = self.manifest(papers, id.tessera).await?;
        let layout = self.layout(papers, &manifest, root).await?;
        let number = layout.layout().number(id.stripe, id.index);
        let number =
            number.ok_or_else(|| RefusalKind::Forbidden.because("the layout has no such fragment"))?;
        let (number, at) = layout.layout().page_of(number);
        let page = self.page(papers, id.tessera, &layout, number).await?;
        Ok(Dossier { manifest, layout, page, number, at })
    }

    /// Which fragments of the page are not here for the tessera's author.
    pub(super) async fn absent(&self, papers: &Papers, dossier: &Dossier) -> Result<Arc<Absent>, Refusal> {
        let (key, _) = dossier.place();
        let known = || papers.absent.lock().unwrap_or_else(PoisonError::into_inner);
        let absent = known().get_or_insert(key, Arc::default).clone();
        absent.learn(async || self.present(key, dossier).await).await?;
        Ok(absent)
    }

    /// The places in the page of those that are here for the tessera's author.
    async fn present(&self, key: absent::Key, dossier: &Dossier) -> Result<Vec<usize>, Refusal> {
        let layout = dossier.layout.layout();
        let first = dossier.number as u64 * LAYOUT_PAGE_CHECKSUMS_MAX as u64;
        let from = layout.position(first).unwrap_or_default();
        let checksums = self.storage.checksums_door();
        let here = checksums.fragments_of(Side::Held(key.0), key.1, from, PAGE);
        let here = here.await.map_err(|error| refusal(&error))?;
        let present = here.iter().filter_map(|(stripe, index, _)| {
            let (number, at) = layout.page_of(layout.number(*stripe, *index)?);
            (number == dossier.number).then_some(at)
        });
        Ok(present.collect())
    }

    pub(super) async fn manifest(
        &self,
        papers: &Papers,
        tessera: TesseraId,
    ) -> Result<Arc<Paper<SignedManifest>>, Refusal> {
        let hash = Checksum::from_bytes(*tessera.as_bytes());
        if let Some(manifest) = papers.manifests.find(hash) {
            return Ok(manifest);
        }
        let bytes = self.held(papers, tessera, DocumentKind::Manifest, hash).await?;
        Ok(papers.manifests.keep(hash, SignedManifest::parse(bytes).map_err(corrupt)?))
    }

    async fn layout(
        &self,
        papers: &Papers,
        manifest: &SignedManifest,
        root: Checksum,
    ) -> Result<Arc<Paper<SignedLayout>>, Refusal> {
        let tessera = manifest.id();
        if let Some(layout) = papers.layouts.find(root).filter(|known| known.layout().tessera() == tessera) {
            return Ok(layout);
        }
        let bytes = self.held(papers, tessera, DocumentKind::Layout, root).await?;
        Ok(papers.layouts.keep(root, SignedLayout::parse(bytes, manifest).map_err(corrupt)?))
    }

    async fn page(
        &self,
        papers: &Papers,
        tessera: TesseraId,
        layout: &SignedLayout,
        number: usize,
    ) -> Result<Arc<Paper<LayoutPage>>, Refusal> {
        let hash = layout.layout().pages().get(number);
        let hash = *hash.ok_or_else(|| RefusalKind::Forbidden.because("the layout has no such page"))?;
        if let Some(page) = papers.pages.find(hash) {
            return Ok(page);
        }
        let bytes = self.held(papers, tessera, DocumentKind::LayoutPage, hash).await?;
        // How many checksums there must be is the layout's to say.
        Ok(papers.pages.keep(hash, layout.layout().page(number, bytes).map_err(corrupt)?))
    }

    /// A document that is stored here; without it the peer has to send it.
    async fn held(
        &self,
        papers: &Papers,
        tessera: TesseraId,
        kind: DocumentKind,
        hash: Checksum,
    ) -> Result<Bytes, Refusal> {
        match self.storage.document(tessera, kind, Some(hash)).await {
            Ok(bytes) => {
                papers.is_stored(tessera, hash);
                Ok(bytes)
            }
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

/// Fragments of a page of a layout.
const PAGE: u32 = 2048;
const _: () = assert!(PAGE as usize == LAYOUT_PAGE_CHECKSUMS_MAX);
/// Documents that are known to be paid for.
const PAID: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// Documents of a kind that are remembered.
const SHELF: NonZeroUsize = NonZeroUsize::new(64).unwrap();

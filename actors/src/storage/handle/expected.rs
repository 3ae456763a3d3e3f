//! What should be there by a tessera's layout, through the checksum door: what others claim is held against it. Manifest,
//! layout and pages are documents, so no blob is read; each is checked, down from the tessera's id.

use std::ops::Range;

use proto::{
    Checksum, TesseraId,
    layout::{Layout, LayoutPage, SignedLayout},
    manifest::SignedManifest,
    record::DocumentKind,
};

use super::{ChecksumHandle, StorageHandle};
use crate::error::ActorError;

/// What should be there of some stripes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// BLAKE3 of the layout that says so.
    pub layout: Checksum,
    /// How many stripes it has.
    pub stripes: u32,
    /// The fragments, in order.
    pub fragments: Vec<ExpectedFragment>,
}

/// A fragment that should be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedFragment {
    /// The stripe, from 0.
    pub stripe: u32,
    /// The place in the stripe, from 0.
    pub index: u16,
    /// Its checksum.
    pub checksum: Checksum,
    /// Its length in bytes.
    pub length: u32,
}

impl ChecksumHandle {
    /// The fragments of some stripes of a tessera by the newest layout of it that is here, in order, at most `limit` of
    /// them. The newest is the one that stands last in the log.
    ///
    /// Errors with [`ActorError::NotFound`] when manifest, layout or a page is not here, with
    /// [`ActorError::CorruptDocument`] when one is damaged, and with [`ActorError::Proto`] when they do not fit each other.
    pub async fn expected(
        &self,
        tessera: TesseraId,
        stripes: Range<u32>,
        limit: u32,
    ) -> Result<Expected, ActorError> {
        let signed = newest_layout(&self.0, tessera).await?;
        let layout = signed.layout();
        let first = layout.number(stripes.start, 0).unwrap_or(layout.fragments());
        let end = layout.number(stripes.end, 0).unwrap_or(layout.fragments());
        let mut fragments = Vec::new();
        let mut open: Option<(usize, LayoutPage)> = None;
        for number in (first..end).take(limit as usize) {
            let (at, place) = layout.page_of(number);
            let page = match open.take() {
                Some((opened, page)) if opened == at => page,
                _ => page(&self.0, layout, at).await?,
            };
            if let (Some((stripe, index)), Some(checksum)) = (layout.position(number), page.checksum(place)) {
                let length = layout.fragment_len_at(stripe, index);
                fragments.push(ExpectedFragment { stripe, index, checksum, length });
            }
            open = Some((at, page));
        }
        Ok(Expected { layout: signed.checksum(), stripes: layout.stripes(), fragments })
    }
}

async fn newest_layout(storage: &StorageHandle, tessera: TesseraId) -> Result<SignedLayout, ActorError> {
    // Its hash is the id, so it is the right one.
    let hash = Checksum::from_bytes(*tessera.as_bytes());
    let manifest = storage.document(tessera, DocumentKind::Manifest, Some(hash)).await?;
    let manifest = SignedManifest::parse(manifest)?;
    let documents = storage.records().documents(tessera).await?;
    let newest = documents.iter().rfind(|document| document.kind == DocumentKind::Layout);
    let newest = newest.ok_or_else(|| ActorError::not_found(format!("the layout of {tessera}")))?;
    let layout = storage.document(tessera, DocumentKind::Layout, Some(newest.hash)).await?;
    Ok(SignedLayout::parse(layout, &manifest)?)
}

async fn page(storage: &StorageHandle, layout: &Layout, at: usize) -> Result<LayoutPage, ActorError> {
    let tessera = layout.tessera();
    let absent = || ActorError::not_found(format!("page {at} of the layout of {tessera}"));
    let hash = *layout.pages().get(at).ok_or_else(absent)?;
    let bytes = storage.document(tessera, DocumentKind::LayoutPage, Some(hash)).await?;
    Ok(layout.page(at, bytes)?)
}

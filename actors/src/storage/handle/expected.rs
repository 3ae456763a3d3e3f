//! What should be there by a tessera's layouts, through the checksum door: what others claim is held against it. Manifest,
//! layouts and pages are documents, so no blob is read; each is checked, down from the tessera's id.

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;
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
    /// The layouts that say so, each with the stripes that it names.
    pub layouts: Vec<(Checksum, Range<u32>)>,
    /// The fragments, in order.
    pub fragments: Vec<ExpectedFragment>,
    /// Pages of these layouts that would say more and are not here, by their BLAKE3: a holder keeps those alone that name
    /// what it has.
    pub absent: Vec<Checksum>,
}

/// A fragment that should be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedFragment {
    /// The stripe.
    pub stripe: u32,
    /// The place in the stripe, from 0.
    pub index: u16,
    /// Its checksum.
    pub checksum: Checksum,
    /// Its length in bytes.
    pub length: u32,
}

impl ChecksumHandle {
    /// The fragments of some stripes of a tessera by the layouts of it that are here, in order, at most `limit` of them; by
    /// pages that are here or that somebody has shown, by their BLAKE3.
    ///
    /// Errors with [`ActorError::NotFound`] when manifest or layout is not here, with [`ActorError::CorruptDocument`] when one
    /// or a page is damaged, and with [`ActorError::Proto`] when they do not fit each other.
    pub async fn expected(
        &self,
        tessera: TesseraId,
        stripes: Range<u32>,
        limit: u32,
        shown: &BTreeMap<Checksum, Bytes>,
    ) -> Result<Expected, ActorError> {
        let layouts = self.0.layouts(tessera).await?.into_iter().collect::<Result<_, _>>()?;
        let mut layouts = apart(layouts);
        layouts.sort_by_key(|signed| signed.layout().stripe_numbers().start);
        let (mut fragments, mut absent) = (Vec::new(), Vec::new());
        for signed in &layouts {
            let (layout, left) = (signed.layout(), limit as usize - fragments.len());
            let known = layout.stripe_numbers();
            let number =
                |stripe: u32| layout.number(stripe.max(known.start), 0).unwrap_or(layout.fragments());
            let mut open: Option<(usize, Option<LayoutPage>)> = None;
            for number in (number(stripes.start)..number(stripes.end)).take(left) {
                let (at, place) = layout.page_of(number);
                let page = match open.take() {
                    Some((opened, page)) if opened == at => page,
                    _ => {
                        let page = page(&self.0, layout, at, shown).await?;
                        absent.extend(layout.pages().get(at).filter(|_| page.is_none()));
                        page
                    }
                };
                let checksum = page.as_ref().and_then(|page| page.checksum(place));
                if let (Some((stripe, index)), Some(checksum)) = (layout.position(number), checksum) {
                    let length = layout.fragment_len_at(stripe, index);
                    fragments.push(ExpectedFragment { stripe, index, checksum, length });
                }
                open = Some((at, page));
            }
        }
        let layouts = layouts.iter().map(|signed| (signed.checksum(), signed.layout().stripe_numbers()));
        Ok(Expected { layouts: layouts.collect(), fragments, absent })
    }
}

impl StorageHandle {
    /// The layouts of a tessera that are here, the newest first: the one that begins last, or stands last in the log. Of each
    /// either what it says, or why that cannot be told: [`ActorError::CorruptDocument`] or [`ActorError::Proto`].
    ///
    /// Errors with [`ActorError::NotFound`] when the manifest or any layout is not here, and when the manifest is damaged.
    pub async fn layouts(
        &self,
        tessera: TesseraId,
    ) -> Result<Vec<Result<SignedLayout, ActorError>>, ActorError> {
        // Its hash is the id, so it is the right one.
        let hash = Checksum::from_bytes(*tessera.as_bytes());
        let manifest = self.document(tessera, DocumentKind::Manifest, Some(hash)).await?;
        let manifest = SignedManifest::parse(manifest)?;
        let mut layouts = Vec::new();
        let documents = self.records().documents(tessera).await?;
        for known in documents.iter().rev().filter(|document| document.kind == DocumentKind::Layout) {
            let bytes = self.document(tessera, DocumentKind::Layout, Some(known.hash)).await;
            layouts.push(bytes.and_then(|bytes| Ok(SignedLayout::parse(bytes, &manifest)?)));
        }
        if layouts.is_empty() {
            return Err(ActorError::not_found(format!("the layout of {tessera}")));
        }
        // Whoever makes another begins it behind all that there are.
        let begins = |layout: &Result<SignedLayout, _>| {
            layout.as_ref().map_or(0, |it: &SignedLayout| it.layout().stripe_numbers().start)
        };
        layouts.sort_by_key(|layout| std::cmp::Reverse(begins(layout)));
        Ok(layouts)
    }
}

/// Without those that name fragments as a newer one does.
fn apart(newest_first: Vec<SignedLayout>) -> Vec<SignedLayout> {
    let mut kept: Vec<SignedLayout> = Vec::new();
    for signed in newest_first {
        let Range { start, end } = signed.layout().stripe_numbers();
        let meets = |other: &SignedLayout| {
            let other = other.layout().stripe_numbers();
            start < other.end && other.start < end
        };
        if !kept.iter().any(meets) {
            kept.push(signed);
        }
    }
    kept
}

/// `None` when it is neither here nor shown.
async fn page(
    storage: &StorageHandle,
    layout: &Layout,
    at: usize,
    shown: &BTreeMap<Checksum, Bytes>,
) -> Result<Option<LayoutPage>, ActorError> {
    let Some(hash) = layout.pages().get(at) else { return Ok(None) };
    let bytes = match shown.get(hash) {
        Some(bytes) => bytes.clone(),
        None => match storage.document(layout.tessera(), DocumentKind::LayoutPage, Some(*hash)).await {
            Err(ActorError::NotFound { .. }) => return Ok(None),
            bytes => bytes?,
        },
    };
    Ok(Some(layout.page(at, bytes)?))
}

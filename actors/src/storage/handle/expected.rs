//! What the layout says a fragment must be, through the checksum door: documents, not blobs.

use std::ops::Range;

use proto::{
    Checksum, TesseraId,
    layout::{LayoutPage, SignedLayout},
    manifest::SignedManifest,
    record::DocumentKind,
};

use super::ChecksumHandle;
use crate::error::ActorError;

/// A fragment as its layout names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedFragment {
    /// The stripe, from 0.
    pub stripe: u32,
    /// The place in the stripe, from 0.
    pub index: u16,
    /// The checksum that it must have.
    pub checksum: Checksum,
    /// Its length in bytes.
    pub length: u32,
}

impl ChecksumHandle {
    /// What the layout that is here names in some stripes, in order, at most `limit` fragments. No blob is read.
    ///
    /// Errors with [`ActorError::NotFound`] when no layout of the tessera is here.
    pub async fn expected(
        &self,
        tessera: TesseraId,
        stripes: Range<u32>,
        limit: u32,
    ) -> Result<Vec<ExpectedFragment>, ActorError> {
        let manifest = self.0.document(tessera, DocumentKind::Manifest, None).await?;
        let manifest = SignedManifest::parse(manifest)?;
        let layout = self.0.document(tessera, DocumentKind::Layout, None).await?;
        let layout = SignedLayout::parse(layout, &manifest)?;
        let layout = layout.layout();
        let (mut rows, mut page): (Vec<_>, Option<(usize, LayoutPage)>) = (Vec::new(), None);
        for stripe in stripes.start..stripes.end.min(layout.stripes()) {
            let (data, parity) = layout.stripe_width(stripe);
            for index in 0..data + parity {
                let Some(number) = layout.number(stripe, index) else { continue };
                let (at_page, at) = layout.page_of(number);
                if page.as_ref().is_none_or(|(here, _)| *here != at_page) {
                    let hash = layout.pages().get(at_page).copied();
                    let bytes = self.0.document(tessera, DocumentKind::LayoutPage, hash).await?;
                    page = Some((at_page, layout.page(at_page, bytes)?));
                }
                let checksum = page.as_ref().and_then(|(_, page)| page.checksum(at));
                let Some(checksum) = checksum else { continue };
                if rows.len() >= limit as usize {
                    return Ok(rows);
                }
                let length = layout.fragment_len_at(stripe, index);
                rows.push(ExpectedFragment { stripe, index, checksum, length });
            }
        }
        Ok(rows)
    }
}

//! The pages of a layout: from here, or from whoever has them.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use proto::{
    Checksum, NodeId,
    layout::{LayoutPage, SignedLayout},
    manifest::SignedManifest,
    record::DocumentKind,
};
use tokio::sync::Mutex;

use super::Tools;
use crate::{error::ActorError, store::Deposited};

/// The pages of a layout, those that were read last in memory.
pub(super) struct Pages<'a> {
    tools: &'a Tools,
    layout: SignedLayout,
    known_to: Vec<NodeId>,
    read: Mutex<BTreeMap<usize, Arc<LayoutPage>>>,
}

impl<'a> Pages<'a> {
    /// Those of a layout, which these nodes know.
    pub(super) fn new(tools: &'a Tools, layout: SignedLayout, known_to: Vec<NodeId>) -> Self {
        Self { tools, layout, known_to, read: Mutex::default() }
    }

    /// The checksums of a stripe with so many fragments. Errors with [`ActorError::Conflict`] when nobody has the page.
    pub(super) async fn checksums(&self, stripe: u32, width: u16) -> Result<Vec<Checksum>, ActorError> {
        let layout = self.layout.layout();
        let mut checksums = Vec::with_capacity(width.into());
        for index in 0..width {
            let (page, at) = layout.page_of(layout.number(stripe, index).unwrap_or(u64::MAX));
            checksums.extend(self.page(page).await?.checksum(at));
        }
        Ok(checksums)
    }

    /// One of them, checked. Errors with [`ActorError::Conflict`] when nobody has it.
    pub(super) async fn page(&self, number: usize) -> Result<Arc<LayoutPage>, ActorError> {
        let mut read = self.read.lock().await;
        if let Some(page) = read.get(&number) {
            return Ok(page.clone());
        }
        let (layout, kind) = (self.layout.layout(), DocumentKind::LayoutPage);
        let hash = layout.pages().get(number).copied();
        let mut found = self.tools.storage.document(layout.tessera(), kind, hash).await.ok();
        for node in &self.known_to {
            if found.is_some() {
                break;
            }
            found = self.tools.remote.document(*node, layout.tessera(), kind, hash).await.ok();
        }
        let absent = || ActorError::Conflict {
            what: format!("nobody has page {number} of the layout of {}", layout.tessera()),
        };
        let page = Arc::new(layout.page(number, found.unwrap_or_else(Bytes::new)).map_err(|_| absent())?);
        while read.len() >= PAGES_KEPT {
            read.pop_first();
        }
        read.insert(number, page.clone());
        Ok(page)
    }
}

/// All that says what a fragment on a page is, to be kept with it.
pub(super) fn documents(
    manifest: &SignedManifest,
    layout: &SignedLayout,
    page: &LayoutPage,
) -> Vec<Deposited> {
    let documents = [
        (DocumentKind::Manifest, manifest.bytes().clone()),
        (DocumentKind::Layout, layout.bytes().clone()),
        (DocumentKind::LayoutPage, page.bytes().clone()),
    ];
    documents.into_iter().map(Deposited::from).collect()
}

/// Pages that are kept: those of the stripes that are on their way.
const PAGES_KEPT: usize = 4;

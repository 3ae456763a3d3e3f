//! `verify`: reads every fragment of a tessera back and compares it with what its author signed.

use std::pin::pin;

use futures::{StreamExt, stream};
use proto::{Checksum, FragmentId, TesseraId};
use tokio::{sync::mpsc::Sender, task::spawn_blocking};

use super::{
    bridge::{Piece, joined, to_reader},
    content::{Checked, FRAGMENTS_AHEAD, read_through},
    error::ArchiveError,
    source::{Place, Source, TesseraStore},
};
use crate::error::ActorError;

/// Faults that a report names; all are counted.
pub const FAULTS_NAMED_MAX: usize = 1000;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct VerifyReport {
    /// The tessera. The signatures of its documents are valid, else there is no report.
    pub tessera: TesseraId,
    /// Fragments that should be here: all that the content was cut into, and what there is of parity.
    pub fragments: u64,
    /// Fragments that are here and right.
    pub ok: u64,
    /// Fragments that are not here.
    pub missing: u64,
    /// Fragments whose bytes are damaged, or not those the layout names.
    pub damaged: u64,
    /// The first [`FAULTS_NAMED_MAX`] that are missing or damaged.
    pub faults: Vec<Fault>,
    /// Whether the content, put together, is what the author signed. `None` when a part of it is missing or damaged.
    pub content_ok: Option<bool>,
}

/// A fragment that is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    /// The fragment's stripe.
    pub stripe: u32,
    /// The fragment's place in the stripe.
    pub index: u16,
    /// What its bytes should hash to.
    pub checksum: Checksum,
    /// What is wrong.
    pub state: FaultState,
}

/// What is wrong with a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultState {
    /// It is not here.
    Missing,
    /// It is damaged, or not the one the layout names.
    Damaged,
}

impl VerifyReport {
    /// Everything is here and right.
    pub fn is_intact(&self) -> bool {
        self.ok == self.fragments && self.content_ok == Some(true)
    }

    fn count(&mut self, place: &Place, state: FaultState) {
        match state {
            FaultState::Missing => self.missing += 1,
            FaultState::Damaged => self.damaged += 1,
        }
        if self.faults.len() < FAULTS_NAMED_MAX {
            let FragmentId { stripe, index, .. } = place.id;
            self.faults.push(Fault { stripe, index, checksum: place.checksum, state });
        }
    }
}

/// Reads all fragments, parity too. `progress` hears the report as it grows. Give it the storage itself, not a cache
/// around it: a cache answers for bytes that it read long ago.
///
/// Errors with [`ArchiveError::Store`] when the store can't answer, and with [`ArchiveError::Proto`] when manifest or
/// layout are not valid.
pub async fn verify<S: TesseraStore>(
    store: S,
    id: TesseraId,
    mut progress: impl FnMut(&VerifyReport),
) -> Result<VerifyReport, ArchiveError> {
    let source = Source::open(store, id).await?;
    let (chunks, reader) = to_reader();
    let mut checked = Checked::new(reader, source.manifest.manifest());
    let hashing = spawn_blocking(move || read_through(&mut checked));
    let mut report = VerifyReport {
        tessera: id,
        fragments: source.layout.layout().data_fragments(),
        ok: 0,
        missing: 0,
        damaged: 0,
        faults: Vec::new(),
        content_ok: None,
    };
    let mut chunks = Some(chunks);
    for page in 0..source.pages() {
        verify_page(&source, page, &mut chunks, &mut report, &mut progress).await?;
    }
    // With the sender goes the end of the content, or what is left of it.
    let whole = chunks.take().is_some();
    match joined(hashing).await {
        _ if !whole => {}
        Ok(()) => report.content_ok = Some(true),
        Err(ArchiveError::Damaged { .. }) => report.content_ok = Some(false),
        Err(error) => return Err(error),
    }
    Ok(report)
}

/// Hashing stops, and `chunks` is `None`, once a chunk of the content is missing.
async fn verify_page<S: TesseraStore>(
    source: &Source<S>,
    page: usize,
    chunks: &mut Option<Sender<Piece>>,
    report: &mut VerifyReport,
    progress: &mut impl FnMut(&VerifyReport),
) -> Result<(), ArchiveError> {
    let places = source.places(page).await?;
    let fragments = stream::iter(places).map(|place| async move { (place, source.fragment(place).await) });
    let mut fragments = pin!(fragments.buffered(FRAGMENTS_AHEAD));
    while let Some((place, fragment)) = fragments.next().await {
        match &fragment {
            Err(ArchiveError::Store(ActorError::NotFound { .. })) if !place.is_data => continue,
            _ => report.fragments += u64::from(!place.is_data),
        }
        let fault = match fragment {
            Ok(fragment) => {
                report.ok += 1;
                if let Some(chunks) = chunks.as_ref().filter(|_| place.is_data) {
                    // The hashing thread reads to the end, whatever comes.
                    let _ = chunks.send(Ok(fragment.into_bytes())).await;
                }
                None
            }
            Err(ArchiveError::Store(ActorError::NotFound { .. })) => Some(FaultState::Missing),
            Err(ArchiveError::Store(ActorError::Corrupt { .. }) | ArchiveError::Damaged { .. }) => {
                Some(FaultState::Damaged)
            }
            Err(error) => return Err(error),
        };
        if let Some(state) = fault {
            report.count(&place, state);
            if place.is_data {
                *chunks = None;
            }
        }
        progress(report);
    }
    Ok(())
}

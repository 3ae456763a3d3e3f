//! Who keeps a tessera: kept for whoever asks where its fragments are. Nobody is believed because of it.

use bytes::Bytes;
use proto::{
    Checksum, NodeId, TesseraId,
    limits::PLACEMENT_VERSIONS_AHEAD_MAX,
    manifest::SignedManifest,
    placement::{Placement, SignedPlacement},
    record::DocumentKind,
    wire::{Refusal, RefusalKind},
};

use super::{Server, refusal};
use crate::{
    error::ActorError,
    storage::{KeptPlacement, Note, Which},
};

impl Server {
    /// Keeps a placement of a tessera of which something is here. One that a repairer has signed counts only if that node is
    /// a holder by what is known here, and those that it replaces are gone: else anybody could send those who look for fragments
    /// elsewhere.
    pub(super) async fn keep_placement(
        &self,
        manifest: &SignedManifest,
        bytes: Bytes,
    ) -> Result<(), Refusal> {
        let (tessera, records) = (manifest.id(), self.storage.records());
        let signed = SignedPlacement::parse(bytes, tessera, manifest.manifest().author)
            .map_err(|error| RefusalKind::Corrupt.because(error.to_string()))?;
        let placement = signed.placement();
        let documents = records.documents(tessera).await.map_err(|error| refusal(&error))?;
        let is_its_layout = |known: &crate::storage::HeldDocument| {
            (known.kind, known.hash) == (DocumentKind::Layout, placement.layout)
        };
        if !documents.iter().any(is_its_layout) {
            return Err(RefusalKind::NotFound.because("nothing of that layout is kept here"));
        }
        let known = self.placement_for(tessera, placement.layout).await.map_err(|error| refusal(&error))?;
        // Nothing is written for what is no news.
        if known.as_ref().is_some_and(|known| (known.version, known.is_by_author) >= placement.rank()) {
            return Ok(());
        }
        let known = known
            .and_then(|known| SignedPlacement::parse(known.signed, tessera, manifest.manifest().author).ok());
        match (placement.repairer, known) {
            (None, _) => {}
            (Some(repairer), Some(known)) => {
                self.check_repaired(known.placement(), placement, repairer).await?
            }
            // It cannot be judged yet: others are asked some time.
            (Some(_), None) => return self.watch(tessera).await.map_err(|error| refusal(&error)),
        }
        let kept = KeptPlacement::from(&signed);
        records.note(vec![Note::Placement(kept)]).await.map_err(|error| refusal(&error))?;
        self.replication.meet(placement.clone());
        Ok(())
    }

    /// Has a tessera looked at some time. Nothing is written if it is anyway, however often that is said.
    async fn watch(&self, tessera: TesseraId) -> Result<(), ActorError> {
        let records = self.storage.records();
        if !records.watched(Which::One(tessera)).await?.is_empty() {
            return Ok(());
        }
        records.note(vec![Note::Watch { tessera }]).await.map(drop)
    }

    /// Refuses what a repairer has signed who is no holder by what is known here, or who replaces somebody who is there.
    async fn check_repaired(
        &self,
        known: &Placement,
        newer: &Placement,
        repairer: NodeId,
    ) -> Result<(), Refusal> {
        if known.indices(repairer).next().is_none() {
            return Err(RefusalKind::Forbidden.because("whoever signed it is no holder of the tessera"));
        }
        // A version that leaves no higher one would keep even its author from saying anything more.
        if newer.version > known.version.saturating_add(PLACEMENT_VERSIONS_AHEAD_MAX) {
            return Err(RefusalKind::Forbidden.because("so many repairs have not been made"));
        }
        self.refuse_usurped(known, newer, repairer).await
    }

    /// The placement that is kept of a tessera: without a hash that of the newest layout.
    pub(super) async fn placement(
        &self,
        tessera: TesseraId,
        hash: Option<Checksum>,
    ) -> Result<Bytes, ActorError> {
        let absent = || ActorError::not_found(format!("a placement of {tessera}"));
        let Some(hash) = hash else {
            let newest = self.newest_layout(tessera).await?;
            let known = self.placement_for(tessera, Checksum::of(&newest)).await?;
            return known.map(|known| known.signed).ok_or_else(absent);
        };
        let kept = self.storage.records().placements(tessera).await?.into_iter();
        kept.map(|known| known.signed).find(|signed| Checksum::of(signed) == hash).ok_or_else(absent)
    }

    /// The layout that counts, as it stands in its file.
    pub(super) async fn newest_layout(&self, tessera: TesseraId) -> Result<Bytes, ActorError> {
        let newest = self.storage.layouts(tessera).await?.into_iter().next();
        let newest =
            newest.unwrap_or_else(|| Err(ActorError::not_found(format!("a layout of {tessera}"))))?;
        Ok(newest.bytes().clone())
    }

    async fn placement_for(
        &self,
        tessera: TesseraId,
        layout: Checksum,
    ) -> Result<Option<KeptPlacement>, ActorError> {
        let kept = self.storage.records().placements(tessera).await?;
        Ok(kept.into_iter().find(|kept| kept.layout == layout))
    }
}

//! `PutFragment`: a fragment that is to be kept for its author, whoever brings it.

use bytes::Bytes;
use proto::{
    AccountId, AuthorId, Checksum, Fragment, FragmentId, NodeId,
    receipt::Receipt,
    wire::{Answer, Refusal, RefusalKind},
};

use super::{
    RETRY_AFTER_MS, Reply, Server, TURN,
    admission::{Debt, Offered},
    papers::Dossier,
    refusal, too_fast,
};
use crate::{
    clock,
    conn_pool::Inbound,
    frames::FrameError,
    storage::{BlobState, Score, Side},
    store::{FragmentStore, PutOutcome},
};

/// A fragment that is offered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    pub(super) id: FragmentId,
    pub(super) checksum: Checksum,
    pub(super) length: u32,
    pub(super) layout: Checksum,
}

impl Server {
    /// `PutFragment`.
    pub(super) async fn put_fragment(&self, stream: &mut Inbound, offer: Offer) -> Reply {
        self.refuse_blocked(offer.id.tessera)?;
        let dossier = self.dossier(offer.id, offer.layout).await?;
        offer.check(&dossier)?;
        let author = dossier.manifest.manifest().author;
        if self.has(author, &offer).await? {
            let receipt = self.receipt(author, stream.lease.node(), &offer)?;
            return Ok((Answer::Have { receipt }, Bytes::new()));
        }
        let _debt = self.admit(author, &dossier, offer.length).await?;
        let bytes = self.receive(stream, offer.length).await?;
        let fragment = Fragment::check(offer.checksum, bytes).map_err(|error| {
            self.peers.scored(stream.lease.node(), Score::WrongBytes, &error);
            RefusalKind::Corrupt.because(error.to_string())
        })?;
        self.refuse_blocked(offer.id.tessera)?;
        let kept = self.cache.deposit(author.into(), offer.id, fragment, dossier.documents()).await;
        let was_there = kept.map_err(|error| refusal(&error))? == PutOutcome::Held;
        // Blocked while it was written: whoever drops what is here may have looked before.
        if let Err(refusal) = self.refuse_blocked(offer.id.tessera) {
            let _ = self.cache.drop_fragment(author.into(), offer.id).await;
            return Err(refusal);
        }
        let receipt = self.receipt(author, stream.lease.node(), &offer)?;
        let answer = if was_there { Answer::Have { receipt } } else { Answer::Stored { receipt } };
        Ok((answer, Bytes::new()))
    }

    /// Refuses what is blocked here, with the reason that was given.
    pub(super) fn refuse_blocked(&self, tessera: proto::TesseraId) -> Result<(), Refusal> {
        match self.peers.book().blocked_tesseras.get(&tessera) {
            None => Ok(()),
            Some(reason) => Err(RefusalKind::Blocked.because(reason)),
        }
    }

    /// Reads what follows a request, as soon as there is a place and memory for it.
    pub(super) async fn receive(&self, stream: &mut Inbound, length: u32) -> Result<Bytes, Refusal> {
        self.throttles.download.pass(length as usize, TURN).await.map_err(too_fast)?;
        let room = self.room(stream.lease.node());
        let Some(place) = room.enter(&stream.lease, length as usize).await else {
            return Err(busy("no memory is free for it at the moment"));
        };
        match place.receive(&mut stream.receive, length).await {
            Ok(bytes) => {
                self.metrics.received(bytes.len());
                Ok(bytes)
            }
            Err(FrameError::Slow) => Err(busy("it came too slowly")),
            Err(error) => {
                if matches!(error, FrameError::Ended) {
                    stream.lease.strike(&CUT_SHORT);
                }
                Err(RefusalKind::Malformed.because(CUT_SHORT))
            }
        }
    }

    /// Whether the author has the fragment here, in good order.
    async fn has(&self, author: AuthorId, offer: &Offer) -> Result<bool, Refusal> {
        let Offer { id, checksum, .. } = *offer;
        let (side, place) = (Side::Held(AccountId::from(author)), (id.stripe, id.index));
        let deposited = self.storage.checksums_door().fragments_of(side, id.tessera, place, 1).await;
        if deposited.map_err(|error| refusal(&error))?.first() != Some(&(id.stripe, id.index, checksum)) {
            return Ok(false);
        }
        let rows = self.storage.checksums(id.tessera, place, 1).await.map_err(|error| refusal(&error))?;
        Ok(rows.first().is_some_and(|row| (row.stripe, row.index) == place && row.state == BlobState::Ok))
    }

    /// Decides whether a fragment is taken, and counts it as on its way.
    async fn admit(&self, author: AuthorId, dossier: &Dossier, length: u32) -> Result<Debt, Refusal> {
        let each = self.config.max_storage_per_peer_bytes;
        let book = self.peers.book();
        let strangers = book.accepts_any.then_some(each);
        let offered = Offered {
            author,
            length: length.into(),
            visibility: dossier.manifest.manifest().visibility,
            hold: self.config.hold,
            allowance: book.allowance(author, each).or(strangers),
            used: 0,
            room: None,
        };
        self.state.accounts.admit(&offered, &self.state.debts, || self.account(author)).await
    }

    /// How much is kept for an author, and how much more the disk takes.
    async fn account(&self, author: AuthorId) -> Result<(u64, Option<u64>), Refusal> {
        let totals = self.storage.records().account(author.into()).await.map_err(|error| refusal(&error))?;
        let usage = self.storage.usage().await.map_err(|error| refusal(&error))?;
        Ok((totals.bytes, usage.room_bytes))
    }

    fn receipt(&self, author: AuthorId, deliverer: NodeId, offer: &Offer) -> Result<Bytes, Refusal> {
        let Offer { id, checksum, length, .. } = *offer;
        let receipt = Receipt {
            holder: self.key.id(),
            deliverer,
            author,
            fragment: id,
            checksum,
            length,
            held_at_ms: u64::try_from(clock::now_ms()).unwrap_or_default(),
        };
        let signed = receipt.sign(&self.key).map_err(|error| refusal(&error.into()))?;
        Ok(signed.bytes().clone())
    }
}

impl Offer {
    /// Refuses a fragment that the layout does not name so.
    fn check(&self, dossier: &Dossier) -> Result<(), Refusal> {
        let length = dossier.layout.layout().fragment_len_at(self.id.stripe, self.id.index);
        if dossier.checksum() == Some(self.checksum) && length == self.length {
            return Ok(());
        }
        Err(RefusalKind::Forbidden.because("the layout has another fragment there"))
    }
}

const CUT_SHORT: &str = "what follows the request ended before it was whole";

fn busy(reason: &str) -> Refusal {
    RefusalKind::Busy { retry_after_ms: RETRY_AFTER_MS }.because(reason)
}

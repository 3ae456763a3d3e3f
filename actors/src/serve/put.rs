//! `PutFragment`: a fragment that is to be kept for its author, whoever brings it.

use bytes::Bytes;
use proto::{
    AccountId, AuthorId, Checksum, Fragment, FragmentId, NodeId,
    manifest::{Manifest, SignedManifest},
    receipt::Receipt,
    wire::{Answer, Refusal, RefusalKind},
};

use super::{
    Reply, Server, TURN,
    admission::{self, Debt, Offered, Purse, Used},
    busy,
    delivered::Delivery,
    papers::Dossier,
    refusal,
    room::Joined,
    too_fast,
};
use crate::{
    clock,
    conn_pool::{Inbound, Lease, PeerBook},
    error::ActorError,
    frames::FrameError,
    storage::{BlobState, PLACE_BYTES, Score, Side},
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
        self.refuse_new()?;
        let papers = self.papers(stream.lease.node());
        let dossier = self.dossier(papers, offer.id, offer.layout).await?;
        offer.check(&dossier)?;
        let author = dossier.manifest.manifest().author;
        let (absent, (_, at)) = (self.absent(papers, &dossier).await?, dossier.place());
        if !absent.is_absent(at) && self.has(author, &offer).await? {
            self.refuse_retracted(offer.id.tessera).await?;
            let receipt = self.receipt(author, stream.lease.node(), &offer)?;
            return Ok((Answer::Have { receipt }, Bytes::new()));
        }
        let charge = papers.charge(&dossier);
        let cost = u64::from(offer.length) + PLACE_BYTES + charge.bytes;
        let (_debts, delivery) = self.admit(&stream.lease, &dossier, cost).await?;
        // Memory for it is given back when it is on the disk.
        let (bytes, _memory) = self.receive(stream, offer.length).await?;
        let fragment = Fragment::check_to_keep(offer.checksum, bytes).map_err(|error| {
            self.peers.scored(stream.lease.node(), Score::WrongBytes, &error);
            RefusalKind::Corrupt.because(error.to_string())
        })?;
        self.refuse_blocked(offer.id.tessera)?;
        let kept = self.cache.deposit(author.into(), offer.id, fragment, dossier.documents()).await;
        let was_there = kept.map_err(|error| refusal(&error))? == PutOutcome::Held;
        charge.are_stored();
        delivery.into_iter().for_each(Delivery::has_come);
        absent.came(at);
        // Blocked or taken back while it was written: whoever drops what is here may have looked before.
        let still_wanted = match self.refuse_blocked(offer.id.tessera) {
            Ok(()) => self.refuse_retracted(offer.id.tessera).await,
            blocked => blocked,
        };
        if let Err(refusal) = still_wanted {
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

    /// Refuses to take anything, while this node hands over what it has.
    pub(super) fn refuse_new(&self) -> Result<(), Refusal> {
        match self.peers.book().leaving_since_ms {
            None => Ok(()),
            Some(_) => Err(RefusalKind::Forbidden.because("this node is leaving, and takes nothing new")),
        }
    }

    /// Reads what follows a request, as soon as there is a place and memory for it.
    pub(super) async fn receive(
        &self,
        stream: &mut Inbound,
        length: u32,
    ) -> Result<(Bytes, Joined), Refusal> {
        self.throttles.download.pass(length as usize, TURN).await.map_err(too_fast)?;
        let room = self.room(stream.lease.node());
        let Some(place) = room.enter_brought(&stream.lease, length as usize).await else {
            return Err(busy("no memory is free for it at the moment"));
        };
        match place.receive(&mut stream.receive, length).await {
            Ok(bytes) => {
                self.metrics.received(bytes.len());
                Ok((bytes, place.into_memory()))
            }
            Err(FrameError::Slow(_) | FrameError::GaveWay) => Err(busy("it came too slowly")),
            Err(error) => {
                if matches!(error, FrameError::Ended | FrameError::GivenUp) {
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
    async fn admit(
        &self,
        from: &Lease,
        dossier: &Dossier,
        cost: u64,
    ) -> Result<(Vec<Debt>, Option<Delivery>), Refusal> {
        let each = self.config.max_storage_per_peer_bytes;
        let book = self.peers.book();
        let author = dossier.manifest.manifest().author;
        let (allowance, is_strange) = self.welcome(&dossier.manifest).await?;
        let accounts = &self.state.accounts;
        let own = accounts.admit(Purse::Author(author), cost, allowance, || self.used_by(author));
        let mut debts = vec![own.await?];
        if is_strange {
            let all = each.saturating_mul(STRANGERS);
            debts.push(accounts.admit(Purse::Strangers, cost, all, || self.used_by_strangers(&book)).await?);
            let comer = (from.node(), from.address().ip());
            let delivery = Delivery::begin(&self.state.delivered, comer, cost, each)?;
            return Ok((debts, Some(delivery)));
        }
        Ok((debts, None))
    }

    /// How many bytes may be kept for the author of a tessera, and whether that is a stranger; or why nothing is.
    pub(super) async fn welcome(&self, manifest: &SignedManifest) -> Result<(u64, bool), Refusal> {
        let Manifest { author, visibility, .. } = *manifest.manifest();
        let (allowance, is_strange) = self.allowance(author).await.map_err(|error| refusal(&error))?;
        let offered = Offered { author, visibility, hold: self.config.hold, allowance };
        Ok((admission::wanted(&offered)?, is_strange))
    }

    /// How many bytes may be kept for an author, if any, and whether that is a stranger. Of most strangers no machine is
    /// known, and nothing is looked up for them: they can ask for ever.
    pub(super) async fn allowance(&self, author: AuthorId) -> Result<(Option<u64>, bool), ActorError> {
        let book = self.peers.book();
        let granted = book.allowance(author, self.config.max_storage_per_peer_bytes);
        if granted.is_some() || !book.accepts_any {
            return Ok((granted, granted.is_none()));
        }
        let machines: Vec<_> = book.machines(author).collect();
        let theirs = match self.peers.author().filter(|_| !machines.is_empty()) {
            Some(us) => self.storage.records().signed(us, machines).await?.charged(),
            None => 0,
        };
        Ok((book.stranger_allowance(&self.config, theirs), true))
    }

    /// How much is kept for an author, and how much more the disk takes.
    async fn used_by(&self, author: AuthorId) -> Result<Used, Refusal> {
        let totals = self.storage.records().account(author.into()).await.map_err(|error| refusal(&error))?;
        let room = self.storage.room().await.map_err(|error| refusal(&error))?;
        Ok(Used { bytes: totals.charged(), room })
    }

    /// How much is kept for all authors that no peer acts for, this node's own aside.
    async fn used_by_strangers(&self, book: &PeerBook) -> Result<Used, Refusal> {
        let known = book.authors().chain(self.peers.author()).map(AccountId::from);
        let known = known.chain([AccountId::LOCAL]).collect();
        let totals = self.storage.records().others(known).await.map_err(|error| refusal(&error))?;
        Ok(Used { bytes: totals.charged(), room: None })
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

/// What all strangers together may have here, in what one may.
const STRANGERS: u64 = 16;
const CUT_SHORT: &str = "what follows the request ended before it was whole";

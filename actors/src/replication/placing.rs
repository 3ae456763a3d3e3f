//! Having holders keep a tessera under a layout: each is sent what it has not got, and whoever does not take it, or cannot
//! prove that it has it, is replaced.

use std::{
    collections::BTreeSet,
    sync::Mutex,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::join_all;
use proto::{
    AuthorKey, Checksum, FragmentId, NodeId, NodeKey, TesseraId,
    layout::{Code, Layout, SignedLayout},
    placement::{Candidate, Placement, SignedPlacement},
    record::{DOCUMENT_FIELDS_BYTES, DocumentKind},
};
use tokio::{sync::watch, time::timeout};

use super::{
    Tools,
    holders::{Holders, Lost},
    message::{Progress, Step},
    origin::Origin,
    pages::Pages,
    sending::{Evidence, Shipment, Verdict, verdict},
    standing::{self, Operators, Since},
    told::{Means, Told, Turned},
};
use crate::{
    error::ActorError,
    remote,
    storage::{KeptPlacement, Note, PLACE_BYTES},
};

/// A tessera that is given to holders.
pub(super) struct Placing<'a> {
    pub(super) tools: &'a Tools,
    pub(super) origin: &'a Origin,
    pub(super) layout: &'a SignedLayout,
    pub(super) pages: Pages<'a>,
    pub(super) signer: Signer<'a>,
    pub(super) evidence: Evidence,
    pub(super) progress: &'a watch::Sender<Progress>,
    /// When the job began that does it, in milliseconds since 1970.
    pub(super) began_ms: i64,
    /// Whether what is sent mends what was lost.
    pub(super) mends: bool,
}

/// What a node has shown of what it signed to have.
#[derive(Default)]
struct Shown {
    /// Why it has shown nothing.
    error: Option<ActorError>,
    /// What is to be noted of it.
    note: Vec<Note>,
}

/// Who says who keeps it.
pub(super) enum Signer<'a> {
    /// Its author.
    Author(&'a AuthorKey),
    /// A holder of it.
    Holder(&'a NodeKey),
}

impl Placing<'_> {
    /// Sends everybody what they are to keep. Those that were placed before and are not lost stay, and the others are chosen from
    /// these. For its author what some keep twice is spread; of a repairer others believe nothing that takes from a holder who is
    /// there.
    pub(super) async fn place(
        &self,
        before: Option<&Placement>,
        lost: &Lost,
        candidates: Vec<Candidate>,
    ) -> Result<Holders, ActorError> {
        let layout = self.layout.layout();
        let width = layout.stripe_width(layout.stripe_numbers().start);
        let (placed, spreads) =
            (before.map_or(&[][..], |before| &before.holders), matches!(self.signer, Signer::Author(_)));
        let holders = Holders::new(layout.tessera(), width, candidates, placed, lost, spreads);
        self.place_among(before, holders).await
    }

    /// The same with holders that were chosen.
    pub(super) async fn place_among(
        &self,
        before: Option<&Placement>,
        mut holders: Holders,
    ) -> Result<Holders, ActorError> {
        let layout = self.layout.layout();
        let mut version = before.map_or(0, |before| before.version);
        if before.is_none_or(|before| before.holders != holders.by_index()) {
            version = version.saturating_add(1);
            self.keep(&holders, version).await?;
        }
        self.progress.send_replace(Progress::of(Step::Sending, total_bytes(layout)));
        let shipment = Shipment {
            tools: self.tools,
            origin: self.origin,
            layout: self.layout,
            pages: &self.pages,
            progress: self.progress,
            introduced: Mutex::default(),
            mends: self.mends,
        };
        let mut proven = BTreeSet::new();
        let mut evidence = before.map_or(Evidence::Nothing, |_| self.evidence.clone());
        loop {
            shipment.send_missing(&mut holders, evidence).await?;
            evidence = self.evidence.clone();
            if !holders.replace() {
                self.prove(&mut holders, &mut proven).await?;
                if !holders.replace() {
                    break;
                }
            }
            version = version.saturating_add(1);
            self.keep(&holders, version).await?;
        }
        self.progress.send_replace(Progress::of(Step::Finishing, 0));
        self.distribute(&holders).await?;
        Ok(holders)
    }

    /// Has each node show a piece of what it has just signed to have. Whoever has not got it is turned down.
    async fn prove(&self, holders: &mut Holders, proven: &mut BTreeSet<NodeId>) -> Result<(), ActorError> {
        let placed = &*holders;
        let prove = |node: NodeId| async move {
            // Who does not answer may do so later.
            let asked = timeout(PROVEN_WITHIN, self.prove_one(placed, node)).await;
            (node, asked.unwrap_or_default())
        };
        let new: Vec<_> = holders.took().iter().copied().filter(|node| proven.insert(*node)).collect();
        let mut notes = Vec::new();
        for (node, Shown { error, note }) in join_all(new.into_iter().map(prove)).await {
            notes.extend(note);
            if let Some(error) = error.filter(remote::has_not_got_it) {
                holders.turn(node, format!("it has not got what it signed for ({error})"));
            }
        }
        if !notes.is_empty() {
            self.tools.storage.records().note(notes).await?;
        }
        Ok(())
    }

    /// Has one show a piece of any fragment that it is to keep.
    async fn prove_one(&self, holders: &Holders, node: NodeId) -> Shown {
        let (layout, stripes) = (self.layout.layout(), self.layout.layout().stripe_numbers());
        let Some(index) = fastrand::choice(holders.indices(node).collect::<Vec<_>>()) else {
            return Shown::default();
        };
        let width = |stripe| {
            let (data, parity) = layout.stripe_width(stripe);
            data + parity
        };
        // The last stripe may have fewer fragments.
        let any = fastrand::u32(stripes.clone());
        let stripe = if index < width(any) { any } else { stripes.start };
        let checksums = match self.pages.checksums(stripe, width(stripe)).await {
            Ok(checksums) => checksums,
            Err(error) => return Shown { error: Some(error), note: Vec::new() },
        };
        let Some(checksum) = checksums.get(usize::from(index)) else { return Shown::default() };
        let fragment = FragmentId { tessera: self.tessera(), stripe, index };
        let expected = (*checksum, layout.fragment_len_at(stripe, index));
        let (proof, note) = self.tools.remote.prove_this(node, fragment, expected).await;
        Shown { error: proof.err().map(|unproven| unproven.error), note }
    }

    /// Writes down who is to keep it, before anybody is sent anything.
    async fn keep(&self, holders: &Holders, version: u64) -> Result<(), ActorError> {
        let mut placement = Placement {
            tessera: self.tessera(),
            layout: self.layout.checksum(),
            version,
            holders: holders.by_index().to_vec(),
            repairer: None,
        };
        let signed = match &self.signer {
            Signer::Author(key) => placement.sign(key)?,
            Signer::Holder(key) => {
                placement.repairer = Some(key.id());
                placement.sign_as_repairer(key)?
            }
        };
        let kept = KeptPlacement::from(&signed);
        self.tools.storage.records().note(vec![Note::Placement(kept)]).await.map(drop)
    }

    /// Tells all holders who the holders are. Whoever does not hear of it loses nothing: others tell it as well.
    async fn distribute(&self, holders: &Holders) -> Result<(), ActorError> {
        let kept = self.tools.storage.records().placements(self.tessera()).await?;
        let Some(kept) = kept.into_iter().find(|kept| kept.layout == self.layout.checksum()) else {
            return Ok(());
        };
        let tell = |node: NodeId| {
            let signed = kept.signed.clone();
            async move {
                let told = timeout(TOLD_WITHIN, self.tell(node, signed)).await;
                let why = match told {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => format!("it did not answer within {} s", TOLD_WITHIN.as_secs()),
                };
                tracing::warn!(%node, tessera = %self.tessera(), why, "it is not told who else keeps a tessera");
            }
        };
        let us = self.tools.peers.us();
        // Whoever is away hears of it from others.
        let there = holders.nodes().into_iter().filter(|node| *node != us && !holders.is_turned(*node));
        join_all(there.map(tell)).await;
        Ok(())
    }

    /// Has those that are new learn who kept it before: so they see that this node might say who does now.
    pub(super) async fn introduce(
        &self,
        before: &SignedPlacement,
        holders: &Holders,
    ) -> Result<(), ActorError> {
        if matches!(self.signer, Signer::Author(_)) {
            return Ok(());
        }
        let (tessera, layout) = (before.placement().tessera, before.placement().layout);
        let kept = self.tools.storage.records().placements(tessera).await?;
        let Some(now) = kept.into_iter().find(|kept| kept.layout == layout) else { return Ok(()) };
        let is_new = |node: &NodeId| {
            *node != self.tools.peers.us() && !before.placement().holders.contains(&Some(*node))
        };
        for node in holders.nodes().into_iter().filter(is_new) {
            for signed in [before.bytes().clone(), now.signed.clone()] {
                // Whoever does not believe it asks others.
                if let Err(error) = self.tell(node, signed).await {
                    tracing::debug!(%node, %tessera, %error, "a new holder is not told who the others are");
                }
            }
        }
        Ok(())
    }

    /// Tells one, as soon as it is there.
    pub(super) async fn tell(&self, node: NodeId, signed: Bytes) -> Result<(), ActorError> {
        let begun = Instant::now();
        loop {
            let (remote, kind) = (&self.tools.remote, DocumentKind::Placement);
            let error = match remote.put_document(node, self.tessera(), kind, None, signed.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match verdict(&error, begun.elapsed()) {
                Some(Verdict::Again(after)) => tokio::time::sleep(after).await,
                _ => return Err(error),
            }
        }
    }

    /// How safe it is now.
    pub(super) async fn told(
        &self,
        operators: &Operators,
        turned: Vec<Turned>,
        known: usize,
    ) -> Result<Told, ActorError> {
        let (records, since) = (self.tools.storage.records(), Since::now(self.tools).or_since(self.began_ms));
        let found = standing::found(&records, self.layout.layout(), operators, since).await?;
        let (asked, is_ours) = (self.tools.config.wanted.survive, matches!(self.signer, Signer::Author(_)));
        let fits = self.tools.fits(self.layout.layout(), &found.guarantee);
        Ok(Told::published(found.guarantee, asked, turned, Means { known, is_ours, fits }))
    }

    fn tessera(&self) -> TesseraId {
        self.layout.layout().tessera()
    }
}

/// What a holder needs room for under a code, in bytes.
pub(super) fn room_needed(content: &Layout, manifest_bytes: usize, code: Code) -> u64 {
    let stripes = content.data_fragments().div_ceil(code.k().into());
    let pages = (content.data_fragments() + stripes * u64::from(code.m())) * CHECKSUM_BYTES;
    let documents = manifest_bytes as u64 + pages + LAYOUT_ROOT_BYTES;
    stripes * (u64::from(content.fragment_len()) + PLACE_BYTES) + documents
}

fn total_bytes(layout: &Layout) -> u64 {
    let numbers = layout.stripe_numbers();
    let Some(last) = numbers.end.checked_sub(1).filter(|_| !numbers.is_empty()) else { return 0 };
    let stripe = |stripe: u32| {
        let (data, parity) = layout.stripe_width(stripe);
        (0..data + parity).map(|index| u64::from(layout.fragment_len_at(stripe, index))).sum::<u64>()
    };
    // All but the last are alike.
    stripe(numbers.start) * u64::from(last - numbers.start) + stripe(last)
}

const CHECKSUM_BYTES: u64 = size_of::<Checksum>() as u64;
/// What a layout has beside the hashes of its pages, and all documents have in front, about.
const LAYOUT_ROOT_BYTES: u64 = 1024 + 3 * DOCUMENT_FIELDS_BYTES as u64;
/// How long it may take to tell a holder who the others are.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
/// How long a holder may take to prove that it has what it signed for.
const PROVEN_WITHIN: Duration = Duration::from_secs(15);

//! Publishing: a tessera that is here is given to other nodes, and then it is looked how safe it is.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::Mutex,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::join_all;
use proto::{
    AccountId, AuthorKey, Checksum, FragmentId, NodeId, TesseraId,
    layout::{Code, Layout, SignedLayout},
    limits::DROP_FRAGMENTS_MAX,
    placement::{Candidate, Placement, SignedPlacement},
    record::{DOCUMENT_FIELDS_BYTES, DocumentKind},
};
use tokio::{sync::watch, time::timeout};

use super::{
    Tools, coding,
    copy::Copy,
    holders::Holders,
    message::{Progress, Step},
    sending::{Shipment, Verdict, verdict},
    standing::{self, Operators, Since},
    survey::{Survey, domains, survey},
    told::{Told, Turned},
};
use crate::{
    clock,
    error::ActorError,
    remote,
    storage::{KeptPlacement, Note, PLACE_BYTES},
    store::{Deposited, FragmentStore},
};

/// Gives a tessera to other nodes. What was done before is not done again.
pub(super) async fn publish(
    tools: &Tools,
    tessera: TesseraId,
    anew: bool,
    progress: &watch::Sender<Progress>,
) -> Result<Told, ActorError> {
    let copy = Copy::open(tools.storage.clone(), tessera).await?;
    let author = tools.author.as_ref().filter(|key| key.id() == copy.manifest().manifest().author);
    let author = author.ok_or_else(|| ActorError::Conflict {
        what: format!("{tessera} is somebody else's: only its author publishes it"),
    })?;
    progress.send_replace(Progress::of(Step::Asking, 0));
    let survey = survey(tools, tessera).await;
    let publication = Publication { tools, copy, author, anew, progress };
    publication.run(&survey).await
}

/// A tessera that is being published.
struct Publication<'a> {
    tools: &'a Tools,
    copy: Copy,
    author: &'a AuthorKey,
    /// Whether another layout is wanted, where another fits better.
    anew: bool,
    progress: &'a watch::Sender<Progress>,
}

/// A layout that others keep, and who does.
struct Published {
    layout: SignedLayout,
    placement: Option<Placement>,
}

impl Publication<'_> {
    async fn run(&self, survey: &Survey) -> Result<Told, ActorError> {
        let mut turned = survey.absent.clone();
        let (code, candidates) = self.choose(survey);
        let published = match self.published().await? {
            Some(it) if !self.anew || candidates.is_empty() || it.layout.layout().code() == code => it,
            _ => {
                turned.extend(without_room(survey, &candidates));
                if candidates.is_empty() {
                    return self.told(None, &Holders::none(), turned, survey.known).await;
                }
                Published { layout: self.lay_out(code).await?, placement: None }
            }
        };
        let (layout, holders) = self.place(published, survey).await?;
        self.progress.send_replace(Progress::of(Step::Finishing, 0));
        self.distribute(&layout, &holders).await?;
        turned.extend(holders.turned());
        let told = self.told(Some(&layout), &holders, turned, survey.known).await?;
        if told.is_as_asked() {
            self.retire(&layout).await?;
        }
        Ok(told)
    }

    /// Sends everybody what they are to keep, and replaces those that do not take it or have not got it.
    async fn place(
        &self,
        Published { layout, placement }: Published,
        survey: &Survey,
    ) -> Result<(SignedLayout, Holders), ActorError> {
        let before = placement.as_ref().map(|placement| placement.holders.clone()).unwrap_or_default();
        let candidates = survey.with_room(self.needed(layout.layout().code()));
        let width = layout.layout().stripe_width(layout.layout().stripe_numbers().start);
        let mut holders = Holders::new(self.tessera(), width, candidates, &before);
        let mut version = placement.map_or(0, |placement| placement.version);
        if holders.by_index() != before {
            version += 1;
            self.keep(&layout, &holders, version).await?;
        }
        self.progress.send_replace(Progress::of(Step::Sending, total_bytes(layout.layout())));
        let shipment = Shipment {
            tools: self.tools,
            copy: &self.copy,
            layout: &layout,
            progress: self.progress,
            introduced: Mutex::default(),
        };
        let mut proven = BTreeSet::new();
        loop {
            shipment.send_missing(&mut holders).await?;
            if !holders.replace() {
                self.prove(&mut holders, &mut proven).await;
                if !holders.replace() {
                    break;
                }
            }
            version += 1;
            self.keep(&layout, &holders, version).await?;
        }
        Ok((layout, holders))
    }

    /// Has each node show a piece of what it has just signed to have. Whoever has not got it is turned down.
    async fn prove(&self, holders: &mut Holders, proven: &mut BTreeSet<NodeId>) {
        let (records, checksums) = (self.tools.storage.records(), self.tools.storage.checksums_door());
        let prove = |node: NodeId| {
            let (remote, tessera) = (&self.tools.remote, self.tessera());
            let proof = remote.prove_one(&records, &checksums, node, tessera);
            async move { (node, timeout(PROVEN_WITHIN, proof).await) }
        };
        let new: Vec<_> = holders.took().iter().copied().filter(|node| proven.insert(*node)).collect();
        for (node, proof) in join_all(new.into_iter().map(prove)).await {
            // Who does not answer may do so later.
            if let Ok(Err(unproven)) = proof
                && remote::has_not_got_it(&unproven.error)
            {
                holders.turn(node, format!("it has not got what it signed for ({})", unproven.error));
            }
        }
    }

    /// What others keep of this tessera under other layouts is not needed any more.
    async fn retire(&self, layout: &SignedLayout) -> Result<(), ActorError> {
        let (records, tessera) = (self.tools.storage.records(), self.tessera());
        let layouts = self.tools.storage.layouts(tessera).await?;
        for kept in records.placements(tessera).await?.into_iter().filter(|it| it.layout != layout.checksum())
        {
            let signed = SignedPlacement::parse(kept.signed, tessera, self.author.id())?;
            let old = layouts.iter().flatten().find(|old| old.checksum() == kept.layout);
            let Some(old) = old.map(|old| old.layout().stripe_numbers()) else { continue };
            let mut is_gone = true;
            for node in signed.placement().holders.iter().flatten().collect::<BTreeSet<_>>() {
                if let Err(error) = self.drop_there(*node, &old).await {
                    tracing::warn!(%node, %tessera, %error, "it still keeps what is not needed any more");
                    is_gone = false;
                }
            }
            if is_gone {
                records.note(vec![Note::Unplaced { tessera, layout: kept.layout }]).await?;
            }
        }
        Ok(())
    }

    /// Has a node drop what it has signed to keep of these stripes.
    async fn drop_there(&self, node: NodeId, stripes: &Range<u32>) -> Result<(), ActorError> {
        let (records, tessera) = (self.tools.storage.records(), self.tessera());
        loop {
            let receipts = records.receipts(node, tessera, (stripes.start, 0), DROPPED_AT_ONCE).await?;
            let places = receipts.iter().map(|receipt| (receipt.fragment.stripe, receipt.fragment.index));
            let places: Vec<_> = places.filter(|(stripe, _)| stripes.contains(stripe)).collect();
            if places.is_empty() {
                return Ok(());
            }
            self.tools.remote.drop_fragments(node, self.author, tessera, &places).await?;
        }
    }

    fn tessera(&self) -> TesseraId {
        self.copy.manifest().id()
    }

    /// What others keep of it already, or were about to.
    async fn published(&self) -> Result<Option<Published>, ActorError> {
        let placements = self.tools.storage.records().placements(self.tessera()).await?;
        let author = self.author.id();
        let layouts = self.tools.storage.layouts(self.tessera()).await?;
        // The newest first.
        for layout in layouts.into_iter().flatten() {
            let kept = placements.iter().find(|kept| kept.layout == layout.checksum());
            let placement = kept
                .and_then(|kept| SignedPlacement::parse(kept.signed.clone(), self.tessera(), author).ok());
            if placement.is_some() || layout.checksum() != self.copy.layout().checksum() {
                let placement = placement.map(|signed| signed.placement().clone());
                return Ok(Some(Published { layout, placement }));
            }
        }
        Ok(None)
    }

    /// The code for those that are there and have room for what it gives to each.
    fn choose(&self, survey: &Survey) -> (Code, Vec<Candidate>) {
        let mut candidates = survey.with_room(0);
        loop {
            let code = self.tools.config.code(domains(&candidates));
            let roomy = survey.with_room(self.needed(code));
            let fitting: Vec<_> = candidates.iter().copied().filter(|one| roomy.contains(one)).collect();
            if fitting.len() == candidates.len() {
                return (code, candidates);
            }
            candidates = fitting;
        }
    }

    /// What a holder needs room for, in bytes.
    fn needed(&self, code: Code) -> u64 {
        let layout = self.copy.layout().layout();
        let stripes = layout.data_fragments().div_ceil(code.k().into());
        let pages = (layout.data_fragments() + stripes * u64::from(code.m())) * CHECKSUM_BYTES;
        let documents = self.copy.manifest().bytes().len() as u64 + pages + LAYOUT_ROOT_BYTES;
        stripes * (u64::from(layout.fragment_len()) + PLACE_BYTES) + documents
    }

    /// Makes a layout of this code, and keeps it here.
    async fn lay_out(&self, code: Code) -> Result<SignedLayout, ActorError> {
        let whole = self.copy.layout();
        if code == whole.layout().code() {
            return Ok(whole.clone());
        }
        let checksums = coding::checksums(self.tools, &self.copy, code, self.progress).await?;
        let (fragment_len, content_len) = (whole.layout().fragment_len(), whole.layout().content_len());
        let (layout, pages) = Layout::build(self.tessera(), code, fragment_len, content_len, &checksums)?;
        let others = self.tools.storage.layouts(self.tessera()).await?.into_iter().flatten();
        let free = others.map(|other| other.layout().stripe_numbers().end).max().unwrap_or_default();
        let signed = layout.beginning_at(free)?.sign(self.author)?;
        // The root last: with it, its pages are there.
        let mut documents: Vec<Deposited> =
            pages.into_iter().map(|page| (DocumentKind::LayoutPage, page).into()).collect();
        documents.push((DocumentKind::Layout, signed.bytes().clone()).into());
        let (stripe, index) = whole.layout().position(0).unwrap_or_default();
        let id = FragmentId { tessera: self.tessera(), stripe, index };
        for some in documents.chunks(DOCUMENTS_AT_ONCE) {
            for first in self.copy.chunks(vec![0]).await? {
                self.tools.storage.deposit(AccountId::LOCAL, id, first, some.to_vec()).await?;
            }
        }
        Ok(signed)
    }

    /// Writes down who is to keep it, before anybody is sent anything.
    async fn keep(&self, layout: &SignedLayout, holders: &Holders, version: u64) -> Result<(), ActorError> {
        let placement = Placement {
            tessera: self.tessera(),
            layout: layout.checksum(),
            version,
            holders: holders.by_index().to_vec(),
            repairer: None,
        };
        let kept = KeptPlacement {
            tessera: placement.tessera,
            layout: placement.layout,
            version,
            is_by_author: true,
            signed: placement.sign(self.author)?.bytes().clone(),
        };
        self.tools.storage.records().note(vec![Note::Placement(kept)]).await.map(drop)
    }

    /// Tells all holders who the holders are. Whoever does not hear of it loses nothing: others tell it as well.
    async fn distribute(&self, layout: &SignedLayout, holders: &Holders) -> Result<(), ActorError> {
        let kept = self.tools.storage.records().placements(self.tessera()).await?;
        let Some(kept) = kept.into_iter().find(|kept| kept.layout == layout.checksum()) else {
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
        join_all(holders.nodes().into_iter().map(tell)).await;
        Ok(())
    }

    /// Tells one, as soon as it is there.
    async fn tell(&self, node: NodeId, signed: Bytes) -> Result<(), ActorError> {
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
    async fn told(
        &self,
        layout: Option<&SignedLayout>,
        holders: &Holders,
        turned: Vec<Turned>,
        known: usize,
    ) -> Result<Told, ActorError> {
        let mut operators = Operators::new(self.tools.peers.us(), &self.tools.peers.book());
        holders.turned().iter().for_each(|one| operators.leave_out(one.node));
        let records = self.tools.storage.records();
        let since = Since::now(clock::now_ms());
        let layout = layout.unwrap_or(self.copy.layout()).layout();
        let guarantee = standing::guarantee(&records, layout, &operators, since).await?;
        Ok(Told::published(guarantee, self.tools.config.wanted.survive, turned, known))
    }
}

/// Those that are there and have no room.
fn without_room<'a>(survey: &'a Survey, chosen: &'a [Candidate]) -> impl Iterator<Item = Turned> + 'a {
    let small = survey.present.iter().filter(|one| !chosen.contains(&one.candidate));
    small.map(|one| Turned {
        node: one.candidate.node,
        reason: format!("it keeps {} more bytes for this node's author, which is too little", one.room_bytes),
    })
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
/// Documents that are written together: each may have 64 KiB.
const DOCUMENTS_AT_ONCE: usize = 16;
/// How long it may take to tell a holder who the others are.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
/// How long a holder may take to prove that it has what it signed for.
const PROVEN_WITHIN: Duration = Duration::from_secs(15);
/// Fragments that are dropped with one order.
const DROPPED_AT_ONCE: u32 = 1024;
const _: () = assert!(DROPPED_AT_ONCE as usize <= DROP_FRAGMENTS_MAX);

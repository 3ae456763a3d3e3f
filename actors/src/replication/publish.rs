//! Publishing: a tessera that is here is given to other nodes, and then it is looked how safe it is.

use std::{collections::BTreeSet, sync::Arc};

use proto::{
    AccountId, AuthorKey, FragmentId, TesseraId,
    layout::{Code, Layout, SignedLayout},
    placement::{Candidate, Placement, SignedPlacement},
    record::DocumentKind,
    wire::Bound,
};
use tokio::sync::watch;

use super::{
    Tools, coding,
    copy::Copy,
    holders::Lost,
    message::{Progress, Step},
    origin::Origin,
    pages::Pages,
    placing::{Placing, Signer, room_needed},
    repair::{Gone, gone},
    retiring::{drop_there, is_outdone, tidy},
    sending::Evidence,
    standing::{self, Operators},
    survey::{Survey, domains, survey},
    told::{Told, Turned},
};
use crate::{
    clock,
    error::ActorError,
    storage::Note,
    store::{Deposited, FragmentStore},
};

/// Gives a tessera to other nodes. What was done before is not done again.
pub(super) async fn publish(
    tools: &Tools,
    tessera: TesseraId,
    anew: bool,
    progress: &watch::Sender<Progress>,
) -> Result<Told, ActorError> {
    let copy = Arc::new(Copy::open(tools.storage.clone(), tessera).await?);
    let author = tools.author.as_ref().filter(|key| key.id() == copy.manifest().manifest().author);
    let author = author.ok_or_else(|| ActorError::Conflict {
        what: format!("{tessera} is somebody else's: only its author publishes it"),
    })?;
    progress.send_replace(Progress::of(Step::Asking, 0));
    let began_ms = clock::now_ms();
    let survey = survey(tools, tessera).await;
    let layouts = tools.storage.layouts(tessera).await?.into_iter().flatten().collect();
    let origin = Origin::Copy(copy.clone());
    let publication = Publication { tools, copy, layouts, origin, author, anew, progress, began_ms };
    publication.run(&survey).await
}

/// A tessera that is being published.
struct Publication<'a> {
    tools: &'a Tools,
    copy: Arc<Copy>,
    /// Those that were there when it began, the newest first.
    layouts: Vec<SignedLayout>,
    origin: Origin,
    author: &'a AuthorKey,
    /// Whether another layout is wanted, where another fits better.
    anew: bool,
    progress: &'a watch::Sender<Progress>,
    began_ms: i64,
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
        let mut before = self.published().await?;
        if before.as_ref().is_some_and(|it| it.placement.is_some())
            && let Some(known) = standing::known(self.tools, self.tessera()).await?
            && is_outdone(self.tools, self.author, &known).await?
        {
            before = self.published().await?;
        }
        let is_first = before.is_none();
        let published = match before {
            Some(it) if !self.anew || candidates.is_empty() || it.layout.layout().code() == code => it,
            _ => {
                turned.extend(without_room(survey, &candidates));
                if candidates.is_empty() {
                    let whole = self.copy.layout().clone();
                    return self.placing(&whole).told(&self.operators(), turned, survey.known).await;
                }
                Published { layout: self.lay_out(code).await?, placement: None }
            }
        };
        let Published { layout, placement } = published;
        let (evidence, liars) = match &placement {
            None => (Evidence::Receipts, Vec::new()),
            Some(placement) => self.ask(placement).await?,
        };
        let placing = Placing { evidence, ..self.placing(&layout) };
        let candidates = survey.with_room(self.needed(layout.layout().code()));
        let lost = Lost { turned: liars, awaited: BTreeSet::new() };
        let holders = placing.place(placement.as_ref(), &lost, candidates).await?;
        turned.extend(holders.turned());
        // What those say who were turned down does not count. Who is only away has it all the same.
        let mut operators = self.operators();
        operators.only(holders.by_index());
        holders.turned().iter().for_each(|one| operators.leave_out(one.node));
        let mut told = placing.told(&operators, turned, survey.known).await?;
        told.offer(layout.layout().code(), code);
        // Of what nobody had before, and nobody was replaced, nobody has anything to drop.
        if told.is_as_asked() && !(is_first && holders.turned().is_empty()) {
            self.retire(&layout).await?;
            if let Some(known) = standing::known(self.tools, self.tessera()).await? {
                tidy(self.tools, self.author, &known).await?;
            }
        }
        Ok(told)
    }

    fn placing<'a>(&'a self, layout: &'a SignedLayout) -> Placing<'a> {
        Placing {
            tools: self.tools,
            origin: &self.origin,
            layout,
            pages: Pages::new(self.tools, layout.clone(), Vec::new()),
            signer: Signer::Author(self.author),
            evidence: Evidence::Receipts,
            progress: self.progress,
            began_ms: self.began_ms,
            mends: false,
        }
    }

    /// Asks who was to keep it before what they have of it now: what counts of that, and who has not got what it claims.
    async fn ask(&self, placement: &Placement) -> Result<(Evidence, Vec<Turned>), ActorError> {
        let Gone { silent, liars } = gone(self.tools, self.tessera(), placement).await?;
        let silent = silent.into_iter().map(|one| one.node).collect();
        Ok((Evidence::SignedAndClaimed(self.began_ms, silent), liars))
    }

    fn operators(&self) -> Operators {
        Operators::new(self.tools.peers.us(), &self.tools.peers.book())
    }

    fn needed(&self, code: Code) -> u64 {
        room_needed(self.copy.layout().layout(), self.copy.manifest().bytes().len(), code)
    }

    /// What others keep of this tessera under other layouts is not needed any more.
    async fn retire(&self, layout: &SignedLayout) -> Result<(), ActorError> {
        let (records, tessera) = (self.tools.storage.records(), self.tessera());
        for kept in records.placements(tessera).await?.into_iter().filter(|it| it.layout != layout.checksum())
        {
            let signed = SignedPlacement::parse(kept.signed, tessera, self.author.id())?;
            let old = self.layouts.iter().find(|old| old.checksum() == kept.layout);
            let Some(old) = old.map(|old| old.layout().stripe_numbers()) else { continue };
            let mut is_gone = true;
            for node in signed.placement().holders.iter().flatten().collect::<BTreeSet<_>>() {
                if let Err(error) = drop_there(self.tools, self.author, tessera, *node, &old).await {
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

    fn tessera(&self) -> TesseraId {
        self.copy.manifest().id()
    }

    /// What others keep of it already, or were about to.
    async fn published(&self) -> Result<Option<Published>, ActorError> {
        let placements = self.tools.storage.records().placements(self.tessera()).await?;
        let author = self.author.id();
        for layout in &self.layouts {
            let kept = placements.iter().find(|kept| kept.layout == layout.checksum());
            let placement = kept
                .and_then(|kept| SignedPlacement::parse(kept.signed.clone(), self.tessera(), author).ok());
            if placement.is_some() || layout.checksum() != self.copy.layout().checksum() {
                let placement = placement.map(|signed| signed.placement().clone());
                return Ok(Some(Published { layout: layout.clone(), placement }));
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

    /// Makes a layout of this code, and keeps it here.
    async fn lay_out(&self, code: Code) -> Result<SignedLayout, ActorError> {
        let whole = self.copy.layout();
        if code == whole.layout().code() {
            return Ok(whole.clone());
        }
        let checksums = coding::checksums(self.tools, &self.copy, code, self.progress).await?;
        let (fragment_len, content_len) = (whole.layout().fragment_len(), whole.layout().content_len());
        let (layout, pages) = Layout::build(self.tessera(), code, fragment_len, content_len, &checksums)?;
        // Another machine of the author's may have made one meanwhile.
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
}

/// Those that are there and have no room.
fn without_room<'a>(survey: &'a Survey, chosen: &'a [Candidate]) -> impl Iterator<Item = Turned> + 'a {
    let small = survey.present.iter().filter(|one| !chosen.contains(&one.candidate));
    small.map(|one| {
        let reason = match (one.room_bytes, why_no_more(one.bound)) {
            (0, why) => format!("it takes nothing more of this node's author: {why}"),
            (bytes, why) => {
                format!("it takes {bytes} more bytes of this node's author, which is too little: {why}")
            }
        };
        Turned { node: one.candidate.node, reason }
    })
}

fn why_no_more(bound: Option<Bound>) -> &'static str {
    match bound {
        Some(Bound::Allowance) => {
            "its operator allows no more, which `peers add … --allow` there changes, and `ledger` there shows"
        }
        Some(Bound::Room) => {
            "its disk has no more room, or no more of it is for tesserae: `status` there says how much"
        }
        Some(Bound::KeepsNothing) => "its operator has it keep nothing for others (`network.hold` there)",
        Some(Bound::Leaving) => "it is about to leave, unless `leave --cancel` there says that it stays",
        None => "it does not say why: `status` and `ledger` there do",
    }
}

/// Documents that are written together: each may have 64 KiB.
const DOCUMENTS_AT_ONCE: usize = 16;

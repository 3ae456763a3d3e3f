//! Leaving: what is kept here for others goes to the next nodes, straight from here. Nothing is rebuilt, and nothing but what
//! this node has moves. It is dropped here when whoever has it now has signed that and has shown a piece.
//!
//! What this node keeps for itself is not touched: it is only said what of that nobody else has.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use proto::{
    AccountId, Checksum, FragmentId, NodeId, TesseraId, layout::SignedLayout, manifest::SignedManifest,
    placement::SignedPlacement,
};
use tokio::sync::watch;

use super::{
    Tools,
    holders::{Holders, Indices},
    message::{Progress, Step},
    origin::Origin,
    pages::Pages,
    placing::{Placing, Signer},
    retract,
    sending::Evidence,
    sources::{Waits, find, find_among, own_manifest},
    standing,
    survey::survey,
    told::{Left, Told},
};
use crate::{
    error::ActorError,
    storage::{CLAIM_STRIPES, KeptPlacement, Note, Side},
    store::FragmentStore,
};

/// Hands over what is kept for others. What holders have said since the leaving began counts, over restarts.
pub(super) async fn leave(
    tools: &Tools,
    began_at_ms: i64,
    progress: &watch::Sender<Progress>,
) -> Result<Told, ActorError> {
    let records = tools.storage.records();
    if records.leaving_since().await?.is_none() {
        let what = String::from("this node stays, somebody has said meanwhile: `leave` begins anew");
        return Err(ActorError::Conflict { what });
    }
    progress.send_replace(Progress::of(Step::Asking, 0));
    let total_bytes = records.others(vec![AccountId::LOCAL]).await?.bytes;
    let leaving = Leaving { tools, began_at_ms, progress, total_bytes };
    let mut found = leaving.hand_over_all().await?;
    for _ in 0..LATE_PASSES {
        // Something may have been on its way here when it began.
        let late = records.others(vec![AccountId::LOCAL]).await?.fragments > 0;
        if !late || !found.left.is_empty() {
            break;
        }
        found = Found { handed_over: found.handed_over, ..leaving.hand_over_all().await? };
    }
    Ok(found.told())
}

/// Whether others have enough of it to bring it back, as far as is known.
async fn is_elsewhere(tools: &Tools, tessera: TesseraId) -> Result<bool, ActorError> {
    let told = standing::as_known(tools, tessera).await?;
    Ok(told.and_then(|told| told.guarantee).is_some_and(|guarantee| guarantee.survives.is_some()))
}

/// This node, on its way.
struct Leaving<'a> {
    tools: &'a Tools,
    began_at_ms: i64,
    progress: &'a watch::Sender<Progress>,
    /// What was to be handed over when it began, or began again.
    total_bytes: u64,
}

/// What there was, and what came of it.
#[derive(Debug, Default)]
struct Found {
    handed_over: usize,
    left: Vec<Left>,
    own_elsewhere: usize,
    only_here: Vec<TesseraId>,
}

/// Some fragments that are kept, by stripe and index; and where the next page begins.
struct Page {
    rows: Vec<(u32, u16, Checksum)>,
    next: Option<(u32, u16)>,
}

/// What a tessera is kept for here.
struct Kept<'a> {
    tessera: TesseraId,
    manifest: SignedManifest,
    accounts: &'a [AccountId],
}

impl Leaving<'_> {
    /// Goes through all that is here.
    async fn hand_over_all(&self) -> Result<Found, ActorError> {
        let (tools, records) = (self.tools, self.tools.storage.records());
        let mut found = Found::default();
        let mut from = Some(TesseraId::from_bytes([0; 32]));
        while let Some(first) = from {
            let last = TesseraId::from_bytes([u8::MAX; 32]);
            let mut page = records.tesseras(first, last, TESSERAE + 1).await?;
            from = if page.len() > TESSERAE as usize { page.pop().map(|row| row.id) } else { None };
            for row in page {
                let keepers = records.keepers(row.id).await?;
                let others: Vec<_> = keepers.iter().copied().filter(|one| *one != AccountId::LOCAL).collect();
                if !others.is_empty() {
                    found.add(self.hand_over(row.id, &others).await?);
                }
                if keepers.contains(&AccountId::LOCAL) && row.has_documents {
                    found.own(row.id, is_elsewhere(tools, row.id).await?);
                }
            }
        }
        Ok(found)
    }

    /// Hands one over; what stays of it, and why.
    async fn hand_over(
        &self,
        tessera: TesseraId,
        accounts: &[AccountId],
    ) -> Result<Option<Left>, ActorError> {
        // No job gives it to others meanwhile, who then would be told otherwise.
        let turn = self.tools.turn_of(tessera);
        let _turn = turn.lock().await;
        let before = self.bytes(tessera, accounts).await?;
        let reason = match own_manifest(self.tools, tessera).await? {
            None => String::from("what its author signed is not here, or damaged"),
            Some(manifest) => {
                let kept = Kept { tessera, manifest, accounts };
                match self.hand_over_layouts(&kept).await {
                    Ok(reason) => reason,
                    Err(error) if is_of_one(&error) => error.to_string(),
                    Err(error) => return Err(error),
                }
            }
        };
        let left = self.bytes(tessera, accounts).await?;
        let done = before.saturating_sub(left);
        self.progress.send_modify(|progress| {
            let total_bytes = self.total_bytes;
            let done_bytes = progress.done_bytes.saturating_add(done).min(total_bytes);
            *progress = Progress { step: Step::Sending, done_bytes, total_bytes };
        });
        if left > 0 {
            tracing::warn!(%tessera, left, reason, "it is not handed over");
            return Ok(Some(Left { tessera, bytes: left, reason }));
        }
        self.forget(tessera).await?;
        Ok(None)
    }

    /// Why something of it stays, if anything does.
    async fn hand_over_layouts(&self, kept: &Kept<'_>) -> Result<String, ActorError> {
        let mut why = String::from("fragments of it are damaged here, or of a layout that is not here");
        for layout in self.tools.storage.layouts(kept.tessera).await?.into_iter().flatten() {
            let mut has = Indices::default();
            let stripes = layout.layout().stripe_numbers();
            for account in kept.accounts {
                let mut from = Some((stripes.start, 0));
                while let Some(at) = from {
                    let page = self.page(kept.tessera, *account, at, stripes.end).await?;
                    page.rows.iter().for_each(|(_, index, _)| has.insert(*index));
                    from = page.next;
                }
            }
            if has != Indices::default()
                && let Some(reason) = self.hand_over_layout(kept, &layout, has).await?
            {
                why = reason;
            }
        }
        Ok(why)
    }

    /// Why something of it stays, if anything does.
    async fn hand_over_layout(
        &self,
        kept: &Kept<'_>,
        layout: &SignedLayout,
        has: Indices,
    ) -> Result<Option<String>, ActorError> {
        let (tools, us) = (self.tools, self.tools.peers.us());
        let Some(before) = self.newest(kept, layout).await? else {
            return Ok(Some(String::from("nobody says who keeps it: its author publishes it again first")));
        };
        let nodes = before.placement().holders.iter().flatten().copied();
        if retract::learn(tools, &kept.manifest, nodes).await?.is_some() {
            return Ok(None);
        }
        let author = kept.manifest.manifest().author;
        let candidates = survey(tools, kept.tessera).await.without_machines_of(author).with_room(0);
        let candidates = candidates.into_iter().filter(|one| one.node != us).collect();
        let width = layout.layout().stripe_width(layout.layout().stripe_numbers().start);
        let placed = &before.placement().holders;
        let holders = Holders::without((kept.tessera, us), width, candidates, placed, has);
        let origin = Origin::Here(Box::new(kept.manifest.clone()));
        // How far one is, is not how far all are.
        let (progress, _) = watch::channel(Progress::of(Step::Sending, 0));
        let placing = Placing {
            tools,
            origin: &origin,
            layout,
            pages: Pages::new(tools, layout.clone(), Vec::new()),
            signer: Signer::Holder(&tools.key),
            evidence: Evidence::ClaimsOf(self.began_at_ms, has),
            progress: &progress,
            began_ms: self.began_at_ms,
            mends: false,
        };
        let holders = placing.place_among(Some(before.placement()), holders).await?;
        placing.introduce(&before, &holders).await?;
        let mut why = holders.by_index().contains(&Some(us)).then(|| nobody(&holders, us));
        let new: BTreeSet<NodeId> = (0..)
            .zip(holders.by_index())
            .filter_map(|(index, holder)| holder.filter(|node| has.contains(index) && *node != us))
            .collect();
        let (records, checksums) = (tools.storage.records(), tools.storage.checksums_door());
        for node in new {
            match tools.remote.prove_one(&records, &checksums, node, kept.tessera).await {
                Ok(_) => self.drop_what_has(kept, layout, node, &holders).await?,
                Err(unproven) => {
                    why = Some(format!("{node} has taken it and not shown a piece yet: {}", unproven.error));
                }
            }
        }
        Ok(why)
    }

    /// The placement that counts by what its holders know: another may have mended it. `None` when there is none.
    async fn newest(
        &self,
        kept: &Kept<'_>,
        layout: &SignedLayout,
    ) -> Result<Option<SignedPlacement>, ActorError> {
        let (tools, records) = (self.tools, self.tools.storage.records());
        let known = records.placements(kept.tessera).await?;
        let known = known.into_iter().find(|one| one.layout == layout.checksum());
        let author = kept.manifest.manifest().author;
        let known = known.and_then(|one| SignedPlacement::parse(one.signed, kept.tessera, author).ok());
        let found = match known {
            None => find(tools, kept.tessera, Waits::ForAll).await,
            Some(known) => {
                let holders: BTreeSet<_> = known.placement().holders.iter().flatten().copied().collect();
                let others: Vec<_> = holders.into_iter().filter(|node| *node != tools.peers.us()).collect();
                find_among(tools, &others, kept.tessera, Waits::ForAll).await
            }
        };
        let sources = found.map_err(|nobody| nobody.error)?;
        let located = sources.layouts.into_iter().find(|one| one.layout.checksum() == layout.checksum());
        let newest = located.and_then(|located| located.credible().cloned());
        if let Some(signed) = &newest {
            records.note(vec![Note::Placement(KeptPlacement::from(signed))]).await?;
        }
        Ok(newest)
    }

    /// Drops here what a node has signed to have since this node began to leave.
    async fn drop_what_has(
        &self,
        kept: &Kept<'_>,
        layout: &SignedLayout,
        node: NodeId,
        holders: &Holders,
    ) -> Result<(), ActorError> {
        let records = self.tools.storage.records();
        let stripes = layout.layout().stripe_numbers();
        let mut from = stripes.start;
        while from < stripes.end {
            let to = from.saturating_add(CLAIM_STRIPES).min(stripes.end);
            let claims = records.claims(kept.tessera, from..to).await?.into_iter();
            let is_its = |index: u16| holders.indices(node).any(|one| one == index);
            let has: BTreeSet<(u32, u16, Checksum)> = claims
                .filter(|claim| claim.holder == node && claim.claimed_at_ms >= self.began_at_ms)
                .filter(|claim| is_its(claim.index))
                .map(|claim| (claim.stripe, claim.index, claim.checksum))
                .collect();
            for account in kept.accounts {
                let mut next = Some((from, 0));
                while let Some(at) = next {
                    let page = self.page(kept.tessera, *account, at, to).await?;
                    let gone = page.rows.iter().filter(|row| has.contains(*row)).copied();
                    self.drop_these(kept.tessera, *account, gone.collect()).await?;
                    next = page.next;
                }
            }
            from = to;
        }
        Ok(())
    }

    async fn drop_these(
        &self,
        tessera: TesseraId,
        account: AccountId,
        fragments: Vec<(u32, u16, Checksum)>,
    ) -> Result<(), ActorError> {
        for some in fragments.chunks(DROPPED_AT_ONCE) {
            let drops = some.iter().map(|(stripe, index, _)| {
                let id = FragmentId { tessera, stripe: *stripe, index: *index };
                self.tools.cache.drop_fragment(account, id)
            });
            for outcome in join_all(drops).await {
                match outcome {
                    Ok(()) | Err(ActorError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// What is kept for an account from a place on, up to a stripe; and where the next page begins, if there is one.
    async fn page(
        &self,
        tessera: TesseraId,
        account: AccountId,
        from: (u32, u16),
        end: u32,
    ) -> Result<Page, ActorError> {
        let door = self.tools.storage.checksums_door();
        let mut rows = door.fragments_of(Side::Held(account), tessera, from, ROWS).await?;
        let is_last = rows.len() < ROWS as usize;
        let next = rows.last().map(|(stripe, index, _)| (*stripe, index.saturating_add(1)));
        rows.retain(|(stripe, ..)| *stripe < end);
        Ok(Page { rows, next: next.filter(|(stripe, _)| !is_last && *stripe < end) })
    }

    /// How many bytes are kept for these.
    async fn bytes(&self, tessera: TesseraId, accounts: &[AccountId]) -> Result<u64, ActorError> {
        let (mut bytes, mut from) = (0, (0, 0));
        loop {
            let rows = self.tools.storage.checksums(tessera, from, ROWS).await?;
            let Some(last) = rows.last() else { return Ok(bytes) };
            let lengths: BTreeMap<_, _> =
                rows.iter().map(|row| ((row.stripe, row.index), u64::from(row.length))).collect();
            let end = (last.stripe, last.index);
            for account in accounts {
                let door = self.tools.storage.checksums_door();
                let held = door.fragments_of(Side::Held(*account), tessera, from, ROWS).await?;
                let held = held.iter().map(|(stripe, index, _)| (*stripe, *index)).filter(|at| *at <= end);
                bytes += held.filter_map(|at| lengths.get(&at)).sum::<u64>();
            }
            if rows.len() < ROWS as usize {
                return Ok(bytes);
            }
            from = (end.0, end.1.saturating_add(1));
        }
    }

    /// Who has what of it is of no interest any more, when nothing of it is here.
    async fn forget(&self, tessera: TesseraId) -> Result<(), ActorError> {
        let records = self.tools.storage.records();
        if records.keepers(tessera).await?.is_empty() && records.retraction(tessera).await?.is_none() {
            records.note(vec![Note::Forget { tessera }]).await?;
        }
        Ok(())
    }
}

impl Found {
    fn add(&mut self, left: Option<Left>) {
        match left {
            None => self.handed_over += 1,
            Some(left) => self.left.push(left),
        }
    }

    fn own(&mut self, tessera: TesseraId, is_elsewhere: bool) {
        match is_elsewhere {
            true => self.own_elsewhere += 1,
            false => self.only_here.push(tessera),
        }
    }

    fn told(mut self) -> Told {
        let tesserae =
            |count: usize| if count == 1 { "1 tessera".to_owned() } else { format!("{count} tesserae") };
        let mut sentence = match (self.handed_over, self.left.len()) {
            (0, 0) => String::from("Nothing is kept here for others: nothing is to be handed over."),
            (_, 0) => {
                String::from("Handed over: all that this node kept for others is kept by other nodes now.")
            }
            (_, left) => {
                let bytes: u64 = self.left.iter().map(|left| left.bytes).sum();
                format!("Not all is handed over: {bytes} bytes of {} are still here.", tesserae(left))
            }
        };
        match (self.own_elsewhere, self.only_here.len()) {
            (0, 0) => {}
            (own, 0) => sentence += &format!(" Others keep its own as well: {}.", tesserae(own)),
            (_, own) => {
                sentence += &format!(
                    " Of its own, {} only here, as far as is known.",
                    match own {
                        1 => "1 tessera is".to_owned(),
                        own => format!("{own} tesserae are"),
                    }
                )
            }
        }
        let mut remedies = Vec::new();
        if !self.left.is_empty() {
            remedies.push(String::from(
                "nodes that take what is left are needed: `peers add` or `invite` makes more of them known, or they make more room; then `leave` again",
            ));
        }
        if !self.only_here.is_empty() {
            remedies.push(String::from("`publish` or `export` what is only here, before this machine goes"));
        }
        let is_partial = !self.left.is_empty();
        self.left.truncate(NAMED_MAX);
        self.only_here.truncate(NAMED_MAX);
        let Self { left, only_here, .. } = self;
        Told { left, only_here, remedies, is_partial, ..Told::plain(sentence) }
    }
}

/// Whether it is wrong with one tessera or one node, and the others may be handed over all the same.
fn is_of_one(error: &ActorError) -> bool {
    matches!(
        error,
        ActorError::Conflict { .. }
            | ActorError::NotFound { .. }
            | ActorError::CorruptBlob { .. }
            | ActorError::CorruptDocument { .. }
            | ActorError::Proto(_)
            | ActorError::Peer { .. }
    )
}

fn nobody(holders: &Holders, us: NodeId) -> String {
    let turned = holders.turned().into_iter().filter(|one| one.node != us);
    let reasons: Vec<_> =
        turned.take(REASONS_MAX).map(|one| format!("{}: {}", one.node, one.reason)).collect();
    match reasons.as_slice() {
        [] => String::from("no other node is there that might keep it"),
        reasons => format!("no other node takes it ({})", reasons.join("; ")),
    }
}

/// How often it is looked once more for what came meanwhile.
const LATE_PASSES: usize = 2;
/// Tesserae that are looked up together.
const TESSERAE: u32 = 256;
/// Rows of the index that are read together.
const ROWS: u32 = 1024;
/// Of what is left, or only here, so many are named.
const NAMED_MAX: usize = 100;
/// Nodes that are named for one tessera.
const REASONS_MAX: usize = 3;
/// Fragments that are dropped at a time: what one batch takes.
const DROPPED_AT_ONCE: usize = 256;

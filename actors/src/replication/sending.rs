//! Sending fragments to their holders: stripe by stripe, those that there is no evidence for.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, stream};
use proto::{
    Checksum, Fragment, FragmentId, NodeId, layout::SignedLayout, limits::FRAME_BYTES_MAX,
    record::DocumentKind, wire::RefusalKind,
};
use tokio::sync::{OnceCell, mpsc, watch};

use super::{
    Reserved, Tools,
    holders::{Holders, Indices},
    message::Progress,
    origin::{Origin, Stripe},
    pages::Pages,
    retract,
    transfers::OneOf,
};
use crate::{
    conn_pool::PeerTrouble,
    error::ActorError,
    storage::{CLAIM_STRIPES, RecordsHandle},
};

/// A tessera on its way to its holders.
pub(super) struct Shipment<'a> {
    pub(super) tools: &'a Tools,
    pub(super) origin: &'a Origin,
    pub(super) layout: &'a SignedLayout,
    pub(super) pages: &'a Pages<'a>,
    pub(super) progress: &'a watch::Sender<Progress>,
    /// Which node has been given which documents: the page of a layout, or what all fragments need.
    pub(super) introduced: Mutex<Introduced>,
    /// Whether this mends what was lost.
    pub(super) mends: bool,
}

/// Which node has been given which documents, or is just being given them.
pub(super) type Introduced = HashMap<(NodeId, Paper), Arc<OnceCell<()>>>;

/// What shows that a holder has a fragment.
#[derive(Debug, Clone)]
pub(super) enum Evidence {
    /// Nothing: nobody has been sent anything of this layout.
    Nothing,
    /// It has signed to keep it.
    Receipts,
    /// It has said so since then, in milliseconds since 1970.
    ClaimsSince(i64),
    /// It has signed to keep it and said since then, in milliseconds since 1970, that it does; of these, who were not there to say
    /// so, what they have signed.
    SignedAndClaimed(i64, BTreeSet<NodeId>),
    /// It has said so since then, and of other indices than these nothing is sent.
    ClaimsOf(i64, Indices),
}

/// Documents that go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Paper {
    /// Manifest and layout.
    Root,
    /// A page of the layout.
    Page(usize),
    /// Manifest, layout and the only page of it: they are small.
    All,
}

/// A fragment that is ready to be sent.
struct Ready {
    stripe: u32,
    index: u16,
    fragment: Fragment,
    _memory: Reserved,
}

/// Which fragments there is evidence for, by index and then by stripe, counted from the first of the layout.
#[derive(Clone)]
struct Delivered(Vec<Vec<bool>>);

/// What is to be done after a node has not taken something.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Ask it again, after so long.
    Again(Duration),
    /// Give it the documents once more.
    Introduce,
    /// Another has to keep it.
    Turn(String),
}

impl Shipment<'_> {
    /// Sends each holder what there is no evidence of it for. Whoever does not take it is turned down, and has to be replaced.
    pub(super) async fn send_missing(
        &self,
        holders: &mut Holders,
        evidence: Evidence,
    ) -> Result<(), ActorError> {
        let delivered = self.delivered(holders, evidence).await?;
        self.pass(&delivered, &Mutex::new(holders)).await
    }

    /// Looks up what there is evidence for, and counts it as done.
    async fn delivered(&self, holders: &Holders, evidence: Evidence) -> Result<Delivered, ActorError> {
        let (layout, records) = (self.layout.layout(), self.tools.storage.records());
        let stripes = usize::try_from(layout.stripes()).unwrap_or(usize::MAX);
        let mut delivered = Delivered(vec![vec![false; stripes]; holders.by_index().len()]);
        match evidence {
            Evidence::Nothing => {}
            Evidence::Receipts => {
                for node in holders.nodes() {
                    self.receipts_of(&records, node, holders, &mut delivered).await?;
                }
            }
            Evidence::ClaimsSince(since_ms) => {
                self.claims(&records, since_ms, holders, &mut delivered).await?
            }
            Evidence::SignedAndClaimed(since_ms, silent) => {
                let mut claimed = delivered.clone();
                self.claims(&records, since_ms, holders, &mut claimed).await?;
                for node in holders.nodes() {
                    self.receipts_of(&records, node, holders, &mut delivered).await?;
                }
                let both = holders.by_index().iter().zip(delivered.0.iter_mut().zip(claimed.0));
                for (_, (signed, claimed)) in
                    both.filter(|(holder, _)| holder.is_none_or(|node| !silent.contains(&node)))
                {
                    signed.iter_mut().zip(claimed).for_each(|(signed, claimed)| *signed &= claimed);
                }
            }
            Evidence::ClaimsOf(since_ms, indices) => {
                self.claims(&records, since_ms, holders, &mut delivered).await?;
                let others = (0..).zip(&mut delivered.0).filter(|(index, _)| !indices.contains(*index));
                others.for_each(|(_, stripes)| stripes.fill(true));
            }
        }
        let done: u64 = (0..).zip(&delivered.0).map(|(index, stripes)| self.bytes(index, stripes)).sum();
        self.progress.send_modify(|progress| progress.done_bytes = done);
        Ok(delivered)
    }

    async fn receipts_of(
        &self,
        records: &RecordsHandle,
        node: NodeId,
        holders: &Holders,
        delivered: &mut Delivered,
    ) -> Result<(), ActorError> {
        let layout = self.layout.layout();
        let known = layout.stripe_numbers();
        let mut from = (known.start, 0);
        loop {
            let page = records.receipts(node, layout.tessera(), from, RECEIPTS).await?;
            for receipt in page.iter().filter(|receipt| known.contains(&receipt.fragment.stripe)) {
                let FragmentId { stripe, index, .. } = receipt.fragment;
                let at = usize::try_from(stripe - known.start).unwrap_or(usize::MAX);
                let place = delivered.0.get_mut(usize::from(index)).and_then(|stripes| stripes.get_mut(at));
                if let Some(place) = place
                    && holders.indices(node).any(|one| one == index)
                {
                    *place = true;
                }
            }
            match page.last().map(|last| last.fragment) {
                Some(last) if page.len() == RECEIPTS as usize && last.stripe < known.end => {
                    from = (last.stripe, last.index.saturating_add(1));
                }
                _ => return Ok(()),
            }
        }
    }

    async fn claims(
        &self,
        records: &RecordsHandle,
        since_ms: i64,
        holders: &Holders,
        delivered: &mut Delivered,
    ) -> Result<(), ActorError> {
        let known = self.layout.layout().stripe_numbers();
        let mut from = known.start;
        while from < known.end {
            let to = from.saturating_add(CLAIM_STRIPES).min(known.end);
            for claim in records.claims(self.layout.layout().tessera(), from..to).await? {
                let at = usize::try_from(claim.stripe - known.start).unwrap_or(usize::MAX);
                let place =
                    delivered.0.get_mut(usize::from(claim.index)).and_then(|stripes| stripes.get_mut(at));
                let is_its = holders.by_index().get(usize::from(claim.index)) == Some(&Some(claim.holder));
                if let Some(place) = place
                    && claim.claimed_at_ms >= since_ms
                    && is_its
                {
                    *place = true;
                }
            }
            from = to;
        }
        Ok(())
    }

    /// The bytes of one index that are delivered.
    fn bytes(&self, index: u16, stripes: &[bool]) -> u64 {
        let layout = self.layout.layout();
        let numbers = layout.stripe_numbers().zip(stripes).filter(|(_, is_there)| **is_there);
        numbers.map(|(stripe, _)| u64::from(layout.fragment_len_at(stripe, index))).sum()
    }

    /// Once through all stripes: one is read and coded while the one before is sent.
    async fn pass(&self, delivered: &Delivered, holders: &Mutex<&mut Holders>) -> Result<(), ActorError> {
        let (ready, mut received) = mpsc::channel(1);
        let preparing = async move {
            for (at, stripe) in (0..).zip(self.layout.layout().stripe_numbers()) {
                let missing = self.missing(at, stripe, delivered, holders);
                // Whoever receives them has failed, and says why.
                if !missing.is_empty() && ready.send(self.prepare(at, stripe, missing).await?).await.is_err()
                {
                    break;
                }
            }
            Ok(())
        };
        let sending = async {
            let stripes = stream::poll_fn(move |context| received.poll_recv(context));
            let fragments = stripes.flat_map(stream::iter);
            let limit = self.tools.transfers.at_once();
            fragments.map(Ok).try_for_each_concurrent(limit, |one| self.send_one(one, holders)).await
        };
        tokio::try_join!(preparing, sending).map(|((), ())| ())
    }

    /// The indices of a stripe whose holder has to be given its fragment.
    fn missing(
        &self,
        at: usize,
        stripe: u32,
        delivered: &Delivered,
        holders: &Mutex<&mut Holders>,
    ) -> Vec<u16> {
        let (data, parity) = self.layout.layout().stripe_width(stripe);
        let holders = lock(holders);
        let is_missing = |index: u16| {
            let holder = holders.by_index().get(usize::from(index)).copied().flatten();
            let there = delivered.0.get(usize::from(index)).and_then(|stripes| stripes.get(at)).copied();
            holder.is_some_and(|node| !holders.is_turned(node)) && there != Some(true)
        };
        (0..data + parity).filter(|index| is_missing(*index)).collect()
    }

    /// Gets what is missing, from here or from others.
    async fn prepare(&self, at: usize, number: u32, missing: Vec<u16>) -> Result<Vec<Ready>, ActorError> {
        let (layout, at) = (self.layout.layout(), u32::try_from(at).unwrap_or(u32::MAX));
        // Taken back meanwhile: those that were told refuse it, and the next would take it in their place.
        retract::refuse(self.tools, layout.tessera()).await?;
        let (tools, pages) = (self.tools, self.pages);
        let stripe = Stripe { tools, pages, layout, number, at, wanted: &missing };
        let width = self.origin.width(&stripe);
        let mut memory = self.tools.memory.reserve(width as u64 * u64::from(layout.fragment_len())).await;
        let fragments = self.origin.fragments(&stripe).await?;
        // Each gives its memory back as soon as it is sent: the next stripe waits for that.
        let ready = fragments.into_iter().enumerate().map(|(before, (index, fragment))| Ready {
            stripe: number,
            index,
            fragment,
            _memory: memory.part(width.saturating_sub(before)),
        });
        Ok(ready.collect())
    }

    async fn send_one(&self, ready: Ready, holders: &Mutex<&mut Holders>) -> Result<(), ActorError> {
        self.send(ready.stripe, ready.index, &ready.fragment, holders).await
    }

    /// Sends one fragment to its holder, or turns that down. Errors only with what is wrong here.
    async fn send(
        &self,
        stripe: u32,
        index: u16,
        fragment: &Fragment,
        holders: &Mutex<&mut Holders>,
    ) -> Result<(), ActorError> {
        let layout = self.layout.layout();
        let Some(node) = lock(holders).by_index().get(usize::from(index)).copied().flatten() else {
            return Ok(());
        };
        let id = FragmentId { tessera: layout.tessera(), stripe, index };
        let begun = Instant::now();
        loop {
            if lock(holders).is_turned(node) {
                return Ok(());
            }
            let is_ours = node == self.tools.peers.us();
            let sent = match is_ours {
                true => self.put_back(id, fragment).await.map(|()| true),
                false => self.try_to_send(node, id, fragment).await,
            };
            let error = match sent {
                Ok(is_new) => {
                    let length = fragment.bytes().len() as u64;
                    // What has not left this node is not sent, and nobody need prove it to himself.
                    if !is_ours {
                        match self.mends {
                            true if is_new => self.tools.mended(length),
                            false if is_new => self.tools.metrics.sent(length),
                            _ => {}
                        }
                        lock(holders).has_taken(node);
                    }
                    self.progress.send_modify(|progress| progress.done_bytes += length);
                    return Ok(());
                }
                Err(error) => error,
            };
            match verdict(&error, begun.elapsed()) {
                None => return Err(error),
                Some(Verdict::Again(after)) => tokio::time::sleep(after).await,
                Some(Verdict::Introduce) => {
                    self.forget_introduction(node);
                    // Whoever says so over and over is not asked without a pause.
                    tokio::time::sleep(AGAIN_MIN).await;
                }
                Some(Verdict::Turn(reason)) => {
                    tracing::info!(%node, tessera = %id.tessera, reason, "another has to keep it");
                    lock(holders).turn(node, reason);
                }
            }
        }
    }

    /// Whether it had not got it before.
    async fn try_to_send(
        &self,
        node: NodeId,
        id: FragmentId,
        fragment: &Fragment,
    ) -> Result<bool, ActorError> {
        let layout = self.layout.layout();
        let number = layout.number(id.stripe, id.index).unwrap_or_default();
        match self.are_small() {
            true => self.introduce(node, Paper::All).await?,
            false => {
                self.introduce(node, Paper::Root).await?;
                self.introduce(node, Paper::Page(layout.page_of(number).0)).await?;
            }
        }
        let author = self.origin.manifest().manifest().author;
        let (remote, root) = (&self.tools.remote, self.layout.checksum());
        let turn = OneOf::new(&self.tools.transfers, layout.fragment_len_at(id.stripe, id.index));
        remote.send_fragment(node, author, id, root, fragment, &turn).await.map(|kept| !kept.was_there)
    }

    /// Gives a node documents, once.
    async fn introduce(&self, node: NodeId, paper: Paper) -> Result<(), ActorError> {
        let cell = self.introductions().entry((node, paper)).or_default().clone();
        cell.get_or_try_init(|| self.give(node, paper)).await.map(|_| ())
    }

    async fn give(&self, node: NodeId, paper: Paper) -> Result<(), ActorError> {
        let (remote, tessera) = (&self.tools.remote, self.layout.layout().tessera());
        match paper {
            Paper::Root => {
                let manifest = self.origin.manifest().bytes().clone();
                remote.put_document(node, tessera, DocumentKind::Manifest, None, manifest).await?;
                let layout = self.layout.bytes().clone();
                remote.put_document(node, tessera, DocumentKind::Layout, None, layout).await
            }
            Paper::Page(number) => {
                let kind = DocumentKind::LayoutPage;
                let page = self.pages.page(number).await?.bytes().clone();
                remote.put_document(node, tessera, kind, Some(self.layout.checksum()), page).await
            }
            Paper::All => {
                let (manifest, page) = (self.origin.manifest().bytes(), self.pages.page(0).await?);
                remote.introduce(node, tessera, [manifest, self.layout.bytes(), page.bytes()]).await
            }
        }
    }

    /// Whether all that says what it is goes into one request.
    fn are_small(&self) -> bool {
        let layout = self.layout.layout();
        let page_bytes =
            usize::try_from(layout.fragments()).unwrap_or(usize::MAX).saturating_mul(size_of::<Checksum>());
        let roots = self.origin.manifest().bytes().len() + self.layout.bytes().len();
        layout.pages().len() == 1 && roots.saturating_add(page_bytes) <= FRAME_BYTES_MAX
    }

    fn forget_introduction(&self, node: NodeId) {
        self.introductions().retain(|(of, _), _| *of != node);
    }

    fn introductions(&self) -> MutexGuard<'_, Introduced> {
        self.introduced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be done after a node has not taken something for so long; `None` for what is wrong here.
pub(super) fn verdict(error: &ActorError, waited: Duration) -> Option<Verdict> {
    let ActorError::Peer { trouble, .. } = error else { return None };
    let turn = || Some(Verdict::Turn(trouble.to_string()));
    let again = |ms: u64, patience: Duration| {
        let after = Duration::from_millis(ms).max(AGAIN_MIN);
        if waited + after < patience { Some(Verdict::Again(after)) } else { turn() }
    };
    match trouble {
        PeerTrouble::Refused(refusal) => match refusal.kind() {
            RefusalKind::Busy { retry_after_ms } => again(retry_after_ms.into(), BUSY_PATIENCE),
            RefusalKind::Restarting => again(RESTARTING_MS, ABSENT_PATIENCE),
            RefusalKind::NeedManifest if waited < ABSENT_PATIENCE => Some(Verdict::Introduce),
            _ => turn(),
        },
        // It was there a moment ago: it may just be started again.
        PeerTrouble::Lost { .. } | PeerTrouble::Silent { .. } | PeerTrouble::Unreachable { .. } => {
            again(RESTARTING_MS, ABSENT_PATIENCE)
        }
        PeerTrouble::Waiting { retry_after_ms, .. } => again(*retry_after_ms, ABSENT_PATIENCE),
        PeerTrouble::DialBudget { retry_after_ms } => again(*retry_after_ms, BUSY_PATIENCE),
        _ => turn(),
    }
}

fn lock<'a, 'b>(holders: &'a Mutex<&'b mut Holders>) -> MutexGuard<'a, &'b mut Holders> {
    holders.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Receipts that are looked up together.
const RECEIPTS: u32 = 1024;
/// How long a node may be busy before another has to keep it.
const BUSY_PATIENCE: Duration = Duration::from_secs(120);
/// How long a node may be away that was there.
const ABSENT_PATIENCE: Duration = Duration::from_secs(20);
const AGAIN_MIN: Duration = Duration::from_millis(50);
/// When to ask again whoever is just being started, in milliseconds.
const RESTARTING_MS: u64 = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_busy_is_asked_again_and_whoever_does_not_want_it_is_not() {
        let check = |trouble, waited_secs, expected: Option<Verdict>| {
            let error = ActorError::Peer { node: NodeId::from_bytes([1; 32]), trouble };
            let found = verdict(&error, Duration::from_secs(waited_secs));
            match (&found, &expected) {
                (Some(Verdict::Turn(_)), Some(Verdict::Turn(_))) => {}
                _ => assert_eq!(found, expected, "{error}"),
            }
        };
        let refused = |kind: RefusalKind| PeerTrouble::Refused(kind.because("a reason"));
        let turn = || Some(Verdict::Turn(String::new()));
        let busy = || refused(RefusalKind::Busy { retry_after_ms: 400 });
        let again = |ms| Some(Verdict::Again(Duration::from_millis(ms)));
        check(busy(), 119, again(400));
        check(busy(), 120, turn());
        check(refused(RefusalKind::Busy { retry_after_ms: 0 }), 0, Some(Verdict::Again(AGAIN_MIN)));
        check(refused(RefusalKind::NeedManifest), 1, Some(Verdict::Introduce));
        check(refused(RefusalKind::NeedManifest), 20, turn());
        check(refused(RefusalKind::QuotaExceeded), 0, turn());
        check(refused(RefusalKind::Blocked), 0, turn());
        check(PeerTrouble::Unreachable { reason: String::new() }, 19, again(RESTARTING_MS));
        check(PeerTrouble::Unreachable { reason: String::new() }, 20, turn());
        check(PeerTrouble::Waiting { reason: String::new(), retry_after_ms: 30_000 }, 0, turn());
        check(PeerTrouble::NoAddress, 0, turn());
        assert_eq!(verdict(&ActorError::ReadOnly { reason: String::new() }, Duration::ZERO), None);
    }
}

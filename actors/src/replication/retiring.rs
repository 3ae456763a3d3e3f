//! Having nodes drop what is not theirs to keep any more: what they have under an old layout, or what others keep by now.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::future::join_all;
use proto::{
    AuthorKey, Checksum, NodeId, TesseraId,
    limits::{DROP_FRAGMENTS_MAX, PLACEMENT_VERSIONS_AHEAD_MAX},
    placement::{Placement, SignedPlacement},
    record::DocumentKind,
};
use tokio::time::timeout;

use super::{
    Tools,
    meeting::look_among_known,
    standing::{self, Known, Since},
};
use crate::{
    error::ActorError,
    remote,
    storage::{CLAIM_STRIPES, Claimed, Note},
};

/// Has a node drop what it has signed to keep of these stripes.
pub(super) async fn drop_there(
    tools: &Tools,
    author: &AuthorKey,
    tessera: TesseraId,
    node: NodeId,
    stripes: &Range<u32>,
) -> Result<(), ActorError> {
    let records = tools.storage.records();
    loop {
        let receipts = records.receipts(node, tessera, (stripes.start, 0), DROPPED_AT_ONCE).await?;
        let places = receipts.iter().map(|receipt| (receipt.fragment.stripe, receipt.fragment.index));
        let places: Vec<_> = places.filter(|(stripe, _)| stripes.contains(stripe)).collect();
        if places.is_empty() {
            return Ok(());
        }
        tools.remote.drop_fragments(node, author, tessera, &places).await?;
    }
}

/// Has those drop what they keep of a tessera who are no holders: they were away, or turned down when they had taken some, or
/// others mended it who did not reach its author; and holders what another holder has by now. Whoever is not there is told
/// another time.
pub(super) async fn tidy(tools: &Tools, author: &AuthorKey, known: &Known) -> Result<(), ActorError> {
    let retiring = Retiring { tools, author, known };
    let former = retiring.former().await?;
    let twice = retiring.kept_twice().await?;
    let is_disputed = tools.disputes.is_about(known.placement.tessera);
    let is_doubtful =
        is_disputed || !former.is_empty() || !twice.is_empty() || retiring.is_doubted_by_any().await;
    let disputed = match is_doubtful {
        true => retiring.disputed().await?,
        false => Some(Vec::new()),
    };
    let Some(disputed) = disputed else { return Ok(()) };
    let asked = retiring.ask(&former).await;
    let named = retiring.named(asked.values().flatten().chain(&disputed));
    let unheard_of: BTreeSet<_> = named.difference(&former).copied().collect();
    let others = retiring.ask(&unheard_of).await;
    let news = asked.values().chain(others.values()).flatten().find(|said| retiring.is_news(said));
    if retiring.learn(news).await? {
        return Ok(());
    }
    // These first: of whom only they name nobody knows any more once they have dropped all.
    let emptied = retiring.empty(others.into_keys().collect()).await;
    let is_left = |node: &NodeId| unheard_of.contains(node) && !emptied.contains(node);
    let done = asked.into_iter().filter(|(_, said)| !retiring.named(said).iter().any(is_left));
    retiring.empty(done.map(|(node, _)| node).collect()).await;
    retiring.thin(&twice).await;
    // The same holds of those whom they name that go by something else.
    let settled = disputed.iter().filter(|said| !retiring.named([*said]).iter().any(is_left));
    let latest = settled.map(|said| said.placement().version).max();
    match latest {
        Some(latest) => retiring.overrule(latest).await,
        None => Ok(()),
    }
}

/// Whether others have seen to a tessera since its author's node did, which was away: then it goes by that from now on.
pub(super) async fn is_outdone(tools: &Tools, author: &AuthorKey, known: &Known) -> Result<bool, ActorError> {
    Ok(Retiring { tools, author, known }.disputed().await?.is_none())
}

/// What nodes say of who keeps it: nothing, if they have nothing of it.
type Said = BTreeMap<NodeId, Option<SignedPlacement>>;

/// Placements that some holders go by and that are not believed, and since when they are known.
#[derive(Default)]
pub(super) struct Disputes(Mutex<BTreeMap<(TesseraId, Checksum), Instant>>);

impl Disputes {
    /// Whether one of these is about a tessera: then all holders are asked again, and not only some time.
    fn is_about(&self, tessera: TesseraId) -> bool {
        let met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [first, last] = [0, u8::MAX].map(|byte| (tessera, Checksum::from_bytes([byte; 32])));
        met.range(first..=last).next().is_some()
    }

    /// Whether one was met so long ago. Whoever is just mending something is still sending when it is met first.
    fn is_old(&self, key: (TesseraId, Checksum), age: Duration, now: Instant) -> bool {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        met.retain(|_, at| now.duration_since(*at) <= age.saturating_mul(DISPUTED_FOR));
        if met.len() >= DISPUTES_MAX && !met.contains_key(&key) {
            return false;
        }
        now.duration_since(*met.entry(key).or_insert(now)) >= age
    }
}

/// A tessera that some may still keep who are no holders of it.
struct Retiring<'a> {
    tools: &'a Tools,
    author: &'a AuthorKey,
    known: &'a Known,
}

impl Retiring<'_> {
    /// Those that have signed to keep it or said that they do, and are no holders.
    async fn former(&self) -> Result<BTreeSet<NodeId>, ActorError> {
        let (tessera, records) = (self.known.placement.tessera, self.tools.storage.records());
        let claimants = records.holders(tessera).await?.into_iter().map(|one| one.node);
        let all = records.signers(tessera).await?.into_iter().chain(claimants);
        Ok(all.filter(|node| self.is_former(*node)).collect())
    }

    /// What holders have beside what they are to keep, where its own holder claims it as well and has proven lately that it has what
    /// it claims.
    async fn kept_twice(&self) -> Result<BTreeMap<NodeId, Vec<(u32, u16)>>, ActorError> {
        let (placement, all) = (&self.known.placement, self.known.layout.layout().stripe_numbers());
        let (since, records) = (Since::now(self.tools), self.tools.storage.records());
        let doubted = records.doubted(placement.tessera).await?;
        let holders = records.holders(placement.tessera).await?.into_iter();
        let trusted: BTreeSet<_> = holders
            .filter(|one| since.is_proof(one.proven_at_ms) && !doubted.contains(&one.node))
            .map(|one| one.node)
            .collect();
        let mut twice = BTreeMap::<_, Vec<_>>::new();
        let mut from = all.start;
        while from < all.end {
            let to = from.saturating_add(CLAIM_STRIPES).min(all.end);
            let claims = records.claims(placement.tessera, from..to).await?;
            let is_its =
                |claimed: &Claimed| placement.indices(claimed.holder).any(|index| index == claimed.index);
            let counts =
                |one: &&Claimed| is_its(one) && since.is_claimed(one) && trusted.contains(&one.holder);
            let kept = claims.iter().filter(counts);
            let kept: BTreeSet<_> = kept.map(|claimed| (claimed.stripe, claimed.index)).collect();
            for claimed in claims.iter().filter(|claimed| !is_its(claimed) && !self.is_former(claimed.holder))
            {
                let place = (claimed.stripe, claimed.index);
                if claimed.holder != self.tools.peers.us() && kept.contains(&place) {
                    twice.entry(claimed.holder).or_default().push(place);
                }
            }
            from = to;
        }
        Ok(twice)
    }

    /// Has holders drop these.
    async fn thin(&self, twice: &BTreeMap<NodeId, Vec<(u32, u16)>>) {
        let told = twice.iter().map(|(node, places)| self.told(*node, self.drop_places(*node, places)));
        join_all(told).await;
    }

    /// Whether a node has dropped what it was to drop. Whoever has not is told another time.
    async fn told(&self, node: NodeId, dropping: impl Future<Output = Result<(), ActorError>>) -> bool {
        let dropped = timeout(TOLD_WITHIN, dropping).await;
        if let Ok(Err(error)) = &dropped {
            let tessera = self.known.placement.tessera;
            tracing::debug!(%node, %tessera, %error, "it still keeps what others keep now");
        }
        matches!(dropped, Ok(Ok(())))
    }

    async fn drop_places(&self, node: NodeId, places: &[(u32, u16)]) -> Result<(), ActorError> {
        for some in places.chunks(DROPPED_AT_ONCE as usize) {
            self.tools.remote.drop_fragments(node, self.author, self.known.placement.tessera, some).await?;
        }
        Ok(())
    }

    fn is_former(&self, node: NodeId) -> bool {
        node != self.tools.peers.us() && self.known.placement.indices(node).next().is_none()
    }

    /// Whether a holder, whichever, goes by something newer: after a few times all have been asked.
    async fn is_doubted_by_any(&self) -> bool {
        let holders: Vec<_> = self.known.placement.holders.iter().flatten().copied().collect();
        let any = fastrand::choice(holders).into_iter().collect();
        self.ask(&any).await.values().flatten().any(|said| self.known.is_older_than(said))
    }

    /// What some holders go by that is newer, and has replaced only such as are there and go with most by what is known here: nothing
    /// was lost. `None` if somebody else has seen to it: most of the holders that answer go by the same, or its author has signed
    /// that; then this node goes by it from now on.
    async fn disputed(&self) -> Result<Option<Vec<SignedPlacement>>, ActorError> {
        let (known, us) = (&self.known.placement, self.tools.peers.us());
        let holders: BTreeSet<_> =
            known.holders.iter().flatten().copied().filter(|node| *node != us).collect();
        let said = self.ask(&holders).await;
        let newer: Vec<_> = said.values().flatten().filter(|one| self.known.is_older_than(one)).collect();
        let by_most = |one: &SignedPlacement| {
            let same = newer.iter().filter(|other| other.placement().agrees_with(one.placement()));
            2 * same.count() > said.len()
        };
        let believed = newer.iter().find(|one| self.is_news(one) || by_most(one)).copied();
        if self.learn(believed).await? {
            return Ok(None);
        }
        let goes_by_ours = |node: &NodeId| {
            let said = said.get(node).and_then(Option::as_ref);
            said.is_some_and(|said| !self.known.is_older_than(said))
        };
        // This node is one of them.
        let ours = 1 + holders.iter().filter(|node| goes_by_ours(node)).count();
        if 2 * ours <= 1 + holders.len() {
            return Ok(Some(Vec::new()));
        }
        let (age, now) = (self.tools.config.repair.interval, Instant::now());
        let is_needless = |one: &&SignedPlacement| {
            known.replaced_by(one.placement()).all(|(_, node)| node == us || goes_by_ours(&node))
        };
        let is_old = |one: &&SignedPlacement| {
            self.tools.disputes.is_old((known.tessera, Checksum::of(one.bytes())), age, now)
        };
        let disputed: Vec<_> = newer.into_iter().filter(is_needless).filter(is_old).cloned().collect();
        let looking = async {
            for one in &disputed {
                look_among_known(self.tools, one.placement()).await;
            }
        };
        // Whoever is not found is looked for another time.
        let _ = timeout(TOLD_WITHIN, looking).await;
        Ok(Some(disputed))
    }

    /// Those that were cut off from the others have mended what was not lost, and did not reach most: its author has the last word.
    async fn overrule(&self, latest: u64) -> Result<(), ActorError> {
        let known = &self.known.placement;
        let now = standing::known(self.tools, known.tessera).await?;
        if now.is_none_or(|now| now.placement != *known) {
            return Ok(());
        }
        // From one that is further ahead nobody honest learns anything: the author follows step by step.
        let latest = latest.min(known.version.saturating_add(PLACEMENT_VERSIONS_AHEAD_MAX));
        let placement = Placement { version: latest.saturating_add(1), repairer: None, ..known.clone() };
        let signed = placement.sign(self.author)?;
        self.learn(Some(&signed)).await?;
        let holders: BTreeSet<_> = placement.holders.iter().flatten().copied().collect();
        let others = holders.into_iter().filter(|node| *node != self.tools.peers.us());
        let (tessera, kind) = (placement.tessera, DocumentKind::Placement);
        let told = others.map(|node| {
            let said = self.tools.remote.put_document(node, tessera, kind, None, signed.bytes().clone());
            self.told(node, said)
        });
        // Who does not hear of it now asks the others as soon as it misses what was taken back.
        join_all(told).await;
        Ok(())
    }

    /// Whether the author has signed this, on another of its machines, and it is not known here.
    fn is_news(&self, said: &SignedPlacement) -> bool {
        said.placement().repairer.is_none() && self.known.is_older_than(said)
    }

    /// Goes by this from now on, if it is anything. Whether it is.
    async fn learn(&self, newer: Option<&SignedPlacement>) -> Result<bool, ActorError> {
        let Some(newer) = newer else { return Ok(false) };
        self.tools.storage.records().note(vec![Note::Placement(newer.into())]).await.map(|_| true)
    }

    /// Those that these take for holders, and that are none.
    fn named<'b>(&self, said: impl IntoIterator<Item = &'b SignedPlacement>) -> BTreeSet<NodeId> {
        let of_it = said.into_iter().map(SignedPlacement::placement);
        let of_it = of_it.filter(|said| said.layout == self.known.layout.checksum());
        of_it
            .flat_map(|said| said.holders.iter().flatten())
            .filter(|node| self.is_former(**node))
            .copied()
            .collect()
    }

    /// Asks nodes whom they take for holders. Those that answer.
    async fn ask(&self, nodes: &BTreeSet<NodeId>) -> Said {
        let asked = nodes.iter().filter(|node| **node != self.tools.peers.us()).map(|node| async move {
            let said = timeout(TOLD_WITHIN, self.placement_of(*node)).await;
            Some((*node, said.ok()?.ok()?))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    async fn placement_of(&self, node: NodeId) -> Result<Option<SignedPlacement>, ActorError> {
        let (tessera, kind) = (self.known.placement.tessera, DocumentKind::Placement);
        match self.tools.remote.document(node, tessera, kind, None).await {
            Ok(said) => Ok(Some(SignedPlacement::parse(said, tessera, self.known.author)?)),
            Err(error) if remote::is_not_there(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Has these drop all that they keep. Those that have.
    async fn empty(&self, nodes: Vec<NodeId>) -> BTreeSet<NodeId> {
        let told = nodes
            .into_iter()
            .map(|node| async move { self.told(node, self.drop_all(node)).await.then_some(node) });
        join_all(told).await.into_iter().flatten().collect()
    }

    async fn drop_all(&self, node: NodeId) -> Result<(), ActorError> {
        self.drop_claimed(node).await?;
        let (tessera, layout) = (self.known.placement.tessera, self.known.layout.layout());
        drop_there(self.tools, self.author, tessera, node, &layout.stripe_numbers()).await
    }

    /// Has a node drop what it says to have, whoever has given it that.
    async fn drop_claimed(&self, node: NodeId) -> Result<(), ActorError> {
        let (tessera, all) = (self.known.placement.tessera, self.known.layout.layout().stripe_numbers());
        match self.tools.attestation.audit(node, tessera).await {
            Err(error) if !remote::is_not_there(&error) => return Err(error),
            _ => {}
        }
        let mut from = all.start;
        while from < all.end {
            let to = from.saturating_add(CLAIM_STRIPES).min(all.end);
            let claims = self.tools.storage.records().claims(tessera, from..to).await?;
            let its = claims.iter().filter(|claimed| claimed.holder == node);
            let places: Vec<_> = its.map(|claimed| (claimed.stripe, claimed.index)).collect();
            self.drop_places(node, &places).await?;
            from = to;
        }
        Ok(())
    }
}

/// Placements that are remembered as disputed, and for how many times the age at which they count.
const DISPUTES_MAX: usize = 4096;
const DISPUTED_FOR: u32 = 8;
/// Fragments that are dropped with one order.
const DROPPED_AT_ONCE: u32 = 1024;
const _: () = assert!(DROPPED_AT_ONCE as usize <= DROP_FRAGMENTS_MAX);
/// How long a node may take.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_disputed_counts_once_it_was_met_long_ago() {
        let (disputes, begun, age) = (Disputes::default(), Instant::now(), Duration::from_hours(24));
        let key = |number: u32| (TesseraId::from_bytes([1; 32]), Checksum::of(&number.to_le_bytes()));
        let is_old = |number, hours| disputes.is_old(key(number), age, begun + Duration::from_hours(hours));
        assert!(!is_old(1, 0) && !is_old(1, 23) && is_old(1, 24) && is_old(1, 100));
        let about = |byte| disputes.is_about(TesseraId::from_bytes([byte; 32]));
        assert!(about(1) && !about(0) && !about(2));
        // Another is met for the first time, however often the one before it was.
        assert!(!is_old(2, 100));
        // Not met for long, it may have been settled since.
        assert!(!is_old(1, 24 * 9));
        assert!((0..5_000).all(|number| !is_old(number, 24 * 20)));
        assert_eq!(disputes.0.lock().unwrap().len(), DISPUTES_MAX);
    }
}

//! How safe a tessera is: computed from what holders claim and have proven.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proto::{
    AuthorId, Checksum, NodeId, TesseraId,
    guarantee::Standing,
    layout::{Layout, SignedLayout},
    manifest::SignedManifest,
    placement::{Domain, Placement, SignedPlacement},
    record::DocumentKind,
};
use serde::{Deserialize, Serialize};

use super::{
    Tools,
    told::{Means, Told},
};
use crate::{
    clock,
    conn_pool::PeerBook,
    error::ActorError,
    storage::{CLAIM_STRIPES, Claimed, RecordsHandle, Watched, Which},
};

/// How safe a tessera is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guarantee {
    /// How many machines may be lost, whichever these are; `None` when something is lost already, or was never kept by
    /// others.
    pub survives: Option<u16>,
    /// Of how many: nodes of one operator are one.
    pub machines: u16,
    /// The nodes that keep any of it.
    pub nodes: u16,
    /// Fragments beyond those that are needed, of the stripe that is worst off; negative when there are too few.
    pub margin: i32,
    /// Nodes that have proven lately that they have what they claim, by one fragment.
    pub proven_nodes: u16,
    /// The claim that is longest ago, in milliseconds since 1970.
    pub oldest_claim_ms: Option<i64>,
}

impl Guarantee {
    /// In one sentence.
    pub fn sentence(&self, asked: u16) -> String {
        let of = match self.machines {
            1 => "1 machine".to_owned(),
            machines => format!("{machines} machines"),
        };
        match self.survives {
            None if self.machines == 0 => "Not safe: no other machine has it.".to_owned(),
            None => format!("Not safe: what {of} have of it is too little to bring it back."),
            Some(survives) if survives >= asked => {
                format!("Safe: survives the loss of any {survives} of {of}.")
            }
            Some(0) => format!("Less safe than asked: kept by {of}, and survives the loss of none of them."),
            Some(survives) => {
                format!("Less safe than asked: survives the loss of any {survives} of {of}, not of {asked}.")
            }
        }
    }
}

/// What counts as being there: when it was claimed or proven last. In milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Since {
    claimed_ms: i64,
    proven_ms: i64,
    /// What was later than this was noted by a clock that was wrong.
    latest_ms: i64,
}

impl Since {
    /// As of now: claimed within two sweeps, or proven within the time for that.
    pub(super) fn now(tools: &Tools) -> Self {
        let repair = &tools.config.repair;
        Self::at(clock::now_ms(), 2 * (repair.interval + repair.jitter), tools.prove_within)
    }

    fn at(now_ms: i64, claimed_within: Duration, proven_within: Duration) -> Self {
        let before = |span: Duration| now_ms.saturating_sub(clock::ms(span));
        let (claimed_ms, proven_ms) = (before(claimed_within), before(proven_within));
        Self { claimed_ms, proven_ms, latest_ms: now_ms.saturating_add(clock::ms(CLOCK_STEP)) }
    }

    /// What was said since then counts too: asking all holders may take longer than two sweeps.
    pub(super) fn or_since(self, ms: i64) -> Self {
        Self { claimed_ms: self.claimed_ms.min(ms), ..self }
    }

    fn is_alive(&self, claimed: &Claimed) -> bool {
        self.is_claimed(claimed) || self.is_proven(claimed)
    }

    pub(super) fn is_claimed(&self, claimed: &Claimed) -> bool {
        (self.claimed_ms..=self.latest_ms).contains(&claimed.claimed_at_ms)
    }

    fn is_proven(&self, claimed: &Claimed) -> bool {
        self.is_proof(claimed.proven_at_ms)
    }

    /// Whether a proof counts that was given then.
    pub(super) fn is_proof(&self, at_ms: Option<i64>) -> bool {
        at_ms.is_some_and(|at_ms| (self.proven_ms..=self.latest_ms).contains(&at_ms))
    }
}

/// Whom nodes act for, as far as that is known; and which node is this one, whose own copy never counts.
#[derive(Debug)]
pub(super) struct Operators {
    us: Option<NodeId>,
    /// The holder of each index, where it is said who these are: what others claim may be given back at any time.
    holders: Option<Vec<Option<NodeId>>>,
    of: BTreeMap<NodeId, AuthorId>,
    blocked: BTreeSet<NodeId>,
}

impl Operators {
    pub(super) fn new(us: NodeId, book: &PeerBook) -> Self {
        let of = book.peers.iter().filter_map(|(node, known)| Some((*node, known.author?)));
        Self {
            us: Some(us),
            holders: None,
            of: of.collect(),
            blocked: book.blocked.keys().copied().collect(),
        }
    }

    /// What any others claim counts for nothing than the holders of these indices.
    pub(super) fn only(&mut self, holders: &[Option<NodeId>]) {
        self.holders = Some(holders.to_vec());
    }

    /// What this node says counts for nothing.
    pub(super) fn leave_out(&mut self, node: NodeId) {
        self.blocked.insert(node);
    }

    /// This node keeps it as any other does.
    pub(super) fn count_us(&mut self) {
        self.us = None;
    }

    fn domain(&self, node: NodeId) -> Domain {
        self.of.get(&node).map_or(Domain::Node(node), |author| Domain::Operator(*author))
    }

    fn counts(&self, node: NodeId) -> bool {
        let is_holder = self.holders.as_ref().is_none_or(|holders| holders.contains(&Some(node)));
        is_holder && Some(node) != self.us && !self.blocked.contains(&node)
    }

    /// Whether a node is to keep this index: what else it has is a second copy, or covers up that the first is gone.
    fn is_placed(&self, index: u16, node: NodeId) -> bool {
        let holders = self.holders.as_ref();
        holders.is_none_or(|holders| holders.get(usize::from(index)) == Some(&Some(node)))
    }
}

/// A tessera that others keep, as far as is known here: the newest layout that somebody is said to keep.
pub(super) struct Known {
    pub(super) author: AuthorId,
    pub(super) manifest_bytes: usize,
    pub(super) layout: SignedLayout,
    pub(super) placement: Placement,
}

/// What is known of who keeps a tessera; `None` when nobody says that.
pub(super) async fn known(tools: &Tools, tessera: TesseraId) -> Result<Option<Known>, ActorError> {
    let placements = tools.storage.records().placements(tessera).await?;
    if placements.is_empty() {
        return Ok(None);
    }
    let layouts = tools.storage.layouts(tessera).await?;
    let placed = |layout: &SignedLayout| placements.iter().find(|kept| kept.layout == layout.checksum());
    let newest = layouts.into_iter().flatten().find_map(|layout| Some((placed(&layout)?, layout)));
    let Some((kept, layout)) = newest else { return Ok(None) };
    let hash = Checksum::from_bytes(*tessera.as_bytes());
    let manifest = tools.storage.document(tessera, DocumentKind::Manifest, Some(hash)).await?;
    let manifest_bytes = manifest.len();
    let author = SignedManifest::parse(manifest)?.manifest().author;
    let placement = SignedPlacement::parse(kept.signed.clone(), tessera, author)?.placement().clone();
    Ok(Some(Known { author, manifest_bytes, layout, placement }))
}

impl Known {
    /// Whether this is newer than what is known here: of two with the same version the author's counts.
    pub(super) fn is_older_than(&self, signed: &SignedPlacement) -> bool {
        let theirs = signed.placement();
        theirs.layout == self.placement.layout && theirs.rank() > self.placement.rank()
    }

    /// Whose claims count. Of others' tesserae this node keeps a part as any other does; its own copy never counts.
    pub(super) async fn operators(&self, tools: &Tools) -> Result<Operators, ActorError> {
        let (us, book) = (tools.peers.us(), tools.peers.book());
        let mut operators = Operators::new(us, &book);
        operators.only(&self.placement.holders);
        if !tools.acts_for(self.author) && self.placement.indices(us).next().is_some() {
            operators.count_us();
        }
        let doubted = tools.storage.records().doubted(self.placement.tessera).await?;
        doubted.into_iter().for_each(|node| operators.leave_out(node));
        Ok(operators)
    }

    /// How safe it is, by what holders have said lately.
    pub(super) async fn found(&self, tools: &Tools, since: Since) -> Result<Found, ActorError> {
        let (records, operators) = (tools.storage.records(), self.operators(tools).await?);
        found(&records, self.layout.layout(), &operators, since).await
    }
}

/// How safe a tessera is, by what is known here of the newest layout that others keep; `None` when nobody says who does.
pub(super) async fn as_known(tools: &Tools, tessera: TesseraId) -> Result<Option<Told>, ActorError> {
    let records = tools.storage.records();
    let Some(known) = known(tools, tessera).await? else { return Ok(None) };
    let found = known.found(tools, Since::now(tools)).await?;
    let asked = tools.config.wanted.survive;
    let named: BTreeSet<_> = known.placement.holders.iter().flatten().collect();
    if found.guarantee.nodes == 0 && !named.is_empty() && !records.is_taken_back(tessera).await? {
        let is_author = tools.acts_for(known.author);
        let is_ours = is_author || named.contains(&tools.peers.us());
        let is_looked_after = is_ours || records.adopted_since(tessera).await?.is_some();
        let watched = records.watched(Which::One(tessera)).await?;
        // Whoever brought it here has not said what all others have: who keeps it finds out with its first look.
        let is_to_be_asked =
            |one: &Watched| one.is_looked_at_now() || (!is_author && one.looked_at_ms.is_none());
        if !is_looked_after || watched.iter().any(is_to_be_asked) {
            return Ok(Some(Told::not_known(named.len(), asked, is_looked_after)));
        }
    }
    let book = tools.peers.book();
    let wanted = book.peers.keys().filter(|node| book.is_wanted(**node)).count();
    let fits = tools.fits(known.layout.layout(), &found.guarantee);
    let means = Means { known: wanted, is_ours: tools.acts_for(known.author), fits };
    Ok(Some(Told::published(found.guarantee, asked, Vec::new(), means)))
}

/// What holders have of a tessera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) guarantee: Guarantee,
    /// As the margin of the guarantee, but by claims alone, of those that are to keep it: a proof counts for longer than it
    /// takes to be lost, and what somebody else has as well may be given up at any time.
    pub(super) claimed_margin: i32,
    /// Bytes of fragments that those have not who are to keep them.
    pub(super) missing_bytes: u64,
}

/// How safe a tessera is by this layout.
pub(super) async fn found(
    records: &RecordsHandle,
    layout: &Layout,
    operators: &Operators,
    since: Since,
) -> Result<Found, ActorError> {
    let (mut tally, mut missing_bytes) = (Tally::default(), 0);
    let all = layout.stripe_numbers();
    let mut from = all.start;
    while from < all.end {
        let to = from.saturating_add(CLAIM_STRIPES).min(all.end);
        let claims = records.claims(layout.tessera(), from..to).await?;
        let mut rest = claims.as_slice();
        for stripe in from..to {
            let (these, others) = rest.split_at(rest.partition_point(|claimed| claimed.stripe == stripe));
            rest = others;
            let (data, parity) = layout.stripe_width(stripe);
            let there = tally.stripe(data, these, operators, since);
            let missing = (0..data + parity).filter(|index| !there.contains(index));
            missing_bytes +=
                missing.map(|index| u64::from(layout.fragment_len_at(stripe, index))).sum::<u64>();
        }
        from = to;
    }
    let guarantee = tally.guarantee();
    let claimed_margin = tally.claimed.map_or(guarantee.margin, |claimed| claimed.margin);
    Ok(Found { guarantee, claimed_margin, missing_bytes })
}

/// What was found of some stripes.
#[derive(Debug, Default)]
struct Tally {
    standing: Option<Standing>,
    /// The same by claims alone.
    claimed: Option<Standing>,
    domains: BTreeSet<Domain>,
    nodes: BTreeSet<NodeId>,
    proven: BTreeSet<NodeId>,
    oldest_claim_ms: Option<i64>,
}

impl Tally {
    /// One stripe, of which this is claimed. The indices that those have who are to keep them.
    fn stripe(&mut self, k: u16, claims: &[Claimed], operators: &Operators, since: Since) -> BTreeSet<u16> {
        let (mut holders, mut claimants, mut there) = (Fragments::new(), Fragments::new(), BTreeSet::new());
        for claimed in claims.iter().filter(|it| operators.counts(it.holder) && since.is_alive(it)) {
            let domain = operators.domain(claimed.holder);
            self.domains.insert(domain);
            self.nodes.insert(claimed.holder);
            if since.is_proven(claimed) {
                self.proven.insert(claimed.holder);
            }
            if operators.is_placed(claimed.index, claimed.holder) {
                there.insert(claimed.index);
                if since.is_claimed(claimed) {
                    claimants.entry(claimed.index).or_default().push(domain);
                }
            }
            let oldest = self.oldest_claim_ms.unwrap_or(i64::MAX).min(claimed.claimed_at_ms);
            self.oldest_claim_ms = Some(oldest);
            holders.entry(claimed.index).or_default().push(domain);
        }
        for (standing, fragments) in [(&mut self.standing, holders), (&mut self.claimed, claimants)] {
            let here = Standing::of(k, spread(fragments).into_values());
            *standing = Some(standing.map_or(here, |before| before.and(here)));
        }
        there
    }

    fn guarantee(&self) -> Guarantee {
        let count = |length: usize| u16::try_from(length).unwrap_or(u16::MAX);
        // Content of no bytes has no stripe, and nothing to lose.
        let standing = self.standing.unwrap_or(Standing { margin: 0, survives: Some(u16::MAX) });
        Guarantee {
            survives: standing.survives,
            machines: count(self.domains.len()),
            nodes: count(self.nodes.len()),
            margin: standing.margin,
            proven_nodes: count(self.proven.len()),
            oldest_claim_ms: self.oldest_claim_ms,
        }
    }
}

/// Who has each fragment of a stripe.
type Fragments = BTreeMap<u16, Vec<Domain>>;

/// How many different fragments each domain counts for. Second copies do not count: a fragment that several have is that of
/// the one that counts for the fewest so far, the fragments that only one has first.
fn spread(holders: Fragments) -> BTreeMap<Domain, u16> {
    let mut fragments: Vec<_> = holders.into_values().collect();
    fragments.sort_by_key(Vec::len);
    let mut counts = BTreeMap::<Domain, u16>::new();
    for domains in fragments {
        let least = domains.into_iter().min_by_key(|domain| counts.get(domain).copied().unwrap_or_default());
        least.into_iter().for_each(|domain| *counts.entry(domain).or_default() += 1);
    }
    counts
}

/// How far a clock may be set back without anything that was noted before being of the future.
const CLOCK_STEP: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use proto::Checksum;

    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;
    const DAY_MS: i64 = 24 * 3_600_000;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    /// Claimed a moment ago, never proven.
    fn claimed(index: u16, holder: u8) -> Claimed {
        Claimed {
            holder: node(holder),
            stripe: 0,
            index,
            checksum: Checksum::of(b""),
            claimed_at_ms: NOW_MS - 1000,
            proven_at_ms: None,
        }
    }

    /// Nodes 11 to 19 are of one operator; node 99 is this one.
    fn operators() -> Operators {
        let author = AuthorId::from_bytes([1; 32]);
        let of = (11..20).map(|number| (node(number), author)).collect();
        Operators { us: Some(node(99)), holders: None, of, blocked: BTreeSet::from([node(66)]) }
    }

    fn since() -> Since {
        let day = Duration::from_secs(24 * 3600);
        Since::at(NOW_MS, 2 * day, 7 * day)
    }

    fn of(k: u16, claims: &[Claimed]) -> Guarantee {
        let mut tally = Tally::default();
        tally.stripe(k, claims, &operators(), since());
        tally.guarantee()
    }

    fn check(k: u16, holders: &[(u16, u8)], survives: Option<u16>, machines: u16) {
        let claims: Vec<_> = holders.iter().map(|(index, holder)| claimed(*index, *holder)).collect();
        let found = of(k, &claims);
        assert_eq!((found.survives, found.machines), (survives, machines), "{k} {holders:?}");
    }

    #[test]
    fn machines_of_one_operator_are_lost_together() {
        check(3, &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)], Some(2), 5);
        check(3, &[(0, 1), (1, 11), (2, 12), (3, 4), (4, 5)], Some(1), 4);
    }

    #[test]
    fn own_copy_second_copies_and_blocked_nodes_do_not_count() {
        check(2, &[(0, 1), (1, 2), (2, 99)], Some(0), 2);
        check(2, &[(0, 1), (0, 3), (1, 2)], Some(0), 3);
        check(2, &[(0, 1), (1, 2), (2, 66)], Some(0), 2);
        // Whoever has more than one fragment leaves to another what that has as well.
        check(2, &[(0, 1), (1, 1), (1, 2), (2, 3)], Some(1), 3);
        check(2, &[], None, 0);
    }

    #[test]
    fn what_was_claimed_long_ago_counts_only_if_it_was_proven_since() {
        let old = Claimed { claimed_at_ms: NOW_MS - 3 * DAY_MS, ..claimed(1, 2) };
        assert_eq!(of(1, &[claimed(0, 1), old]).machines, 1);
        let proven = Claimed { proven_at_ms: Some(NOW_MS - 6 * DAY_MS), ..old };
        let found = of(1, &[claimed(0, 1), proven]);
        assert_eq!((found.survives, found.machines, found.proven_nodes), (Some(1), 2, 1));
        assert_eq!(found.oldest_claim_ms, Some(old.claimed_at_ms));
        let long_ago = Claimed { proven_at_ms: Some(NOW_MS - 8 * DAY_MS), ..old };
        assert_eq!(of(1, &[claimed(0, 1), long_ago]).machines, 1);
    }

    #[test]
    fn what_a_wrong_clock_has_noted_does_not_count_for_years() {
        let later = Claimed { claimed_at_ms: NOW_MS + DAY_MS, ..claimed(1, 2) };
        assert_eq!(of(1, &[claimed(0, 1), later]).machines, 1);
        let proven = Claimed { proven_at_ms: Some(NOW_MS + DAY_MS), ..later };
        assert_eq!(of(1, &[claimed(0, 1), proven]).machines, 1);
        let just_set_back = Claimed { claimed_at_ms: NOW_MS + 60_000, ..claimed(1, 2) };
        assert_eq!(of(1, &[claimed(0, 1), just_set_back]).machines, 2);
    }

    #[test]
    fn margin_by_claims_is_apart_from_what_was_proven_before() {
        let silent = Claimed {
            claimed_at_ms: NOW_MS - 3 * DAY_MS,
            proven_at_ms: Some(NOW_MS - 5 * DAY_MS),
            ..claimed(1, 2)
        };
        let mut tally = Tally::default();
        let there = tally.stripe(1, &[claimed(0, 1), silent], &operators(), since());
        assert_eq!(there, BTreeSet::from([0, 1]));
        let margin = |standing: Option<Standing>| standing.unwrap().margin;
        assert_eq!((margin(tally.standing), margin(tally.claimed)), (1, 0));
    }

    #[test]
    fn what_a_holder_has_as_well_does_not_cover_up_what_is_lost() {
        let mut operators = operators();
        operators.only(&[Some(node(1)), Some(node(2)), Some(node(3))]);
        let claims = [claimed(0, 1), claimed(1, 1), claimed(2, 1), claimed(2, 3)];
        let mut tally = Tally::default();
        assert_eq!(tally.stripe(1, &claims, &operators, since()), BTreeSet::from([0, 2]));
        assert_eq!(tally.claimed.unwrap().margin, 1);
        assert_eq!(tally.guarantee().survives, Some(1), "as long as it is there it counts");
    }

    #[test]
    fn sentence_says_no_more_than_is_true() {
        let says = |survives, machines| {
            let found = Guarantee { survives, machines, ..of(1, &[]) };
            found.sentence(2)
        };
        assert_eq!(says(None, 0), "Not safe: no other machine has it.");
        assert_eq!(
            says(Some(0), 1),
            "Less safe than asked: kept by 1 machine, and survives the loss of none of them."
        );
        assert_eq!(
            says(Some(1), 3),
            "Less safe than asked: survives the loss of any 1 of 3 machines, not of 2."
        );
        assert_eq!(says(Some(3), 9), "Safe: survives the loss of any 3 of 9 machines.");
        assert!(says(None, 2).contains("too little"));
    }
}

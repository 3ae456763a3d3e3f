//! Who keeps which index of a tessera, and who was turned down: pure.

use std::collections::{BTreeMap, BTreeSet};

use proto::{
    NodeId, TesseraId,
    placement::{Candidate, fill, spread},
};

use super::told::Turned;

/// Some indices of a stripe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Indices(u32);

impl Indices {
    pub(super) fn contains(self, index: u16) -> bool {
        1_u32.checked_shl(index.into()).is_some_and(|bit| self.0 & bit != 0)
    }

    pub(super) fn insert(&mut self, index: u16) {
        self.0 |= 1_u32.checked_shl(index.into()).unwrap_or(0);
    }
}

const _: () = assert!(proto::limits::STRIPE_TOTAL_MAX as u32 <= u32::BITS);

/// Holders of before that keep nothing for now.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// All of them, and why.
    pub(super) turned: Vec<Turned>,
    /// Those of them that are replaced by nobody: they have just been there.
    pub(super) awaited: BTreeSet<NodeId>,
}

/// The holders of a tessera while it is being published.
#[derive(Debug)]
pub(super) struct Holders {
    tessera: TesseraId,
    /// Those that may be given to others; the rest stay where they are.
    open: Indices,
    /// Who keeps what nobody else takes, and kept it before: whoever is away may come back with it.
    former: Vec<Option<NodeId>>,
    /// What some keep twice goes to others.
    spreads: bool,
    /// Nobody keeps two.
    once: bool,
    candidates: Vec<Candidate>,
    by_index: Vec<Option<NodeId>>,
    turned: BTreeMap<NodeId, String>,
    took: BTreeSet<NodeId>,
}

impl Holders {
    /// Of stripes with so many data and parity fragments. Those that were placed before stay; what the lost ones among them kept,
    /// unless they are awaited, and every other index, is given to a candidate. Of what some keep twice as much is spread, if that is wanted, as there are
    /// candidates that keep nothing.
    pub(super) fn new(
        tessera: TesseraId,
        (data, parity): (u16, u16),
        candidates: Vec<Candidate>,
        before: &[Option<NodeId>],
        lost: &Lost,
        spreads: bool,
    ) -> Self {
        let width = usize::from(data + parity);
        let mut former: Vec<_> = before.iter().copied().take(width).collect();
        former.resize(width, None);
        let mut open = Indices::default();
        let is_awaited = |node: &NodeId| lost.awaited.contains(node);
        let open_ones = (0..).zip(&former).filter(|(_, holder)| !holder.as_ref().is_some_and(is_awaited));
        open_ones.for_each(|(index, _)| open.insert(index));
        let turned = lost.turned.iter().map(|one| (one.node, one.reason.clone()));
        let mut holders = Self {
            tessera,
            open,
            by_index: former.clone(),
            former,
            spreads,
            // A second copy of the same bytes on one machine is of no use.
            once: data == 1,
            candidates,
            turned: turned.collect(),
            took: BTreeSet::new(),
        };
        holders.replace();
        holders
    }

    /// Those of before, of whom one leaves: what it has of each stripe goes to the next, and stays with it where nobody takes it.
    pub(super) fn without(
        (tessera, leaving): (TesseraId, NodeId),
        (data, parity): (u16, u16),
        candidates: Vec<Candidate>,
        before: &[Option<NodeId>],
        has: Indices,
    ) -> Self {
        let mut by_index: Vec<_> = before.iter().copied().take((data + parity).into()).collect();
        by_index.resize((data + parity).into(), None);
        let mut holders = Self {
            tessera,
            open: has,
            former: vec![Some(leaving); by_index.len()],
            spreads: false,
            once: data == 1,
            candidates,
            by_index,
            turned: BTreeMap::from([(leaving, String::from("it leaves"))]),
            took: BTreeSet::new(),
        };
        holders.replace();
        holders
    }

    /// The holder of each index.
    pub(super) fn by_index(&self) -> &[Option<NodeId>] {
        &self.by_index
    }

    /// The nodes that keep anything.
    pub(super) fn nodes(&self) -> BTreeSet<NodeId> {
        self.by_index.iter().flatten().copied().collect()
    }

    /// The indices of a node.
    pub(super) fn indices(&self, node: NodeId) -> impl Iterator<Item = u16> + '_ {
        let all = (0..).zip(&self.by_index);
        all.filter_map(move |(index, holder)| (*holder == Some(node)).then_some(index))
    }

    /// Whether a node has been turned down.
    pub(super) fn is_turned(&self, node: NodeId) -> bool {
        self.turned.contains_key(&node)
    }

    /// A node does not keep it: what it was to keep goes to the next, once [`Holders::replace`] is called.
    pub(super) fn turn(&mut self, node: NodeId, reason: String) {
        self.turned.entry(node).or_insert(reason);
    }

    /// A node has taken something.
    pub(super) fn has_taken(&mut self, node: NodeId) {
        self.took.insert(node);
    }

    /// The nodes that have taken something since this was made.
    pub(super) fn took(&self) -> &BTreeSet<NodeId> {
        &self.took
    }

    /// Gives the indices of those that were turned down to the next candidates. Whether anything has changed.
    pub(super) fn replace(&mut self) -> bool {
        let before = self.by_index.clone();
        let Self { by_index, turned, open, .. } = self;
        let is_turned = |node: &NodeId| turned.contains_key(node);
        let holders = (0..).zip(by_index).filter(|(index, _)| open.contains(*index));
        holders
            .filter(|(_, holder)| holder.as_ref().is_some_and(is_turned))
            .for_each(|(_, holder)| *holder = None);
        self.fill();
        self.by_index != before
    }

    /// Those that were turned down, and why.
    pub(super) fn turned(&self) -> Vec<Turned> {
        let turned = self.turned.iter();
        turned.map(|(node, reason)| Turned { node: *node, reason: reason.clone() }).collect()
    }

    fn fill(&mut self) {
        let left = self.candidates.iter().filter(|one| !self.turned.contains_key(&one.node));
        let left: Vec<_> = left.copied().collect();
        if self.spreads {
            // Where nobody new has taken it, it is as it was before it was spread.
            for (holder, former) in self.by_index.iter_mut().zip(&self.former) {
                *holder = holder.or(former.filter(|node| !self.turned.contains_key(node)));
            }
            spread(&left, &mut self.by_index);
        }
        let before = self.by_index.clone();
        fill(self.tessera, &left, &mut self.by_index, self.once);
        let kept = before.into_iter().zip(&self.former);
        for ((index, holder), (before, former)) in (0..).zip(&mut self.by_index).zip(kept) {
            *holder = if self.open.contains(index) { holder.or(*former) } else { before };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn holders(k: u16, m: u16, candidates: u8, before: &[Option<NodeId>]) -> Holders {
        let candidates = (1..=candidates).map(|n| Candidate { node: node(n), operator: None, network: None });
        Holders::new(
            TesseraId::from_bytes([9; 32]),
            (k, m),
            candidates.collect(),
            before,
            &Lost::default(),
            false,
        )
    }

    #[test]
    fn whoever_is_turned_down_is_replaced_for_all_its_indices_and_never_asked_again() {
        let mut holders = holders(3, 2, 7, &[]);
        let before = holders.by_index().to_vec();
        let gone = before[1].unwrap();
        holders.turn(gone, "full".to_owned());
        holders.turn(gone, "later".to_owned());
        assert!(holders.replace() && !holders.nodes().contains(&gone));
        let changed: Vec<_> = (0..5).filter(|at| holders.by_index()[*at] != before[*at]).collect();
        assert_eq!(changed, [1]);
        assert_eq!(holders.turned(), [Turned { node: gone, reason: "full".to_owned() }]);
        assert!(!holders.replace(), "nothing more is to be done");
    }

    #[test]
    fn index_has_no_holder_when_nobody_is_left() {
        let mut copies = holders(1, 2, 3, &[]);
        copies.turn(copies.by_index()[0].unwrap(), "full".to_owned());
        assert!(copies.replace());
        assert_eq!(copies.by_index().iter().flatten().count(), 2);
        let mut coded = holders(2, 1, 3, &[]);
        coded.turn(coded.by_index()[0].unwrap(), "full".to_owned());
        assert!(coded.replace());
        assert_eq!((coded.by_index().iter().flatten().count(), coded.nodes().len()), (3, 2));
    }

    #[test]
    fn whoever_leaves_is_replaced_for_what_it_has_alone_and_keeps_what_nobody_takes() {
        let before: Vec<_> = [1, 2, 3, 4].map(|number| Some(node(number))).to_vec();
        let without = |candidates: &[u8]| {
            let candidates =
                candidates.iter().map(|n| Candidate { node: node(*n), operator: None, network: None });
            let mut has = Indices::default();
            has.insert(1);
            let of = (TesseraId::from_bytes([9; 32]), node(2));
            Holders::without(of, (2, 2), candidates.collect(), &before, has)
        };
        let with_a_spare = without(&[1, 3, 4, 5]);
        assert_eq!(with_a_spare.by_index(), [1, 5, 3, 4].map(|number| Some(node(number))));
        let mut nobody = without(&[5]);
        nobody.turn(node(5), "full".to_owned());
        // What others keep is not touched, whatever becomes of them.
        nobody.turn(node(3), "away".to_owned());
        assert!(nobody.replace());
        assert_eq!(nobody.by_index(), before);
        assert!(!nobody.replace() && nobody.is_turned(node(2)));
    }

    #[test]
    fn what_is_kept_twice_goes_to_who_keeps_nothing_and_stays_where_it_was_if_that_does_not_take_it() {
        let spread = |candidates: &[u8], before: [u8; 5]| {
            let candidates =
                candidates.iter().map(|n| Candidate { node: node(*n), operator: None, network: None });
            let before = before.map(|number| Some(node(number)));
            Holders::new(
                TesseraId::from_bytes([9; 32]),
                (3, 2),
                candidates.collect(),
                &before,
                &Lost::default(),
                true,
            )
        };
        let (crowded, is) =
            ([1, 2, 3, 1, 2], |numbers: [u8; 5]| numbers.map(|number| Some(node(number))).to_vec());
        assert_eq!(spread(&[1, 2, 3], crowded).by_index(), is(crowded));
        let mut one = spread(&[1, 2, 3, 4], crowded);
        assert_eq!(one.by_index(), is([1, 2, 3, 1, 4]));
        one.turn(node(4), "it blocks it".to_owned());
        assert!(one.replace());
        assert_eq!(one.by_index(), is(crowded), "and nothing else moves");
        let mut two = spread(&[1, 2, 3, 4, 5], crowded);
        assert_eq!(two.nodes().len(), 5);
        two.turn(node(4), "it blocks it".to_owned());
        two.turn(node(1), "away".to_owned());
        assert!(two.replace());
        assert_eq!(two.nodes(), [2, 3, 5].map(node).into());
    }

    #[test]
    fn who_is_lost_is_replaced_and_keeps_what_nobody_takes() {
        let before = [1, 2, 3].map(|number| Some(node(number)));
        let lost: Vec<_> = [2, 3].map(|n| Turned { node: node(n), reason: "away".to_owned() }).to_vec();
        let with_awaited = |k, m, candidates: &[u8], awaited: &[NodeId]| {
            let candidates =
                candidates.iter().map(|n| Candidate { node: node(*n), operator: None, network: None });
            let tessera = TesseraId::from_bytes([9; 32]);
            let lost = Lost { turned: lost.clone(), awaited: awaited.iter().copied().collect() };
            Holders::new(tessera, (k, m), candidates.collect(), &before, &lost, true)
        };
        let with = |k, m, candidates: &[u8]| with_awaited(k, m, candidates, &[]);
        // Whoever is cut off from all knows no less of who keeps it afterwards.
        assert_eq!(with(2, 1, &[]).by_index(), before);
        let mut copies = with(1, 2, &[1, 4]);
        assert_eq!(copies.by_index(), [Some(node(1)), Some(node(4)), Some(node(3))]);
        assert_eq!(copies.turned(), lost);
        copies.turn(node(4), "full".to_owned());
        assert!(copies.replace());
        assert_eq!(copies.by_index(), before);
        assert!(!copies.replace());
        assert_eq!(with(2, 1, &[1, 4]).nodes(), [1, 4].map(node).into());
        let mut awaited = with_awaited(2, 1, &[1, 4], &[node(2)]);
        assert_eq!(awaited.by_index(), [Some(node(1)), Some(node(2)), Some(node(4))]);
        assert!(awaited.is_turned(node(2)) && !awaited.replace());
    }

    #[test]
    fn those_of_before_stay() {
        let before = [Some(node(77)), None, Some(node(1))];
        let holders = holders(2, 1, 3, &before);
        assert_eq!((holders.by_index()[0], holders.by_index()[2]), (before[0], before[2]));
        assert!(holders.by_index()[1].is_some_and(|node| node != before[2].unwrap()));
        assert_eq!(holders.indices(node(77)).collect::<Vec<_>>(), [0]);
    }
}

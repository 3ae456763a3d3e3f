//! What a store has promised, kept outside of it: the judge of every crash test.
//!
//! A deed is noted before it is asked for and again when it is acknowledged. In between, or when it failed, it is
//! unknown whether it was done: either is right, but not half of it.

use std::collections::{BTreeMap, BTreeSet};

use proto::{Checksum, FragmentId};
use serde::{Deserialize, Serialize};

use crate::content::{Content, Spot, session_contents};

/// Something asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// Keep these bytes.
    Put(Spot, Content),
    /// No longer keep them.
    Drop(Spot),
    /// Write a whole tessera in a session and commit it.
    Create(u32),
    /// Write a whole tessera in a session and do not commit it.
    Abandon(u32),
    /// Drop a whole tessera.
    Forget(u32),
}

/// What a store answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done now.
    Done,
    /// It was so already: there before a put, not there before a drop.
    Already,
}

/// What is wanted at a spot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// The bytes.
    pub content: Content,
    /// Whether they must be there; else they may be.
    pub sure: bool,
}

/// The promises. What is not in it must not be there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    #[serde(with = "as_list")]
    wishes: BTreeMap<Spot, Wish>,
    /// Tesserae that are there as a whole or not at all.
    creating: BTreeSet<u32>,
    /// By number, each with what was sure before it.
    #[serde(skip)]
    under_way: BTreeMap<u64, (Deed, Option<Wish>)>,
}

/// How much a store must and may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Fragments, once for each account that wants them: at least, at most.
    pub fragments: [u64; 2],
    /// Their bytes: at least, at most.
    pub bytes: [u64; 2],
}

impl Ledger {
    /// A deed is about to be asked for.
    pub fn begin(&mut self, number: u64, deed: Deed) {
        let mut before = None;
        match deed {
            Deed::Put(spot, content) => {
                before = self.wishes.get(&spot).copied();
                self.wishes.entry(spot).or_insert(Wish { content, sure: false });
            }
            Deed::Drop(spot) => {
                before = self.wishes.get(&spot).copied();
                self.doubt(spot);
            }
            Deed::Create(tessera) => {
                if self.of_tessera(tessera).is_empty() {
                    self.creating.insert(tessera);
                }
                for (spot, content) in session_contents(tessera) {
                    self.wishes.entry(spot).or_insert(Wish { content, sure: false });
                }
            }
            Deed::Abandon(_) => {}
            Deed::Forget(tessera) => {
                self.creating.remove(&tessera);
                for (spot, wish) in self.of_tessera(tessera) {
                    before = before.or(Some(wish)).filter(|wish| wish.sure);
                    self.doubt(spot);
                }
            }
        }
        self.under_way.insert(number, (deed, before));
    }

    /// A deed was acknowledged. Errors when the answer breaks an earlier promise.
    pub fn acknowledge(&mut self, number: u64, answer: Answer) -> Result<(), String> {
        let Some((deed, before)) = self.under_way.remove(&number) else {
            return Err(format!("deed {number} was acknowledged without having been asked for"));
        };
        let sure = before.is_some_and(|wish| wish.sure);
        let lost = || Err(format!("{deed:?} was answered with {answer:?}: what was there is lost"));
        let back = || Err(format!("{deed:?} was answered with {answer:?}: what was not there is back"));
        match (deed, answer) {
            (Deed::Put(..), Answer::Done) if sure => return lost(),
            (Deed::Put(..), Answer::Already) if before.is_none() => return back(),
            (Deed::Drop(_) | Deed::Forget(_), Answer::Already) if sure => return lost(),
            (Deed::Drop(_), Answer::Done) if before.is_none() => return back(),
            (Deed::Put(spot, content), _) => {
                self.wishes.insert(spot, Wish { content, sure: true });
            }
            (Deed::Drop(spot), _) => {
                self.wishes.remove(&spot);
            }
            (Deed::Create(tessera), _) => {
                self.creating.remove(&tessera);
                let wish = |(spot, content)| (spot, Wish { content, sure: true });
                self.wishes.extend(session_contents(tessera).into_iter().map(wish));
            }
            // It was looked up, not written down, that nothing is there: a commit that failed may still come.
            (Deed::Forget(_), Answer::Already) | (Deed::Abandon(_), _) => {}
            (Deed::Forget(tessera), Answer::Done) => self.wishes.retain(|spot, _| spot.tessera != tessera),
        }
        Ok(())
    }

    /// Compares with what a store was found to hold, and takes over what that settles. Gives every promise that was
    /// broken.
    pub fn settle(&mut self, found: &BTreeMap<FragmentId, Checksum>) -> Vec<String> {
        let mut faults = Vec::new();
        let mut wanted = BTreeMap::<FragmentId, Vec<(Spot, Wish)>>::new();
        for (spot, wish) in &self.wishes {
            wanted.entry(spot.fragment()).or_default().push((*spot, *wish));
        }
        for id in found.keys().filter(|id| !wanted.contains_key(id)) {
            faults.push(format!("{id} is there although it was dropped or never kept"));
        }
        for tessera in std::mem::take(&mut self.creating) {
            let contents = session_contents(tessera);
            let there = contents.iter().filter(|(spot, _)| found.contains_key(&spot.fragment())).count();
            if there != 0 && there != contents.len() {
                faults
                    .push(format!("{there} of {} fragments of tessera {tessera} are there", contents.len()));
            }
        }
        for (id, wishes) in wanted {
            let sure = wishes.iter().any(|(_, wish)| wish.sure);
            match found.get(&id) {
                None if sure => faults.push(format!("{id} is lost")),
                None => wishes.iter().for_each(|(spot, _)| {
                    self.wishes.remove(spot);
                }),
                Some(checksum) => {
                    if wishes.iter().any(|(_, wish)| wish.content.fragment().checksum() != *checksum) {
                        faults.push(format!("{id} has other bytes than were put"));
                    }
                    if let [(spot, wish)] = wishes.as_slice() {
                        self.wishes.insert(*spot, Wish { sure: true, ..*wish });
                    }
                }
            }
        }
        self.under_way.clear();
        faults
    }

    /// What is wanted at a spot.
    pub fn wish(&self, spot: Spot) -> Option<Wish> {
        self.wishes.get(&spot).copied()
    }

    /// What is wanted of a fragment: surely, if any account surely wants it.
    pub fn fragment(&self, spot: Spot) -> Option<Wish> {
        let accounts = Spot { account: 0, ..spot }..=Spot { account: u8::MAX, ..spot };
        self.wishes.range(accounts).map(|(_, wish)| *wish).max_by_key(|wish| wish.sure)
    }

    /// What is wanted of a tessera.
    pub fn of_tessera(&self, tessera: u32) -> Vec<(Spot, Wish)> {
        let first = Spot { tessera, stripe: 0, index: 0, account: 0 };
        let last = Spot { tessera, stripe: u32::MAX, index: u16::MAX, account: u8::MAX };
        self.wishes.range(first..=last).map(|(spot, wish)| (*spot, *wish)).collect()
    }

    /// What the totals of a store must lie between.
    pub fn bounds(&self) -> Bounds {
        let mut bounds = Bounds::default();
        for wish in self.wishes.values() {
            let length = wish.content.length() as u64;
            let [at_least, at_most] = [u64::from(wish.sure), 1];
            bounds.fragments = [bounds.fragments[0] + at_least, bounds.fragments[1] + at_most];
            bounds.bytes = [bounds.bytes[0] + at_least * length, bounds.bytes[1] + at_most * length];
        }
        bounds
    }

    fn doubt(&mut self, spot: Spot) {
        if let Some(wish) = self.wishes.get_mut(&spot) {
            wish.sure = false;
        }
    }
}

/// JSON has no maps with such keys.
mod as_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Spot, Wish};

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<Spot, Wish>, to: S) -> Result<S::Ok, S::Error> {
        map.iter().collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Spot, Wish>, D::Error> {
        Ok(Vec::<(Spot, Wish)>::deserialize(from)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPOT: Spot = Spot { tessera: 1, stripe: 0, index: 0, account: 0 };
    const CONTENT: Content = Content(7);

    /// A ledger after these deeds, and how each was answered.
    fn ledger(deeds: &[(Deed, Option<Answer>)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (number, (deed, answer)) in (0..).zip(deeds) {
            ledger.begin(number, *deed);
            if let Some(answer) = answer {
                ledger.acknowledge(number, *answer).unwrap();
            }
        }
        ledger
    }

    fn found(spots: &[(Spot, Content)]) -> BTreeMap<FragmentId, Checksum> {
        let row = |(spot, content): &(Spot, Content)| (spot.fragment(), content.fragment().checksum());
        spots.iter().map(row).collect()
    }

    #[test]
    fn acknowledged_put_must_be_there_with_its_bytes() {
        let check = |found: BTreeMap<_, _>, faults: usize| {
            let mut ledger = ledger(&[(Deed::Put(SPOT, CONTENT), Some(Answer::Done))]);
            assert_eq!(ledger.settle(&found).len(), faults, "{found:?}");
        };
        check(found(&[(SPOT, CONTENT)]), 0);
        check(found(&[(SPOT, Content(8))]), 1);
        check(found(&[]), 1);
        check(found(&[(SPOT, CONTENT), (Spot { stripe: 1, ..SPOT }, CONTENT)]), 1);
    }

    #[test]
    fn unanswered_deed_may_be_done_or_not_and_is_settled_by_what_is_found() {
        let check = |deeds: &[(Deed, Option<Answer>)]| {
            for spots in [&[][..], &[(SPOT, CONTENT)]] {
                let mut ledger = ledger(deeds);
                assert_eq!(ledger.settle(&found(spots)), Vec::<String>::new());
                assert_eq!(ledger.wish(SPOT).is_some_and(|wish| wish.sure), !spots.is_empty());
            }
        };
        check(&[(Deed::Put(SPOT, CONTENT), None)]);
        check(&[(Deed::Put(SPOT, CONTENT), Some(Answer::Done)), (Deed::Drop(SPOT), None)]);
    }

    #[test]
    fn dropped_fragment_must_not_come_back() {
        let put = (Deed::Put(SPOT, CONTENT), Some(Answer::Done));
        let mut dropped = ledger(&[put, (Deed::Drop(SPOT), Some(Answer::Done))]);
        assert_eq!(dropped.settle(&found(&[(SPOT, CONTENT)])).len(), 1);
        dropped.begin(9, Deed::Put(SPOT, CONTENT));
        assert!(dropped.acknowledge(9, Answer::Already).is_err());
        dropped.begin(10, Deed::Drop(Spot { stripe: 5, ..SPOT }));
        assert!(dropped.acknowledge(10, Answer::Done).is_err());
    }

    #[test]
    fn fragment_wanted_by_two_accounts_stays_until_both_let_go() {
        let other = Spot { account: 1, ..SPOT };
        let put = |spot| (Deed::Put(spot, CONTENT), Some(Answer::Done));
        let mut one = ledger(&[put(SPOT), put(other), (Deed::Drop(SPOT), Some(Answer::Done))]);
        assert_eq!(one.settle(&found(&[])).len(), 1);
        let mut unknown = ledger(&[put(SPOT), put(other), (Deed::Drop(SPOT), None)]);
        assert!(unknown.settle(&found(&[(SPOT, CONTENT)])).is_empty());
        assert_eq!(unknown.bounds().fragments, [1, 2], "who wants it cannot be seen");
    }

    #[test]
    fn half_a_tessera_is_found() {
        let whole = session_contents(5);
        let check = |found: BTreeMap<_, _>, answer, faults: usize| {
            let mut ledger = ledger(&[(Deed::Create(5), answer)]);
            assert_eq!(ledger.settle(&found).len(), faults);
        };
        check(found(&[]), None, 0);
        check(found(&whole), None, 0);
        check(found(&whole[1..]), None, 1);
        check(found(&whole), Some(Answer::Done), 0);
        check(found(&whole[1..]), Some(Answer::Done), 1);
        let mut forgotten = ledger(&[(Deed::Create(5), Some(Answer::Done)), (Deed::Forget(5), None)]);
        assert!(forgotten.settle(&found(&whole[1..])).is_empty());
    }
}

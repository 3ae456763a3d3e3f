//! The simple model: what is true of each fragment, or may be, after what was answered.

use std::collections::{BTreeMap, BTreeSet};

/// A fragment's tessera and stripe.
pub(super) type Key = (u8, u32);

/// A fragment that someone wants.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Held {
    pub(super) content: u8,
    pub(super) accounts: BTreeSet<u8>,
}

/// An operation on the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op {
    /// With the layout of its tessera, or without.
    Put {
        account: u8,
        key: Key,
        content: u8,
        laid_out: bool,
    },
    Drop {
        account: u8,
        key: Key,
    },
    Session {
        tessera: u8,
        contents: Vec<u8>,
        commits: bool,
    },
    Forget {
        tessera: u8,
    },
}

impl Op {
    /// The tessera it is about.
    pub(super) fn tessera(&self) -> u8 {
        match self {
            Self::Put { key, .. } | Self::Drop { key, .. } => key.0,
            Self::Session { tessera, .. } | Self::Forget { tessera } => *tessera,
        }
    }
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Stored,
    Held,
    Done,
    NotFound,
    Conflict,
    /// Whether it was done is unknown.
    Unknown(String),
}

/// What may be true. A fragment that is not named is not there.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    may_be: BTreeMap<Key, BTreeSet<Option<Held>>>,
    /// Sessions of which it is unknown whether they were completed: all of it or nothing.
    whole: Vec<BTreeMap<Key, u8>>,
    /// The tesserae of these, and the contents.
    sessions: Vec<(u8, Vec<u8>)>,
    /// Tesserae with documents, and the contents of the session that wrote them. They go with the last fragment.
    documented: BTreeMap<u8, Vec<u8>>,
    /// Tesserae that may have documents.
    may_be_documented: BTreeSet<u8>,
    /// Tesserae with a layout, which came with a fragment; whether that is certain. It goes with the last fragment.
    laid_out: BTreeMap<u8, bool>,
}

impl Model {
    /// An operation was answered.
    pub(super) fn answered(&mut self, op: &Op, answer: &Answer) {
        self.change(op, answer);
        let tessera = op.tessera();
        if !self.is_held(tessera, false) {
            self.documented.remove(&tessera);
            self.may_be_documented.remove(&tessera);
            self.laid_out.remove(&tessera);
        } else if !self.is_held(tessera, true) {
            if self.documented.remove(&tessera).is_some() {
                self.may_be_documented.insert(tessera);
            }
            self.laid_out.entry(tessera).and_modify(|certain| *certain = false);
        }
    }

    fn change(&mut self, op: &Op, answer: &Answer) {
        match op {
            Op::Put { account, key, content, laid_out } => {
                self.one(*key, answer, |held| put(held, *account, *content));
                let certain = match answer {
                    Answer::Stored | Answer::Held => true,
                    Answer::Unknown(_) => false,
                    _ => return,
                };
                if *laid_out {
                    *self.laid_out.entry(key.0).or_default() |= certain;
                }
            }
            Op::Drop { account, key } => self.one(*key, answer, |held| drop(held, *account)),
            Op::Forget { tessera } => self.forgotten(*tessera, answer),
            Op::Session { tessera, contents, commits } => {
                self.session(*tessera, contents, *commits, answer);
            }
        }
    }

    /// Fragments of which more than one thing may be true.
    pub(super) fn uncertain(&self) -> BTreeSet<Key> {
        self.may_be.iter().filter(|(_, may_be)| may_be.len() > 1).map(|(key, _)| *key).collect()
    }

    /// What is there is one of the things that may be; from here on it is known.
    pub(super) fn seen(&mut self, held: &BTreeMap<Key, Held>) {
        let keys: BTreeSet<Key> = self.may_be.keys().chain(held.keys()).copied().collect();
        for key in keys {
            let (found, may_be) = (held.get(&key).cloned(), self.may_be(key));
            assert!(may_be.contains(&found), "{key:?} is {found:?} and may be {may_be:?}");
            self.may_be.insert(key, BTreeSet::from([found]));
        }
        for session in std::mem::take(&mut self.whole) {
            let there = session
                .iter()
                .filter(|(key, content)| held.get(key).is_some_and(|held| held.content == **content));
            let there = there.count();
            assert!(there == 0 || there == session.len(), "a part of a session is there: {session:?}");
        }
        let is_held = |tessera: &u8| held.keys().any(|key| key.0 == *tessera);
        for (tessera, contents) in std::mem::take(&mut self.sessions) {
            if is_held(&tessera) {
                self.documented.insert(tessera, contents);
            }
        }
        self.may_be_documented.retain(is_held);
        self.documented.retain(|tessera, _| is_held(tessera));
        self.laid_out.retain(|tessera, _| is_held(tessera));
    }

    /// The contents of the session that wrote a tessera's documents, if it has any; an error when that is unknown.
    pub(super) fn documented(&self, tessera: u8) -> Result<Option<&Vec<u8>>, ()> {
        if self.may_be_documented.contains(&tessera) {
            return Err(());
        }
        Ok(self.documented.get(&tessera))
    }

    /// Whether a tessera has a layout; from here on that is known.
    pub(super) fn seen_layout(&mut self, tessera: u8, found: bool) {
        match self.laid_out.get(&tessera) {
            None => assert!(!found, "tessera {tessera} has a layout"),
            Some(true) => assert!(found, "tessera {tessera} has lost its layout"),
            Some(false) => {
                self.laid_out.remove(&tessera);
                self.laid_out.extend(found.then_some((tessera, true)));
            }
        }
    }

    /// Whether anything of a tessera is or, if not `surely`, may be held.
    fn is_held(&self, tessera: u8, surely: bool) -> bool {
        let of_it = self.may_be.iter().filter(|(key, _)| key.0 == tessera);
        let mut of_it = of_it.map(|(_, may_be)| may_be);
        match surely {
            true => of_it.any(|may_be| !may_be.contains(&None)),
            false => of_it.any(|may_be| may_be.iter().any(Option::is_some)),
        }
    }

    fn may_be(&self, key: Key) -> BTreeSet<Option<Held>> {
        self.may_be.get(&key).cloned().unwrap_or_else(|| BTreeSet::from([None]))
    }

    fn one(&mut self, key: Key, answer: &Answer, op: impl Fn(Option<Held>) -> (Option<Held>, Answer)) {
        let before = self.may_be(key);
        let done = before.iter().cloned().map(op);
        let after: BTreeSet<_> = match answer {
            Answer::Unknown(_) => done.map(|(held, _)| held).chain(before.iter().cloned()).collect(),
            answer => done.filter(|(_, expected)| expected == answer).map(|(held, _)| held).collect(),
        };
        assert!(!after.is_empty(), "{key:?} may be {before:?}, so {answer:?} is no answer");
        self.may_be.insert(key, after);
    }

    fn forgotten(&mut self, tessera: u8, answer: &Answer) {
        let keys: Vec<Key> = self.may_be.keys().copied().filter(|key| key.0 == tessera).collect();
        let may_hold = |key: &Key| self.may_be(*key).iter().flatten().any(|held| held.accounts.contains(&0));
        let any = keys.iter().any(may_hold);
        assert!(any || *answer != Answer::Done, "tessera {tessera} is not here and was forgotten");
        for key in keys {
            let dropped = |held: Option<Held>| match answer {
                Answer::Unknown(_) => (drop(held, 0).0, Answer::Done),
                answer => (drop(held, 0).0, answer.clone()),
            };
            self.one(key, answer, dropped);
        }
    }

    fn session(&mut self, tessera: u8, contents: &[u8], commits: bool, answer: &Answer) {
        let keys: BTreeMap<Key, u8> =
            (0..).map(|stripe| (tessera, stripe)).zip(contents.iter().copied()).collect();
        let is_empty = |held: &BTreeSet<Option<Held>>| held.iter().all(Option::is_none);
        let is_new = self.may_be.iter().filter(|(key, _)| key.0 == tessera).all(|(_, held)| is_empty(held));
        if *answer == Answer::Conflict {
            return assert!(!is_new, "tessera {tessera} is new, and was refused");
        }
        if !commits {
            return;
        }
        assert!(is_new || *answer != Answer::Done, "tessera {tessera} was here already");
        let unknown = matches!(answer, Answer::Unknown(_));
        if unknown && !is_new {
            return;
        }
        for (key, content) in &keys {
            let held = Some(Held { content: *content, accounts: BTreeSet::from([0]) });
            let before = if unknown { self.may_be(*key) } else { BTreeSet::new() };
            self.may_be.insert(*key, before.into_iter().chain([held]).collect());
        }
        if unknown {
            self.whole.push(keys);
            self.sessions.push((tessera, contents.to_vec()));
        } else {
            self.documented.insert(tessera, contents.to_vec());
        }
    }
}

fn put(held: Option<Held>, account: u8, content: u8) -> (Option<Held>, Answer) {
    let mut held = held.unwrap_or(Held { content, accounts: BTreeSet::new() });
    if held.content != content {
        return (Some(held), Answer::Conflict);
    }
    let is_new = held.accounts.insert(account);
    (Some(held), if is_new { Answer::Stored } else { Answer::Held })
}

fn drop(held: Option<Held>, account: u8) -> (Option<Held>, Answer) {
    let Some(mut held) = held else { return (None, Answer::NotFound) };
    let answer = if held.accounts.remove(&account) { Answer::Done } else { Answer::NotFound };
    ((!held.accounts.is_empty()).then_some(held), answer)
}

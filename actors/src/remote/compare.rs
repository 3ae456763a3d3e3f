//! Comparing what this node knows that another keeps for it with what that node says it keeps: descending only where
//! they differ.

use std::collections::BTreeMap;

use proto::{
    AccountId, Checksum, NodeId, TesseraId,
    compare::{Digest, Question, Sum},
    wire::{Answer, Request},
};

use super::{Remote, ask::unexpected};
use crate::{
    conn_pool::{Lease, PeerTrouble},
    error::ActorError,
    storage::{ChecksumHandle, Side},
};

/// What came of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// What differs, by tessera, stripe and index.
    pub differences: Vec<Difference>,
    /// Requests that it took.
    pub requests: u64,
    /// Bytes that were sent and received for it, without what QUIC adds.
    pub bytes: u64,
}

/// A fragment of which this node's records and the other's differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The tessera.
    pub tessera: TesseraId,
    /// The stripe, from 0.
    pub stripe: u32,
    /// The place in the stripe, from 0.
    pub index: u16,
    /// What the other node has signed to have, if it has.
    pub ours: Option<Checksum>,
    /// What it says that it has, if it does.
    pub theirs: Option<Checksum>,
}

/// One comparison.
struct Comparison<'a> {
    records: &'a ChecksumHandle,
    theirs: Theirs<'a>,
    differences: Vec<Difference>,
}

/// What another node says that it keeps for an account.
struct Theirs<'a> {
    remote: &'a Remote,
    node: NodeId,
    account: AccountId,
    /// Requests so far, and the bytes that they took.
    requests: u64,
    bytes: u64,
}

impl Remote {
    /// Compares what a node has signed to keep for an account with what it says it keeps. Nothing is read but sums,
    /// digests and checksums, on either side.
    pub async fn compare(
        &self,
        records: &ChecksumHandle,
        node: NodeId,
        account: AccountId,
    ) -> Result<Compared, ActorError> {
        let theirs = Theirs::new(self, node, account);
        let mut comparison = Comparison { records, theirs, differences: Vec::new() };
        comparison.run().await?;
        let Comparison { theirs: Theirs { requests, bytes, .. }, mut differences, .. } = comparison;
        differences.sort();
        Ok(Compared { differences, requests, bytes })
    }

    /// The tesserae of which a node says that it keeps something for an account, in the order of their ids. It says so only to
    /// a node that acts for the account's author.
    pub async fn tesseras_of(&self, node: NodeId, account: AccountId) -> Result<Vec<TesseraId>, ActorError> {
        let mut theirs = Theirs::new(self, node, account);
        let all = theirs.tesserae(|after| Question::Tesserae { after }).await?;
        Ok(all.into_iter().map(|(tessera, _)| tessera).collect())
    }
}

impl Comparison<'_> {
    async fn run(&mut self) -> Result<(), ActorError> {
        let ours = self.records.sums(self.ours()).await?;
        let theirs = self.theirs.sums(Question::All).await?;
        for question in Question::All.below(differing(&ours, &theirs)) {
            let Question::Under(first) = question else { continue };
            let ours = self.records.sums_under(self.ours(), first).await?;
            let theirs = self.theirs.sums(question).await?;
            for question in question.below(differing(&ours, &theirs)) {
                let Question::Pair { prefix, .. } = question else { continue };
                self.pair(prefix).await?;
            }
        }
        Ok(())
    }

    async fn pair(&mut self, prefix: [u8; 2]) -> Result<(), ActorError> {
        let ours: BTreeMap<_, _> = self.our_tesseras(prefix).await?.into_iter().collect();
        let theirs: BTreeMap<_, _> =
            self.theirs.tesserae(|after| Question::Pair { prefix, after }).await?.into_iter().collect();
        let all: Vec<_> = ours.keys().chain(theirs.keys().filter(|id| !ours.contains_key(id))).collect();
        for tessera in all {
            if ours.get(tessera) != theirs.get(tessera) {
                self.tessera(*tessera).await?;
            }
        }
        Ok(())
    }

    async fn tessera(&mut self, tessera: TesseraId) -> Result<(), ActorError> {
        let ours = self.our_fragments(tessera).await?;
        let theirs = self.theirs.fragments(tessera).await?;
        let all: Vec<_> =
            ours.keys().chain(theirs.keys().filter(|place| !ours.contains_key(place))).collect();
        for place in all {
            let (ours, theirs) = (ours.get(place).copied(), theirs.get(place).copied());
            if ours != theirs {
                let (stripe, index) = *place;
                self.differences.push(Difference { tessera, stripe, index, ours, theirs });
            }
        }
        Ok(())
    }

    async fn our_tesseras(&self, prefix: [u8; 2]) -> Result<Vec<(TesseraId, Digest)>, ActorError> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self.records.tesseras_under(self.ours(), &prefix, after, PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            after = page.last().map(|(tessera, _)| *tessera);
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    async fn our_fragments(&self, tessera: TesseraId) -> Result<BTreeMap<(u32, u16), Checksum>, ActorError> {
        let (mut all, mut from) = (BTreeMap::new(), (0, 0));
        loop {
            let page = self.records.fragments_of(self.ours(), tessera, from, PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            from = page.last().map_or(from, |(stripe, index, _)| behind(*stripe, *index));
            all.extend(page.into_iter().map(|(stripe, index, checksum)| ((stripe, index), checksum)));
            if is_last {
                return Ok(all);
            }
        }
    }

    fn ours(&self) -> Side {
        Side::Placed(self.theirs.node)
    }
}

impl<'a> Theirs<'a> {
    fn new(remote: &'a Remote, node: NodeId, account: AccountId) -> Self {
        Self { remote, node, account, requests: 0, bytes: 0 }
    }

    /// All that a question asks for, which may take several pages.
    async fn tesserae(
        &mut self,
        behind: impl Fn(Option<TesseraId>) -> Question,
    ) -> Result<Vec<(TesseraId, Digest)>, ActorError> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let (list, more) = match self.ask(behind(after)).await? {
                Answer::Tesseras { list, more } => (list, more),
                answer => return Err(self.trouble(unexpected(&answer))),
            };
            let (first, last) = behind(after).tesserae();
            if list.iter().any(|(tessera, _)| *tessera < first || *tessera > last) {
                return Err(self.trouble(astray()));
            }
            let next = list.last().map(|(tessera, _)| *tessera);
            all.extend(list);
            if all.len() > ROWS_MAX {
                return Err(self.trouble(endless()));
            }
            if !more {
                return Ok(all);
            }
            // Each page must go on behind the one before: else it would never end.
            if next.is_none() || next <= after {
                return Err(self.trouble(endless()));
            }
            after = next;
        }
    }

    async fn fragments(&mut self, tessera: TesseraId) -> Result<BTreeMap<(u32, u16), Checksum>, ActorError> {
        let (mut all, mut from) = (BTreeMap::new(), (0, 0));
        loop {
            let (list, more) = match self.ask(Question::Tessera { tessera, from }).await? {
                Answer::Fragments { list, more } => (list, more),
                answer => return Err(self.trouble(unexpected(&answer))),
            };
            let next = list.last().map(|(stripe, index, _)| behind(*stripe, *index));
            if list.iter().any(|(stripe, index, _)| (*stripe, *index) < from) {
                return Err(self.trouble(astray()));
            }
            all.extend(list.into_iter().map(|(stripe, index, checksum)| ((stripe, index), checksum)));
            if all.len() > ROWS_MAX {
                return Err(self.trouble(endless()));
            }
            if !more {
                return Ok(all);
            }
            match next.filter(|next| *next > from) {
                Some(next) => from = next,
                None => return Err(self.trouble(endless())),
            }
        }
    }

    async fn sums(&mut self, question: Question) -> Result<Box<[Sum; 256]>, ActorError> {
        match self.ask(question).await? {
            Answer::Sums(sums) => Ok(sums),
            answer => Err(self.trouble(unexpected(&answer))),
        }
    }

    async fn ask(&mut self, question: Question) -> Result<Answer, ActorError> {
        let request = Request::Compare { account: self.account, question };
        let asked = |_: &Lease| Ok(request.clone());
        let question = super::Question { introduced: true, ..super::Question::plain(&asked) };
        let answer = self.remote.ask(self.node, question).await?.answer;
        self.requests += 1;
        self.bytes += (request.frame().len() + answer.frame().len()) as u64;
        Ok(answer)
    }

    fn trouble(&self, trouble: PeerTrouble) -> ActorError {
        self.remote.distrust(self.node, &trouble);
        ActorError::Peer { node: self.node, trouble }
    }
}

fn differing(ours: &[Sum; 256], theirs: &[Sum; 256]) -> Vec<u8> {
    let differs = |byte: &u8| ours.get(usize::from(*byte)) != theirs.get(usize::from(*byte));
    (0..=u8::MAX).filter(differs).collect()
}

fn behind(stripe: u32, index: u16) -> (u32, u16) {
    index.checked_add(1).map_or((stripe.saturating_add(1), 0), |index| (stripe, index))
}

fn endless() -> PeerTrouble {
    PeerTrouble::Malformed { what: "a list that says it goes on, and does not".to_owned() }
}

fn astray() -> PeerTrouble {
    PeerTrouble::Malformed { what: "a list of what was not asked for".to_owned() }
}

/// More than anybody keeps under two bytes of an id, or of one tessera: what goes on is made up.
const ROWS_MAX: usize = 1 << 21;
/// Rows that are read at a time.
const PAGE: u32 = 1024;

//! Getting a stripe from its holders: as many fragments as it takes, from those that answer fastest. Whoever is slow is
//! not waited for: another fragment is asked for meanwhile.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use proto::{Checksum, Fragment, FragmentId, NodeId};
use tokio::time::sleep;

use super::{
    Tools,
    sending::{Verdict, verdict},
    sources::Located,
};
use crate::{error::ActorError, remote};

/// How nodes have answered so far.
#[derive(Debug, Default)]
pub(super) struct Manners(Mutex<BTreeMap<NodeId, Manner>>);

/// How a node has answered.
#[derive(Debug, Clone, Copy, Default)]
struct Manner {
    /// How long it takes to send a fragment, in microseconds, on an average of the last few.
    took_us: u64,
    /// How often in a row it had not what it should have, or did not answer.
    failures: u32,
    /// Requests under way.
    under_way: u32,
}

impl Manners {
    /// Of these it is known that they have not answered what was asked of them first.
    pub(super) fn with_silent(silent: &[NodeId]) -> Self {
        let failed = Manner { failures: 1, ..Manner::default() };
        Self(Mutex::new(silent.iter().map(|node| (*node, failed)).collect()))
    }

    fn begin(&self, node: NodeId) {
        self.lock().entry(node).or_default().under_way += 1;
    }

    fn end(&self, node: NodeId, took: Option<Duration>) {
        let mut manners = self.lock();
        let manner = manners.entry(node).or_default();
        manner.under_way = manner.under_way.saturating_sub(1);
        match took {
            None => manner.failures = manner.failures.saturating_add(1),
            Some(took) => {
                manner.failures = 0;
                let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                manner.took_us =
                    if manner.took_us == 0 { took_us } else { manner.took_us / 4 * 3 + took_us / 4 };
            }
        }
    }

    /// What was asked of it is not waited for any more.
    fn give_up(&self, node: NodeId, was_overtaken: bool) {
        let mut manners = self.lock();
        let manner = manners.entry(node).or_default();
        manner.under_way = manner.under_way.saturating_sub(1);
        manner.failures = manner.failures.saturating_add(was_overtaken.into());
    }

    /// How long an answer may take before another is asked.
    fn patience(&self) -> Duration {
        self.long().max(HEDGE_AFTER)
    }

    /// The best first: who fails comes last, then who is slow, or is to answer so much that it will be.
    fn worth(&self, node: NodeId) -> (u32, bool) {
        let manner = self.lock().get(&node).copied().unwrap_or_default();
        let takes_us = manner.took_us.saturating_mul(u64::from(manner.under_way) + 1);
        (manner.failures, Duration::from_micros(takes_us) > self.long().max(SLOW_AFTER))
    }

    /// Three times as long as one takes that half of the others are no faster than: some that are very slow change nothing.
    fn long(&self) -> Duration {
        let manners = self.lock();
        let mut took: Vec<_> =
            manners.values().map(|manner| manner.took_us).filter(|took_us| *took_us > 0).collect();
        took.sort_unstable();
        let usual_us = took.get(took.len().saturating_sub(1) / 2).copied().unwrap_or_default();
        Duration::from_micros(usual_us.saturating_mul(3))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Manner>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stripe to be had.
pub(super) struct Wanted<'a> {
    pub(super) tools: &'a Tools,
    pub(super) located: &'a Located,
    pub(super) manners: &'a Manners,
    pub(super) stripe: u32,
    /// The checksums of all its fragments.
    pub(super) checksums: &'a [Checksum],
    /// How many fragments it takes.
    pub(super) needed: usize,
}

/// Since when which fragment has been asked for, and whom.
type Since = BTreeMap<(u16, NodeId), Instant>;

/// One request: for which fragment, and what came of it.
type Asked = (u16, NodeId, Duration, Result<Fragment, ActorError>);

impl Wanted<'_> {
    /// Fragments of the stripe, with those that are here as many as it takes; who asks is told of each that comes. Errors with
    /// [`ActorError::NotFound`] when nobody gives more.
    pub(super) async fn gather(
        &self,
        here: Vec<(u16, Fragment)>,
        mut comes: impl FnMut(u16, &Fragment),
    ) -> Result<Vec<(u16, Fragment)>, ActorError> {
        let mut have = here;
        let (begun, mut open) = (Instant::now(), self.open(&have));
        let mut under_way = FuturesUnordered::<BoxFuture<'_, Asked>>::new();
        let mut asked = Since::new();
        let (mut troubles, mut later) = (Vec::new(), VecDeque::new());
        while have.len() < self.needed {
            // As many as are missing, and one more for each that takes long. Who has too much to do is asked again when nobody else
            // is left.
            while have.len() + under_way.len() < self.needed {
                let next = self.next(&mut open).map(|(index, node)| (index, node, Duration::ZERO));
                let Some((index, node, after)) = next.or_else(|| later.pop_front()) else { break };
                self.begin((index, node, after), &mut asked, &mut under_way);
            }
            let answered = tokio::select! {
                answered = under_way.next() => answered,
                () = sleep(self.manners.patience()), if !under_way.is_empty() => {
                    if let Some((index, node)) = self.next(&mut open) {
                        self.begin((index, node, Duration::ZERO), &mut asked, &mut under_way);
                    }
                    continue;
                }
            };
            let Some((index, node, took, outcome)) = answered else {
                return Err(self.too_few(have.len(), &troubles));
            };
            asked.remove(&(index, node));
            self.manners.end(node, outcome.as_ref().is_ok().then_some(took));
            match outcome {
                Ok(fragment) if have.iter().all(|(at, _)| *at != index) => {
                    comes(index, &fragment);
                    have.push((index, fragment));
                }
                Ok(_) => {}
                Err(error) => {
                    if remote::is_passing(&error)
                        && let Some(Verdict::Again(after)) = verdict(&error, begun.elapsed())
                    {
                        later.push_back((index, node, after));
                    }
                    troubles.push(error);
                }
            }
        }
        // What is still on its way was asked for in vain. Who has let others overtake it is asked after them the next time.
        let patience = self.manners.patience();
        for ((_, node), since) in asked {
            self.manners.give_up(node, since.elapsed() >= patience);
        }
        Ok(have)
    }

    /// Asks a node for a fragment, after so long.
    fn begin<'a>(
        &'a self,
        (index, node, after): (u16, NodeId, Duration),
        asked: &mut Since,
        under_way: &mut FuturesUnordered<BoxFuture<'a, Asked>>,
    ) {
        self.manners.begin(node);
        asked.insert((index, node), Instant::now() + after);
        under_way.push(Box::pin(self.ask(index, node, after)));
    }

    /// What may be asked of whom: data first, as it needs no decoding.
    fn open(&self, have: &[(u16, Fragment)]) -> VecDeque<(u16, VecDeque<NodeId>)> {
        let us = self.tools.peers.us();
        let width = u16::try_from(self.checksums.len()).unwrap_or(u16::MAX);
        let missing = (0..width).filter(|index| have.iter().all(|(at, _)| at != index));
        let open = missing.map(|index| {
            let holders = self.located.holders(index).into_iter().filter(|node| *node != us);
            (index, holders.collect())
        });
        open.collect()
    }

    /// The next fragment to ask for, and whom: the first that is not asked for yet, unless its holder has failed or is slow, and
    /// another's has not, or is not.
    fn next(&self, open: &mut VecDeque<(u16, VecDeque<NodeId>)>) -> Option<(u16, NodeId)> {
        open.retain(|(_, holders)| !holders.is_empty());
        let worth = |holders: &VecDeque<NodeId>| holders.front().map(|node| self.manners.worth(*node));
        let at = (0..open.len()).min_by_key(|at| open.get(*at).and_then(|(_, holders)| worth(holders)))?;
        let (index, mut holders) = open.remove(at)?;
        let node = holders.pop_front()?;
        // Others that may have it come into question once all fragments were asked for.
        open.push_back((index, holders));
        Some((index, node))
    }

    async fn ask(&self, index: u16, node: NodeId, after: Duration) -> Asked {
        sleep(after).await;
        let length = self.located.layout.layout().fragment_len_at(self.stripe, index);
        let turn = self.tools.transfers.turn(length).await;
        let begun = Instant::now();
        let id = FragmentId { tessera: self.located.layout.layout().tessera(), stripe: self.stripe, index };
        let Some(checksum) = self.checksums.get(usize::from(index)) else {
            return (index, node, begun.elapsed(), Err(ActorError::not_found(id)));
        };
        let fragment = self.tools.remote.fragment(node, id, *checksum);
        tokio::pin!(fragment);
        let outcome = tokio::select! {
            biased;
            outcome = &mut fragment => outcome,
            () = sleep(self.manners.patience()) => {
                // A few that send a byte now and then would keep all others from their turns.
                drop(turn);
                fragment.await
            }
        };
        (index, node, begun.elapsed(), outcome)
    }

    fn too_few(&self, have: usize, troubles: &[ActorError]) -> ActorError {
        let (needed, stripe) = (self.needed, self.stripe);
        let mut what = format!(
            "stripe {stripe} of {}: {needed} fragments bring it back, and {have} were to be had",
            self.located.layout.layout().tessera()
        );
        for trouble in troubles.iter().take(TROUBLES_MAX) {
            what.push_str(&format!("; {trouble}"));
        }
        what.push_str("; ask for it again when they are there again: what has come is kept");
        ActorError::Conflict { what }
    }
}

/// After so long without an answer one more fragment is asked for, at the earliest.
const HEDGE_AFTER: Duration = Duration::from_millis(750);
/// Whoever answers within this time is asked for data rather than another for what has to be decoded.
const SLOW_AFTER: Duration = Duration::from_millis(100);
/// Named in an error.
const TROUBLES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_line_is_given_more_time_and_whoever_fails_comes_last() {
        let manners = Manners::default();
        let [quick, slow, failing] = [1, 2, 3].map(|number| NodeId::from_bytes([number; 32]));
        assert_eq!(manners.patience(), HEDGE_AFTER);
        for (node, took) in [(quick, Some(1)), (slow, Some(5)), (failing, None)] {
            manners.begin(node);
            manners.end(node, took.map(Duration::from_secs));
        }
        assert_eq!(manners.patience(), Duration::from_secs(3));
        let mut nodes = [failing, slow, quick];
        nodes.sort_by_key(|node| manners.worth(*node));
        assert_eq!(nodes, [quick, slow, failing]);
        // With so much to do it is none that is quick.
        (0..3).for_each(|_| manners.begin(quick));
        assert!(manners.worth(quick).1);
        (0..3).for_each(|_| manners.give_up(quick, false));
        assert!(!manners.worth(quick).1);
        manners.begin(failing);
        manners.end(failing, Some(Duration::from_millis(1)));
        assert_eq!(manners.worth(failing).0, 0, "it has come back");
    }
}

//! Getting to know other holders: who knows only the author would take all of them for lost, and is refused by them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::future::join_all;
use proto::{NodeId, placement::Placement};
use tokio::time::sleep;

use super::{Tools, sources::nodes};
use crate::error::ActorError;

/// Nodes that were looked for lately, so that not each of thousands of tesserae has the same ones looked for.
#[derive(Default)]
pub(super) struct Sought(Mutex<BTreeMap<NodeId, Instant>>);

impl Sought {
    /// Those of these that nobody has looked for in so long a time; from now on somebody has.
    fn anew(&self, mut nodes: Vec<NodeId>, within: Duration, now: Instant) -> Vec<NodeId> {
        let mut sought = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sought.retain(|_, at| now.duration_since(*at) < within);
        nodes.retain(|node| {
            let is_new = sought.len() < SOUGHT_MAX && !sought.contains_key(node);
            is_new && sought.insert(*node, now).is_none()
        });
        nodes
    }
}

/// Learns from those that are known where holders are that are not: who cannot be asked would be taken for lost.
pub(super) async fn look_for(tools: &Tools, placement: &Placement) -> Result<(), ActorError> {
    let unknown = unknown(tools, holders(placement));
    if unknown.is_empty() {
        return Ok(());
    }
    let among = among(tools, placement);
    tools.peers.look_around(&tools.remote, among, &unknown, ASKED_MAX).await.map(drop)
}

/// The same among those alone that are known, and only for those that nobody has looked for in an interval.
pub(super) async fn look_for_once(tools: &Tools, placement: &Placement) {
    ask_known(tools, placement, strangers(tools, placement)).await;
}

/// Those of the holders who are not known and that nobody has looked for in an interval: from now on somebody has.
pub(super) fn strangers(tools: &Tools, placement: &Placement) -> Vec<NodeId> {
    tools.sought.anew(unknown(tools, holders(placement)), tools.config.repair.interval, Instant::now())
}

/// Gets to know these, of whom a placement has just told: whoever kept it with them may soon be gone, and nobody else knows where
/// they are. Not at once, so that not all holders ask and dial at the same time.
pub(super) async fn meet(tools: &Tools, placement: &Placement, strangers: Vec<NodeId>) {
    let pause = tools.config.repair.interval / MET_WITHIN;
    sleep(pause + pause.mul_f32(fastrand::f32())).await;
    ask_known(tools, placement, strangers.clone()).await;
    let book = tools.peers.book();
    let found = strangers.into_iter().filter(|node| book.peers.contains_key(node));
    // Whoever has greeted is vouched for to others.
    let greeted = found.map(|node| async move { (node, tools.remote.hello(node, false, None).await) });
    for (node, greeted) in join_all(greeted).await {
        if let Err(error) = greeted {
            tracing::debug!(%node, %error, "a holder that others know of does not answer");
        }
    }
}

/// The same each time.
pub(super) async fn look_among_known(tools: &Tools, placement: &Placement) {
    ask_known(tools, placement, unknown(tools, holders(placement))).await;
}

async fn ask_known(tools: &Tools, placement: &Placement, unknown: Vec<NodeId>) {
    if unknown.is_empty() {
        return;
    }
    let mut among = among(tools, placement);
    among.truncate(ASKED_MAX);
    let all = among.len();
    if let Err(error) = tools.peers.look_around(&tools.remote, among, &unknown, all).await {
        tracing::debug!(tessera = %placement.tessera, %error, "holders that are not known cannot be looked for");
    }
}

/// Those of these that are not known here.
pub(super) fn unknown(tools: &Tools, nodes: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
    let (us, book) = (tools.peers.us(), tools.peers.book());
    nodes.into_iter().filter(|node| *node != us && !book.peers.contains_key(node)).collect()
}

fn holders(placement: &Placement) -> impl Iterator<Item = NodeId> + '_ {
    placement.holders.iter().flatten().copied()
}

/// Those that can be asked: holders first, as they have to do with the same people.
fn among(tools: &Tools, placement: &Placement) -> Vec<NodeId> {
    let nodes = nodes(tools);
    let known: BTreeSet<_> = holders(placement).filter(|node| nodes.contains(node)).collect();
    let others = nodes.into_iter().filter(|node| !known.contains(node));
    known.iter().copied().chain(others).collect()
}

/// Part of the interval that a holder who is not known waits to be looked for: two minutes of a day, and at most as much again.
const MET_WITHIN: u32 = 720;
/// Nodes that are asked where holders are.
const ASKED_MAX: usize = 32;
/// Nodes of which it is remembered that they were looked for. A placement may name any.
const SOUGHT_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_looked_for_just_now_is_not_looked_for_again() {
        let node = |number: u32| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&number.to_le_bytes());
            NodeId::from_bytes(id)
        };
        let (sought, begun) = (Sought::default(), Instant::now());
        let anew = |nodes: &[u32], minutes| {
            let nodes = nodes.iter().copied().map(node).collect();
            sought.anew(nodes, Duration::from_hours(1), begun + Duration::from_mins(minutes))
        };
        assert_eq!(anew(&[1, 2], 0), [node(1), node(2)]);
        assert_eq!(anew(&[2, 3], 30), [node(3)]);
        // Having been asked for in between puts nothing off.
        assert_eq!(anew(&[1, 2, 3], 60), [node(1), node(2)]);
        let without_end: Vec<_> = (10..10_000).collect();
        assert_eq!(anew(&without_end, 61).len(), SOUGHT_MAX - 3);
    }
}

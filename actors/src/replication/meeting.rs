//! Getting to know other holders: who knows only the author would take all of them for lost, and is refused by them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use proto::{NodeId, placement::Placement};

use super::{Tools, sources::nodes};
use crate::error::ActorError;

/// Nodes that were looked for lately, so that not each of thousands of tesserae has the same ones looked for.
#[derive(Default)]
pub(super) struct Sought(Mutex<BTreeMap<NodeId, Instant>>);

impl Sought {
    /// Those of these that nobody has looked for in so long a time; from now on somebody has.
    fn anew(&self, mut nodes: Vec<NodeId>, within: Duration) -> Vec<NodeId> {
        let mut sought = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sought.retain(|_, at| at.elapsed() < within);
        nodes.retain(|node| sought.len() < SOUGHT_MAX && sought.insert(*node, Instant::now()).is_none());
        nodes
    }
}

/// Learns from those that are known where holders are that are not: who cannot be asked would be taken for lost.
pub(super) async fn look_for(tools: &Tools, placement: &Placement) -> Result<(), ActorError> {
    look_for_these(tools, placement, unknown(tools, placement)).await
}

/// The same, for those that were not looked for in so long a time.
pub(super) async fn look_for_once(
    tools: &Tools,
    placement: &Placement,
    within: Duration,
) -> Result<(), ActorError> {
    let unknown = unknown(tools, placement);
    if unknown.is_empty() {
        return Ok(());
    }
    look_for_these(tools, placement, tools.sought.anew(unknown, within)).await
}

/// Holders that are not known here.
fn unknown(tools: &Tools, placement: &Placement) -> Vec<NodeId> {
    let (us, book) = (tools.peers.us(), tools.peers.book());
    let is_unknown = |node: &NodeId| *node != us && !book.peers.contains_key(node);
    placement.holders.iter().flatten().copied().filter(is_unknown).collect()
}

async fn look_for_these(
    tools: &Tools,
    placement: &Placement,
    unknown: Vec<NodeId>,
) -> Result<(), ActorError> {
    if unknown.is_empty() {
        return Ok(());
    }
    // Holders first: they have to do with the same people.
    let mut among: Vec<_> = placement.holders.iter().flatten().copied().collect();
    among.extend(nodes(tools));
    tools.peers.look_around(&tools.remote, among, &unknown, ASKED_MAX).await.map(drop)
}

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
        let (sought, hour) = (Sought::default(), Duration::from_hours(1));
        assert_eq!(sought.anew(vec![node(1), node(2)], hour), [node(1), node(2)]);
        assert_eq!(sought.anew(vec![node(2), node(3)], hour), [node(3)]);
        assert_eq!(sought.anew(vec![node(1), node(3)], Duration::ZERO), [node(1), node(3)]);
        let without_end = (0..10_000).map(node).collect();
        assert_eq!(sought.anew(without_end, hour).len(), SOUGHT_MAX - 2);
    }
}

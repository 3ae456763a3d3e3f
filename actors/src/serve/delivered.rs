//! What strangers have brought lately: [`Delivered`] is pure, with the time as an argument.
//!
//! A key costs nothing, an address little, a network something: so what nobody here has asked for comes in so many bytes a
//! day from one node, and so many from one network.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use proto::{
    NodeId,
    placement::Network,
    wire::{Refusal, RefusalKind},
};

/// Bytes that were brought today, by node and by network.
#[derive(Debug)]
pub(super) struct Delivered {
    since: Instant,
    nodes: HashMap<NodeId, u64>,
    networks: HashMap<Network, u64>,
}

/// Bytes of one transfer. What has not come is given back.
pub(super) struct Delivery {
    delivered: Arc<Mutex<Delivered>>,
    comer: (NodeId, IpAddr),
    bytes: u64,
}

impl Delivery {
    /// Counts what a node is about to bring, or refuses it.
    pub(super) fn begin(
        delivered: &Arc<Mutex<Delivered>>,
        comer: (NodeId, IpAddr),
        bytes: u64,
        each: u64,
    ) -> Result<Self, Refusal> {
        let mut counts = delivered.lock().unwrap_or_else(PoisonError::into_inner);
        counts.deliver(comer, bytes, each, Instant::now())?;
        Ok(Self { delivered: delivered.clone(), comer, bytes })
    }

    pub(super) fn has_come(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let mut counts = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        counts.give_back(self.comer, self.bytes);
    }
}

impl Delivered {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, nodes: HashMap::new(), networks: HashMap::new() }
    }

    /// Counts so many bytes more, or refuses them. A node may bring `each` a day.
    fn deliver(
        &mut self,
        (node, address): (NodeId, IpAddr),
        bytes: u64,
        each: u64,
        now: Instant,
    ) -> Result<(), Refusal> {
        if now.duration_since(self.since) >= DAY {
            *self = Self::new(now);
        }
        let network = Network::of(address);
        let of_network = each.saturating_mul(NETWORK_NODES);
        let is_full = !self.networks.contains_key(&network) && self.networks.len() >= REMEMBERED_MAX;
        if is_full {
            let reason = "strangers of too many networks have brought something today; try again tomorrow";
            return Err(RefusalKind::QuotaExceeded.because(reason));
        }
        fits(&self.nodes, node, bytes, each, "this node has")?;
        fits(&self.networks, network, bytes, of_network, "the nodes of this network have")?;
        *self.networks.entry(network).or_default() += bytes;
        // Keys have no end. What those have brought that are not remembered counts for their network.
        if self.nodes.contains_key(&node) || self.nodes.len() < REMEMBERED_MAX {
            *self.nodes.entry(node).or_default() += bytes;
        }
        Ok(())
    }

    /// So many bytes did not come after all.
    fn give_back(&mut self, (node, address): (NodeId, IpAddr), bytes: u64) {
        let counts = [self.nodes.get_mut(&node), self.networks.get_mut(&Network::of(address))];
        for count in counts.into_iter().flatten() {
            *count = count.saturating_sub(bytes);
        }
    }
}

fn fits<K: Eq + Hash>(
    all: &HashMap<K, u64>,
    who: K,
    bytes: u64,
    limit: u64,
    whose: &str,
) -> Result<(), Refusal> {
    let before = all.get(&who).copied().unwrap_or_default();
    if before.saturating_add(bytes) <= limit {
        return Ok(());
    }
    let reason = format!("{whose} brought all that is taken from strangers in a day, {limit} bytes");
    Err(RefusalKind::QuotaExceeded.because(reason))
}

const DAY: Duration = Duration::from_secs(24 * 3600);
/// What a network may bring, in what a node may.
const NETWORK_NODES: u64 = 4;
/// Nodes and networks that are remembered for the day.
const REMEMBERED_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn comer(node: u16, network: u8) -> (NodeId, IpAddr) {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&node.to_le_bytes());
        (NodeId::from_bytes(id), IpAddr::from([192, 0, network, 1]))
    }

    #[test]
    fn node_brings_so_much_a_day_and_a_network_four_times_as_much() {
        let begun = Instant::now();
        let mut delivered = Delivered::new(begun);
        let mut check = |node, network, bytes, later, expected| {
            let outcome = delivered.deliver(comer(node, network), bytes, 100, begun + later);
            assert_eq!(outcome.is_ok(), expected, "{node} {network} {bytes} {later:?}");
        };
        let now = Duration::ZERO;
        check(1, 1, 60, now, true);
        check(1, 1, 41, now, false);
        // Wherever it comes from.
        check(1, 2, 41, now, false);
        check(1, 1, 40, now, true);
        for node in 2..5 {
            check(node, 1, 100, now, true);
        }
        check(5, 1, 1, now, false);
        check(5, 2, 100, now, true);
        check(1, 1, 1, DAY - Duration::from_secs(1), false);
        check(1, 1, 100, DAY, true);
    }

    #[test]
    fn keys_without_end_are_not_remembered_and_shut_out_nobody_else() {
        let mut delivered = Delivered::new(Instant::now());
        let mut deliver = |node, network| delivered.deliver(comer(node, network), 1, 2000, Instant::now());
        let taken = (0..10_000).filter(|node| deliver(*node, 7).is_ok()).count();
        assert_eq!(taken, 8000, "what one network may bring");
        assert!(deliver(10_001, 8).is_ok());
        assert_eq!(delivered.nodes.len(), REMEMBERED_MAX);
    }

    #[test]
    fn what_did_not_come_is_given_back() {
        let mut delivered = Delivered::new(Instant::now());
        for _ in 0..10 {
            delivered.deliver(comer(1, 1), 100, 100, Instant::now()).unwrap();
            assert!(delivered.deliver(comer(1, 1), 1, 100, Instant::now()).is_err());
            delivered.give_back(comer(1, 1), 100);
        }
    }
}

//! What strangers have brought lately: pure, with the time as an argument.
//!
//! A key costs nothing, an address little, a network something: so what nobody here has asked for comes in so many bytes a
//! day from one node, and so many from one network.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    time::{Duration, Instant},
};

use proto::{
    NodeId,
    wire::{Refusal, RefusalKind},
};

use crate::conn_pool::Prefix;

/// Bytes that were brought today, by node and by network.
#[derive(Debug)]
pub(super) struct Delivered {
    since: Instant,
    nodes: HashMap<NodeId, u64>,
    networks: HashMap<Prefix, u64>,
}

impl Delivered {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, nodes: HashMap::new(), networks: HashMap::new() }
    }

    /// Counts so many bytes more, or refuses them. A node may bring `each` a day.
    pub(super) fn deliver(
        &mut self,
        (node, address): (NodeId, IpAddr),
        bytes: u64,
        each: u64,
        now: Instant,
    ) -> Result<(), Refusal> {
        if now.duration_since(self.since) >= DAY {
            *self = Self::new(now);
        }
        let network = Prefix::of(address);
        let of_network = each.saturating_mul(NETWORK_NODES);
        fits(&self.nodes, node, bytes, each, "this node has")?;
        fits(&self.networks, network, bytes, of_network, "the nodes of this network have")?;
        *self.nodes.entry(node).or_default() += bytes;
        *self.networks.entry(network).or_default() += bytes;
        Ok(())
    }
}

fn fits<K: Eq + Hash>(
    all: &HashMap<K, u64>,
    who: K,
    bytes: u64,
    limit: u64,
    whose: &str,
) -> Result<(), Refusal> {
    let before = match all.get(&who) {
        Some(before) => *before,
        None if all.len() >= REMEMBERED_MAX => limit,
        None => 0,
    };
    if before.saturating_add(bytes) <= limit {
        return Ok(());
    }
    let reason = format!("{whose} brought all that is taken from strangers in a day, {limit} bytes");
    Err(RefusalKind::QuotaExceeded.because(reason))
}

const DAY: Duration = Duration::from_secs(24 * 3600);
/// What a network may bring, in what a node may.
const NETWORK_NODES: u64 = 4;
/// Nodes and networks that are remembered for the day. Beyond these nothing is taken from new ones.
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
    fn keys_without_end_are_not_remembered_without_end() {
        let mut delivered = Delivered::new(Instant::now());
        let mut deliver = |node: u16| {
            let network = u8::try_from(node % 256).unwrap();
            delivered.deliver(comer(node, network), 1, 1000, Instant::now())
        };
        let taken = (0..5000).filter(|node| deliver(*node).is_ok()).count();
        assert_eq!(taken, REMEMBERED_MAX);
        assert!(deliver(0).is_ok());
    }
}

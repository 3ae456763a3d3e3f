//! `LookAfter`: whoever has all of a tessera and is no holder has this node, which is one, look how it fares. What this node then
//! does it does by itself from time to time: it believes nothing, and is only earlier.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use lru::LruCache;
use proto::{
    AccountId, NodeId, TesseraId,
    wire::{Answer, Refusal, RefusalKind},
};

use super::{Reply, Server, refusal};
use crate::conn_pool::Lease;

/// When which tessera was looked at because somebody asked, and how often each node did.
pub(super) struct Hints {
    tesserae: Mutex<LruCache<TesseraId, Instant>>,
    nodes: Mutex<LruCache<NodeId, Count>>,
    all: Mutex<Count>,
}

/// How often was asked since when it is counted.
pub(super) struct Count {
    since: Instant,
    asked: u32,
}

impl Count {
    pub(super) fn new(since: Instant) -> Self {
        Self { since, asked: 0 }
    }

    /// How long to wait when it was so often.
    pub(super) fn wait(&mut self, max: u32, now: Instant) -> Result<(), Duration> {
        let counted_for = now.saturating_duration_since(self.since);
        if counted_for >= COUNTED_FOR {
            *self = Self::new(now);
        }
        if self.asked >= max { Err(COUNTED_FOR.saturating_sub(counted_for)) } else { Ok(()) }
    }

    pub(super) fn add(&mut self) {
        self.asked = self.asked.saturating_add(1);
    }
}

impl Default for Hints {
    fn default() -> Self {
        Self {
            tesserae: Mutex::new(LruCache::new(TESSERAE)),
            nodes: Mutex::new(LruCache::new(NODES)),
            all: Mutex::new(Count::new(Instant::now())),
        }
    }
}

impl Hints {
    /// Counts it, or tells how long to wait.
    fn admit(&self, node: NodeId, tessera: TesseraId, now: Instant) -> Result<(), Duration> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.wait(ALL, now)?;
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let of_node = nodes.get_or_insert_mut(node, || Count::new(now));
        of_node.wait(EACH_NODE, now)?;
        let mut tesserae = self.tesserae.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = tesserae.get(&tessera) {
            let left = EACH_TESSERA.saturating_sub(now.saturating_duration_since(*last));
            if !left.is_zero() {
                return Err(left);
            }
        }
        tesserae.put(tessera, now);
        of_node.add();
        all.add();
        Ok(())
    }
}

impl Server {
    /// `LookAfter`.
    pub(super) async fn look_after(&self, lease: &Lease, tessera: TesseraId) -> Reply {
        self.refuse_blocked(tessera)?;
        // A key costs nothing.
        if !self.peers.book().peers.contains_key(&lease.node()) {
            return Err(RefusalKind::NotKnown.because("only a node that is known here may ask that"));
        }
        self.refuse_retracted(tessera).await?;
        let keepers = self.storage.records().keepers(tessera).await.map_err(|error| refusal(&error))?;
        if keepers.iter().all(|account| *account == AccountId::LOCAL) {
            return Err(RefusalKind::NotFound.because("nothing of it is kept here for its author"));
        }
        self.state.hints.admit(lease.node(), tessera, Instant::now()).map_err(too_often)?;
        tracing::info!(node = %lease.node(), %tessera, "it is looked after because a node has asked that has all of it");
        self.replication.repair(tessera).await.map_err(|error| refusal(&error))?;
        Ok((Answer::Done, Bytes::new()))
    }
}

fn too_often(wait: Duration) -> Refusal {
    let retry_after_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
    RefusalKind::Busy { retry_after_ms }.because("it was looked at a moment ago, or this node asks too often")
}

/// A tessera is looked at so often.
const EACH_TESSERA: Duration = Duration::from_secs(600);
/// A node may ask so often within a while, and all together: each time some nodes are asked what they have.
const EACH_NODE: u32 = 60;
const ALL: u32 = 600;
const COUNTED_FOR: Duration = Duration::from_secs(3600);
/// Tesserae, and nodes, of which it is remembered.
const TESSERAE: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
const NODES: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tessera_is_looked_at_once_in_a_while_and_nobody_asks_too_often() {
        let (hints, start) = (Hints::default(), Instant::now());
        let ask = |node, tessera: u8, after: Duration| {
            let (node, tessera) = (NodeId::from_bytes([node; 32]), TesseraId::from_bytes([tessera; 32]));
            hints.admit(node, tessera, start + after)
        };
        assert_eq!(ask(1, 0, Duration::ZERO), Ok(()));
        assert_eq!(ask(2, 0, Duration::from_secs(100)), Err(Duration::from_secs(500)));
        assert_eq!(ask(2, 0, EACH_TESSERA), Ok(()));
        (1..60).for_each(|tessera| assert_eq!(ask(1, tessera, Duration::ZERO), Ok(())));
        assert_eq!(ask(1, 60, Duration::from_secs(1)), Err(COUNTED_FOR - Duration::from_secs(1)));
        assert_eq!(ask(2, 60, Duration::from_secs(1)), Ok(()));
        assert_eq!(ask(1, 61, COUNTED_FOR), Ok(()));
    }
}

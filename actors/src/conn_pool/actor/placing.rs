//! Places in the pool, and what may be parked on each: `places` and `windows` decide, this does it.

use proto::{NodeId, placement::Network};

use super::{
    super::{
        link::{Close, Link},
        places::{self, Decision, Occupant, Places},
        reap::{self, Entry},
        windows,
    },
    REPLACED, State, shut,
};

impl State {
    /// Makes a place for a node that comes, or says why there is none. A newcomer evicts nobody, unless the operator wants
    /// it: else whoever can make keys could empty the pool.
    pub(super) fn make_place(&mut self, link: &Link) -> Result<(), &'static str> {
        let decision = match self.decide(link) {
            Decision::Full | Decision::Crowded if self.make_way(link.node) => self.decide(link),
            decision => decision,
        };
        match decision {
            Decision::Comes => Ok(()),
            Decision::Replaces(guest) => {
                self.evict(&guest);
                Ok(())
            }
            Decision::Full => Err("all connections are taken here; try again later"),
            Decision::Crowded => Err("too many nodes of this network are connected here; try again later"),
        }
    }

    fn decide(&self, link: &Link) -> Decision {
        let book = self.with.book.borrow();
        let occupant = |link: &Link| {
            let Entry { node, in_use, last_used_ms, .. } = link.entry();
            Occupant {
                node,
                is_configured: book.is_configured(&node),
                is_inbound: link.is_inbound(),
                prefix: Network::of(link.address().ip()),
                in_use,
                last_used_ms,
            }
        };
        let present: Vec<_> = self.links.values().chain(&self.leaving).map(|link| occupant(link)).collect();
        let places = Places {
            max: self.with.settings.connections_max,
            taken: self.taken(),
            configured: book.configured(),
        };
        places::decide(places, &present, &occupant(link))
    }

    /// Closes what a node that comes again had before. Whether that was anything.
    fn make_way(&mut self, node: NodeId) -> bool {
        let replaced = self.links.get(&node).cloned().into_iter();
        let before: Vec<_> =
            replaced.chain(self.leaving.iter().filter(|link| link.node == node).cloned()).collect();
        before.iter().for_each(|link| self.remove(link));
        before.iter().for_each(|link| shut(link, Close::Duplicate, REPLACED));
        !before.is_empty()
    }

    /// A connection to a node that the operator wants may have more parked on it than that to a guest.
    pub(super) fn widen(&mut self, link: &Link) {
        if !self.with.book.borrow().is_configured(&link.node) || link.granted_bytes() > 0 {
            return;
        }
        let first = self.with.port.window_bytes();
        link.widen(first, windows::more(self.window_bytes_left, first));
        self.window_bytes_left = self.window_bytes_left.saturating_sub(link.granted_bytes());
    }

    /// What the reaper has to know of all connections. Whoever the operator does not ask for, or not any more, holds none of
    /// them open, and none is held open for it.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let book = self.with.book.borrow();
        let entries = self.links.values().map(|link| {
            let may_hold = link.is_inbound() && book.is_configured(&link.node);
            let entry = link.entry();
            Entry {
                is_kept: entry.is_kept && book.may_be_kept(&link.node),
                held_ms: entry.held_ms.filter(|_| may_hold),
                ..entry
            }
        });
        entries.collect()
    }

    /// Connections that others may hold open: as many as places are kept for nodes that the operator wants.
    pub(super) fn reserved(&self) -> usize {
        places::reserved(self.with.settings.connections_max, self.with.book.borrow().configured())
    }

    /// Makes room for one more connection, if need be by closing an idle one.
    pub(super) fn make_room(&mut self) -> bool {
        if self.taken() < self.with.settings.connections_max {
            return true;
        }
        let Some(node) = reap::victim(&self.entries()) else { return false };
        // Whoever has just come for it keeps it.
        if self.links.get(&node).is_some_and(|link| link.retire()) {
            self.evict(&node);
        }
        self.taken() < self.with.settings.connections_max
    }

    fn evict(&mut self, node: &NodeId) {
        let leaving = self.leaving.extract_if(.., |link| link.node == *node);
        for link in leaving.chain(self.links.remove(node)) {
            self.with.metrics.evicted();
            shut(&link, Close::Evicted, "another connection needs the place of this one");
        }
        self.measure();
    }
}

//! Dialling other nodes: `dialling` and `reap` decide, this does it.

use std::{sync::Arc, time::Instant};

use config::HostPort;
use proto::NodeId;

use super::{
    super::{
        book::Presence,
        dial::Dial,
        dialling::Backoff,
        endpoint,
        link::{Close, Lease, Link},
        message::{PoolMsg, Reply},
        trouble::PeerTrouble,
    },
    State,
    finishing::restarting,
    shut,
};
use crate::{error::ActorError, supervision::gate::Slot};

/// A node that could not be reached, and why.
pub(super) struct Failure {
    pub(super) backoff: Backoff,
    pub(super) trouble: PeerTrouble,
    /// Whether the pool had dialled it by itself: then it is tried at once when somebody asks for it.
    pub(super) was_kept: bool,
}

/// A node that is being dialled, and who waits for it.
pub(super) struct Dialling {
    /// Those of its addresses that were not tried yet, the next one last.
    pub(super) addresses: Vec<HostPort>,
    /// The others.
    pub(super) tried: Vec<HostPort>,
    pub(super) waiting: Vec<(Slot, Reply<Lease>)>,
    pub(super) is_kept: bool,
    pub(super) begun: Instant,
}

impl Dialling {
    /// A node whose addresses are these, the best first.
    fn new(addresses: &[HostPort], waiting: Vec<(Slot, Reply<Lease>)>, is_kept: bool) -> Self {
        let addresses = addresses.iter().rev().cloned().collect();
        Self { addresses, tried: Vec::new(), waiting, is_kept, begun: Instant::now() }
    }

    /// It is said to be at these now.
    pub(super) fn move_to(&mut self, addresses: &[HostPort]) {
        let untried = addresses.iter().rev().filter(|address| !self.tried.contains(address));
        self.addresses = untried.cloned().collect();
    }
}

impl State {
    pub(super) fn lease(&mut self, node: NodeId, slot: Slot, reply: Reply<Lease>) {
        if reply.is_closed() {
            return;
        }
        if self.is_finishing {
            return drop(reply.send(Err(restarting())));
        }
        if let Some(lease) = self.present(&node) {
            self.with.metrics.hit();
            let _ = reply.send(Ok(lease));
            return;
        }
        self.with.metrics.miss();
        if let Some(dialling) = self.dials.get_mut(&node) {
            dialling.waiting.push((slot, reply));
        } else if let Err(error) = self.may_dial(node, false) {
            let _ = reply.send(Err(error));
        } else {
            self.begin(node, vec![(slot, reply)], false);
        }
    }

    /// The use of the connection to a node, if there is one that goes on.
    fn present(&self, node: &NodeId) -> Option<Lease> {
        let link = self.links.get(node).filter(|link| link.connection.close_reason().is_none());
        link.and_then(Lease::take)
    }

    /// Whether a node may be dialled now; makes room for it.
    fn may_dial(&mut self, node: NodeId, is_kept: bool) -> Result<(), ActorError> {
        let refuse = |trouble| Err(ActorError::Peer { node, trouble });
        if node == self.with.us {
            return refuse(PeerTrouble::Itself);
        }
        let book = self.with.book.borrow().clone();
        if let Some(reason) = book.blocked.get(&node) {
            return refuse(PeerTrouble::BlockedHere { reason: reason.clone() });
        }
        if book.peers.get(&node).is_none_or(|peer| peer.addresses.is_empty()) {
            return refuse(PeerTrouble::NoAddress);
        }
        if let Some(Failure { backoff, trouble, was_kept }) = self.backoffs.get(&node)
            && (is_kept || !was_kept)
            && let Some(retry_after_ms) = backoff.wait_ms(self.clock.now_ms())
        {
            return refuse(PeerTrouble::Waiting { reason: trouble.to_string(), retry_after_ms });
        }
        // First: nobody goes for a dial that there is not.
        if let Err(retry_after_ms) = self.budget.ask(self.clock.now_ms()) {
            return refuse(PeerTrouble::DialBudget { retry_after_ms });
        }
        if self.make_room() { Ok(()) } else { Err(self.full()) }
    }

    /// Begins to dial a node whose addresses are known.
    fn begin(&mut self, node: NodeId, waiting: Vec<(Slot, Reply<Lease>)>, is_kept: bool) {
        let book = self.with.book.borrow().clone();
        self.dials.insert(node, Dialling::new(book.addresses(&node), waiting, is_kept));
        self.dial_next(node, PeerTrouble::NoAddress);
    }

    /// Dials a node at the next of its addresses, or gives up for the reason that the last one gave.
    fn dial_next(&mut self, node: NodeId, trouble: PeerTrouble) {
        // It has come by itself meanwhile. Whoever is dialled all the same takes what it has for dead.
        if let Some(lease) = self.present(&node) {
            return self.answer_all(node, &lease);
        }
        let Some(dialling) = self.dials.get_mut(&node) else { return };
        let Some(address) = dialling.addresses.pop() else { return self.give_up(node, trouble) };
        dialling.tried.push(address.clone());
        if let Err(retry_after_ms) = self.budget.take(self.clock.now_ms()) {
            return self.tell_waiting(node, &PeerTrouble::DialBudget { retry_after_ms });
        }
        let is_kept = dialling.is_kept;
        let config = match self.with.port.client(node, is_kept) {
            Ok(config) => config,
            Err(error) => return self.give_up(node, PeerTrouble::Unreachable { reason: error.to_string() }),
        };
        let (endpoint, us, clock, me) = (self.endpoint.clone(), self.with.us, self.clock, self.me.clone());
        let dial = Dial { endpoint, config, us, node, address, is_kept, clock };
        self.with.port.thread().spawn(async move {
            let outcome = dial.run().await;
            // Without a pool the process is ending.
            let _ = me.send_message(PoolMsg::Dialled { node, outcome });
        });
    }

    pub(super) fn probe(&mut self, node: NodeId, address: HostPort, slot: Slot, reply: Reply<()>) {
        if self.is_finishing {
            return drop(reply.send(Err(restarting())));
        }
        let refuse = |trouble| Err(ActorError::Peer { node, trouble });
        let now_ms = self.clock.now_ms();
        let taken = self.probes.take(now_ms).and_then(|()| self.budget.take(now_ms));
        let config = match (taken, self.with.port.prober(node)) {
            (Err(retry_after_ms), _) => {
                return drop(reply.send(refuse(PeerTrouble::DialBudget { retry_after_ms })));
            }
            (Ok(()), Err(error)) => return drop(reply.send(Err(error))),
            (Ok(()), Ok(config)) => config,
        };
        let endpoint = match self.with.port.apart() {
            Ok(endpoint) => endpoint,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let (us, clock) = (self.with.us, self.clock);
        let dial = Dial { endpoint, config, us, node, address, is_kept: false, clock };
        self.with.port.thread().spawn(async move {
            let outcome = dial.run().await.map(|link| shut(&link, Close::Idle, ""));
            // Whoever gave up has nothing to be told.
            let _ = reply.send(outcome.map_err(|trouble| ActorError::Peer { node, trouble }));
            drop(slot);
        });
    }

    pub(super) fn dialled(&mut self, node: NodeId, outcome: Result<Arc<Link>, PeerTrouble>) {
        match outcome {
            Err(trouble) => self.dial_next(node, trouble),
            Ok(link) if self.has_turned_out(&link) => {
                let reason = self.with.book.borrow().blocked.get(&node).cloned();
                let trouble =
                    reason.map_or(PeerTrouble::NoAddress, |reason| PeerTrouble::BlockedHere { reason });
                self.tell_waiting(node, &trouble);
            }
            Ok(link) => {
                let Some(dialling) = self.dials.remove(&node) else {
                    return shut(&link, Close::Stopping, endpoint::STOPPING);
                };
                self.with.metrics.handshake(dialling.begun.elapsed().as_secs_f64());
                self.admit(&link);
                self.answer(node, dialling.waiting, &link);
            }
        }
    }

    /// A node could not be reached at any address.
    fn give_up(&mut self, node: NodeId, trouble: PeerTrouble) {
        self.with.metrics.dial_failed();
        let was_kept = self.dials.get(&node).is_some_and(|dialling| dialling.is_kept);
        self.back_off(node, &trouble, was_kept);
        self.tell_waiting(node, &trouble);
    }

    pub(super) fn back_off(&mut self, node: NodeId, trouble: &PeerTrouble, was_kept: bool) {
        let before = self.backoffs.remove(&node);
        let mut backoff = before.map(|failure| failure.backoff).unwrap_or_default();
        backoff.failed(self.clock.now_ms(), fastrand::f64());
        self.backoffs.insert(node, Failure { backoff, trouble: trouble.clone(), was_kept });
    }

    fn tell_waiting(&mut self, node: NodeId, trouble: &PeerTrouble) {
        let Some(dialling) = self.dials.remove(&node) else { return };
        for (_slot, reply) in dialling.waiting {
            let _ = reply.send(Err(ActorError::Peer { node, trouble: trouble.clone() }));
        }
    }

    /// Those who wait for a node get the connection to it: the present one, if another has won.
    pub(super) fn answer(&self, node: NodeId, waiting: Vec<(Slot, Reply<Lease>)>, link: &Arc<Link>) {
        let link = self.links.get(&node).unwrap_or(link);
        for (_slot, reply) in waiting {
            let _ = reply.send(Ok(Lease::new(link)));
        }
    }

    /// All who wait for a node that is dialled no more get this.
    fn answer_all(&mut self, node: NodeId, lease: &Lease) {
        let waiting = self.dials.remove(&node).map(|dialling| dialling.waiting).unwrap_or_default();
        for (_slot, reply) in waiting {
            let _ = reply.send(Ok(lease.clone()));
        }
    }

    fn presence(&self, node: &NodeId) -> Presence {
        let is_kept = |link: &Arc<Link>| link.is_kept;
        let is_absent = |failure: &Failure| failure.backoff.wait_ms(self.clock.now_ms()).is_some();
        if self.links.get(node).is_some_and(is_kept) || self.dials.get(node).is_some_and(|dial| dial.is_kept)
        {
            Presence::Kept
        } else if self.links.contains_key(node) || self.dials.contains_key(node) {
            Presence::Connected
        } else if self.backoffs.get(node).is_some_and(is_absent) {
            Presence::Absent
        } else {
            Presence::Unknown
        }
    }

    /// Dials the nodes that are to be held connected and are not.
    pub(super) fn keep(&mut self) {
        if self.is_finishing {
            return;
        }
        let kept = self.with.book.borrow().kept(|node| self.presence(node));
        for node in kept {
            let is_there = self.links.contains_key(&node) || self.dials.contains_key(&node);
            if !is_there && self.may_dial(node, true).is_ok() {
                self.begin(node, Vec::new(), true);
            }
        }
    }
}

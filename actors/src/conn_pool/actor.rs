//! The pool: decides when; `reap`, `dialling`, `places` and `windows` decide what.

mod placing;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use config::HostPort;
use proto::NodeId;
use quinn::Endpoint;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{mpsc, watch};

use super::{
    accept::Reception,
    book::PeerBook,
    dial::Dial,
    dialling::{Backoff, Budget},
    endpoint::{self, Port},
    link::{Clock, Close, Lease, Link},
    links::{Links, Shown},
    message::{ConnectionStatus, Inbound, PoolMsg, PoolStatus, Reply, WaitingStatus},
    reap::{self, Entry},
    trouble::PeerTrouble,
    windows,
};
use crate::{error::ActorError, metrics::PoolMetrics, supervision::gate::Slot};

/// The actor. All state is in [`State`].
pub(super) struct ConnPoolActor;

/// What it is started with, every time.
#[derive(Clone)]
pub(super) struct Arguments {
    pub(super) us: NodeId,
    pub(super) port: Arc<Port>,
    pub(super) settings: Settings,
    pub(super) book: watch::Receiver<Arc<PeerBook>>,
    /// Where handles see the connections.
    pub(super) shown: Shown,
    /// Where streams that peers open are handed to.
    pub(super) inbound: mpsc::Sender<Inbound>,
    pub(super) metrics: PoolMetrics,
}

/// Its bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) connections_max: usize,
    pub(super) idle: Duration,
    pub(super) reap_every: Duration,
    pub(super) dials_per_minute: u32,
    pub(super) handshakes_max: usize,
}

pub(super) struct State {
    me: ActorRef<PoolMsg>,
    with: Arguments,
    endpoint: Endpoint,
    clock: Clock,
    /// The connection to each node.
    links: Links,
    /// Those that another one has replaced, as long as somebody uses them.
    leaving: Vec<Arc<Link>>,
    dials: HashMap<NodeId, Dialling>,
    backoffs: HashMap<NodeId, Failure>,
    budget: Budget,
    /// Dials that others have asked for.
    probes: Budget,
    /// How much more may be parked on connections, in bytes.
    window_bytes_left: u64,
}

/// A node that could not be reached, and why.
#[derive(Default)]
struct Failure {
    backoff: Backoff,
    reason: String,
    /// Whether the pool had dialled it by itself: then it is tried at once when somebody asks for it.
    was_kept: bool,
}

/// A node that is being dialled, and who waits for it.
struct Dialling {
    /// Those of its addresses that were not tried yet, the next one last.
    addresses: Vec<HostPort>,
    waiting: Vec<(Slot, Reply<Lease>)>,
    is_kept: bool,
    begun: Instant,
}

impl Actor for ConnPoolActor {
    type Msg = PoolMsg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, me: ActorRef<PoolMsg>, with: Arguments) -> Result<State, ActorProcessingErr> {
        let endpoint = with.port.open().await?;
        let clock = Clock::new();
        let reception = Reception {
            book: with.book.clone(),
            pool: me.clone(),
            metrics: with.metrics.clone(),
            clock,
            handshakes_max: with.settings.handshakes_max,
        };
        with.port.thread().spawn(reception.run(endpoint.clone()));
        // At once, so that the nodes that are to be kept connected are.
        me.send_message(PoolMsg::Reap)?;
        let budget = Budget::new(with.settings.dials_per_minute);
        let probes = Budget::new(with.settings.dials_per_minute.div_ceil(PROBES_SHARE));
        let window_bytes_left = windows::reserve(with.settings.connections_max);
        let links = Links::new(with.shown.clone());
        let (dials, backoffs) = (HashMap::new(), HashMap::new());
        let leaving = Vec::new();
        Ok(State {
            me,
            with,
            endpoint,
            clock,
            links,
            leaving,
            dials,
            backoffs,
            budget,
            probes,
            window_bytes_left,
        })
    }

    async fn handle(
        &self,
        me: ActorRef<PoolMsg>,
        message: PoolMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            PoolMsg::Lease { node, slot, reply } => state.lease(node, slot, reply),
            PoolMsg::Probe { node, address, slot, reply } => state.probe(node, address, slot, reply),
            PoolMsg::List { slot, reply } => {
                // A caller that gave up has nothing to be told.
                let _ = reply.send(Ok(state.status()));
                drop(slot);
            }
            PoolMsg::Dialled { node, outcome } => state.dialled(node, outcome),
            PoolMsg::Accepted { link } => state.accepted(link),
            PoolMsg::Closed { link, trouble } => state.closed(&link, &trouble),
            PoolMsg::BookChanged => state.book_changed(),
            PoolMsg::Reap => {
                state.reap();
                me.send_after(state.with.settings.reap_every, || PoolMsg::Reap);
            }
            PoolMsg::Ping(reply) => drop(reply.send(())),
            #[cfg(feature = "faults")]
            #[expect(clippy::panic, reason = "a test asked for it")]
            PoolMsg::Panic => panic!("asked to"),
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<PoolMsg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        endpoint::close(&state.endpoint).await;
        Ok(())
    }
}

impl State {
    fn lease(&mut self, node: NodeId, slot: Slot, reply: Reply<Lease>) {
        if reply.is_closed() {
            return;
        }
        let link = self.links.get(&node).filter(|link| link.connection.close_reason().is_none());
        if let Some(lease) = link.and_then(Lease::take) {
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
        if let Some(Failure { backoff, reason, was_kept }) = self.backoffs.get(&node)
            && (is_kept || !was_kept)
            && let Some(retry_after_ms) = backoff.wait_ms(self.clock.now_ms())
        {
            return refuse(PeerTrouble::Waiting { reason: reason.clone(), retry_after_ms });
        }
        if self.make_room() { Ok(()) } else { Err(self.full()) }
    }

    /// Begins to dial a node whose addresses are known.
    fn begin(&mut self, node: NodeId, waiting: Vec<(Slot, Reply<Lease>)>, is_kept: bool) {
        let mut addresses =
            self.with.book.borrow().peers.get(&node).map(|peer| peer.addresses.clone()).unwrap_or_default();
        addresses.reverse();
        self.dials.insert(node, Dialling { addresses, waiting, is_kept, begun: Instant::now() });
        self.dial_next(node, PeerTrouble::NoAddress);
    }

    /// Dials a node at the next of its addresses, or gives up for the reason that the last one gave.
    fn dial_next(&mut self, node: NodeId, trouble: PeerTrouble) {
        let Some(dialling) = self.dials.get_mut(&node) else { return };
        let Some(address) = dialling.addresses.pop() else { return self.give_up(node, trouble) };
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

    fn probe(&mut self, node: NodeId, address: HostPort, slot: Slot, reply: Reply<()>) {
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

    fn dialled(&mut self, node: NodeId, outcome: Result<Arc<Link>, PeerTrouble>) {
        match outcome {
            Err(trouble) => self.dial_next(node, trouble),
            Ok(link) => {
                let Some(dialling) = self.dials.remove(&node) else { return };
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

    fn back_off(&mut self, node: NodeId, trouble: &PeerTrouble, was_kept: bool) {
        let failure = self.backoffs.entry(node).or_default();
        failure.backoff.failed(self.clock.now_ms(), fastrand::f64());
        failure.reason = trouble.to_string();
        failure.was_kept = was_kept;
    }

    fn tell_waiting(&mut self, node: NodeId, trouble: &PeerTrouble) {
        let Some(dialling) = self.dials.remove(&node) else { return };
        for (_slot, reply) in dialling.waiting {
            let _ = reply.send(Err(ActorError::Peer { node, trouble: trouble.clone() }));
        }
    }

    /// Those who wait for a node get the connection to it: the present one, if another has won.
    fn answer(&self, node: NodeId, waiting: Vec<(Slot, Reply<Lease>)>, link: &Arc<Link>) {
        let link = self.links.get(&node).unwrap_or(link);
        for (_slot, reply) in waiting {
            let _ = reply.send(Ok(Lease::new(link)));
        }
    }

    fn accepted(&mut self, link: Arc<Link>) {
        let node = link.node;
        if let Err(reason) = self.make_place(&link) {
            self.with.metrics.turned_away(Close::Full);
            return shut(&link, Close::Full, reason);
        }
        self.admit(&link);
        if let Some(dialling) = self.dials.get_mut(&node) {
            let waiting = std::mem::take(&mut dialling.waiting);
            self.answer(node, waiting, &link);
        }
    }

    fn remove(&mut self, link: &Arc<Link>) {
        self.leaving.retain(|leaving| !Arc::ptr_eq(leaving, link));
        if self.links.get(&link.node).is_some_and(|present| Arc::ptr_eq(present, link)) {
            self.links.remove(&link.node);
        }
    }

    /// Takes a connection into the pool, unless the one that is there stays.
    fn admit(&mut self, link: &Arc<Link>) {
        self.widen(link);
        self.serve(link);
        let loser = match self.links.get(&link.node) {
            Some(present) if !reap::newcomer_wins(present.origin, link.origin) => link.clone(),
            Some(_) | None => match self.links.insert(link.node, link.clone()) {
                Some(present) => present,
                None => return self.measure(),
            },
        };
        self.leave(loser);
    }

    /// A connection that has been replaced is closed as soon as nobody uses it. A young one is left for a moment: the
    /// other side may be about to use it.
    fn leave(&mut self, link: Arc<Link>) {
        // One at a time and node.
        let before: Vec<_> = self.leaving.extract_if(.., |leaving| leaving.node == link.node).collect();
        before.iter().for_each(|link| shut(link, Close::Duplicate, REPLACED));
        self.leaving.push(link);
        self.close_leaving();
    }

    fn close_leaving(&mut self) {
        self.leaving.retain(|link| {
            let (open_ms, _) = link.ages_ms();
            let stays = open_ms < LEAVING_MS || !link.retire();
            if !stays {
                shut(link, Close::Duplicate, REPLACED);
            }
            stays
        });
        self.measure();
    }

    /// Hands over what the other side opens on it, until it is closed.
    fn serve(&self, link: &Arc<Link>) {
        let (link, me, inbound) = (link.clone(), self.me.clone(), self.with.inbound.clone());
        let book = self.with.book.clone();
        self.with.port.thread().spawn(async move {
            let error = loop {
                match link.connection.accept_bi().await {
                    Ok((send, receive)) => {
                        let is_known = book.borrow().peers.contains_key(&link.node);
                        let inbound_stream = Inbound { lease: Lease::new(&link), is_known, send, receive };
                        // Nobody serves any more when the node is stopping: then the connection ends too.
                        let _ = inbound.send(inbound_stream).await;
                    }
                    Err(error) => break error,
                }
            };
            let _ = me.send_message(PoolMsg::Closed { link, trouble: error.into() });
        });
    }

    fn closed(&mut self, link: &Arc<Link>, trouble: &PeerTrouble) {
        let node = link.node;
        self.remove(link);
        self.window_bytes_left += link.granted_bytes();
        match trouble {
            // Whoever has come by itself is not dialled, and need not be remembered.
            PeerTrouble::NotKnown { .. } | PeerTrouble::Blocked { .. } if link.origin.dialler != node => {
                self.back_off(node, trouble, link.is_kept);
            }
            // It was there, so it may be dialled again.
            _ => drop(self.backoffs.remove(&node)),
        }
        self.measure();
    }

    fn book_changed(&mut self) {
        let book = self.with.book.borrow().clone();
        let unwelcome = |link: &&Arc<Link>| book.blocked.contains_key(&link.node);
        for link in self.links.values().chain(&self.leaving).filter(unwelcome) {
            let reason = book.blocked.get(&link.node).map_or("", String::as_str);
            shut(link, Close::Blocked, reason);
        }
        for link in self.links.values().cloned().collect::<Vec<_>>() {
            self.widen(&link);
        }
        // What is known of a peer has changed: it may well be there now.
        self.backoffs.clear();
        self.keep();
    }

    fn reap(&mut self) {
        let expired = reap::expired(
            self.clock.now_ms(),
            &self.entries(),
            u64::try_from(self.with.settings.idle.as_millis()).unwrap_or(u64::MAX),
        );
        for node in &expired {
            // Whoever has just come for it keeps it.
            if let Some(link) = self.links.get(node).filter(|link| link.retire()).cloned() {
                self.links.remove(node);
                self.with.metrics.reaped(1);
                shut(&link, Close::Idle, "nobody has used this connection for a while");
            }
        }
        self.backoffs.retain(|_, failure| failure.backoff.is_fresh(self.clock.now_ms()));
        self.close_leaving();
        self.keep();
    }

    /// Dials the nodes that are to be held connected and are not.
    fn keep(&mut self) {
        let kept: Vec<NodeId> = self.with.book.borrow().kept().collect();
        for node in kept {
            let is_there = self.links.contains_key(&node) || self.dials.contains_key(&node);
            if !is_there && self.may_dial(node, true).is_ok() {
                self.begin(node, Vec::new(), true);
            }
        }
    }

    fn full(&self) -> ActorError {
        ActorError::Busy { actor: super::NAME, limit: self.with.settings.connections_max }
    }

    fn entries(&self) -> Vec<Entry> {
        self.links.values().map(|link| link.entry()).collect()
    }

    /// Connections that are there or on their way.
    fn taken(&self) -> usize {
        self.links.len() + self.leaving.len() + self.dials.len()
    }

    fn measure(&self) {
        self.with.metrics.size(self.links.len() + self.leaving.len());
    }

    fn status(&self) -> PoolStatus {
        let now_ms = self.clock.now_ms();
        let mut connections: Vec<_> = self.links.values().map(|link| self.connection(link)).collect();
        connections.sort_by_key(|connection| connection.node);
        let waiting = self.backoffs.iter().filter_map(|(node, failure)| {
            let retry_after = Duration::from_millis(failure.backoff.wait_ms(now_ms)?);
            Some(WaitingStatus { node: *node, reason: failure.reason.clone(), retry_after })
        });
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_by_key(|waiting| waiting.node);
        let mut dialling: Vec<_> = self.dials.keys().copied().collect();
        dialling.sort();
        PoolStatus {
            listens_at: self.with.port.listens_at(),
            connections_max: self.with.settings.connections_max,
            connections,
            dialling,
            waiting,
        }
    }

    fn connection(&self, link: &Link) -> ConnectionStatus {
        let (open_ms, idle_ms) = link.ages_ms();
        let stats = link.connection.stats();
        ConnectionStatus {
            node: link.node,
            address: link.address(),
            is_inbound: link.origin.dialler == link.node,
            is_kept: link.is_kept,
            streams: link.entry().in_use,
            open_for: Duration::from_millis(open_ms),
            idle_for: Duration::from_millis(idle_ms),
            round_trip: link.connection.rtt(),
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
        }
    }
}

fn shut(link: &Link, close: Close, reason: &str) {
    link.connection.close(close.code(), reason.as_bytes());
}

/// This part of the dials may be such as others have asked for.
const PROBES_SHARE: u32 = 4;
const REPLACED: &str = "there is another connection between these nodes";
/// How old a connection that was replaced has to be before it is closed.
const LEAVING_MS: u64 = 10_000;

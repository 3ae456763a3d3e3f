//! The pool: decides when; `reap`, `dialling`, `places` and `windows` decide what.

mod dialling;
mod finishing;
mod placing;

use std::{collections::HashMap, sync::Arc, time::Duration};

use dialling::{Dialling, Failure};
use proto::NodeId;
use quinn::Endpoint;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{mpsc, watch};

use super::{
    accept::Reception,
    book::PeerBook,
    dialling::Budget,
    endpoint::{self, Port},
    link::{Clock, Close, Lease, Link},
    links::{Links, Shown},
    message::{ConnectionStatus, Inbound, PoolMsg, PoolStatus, WaitingStatus},
    reap::{self, Present},
    trouble::PeerTrouble,
    windows,
};
use crate::{error::ActorError, metrics::PoolMetrics, seldom::Seldom};

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
    /// What was known of other nodes when that was last looked at.
    known: Arc<PeerBook>,
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
    /// Set when the node stops: nothing new begins.
    is_finishing: bool,
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
            told: Arc::new(Seldom::new()),
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
        let known = with.book.borrow().clone();
        Ok(State {
            me,
            with,
            known,
            endpoint,
            clock,
            links,
            leaving,
            dials,
            backoffs,
            budget,
            probes,
            window_bytes_left,
            is_finishing: false,
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
            PoolMsg::Finish(reply) => state.finish(reply),
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
    fn accepted(&mut self, link: Arc<Link>) {
        let node = link.node;
        if self.is_finishing {
            return shut(&link, Close::Stopping, endpoint::STOPPING);
        }
        if self.has_turned_out(&link) {
            return;
        }
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

    /// Closes a connection with a node that was blocked while it was made, and says whether it has.
    fn has_turned_out(&self, link: &Link) -> bool {
        let book = self.with.book.borrow();
        let blocked = book.blocked.get(&link.node);
        blocked.inspect(|reason| shut(link, Close::Blocked, reason)).is_some()
    }

    fn remove(&mut self, link: &Arc<Link>) {
        self.leaving.retain(|leaving| !Arc::ptr_eq(leaving, link));
        if self.links.get(&link.node).is_some_and(|present| Arc::ptr_eq(present, link)) {
            self.links.remove(&link.node);
        }
    }

    /// Has one that was to leave take the place of the one that is gone.
    fn follow(&mut self, node: NodeId) {
        let goes_on = |link: &Arc<Link>| link.node == node && link.connection.close_reason().is_none();
        if self.is_finishing || self.links.contains_key(&node) {
            return;
        }
        if let Some(at) = self.leaving.iter().position(goes_on) {
            let link = self.leaving.swap_remove(at);
            self.links.insert(node, link);
        }
    }

    /// Takes a connection into the pool, unless the one that is there stays.
    fn admit(&mut self, link: &Arc<Link>) {
        link.begins_with(self.with.port.window_bytes());
        self.widen(link);
        self.serve(link);
        let present =
            self.links.get(&link.node).filter(|present| present.connection.close_reason().is_none());
        let becomes = present.map(|present| reap::present(link.node, present.origin, link.origin));
        if becomes == Some(Present::Stays) {
            // Else it was started anew, a moment after it had been dialled: then it says so, and the new one takes its place.
            present.into_iter().for_each(|present| present.prod());
            return self.leave(link.clone());
        }
        let Some(present) = self.links.insert(link.node, link.clone()) else { return self.measure() };
        match becomes {
            // What was all acknowledged before tells nobody that it is: whoever waits for its windows would go on to.
            Some(Present::IsDead) => present.give_up(REPLACED),
            _ => present.prod(),
        }
        self.leave(present);
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
        self.follow(node);
        self.window_bytes_left += link.granted_bytes();
        let told = link.connection.close_reason().as_ref().and_then(Close::told);
        // A stranger that has come by itself is not dialled, and need not be remembered.
        let is_dialled = !link.is_inbound() || self.known.may_be_kept(&node);
        if is_dialled && told.is_some_and(Close::is_rebuff) {
            self.back_off(node, trouble, link.is_kept);
        } else {
            // It was there, so it may be dialled again.
            self.backoffs.remove(&node);
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
        // Whom the operator removed may come again as a guest, without what a peer has parked here.
        let is_removed =
            |node: &NodeId| self.known.peers.contains_key(node) && !book.peers.contains_key(node);
        if !book.accepts_any {
            for link in self.links.values().chain(&self.leaving).filter(|link| is_removed(&link.node)) {
                shut(link, Close::NotKnown, &removed(&link.node));
            }
        }
        for link in self.links.values().cloned().collect::<Vec<_>>() {
            self.widen(&link);
        }
        for (node, dialling) in &mut self.dials {
            if book.is_news(&self.known, node) {
                dialling.move_to(book.addresses(node));
            }
        }
        // What is known of a node has changed: it may well be there now.
        self.backoffs.retain(|node, _| !book.is_news(&self.known, node));
        self.known = book;
        self.keep();
    }

    fn reap(&mut self) {
        self.links.values().for_each(|link| link.listen());
        let idle_ms = u64::try_from(self.with.settings.idle.as_millis()).unwrap_or(u64::MAX);
        let expired = reap::expired(self.clock.now_ms(), &self.entries(), idle_ms, self.reserved());
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

    fn full(&self) -> ActorError {
        ActorError::Busy { actor: super::NAME, limit: self.with.settings.connections_max }
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
            Some(WaitingStatus { node: *node, trouble: failure.trouble.clone(), retry_after })
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
            is_inbound: link.is_inbound(),
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

/// What a node is told that was removed.
fn removed(node: &NodeId) -> String {
    format!(
        "its operator has removed this node, and nothing is kept for it until: peers add {node}@HOST:PORT"
    )
}

fn shut(link: &Link, close: Close, reason: &str) {
    link.connection.close(close.code(), reason.as_bytes());
}

/// This part of the dials may be such as others have asked for.
const PROBES_SHARE: u32 = 4;
const REPLACED: &str = "there is another connection between these nodes";
/// How old a connection that was replaced has to be before it is closed.
const LEAVING_MS: u64 = 10_000;

//! Asking who is there: nodes that may keep a tessera, how much room they have, and what they are lost together with.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use proto::{
    AuthorId, NodeId, TesseraId,
    placement::{Candidate, Domain, Network, rank},
    wire::Bound,
};
use tokio::time::timeout;

use super::{Tools, told::Turned};
use crate::{
    conn_pool::{KEEP_ALIVE, PeerTrouble},
    error::ActorError,
};

/// A node that was asked and is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Present {
    pub(super) candidate: Candidate,
    /// How much more it keeps for this node's author, in bytes.
    pub(super) room_bytes: u64,
    /// Why that is no more, if it says so.
    pub(super) bound: Option<Bound>,
}

/// What nodes have just said, so that jobs which begin together ask each of them once. Who has less room since then refuses.
#[derive(Default)]
pub(super) struct Heard(Mutex<BTreeMap<NodeId, (Instant, Present)>>);

impl Heard {
    fn lately(&self, node: NodeId) -> Option<Present> {
        let lately = self.lock().get(&node).copied().filter(|(at, _)| at.elapsed() < HEARD_FOR);
        lately.map(|(_, present)| present)
    }

    fn keep(&self, present: Present) {
        self.lock().insert(present.candidate.node, (Instant::now(), present));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, (Instant, Present)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of asking.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) present: Vec<Present>,
    /// Those that are not there, and why.
    pub(super) absent: Vec<Turned>,
    /// How many nodes there are to be asked.
    pub(super) known: usize,
}

impl Survey {
    /// Without the machines of an author: what is with these is no copy of its tesserae that counts.
    pub(super) fn without_machines_of(mut self, author: AuthorId) -> Self {
        self.present.retain(|one| one.candidate.operator != Some(author));
        self
    }

    /// Those that have room for so much.
    pub(super) fn with_room(&self, bytes: u64) -> Vec<Candidate> {
        let roomy = self.present.iter().filter(|one| one.room_bytes >= bytes);
        roomy.map(|one| one.candidate).collect()
    }
}

/// How many failure domains these are.
pub(super) fn domains(candidates: &[Candidate]) -> usize {
    candidates.iter().map(Candidate::domain).collect::<BTreeSet<Domain>>().len()
}

/// Asks the nodes that the operator wants, in the order in which they come into question, until there are as many as any
/// layout has a use for.
pub(super) async fn survey(tools: &Tools, tessera: TesseraId) -> Survey {
    let book = tools.peers.book();
    let wanted = book.peers.keys().filter(|node| book.is_wanted(**node)).copied();
    let mut nodes: Vec<NodeId> = wanted.collect();
    nodes.sort_by_key(|node| rank(tessera, *node));
    let mut survey = Survey { known: nodes.len(), ..Survey::default() };
    let mut asked = stream::iter(nodes).map(|node| ask(tools, node)).buffered(ASKED_AT_ONCE);
    while survey.present.len() < ENOUGH {
        match asked.next().await {
            Some(Ok(present)) => survey.present.push(present),
            Some(Err(turned)) => survey.absent.push(turned),
            None => break,
        }
    }
    survey
}

/// Waits, for a while, for those that the operator wants and that have to dial this node, as they are behind a router: after a start
/// none of them is connected, and what goes on before that takes all of them for lost.
pub(super) async fn arrived(tools: &Tools) {
    if let Err(error) = tools.peers.refresh().await {
        tracing::warn!(%error, "jobs go on, and what is known of other nodes cannot be read");
    }
    let deadline = Instant::now() + ARRIVED_WITHIN;
    let has_to_dial = |node: NodeId| async move {
        let asked = tools.remote.hello(node, false, None).await;
        matches!(asked, Err(ActorError::Peer { trouble: PeerTrouble::NoAddress, .. }))
    };
    loop {
        let book = tools.peers.book();
        let wanted: Vec<_> = book.peers.keys().filter(|node| book.is_wanted(**node)).copied().collect();
        let missing = stream::iter(wanted).map(has_to_dial).buffer_unordered(ASKED_AT_ONCE);
        let any = missing.any(|is_missing| async move { is_missing });
        match timeout(deadline.saturating_duration_since(Instant::now()), any).await {
            Ok(true) => tokio::time::sleep(ASKED_AGAIN).await,
            _ => return,
        }
    }
}

async fn ask(tools: &Tools, node: NodeId) -> Result<Present, Turned> {
    if let Some(present) = tools.heard.lately(node) {
        return Ok(present);
    }
    let asked = async {
        let greeting = tools.remote.hello(node, false, None).await?;
        let address = tools.pool.lease(node).await?.address();
        let known = tools.peers.book().peers.get(&node).and_then(|known| known.author);
        let operator = greeting.author.or(known);
        let candidate = Candidate { node, operator, network: Some(Network::of(address.ip())) };
        let present = Present { candidate, room_bytes: greeting.allowance_bytes, bound: greeting.bound };
        tools.heard.keep(present);
        Ok(present)
    };
    let because = |reason: String| Turned { node, reason };
    match timeout(PATIENCE, asked).await {
        Ok(asked) => asked.map_err(|error: ActorError| because(error.to_string())),
        Err(_) => Err(because(format!("it did not answer within {} s", PATIENCE.as_secs()))),
    }
}

/// Twice as many as the widest stripe has fragments: some of them will have no room.
const ENOUGH: usize = 2 * proto::limits::STRIPE_TOTAL_MAX as usize;
const ASKED_AT_ONCE: usize = 16;
/// How long those are waited for that have to dial this node after a start: it takes them up to [`KEEP_ALIVE`] to see that it was
/// away, and then some to dial. And how often it is looked who is there.
const ARRIVED_WITHIN: Duration = KEEP_ALIVE.saturating_mul(2);
const ASKED_AGAIN: Duration = Duration::from_millis(500);
/// How long an answer counts.
const HEARD_FOR: Duration = Duration::from_secs(1);
/// How long a node may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(10);

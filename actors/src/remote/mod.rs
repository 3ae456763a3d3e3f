//! Asking other nodes: the requests of the protocol as async functions. What comes back was checked, or it is an error
//! that names the node.
//!
//! Owns nothing: connections are the pool's, and who is known is the peers'. Every request may be repeated, so one whose
//! connection was closed under it is asked again, once, on a new one.

mod ask;
mod compare;
mod holdings;
mod leaving;
mod proofs;

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use leaving::Leaving;
use proto::{
    NodeId,
    wire::{Answer, RefusalKind, Request},
};

use crate::{
    conn_pool::{Close, ConnPoolHandle, Lease, PeerTrouble},
    error::ActorError,
    metrics::RequestMetrics,
    peers::Peers,
    throttle::Throttles,
};

pub use compare::{Compared, Difference};
pub use holdings::{Greeting, Kept};
pub use proofs::{Proven, Unproven};

/// Asks other nodes.
#[derive(Debug, Clone)]
pub struct Remote {
    pool: ConnPoolHandle,
    peers: Peers,
    throttles: Arc<Throttles>,
    metrics: RequestMetrics,
}

impl Remote {
    /// Over this pool.
    pub(crate) fn new(
        pool: ConnPoolHandle,
        peers: Peers,
        throttles: Arc<Throttles>,
        metrics: RequestMetrics,
    ) -> Self {
        Self { pool, peers, throttles, metrics }
    }

    /// A node has said something that turned out not to be true.
    pub(crate) fn distrust(&self, node: NodeId, trouble: &PeerTrouble) {
        self.peers.score(node, trouble);
    }

    /// Asks, and again on another connection when the one before was closed meanwhile.
    async fn ask(&self, node: NodeId, question: Question<'_>) -> Result<Told, ActorError> {
        let mut lease = self.pool.lease(node).await?;
        let mut left = CLOSED_MAX;
        loop {
            // What is asked lies deep within many others: on the heap none of them carries it along on the stack.
            let outcome = Box::pin(self.try_ask(lease.clone(), &question)).await;
            let is_lost = matches!(outcome, Err(PeerTrouble::Lost { .. }));
            let has_dialled_anew = is_lost && lease.is_dead();
            let may_help = has_dialled_anew || outcome.as_ref().is_err_and(PeerTrouble::is_passing);
            if left == 0 || !may_help {
                return self.judged(node, outcome);
            }
            left -= 1;
            drop(lease);
            // Else whoever waits for a place on the new connection has what those that have one wait for.
            question.turn.give_back();
            lease = self.pool.lease_anew(node).await?;
        }
    }

    async fn try_ask(&self, lease: Lease, question: &Question<'_>) -> Result<Told, PeerTrouble> {
        let outcome = self.exchange(&lease, question).await;
        if let Err(PeerTrouble::Silent { .. }) = &outcome {
            // The other end may be long gone, and nobody has said so: whoever asks next dials anew.
            lease.close(Close::Idle, "nothing was answered");
        }
        let (answer, bytes) = outcome?;
        Ok(Told { answer, bytes, lease })
    }

    async fn exchange(&self, lease: &Lease, question: &Question<'_>) -> Result<(Answer, Bytes), PeerTrouble> {
        if question.introduced {
            self.introduced(lease).await?;
        }
        let request = (question.request)(lease)?;
        let places = lease.bringing(question.bulk.len()).await;
        // Whoever waits for one node's places keeps no turn from others.
        question.turn.take().await;
        // Whoever asks locally waits for its turn.
        let _ = self.throttles.upload.pass(question.bulk.len(), Duration::MAX).await;
        let leaving = Leaving::new(question.turn);
        let asked = ask::ask(lease, &request, question.bulk.clone(), &leaving, &self.metrics);
        let (answer, bytes) = leaving.watch(lease, pin!(asked)).await?;
        drop(places);
        let _ = self.throttles.download.pass(bytes.len(), Duration::MAX).await;
        Ok((answer, bytes))
    }

    /// What came of it; what is wrong with the other node is counted.
    fn judged<T>(&self, node: NodeId, outcome: Result<T, PeerTrouble>) -> Result<T, ActorError> {
        if let Err(trouble) = &outcome {
            self.peers.score(node, trouble);
        }
        outcome.map_err(|trouble| ActorError::Peer { node, trouble })
    }
}

/// Connections that may end while one thing is asked. Of a node that was started anew there may be two from before: both had
/// dialled at once, and neither has been closed since.
const CLOSED_MAX: usize = 2;

/// Whether another node has said that it gives nothing of it back: it has none, or has blocked it.
pub(crate) fn is_not_there(error: &ActorError) -> bool {
    matches!(refused(error), Some(RefusalKind::NotFound | RefusalKind::Blocked))
}

/// Whether another node has shown that it has not got what it signed or claimed to have.
pub(crate) fn has_not_got_it(error: &ActorError) -> bool {
    let has_lied = matches!(
        error,
        ActorError::Peer { trouble: PeerTrouble::Lied { .. } | PeerTrouble::Malformed { .. }, .. }
    );
    has_lied
        || is_not_there(error)
        || refused(error).is_some_and(|kind| kind == RefusalKind::Corrupt || is_no_reason(kind))
}

/// Whether nobody who has something refuses to show a piece of it with this.
fn is_no_reason(kind: RefusalKind) -> bool {
    use RefusalKind::{Forbidden, Malformed, NeedManifest, QuotaExceeded, Unsupported};
    matches!(kind, Forbidden | Malformed | NeedManifest | QuotaExceeded | Unsupported)
}

/// Whether another node that is there may well answer in a moment.
pub(crate) fn is_passing(error: &ActorError) -> bool {
    let is_lost = matches!(
        error,
        ActorError::Peer { trouble: PeerTrouble::Lost { .. } | PeerTrouble::DialBudget { .. }, .. }
    );
    is_lost || matches!(refused(error), Some(RefusalKind::Busy { .. } | RefusalKind::Restarting))
}

/// What another node has refused a request with.
pub(crate) fn refused(error: &ActorError) -> Option<RefusalKind> {
    let ActorError::Peer { trouble: PeerTrouble::Refused(refusal), .. } = error else { return None };
    Some(refusal.kind())
}

/// A turn among transfers that share something beside the connection.
pub(crate) trait Turn: Send + Sync {
    /// Waits for it. May be called again.
    fn take(&self) -> BoxFuture<'_, ()>;

    /// It is needed no longer: all is on its way, or nothing is.
    fn give_back(&self);
}

/// Whoever shares nothing waits for nobody.
impl Turn for () {
    fn take(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn give_back(&self) {}
}

/// Makes a request anew for each connection: some are signed for it.
type MakeRequest<'a> = dyn Fn(&Lease) -> Result<Request, PeerTrouble> + Send + Sync + 'a;

/// What is asked, and how.
struct Question<'a> {
    request: &'a MakeRequest<'a>,
    /// Whether the other node has to know first whom this one acts for.
    introduced: bool,
    /// What follows the request.
    bulk: Bytes,
    /// Among all that this node brings others.
    turn: &'a dyn Turn,
}

/// What was answered.
struct Told {
    answer: Answer,
    bytes: Bytes,
    lease: Lease,
}

impl<'a> Question<'a> {
    /// One that anybody may ask, and that nothing follows.
    fn plain(request: &'a MakeRequest<'a>) -> Self {
        Self { request, introduced: false, bulk: Bytes::new(), turn: &() }
    }
}

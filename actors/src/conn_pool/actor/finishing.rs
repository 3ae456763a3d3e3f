//! The end of the pool in good order: nothing new begins, and what is under way ends by itself, if it does so soon.

use futures::future;
use ractor::RpcReplyPort;
use tokio::time::timeout;

use super::{super::limits::FINISHING, State};
use crate::error::ActorError;

impl State {
    /// Answers as soon as nobody uses a connection any more: at once where nobody does. Those who wait for a node that is
    /// being dialled are told at once that nothing comes of it.
    pub(super) fn finish(&mut self, reply: RpcReplyPort<()>) {
        self.is_finishing = true;
        self.links.hide();
        for (_slot, waiting) in self.dials.drain().flat_map(|(_, dialling)| dialling.waiting) {
            let _ = waiting.send(Err(restarting()));
        }
        let links: Vec<_> = self.links.values().chain(&self.leaving).cloned().collect();
        self.with.port.thread().spawn(async move {
            let finished = future::join_all(links.iter().map(|link| link.finished()));
            // Whoever stalls does not keep the node from stopping.
            if timeout(FINISHING, finished).await.is_err() {
                tracing::info!("streams of other nodes that have not ended are cut off");
            }
            let _ = reply.send(());
        });
    }
}

/// Why nothing is begun any more.
pub(super) fn restarting() -> ActorError {
    ActorError::Restarting { actor: super::super::NAME }
}

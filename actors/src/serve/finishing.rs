//! The end of answering in good order: what is under way is answered, and what comes is told to come later.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use proto::wire::{Answer, Refusal, RefusalKind};
use quinn::VarInt;

use super::Server;
use crate::{conn_pool::Inbound, frames};

impl Server {
    /// From now on nothing new is begun.
    pub(crate) fn drain(&self) {
        self.state.draining.store(true, Ordering::Release);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.state.draining.load(Ordering::Acquire)
    }

    /// Tells whoever comes now to come later, whatever it wants. Does not count as a use of the connection: a peer that asks
    /// again and again does not hold up the end.
    pub(super) async fn turn_away(self: Arc<Self>, stream: Inbound) {
        let Inbound { lease, mut send, mut receive, .. } = stream;
        drop(lease);
        let refusal = stopping();
        self.metrics.refused(refusal.kind().name());
        if frames::write(&mut send, Answer::Refused(refusal).frame(), Bytes::new()).await.is_ok() {
            let _ = receive.stop(VarInt::from_u32(0));
            let _ = send.finish();
        }
    }

    /// When this node stops, an answer has to arrive before its connection is closed: that it was sent is not enough.
    pub(super) async fn until_taken(&self, stream: &mut Inbound) {
        if self.is_draining() {
            // Whether it was taken or the connection is gone: nothing is left to be done.
            let _ = stream.send.stopped().await;
        }
    }
}

pub(super) fn stopping() -> Refusal {
    RefusalKind::Restarting.because("this node is stopping")
}

//! How a request leaves: while it is asked, it is listened whether the other node takes it, and whether anybody is there.

use std::{
    mem,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::sleep;

use super::Turn;
use crate::{
    conn_pool::{Lease, PeerTrouble},
    frames::ANSWER_DEADLINE,
};

/// How much of a request has left. What else goes over its connection is nothing to it: a node may say much and take nothing.
pub(super) struct Leaving<'a> {
    turn: &'a dyn Turn,
    /// Bytes, or [`ALL`].
    gone: AtomicU64,
}

impl<'a> Leaving<'a> {
    /// Nothing yet.
    pub(super) fn new(turn: &'a dyn Turn) -> Self {
        Self { turn, gone: AtomicU64::new(0) }
    }

    /// So many bytes more.
    pub(super) fn moved(&self, bytes: usize) {
        self.gone.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// All of it, or what is left is of no use: others have their turn.
    pub(super) fn is_over(&self) {
        self.gone.store(ALL, Ordering::Relaxed);
        self.turn.give_back();
    }

    /// What comes of something that is asked, unless the other node does not take it.
    pub(super) async fn watch<T>(
        &self,
        lease: &Lease,
        asked: Pin<&mut (impl Future<Output = Result<T, PeerTrouble>> + Send)>,
    ) -> Result<T, PeerTrouble> {
        tokio::select! {
            biased;
            outcome = asked => outcome,
            trouble = self.stuck(lease) => Err(trouble),
        }
    }

    /// Returns when it is too long that nothing of it was taken. Long before that it keeps no turn from others. A node from which nothing
    /// is heard is asked for a sign of life: one that was started anew answers that it knows nothing of the connection.
    async fn stuck(&self, lease: &Lease) -> PeerTrouble {
        let (mut gone, mut heard, mut stuck_for) = (0, None, Duration::ZERO);
        loop {
            sleep(SILENT).await;
            let before = mem::replace(&mut gone, self.gone.load(Ordering::Relaxed));
            stuck_for = if gone == before && gone != ALL { stuck_for + SILENT } else { Duration::ZERO };
            if !stuck_for.is_zero() {
                self.turn.give_back();
            }
            // One that has not begun to leave waits for the streams of others, which has its own end.
            if gone > 0 && stuck_for > ANSWER_DEADLINE {
                return PeerTrouble::Silent { what: "take what it is sent", seconds: stuck_for.as_secs() };
            }
            let before = heard.replace(lease.heard());
            if heard == before {
                lease.prod();
            }
        }
    }
}

/// What all of a request counts as: more than any has.
const ALL: u64 = 1 << 63;
/// When nothing has moved for so long something is wrong. A slow line moves all the time.
const SILENT: Duration = Duration::from_secs(2);

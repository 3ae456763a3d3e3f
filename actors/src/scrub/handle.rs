//! The way to ask how verifying stands, and to have it begin or wait.

use std::time::Duration;

use config::IntegrityConfig;
use proto::Checksum;
use tokio::sync::watch;

use super::message::{ScrubMsg, ScrubStatus};
use crate::{error::ActorError, storage::Proof, supervision::seat::Seat};

/// Asks the scrub actor.
#[derive(Debug, Clone)]
pub struct ScrubHandle {
    seat: Seat<ScrubMsg>,
    configure: watch::Sender<IntegrityConfig>,
}

impl ScrubHandle {
    pub(super) fn new(seat: Seat<ScrubMsg>, configure: watch::Sender<IntegrityConfig>) -> Self {
        Self { seat, configure }
    }

    /// These settings are in force from now on.
    pub fn configure(&self, config: IntegrityConfig) {
        self.configure.send_replace(config);
        self.seat.tell(ScrubMsg::Configured);
    }

    /// How it stands. Brings the gauges up to date.
    pub async fn status(&self) -> Result<ScrubStatus, ActorError> {
        self.seat.call(|slot, reply| ScrubMsg::Status { slot, reply }).await
    }

    /// Everything that is not verified after now is verified next, at the configured rate; ends a pause. Returns when
    /// that is noted.
    pub async fn start(&self) -> Result<ScrubStatus, ActorError> {
        self.seat.call(|slot, reply| ScrubMsg::Start { slot, reply }).await
    }

    /// Nothing is verified for so long, over restarts too. Returns when that is noted.
    ///
    /// Errors with [`ActorError::Conflict`] for more than 31 days: it would be forgotten.
    pub async fn pause(&self, span: Duration) -> Result<ScrubStatus, ActorError> {
        if span > PAUSE_MAX {
            let what = format!("verifying can be paused for at most {} days", PAUSE_MAX.as_secs() / 86_400);
            return Err(ActorError::Conflict { what });
        }
        self.seat.call(|slot, reply| ScrubMsg::Pause { span, slot, reply }).await
    }

    /// Proves that the bytes with this checksum are here, by one group of 16 KiB of them: see
    /// [`SegmentsHandle::prove`](crate::storage::SegmentsHandle::prove). Neither pauses nor the rate keep it waiting.
    ///
    /// Errors with [`ActorError::Busy`] when too many are asked for at once.
    pub async fn prove(&self, checksum: Checksum, group: u32) -> Result<Proof, ActorError> {
        self.seat.call(|slot, reply| ScrubMsg::Prove { checksum, group, slot, reply }).await
    }

    /// Requests waiting or running, and how many there may be.
    pub fn load(&self) -> (usize, usize) {
        (self.seat.gate().taken(), self.seat.gate().limit())
    }

    /// Whether the actor is there and takes messages.
    pub(crate) async fn answers(&self) -> bool {
        self.seat.answers(ScrubMsg::Ping).await
    }

    /// Makes the actor fall.
    #[cfg(feature = "faults")]
    pub fn panic(&self) {
        self.seat.tell(ScrubMsg::Panic);
    }
}

/// The longest pause.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(31 * 86_400);

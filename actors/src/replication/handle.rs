//! The way to have tesserae kept by others.

use futures::{StreamExt, TryStreamExt, stream};
use proto::{TesseraId, placement::Placement};
use tokio::sync::watch;

use super::{
    message::{Order, Progress, ReplicationMsg},
    recover::{Listed, Recovering},
    told::Told,
};
use crate::{
    error::ActorError,
    storage::{JobKind, ReplicationJob},
    supervision::seat::Seat,
};

/// Asks the replication actor.
#[derive(Debug, Clone)]
pub struct ReplicationHandle {
    seat: Seat<ReplicationMsg>,
}

impl ReplicationHandle {
    pub(super) fn new(seat: Seat<ReplicationMsg>) -> Self {
        Self { seat }
    }

    /// Has a tessera kept by other nodes: as many as it takes, or as there are. Returns when that is written down; it goes
    /// on by itself, after a restart too. While it is not finished, asking again returns the same job.
    pub async fn publish(&self, tessera: TesseraId) -> Result<ReplicationJob, ActorError> {
        let order = Order { kind: JobKind::Publish, tessera };
        self.seat.call(|slot, reply| ReplicationMsg::Begin { order, slot, reply }).await
    }

    /// The same under another layout than before, if there are machines enough or few enough for another. What others keep
    /// under the old one goes when they keep it under the new one.
    pub async fn relayout(&self, tessera: TesseraId) -> Result<ReplicationJob, ActorError> {
        let order = Order { kind: JobKind::Relayout, tessera };
        self.seat.call(|slot, reply| ReplicationMsg::Begin { order, slot, reply }).await
    }

    /// Mends a tessera of which something is here: what its holders have lost is rebuilt, and given to them or to others.
    /// Returns when that is written down; it goes on by itself, after a restart too.
    pub async fn repair(&self, tessera: TesseraId) -> Result<ReplicationJob, ActorError> {
        let order = Order { kind: JobKind::Repair, tessera };
        self.seat.call(|slot, reply| ReplicationMsg::Begin { order, slot, reply }).await
    }

    /// Brings a tessera here that others keep. Returns when that is written down; it goes on by itself, after a restart too.
    pub async fn fetch(&self, tessera: TesseraId) -> Result<ReplicationJob, ActorError> {
        let order = Order { kind: JobKind::Fetch, tessera };
        self.seat.call(|slot, reply| ReplicationMsg::Begin { order, slot, reply }).await
    }

    /// Brings everything here that other nodes keep of this node's author: asks all that are known, and those whom these know.
    /// Returns when the jobs that fetch what is not here are written down; asking again goes on where these are.
    pub async fn recover(&self) -> Result<Recovering, ActorError> {
        let found = self.seat.call(|slot, reply| ReplicationMsg::Recoverable { slot, reply }).await?;
        let begun = stream::iter(found.tesseras).map(|Listed { tessera, is_here }| async move {
            let job = if is_here { None } else { Some(self.fetch(tessera).await?.id) };
            Ok::<_, ActorError>((tessera, job))
        });
        let tesseras = begun.buffered(BEGUN_AT_ONCE).try_collect().await?;
        Ok(Recovering { tesseras, left: found.left, asked: found.asked })
    }

    /// Takes a tessera of this node's author back, for ever: every node that keeps any of it is told to drop it. Returns when that
    /// is written down; whoever is not there is told later, over restarts. The copy here stays.
    pub async fn retract(&self, tessera: TesseraId) -> Result<ReplicationJob, ActorError> {
        let order = Order { kind: JobKind::Retract, tessera };
        self.seat.call(|slot, reply| ReplicationMsg::Begin { order, slot, reply }).await
    }

    /// Brings somebody else's tessera here, and looks after it from then on. Returns when that is written down; it goes on by
    /// itself, after a restart too. `forget` ends it.
    pub async fn adopt(&self, tessera: TesseraId) -> Result<ReplicationJob, ActorError> {
        let order = Order { kind: JobKind::Adopt, tessera };
        self.seat.call(|slot, reply| ReplicationMsg::Begin { order, slot, reply }).await
    }

    /// Hands over to other nodes what is kept here for others. Returns when that is written down; it goes on by itself, after a
    /// restart too. That nothing new comes meanwhile is [`Peers::set_leaving`](crate::peers::Peers::set_leaving)'s.
    pub async fn leave(&self) -> Result<ReplicationJob, ActorError> {
        let order = Order { kind: JobKind::Leave, tessera: ReplicationJob::OF_NONE };
        self.seat.call(|slot, reply| ReplicationMsg::Begin { order, slot, reply }).await
    }

    /// How safe a tessera is, by what its holders have claimed and proven lately; `None` when it was never published, as far
    /// as is known here.
    pub async fn safety(&self, tessera: TesseraId) -> Result<Option<Told>, ActorError> {
        self.seat.call(|slot, reply| ReplicationMsg::Safety { tessera, slot, reply }).await
    }

    /// How far a job is, as long as it is under way: the channel ends with it.
    pub async fn watch(&self, id: u64) -> Result<Option<watch::Receiver<Progress>>, ActorError> {
        self.seat.call(|slot, reply| ReplicationMsg::Watch { id, slot, reply }).await
    }

    /// Gives a job up. What was sent stays where it is. `false` when it was not under way.
    pub async fn cancel(&self, id: u64) -> Result<bool, ActorError> {
        self.seat.call(|slot, reply| ReplicationMsg::Cancel { id, slot, reply }).await
    }

    /// Others keep what this node keeps, as it has just heard: whoever of them is not known is met in a moment.
    pub(crate) fn meet(&self, placement: Placement) {
        self.seat.tell(ReplicationMsg::Meet(placement));
    }

    /// Requests waiting or running, and how many there may be.
    pub fn load(&self) -> (usize, usize) {
        (self.seat.gate().taken(), self.seat.gate().limit())
    }

    /// Whether the actor is there and takes messages.
    pub(crate) async fn answers(&self) -> bool {
        self.seat.answers(ReplicationMsg::Ping).await
    }

    /// Makes the actor fall.
    #[cfg(feature = "faults")]
    pub fn panic(&self) {
        self.seat.tell(ReplicationMsg::Panic);
    }
}

/// Jobs that are begun together.
const BEGUN_AT_ONCE: usize = 16;

//! When compactions begin, one at a time, and what becomes of them.

use std::time::Duration;

use ractor::ActorRef;
use tracing::Instrument;

use super::{State, report_damage};
use crate::{
    error::ActorError,
    storage::{
        compact::{Compacted, Compaction, Ended},
        message::{Reply, StorageMsg},
        ops::{Op, Outcome, Submission},
    },
    supervision::gate::Slot,
};

impl State {
    pub(super) fn compact(&mut self, me: &ActorRef<StorageMsg>, reply: Option<(Slot, Reply<Compacted>)>) {
        if self.compacting {
            self.asked.extend(reply);
            return;
        }
        self.compacting = true;
        self.pressure.begun();
        let stuck = self.stuck.clone();
        let writer = me.clone();
        let compaction = Compaction {
            config: self.arguments.config.clone(),
            database: self.database.clone(),
            index: self.index.clone(),
            reader: self.reader.clone(),
            reserve: self.reserve.clone(),
            metrics: self.arguments.metrics.clone(),
            stuck: stuck.clone(),
            wanted: self.pressure.wanted(),
            _lease: self.lease.clone(),
            submit: move |op| submit(writer.clone(), op),
        };
        let me = me.clone();
        tokio::spawn(async move {
            let task = tokio::spawn(compaction.run().instrument(tracing::debug_span!("compaction")));
            let ended = task.await.unwrap_or_else(|error| {
                let outcome = Err(std::io::Error::other(error).into());
                Ended { outcome, stuck, has_room: false, left_over: false }
            });
            // A fallen actor compacts again after its restart.
            let _ = me.send_message(StorageMsg::Compacted { ended: Box::new(ended), reply });
        });
    }

    pub(super) fn compacted(
        &mut self,
        me: &ActorRef<StorageMsg>,
        ended: Ended,
        reply: Option<(Slot, Reply<Compacted>)>,
    ) {
        self.compacting = false;
        self.stuck = ended.stuck;
        let outcome = ended.outcome.map_err(ActorError::or_no_room);
        if let Err(error) = &outcome {
            tracing::warn!(%error, "compaction ended early");
            report_damage(me, Some(error));
        }
        if let Some((_slot, reply)) = reply {
            // A caller that gave up has nothing to be told.
            let _ = reply.send(outcome);
        }
        if self.pressure.ended(ended.has_room, ended.left_over) {
            look_in_a_moment(me);
        }
        if let Some(asked) = self.asked.pop_front() {
            self.compact(me, Some(asked));
        }
    }

    /// There was no room for so many bytes: if anything can be won, it is won now.
    pub(super) fn refused(&mut self, me: &ActorRef<StorageMsg>, bytes: u64) {
        self.pressure.refused(bytes);
        self.relieve(me);
    }

    /// Something counts no more, or may be compacted now.
    pub(super) fn freed(&mut self, me: &ActorRef<StorageMsg>) {
        if self.pressure.freed() {
            look_in_a_moment(me);
        }
    }

    /// A moment after something was freed.
    pub(super) fn look(&mut self, me: &ActorRef<StorageMsg>) {
        self.pressure.looked();
        self.relieve(me);
    }

    fn relieve(&mut self, me: &ActorRef<StorageMsg>) {
        if !self.compacting && self.pressure.calls_for_compaction() {
            self.compact(me, None);
        }
    }
}

fn look_in_a_moment(me: &ActorRef<StorageMsg>) {
    me.send_after(RELIEF_DELAY, || StorageMsg::Relieve);
}

/// Hands an operation to the writer and waits for its end.
pub(super) async fn submit(actor: ActorRef<StorageMsg>, op: Op) -> Result<Outcome, ActorError> {
    let (reply, answer) = ractor::concurrency::oneshot();
    let restarting = || ActorError::Restarting { actor: crate::storage::NAME };
    let submission = Submission { op, reply: reply.into(), _slot: None };
    actor.send_message(StorageMsg::Submit(submission)).map_err(|_| restarting())?;
    answer.await.unwrap_or_else(|_| Err(restarting()))
}

/// How long drops are waited for behind the first one while room is short.
const RELIEF_DELAY: Duration = Duration::from_millis(250);

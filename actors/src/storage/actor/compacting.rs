//! When compactions begin, one at a time, and what becomes of them.

use ractor::ActorRef;

use super::{State, report_damage};
use crate::{
    error::ActorError,
    storage::{
        compact::{Compacted, Compaction},
        message::{Reply, StorageMsg},
        ops::{Op, Outcome, Submission},
    },
    supervision::gate::Slot,
};

impl State {
    pub(super) fn compact(&mut self, me: &ActorRef<StorageMsg>, reply: Option<(Slot, Reply<Compacted>)>) {
        if self.compacting {
            if let Some((_, reply)) = reply {
                // A caller that gave up has nothing to be told.
                let _ = reply.send(Err(ActorError::Busy { actor: "compaction", limit: 1 }));
            }
            return;
        }
        self.compacting = true;
        let writer = me.clone();
        let compaction = Compaction {
            config: self.arguments.config.clone(),
            database: self.database.clone(),
            index: self.index.clone(),
            reader: self.reader.clone(),
            metrics: self.arguments.metrics.clone(),
            stuck: self.stuck.clone(),
            _lease: self.lease.clone(),
            submit: move |op| submit(writer.clone(), op),
        };
        let me = me.clone();
        tokio::spawn(async move {
            let task = tokio::spawn(compaction.run());
            let outcome = task.await.unwrap_or_else(|error| Err(std::io::Error::other(error).into()));
            // A fallen actor compacts again after its restart.
            let _ = me.send_message(StorageMsg::Compacted { outcome, reply });
        });
    }

    pub(super) fn compacted(
        &mut self,
        me: &ActorRef<StorageMsg>,
        outcome: Result<Compacted, ActorError>,
        reply: Option<(Slot, Reply<Compacted>)>,
    ) {
        self.compacting = false;
        let outcome = outcome.map_err(ActorError::or_no_room);
        match &outcome {
            Ok(done) => self.stuck.clone_from(&done.stuck),
            Err(error) => {
                tracing::warn!(%error, "compaction ended early");
                report_damage(me, Some(error));
            }
        }
        if let Some((_slot, reply)) = reply {
            // A caller that gave up has nothing to be told.
            let _ = reply.send(outcome);
        }
    }
}

/// Hands an operation to the writer and waits for its end.
async fn submit(actor: ActorRef<StorageMsg>, op: Op) -> Result<Outcome, ActorError> {
    let (reply, answer) = ractor::concurrency::oneshot();
    let restarting = || ActorError::Restarting { actor: crate::storage::NAME };
    let submission = Submission { op, reply: reply.into(), _slot: None };
    actor.send_message(StorageMsg::Submit(submission)).map_err(|_| restarting())?;
    answer.await.unwrap_or_else(|_| Err(restarting()))
}

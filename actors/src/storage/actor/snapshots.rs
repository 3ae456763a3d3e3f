//! When snapshots are taken of what only the index knows.

use std::{path::PathBuf, time::Instant};

use ractor::ActorRef;

use super::{State, report_damage};
use crate::{
    clock,
    error::ActorError,
    storage::{
        message::{Reply, StorageMsg},
        snapshot,
    },
    supervision::gate::Slot,
};

impl State {
    /// Takes one if it is time for it, or somebody asks for one.
    pub(super) fn snapshot(&mut self, me: &ActorRef<StorageMsg>, asked: Option<(Slot, Reply<PathBuf>)>) {
        if asked.is_none() && Instant::now() < self.snapshot_at {
            return;
        }
        self.snapshot_at = Instant::now() + self.arguments.config.snapshot_interval;
        let (config, disk) = (self.arguments.config.clone(), self.arguments.disk.clone());
        let metrics = self.arguments.metrics.clone();
        let (lending, index, turn, me) =
            (self.lending.clone(), self.index.clone(), self.snapshots.clone(), me.clone());
        tokio::spawn(async move {
            // One at a time, and of all that was acknowledged before it was asked for.
            let mut last = turn.lock().await;
            let taken = async {
                let stamp = index.as_it_is(async |index| snapshot::stamp(index).await).await?;
                if *last == Some(stamp) {
                    return newest(&config);
                }
                let taken = snapshot::take(&config, &disk, &lending, clock::now_ms()).await?;
                *last = Some(stamp);
                if let Some(written) = taken.as_ref().and_then(|path| path.metadata().ok()) {
                    metrics.kept_aside(written.len());
                }
                taken.map_or_else(|| newest(&config), Ok)
            };
            let taken = taken.await;
            if let Err(error) = &taken {
                tracing::warn!(%error, "what only the index knows could not be kept aside: it is tried again");
                report_damage(&me, Some(error));
            }
            if let Some((_slot, reply)) = asked {
                // A caller that gave up has nothing to be told.
                let _ = reply.send(taken);
            }
        });
    }
}

fn newest(config: &config::StorageConfig) -> Result<PathBuf, ActorError> {
    let newest = snapshot::all(config)?.into_iter().next();
    newest.map(|snapshot| snapshot.path).ok_or_else(|| ActorError::not_found("a snapshot of the index"))
}

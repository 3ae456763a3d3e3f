//! When snapshots are taken of what only the index knows.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use ractor::ActorRef;

use super::{State, report_damage};
use crate::{
    clock,
    storage::{
        message::{Reply, StorageMsg},
        notes::Note,
        ops::Op,
        snapshot::{self, Stamp},
    },
    supervision::gate::Slot,
};

/// What is known of the last snapshot that this process took.
#[derive(Debug, Default)]
pub(super) struct LastSnapshot {
    /// What it is of.
    stamp: Option<Stamp>,
    /// When the next one is due, if anything has changed. Soon after the start: a machine may never run for as long as
    /// the interval.
    next_at: Option<Instant>,
}

impl State {
    /// What is about to be noted may have to be in a snapshot soon.
    pub(super) fn note_haste(&mut self, op: &Op) {
        let Op::Note(notes) = op else { return };
        let within = notes.iter().filter_map(Note::keep_aside_within).min();
        let by = within.map(|within| Instant::now() + within);
        self.snapshot_by = self.snapshot_by.into_iter().chain(by).min();
    }

    /// Takes one if it is time for it, or somebody asks for one.
    pub(super) fn snapshot(&mut self, me: &ActorRef<StorageMsg>, asked: Option<(Slot, Reply<PathBuf>)>) {
        let (config, disk) = (self.arguments.config.clone(), self.arguments.disk.clone());
        let metrics = self.arguments.metrics.clone();
        let (lending, index, turn, me) =
            (self.lending.clone(), self.index.clone(), self.snapshots.clone(), me.clone());
        let is_hurried = self.snapshot_by.take_if(|by| *by <= Instant::now()).is_some();
        tokio::spawn(async move {
            // One at a time, and of all that was acknowledged before it was asked for.
            let mut last = turn.lock().await;
            if asked.is_none() && !is_hurried && last.next_at.is_some_and(|at| Instant::now() < at) {
                return;
            }
            let taken = async {
                let stamp = index.as_it_is(async |index| snapshot::stamp(index).await).await?;
                if last.stamp == Some(stamp)
                    && let Some(path) = snapshot::newest_if_whole(&config).await?
                {
                    return Ok(path);
                }
                let taken = snapshot::take(&config, &disk, &lending, clock::now_ms()).await?;
                last.stamp = Some(stamp);
                if let Some(written) = taken.as_ref().and_then(|path| path.metadata().ok()) {
                    metrics.kept_aside(written.len());
                }
                match taken {
                    Some(path) => Ok(path),
                    None => snapshot::unchanged(&config).await,
                }
            };
            let taken = taken.await;
            let wait =
                if taken.is_ok() { config.snapshot_interval } else { RETRY.min(config.snapshot_interval) };
            last.next_at = Some(Instant::now() + wait);
            if let Err(error) = &taken {
                let retry_in_secs = wait.as_secs();
                tracing::warn!(%error, retry_in_secs, "what only the index knows could not be kept aside");
                report_damage(&me, Some(error));
            }
            if let Some((_slot, reply)) = asked {
                // A caller that gave up has nothing to be told.
                let _ = reply.send(taken);
            }
        });
    }
}

/// The disk may have room again, and others write less.
const RETRY: Duration = Duration::from_secs(600);

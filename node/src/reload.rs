//! Reading the settings again while the daemon runs: all or nothing.
//!
//! # Invariants
//! 1. What is read is what was read at the start: the file as it is now, the environment and the flags as they were.
//! 2. If anything in it is wrong nothing changes, and every mistake is named.
//! 3. One at a time: whoever asks meanwhile waits, and then the file is read once more.
//! 4. Every setting has a row in [`REACH`], which says whether it can change now or waits for a restart.
//! 5. Who asked may go: what was begun comes to its end.

use std::sync::{Arc, PoisonError, RwLock};

use actors::scrub::ScrubHandle;
use config::{Config, Loaded, Setting, Sources};
use tokio::sync::Mutex;

use crate::{
    admin::{events::Events, socket::group_must_exist},
    api,
    problem::{Kind, Problem},
    service,
    telemetry::log::Log,
};

/// What settings are put into while the node runs.
#[derive(Debug)]
pub(crate) struct Running {
    /// The log of this process.
    pub(crate) log: Log,
    /// What verifies what is stored.
    pub(crate) scrub: ScrubHandle,
    /// Where it is told what has changed.
    pub(crate) events: Events,
}

/// The settings of a daemon: those in force, and those that wait.
#[derive(Debug)]
pub(crate) struct Reload {
    sources: Sources,
    running: Running,
    /// Held while they are read and applied.
    turn: Mutex<()>,
    known: RwLock<Known>,
}

/// What is known of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    /// Each that is in force, and what takes its place at the next start if that differs.
    settings: Vec<(Setting, Option<Setting>)>,
}

impl Reload {
    /// Of a daemon that was started with these settings, from these sources.
    pub(crate) fn new(sources: Sources, loaded: &Loaded, running: Running) -> Self {
        let settings = loaded.show().map(|setting| (setting.clone(), None)).collect();
        Self { sources, running, turn: Mutex::new(()), known: RwLock::new(Known { settings }) }
    }

    /// Every setting: what is in force, and what waits for a restart.
    pub(crate) fn settings(&self) -> Vec<api::Setting> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let one = |(now, waiting): &(Setting, Option<Setting>)| api::Setting::new(now, waiting.as_ref());
        known.settings.iter().map(one).collect()
    }

    /// Reads the settings again, asked `by` whom. Fails with [`Kind::BadConfig`], naming all that is wrong. What comes
    /// of it is logged, too.
    pub(crate) async fn run(self: &Arc<Self>, by: &'static str) -> Result<api::Reloaded, Problem> {
        let this = Arc::clone(self);
        // In a task of its own, so that a caller who hangs up leaves nothing half done.
        tokio::spawn(async move { this.in_turn(by).await })
            .await
            .map_err(|error| Problem::new(Kind::Internal, format!("the reload fell: {error}")))?
    }

    /// The only place that reloads. The service manager is told when that begins, and when it has ended, well or not.
    async fn in_turn(&self, by: &'static str) -> Result<api::Reloaded, Problem> {
        let _turn = self.turn.lock().await;
        service::reloading();
        tracing::info!(by, "reading the settings again");
        let outcome = match self.read().await {
            Ok(loaded) => Ok(self.apply(&loaded)),
            Err(problem) => Err(problem),
        };
        self.running.events.tell(happening(&outcome));
        if let Err(problem) = &outcome {
            for mistake in problem.detail.lines() {
                tracing::error!(mistake, "no setting is changed");
            }
        }
        service::ready();
        outcome
    }

    async fn read(&self) -> Result<Loaded, Problem> {
        let sources = self.sources.clone();
        let read = tokio::task::spawn_blocking(move || {
            let wrong = |mistakes: String| Problem::new(Kind::BadConfig, mistakes);
            let loaded = config::load(&sources).map_err(|errors| wrong(errors.to_string()))?;
            // The next start would fail.
            group_must_exist(&loaded).map_err(|failure| wrong(failure.to_string()))?;
            Ok(loaded)
        });
        read.await.map_err(|error| {
            Problem::new(Kind::Internal, format!("the settings could not be read: {error}"))
        })?
    }

    fn apply(&self, loaded: &Loaded) -> api::Reloaded {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let written: Vec<Setting> = loaded.show().cloned().collect();
        let (next, changes) = known.followed_by(&written, |key| matches!(reach(key), Reach::Live(_)));
        // Said first: a log that is about to grow quiet would not say it any more.
        for change in &changes {
            tracing::info!(key = change.key, old = %change.old, new = %change.new, outcome = %change.outcome, "a setting has changed");
        }
        for change in changes.iter().filter(|change| change.outcome == api::ChangeOutcome::Applied) {
            if let Reach::Live(apply) = reach(&change.key) {
                apply(&self.running, &loaded.config);
            }
        }
        *known = next;
        let waiting = known.settings.iter().filter(|(_, waiting)| waiting.is_some()).count();
        tracing::debug!(settings = known.settings.len(), waiting, "these are known now");
        tracing::info!(changes = changes.len(), "the settings have been read again");
        api::Reloaded { file: loaded.file.as_ref().map(|file| file.display().to_string()), changes }
    }
}

fn happening(outcome: &Result<api::Reloaded, Problem>) -> api::Happening {
    match outcome {
        Ok(api::Reloaded { changes, .. }) => {
            let keys = |changes: &mut dyn Iterator<Item = &api::Change>| {
                changes.map(|change| change.key.clone()).collect()
            };
            let waits = |change: &&api::Change| change.outcome == api::ChangeOutcome::NeedsRestart;
            api::Happening::ConfigReloaded {
                changed: keys(&mut changes.iter()),
                after_restart: keys(&mut changes.iter().filter(waits)),
            }
        }
        Err(problem) => api::Happening::ConfigRefused { reason: problem.detail.clone() },
    }
}

impl Known {
    /// What is known once these are written, where some can change at once; and what has changed against what is in
    /// force.
    fn followed_by(&self, written: &[Setting], is_live: impl Fn(&str) -> bool) -> (Self, Vec<api::Change>) {
        let mut changes = Vec::new();
        let mut settings = Vec::new();
        for (now, _) in &self.settings {
            let Some(new) = written.iter().find(|new| new.key == now.key) else { continue };
            if new.value == now.value {
                // Written elsewhere, perhaps.
                settings.push((new.clone(), None));
            } else if is_live(now.key) {
                changes.push(api::Change::new(now, new, api::ChangeOutcome::Applied));
                settings.push((new.clone(), None));
            } else {
                changes.push(api::Change::new(now, new, api::ChangeOutcome::NeedsRestart));
                settings.push((now.clone(), Some(new.clone())));
            }
        }
        (Self { settings }, changes)
    }
}

/// What a change of a setting does to a node that runs.
#[derive(Clone, Copy)]
enum Reach {
    /// It is in force at once: this is how.
    Live(fn(&Running, &Config)),
    /// It waits for the next start.
    NeedsRestart,
}

fn reach(key: &str) -> Reach {
    REACH.iter().find(|(name, _)| *name == key).map_or(Reach::NeedsRestart, |(_, reach)| *reach)
}

/// Every setting, and what a change of it does. Whoever makes one live changes its row and nothing else here.
const REACH: &[(&str, Reach)] = &[
    ("node.profile", Reach::NeedsRestart),
    ("node.data_dir", Reach::NeedsRestart),
    ("node.capacity", Reach::NeedsRestart),
    ("node.listen_addr", Reach::NeedsRestart),
    ("admin.socket", Reach::NeedsRestart),
    ("admin.socket_group", Reach::NeedsRestart),
    ("network.peers", Reach::NeedsRestart),
    ("network.announce", Reach::NeedsRestart),
    ("network.accept", Reach::NeedsRestart),
    ("network.hold", Reach::NeedsRestart),
    ("network.upload", Reach::NeedsRestart),
    ("network.download", Reach::NeedsRestart),
    ("network.dials_per_minute", Reach::NeedsRestart),
    ("network.max_concurrent_handshakes", Reach::NeedsRestart),
    ("performance.sqlite_cache_size_kb", Reach::NeedsRestart),
    ("performance.sqlite_synchronous_full", Reach::NeedsRestart),
    ("performance.sqlite_busy_timeout_ms", Reach::NeedsRestart),
    ("performance.sqlite_wal_autocheckpoint_pages", Reach::NeedsRestart),
    ("performance.fragment_cache_size_mb", Reach::NeedsRestart),
    ("performance.memory_budget_mb", Reach::NeedsRestart),
    ("performance.pool_max_connections", Reach::NeedsRestart),
    ("performance.pool_idle_timeout_secs", Reach::NeedsRestart),
    ("performance.pool_reaper_interval_secs", Reach::NeedsRestart),
    ("storage.segment_size", Reach::NeedsRestart),
    ("storage.min_free", Reach::NeedsRestart),
    ("storage.compact_below", Reach::NeedsRestart),
    ("storage.snapshot_interval", Reach::NeedsRestart),
    ("storage.snapshots", Reach::NeedsRestart),
    ("integrity.verify_within", VERIFYING),
    ("integrity.scrub_rate", VERIFYING),
    ("integrity.quiet_hours", VERIFYING),
    ("integrity.prove_within", Reach::NeedsRestart),
    ("replication.layout", Reach::NeedsRestart),
    ("replication.survive", Reach::NeedsRestart),
    ("replication.max_overhead", Reach::NeedsRestart),
    ("replication.max_concurrent_transfers", Reach::NeedsRestart),
    ("replication.repair_interval", Reach::NeedsRestart),
    ("replication.repair_jitter", Reach::NeedsRestart),
    ("replication.repair_grace", Reach::NeedsRestart),
    ("replication.repair_margin", Reach::NeedsRestart),
    ("replication.repair_per_day", Reach::NeedsRestart),
    ("replication.max_storage_per_peer", Reach::NeedsRestart),
    ("replication.accept_deficit", Reach::NeedsRestart),
    ("observability.metrics_addr", Reach::NeedsRestart),
    ("observability.otlp_endpoint", Reach::NeedsRestart),
    ("observability.otlp_trace_ratio", Reach::NeedsRestart),
    ("observability.log_format", Reach::NeedsRestart),
    (
        "observability.log_level",
        Reach::Live(|running, config| running.log.set_level(config.observability.log_level)),
    ),
];

const VERIFYING: Reach = Reach::Live(|running, config| running.scrub.configure(config.integrity.clone()));

#[cfg(test)]
mod tests {
    use config::{Origin, Place};

    use super::*;

    fn setting(key: &'static str, value: &str, variable: &str) -> Setting {
        let origin = Origin::Written(Place::Env(variable.to_owned()));
        Setting { key, value: value.to_owned(), origin, meaning: "" }
    }

    fn started(settings: &[Setting]) -> Known {
        Known { settings: settings.iter().map(|setting| (setting.clone(), None)).collect() }
    }

    #[test]
    fn every_setting_says_how_far_a_change_reaches() {
        let exist: Vec<&str> = config::defaults().iter().map(|setting| setting.key).collect();
        let rows: Vec<&str> = REACH.iter().map(|(key, _)| *key).collect();
        assert_eq!(rows, exist, "REACH has a row for each setting, in the order in which they are shown");
    }

    #[test]
    fn change_is_applied_or_waits() {
        let (level, size) = (setting("a.level", "1", "A"), setting("a.size", "1", "A"));
        let known = started(&[level.clone(), size.clone()]);
        let is_live = |key: &str| key == "a.level";
        let (louder, larger) = (setting("a.level", "2", "B"), setting("a.size", "2", "B"));
        let (next, changes) = known.followed_by(&[louder.clone(), larger.clone()], is_live);
        assert_eq!(next.settings, [(louder.clone(), None), (size.clone(), Some(larger))]);
        let outcomes: Vec<_> = changes.iter().map(|change| (change.key.as_str(), change.outcome)).collect();
        assert_eq!(
            outcomes,
            [("a.level", api::ChangeOutcome::Applied), ("a.size", api::ChangeOutcome::NeedsRestart)]
        );
        // Back to what is in force: nothing waits any more, and where it is written now is known.
        let back = setting("a.size", "1", "C");
        let (last, changes) = next.followed_by(&[louder.clone(), back.clone()], is_live);
        assert_eq!((last.settings, changes), (vec![(louder, None), (back, None)], Vec::new()));
    }

    #[test]
    fn change_that_waits_is_named_until_the_restart() {
        let (size, larger) = (setting("a.size", "1", "A"), setting("a.size", "2", "B"));
        let (next, first) = started(&[size]).followed_by(std::slice::from_ref(&larger), |_| false);
        let (_, second) = next.followed_by(&[larger], |_| false);
        assert_eq!(first, second);
        assert_eq!((&second[0].old, &second[0].new), (&1.into(), &2.into()));
    }
}

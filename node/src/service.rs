//! The service manager, systemd: it is told how the daemon fares, over the socket that NOTIFY_SOCKET names
//! (`sd_notify(3)`). Without that variable nothing here does anything.
//!
//! # Invariants
//! 1. The manager hears of readiness when the listeners serve, and not before.
//! 2. The watchdog is fed only when every actor has just answered, or is being started again by a supervisor that has.
//!    Whoever only looks alive is ended and started anew; an index that is made anew takes as long as it takes.
//! 3. A manager that cannot be told is logged, and otherwise passed over: the node does not depend on it.

use std::time::Duration;

use actors::{System, supervision::Standing};
use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// The start has begun. It takes long where the index is made anew.
pub(crate) fn starting() {
    tell(&[NotifyState::Status("opening the storage")]);
}

/// The listeners serve; or a reload is complete, whatever came of it.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status(READY)]);
}

/// The settings are about to be read again; [`ready`] has to follow. A manager that asked for it tells by the time
/// that this is the answer (`Type=notify-reload`).
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now, NotifyState::Status("reading the settings again")]),
        Err(error) => tracing::warn!(%error, "the service manager is not told of the reload"),
    }
}

/// The drain begins, because of this failure or because it was asked for.
pub(crate) fn stopping(failure: Option<&Failure>) {
    let status = failure.map_or_else(|| "stopping".to_owned(), |failure| format!("stopping: {failure}"));
    tell(&[NotifyState::Stopping, NotifyState::Status(&status)]);
}

/// Feeds the watchdog, if the manager keeps one, until the drain begins; from then on it does not wait for that.
pub(crate) fn feed_watchdog(system: System, draining: CancellationToken) {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    let every = (patience / 2).max(INTERVAL_MIN);
    tokio::spawn(async move {
        let feeding = feed(&system, every);
        tokio::select! {
            () = draining.cancelled() => {}
            () = feeding => {}
        }
    });
}

async fn feed(system: &System, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Roll::default();
    loop {
        ticks.tick().await;
        let starting = being_started(&system.standing.borrow());
        // A wait that is as long as half of the interval leaves the manager a quarter of its patience.
        let silent = system.silent(every / 2).await;
        let roll = Roll::of(silent, &starting, &being_started(&system.standing.borrow()));
        if roll != before {
            let status = roll.status();
            match roll.feeds() {
                true => tracing::info!(status, "the watchdog is fed"),
                false => tracing::warn!(
                    status,
                    "the watchdog is not fed: the service manager may end this process"
                ),
            }
            tell(&[NotifyState::Status(&status)]);
        }
        if roll.feeds() {
            tell(&[NotifyState::Watchdog]);
        }
        before = roll;
    }
}

/// Those that the supervisor starts again, unless it has given up.
fn being_started(standing: &Standing) -> Vec<&'static str> {
    let down = standing.actors.iter().filter(|actor| !actor.running && standing.fatal.is_none());
    down.map(|actor| actor.name).collect()
}

/// Who did not answer when all were asked.
#[derive(Debug, Default, PartialEq, Eq)]
struct Roll {
    /// Being started again.
    starting: Vec<&'static str>,
    /// The others.
    stuck: Vec<&'static str>,
}

impl Roll {
    /// Of those that did not answer, and of those that were being started before and after they were asked.
    fn of(silent: Vec<&'static str>, before: &[&'static str], after: &[&'static str]) -> Self {
        let (starting, stuck) =
            silent.into_iter().partition(|name| before.contains(name) || after.contains(name));
        Self { starting, stuck }
    }

    /// Whether the watchdog is fed.
    fn feeds(&self) -> bool {
        self.stuck.is_empty()
    }

    /// How the daemon fares.
    fn status(&self) -> String {
        match (self.stuck.as_slice(), self.starting.as_slice()) {
            ([], []) => READY.to_owned(),
            ([], starting) => format!("starting again: {}", starting.join(", ")),
            (stuck, _) => format!("no answer from {}", stuck.join(", ")),
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, ?states, "the service manager cannot be told");
    }
}

const READY: &str = "ready";
/// Keeps the actors free for others when the manager has next to no patience.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use actors::supervision::ActorStatus;

    use super::*;

    #[track_caller]
    fn check(silent: &[&'static str], starting: [&[&'static str]; 2], feeds: bool, status: &str) {
        let roll = Roll::of(silent.to_vec(), starting[0], starting[1]);
        assert_eq!((roll.feeds(), roll.status().as_str()), (feeds, status));
    }

    #[test]
    fn watchdog_is_fed_only_when_every_actor_answers_or_is_being_started() {
        check(&[], [&[], &[]], true, "ready");
        check(&["cache"], [&[], &[]], false, "no answer from cache");
        check(&["storage", "cache"], [&[], &[]], false, "no answer from storage, cache");
        check(&["storage"], [&["storage"], &["storage"]], true, "starting again: storage");
        check(&["storage"], [&["storage"], &[]], true, "starting again: storage");
        check(&["storage"], [&[], &["storage"]], true, "starting again: storage");
        check(&["storage", "supervisor"], [&["storage"], &["storage"]], false, "no answer from supervisor");
    }

    #[test]
    fn actor_of_a_supervisor_that_gave_up_is_not_being_started() {
        let actor =
            |name, running| ActorStatus { name, running, restarts: 1, last_fall: None, last_fall_ms: None };
        let mut standing =
            Standing { actors: vec![actor("storage", false), actor("cache", true)], fatal: None };
        assert_eq!(being_started(&standing), ["storage"]);
        standing.fatal = Some("storage fell too often".to_owned());
        assert!(being_started(&standing).is_empty());
    }
}

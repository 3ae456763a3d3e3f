//! The service manager, systemd: it is told how the daemon fares, over the socket that NOTIFY_SOCKET names
//! (`sd_notify(3)`). Without that variable nothing here does anything.
//!
//! # Invariants
//! 1. The manager hears of readiness when the listeners serve, and not before.
//! 2. The watchdog is fed only when every actor has just answered. Whoever only looks alive is ended and started anew.
//! 3. A manager that cannot be told is logged, and otherwise passed over: the node does not depend on it.

use std::time::Duration;

use actors::System;
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

/// The settings are about to be read again; [`ready`] has to follow. A manager that asked for it (`Type=notify-reload`)
/// tells by the time that this is the answer.
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
    let mut silent = Vec::new();
    loop {
        ticks.tick().await;
        let silent_before = silent;
        // A wait that is as long as half of the interval leaves the manager a quarter of its patience.
        silent = system.silent(every / 2).await;
        let beat = Beat::after(&silent_before, &silent);
        if let Some(status) = &beat.status {
            match beat.feeds {
                true => tracing::info!("every actor answers again"),
                false => tracing::warn!(
                    status,
                    "the watchdog is not fed: the service manager may end this process"
                ),
            }
            tell(&[NotifyState::Status(status)]);
        }
        if beat.feeds {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

/// What the manager is told after the actors were asked.
#[derive(Debug, PartialEq, Eq)]
struct Beat {
    /// Whether the watchdog is fed.
    feeds: bool,
    /// How the daemon fares, if that has changed.
    status: Option<String>,
}

impl Beat {
    /// For the actors that did not answer the last time and this time.
    fn after(silent_before: &[&str], silent: &[&str]) -> Self {
        let status = || match silent {
            [] => READY.to_owned(),
            _ => format!("no answer from {}", silent.join(", ")),
        };
        Self { feeds: silent.is_empty(), status: (silent != silent_before).then(status) }
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
    use super::*;

    #[track_caller]
    fn check(silent_before: &[&str], silent: &[&str], feeds: bool, status: Option<&str>) {
        let status = status.map(str::to_owned);
        assert_eq!(Beat::after(silent_before, silent), Beat { feeds, status });
    }

    #[test]
    fn watchdog_is_fed_only_when_every_actor_answers() {
        check(&[], &[], true, None);
        check(&[], &["cache"], false, Some("no answer from cache"));
        check(&["cache"], &["cache"], false, None);
        check(&["cache"], &["storage", "cache"], false, Some("no answer from storage, cache"));
        check(&["cache"], &[], true, Some("ready"));
    }
}

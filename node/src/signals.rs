//! The signals that end the daemon, and the one that makes it read its settings again.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{exit::Exit, failure::Failure, output::is_watched, problem::Kind};

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on both are waited for, and no longer end the process by themselves.
    pub(crate) fn listen() -> Result<Self, Failure> {
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// The name of the next one.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Ends the process at the next one, whatever it is doing.
    pub(crate) fn exit_at_the_next(mut self) {
        tokio::spawn(async move {
            let signal = self.next().await;
            tracing::warn!(signal, "a second signal: leaving at once; the next start recovers");
            std::process::exit(Exit::Failure.code().into());
        });
    }
}

/// SIGHUP.
#[derive(Debug)]
pub(crate) struct Hangups {
    hangup: Signal,
    /// Whether a person was watching when it was first listened for.
    was_watched: bool,
}

/// What a SIGHUP means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hangup {
    /// Somebody asks that the settings be read again.
    Reload,
    /// The terminal that the daemon was started in is gone, and whoever closed it means the daemon, too.
    TerminalGone,
}

impl Hangups {
    /// From here on it is waited for, and no longer ends the process by itself. One that comes before the first
    /// [`Self::next`] is kept.
    pub(crate) fn listen() -> Result<Self, Failure> {
        Ok(Self { hangup: listen(SignalKind::hangup())?, was_watched: is_watched() })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Hangup {
        self.hangup.recv().await;
        // The kernel sends the same signal for both; a terminal that is gone is none any more.
        if self.was_watched && !is_watched() { Hangup::TerminalGone } else { Hangup::Reload }
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::new(Kind::Internal, format!("no signals can be received: {error}")))
}

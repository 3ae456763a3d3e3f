//! The log: on standard error, for a person or as JSON. Our own crates log at the configured level, all others only
//! what is wrong, unless everything is asked for.

use std::io;

use config::{LogFormat, LogLevel, ObservabilityConfig};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Registry, filter::Targets, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// The log of this process.
#[derive(Debug)]
pub(crate) struct Log {
    filter: reload::Handle<Targets, Registry>,
}

impl Log {
    /// From here on, lines of at least this importance are written.
    pub(crate) fn set_level(&self, level: LogLevel) {
        if let Err(error) = self.filter.reload(filter(level)) {
            tracing::warn!(%error, "the level of the log stays as it was");
        }
    }
}

/// Starts the log of this process, in colours if they are wanted. Further calls change nothing: there is one standard
/// error.
pub(crate) fn start(config: &ObservabilityConfig, colored: bool) -> Log {
    let (filter, handle) = reload::Layer::new(filter(config.log_level));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let started = match config.log_format {
        LogFormat::Text => registry.with(layer.with_target(false).with_ansi(colored)).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "the log was started before");
    }
    Log { filter: handle }
}

fn filter(level: LogLevel) -> Targets {
    let ours = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => return Targets::new().with_default(LevelFilter::TRACE),
    };
    let others = ours.min(LevelFilter::WARN);
    Targets::new().with_default(others).with_targets(OUR_CRATES.map(|name| (name, ours)))
}

const OUR_CRATES: [&str; 4] = ["proto", "config", "actors", "node"];

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn other_crates_only_say_what_is_wrong() {
        let filter = filter(LogLevel::Debug);
        assert!(filter.would_enable("actors::storage", &Level::DEBUG));
        assert!(!filter.would_enable("sqlx::query", &Level::INFO));
        assert!(filter.would_enable("sqlx::query", &Level::WARN));
        assert!(!super::filter(LogLevel::Error).would_enable("sqlx::query", &Level::WARN));
        assert!(super::filter(LogLevel::Trace).would_enable("sqlx::query", &Level::TRACE));
    }
}

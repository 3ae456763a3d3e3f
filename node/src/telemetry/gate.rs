//! What is recorded at all. Our own crates log at the configured level, all others only what is wrong, unless everything
//! is asked for. Spans there are only for a collector.

use config::LogLevel;
use tracing::{Level, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::Targets, layer::Context};

/// Lets through what is to be recorded.
#[derive(Debug)]
pub(super) struct Gate {
    events: Targets,
    spans: Targets,
}

impl Gate {
    /// For a log of this level, and for whoever wants spans.
    pub(super) fn new(level: LogLevel, with_spans: bool) -> Self {
        let spans = if with_spans { LevelFilter::DEBUG } else { LevelFilter::OFF };
        Self { events: events(level), spans: ours(spans) }
    }

    fn lets_through(&self, is_span: bool, target: &str, level: &Level) -> bool {
        if is_span { &self.spans } else { &self.events }.would_enable(target, level)
    }
}

impl<S: Subscriber> Layer<S> for Gate {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.lets_through(metadata.is_span(), metadata.target(), metadata.level())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let highest = |targets: &Targets| targets.iter().map(|(_, level)| level).max();
        let default = self.events.default_level();
        [highest(&self.events), highest(&self.spans), default].into_iter().flatten().max()
    }
}

/// Our own crates at this level, and nothing of others.
pub(super) fn ours(level: LevelFilter) -> Targets {
    Targets::new().with_default(LevelFilter::OFF).with_targets(OUR_CRATES.map(|name| (name, level)))
}

fn events(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => return Targets::new().with_default(LevelFilter::TRACE),
    };
    ours(own).with_default(own.min(LevelFilter::WARN)).with_target(SOCKETS, LevelFilter::ERROR)
}

const OUR_CRATES: [&str; 4] = ["proto", "config", "actors", "node"];

/// Warns of each packet that the system does not send, in the system's words. Whoever dials there says so in ours.
const SOCKETS: &str = "quinn_udp";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_crates_only_say_what_is_wrong() {
        let event = |log, target: &str, level| Gate::new(log, true).lets_through(false, target, &level);
        assert!(event(LogLevel::Debug, "actors::storage", Level::DEBUG));
        assert!(!event(LogLevel::Debug, "sqlx::query", Level::INFO));
        assert!(event(LogLevel::Debug, "sqlx::query", Level::WARN));
        assert!(!event(LogLevel::Error, "sqlx::query", Level::WARN));
        assert!(!event(LogLevel::Debug, "quinn_udp", Level::WARN));
        assert!(
            event(LogLevel::Error, "quinn_udp", Level::ERROR)
                && event(LogLevel::Trace, "quinn_udp", Level::WARN)
        );
        assert!(event(LogLevel::Trace, "sqlx::query", Level::TRACE));
    }

    #[test]
    fn spans_are_for_a_collector_only_and_whatever_the_log_wants() {
        for log in [LogLevel::Error, LogLevel::Trace] {
            let span = |with, target: &str| Gate::new(log, with).lets_through(true, target, &Level::DEBUG);
            assert!(span(true, "actors::storage::stages"));
            assert!(!span(true, "hyper::proto") && !span(false, "actors::storage::stages"));
        }
    }

    #[test]
    fn hint_is_the_highest_level_that_is_let_through() {
        let hint = |log, with| Layer::<tracing_subscriber::Registry>::max_level_hint(&Gate::new(log, with));
        assert_eq!(hint(LogLevel::Error, false), Some(LevelFilter::ERROR));
        assert_eq!(hint(LogLevel::Info, false), Some(LevelFilter::INFO));
        assert_eq!(hint(LogLevel::Info, true), Some(LevelFilter::DEBUG));
        assert_eq!(hint(LogLevel::Trace, false), Some(LevelFilter::TRACE));
    }
}

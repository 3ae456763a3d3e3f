//! The log: on standard error, for a person or as JSON. Our own crates log at the configured level, all others only
//! what is wrong, unless everything is asked for.
//!
//! # Invariants
//! 1. Nothing secret at any level: no keys, and of private tesserae neither titles nor names of files.
//! 2. One line for each event, whatever is in it (`line`), and not the same again and again (`repeats`).

use std::io;

use config::{LogFormat, LogLevel, ObservabilityConfig};
use tracing::{Dispatch, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry, filter::Targets, fmt::MakeWriter, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use super::{line, repeats::Repeats};

/// The log of this process.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    filter: reload::Handle<Targets, Registry>,
    repeats: Repeats,
}

impl Log {
    /// From here on, lines of at least this importance are written.
    pub(crate) fn set_level(&self, level: LogLevel) {
        if let Err(error) = self.filter.reload(filter(level)) {
            tracing::warn!(%error, "the level of the log stays as it was");
        }
    }

    /// Says what is still to be said. For the end of the process.
    pub(crate) fn finish(&self) {
        self.repeats.tell_all();
    }
}

/// Starts the log of this process, in colours if they are wanted. Further calls change nothing: there is one standard
/// error.
pub(crate) fn start(config: &ObservabilityConfig, colored: bool) -> Log {
    let (subscriber, log) = subscriber(config, colored, io::stderr);
    if let Err(error) = subscriber.try_init() {
        tracing::debug!(%error, "the log was started before");
    }
    log
}

fn subscriber<W>(config: &ObservabilityConfig, colored: bool, writer: W) -> (impl Into<Dispatch>, Log)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter(config.log_level));
    let repeats = Repeats::default();
    let layer = tracing_subscriber::fmt::layer();
    let layer = match config.log_format {
        LogFormat::Text => {
            layer.with_target(false).with_ansi(colored).fmt_fields(line::fields()).with_writer(writer).boxed()
        }
        LogFormat::Json => layer.json().with_writer(line::Json(writer)).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(repeats.clone()).with(layer);
    (subscriber, Log { filter: handle, repeats })
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
    use std::sync::{Arc, Mutex};

    use tracing::Level;

    use super::*;

    /// What is logged meanwhile.
    fn logged(log_format: LogFormat, meanwhile: impl FnOnce(&Log)) -> String {
        let config = ObservabilityConfig { metrics_addr: None, log_format, log_level: LogLevel::Info };
        let written = Arc::new(Mutex::new(Vec::new()));
        let (subscriber, log) = subscriber(&config, false, Written(Arc::clone(&written)));
        tracing::dispatcher::with_default(&subscriber.into(), || meanwhile(&log));
        String::from_utf8(written.lock().unwrap().clone()).unwrap()
    }

    #[derive(Clone)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Written {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn log_nastily(_: &Log) {
        let nasty = "\u{1b}[2J\n2026-01-01 ERROR all is lost\u{202e}\u{9b}\r";
        tracing::warn!(shown = %nasty, quoted = nasty, debugged = ?nasty, "it is called {nasty}");
    }

    #[test]
    fn nothing_in_a_value_ends_its_line_or_controls_a_terminal() {
        let text = logged(LogFormat::Text, log_nastily);
        let escaped = r"\u{1b}[2J\n2026-01-01 ERROR all is lost\u{202e}\u{9b}\r";
        let (_, said) = text.split_once(" WARN ").unwrap();
        let expected =
            format!(r#"it is called {escaped} shown={escaped} quoted="{escaped}" debugged="{escaped}""#);
        assert_eq!(said, format!("{expected}\n"));
    }

    #[test]
    fn json_line_is_one_object_that_says_the_same() {
        let text = logged(LogFormat::Json, log_nastily);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.trim_end().chars().all(|c| !c.is_control() && c != '\u{202e}'), "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["fields"]["shown"], "\u{1b}[2J\n2026-01-01 ERROR all is lost\u{202e}\u{9b}\r");
    }

    #[test]
    fn place_that_repeats_itself_is_counted() {
        let text = logged(LogFormat::Text, |log| {
            for number in 0..173 {
                tracing::warn!(number, "the disk is slow");
                tracing::debug!(number, "nobody asked for this");
            }
            tracing::warn!("something else");
            log.finish();
            log.finish();
        });
        assert_eq!(
            text.lines().filter(|line| line.contains("the disk is slow number=")).count(),
            60,
            "{text}"
        );
        let last: Vec<_> = text.lines().skip(60).map(|line| line.split_once("WARN ").unwrap().1).collect();
        assert_eq!(last, ["something else", "… and 113 more like this in the last minute: the disk is slow"]);
    }

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

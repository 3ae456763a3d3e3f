//! The log: on standard error, for a person or as JSON.
//!
//! # Invariants
//! 1. Nothing secret at any level: no keys, and of private tesserae neither titles nor names of files.
//! 2. One line for each event, whatever is in it (`line`), and not the same again and again (`repeats`).

use std::io;

use config::{LogFormat, LogLevel, ObservabilityConfig};
use tracing::{Dispatch, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry, filter::filter_fn, fmt::MakeWriter, layer::SubscriberExt, reload,
    util::SubscriberInitExt,
};

use super::{
    gate::{self, Gate},
    line,
    otlp::Otlp,
    repeats::Repeats,
};

/// The log of this process. Copies are of the same.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    gate: reload::Handle<Gate, Registry>,
    repeats: Repeats,
    has_collector: bool,
}

impl Log {
    /// From here on, lines of at least this importance are written.
    pub(crate) fn set_level(&self, level: LogLevel) {
        if let Err(error) = self.gate.reload(Gate::new(level, self.has_collector)) {
            tracing::warn!(%error, "the level of the log stays as it was");
        }
    }

    /// Says what is still to be said. For the end of the process.
    pub(super) fn finish(&self) {
        self.repeats.tell_all();
    }
}

/// Starts the log of this process, in colours if they are wanted, and for the collector if there is one. Further calls
/// change nothing: there is one standard error.
pub(crate) fn start(config: &ObservabilityConfig, colored: bool, otlp: Option<&Otlp>) -> Log {
    let (subscriber, log) = subscriber(config, colored, io::stderr, otlp);
    if let Err(error) = subscriber.try_init() {
        tracing::debug!(%error, "the log was started before");
    }
    log
}

fn subscriber<W>(
    config: &ObservabilityConfig,
    colored: bool,
    writer: W,
    otlp: Option<&Otlp>,
) -> (impl Into<Dispatch>, Log)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (gate, handle) = reload::Layer::new(Gate::new(config.log_level, otlp.is_some()));
    let repeats = Repeats::default();
    let layer = tracing_subscriber::fmt::layer();
    let layer = match config.log_format {
        LogFormat::Text => {
            layer.with_target(false).with_ansi(colored).fmt_fields(line::fields()).with_writer(writer).boxed()
        }
        LogFormat::Json => layer.json().with_writer(line::Json(writer)).boxed(),
    };
    let events = || filter_fn(|metadata| metadata.is_event());
    let spans = || filter_fn(|metadata| metadata.is_span());
    // What others log while something is sent would be sent, too, and so on.
    let ours = gate::ours(LevelFilter::TRACE);
    let ours = move |metadata: &Metadata<'_>| ours.would_enable(metadata.target(), metadata.level());
    let sent = filter_fn(move |metadata| metadata.is_event() && ours(metadata));
    let subscriber = tracing_subscriber::registry()
        .with(gate)
        .with(repeats.clone())
        .with(layer.with_filter(events()))
        .with(otlp.map(|otlp| otlp.logs().with_filter(sent)))
        .with(otlp.map(|otlp| otlp.spans().with_filter(spans())));
    (subscriber, Log { gate: handle, repeats, has_collector: otlp.is_some() })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is logged meanwhile.
    fn logged(log_format: LogFormat, meanwhile: impl FnOnce(&Log)) -> String {
        let config = ObservabilityConfig { log_format, ..OFF };
        let written = Arc::new(Mutex::new(Vec::new()));
        let (subscriber, log) = subscriber(&config, false, Written(Arc::clone(&written)), None);
        tracing::dispatcher::with_default(&subscriber.into(), || meanwhile(&log));
        String::from_utf8(written.lock().unwrap().clone()).unwrap()
    }

    const OFF: ObservabilityConfig = ObservabilityConfig {
        metrics_addr: None,
        otlp_endpoint: None,
        otlp_trace_ratio: 0.0,
        log_format: LogFormat::Text,
        log_level: LogLevel::Info,
    };

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
}

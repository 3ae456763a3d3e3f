//! Repeats in the log: what one place says again and again is written a while, and then counted.
//!
//! # Invariants
//! 1. Of each place in the code at most [`LINES_PER_MINUTE`] lines are written in a minute. A minute in which there were
//!    more ends with one line that says how many, at the same level; nothing is left out unsaid.
//! 2. Lines for debugging are all written: whoever asked for them wants them all.
//! 3. Nothing wakes up while there is nothing to say. A thread waits for the end of the minute, and ends with it.

use std::{
    collections::HashMap,
    fmt::{Debug, Write},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

/// What is known of the repeats of this process. Copies know the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Repeats(Arc<Mutex<Ledger>>);

/// What was written and what was not, by place in the code: there are as many as there are in the program.
#[derive(Debug, Default)]
struct Ledger {
    places: HashMap<Identifier, Minute>,
    /// Whether a thread waits for the end of a minute.
    is_awaited: bool,
}

/// One place's minute.
#[derive(Debug)]
struct Minute {
    began: Instant,
    written: u32,
    held: u64,
    level: Level,
    /// What the first line that was held back said.
    message: String,
}

/// What was held back of one place in its minute.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    level: Level,
    lines: u64,
    message: String,
}

impl Repeats {
    /// Says what was held back up to now, though its minute has not ended: nobody will be there when it does.
    pub(crate) fn tell_all(&self) {
        let held = self.ledger().take(|_| true);
        held.iter().for_each(Summary::tell);
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_written(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || metadata.target() == TARGET {
            return true;
        }
        let mut ledger = self.ledger();
        let is_written = ledger.note(Instant::now(), metadata, || message(event));
        if !is_written && !ledger.is_awaited {
            ledger.is_awaited = self.wait_for_the_end().is_ok();
        }
        is_written
    }

    /// Summarises each minute that ends, until none is left in which anything was held back.
    fn wait_for_the_end(&self) -> io::Result<()> {
        let repeats = self.clone();
        let wait = move || {
            loop {
                let now = Instant::now();
                let ended = repeats.ledger().take(|minute| minute.has_ended(now));
                ended.iter().for_each(Summary::tell);
                let mut ledger = repeats.ledger();
                let Some(end) = ledger.next_end() else {
                    ledger.is_awaited = false;
                    return;
                };
                drop(ledger);
                thread::sleep(end.saturating_duration_since(Instant::now()));
            }
        };
        thread::Builder::new().name("log-repeats".to_owned()).spawn(wait).map(|_| ())
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.is_written(event)
    }
}

impl Ledger {
    /// Whether a line of this place is written.
    fn note(&mut self, now: Instant, place: &Metadata<'_>, message: impl FnOnce() -> String) -> bool {
        let began =
            || Minute { began: now, written: 0, held: 0, level: *place.level(), message: String::new() };
        let minute = self.places.entry(place.callsite()).or_insert_with(began);
        // While something is held back its summary comes first.
        if minute.has_ended(now) && minute.held == 0 {
            *minute = began();
        }
        if minute.written < LINES_PER_MINUTE {
            minute.written += 1;
            return true;
        }
        if minute.held == 0 {
            minute.message = message();
        }
        minute.held += 1;
        false
    }

    /// What was held back in these minutes; they begin anew.
    fn take(&mut self, which: impl Fn(&Minute) -> bool) -> Vec<Summary> {
        let held = self.places.values_mut().filter(|minute| minute.held > 0 && which(minute));
        let summary = |minute: &mut Minute| {
            minute.written = 0;
            minute.began = Instant::now();
            let lines = std::mem::take(&mut minute.held);
            Summary { level: minute.level, lines, message: std::mem::take(&mut minute.message) }
        };
        held.map(summary).collect()
    }

    /// When the next minute ends in which anything was held back.
    fn next_end(&self) -> Option<Instant> {
        self.places.values().filter(|minute| minute.held > 0).map(|minute| minute.began + MINUTE).min()
    }
}

impl Minute {
    fn has_ended(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= MINUTE
    }
}

impl Summary {
    fn tell(&self) {
        let Self { level, lines, message } = self;
        match *level {
            Level::ERROR => {
                tracing::error!(target: TARGET, "… and {lines} more like this in the last minute: {message}");
            }
            Level::WARN => {
                tracing::warn!(target: TARGET, "… and {lines} more like this in the last minute: {message}");
            }
            _ => tracing::info!(target: TARGET, "… and {lines} more like this in the last minute: {message}"),
        }
    }
}

/// What an event says, without its fields.
fn message(event: &Event<'_>) -> String {
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            if field.name() == "message" {
                // Writing into memory does not fail.
                let _ = write!(self.0, "{value:?}");
            }
        }
    }
    let mut message = Message(String::new());
    event.record(&mut message);
    message.0
}

/// One line a second, on average: more than anybody reads.
const LINES_PER_MINUTE: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);
/// Of the summaries.
const TARGET: &str = "node::repeats";

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> &'static Metadata<'static> {
        use tracing::Callsite;
        let callsite = tracing::callsite! {
            name: "here", kind: tracing::metadata::Kind::EVENT, level: Level::WARN, fields:
        };
        callsite.metadata()
    }

    /// How many of so many lines are written.
    fn written(ledger: &mut Ledger, at: Instant, lines: u32) -> usize {
        (0..lines).filter(|_| ledger.note(at, place(), || "the disk is slow".to_owned())).count()
    }

    #[test]
    fn lines_beyond_the_limit_are_counted_and_told_once_when_the_minute_ends() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        assert_eq!(written(&mut ledger, start, LINES_PER_MINUTE + 113), LINES_PER_MINUTE as usize);
        let end = ledger.next_end().unwrap();
        assert_eq!(end, start + MINUTE);
        assert_eq!(ledger.take(|minute| minute.has_ended(start)), []);
        let told = ledger.take(|minute| minute.has_ended(end));
        let message = "the disk is slow".to_owned();
        assert_eq!(told, [Summary { level: Level::WARN, lines: 113, message }]);
        assert_eq!((ledger.take(|_| true), ledger.next_end()), (Vec::new(), None));
    }

    #[test]
    fn minute_in_which_nothing_was_held_back_ends_unsaid() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        assert_eq!(written(&mut ledger, start, LINES_PER_MINUTE), LINES_PER_MINUTE as usize);
        assert_eq!(ledger.next_end(), None);
        assert_eq!(written(&mut ledger, start + MINUTE, LINES_PER_MINUTE), LINES_PER_MINUTE as usize);
    }

    #[test]
    fn line_that_comes_before_a_summary_belongs_to_it() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        written(&mut ledger, start, LINES_PER_MINUTE + 1);
        assert_eq!(written(&mut ledger, start + 2 * MINUTE, 1), 0);
        assert_eq!(ledger.take(|_| true)[0].lines, 2);
    }
}

//! Everything the commands print. The only place that writes to standard output and standard error, except for the
//! daemon's log and the progress bars.
//!
//! # Invariants
//! 1. Standard output carries what was asked for and nothing else; whatever is said beside it goes to standard error.
//! 2. A closed pipe is [`Failure::ClosedPipe`], never a panic and never an error message.
//! 3. Names come from other people's files: what would control a terminal is escaped, except in JSON and in what
//!    [`Output::text`] and [`Output::bytes`] were given.
//! 4. With `--json` both streams carry JSON: one document on standard output, or one a line of what goes on and on; on
//!    standard error a line for each warning, and a problem document if the command fails.

use std::{
    future::pending,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
};

use clap::ValueEnum;
use rustix::fs::FileType;
use serde::Serialize;
use tokio::{io::Interest, net::unix::pipe};

use crate::{
    failure::Failure,
    printable::{printable, printable_lines},
    problem::{Kind, Problem},
    table::Table,
};

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How good a word is, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// Neither.
    Plain,
    /// Worth a look.
    Doubtful,
    /// Wrong.
    Bad,
}

/// How to print, as the command line asked for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// JSON instead of text.
    pub(crate) json: bool,
    /// When to use colours.
    pub(crate) color: Color,
}

impl Output {
    /// One line on standard output, or several. What would control a terminal is escaped.
    pub(crate) fn line(&self, line: impl AsRef<str>) -> Result<(), Failure> {
        self.as_it_is(&printable_lines(line.as_ref()))
    }

    fn as_it_is(&self, line: &str) -> Result<(), Failure> {
        printed(writeln!(io::stdout().lock(), "{line}"))
    }

    /// Text as it is on standard output.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Bytes as they are on standard output.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        printed(stdout.write_all(bytes).and_then(|()| stdout.flush()))
    }

    /// A JSON document on standard output.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.as_it_is(&pretty(value)?)
    }

    /// One of many JSON documents on standard output, on a line of its own.
    pub(crate) fn json_line(&self, value: &serde_json::Value) -> Result<(), Failure> {
        self.as_it_is(&value.to_string())
    }

    /// A table on standard output, its heading in bold.
    pub(crate) fn table<const N: usize>(&self, table: &Table<N>) -> Result<(), Failure> {
        let bold = self.colored(&io::stdout());
        for (at, line) in table.lines().enumerate() {
            self.as_it_is(&if at == 0 && bold { format!("{BOLD}{line}{RESET}") } else { line })?;
        }
        Ok(())
    }

    /// Named values on standard output, one a line.
    pub(crate) fn fields(&self, fields: &[(&str, String)]) -> Result<(), Failure> {
        let widest = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in fields {
            self.as_it_is(format!("{name:widest$}  {}", printable(value)).trim_end())?;
        }
        Ok(())
    }

    /// A line on standard output that begins with a word in its colour, so many columns wide.
    pub(crate) fn judged(&self, word: &str, width: usize, tone: Tone, rest: &str) -> Result<(), Failure> {
        let word = format!("{word:width$}");
        let rest = printable(rest);
        match tone.color().filter(|_| self.colored(&io::stdout())) {
            Some(color) => self.as_it_is(&format!("{color}{word}{RESET}  {rest}")),
            None => self.as_it_is(&format!("{word}  {rest}")),
        }
    }

    /// Returns when nobody reads standard output any more. Of a file one never knows.
    pub(crate) async fn closed(&self) {
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        let Ok(stdout) = stdout.and_then(pipe::Sender::from_owned_fd_unchecked) else {
            return pending().await;
        };
        if stdout.ready(Interest::ERROR).await.is_err() {
            pending().await
        }
    }

    /// A remark on standard error, for a person only: not printed with `--json`.
    pub(crate) fn remark(&self, text: &str) {
        if !self.json {
            said(writeln!(io::stderr().lock(), "{}", printable_lines(text)));
        }
    }

    /// A warning on standard error; with `--json` an object on a line of its own.
    pub(crate) fn warning(&self, text: &str) {
        if self.json {
            said(writeln!(io::stderr().lock(), "{}", serde_json::json!({ "warning": text })));
        } else {
            self.labelled("warning", YELLOW, text);
        }
    }

    /// What made the command fail, on standard error: a problem document with `--json`, else `error: …`.
    pub(crate) fn error(&self, problem: &Problem) {
        match pretty(problem) {
            Ok(json) if self.json => said(writeln!(io::stderr().lock(), "{json}")),
            _ => self.labelled("error", RED, &problem.detail),
        }
    }

    fn labelled(&self, label: &str, color: &str, text: &str) {
        let text = printable_lines(text);
        let mut stderr = io::stderr().lock();
        said(if self.colored(&stderr) {
            writeln!(stderr, "{color}{label}:{RESET} {text}")
        } else {
            writeln!(stderr, "{label}: {text}")
        });
    }

    /// Whether what goes to standard error may be coloured.
    pub(crate) fn colors_errors(&self) -> bool {
        self.colored(&io::stderr())
    }

    fn colored(&self, stream: &impl IsTerminal) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
            }
        }
    }
}

impl Tone {
    const fn color(self) -> Option<&'static str> {
        match self {
            Self::Good => Some(GREEN),
            Self::Plain => None,
            Self::Doubtful => Some(YELLOW),
            Self::Bad => Some(RED),
        }
    }
}

/// Whether a person is watching standard error.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Whether a person is watching standard output.
pub(crate) fn is_shown() -> bool {
    io::stdout().is_terminal()
}

/// Whether standard output goes to a file, where nobody sees how it grows. Of a pipe one can't tell: who reads it may
/// be drawing on the terminal.
pub(crate) fn goes_to_a_file() -> bool {
    rustix::fs::fstat(io::stdout()).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file())
}

fn pretty(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|error| {
        Failure::new(Kind::Internal, format!("the answer cannot be written as JSON: {error}"))
    })
}

fn printed(outcome: io::Result<()>) -> Result<(), Failure> {
    outcome.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
        _ => Failure::new(Kind::Io, format!("writing to standard output failed: {error}")),
    })
}

/// Nobody is left to tell when standard error cannot be written.
fn said(_outcome: io::Result<()>) {}

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[1;31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[1;33m";
const RESET: &str = "\x1b[0m";

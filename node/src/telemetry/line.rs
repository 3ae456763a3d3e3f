//! How a line of the log looks to a person: the message, then each field as `name=value`.
//!
//! Nothing in a value can end the line, move the cursor or turn the text around: what controls is escaped. In JSON most
//! of it is anyway, and the rest is escaped here.

use std::{
    borrow::Cow,
    fmt::{self, Debug, Write},
    io,
};

use tracing::field::Field;
use tracing_subscriber::{
    field::MakeExt,
    fmt::{
        MakeWriter,
        format::{FormatFields, Writer, debug_fn},
    },
};

use crate::printable::controls;

/// How messages and fields are written.
pub(super) fn fields() -> impl for<'a> FormatFields<'a> + Send + Sync + 'static {
    debug_fn(field).delimited(" ")
}

fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    let colored = writer.has_ansi_escapes();
    match (field.name(), colored) {
        ("message", _) => {}
        (name, true) => write!(writer, "{ITALIC}{name}{PLAIN}{DIMMED}={PLAIN}")?,
        (name, false) => write!(writer, "{name}=")?,
    }
    write!(Escaping(writer), "{value:?}")
}

/// Writes all but what controls.
struct Escaping<'a, 'b>(&'a mut Writer<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|letter| {
            if controls(letter) {
                write!(self.0, "{}", letter.escape_default())
            } else {
                self.0.write_char(letter)
            }
        })
    }
}

/// Takes lines of JSON and escapes what controls in them. Only strings hold any of it.
pub(super) struct Json<W>(pub(super) W);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Json<M> {
    type Writer = Json<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Json(self.0.make_writer())
    }
}

impl<W: io::Write> io::Write for Json<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.0.write_all(escaped_json(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// What JSON itself need not escape: controls beyond ASCII. All of them fit into four digits.
fn escaped_json(line: &str) -> Cow<'_, str> {
    let is_open = |letter: char| !letter.is_ascii() && controls(letter);
    if !line.contains(is_open) {
        return line.into();
    }
    let escaped =
        |letter| if is_open(letter) { format!("\\u{:04x}", u32::from(letter)) } else { letter.into() };
    line.chars().map(escaped).collect()
}

const ITALIC: &str = "\u{1b}[3m";
const DIMMED: &str = "\u{1b}[2m";
const PLAIN: &str = "\u{1b}[0m";

//! The man pages: one for each command, made of what `--help` is made of, so that they cannot differ from it.

use std::io;

use clap::{Command, builder::Resettable};
use clap_mangen::{
    Man,
    roff::{Roff, bold, italic, roman},
};

use crate::{examples, exit::Exit};

/// A man page.
#[derive(Debug)]
pub(crate) struct Page {
    /// The name of its file: `node-create.1`.
    pub(crate) file_name: String,
    /// The page in roff.
    pub(crate) text: Vec<u8>,
}

/// The pages of a command and of all below it; the first is its own.
pub(crate) fn pages(command: Command) -> io::Result<Vec<Page>> {
    // The exit codes that end its help have a section here.
    let mut command = command.disable_help_subcommand(true).after_help(Resettable::Reset);
    command.build();
    let mut pages = vec![page(&command, &command)?];
    add_below(&command, &command, &mut pages)?;
    Ok(pages)
}

fn add_below(command: &Command, top: &Command, pages: &mut Vec<Page>) -> io::Result<()> {
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        pages.push(page(command, top)?);
        add_below(command, top, pages)?;
    }
    Ok(())
}

fn page(command: &Command, top: &Command) -> io::Result<Page> {
    let name = top.get_name();
    let source = format!("{name} {}", top.get_version().unwrap_or_default());
    let man = Man::new(command.clone()).date(NO_DATE).source(source).manual(MANUAL);
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    if command.get_after_help().is_some() {
        man.render_extra_section(&mut text)?;
    }
    let mut end = Roff::new();
    if command.get_name() == name {
        exit_status(&mut end);
        entries(&mut end, "FILES", FILES);
        entries(&mut end, "ENVIRONMENT", ENVIRONMENT);
    } else {
        examples(&mut end, command.get_name(), name);
        end.control("SH", ["EXIT STATUS"]);
        end.text([roman("See "), bold(name), roman("(1), for files and environment, too.")]);
    }
    end.to_writer(&mut text)?;
    Ok(Page { file_name: man.get_filename(), text })
}

fn exit_status(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in Exit::table() {
        roff.control("TP", []);
        roff.text([bold(code.to_string())]);
        roff.text([roman(meaning)]);
    }
}

fn entries(roff: &mut Roff, section: &str, entries: &[(&str, &str)]) {
    roff.control("SH", [section]);
    for (name, meaning) in entries {
        roff.control("TP", []);
        roff.text([italic(*name)]);
        roff.text([roman(*meaning)]);
    }
}

fn examples(roff: &mut Roff, command: &str, program: &str) {
    let examples = examples::of(command);
    if examples.is_empty() {
        return;
    }
    roff.control("SH", ["EXAMPLES"]);
    for (what, typed) in examples {
        roff.control("TP", []);
        roff.text([roman(format!("{what}:"))]);
        roff.text([bold(format!("{program} {typed}"))]);
    }
}

/// What is where, for whoever names no other place.
const FILES: &[(&str, &str)] = &[
    (
        "/var/lib/tesseras",
        "The data directory of root; of others $XDG_DATA_HOME/tesseras, or ~/.local/share/tesseras.",
    ),
    ("node.toml", "In the data directory: the settings."),
    (
        "author.key, node.key",
        "There: the keys. Keep a copy of the first; without it private tesserae cannot be read.",
    ),
    ("segments/", "There: what is kept. All else can be made anew from it."),
    ("index.db, snapshots/", "There: the index of the segments, and what only it knows, kept aside."),
    (
        "/run/tesseras/node.sock",
        "The socket of root's daemon; of others $XDG_RUNTIME_DIR/tesseras/node.sock; with --data-dir, node.sock in that.",
    ),
];
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "TESSERAS_SECTION__KEY",
        "A setting, such as TESSERAS_STORAGE__MIN_FREE. It counts more than node.toml, and less than a flag.",
    ),
    ("NO_COLOR", "If it is set and not empty, nothing is coloured."),
    ("XDG_DATA_HOME, XDG_RUNTIME_DIR", "Where data and sockets of a user are."),
];
const MANUAL: &str = "Tesseras";
/// The same sources make the same pages. An empty date would not be quoted, and the next field take its place.
const NO_DATE: &str = " ";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Args;

    fn made() -> Vec<(String, String)> {
        let pages = pages(Args::command().name("tesseras")).unwrap();
        pages.into_iter().map(|page| (page.file_name, String::from_utf8(page.text).unwrap())).collect()
    }

    #[test]
    fn each_command_has_a_page_under_the_name_of_the_program() {
        let pages = made();
        let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for command in Args::command().get_subcommands() {
            let name = format!("tesseras-{}.1", command.get_name());
            assert!(names.contains(&name.as_str()), "{name} is not in {names:?}");
        }
        assert_eq!(names.first(), Some(&"tesseras.1"));
        assert!(names.contains(&"tesseras-config-check.1"), "{names:?}");
        assert!(!names.iter().any(|name| name.contains("help")), "{names:?}");
        assert!(pages.iter().all(|(_, text)| !text.contains("fBnode")), "the name of the crate is not typed");
    }

    #[test]
    fn page_of_the_program_lists_every_exit_code() {
        let (_, page) = made().swap_remove(0);
        let (before, section) = page.split_once(".SH \"EXIT STATUS\"\n").unwrap();
        for (code, meaning) in Exit::table() {
            assert!(section.contains(&format!("\\fB{code}\\fR\n{meaning}")), "{code}: {section}");
        }
        assert!(!before.contains("Exit codes:"), "they are there twice");
    }

    #[test]
    fn pages_say_what_is_where_and_how_it_is_done() {
        let pages = made();
        let page = |name: &str| &pages.iter().find(|(file, _)| file == name).unwrap().1;
        let program = page("tesseras.1");
        assert!(program.contains(".SH FILES\n") && program.contains("author.key"), "{program}");
        assert!(
            program.contains(".SH ENVIRONMENT\n") && program.contains("TESSERAS_SECTION__KEY"),
            "{program}"
        );
        let forget = page("tesseras-forget.1");
        assert!(forget.contains("cannot be undone") && forget.contains(".SH EXAMPLES\n"), "{forget}");
        assert!(forget.contains("tesseras forget tess12d9u6yc"), "{forget}");
        for (name, page) in &pages {
            assert!(page.contains("EXIT STATUS"), "{name}");
        }
    }
}

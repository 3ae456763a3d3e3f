//! The man pages: one for each command, made of what `--help` is made of, so that they cannot differ from it.

use std::io;

use clap::{Command, builder::Resettable};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use crate::exit::Exit;

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
    } else {
        end.control("SH", ["EXIT STATUS"]);
        end.text([roman("See "), bold(name), roman("(1).")]);
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
}

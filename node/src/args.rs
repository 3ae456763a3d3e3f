//! The command line as it is typed.

use std::path::{Path, PathBuf};

use clap::{CommandFactory, FromArgMatches, Parser};
use config::{Flags, Sources};

use crate::{
    client,
    command::Command,
    examples,
    exit::Exit,
    human,
    output::{Color, Output},
};

/// Keeps people's memories alive: a node holds a few pieces of them, checks them, and rebuilds what is lost.
#[derive(Debug, Parser)]
#[command(version, after_help = Exit::help(), max_term_width = 110)]
pub(crate) struct Args {
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Args {
    /// What was typed.
    pub(crate) fn typed() -> Result<Self, clap::Error> {
        let mut matches = Self::under_its_name().try_get_matches()?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut Self::under_its_name()))
    }

    /// The whole command line, under the name that the program was called by: help, man pages and completions are of use
    /// only under the name that is typed. Packages install `node` as `tesseras`.
    pub(crate) fn under_its_name() -> clap::Command {
        let name = program_name();
        with_examples(Self::command(), &name).name(name)
    }
}

/// Long help ends with examples.
fn with_examples(command: clap::Command, program: &str) -> clap::Command {
    command.mut_subcommands(|command| match examples::help(command.get_name(), program) {
        Some(help) => command.after_long_help(help),
        None => command,
    })
}

/// What holds for every command.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// Read the configuration from this file [default: node.toml in the data directory]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The folder in which the node keeps everything
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The socket of the daemon
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
}

impl Globals {
    /// How to print.
    pub(crate) fn output(&self) -> Output {
        Output { json: self.json, color: self.color }
    }

    /// Where settings may be written.
    pub(crate) fn sources(&self) -> Sources {
        let flags =
            Flags { data_dir: self.data_dir.clone(), socket: self.socket.clone(), verbose: self.verbose };
        Sources { file: self.config.clone(), env: config::environment(), flags }
    }

    /// The options that say which node is meant, as they are typed again.
    fn named(&self) -> String {
        let named = [("--config", &self.config), ("--data-dir", &self.data_dir), ("--socket", &self.socket)];
        let options = named.into_iter().filter_map(|(option, path)| Some((option, path.as_ref()?)));
        options.map(|(option, path)| format!(" {option} {}", human::quoted(path))).collect()
    }
}

/// What this program is called, wherever it lies: what somebody types on another machine.
pub(crate) fn program_name() -> String {
    let called = client::program();
    let name = Path::new(&called).file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned())
}

/// This program as it was called, with the options that say which node is meant: what to type before another command
/// about the same one.
pub(crate) fn this_node() -> String {
    // Whoever mistyped it is told so, and no remedy.
    let options = Args::typed().map(|args| args.globals.named()).unwrap_or_default();
    format!("{}{options}", human::quoted(client::program()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_free_of_contradictions() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_is_advised_is_about_the_node_that_was_named() {
        let named = |typed: &[&str]| Args::try_parse_from(typed).unwrap().globals.named();
        assert_eq!(named(&["node", "status"]), "");
        let typed = ["node", "--data-dir", "it's here", "status", "--socket=/s", "--json"];
        assert_eq!(named(&typed), r" --data-dir 'it'\''s here' --socket /s");
    }

    #[test]
    fn help_ends_with_the_exit_codes() {
        let help = Args::command().render_long_help().to_string();
        assert!(help.contains("69  the daemon is not running"), "{help}");
    }
}

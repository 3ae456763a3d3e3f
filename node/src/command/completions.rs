//! `completions`: what makes a shell complete our commands and options, without a daemon.

use clap_complete::Shell;
use serde_json::json;

use super::Context;
use crate::{args::Args, exit::Exit, failure::Failure};

/// Print the completions for a shell, under the name that this program was called by
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Does it.
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let mut command = Args::under_its_name();
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        if context.output.json {
            let script = String::from_utf8_lossy(&script);
            context.output.json(&json!({ "shell": self.shell.to_string(), "script": script }))?;
        } else {
            context.output.bytes(&script)?;
        }
        Ok(Exit::Ok)
    }
}

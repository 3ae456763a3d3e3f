//! The commands, one file each. Each says what it does and prints; what it needs lies in [`Context`].

mod config;

use ::config::Loaded;
use clap::Subcommand;

use crate::{args::Globals, client::Client, exit::Exit, failure::Failure, output::Output, problem::Kind};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check, show or explain the settings
    #[command(subcommand)]
    Config(config::Config),
}

impl Command {
    /// Whether it writes into the data directory, where nothing is for other users' eyes.
    pub(crate) fn is_private(&self) -> bool {
        false
    }

    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Config(config) => config.run(context),
        }
    }
}

/// What every command has at hand.
#[derive(Debug)]
pub(crate) struct Context {
    globals: Globals,
    /// How to print.
    pub(crate) output: Output,
}

impl Context {
    /// For these options.
    pub(crate) fn new(globals: Globals) -> Self {
        let output = globals.output();
        Self { globals, output }
    }

    /// The configuration. Fails with [`Kind::BadConfig`], naming all that is wrong.
    pub(crate) fn config(&self) -> Result<Loaded, Failure> {
        ::config::load(&self.globals.sources())
            .map_err(|errors| Failure::new(Kind::BadConfig, errors.to_string()))
    }

    /// A client for the daemon. A socket that is named is used without looking into the configuration.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let socket = match &self.globals.socket {
            Some(socket) => socket.clone(),
            None => self.config()?.config.admin.socket,
        };
        Ok(Client::new(socket))
    }
}

//! `run`: the daemon.

use super::Context;
use crate::{daemon, exit::Exit, failure::Failure};

/// Run the daemon in the foreground
#[derive(Debug, clap::Args)]
pub(crate) struct Run;

impl Run {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        daemon::run(context).await
    }
}

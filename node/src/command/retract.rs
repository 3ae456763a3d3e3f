//! `retract`: takes a tessera back from all nodes that keep any of it.

use std::io::{self, BufRead, IsTerminal};

use super::{Context, off_thread, publish, target::Target};
use crate::{client::path, exit::Exit, failure::Failure, output, problem::Kind};

/// Take a tessera of yours back, for ever: all nodes that keep any of it drop it, and never take it again
///
/// Nodes that are not there now are told later, by itself: until then the command ends with 3 and names them. What is here of it
/// stays: `forget` drops that. It cannot be undone: the same tessera is never published again.
#[derive(Debug, clap::Args)]
pub(crate) struct Retract {
    /// The tessera, or the beginning of its id
    #[arg(value_parser = Target::parse)]
    id: Target,
    /// Do not ask whether that is meant
    #[arg(long)]
    yes: bool,
    /// Do not wait for it: `jobs` says how far it is
    #[arg(long)]
    detach: bool,
}

impl Retract {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let id = self.id.find(&client).await?.to_string();
        if !self.yes {
            confirm(context, &id).await?;
        }
        publish::run(context, &client, &path(["v1", "tesseras", &id, "retract"]), self.detach).await
    }
}

/// Fails unless somebody says so.
async fn confirm(context: &Context, id: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !output::is_watched() {
        let detail =
            "taking a tessera back is for ever, and nobody is here to be asked: say --yes if that is meant";
        return Err(Failure::new(Kind::Usage, detail));
    }
    context.output.remark(&format!(
        "All other nodes drop {id}, and none will ever keep it again. Type yes if that is meant:"
    ));
    let said = off_thread(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    match said.await? {
        Ok(line) if line.trim().eq_ignore_ascii_case("yes") => Ok(()),
        _ => Err(Failure::new(Kind::Conflict, "nothing was taken back")),
    }
}

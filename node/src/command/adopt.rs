//! `adopt`: keeps somebody else's tessera, and looks after it.

use super::{Context, publish, target::Target};
use crate::{client::path, exit::Exit, failure::Failure};

/// Keep all of somebody else's tessera here, and have its holders mend it whenever they have lost some of it
///
/// It is kept like one of your own, whatever becomes of its author; `forget` ends that.
#[derive(Debug, clap::Args)]
pub(crate) struct Adopt {
    /// The tessera; the whole id, unless some of it is here
    #[arg(value_parser = Target::parse)]
    id: Target,
    /// Do not wait for it: `jobs` says how far it is
    #[arg(long)]
    detach: bool,
}

impl Adopt {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let id = self.id.find(&client).await?.to_string();
        publish::run(context, &client, &path(["v1", "tesseras", &id, "adopt"]), self.detach).await
    }
}

//! `leave`: hands over what is kept for others, before this node goes.

use hyper::Method;
use serde_json::json;

use super::{Context, publish};
use crate::{exit::Exit, failure::Failure};

/// Hand over to other nodes what this one keeps for others, before it goes
///
/// From then on it takes nothing new, also after a restart, until --cancel says that it stays. What could not be handed over is
/// named, with why, and ends the command with 3: say `leave` again when there is room for it elsewhere. Tesserae of your own stay
/// here; which of them nobody else has is said.
#[derive(Debug, clap::Args)]
pub(crate) struct Leave {
    /// Stay: take again what others bring; what was handed over stays where it is now
    #[arg(long, conflicts_with = "detach")]
    cancel: bool,
    /// Do not wait for it: `jobs` says how far it is
    #[arg(long)]
    detach: bool,
}

impl Leave {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        if !self.cancel {
            return publish::run(context, &client, LEAVE, self.detach).await;
        }
        client.call::<()>(Method::DELETE, LEAVE).await?;
        if context.output.json {
            context.output.json(&json!({ "leaving": false }))?;
        } else {
            context.output.remark("This node stays: it takes again what others bring.");
        }
        Ok(Exit::Ok)
    }
}

const LEAVE: &str = "/v1/leave";

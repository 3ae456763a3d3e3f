//! `forget`: drops what this node keeps of a tessera.

use hyper::Method;
use serde_json::json;

use super::{Context, target::Target};
use crate::{client::path, exit::Exit, failure::Failure};

/// Drop a tessera from this node
#[derive(Debug, clap::Args)]
pub(crate) struct Forget {
    /// The tessera, or the beginning of its id
    #[arg(value_parser = Target::parse)]
    id: Target,
}

impl Forget {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let id = self.id.find(&client).await?.to_string();
        client.call::<()>(Method::DELETE, &path(["v1", "tesseras", &id])).await?;
        if context.output.json {
            context.output.json(&json!({ "tessera": id }))?;
        }
        context.output.remark(&format!("forgot {id}"));
        Ok(Exit::Ok)
    }
}

//! `forget`: drops what this node keeps of a tessera.

use hyper::Method;
use serde_json::json;

use super::{Context, target::Target};
use crate::{client::path, exit::Exit, failure::Failure};

/// Drop a tessera from this node; this cannot be undone
///
/// It is gone from this machine at once, and the room that it took is given back by and by. Nothing brings it back but a
/// copy that was made before: an export of it, or a copy of the segments. To keep one, `export` it first.
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

//! `init`: makes a data directory ready, without a daemon.

use config::FILE_NAME;
use serde_json::json;

use super::Context;
use crate::{data_dir::DataDir, exit::Exit, failure::Failure, keys::Keys};

/// Make the data directory, the keys and a commented configuration; what is there already stays as it is
#[derive(Debug, clap::Args)]
pub(crate) struct Init;

impl Init {
    /// Does it.
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let loaded = context.config()?;
        let data_dir = DataDir::open(&loaded.config.node.data_dir)?;
        let keys = Keys::make(&data_dir)?;
        data_dir.write_new(FILE_NAME, config::example().as_bytes())?;
        let (path, author) = (data_dir.path(), &keys.author);
        if context.output.json {
            let recipient = author.recipient().to_string();
            context.output.json(&json!({
                "data_dir": path, "node": keys.node.id(), "author": author.id(), "recipient": recipient,
            }))?;
        } else {
            context.output.fields(&[
                ("data directory", path.display().to_string()),
                ("node", keys.node.id().to_string()),
                ("author", author.id().to_string()),
                ("recipient", author.recipient().to_string()),
            ])?;
            let key = path.join(actors::keys::AUTHOR_KEY_NAME);
            context.output.remark(&format!(
                "\nKeep a copy of {} away from this machine: without it nobody can read your private tesserae.",
                key.display()
            ));
        }
        Ok(Exit::Ok)
    }
}

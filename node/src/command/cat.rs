//! `cat`: one file of a tessera on standard output.

use clap::builder::NonEmptyStringValueParser;

use super::{Context, target::Target, verify};
use crate::{client::path, exit::Exit, failure::Failure, progress};

/// Write a file of a tessera to standard output
#[derive(Debug, clap::Args)]
pub(crate) struct Cat {
    /// The tessera, or the beginning of its id
    #[arg(value_parser = Target::parse)]
    id: Target,
    /// The file, by its path among the files that were given to `create`
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    path: String,
}

impl Cat {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let id = self.id.find(&client).await?;
        let mut file =
            client.download(&path(["v1", "tesseras", &id.to_string(), "files", &self.path])).await?;
        let bar = progress::bytes_written("reading", file.length());
        let outcome = loop {
            match file.next().await {
                Ok(Some(bytes)) => match context.output.bytes(&bytes) {
                    Ok(()) => bar.inc(bytes.len() as u64),
                    Err(failure) => break Err(failure),
                },
                Ok(None) => break Ok(Exit::Ok),
                Err(broken) => {
                    bar.finish_and_clear();
                    break Err(verify::explain(&client, id, broken).await);
                }
            }
        };
        bar.finish_and_clear();
        outcome
    }
}

//! `explain`: why a tessera is as it is, and how it stands with a node. `cache`: what is held in memory.

use hyper::Method;

use super::{Context, target::Subject};
use crate::{
    api::{Cache, Explained, NodeExplained},
    client::path,
    exit::Exit,
    explained::Finding,
    failure::Failure,
    human,
    output::Tone,
};

/// Say why a tessera is as it is, or how it stands with a node, and what to do
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// The tessera or the node: its id, or the beginning of that; or the node's name
    #[arg(value_name = "ID|NODE", value_parser = Subject::parse)]
    what: Subject,
}

/// Show what is held in memory of what is read again and again
#[derive(Debug, clap::Args)]
pub(crate) struct ShowCache;

impl Explain {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        match &self.what {
            Subject::Tessera(tessera) => {
                let id = tessera.find(&client).await?.to_string();
                let explained: Explained =
                    client.call(Method::GET, &path(["v1", "tesseras", &id, "explain"])).await?;
                if context.output.json {
                    context.output.json(&explained)?;
                    return Ok(Exit::Ok);
                }
                let word = if explained.whole { ("whole", Tone::Good) } else { ("hurt", Tone::Bad) };
                show(context, &id, word, &explained.verdict, &explained.findings)?;
            }
            Subject::Node(node) => {
                let id = node.find(&client).await?.to_string();
                let explained: NodeExplained = client.get(&path(["v1", "peers", &id, "explain"])).await?;
                if context.output.json {
                    context.output.json(&explained)?;
                    return Ok(Exit::Ok);
                }
                let word = if explained.good { ("good", Tone::Good) } else { ("of no use", Tone::Doubtful) };
                show(context, &id, word, &explained.verdict, &explained.findings)?;
            }
        }
        Ok(Exit::Ok)
    }
}

fn show(
    context: &Context,
    id: &str,
    (word, tone): (&str, Tone),
    verdict: &str,
    findings: &[Finding],
) -> Result<(), Failure> {
    context.output.judged(word, word.len(), tone, verdict)?;
    for finding in findings {
        context.output.line(format!("- {}", finding.what))?;
        if let Some(remedy) = &finding.remedy {
            context.output.line(format!("  {}", remedy.replace("ID", id)))?;
        }
    }
    Ok(())
}

impl ShowCache {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let cache: Cache = context.client()?.get("/v1/cache").await?;
        if context.output.json {
            context.output.json(&cache)?;
        } else {
            let held = format!("{} of {}", human::bytes(cache.bytes), human::bytes(cache.bytes_max));
            let fields = [("fragments", cache.fragments.to_string()), ("memory", held)];
            context.output.fields(&fields)?;
        }
        Ok(Exit::Ok)
    }
}

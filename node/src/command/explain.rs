//! `explain`: why a tessera is as it is, and how it stands with a node. `cache`: what is held in memory.

use hyper::Method;

use super::{Context, target::Subject};
use crate::{
    api::{Cache, Explained, Holder, NodeExplained},
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
                let word = match (explained.whole, explained.part) {
                    (true, false) => ("whole", Tone::Good),
                    (true, true) => ("part", Tone::Plain),
                    (false, _) => ("hurt", Tone::Bad),
                };
                show(context, &id, word, &explained.verdict, &explained.findings)?;
                show_holders(context, &explained.holders)?;
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

fn show_holders(context: &Context, holders: &[Holder]) -> Result<(), Failure> {
    if !holders.is_empty() {
        context.output.line("Who claims to hold what:")?;
    }
    for holder in holders {
        context.output.line(format!("- {}", claim(holder, human::ago)))?;
    }
    Ok(())
}

/// Who claims what, how long ago, and when it last proved any of it.
fn claim(holder: &Holder, ago: impl Fn(i64) -> String) -> String {
    let who = holder.name.clone().unwrap_or_else(|| holder.node.to_string());
    let all = human::fragments(holder.claimed);
    let what = match holder.indices.as_slice() {
        // A daemon of an earlier version does not say which.
        [] => all,
        [index] => format!("fragment {index} of each stripe, {all} in all"),
        indices => format!("fragments {} of each stripe, {all} in all", listed(indices)),
    };
    let proven = match holder.proven_at_ms {
        Some(at_ms) => format!("last proven {}", ago(at_ms)),
        None => "never proven".to_owned(),
    };
    format!("{who}: {what}; claimed {}, {proven}", ago(holder.claimed_at_ms))
}

/// Ascending numbers as people list them: `0, 3 and 5 to 9`.
fn listed(numbers: &[u16]) -> String {
    let runs = numbers.chunk_by(|one, next| one.checked_add(1) == Some(*next)).flat_map(|run| match run {
        [first, _, .., last] => vec![format!("{first} to {last}")],
        few => few.iter().map(ToString::to_string).collect(),
    });
    let mut runs: Vec<_> = runs.collect();
    match (runs.pop(), runs.join(", ")) {
        (Some(last), before) if before.is_empty() => last,
        (Some(last), before) => format!("{before} and {last}"),
        (None, _) => String::new(),
    }
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

#[cfg(test)]
mod tests {
    use proto::NodeId;

    use super::*;
    use crate::api::Standing;

    #[test]
    fn numbers_are_listed_and_runs_of_them_are_told_by_their_ends() {
        let check = |numbers: &[u16], expected: &str| assert_eq!(listed(numbers), expected);
        check(&[], "");
        check(&[7], "7");
        check(&[0, 3], "0 and 3");
        check(&[0, 1], "0 and 1");
        check(&[0, 1, 2], "0 to 2");
        check(&[0, 3, 5, 6, 7, 8, 9], "0, 3 and 5 to 9");
        check(&[0, 1, 2, 31], "0 to 2 and 31");
    }

    #[test]
    fn claim_of_a_holder_is_told_with_its_fragments_and_their_ages() {
        let check = |holder: &Holder, expected: &str| {
            assert_eq!(claim(holder, |at_ms| format!("{at_ms} ms ago")), expected);
        };
        let node = NodeId::from_bytes([1; 32]);
        let holder = Holder {
            node,
            name: Some("ben".to_owned()),
            standing: Standing::Peer,
            claimed: 12,
            indices: vec![0, 3],
            claimed_at_ms: 5,
            proven: 2,
            proven_at_ms: Some(7),
        };
        check(
            &holder,
            "ben: fragments 0 and 3 of each stripe, 12 fragments in all; claimed 5 ms ago, last proven 7 ms ago",
        );
        let copy = Holder { claimed: 1, indices: vec![2], proven: 0, proven_at_ms: None, ..holder.clone() };
        check(&copy, "ben: fragment 2 of each stripe, 1 fragment in all; claimed 5 ms ago, never proven");
        let old = Holder { name: None, indices: Vec::new(), ..holder };
        check(&old, &format!("{node}: 12 fragments; claimed 5 ms ago, last proven 7 ms ago"));
    }
}

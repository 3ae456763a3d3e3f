//! `prove`: has other nodes prove that they have what they claim.

use hyper::Method;
use proto::{NodeId, TesseraId};

use super::{
    Context,
    attest::holders,
    target::{NodeTarget, Target},
};
use crate::{
    api::{Holder, Proven, Standing},
    client::{Client, path},
    exit::Exit,
    failure::Failure,
    human,
    problem::{Kind, Problem},
    table::{Align, Table},
};

/// Have other nodes prove that they hold what they claim of a tessera: each shows a piece that is picked at random
#[derive(Debug, clap::Args)]
pub(crate) struct Prove {
    /// The tessera, or the beginning of its id
    #[arg(value_parser = Target::parse)]
    id: Target,
    /// Only this node: its name, its id, or the beginning of that [default: all that claim something]
    #[arg(long, value_name = "NODE", value_parser = NodeTarget::parse)]
    peer: Option<NodeTarget>,
}

/// What came of it.
type Outcome = (NodeId, Result<Proven, Box<Problem>>);

impl Prove {
    /// Does it. Whoever proves nothing holds up nobody else; in the end that is a failure.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let id = self.id.find(&client).await?;
        let nodes = match &self.peer {
            Some(peer) => vec![peer.find(&client).await?],
            None => willing(&holders(&client, id).await?)?,
        };
        let mut outcomes = Vec::new();
        for node in nodes {
            outcomes.push((node, ask(&client, id, node).await?));
        }
        if context.output.json {
            let proven: Vec<_> = outcomes.iter().map(json).collect();
            context.output.json(&proven)?;
        } else {
            context.output.table(&table(&outcomes))?;
        }
        Ok(exit(&outcomes))
    }
}

/// Those that can be asked. What somebody claims who is no peer any more counts for nothing, proven or not.
fn willing(holders: &[Holder]) -> Result<Vec<NodeId>, Failure> {
    let peers = holders.iter().filter(|holder| holder.standing == Standing::Peer);
    let nodes: Vec<NodeId> = peers.map(|holder| holder.node).collect();
    let none = |detail: &str| Err(Failure::new(Kind::NotFound, detail));
    match (nodes.is_empty(), holders.is_empty()) {
        (false, _) => Ok(nodes),
        (true, true) => none("no other node has claimed any of it: `attest ID --peer NODE` asks one"),
        (true, false) => none("those who have claimed any of it are blocked, or no longer peers"),
    }
}

async fn ask(client: &Client, id: TesseraId, node: NodeId) -> Result<Result<Proven, Box<Problem>>, Failure> {
    let at = path(["v1", "tesseras", &id.to_string(), "holders", &node.to_string(), "prove"]);
    match client.call(Method::POST, &at).await {
        Ok(proven) => Ok(Ok(proven)),
        Err(Failure::Problem(problem)) if problem.kind().is_served() => Ok(Err(problem)),
        Err(failure) => Err(failure),
    }
}

/// A wrong proof is worse than none.
fn exit(outcomes: &[Outcome]) -> Exit {
    let problems = || outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err());
    match problems().find(|problem| problem.kind() == Kind::WrongAnswer).or(problems().next()) {
        Some(problem) => problem.kind().exit(),
        None => Exit::Ok,
    }
}

fn json((node, outcome): &Outcome) -> serde_json::Value {
    match outcome {
        Ok(proven) => serde_json::json!({ "node": node, "proven": proven }),
        Err(problem) => serde_json::json!({ "node": node, "problem": problem }),
    }
}

fn table(outcomes: &[Outcome]) -> Table<3> {
    let mut table = Table::new([("NODE", Align::Left), ("OUTCOME", Align::Left), ("WHAT", Align::Left)]);
    for (node, outcome) in outcomes {
        let (word, what) = match outcome {
            Ok(Proven { stripe, index, group, groups, bytes, .. }) => (
                "proven",
                format!(
                    "fragment {stripe}/{index}, piece {} of {groups}, {}",
                    group + 1,
                    human::bytes(*bytes)
                ),
            ),
            Err(problem) => ("not proven", problem.detail.replace(&format!("{node}: "), "")),
        };
        table.row([node.to_string(), word.to_owned(), what]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn failed(number: u8, kind: Kind, detail: &str) -> Outcome {
        let detail = format!("{}: {detail}", node(number));
        (node(number), Err(Box::new(Problem::new(kind, detail))))
    }

    #[test]
    fn proofs_are_listed_beside_what_was_not_proven() {
        let proven = Proven { node: node(1), stripe: 2, index: 0, group: 6, groups: 7, bytes: 16_896 };
        let outcomes = [(node(1), Ok(proven)), failed(2, Kind::Unreachable, "it cannot be reached")];
        let lines: Vec<_> = table(&outcomes).lines().skip(1).collect();
        assert_eq!(lines[0], format!("{}  proven      fragment 2/0, piece 7 of 7, 16.50 KiB", node(1)));
        assert_eq!(lines[1], format!("{}  not proven  it cannot be reached", node(2)));
        let json = json(&outcomes[0]);
        assert_eq!((&json["node"], &json["proven"]["group"]), (&node(1).to_string().into(), &6.into()));
    }

    #[test]
    fn only_peers_are_asked() {
        let holder = |number, standing| Holder {
            node: node(number),
            name: None,
            standing,
            claimed: 1,
            claimed_at_ms: 0,
            proven: 0,
            proven_at_ms: None,
            indices: Vec::new(),
        };
        let away = [holder(1, Standing::Former), holder(2, Standing::Blocked)];
        let all = [away[0].clone(), away[1].clone(), holder(3, Standing::Peer)];
        assert_eq!(willing(&all).unwrap(), [node(3)]);
        assert!(willing(&away).unwrap_err().to_string().contains("no longer peers"));
        assert!(willing(&[]).unwrap_err().to_string().contains("no other node has claimed"));
    }

    #[test]
    fn wrong_proof_decides_how_it_ends() {
        let (away, wrong) = (failed(1, Kind::Unreachable, ""), failed(2, Kind::WrongAnswer, ""));
        assert_eq!(exit(std::slice::from_ref(&away)), Exit::Failure);
        assert_eq!(exit(&[away, wrong]), Exit::Damaged);
    }
}

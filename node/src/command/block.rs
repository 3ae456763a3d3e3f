//! `block`, `unblock` and `blocked`: of what, and of whom, nothing is accepted.

use hyper::Method;

use super::{
    Context,
    target::{NodeTarget, Subject, called},
};
use crate::{
    api::{Block as Row, Blocked, NewBlock, Peer},
    client::path,
    exit::Exit,
    failure::Failure,
    human,
    network::reason,
    table::{Align, Table},
};

/// Accept nothing of a tessera any more, and drop what is here; or have nothing to do with a node
#[derive(Debug, clap::Args)]
pub(crate) struct Block {
    /// The tessera or the node: its id, or the beginning of that if it is known here; or the node's name
    #[arg(value_name = "ID|NODE", value_parser = Subject::parse)]
    what: Subject,
    /// Why; it is kept, logged, and told to those who are refused
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
}

/// Block a tessera or a node no longer
#[derive(Debug, clap::Args)]
pub(crate) struct Unblock {
    /// The tessera or the node: its id, or the beginning of that; or the node's name
    #[arg(value_name = "ID|NODE", value_parser = Subject::parse)]
    what: Subject,
}

/// List what is blocked, since when, and why
#[derive(Debug, clap::Args)]
pub(crate) struct ShowBlocked;

impl Block {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let id = match &self.what {
            Subject::Tessera(tessera) => tessera.find(&client).await?.to_string(),
            Subject::Node(node) => node.find(&client).await?.to_string(),
        };
        let row: Row = client.post(BLOCKED, &NewBlock { id, reason: self.reason.clone() }).await?;
        if context.output.json {
            context.output.json(&row)?;
        } else {
            context.output.remark(&done(&row.what));
        }
        Ok(Exit::Ok)
    }
}

impl Unblock {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let rows: Vec<Row> = client.get(BLOCKED).await?;
        let blocked = rows.iter().map(|row| row.what);
        let what = match &self.what {
            // Only a node that is known has a name.
            Subject::Node(NodeTarget::Name(name)) => {
                let peers: Vec<Peer> = client.get("/v1/peers").await?;
                called(name, &peers, blocked)?
            }
            what => what.among(blocked)?,
        };
        client.call::<()>(Method::DELETE, &path(["v1", "blocked", &what.to_string()])).await?;
        if context.output.json {
            context.output.json(&what)?;
        }
        context.output.remark(&format!("{what} is not blocked any more."));
        Ok(Exit::Ok)
    }
}

impl ShowBlocked {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let rows: Vec<Row> = context.client()?.get(BLOCKED).await?;
        if context.output.json {
            context.output.json(&rows)?;
        } else if rows.is_empty() {
            context.output.remark("Nothing is blocked.");
        } else {
            context.output.table(&table(&rows))?;
        }
        Ok(Exit::Ok)
    }
}

fn done(what: &Blocked) -> String {
    match what {
        Blocked::Tessera { id } => {
            format!("{id} is blocked: what was here of it is dropped, and nothing of it is accepted.")
        }
        Blocked::Node { id } => {
            format!("{id} is blocked: it is neither answered nor asked. What is kept for it stays.")
        }
    }
}

fn table(rows: &[Row]) -> Table<3> {
    let mut table = Table::new([("BLOCKED", Align::Left), ("SINCE", Align::Left), ("REASON", Align::Left)]);
    for row in rows {
        let since = human::date(u64::try_from(row.at_ms).unwrap_or(0));
        table.row([row.what.to_string(), since, row.reason.clone()]);
    }
    table
}

const BLOCKED: &str = "/v1/blocked";

#[cfg(test)]
mod tests {
    use proto::{NodeId, TesseraId};

    use super::*;

    #[test]
    fn blocks_are_listed_with_their_reasons() {
        let (tessera, node) = (TesseraId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        let row = |what, reason: &str| Row { what, reason: reason.to_owned(), at_ms: 86_400_000 };
        let rows = [
            row(Blocked::Tessera { id: tessera }, "not ours"),
            row(Blocked::Node { id: node }, "lies\nand more"),
        ];
        let lines: Vec<String> = table(&rows).lines().skip(1).collect();
        assert_eq!(lines[0], format!("{tessera}  1970-01-02  not ours"));
        assert!(lines[1].starts_with(&format!("{node}  1970-01-02  lies")) && !lines[1].contains('\n'));
        assert!(done(&rows[0].what).contains("dropped") && done(&rows[1].what).contains("neither"));
    }
}

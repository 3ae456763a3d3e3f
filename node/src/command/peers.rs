//! `peers`: the nodes that this one knows.

use clap::Subcommand;
use config::PeerAddress;
use hyper::Method;
use proto::NodeId;
use serde_json::json;

use super::{Context, target::NodeTarget};
use crate::{
    api::{NewPeer, Peer, Ping, Status},
    client::{Client, path},
    exit::Exit,
    failure::Failure,
    human,
    network::{Bound, name},
    problem::Kind,
    table::{Align, Table},
};

/// See the nodes that this one knows, make one known, or look whether it answers.
#[derive(Debug, Subcommand)]
pub(crate) enum Peers {
    /// List the nodes that are known, what is kept for them, and when they were last there
    List,
    /// Know a node from now on: it may store here, and is asked to store
    Add {
        /// Its id and where it is reached; once for each address of the same node
        #[arg(value_name = "NODE@HOST:PORT", required = true)]
        at: Vec<PeerAddress>,
        /// How much may be kept here for it, such as "200 GB" [default: what was said before, or
        /// replication.max_storage_per_peer]
        #[arg(long, value_name = "SIZE", value_parser = size)]
        allow: Option<u64>,
        /// What to call it here, such as "ann"
        #[arg(long, value_parser = name)]
        name: Option<String>,
    },
    /// Know a node no longer; what it keeps and what is kept for it stays
    Remove {
        /// The node: its name, its id, or the beginning of that
        #[arg(value_parser = NodeTarget::parse)]
        node: NodeTarget,
    },
    /// Ask a node whether it is there, and how it sees this one
    Ping {
        /// The node: its name, its id, or the beginning of that
        #[arg(value_parser = NodeTarget::parse)]
        node: NodeTarget,
    },
}

impl Peers {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        match self {
            Self::List => list(context, &client).await?,
            Self::Add { at, allow, name } => add(context, &client, new(&at, allow, name)?).await?,
            Self::Remove { node } => {
                let node = node.find(&client).await?;
                client.call::<()>(Method::DELETE, &path(["v1", "peers", &node.to_string()])).await?;
                if context.output.json {
                    context.output.json(&json!({ "node": node }))?;
                }
                context.output.remark(&format!("{node} is not known any more."));
            }
            Self::Ping { node } => {
                let node = node.find(&client).await?;
                show(context, &ping(&client, node).await?)?;
            }
        }
        Ok(Exit::Ok)
    }
}

async fn list(context: &Context, client: &Client) -> Result<(), Failure> {
    let peers: Vec<Peer> = client.get(PEERS).await?;
    if context.output.json {
        return context.output.json(&peers);
    }
    if peers.is_empty() {
        context.output.remark("No other node is known: `invite` somebody, or `peers add` one.");
        return Ok(());
    }
    context.output.table(&table(&peers, human::ago))
}

/// It is asked at once whether it is there: a mistyped address is noticed while whoever typed it still looks.
async fn add(context: &Context, client: &Client, new: NewPeer) -> Result<(), Failure> {
    let peer: Peer = client.post(PEERS, &new).await?;
    if context.output.json {
        context.output.json(&peer)?;
    } else {
        context.output.remark(&format!(
            "{} is known from now on; up to {} may be kept here for it.",
            peer.node,
            human::bytes(peer.allow_bytes)
        ));
    }
    warn_of_room(context, client, new.allow_bytes).await;
    match ping(client, peer.node).await {
        Ok(ping) if !context.output.json => show(context, &ping),
        Ok(_) => Ok(()),
        Err(Failure::Problem(problem)) => {
            context.output.warning(&format!("it does not answer yet: {}", problem.detail));
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}

/// Says so when more is allowed than there is room for. It is allowed all the same, and whether that can be found out or not.
pub(super) async fn warn_of_room(context: &Context, client: &Client, allow: Option<u64>) {
    if let Some(allow) = allow
        && let Ok(status) = client.get::<Status>("/v1/status").await
        && let Some(room) = status.storage.room().filter(|room| *room < allow)
    {
        context.output.warning(&format!(
            "that is more than there is room for here, which is {}: `status` says of what",
            human::bytes(room)
        ));
    }
}

async fn ping(client: &Client, node: NodeId) -> Result<Ping, Failure> {
    client.call(Method::POST, &path(["v1", "peers", &node.to_string(), "ping"])).await
}

pub(super) fn show(context: &Context, ping: &Ping) -> Result<(), Failure> {
    if context.output.json { context.output.json(ping) } else { context.output.fields(&fields(ping)) }
}

fn fields(ping: &Ping) -> Vec<(&'static str, String)> {
    let reaches = match ping.reaches_us {
        Some(true) => "yes, by itself",
        Some(false) => "no: a router or a firewall is in the way, or the port is not forwarded",
        None => "it did not try",
    };
    let keeps = match (ping.allowance_bytes, ping.bound) {
        (0, Some(Bound::Room)) => "nothing more: its disk has no more room for it".to_owned(),
        (0, Some(Bound::KeepsNothing)) => "nothing: it keeps nothing for others".to_owned(),
        (0, Some(Bound::Leaving)) => "nothing more: it is about to leave".to_owned(),
        (0, Some(Bound::Allowance) | None) => {
            "nothing more: `peers add … --allow` there lets this node have something kept".to_owned()
        }
        (bytes, _) => format!("up to {}", human::bytes(bytes)),
    };
    vec![
        ("node", ping.node.to_string()),
        ("answers from", format!("{}, in {}", ping.address, human::short_span(ping.took_us))),
        ("runs", ping.software.clone()),
        ("keeps for us", keeps),
        ("sees us at", ping.observed.clone()),
        ("reaches us", reaches.to_owned()),
    ]
}

/// One node, at all its addresses.
fn new(at: &[PeerAddress], allow_bytes: Option<u64>, name: Option<String>) -> Result<NewPeer, Failure> {
    let mut nodes = at.iter().map(|peer| peer.node);
    let Some(node) = nodes.next().filter(|first| nodes.all(|node| node == *first)) else {
        return Err(Failure::new(Kind::Usage, "these are several nodes: add one after the other"));
    };
    let addresses = at.iter().flat_map(|peer| &peer.addresses).map(ToString::to_string).collect();
    Ok(NewPeer { node, addresses, allow_bytes, name })
}

fn table(peers: &[Peer], ago: impl Fn(i64) -> String) -> Table<7> {
    let mut table = Table::new([
        ("NODE", Align::Left),
        ("NAME", Align::Left),
        ("KNOWN AS", Align::Left),
        ("KEPT", Align::Right),
        ("OF", Align::Right),
        ("SEEN", Align::Left),
        ("ADDRESS", Align::Left),
    ]);
    for peer in peers {
        let seen = match (&peer.blocked, peer.connected, peer.seen_at_ms) {
            (Some(_), ..) => "blocked".to_owned(),
            (None, true, _) => "connected".to_owned(),
            (None, false, Some(at_ms)) => ago(at_ms),
            (None, false, None) => "never".to_owned(),
        };
        table.row([
            peer.node.to_string(),
            peer.name.clone().unwrap_or_default(),
            peer.origin.word().to_owned(),
            human::bytes(peer.kept_bytes),
            human::bytes(peer.allow_bytes),
            seen,
            addresses(peer),
        ]);
    }
    table
}

/// The first, and how many there are besides.
fn addresses(peer: &Peer) -> String {
    match peer.addresses.as_slice() {
        [] => peer.last_address.clone().unwrap_or_default(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    let size = config::human::parse_size(text).filter(|bytes| *bytes > 0);
    size.ok_or_else(|| format!("{text:?} is no size such as \"200 GB\" or \"64 GiB\""))
}

const PEERS: &str = "/v1/peers";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::Origin, network::tests::peer};

    #[test]
    fn peers_are_listed_with_when_they_were_there() {
        let several = ["a:1", "b:2", "c:3"].map(str::to_owned).to_vec();
        let peers = [
            peer(1),
            Peer {
                name: Some("ann".to_owned()),
                seen_at_ms: Some(7),
                origin: Origin::Invited,
                addresses: several,
                ..peer(2)
            },
            Peer { connected: true, addresses: Vec::new(), last_address: Some("h:9".to_owned()), ..peer(3) },
            Peer { connected: true, blocked: Some("spam".to_owned()), origin: Origin::Introduced, ..peer(4) },
        ];
        let lines: Vec<String> = table(&peers, |at_ms| format!("{at_ms} ms ago")).lines().collect();
        let check = |at: usize, known: &str, end: &str| {
            let id = peers[at].node.to_string();
            let rest = lines[at + 1].strip_prefix(&id).unwrap();
            assert!(rest.trim_start().starts_with(known) && rest.ends_with(end), "{rest}");
            assert!(rest.contains("3.00 MiB  1.00 GiB"), "{rest}");
        };
        check(0, "configured", "never      example.org:4433");
        check(1, "ann   invited", "7 ms ago   a:1 and 2 more");
        check(2, "configured", "connected  h:9");
        check(3, "introduced", "blocked    example.org:4433");
    }

    #[test]
    fn ping_says_how_the_other_sees_this_node() {
        let ping = Ping {
            node: NodeId::from_bytes([1; 32]),
            address: "192.0.2.7:4433".to_owned(),
            took_us: 23_400,
            software: "tesseras 0.1.0".to_owned(),
            addresses: Vec::new(),
            observed: "198.51.100.3:4433".to_owned(),
            reaches_us: Some(false),
            allowance_bytes: 200_000_000_000,
            bound: Some(Bound::Allowance),
        };
        let check = |ping: &Ping, name: &str, expected: &str| {
            let fields = fields(ping);
            let found = fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.as_str());
            assert!(found.is_some_and(|found| found.starts_with(expected)), "{name}: {found:?}");
        };
        check(&ping, "answers from", "192.0.2.7:4433, in 23 ms");
        check(&ping, "keeps for us", "up to 186.26 GiB");
        check(
            &Ping { allowance_bytes: 0, ..ping.clone() },
            "keeps for us",
            "nothing more: `peers add … --allow` there",
        );
        let full = Ping { allowance_bytes: 0, bound: Some(Bound::Room), ..ping.clone() };
        check(&full, "keeps for us", "nothing more: its disk");
        check(&ping, "reaches us", "no: a router");
        check(&Ping { reaches_us: Some(true), ..ping.clone() }, "reaches us", "yes");
        check(&Ping { reaches_us: None, ..ping }, "reaches us", "it did not try");
    }

    #[test]
    fn several_addresses_are_of_one_node() {
        let at = |number: u8, address: &str| -> PeerAddress {
            format!("{}@{address}", NodeId::from_bytes([number; 32])).parse().unwrap()
        };
        let one = new(&[at(1, "a:1"), at(1, "b:2")], Some(7), None).unwrap();
        assert_eq!((one.addresses, one.allow_bytes), (vec!["a:1".to_owned(), "b:2".to_owned()], Some(7)));
        let several = new(&[at(1, "a:1"), at(2, "b:2")], None, None).unwrap_err().to_string();
        assert!(several.contains("several nodes"), "{several}");
        assert_eq!(
            (size("200 GB"), size("0 B").is_err(), size("7").is_err()),
            (Ok(200_000_000_000), true, true)
        );
    }
}

//! The connections with other nodes, as JSON; the rest of the admin socket's JSON is in `api`.

use std::{net::SocketAddr, time::Duration};

use actors::{
    System,
    conn_pool::{ConnectionStatus, PoolStatus, WaitingStatus},
};
use proto::NodeId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{human, schema};

/// `GET /v1/pool`: the connections with other nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Pool {
    /// Where others reach this node, by UDP; absent when it only dials.
    pub(crate) listens_at: Option<String>,
    /// The most connections at a time.
    pub(crate) connections_max: usize,
    /// Those that there are, in the order of the nodes.
    pub(crate) connections: Vec<Connection>,
    /// Nodes that are being dialled.
    #[schema(value_type = Vec<schema::NodeId>)]
    pub(crate) dialling: Vec<NodeId>,
    /// Nodes that could not be reached lately, and are left alone for a while.
    pub(crate) waiting: Vec<Waiting>,
}

/// A connection with another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Connection {
    /// Who is at the other end.
    #[schema(value_type = schema::NodeId)]
    pub(crate) node: NodeId,
    /// Its address.
    pub(crate) address: String,
    /// Whether it has dialled.
    pub(crate) inbound: bool,
    /// Whether it is held open, so that a node behind a router stays reachable.
    pub(crate) kept: bool,
    /// Requests under way on it.
    pub(crate) streams: usize,
    /// How long it has been open, in milliseconds.
    pub(crate) open_for_ms: u64,
    /// How long it has carried nothing, in milliseconds.
    pub(crate) idle_for_ms: u64,
    /// How long a packet takes there and back, in microseconds.
    pub(crate) round_trip_us: u64,
}

/// A node that is left alone for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Waiting {
    /// Which one.
    #[schema(value_type = schema::NodeId)]
    pub(crate) node: NodeId,
    /// How dialling it ended.
    pub(crate) reason: String,
    /// For how long still, in milliseconds.
    pub(crate) retry_after_ms: u64,
}

impl From<PoolStatus> for Pool {
    fn from(status: PoolStatus) -> Self {
        let PoolStatus { listens_at, connections_max, connections, dialling, waiting } = status;
        Self {
            listens_at: listens_at.map(|address| address.to_string()),
            connections_max,
            connections: connections.into_iter().map(Connection::from).collect(),
            dialling,
            waiting: waiting.into_iter().map(Waiting::from).collect(),
        }
    }
}

impl From<ConnectionStatus> for Connection {
    fn from(status: ConnectionStatus) -> Self {
        Self {
            node: status.node,
            address: status.address.to_string(),
            inbound: status.is_inbound,
            kept: status.is_kept,
            streams: status.streams,
            open_for_ms: ms(status.open_for),
            idle_for_ms: ms(status.idle_for),
            round_trip_us: us(status.round_trip),
        }
    }
}

impl From<WaitingStatus> for Waiting {
    fn from(status: WaitingStatus) -> Self {
        let WaitingStatus { node, trouble, retry_after } = status;
        Self { node, reason: trouble.to_string(), retry_after_ms: ms(retry_after) }
    }
}

/// How it stands with other nodes, in `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Network {
    /// Where others reach this node, by UDP; absent when it only dials.
    pub(crate) listens_at: Option<String>,
    /// Where it tells others that it is reached.
    pub(crate) addresses: Vec<String>,
    /// How many others are known: those that were added, invited or named in the settings, and are not blocked.
    pub(crate) peers: usize,
    /// How many of them are connected; absent while that cannot be said.
    pub(crate) connected: Option<usize>,
    /// How many others are connected.
    #[serde(default)]
    pub(crate) strangers: usize,
    /// Whether another node could connect to this one by itself, when one tried last; absent when none has tried lately.
    pub(crate) reached: Option<Reached>,
}

/// Another node has tried to connect to this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Reached {
    /// Which one.
    #[schema(value_type = schema::NodeId)]
    pub(crate) by: NodeId,
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// Whether it could.
    pub(crate) worked: bool,
}

impl Network {
    /// As it is now; without the pool it cannot be said who is connected.
    pub(crate) fn new(system: &System, pool: Option<&PoolStatus>, listens_at: Option<SocketAddr>) -> Self {
        let book = system.peers.book();
        let connected =
            pool.map(|pool| pool.connections.iter().filter(|one| book.is_wanted(one.node)).count());
        let all = pool.map_or(0, |pool| pool.connections.len());
        let reached = system.peers.reach().tried.map(|(by, at_ms, worked)| Reached { by, at_ms, worked });
        Self {
            listens_at: listens_at.map(|address| address.to_string()),
            addresses: system.peers.announced(),
            peers: book.peers.keys().filter(|peer| book.is_wanted(**peer)).count(),
            connected,
            strangers: all - connected.unwrap_or_default(),
            reached,
        }
    }

    /// What there is of it, in a line: `3 nodes known, 2 connected`.
    pub(crate) fn known(&self) -> String {
        let known = human::count(self.peers as u64, "node known", "nodes known");
        match self.connected {
            Some(connected) if self.strangers > 0 => {
                let strangers = human::count(self.strangers as u64, "stranger", "strangers");
                format!("{known}, {connected} connected, and {strangers}")
            }
            Some(connected) => format!("{known}, {connected} connected"),
            None => format!("{known}; whether they are connected cannot be said at the moment"),
        }
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A span in microseconds.
pub(crate) fn us(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

//! What the pool can be told. Nobody outside this folder can name these.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use config::HostPort;
use proto::NodeId;
use quinn::{RecvStream, SendStream};
use ractor::RpcReplyPort;

use super::{
    link::{Lease, Link},
    trouble::PeerTrouble,
};
use crate::{error::ActorError, supervision::gate::Slot};

/// A reply to a request.
pub(super) type Reply<T> = RpcReplyPort<Result<T, ActorError>>;

/// A message to the pool.
#[derive(Debug)]
pub(super) enum PoolMsg {
    /// The use of a connection to a node, dialling it if need be.
    Lease { node: NodeId, slot: Slot, reply: Reply<Lease> },
    /// See whether a node can be dialled at an address, whatever connection to it there is.
    Probe { node: NodeId, address: HostPort, slot: Slot, reply: Reply<()> },
    /// What the pool holds.
    List { slot: Slot, reply: Reply<PoolStatus> },
    /// A node has been dialled.
    Dialled { node: NodeId, outcome: Result<Arc<Link>, PeerTrouble> },
    /// A node has dialled us, and may.
    Accepted { link: Arc<Link> },
    /// A connection is gone.
    Closed { link: Arc<Link>, trouble: PeerTrouble },
    /// What is known of other nodes has changed.
    BookChanged,
    /// Time to look for connections that nobody uses.
    Reap,
    /// Begin nothing new, and answer when the streams that are open have ended, or have had their time. Without a slot.
    Finish(RpcReplyPort<()>),
    /// Is anybody there? Answered at once, and without a slot.
    Ping(RpcReplyPort<()>),
    /// Fall, for the tests of supervision.
    #[cfg(feature = "faults")]
    Panic,
}

/// A stream that a peer has opened, for whoever serves it.
#[derive(Debug)]
pub struct Inbound {
    /// The use of the connection it is on.
    pub(crate) lease: Lease,
    /// Whether the node is known here.
    pub(crate) is_known: bool,
    /// What is answered.
    pub(crate) send: SendStream,
    /// What is asked.
    pub(crate) receive: RecvStream,
}

/// What the pool holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolStatus {
    /// Where it listens for others, if it does.
    pub listens_at: Option<SocketAddr>,
    /// The most connections at a time.
    pub connections_max: usize,
    /// The connections, by node.
    pub connections: Vec<ConnectionStatus>,
    /// Nodes that are being dialled.
    pub dialling: Vec<NodeId>,
    /// Nodes that could not be reached lately.
    pub waiting: Vec<WaitingStatus>,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionStatus {
    /// The node at the other end.
    pub node: NodeId,
    /// Its address.
    pub address: SocketAddr,
    /// Whether it has dialled us.
    pub is_inbound: bool,
    /// Whether it is held open.
    pub is_kept: bool,
    /// Streams that are open on it.
    pub streams: usize,
    /// How long it has been open.
    pub open_for: Duration,
    /// How long nobody has used it.
    pub idle_for: Duration,
    /// How long a packet takes there and back.
    pub round_trip: Duration,
    /// Bytes of UDP that were sent on it.
    pub sent_bytes: u64,
    /// Bytes of UDP that came on it.
    pub received_bytes: u64,
}

/// A node that is left alone for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingStatus {
    /// The node.
    pub node: NodeId,
    /// How it ended the last time.
    pub trouble: PeerTrouble,
    /// For how long still.
    pub retry_after: Duration,
}

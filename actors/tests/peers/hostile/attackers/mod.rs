//! Those who attack a node. The tests see that it survives them, and `make bench` what they cost an honest peer.

pub(crate) mod callers;
pub(crate) mod forgers;
pub(crate) mod stallers;

use std::net::SocketAddr;

use proto::NodeId;

/// The node that is attacked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Victim {
    pub(crate) node: NodeId,
    pub(crate) address: SocketAddr,
}

/// Whatever keeps them from attacking.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

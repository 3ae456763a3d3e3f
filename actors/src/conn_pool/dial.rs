//! One dial: to one node, at one of its addresses.

use std::{net::SocketAddr, sync::Arc};

use config::HostPort;
use proto::NodeId;
use quinn::{ClientConfig, ConnectionError, Endpoint, TransportErrorCode};
use tokio::time::timeout;

use super::{
    identity,
    limits::HANDSHAKE,
    link::{Clock, Link},
    trouble::PeerTrouble,
};

/// What to dial, and as whom.
pub(super) struct Dial {
    pub(super) endpoint: Endpoint,
    pub(super) config: ClientConfig,
    pub(super) us: NodeId,
    pub(super) node: NodeId,
    pub(super) address: HostPort,
    pub(super) is_kept: bool,
    pub(super) clock: Clock,
}

impl Dial {
    /// Makes the connection. Must run on the endpoint's thread.
    pub(super) async fn run(self) -> Result<Arc<Link>, PeerTrouble> {
        match timeout(HANDSHAKE, self.connect()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(unreachable(&self.address, &format!("no answer within {} s", HANDSHAKE.as_secs()))),
        }
    }

    async fn connect(&self) -> Result<Arc<Link>, PeerTrouble> {
        let address = self.resolve().await?;
        let connecting = self
            .endpoint
            .connect_with(self.config.clone(), address, SERVER_NAME)
            .map_err(|error| unreachable(&self.address, &error))?;
        let connection = connecting.await.map_err(|error| self.failed(error))?;
        // The handshake has made sure of it; nobody is taken for somebody else all the same.
        if identity::peer(&connection) != Some(self.node) {
            return Err(PeerTrouble::WrongKey { address: self.address.to_string() });
        }
        let link = Link::new(connection, Some(self.us), self.is_kept, self.clock);
        link.map(Arc::new).ok_or_else(|| unreachable(&self.address, &"the handshake was not complete"))
    }

    async fn resolve(&self) -> Result<SocketAddr, PeerTrouble> {
        if let Some(address) = self.address.socket_addr() {
            return Ok(address);
        }
        let name = self.address.to_string();
        let found =
            tokio::net::lookup_host(&name).await.map_err(|error| unreachable(&self.address, &error))?;
        let is_v4_only = self.endpoint.local_addr().is_ok_and(|address| address.is_ipv4());
        let usable = found.filter(|address| address.is_ipv4() || !is_v4_only);
        // An IPv4 address first: of a name with both, it is the one that works almost everywhere.
        usable
            .min_by_key(SocketAddr::is_ipv6)
            .ok_or_else(|| unreachable(&self.address, &"the name has no address that this machine can reach"))
    }

    fn failed(&self, error: ConnectionError) -> PeerTrouble {
        match &error {
            ConnectionError::TransportError(inner) if inner.code == wrong_key() => {
                PeerTrouble::WrongKey { address: self.address.to_string() }
            }
            ConnectionError::ConnectionClosed(closed) if closed.error_code == no_protocol() => {
                unreachable(&self.address, &"it speaks another protocol or another version of ours")
            }
            ConnectionError::VersionMismatch => {
                unreachable(&self.address, &"it speaks another version of QUIC than ours, 1")
            }
            ConnectionError::ApplicationClosed(_) => error.into(),
            _ => unreachable(&self.address, &error),
        }
    }
}

fn unreachable(address: &HostPort, reason: &dyn std::fmt::Display) -> PeerTrouble {
    PeerTrouble::Unreachable { reason: format!("{address}: {reason}") }
}

/// What our own verifier makes of a key that is not the expected one: the TLS alert `access_denied` (RFC 8446 §6.2).
fn wrong_key() -> TransportErrorCode {
    TransportErrorCode::crypto(49)
}

/// The TLS alert `no_application_protocol` (RFC 7301 §3.2).
fn no_protocol() -> TransportErrorCode {
    TransportErrorCode::crypto(120)
}

/// TLS wants a name. Nobody is told it, and nobody is known by it.
const SERVER_NAME: &str = "tesseras";

//! A bare endpoint that speaks our TLS and nothing else, for the tests that misbehave and the benches that compare.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
};

use proto::{NodeId, NodeKey};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig,
};

use super::{
    identity::{ALPN, Identity, peer},
    reset::{RandomIds, ResetKey},
};
use crate::error::ActorError;

/// A key and an endpoint on loopback, on the runtime that makes it.
#[derive(Clone)]
pub struct Raw {
    identity: Identity,
    endpoint: Endpoint,
    transport: Arc<TransportConfig>,
    us: NodeId,
}

impl Raw {
    /// At an address, of which port 0 is any. With a transport of one's own.
    pub fn bind(key: &NodeKey, address: SocketAddr, transport: TransportConfig) -> Result<Self, ActorError> {
        let identity = Identity::new(key)?;
        let mut config = ServerConfig::with_crypto(Arc::new(identity.server()?));
        let transport = Arc::new(transport);
        config.transport_config(transport.clone());
        // As a node does, so that the node that is started in its place knows its connections again, and that they are dead.
        let mut endpoint_config = EndpointConfig::new(Arc::new(ResetKey::of(key)));
        endpoint_config.cid_generator(|| Box::new(RandomIds));
        let socket = UdpSocket::bind(address)?;
        let endpoint = Endpoint::new(endpoint_config, Some(config), socket, Arc::new(TokioRuntime))?;
        Ok(Self { identity, endpoint, transport, us: key.id() })
    }

    /// Who it is.
    pub fn node(&self) -> NodeId {
        self.us
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr, ActorError> {
        Ok(self.endpoint.local_addr()?)
    }

    /// The endpoint itself.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The same endpoint with another key to dial with.
    pub fn with_key(&self, key: &NodeKey) -> Result<Self, ActorError> {
        Ok(Self { identity: Identity::new(key)?, us: key.id(), ..self.clone() })
    }

    /// From now on it answers only those who speak another protocol.
    pub fn speak(&self, protocol: &[u8]) -> Result<(), ActorError> {
        let config = ServerConfig::with_crypto(Arc::new(self.identity.server_of(&[protocol])?));
        self.endpoint.set_server_config(Some(config));
        Ok(())
    }

    /// What it takes to dial a node, with a protocol of one's own, or none if that is empty.
    pub fn client(&self, node: NodeId, protocol: &[u8]) -> Result<ClientConfig, ActorError> {
        let mut config = ClientConfig::new(Arc::new(self.identity.client(node, protocol)?));
        config.transport_config(self.transport.clone());
        Ok(config)
    }

    /// Dials a node as one that knows the protocol.
    pub async fn dial(&self, node: NodeId, address: SocketAddr) -> Result<Connection, ActorError> {
        let broken = |reason: String| ActorError::Network { reason };
        let connecting = self.endpoint.connect_with(self.client(node, ALPN)?, address, "raw");
        let connecting = connecting.map_err(|error| broken(error.to_string()))?;
        connecting.await.map_err(|error| broken(error.to_string()))
    }

    /// The next node that dials, and the connection.
    pub async fn accept(&self) -> Option<(NodeId, Connection)> {
        let connection = self.endpoint.accept().await?.await.ok()?;
        Some((peer(&connection)?, connection))
    }
}

/// The connection's own secret, as both ends have it.
pub fn binding(connection: &Connection) -> Option<[u8; 32]> {
    let mut binding = [0; 32];
    connection.export_keying_material(&mut binding, super::link::BINDING_LABEL, b"").ok()?;
    Some(binding)
}

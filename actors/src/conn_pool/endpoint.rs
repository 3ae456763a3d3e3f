//! The one UDP socket, the thread that drives it, and the endpoint on it.
//!
//! The thread has a runtime of its own: packets are sent and received without a hop between threads, which is twice as
//! fast for small requests, and a busy node elsewhere does not delay them.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{Arc, OnceLock},
    thread,
};

use proto::{NodeId, NodeKey};
use quinn::{
    AckFrequencyConfig, ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime,
    TransportConfig, VarInt, crypto::HmacKey,
};
use rustix::net::sockopt;
use tokio::{
    runtime::{self, Handle},
    sync::{Mutex, oneshot},
    time::timeout,
};

use super::{
    identity::{ALPN, Identity, PROBE_ALPN},
    limits::{
        CLOSING, GUEST_STREAMS_MAX, INCOMING_BYTES_MAX, INCOMING_MAX, KEEP_ALIVE, KEEP_ALIVE_MIN,
        KEEP_ALIVE_SHARE, SILENCE, SOCKET_BUFFER_BYTES, STREAM_WINDOW_BYTES, UNACKNOWLEDGED_MAX,
    },
    link::Close,
    reset::{RandomIds, ResetKey},
    windows,
};
use crate::error::ActorError;

/// The socket and its thread. There is one for as long as the node runs; endpoints on it come and go with the actor.
pub(super) struct Port {
    socket: UdpSocket,
    address: SocketAddr,
    accepts: bool,
    identity: Identity,
    reset_key: Arc<dyn HmacKey>,
    idle: std::time::Duration,
    /// What each connection begins with, for either direction, in bytes.
    window_bytes: u32,
    thread: Handle,
    /// Ends the thread when it is dropped.
    _end: oneshot::Sender<()>,
    open: Mutex<Option<Endpoint>>,
    apart: OnceLock<Endpoint>,
}

impl Port {
    /// Binds the socket and starts the thread. Without an address it only dials.
    pub(super) fn bind(
        listen: Option<SocketAddr>,
        key: &NodeKey,
        idle: std::time::Duration,
        connections_max: usize,
    ) -> Result<Self, ActorError> {
        let socket = bind(listen)?;
        let address = socket.local_addr()?;
        let (end, ended) = oneshot::channel();
        Ok(Self {
            accepts: listen.is_some(),
            identity: Identity::new(key)?,
            reset_key: Arc::new(ResetKey::of(key)),
            thread: spawn(ended)?,
            _end: end,
            open: Mutex::new(None),
            apart: OnceLock::new(),
            socket,
            address,
            idle,
            window_bytes: windows::first(connections_max),
        })
    }

    /// Where it listens; without listening, where it dials from.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, if it does.
    pub(super) fn listens_at(&self) -> Option<SocketAddr> {
        self.accepts.then_some(self.address)
    }

    /// The thread's runtime: what drives connections and serves streams runs there.
    pub(super) fn thread(&self) -> &Handle {
        &self.thread
    }

    /// A fresh endpoint; whatever the one before had open is closed.
    pub(super) async fn open(&self) -> Result<Endpoint, ActorError> {
        let mut open = self.open.lock().await;
        if let Some(before) = open.take() {
            close(&before).await;
        }
        let server = if self.accepts { Some(self.server()?) } else { None };
        let socket = self.socket.try_clone()?;
        let mut config = EndpointConfig::new(self.reset_key.clone());
        config.cid_generator(|| Box::new(RandomIds));
        // Not those that came before the standard.
        config.supported_versions(vec![QUIC_VERSION]);
        let _inside = self.thread.enter();
        let endpoint = Endpoint::new(config, server, socket, Arc::new(TokioRuntime))?;
        *open = Some(endpoint.clone());
        Ok(endpoint)
    }

    /// What it takes to dial a node, and perhaps to hold the connection open.
    pub(super) fn client(&self, node: NodeId, is_kept: bool) -> Result<ClientConfig, ActorError> {
        let mut config = ClientConfig::new(Arc::new(self.identity.client(node, ALPN)?));
        let mut transport = self.transport()?;
        transport.keep_alive_interval(is_kept.then_some(keep_alive(self.idle)));
        config.transport_config(Arc::new(transport));
        Ok(config)
    }

    /// What it takes to see whether a node can be dialled.
    pub(super) fn prober(&self, node: NodeId) -> Result<ClientConfig, ActorError> {
        Ok(ClientConfig::new(Arc::new(self.identity.client(node, PROBE_ALPN)?)))
    }

    /// An endpoint on a socket of its own: a router lets in what comes from the one that its node has talked to, so only
    /// another one shows whether anybody can dial it. Made when it is first needed, and kept: its buffers are large.
    pub(super) fn apart(&self) -> Result<Endpoint, ActorError> {
        if let Some(apart) = self.apart.get() {
            return Ok(apart.clone());
        }
        let any = if self.address.is_ipv4() { SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)) } else { ANY_V6 };
        let _inside = self.thread.enter();
        let socket = UdpSocket::bind(any)?;
        let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))?;
        Ok(self.apart.get_or_init(|| endpoint).clone())
    }

    fn server(&self) -> Result<ServerConfig, ActorError> {
        let mut config = ServerConfig::with_crypto(Arc::new(self.identity.server()?));
        config.transport_config(Arc::new(self.transport()?));
        config.max_incoming(INCOMING_MAX);
        config.incoming_buffer_size_total(INCOMING_BYTES_MAX);
        Ok(config)
    }

    /// What each connection begins with, for either direction, in bytes.
    pub(super) fn window_bytes(&self) -> u32 {
        self.window_bytes
    }

    /// Windows and stream limits are explicit: with the defaults one peer could park hundreds of megabytes here. They are
    /// those of a guest; the pool gives more to nodes that the operator wants.
    fn transport(&self) -> Result<TransportConfig, ActorError> {
        let mut transport = TransportConfig::default();
        let mut acknowledgements = AckFrequencyConfig::default();
        acknowledgements.ack_eliciting_threshold(UNACKNOWLEDGED_MAX.into());
        let silence = IdleTimeout::try_from(self.idle + SILENCE)
            .map_err(|error| ActorError::Network { reason: format!("pool_idle_timeout_secs: {error}") })?;
        transport
            .max_idle_timeout(Some(silence))
            .ack_frequency_config(Some(acknowledgements))
            .stream_receive_window(STREAM_WINDOW_BYTES.into())
            .receive_window(self.window_bytes.into())
            .send_window(self.window_bytes.into())
            .max_concurrent_bidi_streams(GUEST_STREAMS_MAX.into())
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None);
        Ok(transport)
    }
}

/// How often a packet holds a connection open: several times within what the other side lets it idle, which is likely to be
/// as long as here.
fn keep_alive(idle: std::time::Duration) -> std::time::Duration {
    (idle / KEEP_ALIVE_SHARE).clamp(KEEP_ALIVE_MIN, KEEP_ALIVE)
}

/// Closes all connections of an endpoint, and waits a moment for the other sides to hear of it.
pub(super) async fn close(endpoint: &Endpoint) {
    endpoint.close(Close::Stopping.code(), STOPPING.as_bytes());
    // Whoever does not hear of it in time finds out by itself.
    let _ = timeout(CLOSING, endpoint.wait_idle()).await;
}

fn bind(listen: Option<SocketAddr>) -> Result<UdpSocket, ActorError> {
    let wanted = listen.unwrap_or(ANY_V6);
    let bound = UdpSocket::bind(wanted).or_else(|error| {
        // A machine without IPv6: all its addresses are those of IPv4.
        let is_any_v6 = wanted.is_ipv6() && wanted.ip().is_unspecified();
        let has_none = error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
        if is_any_v6 && has_none {
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, wanted.port()))
        } else {
            Err(error)
        }
    });
    let socket = bound.map_err(|error| not_bound(wanted, &error))?;
    // Granted as far as the system allows; with less, bursts are lost and sent again.
    let _ = sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER_BYTES);
    let _ = sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER_BYTES);
    Ok(socket)
}

fn not_bound(wanted: SocketAddr, error: &io::Error) -> ActorError {
    let reason = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "UDP port {} is in use, by another node perhaps: stop that, or set node.listen_addr to another port or \"off\"",
            wanted.port()
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("this machine has no address {}: set node.listen_addr to one that it has", wanted.ip())
        }
        _ => format!(
            "cannot listen on {wanted} ({error}): set node.listen_addr to another address, or \"off\""
        ),
    };
    ActorError::Network { reason }
}

/// What the other sides are told.
pub(super) const STOPPING: &str = "this node stops or starts anew";
/// Version 1 (RFC 9000).
const QUIC_VERSION: u32 = 1;

fn spawn(ended: oneshot::Receiver<()>) -> Result<Handle, ActorError> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name("quic".to_owned()).spawn(move || {
        // An error is what a dropped sender gives: it means the same.
        let _ = runtime.block_on(ended);
    })?;
    Ok(handle)
}

const ANY_V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

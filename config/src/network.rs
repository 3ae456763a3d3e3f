//! `[network]`, and what other sections say about other nodes: who they are, what they may, and at what cost.

use std::{net::SocketAddr, time::Duration};

use proto::limits::FRAGMENT_BYTES_MAX;

use crate::{
    address::{HostPort, Listen, PeerAddress},
    human,
    reader::Reader,
    value::{Choice, Rate, Size},
};

/// What a node needs to know to talk to others, gathered from `[node]`, `[network]`, `[performance]` and `[replication]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Where others reach it, by UDP; `None` for a node that only dials.
    pub listen_addr: Option<SocketAddr>,
    /// The nodes that the operator knows, each once.
    pub peers: Vec<PeerAddress>,
    /// Where it says that it is reached, beside what others see.
    pub announce: Vec<HostPort>,
    /// Who may have something kept here.
    pub accept: Accept,
    /// What is held for others.
    pub hold: Hold,
    /// At most so many bytes a second are sent; `None` for as fast as it goes.
    pub upload: Option<u64>,
    /// At most so many bytes a second are received; `None` for as fast as it goes.
    pub download: Option<u64>,
    /// At most so many new connections are begun in a minute.
    pub dials_per_minute: u32,
    /// At most so many connections may be opening at once that others have begun.
    pub max_concurrent_handshakes: usize,
    /// At most so many connections exist, whoever began them.
    pub pool_max_connections: usize,
    /// A connection that has carried nothing for so long is closed.
    pub pool_idle_timeout: Duration,
    /// How often such connections are looked for.
    pub pool_reaper_interval: Duration,
    /// At most so many bytes are held for a peer that has no allowance of its own, and for a stranger whatever it holds.
    pub max_storage_per_peer_bytes: u64,
    /// At most so many bytes more are held for a stranger than its machines hold for this node.
    pub accept_deficit_bytes: u64,
}

/// On a machine that is not small.
impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            listen_addr: Some(LISTEN_ADDR),
            peers: Vec::new(),
            announce: Vec::new(),
            accept: Accept::Known,
            hold: Hold::Any,
            upload: None,
            download: None,
            dials_per_minute: DIALS_PER_MINUTE,
            max_concurrent_handshakes: 64,
            pool_max_connections: 256,
            pool_idle_timeout: seconds(POOL_IDLE_TIMEOUT_SECS),
            pool_reaper_interval: seconds(POOL_REAPER_INTERVAL_SECS),
            max_storage_per_peer_bytes: MAX_STORAGE_PER_PEER,
            accept_deficit_bytes: ACCEPT_DEFICIT,
        }
    }
}

/// Who may have something kept here. Any node may connect and read what is published, unless it is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// Peers.
    Known,
    /// Everybody, within bounds.
    Any,
}

impl Choice for Accept {
    const EXPECTED: &'static str = r#""known" or "any""#;
    const ALL: &'static [(&'static str, Self)] = &[("known", Self::Known), ("any", Self::Any)];
}

/// What is held for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Whatever they bring.
    Any,
    /// Only what is encrypted.
    Private,
    /// Nothing.
    None,
}

impl Choice for Hold {
    const EXPECTED: &'static str = r#""any", "private" or "none""#;
    const ALL: &'static [(&'static str, Self)] =
        &[("any", Self::Any), ("private", Self::Private), ("none", Self::None)];
}

/// `[network]` alone.
pub(crate) struct Network {
    peers: Vec<PeerAddress>,
    announce: Vec<HostPort>,
    accept: Accept,
    hold: Hold,
    upload: Option<Rate>,
    download: Option<Rate>,
    dials_per_minute: u32,
    max_concurrent_handshakes: u32,
}

/// The part of `[performance]` that is about connections.
pub(crate) struct Pool {
    max_connections: u32,
    idle_timeout_secs: u32,
    reaper_interval_secs: u32,
}

/// Reads `node.listen_addr`.
pub(crate) fn listen_addr(r: &mut Reader) -> Option<SocketAddr> {
    let listen = r.read(
        "node.listen_addr",
        Listen(Some(LISTEN_ADDR)),
        "Where other nodes reach this one, by UDP; \"[::]\" is every address of this machine, \"0.0.0.0\" only those of\n\
         IPv4. \"off\" for a node that only dials: others reach it over the connections that it keeps to its peers.",
    );
    listen.0
}

/// Reads `[network]`.
pub(crate) fn network(r: &mut Reader) -> Network {
    Network {
        peers: r.read(
            "network.peers",
            Vec::new(),
            "The nodes of people one knows, each with its id: [\"node1…@example.org:4433\", \"node1…@[2001:db8::7]:4433\"].\n\
             One that has several addresses is named once for each. `peers add` keeps more of them in the index.",
        ),
        announce: r.read(
            "network.announce",
            Vec::new(),
            "Where other nodes are told to reach this one, when its router forwards a port: [\"example.org:4433\"].",
        ),
        accept: r.read(
            "network.accept",
            Accept::Known,
            "Who may have something kept here: \"known\" for peers, \"any\" for everybody, within bounds. Any node may connect,\n\
             unless it is blocked, and whoever knows the id of a tessera may read what is kept of it: what is private is encrypted.",
        ),
        hold: r.read(
            "network.hold",
            Hold::Any,
            "What is held here for others: \"any\" tessera, \"private\" for encrypted ones only, or \"none\".",
        ),
        upload: r.read(
            "network.upload",
            None::<Rate>,
            "The most that is sent to other nodes, all together, such as \"2 MiB/s\"; \"none\" for as fast as it goes.",
        ),
        download: r.read(
            "network.download",
            None::<Rate>,
            "The most that is received from other nodes, all together; \"none\" for as fast as it goes.",
        ),
        dials_per_minute: r.read(
            "network.dials_per_minute",
            DIALS_PER_MINUTE,
            "The most connections that this node begins in a minute. Routers at home choke on too many.",
        ),
        max_concurrent_handshakes: r.read_preset(
            "network.max_concurrent_handshakes",
            |preset| preset.max_concurrent_handshakes,
            "The most connections of others that may be opening at once. Each costs a signature and some memory.",
        ),
    }
}

/// Reads what `[performance]` says about connections.
pub(crate) fn pool(r: &mut Reader) -> Pool {
    Pool {
        max_connections: r.read_preset(
            "performance.pool_max_connections",
            |preset| preset.pool_max_connections,
            "The most connections with other nodes, whoever began them. The longest idle one makes room for a new one.",
        ),
        idle_timeout_secs: r.read(
            "performance.pool_idle_timeout_secs",
            POOL_IDLE_TIMEOUT_SECS,
            "A connection that has carried nothing for so many seconds is closed.",
        ),
        reaper_interval_secs: r.read(
            "performance.pool_reaper_interval_secs",
            POOL_REAPER_INTERVAL_SECS,
            "How often such connections are looked for, in seconds.",
        ),
    }
}

/// What `[replication]` says about what may be held for others.
pub(crate) struct Allowances {
    max_storage_per_peer: Size,
    accept_deficit: Size,
}

/// Reads what `[replication]` says about that.
pub(crate) fn allowances(r: &mut Reader) -> Allowances {
    Allowances {
        max_storage_per_peer: r.read(
            "replication.max_storage_per_peer",
            Size(MAX_STORAGE_PER_PEER),
            "The most that is held for a peer that has no allowance of its own (`peers add --allow`), or for a stranger.",
        ),
        accept_deficit: r.read(
            "replication.accept_deficit",
            Size(ACCEPT_DEFICIT),
            "Strangers store here only with network.accept = \"any\": how much more is held for one than its machines hold\n\
             for this node, and never more than replication.max_storage_per_peer in all. `ledger` shows both.",
        ),
    }
}

/// Checks what was read, and puts it together.
pub(crate) fn config(
    r: &mut Reader,
    listen_addr: Option<SocketAddr>,
    network: Network,
    pool: &Pool,
    allowances: &Allowances,
) -> NetworkConfig {
    let counts = [
        ("network.dials_per_minute", network.dials_per_minute, (1, DIALS_PER_MINUTE_MAX)),
        ("network.max_concurrent_handshakes", network.max_concurrent_handshakes, (1, HANDSHAKES_MAX)),
        ("performance.pool_max_connections", pool.max_connections, (CONNECTIONS_MIN, CONNECTIONS_MAX)),
        ("performance.pool_idle_timeout_secs", pool.idle_timeout_secs, (1, IDLE_TIMEOUT_SECS_MAX)),
        ("performance.pool_reaper_interval_secs", pool.reaper_interval_secs, (1, REAPER_INTERVAL_SECS_MAX)),
    ];
    for (key, value, (least, most)) in counts {
        let name = key.rsplit('.').next().unwrap_or(key);
        r.require(
            (least..=most).contains(&value),
            &[key],
            format!("{name} must lie between {least} and {most}"),
        );
    }
    for (key, rate) in [("network.upload", network.upload), ("network.download", network.download)] {
        r.require(
            rate.is_none_or(|rate| rate.0 >= RATE_MIN),
            &[key],
            format!("with less than {}/s requests would take longer than others wait", human::size(RATE_MIN)),
        );
    }
    r.require(
        allowances.max_storage_per_peer.0 >= STORAGE_PER_PEER_MIN,
        &["replication.max_storage_per_peer"],
        format!("a peer must have room for a fragment, {}", human::size(STORAGE_PER_PEER_MIN)),
    );
    r.require(
        listen_addr.is_some() || network.announce.is_empty(),
        &["node.listen_addr", "network.announce"],
        "a node that does not listen cannot be reached where it says",
    );
    NetworkConfig {
        listen_addr,
        peers: network.peers,
        announce: network.announce,
        accept: network.accept,
        hold: network.hold,
        upload: network.upload.map(|rate| rate.0),
        download: network.download.map(|rate| rate.0),
        dials_per_minute: network.dials_per_minute,
        max_concurrent_handshakes: count(network.max_concurrent_handshakes),
        pool_max_connections: count(pool.max_connections),
        pool_idle_timeout: seconds(pool.idle_timeout_secs),
        pool_reaper_interval: seconds(pool.reaper_interval_secs),
        max_storage_per_peer_bytes: allowances.max_storage_per_peer.0,
        accept_deficit_bytes: allowances.accept_deficit.0,
    }
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(u64::from(number))
}

/// Every address of this machine, IPv6 and IPv4.
const LISTEN_ADDR: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), 4433);
const DIALS_PER_MINUTE: u32 = 60;
const POOL_IDLE_TIMEOUT_SECS: u32 = 300;
const POOL_REAPER_INTERVAL_SECS: u32 = 30;
const MAX_STORAGE_PER_PEER: u64 = 1 << 30;
const ACCEPT_DEFICIT: u64 = 256 << 20;
/// Beyond this no budget would be left to speak of.
const DIALS_PER_MINUTE_MAX: u32 = 6_000;
const HANDSHAKES_MAX: u32 = 1_024;
/// One more than are kept open to peers for good.
const CONNECTIONS_MIN: u32 = 4;
/// Buffers of more would not fit any memory budget.
const CONNECTIONS_MAX: u32 = 4_096;
const IDLE_TIMEOUT_SECS_MAX: u32 = 86_400;
const REAPER_INTERVAL_SECS_MAX: u32 = 3_600;
/// The longest fragment then takes a minute.
const RATE_MIN: u64 = 16 << 10;
const STORAGE_PER_PEER_MIN: u64 = FRAGMENT_BYTES_MAX as u64;

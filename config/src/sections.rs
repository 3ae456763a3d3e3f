//! The sections: every key once, with its kind, default and meaning, and the rules between them.
//!
//! A key that nothing uses does not exist: each comes with the code that obeys it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use proto::limits::{
    CONTENT_BUFFER_BYTES_MAX, DOCUMENT_BYTES_MAX, RECORD_HEADER_BYTES, RECORD_PAYLOAD_BYTES_MAX,
};

use crate::{
    IntegrityConfig, NetworkConfig, ReplicationConfig, StorageConfig,
    collector::Collector,
    error::ConfigError,
    integrity,
    machine::Machine,
    network::{self, Pool},
    paths,
    profile::{Profile, ProfileChoice},
    reader::Reader,
    replication,
    value::{Choice, Kind, Size},
};

/// The least a segment may hold: room for the longest record, and for the header of the segment itself.
const SEGMENT_BYTES_MIN: u64 = DOCUMENT_BYTES_MAX as u64 + MIB;
/// The most a segment may hold: places in it are 32 bits wide.
const SEGMENT_BYTES_MAX: u64 = 4 << 30;
/// Above this share, compaction would copy nearly everything to win nearly nothing.
const COMPACT_BELOW_MAX: f64 = 0.9;
/// The location map gets one part in so many of the memory budget.
const LOCATION_MAP_DIVISOR: u64 = 8;
/// What connections buffer, all together, before anything is reserved for a request.
pub const CONNECTIONS_BYTES: u64 = 20 * MIB;
/// What is on its way to and from other nodes, all together.
pub const TRANSFERS_BYTES: u64 = 16 * MIB;
/// What verifying holds beside those who ask: the list of what should be there, and a piece of a segment.
const BACKGROUND_BYTES: u64 = 12 * MIB;
/// What does not depend on how much memory there is.
const FIXED_BYTES: u64 = CONNECTIONS_BYTES + TRANSFERS_BYTES + BACKGROUND_BYTES;
/// What all others must leave of the budget to requests: a document being read while another is made.
const WORKING_BYTES_MIN: u64 = (DOCUMENT_BYTES_MAX + CONTENT_BUFFER_BYTES_MAX) as u64;
const MIB: u64 = 1 << 20;
/// Each trace costs its sender and its collector a little.
const OTLP_TRACE_RATIO: f64 = 0.1;

const _: () = assert!((RECORD_HEADER_BYTES + RECORD_PAYLOAD_BYTES_MAX) as u64 <= SEGMENT_BYTES_MIN);

/// Every setting of a node, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The node as a whole.
    pub node: NodeConfig,
    /// The socket that the command line talks to.
    pub admin: AdminConfig,
    /// Memory, shared out.
    pub memory: MemoryConfig,
    /// The segment log and its index.
    pub storage: StorageConfig,
    /// Reading back what is stored.
    pub integrity: IntegrityConfig,
    /// Other nodes.
    pub network: NetworkConfig,
    /// Spreading tesserae over them.
    pub replication: ReplicationConfig,
    /// Metrics and logs.
    pub observability: ObservabilityConfig,
}

/// `[node]`, as far as it is not the storage's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// The profile that the defaults came from.
    pub profile: Profile,
    /// Where everything is kept: keys, database, segments.
    pub data_dir: PathBuf,
}

/// `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// The path of the Unix socket, at most 107 bytes long.
    pub socket: PathBuf,
    /// The group whose members may use it too.
    pub socket_group: Option<String>,
}

/// The part of `[performance]` that is about memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryConfig {
    /// For everything together, except SQLite's page cache.
    pub budget_bytes: u64,
    /// For the fragment cache; lies within the budget.
    pub fragment_cache_bytes: u64,
    /// For requests under way; what all others leave of the budget.
    pub requests_bytes: u64,
}

/// `[observability]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservabilityConfig {
    /// Where `/metrics` is served over TCP, if anywhere.
    pub metrics_addr: Option<SocketAddr>,
    /// Where metrics, traces and logs are sent, if anywhere.
    pub otlp_endpoint: Option<Collector>,
    /// The share of requests whose steps are sent as traces, from 0 to 1.
    pub otlp_trace_ratio: f64,
    /// How log lines look.
    pub log_format: LogFormat,
    /// The least important lines that are written.
    pub log_level: LogLevel,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Choice for LogFormat {
    const EXPECTED: &'static str = r#""text" or "json""#;
    const ALL: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

/// How important a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed and a person should look.
    Error,
    /// Something is off and the node copes.
    Warn,
    /// What the node does, in a few lines.
    Info,
    /// Every request.
    Debug,
    /// Every step.
    Trace,
}

impl Choice for LogLevel {
    const EXPECTED: &'static str = r#""error", "warn", "info", "debug" or "trace""#;
    const ALL: &'static [(&'static str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

impl LogLevel {
    /// The level as log filters spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// What the defaults depend on.
pub(crate) struct Surroundings<'a> {
    pub(crate) machine: Machine,
    pub(crate) env: &'a [(String, String)],
    /// A flag or the environment names the data folder, so the socket lies in it: the commands that follow will
    /// name it too. A file does not move the socket away from where they look.
    pub(crate) data_dir_is_named: bool,
}

/// Reads all sections, in the order in which they are shown.
pub(crate) fn read(r: &mut Reader, around: &Surroundings<'_>) -> Config {
    let (node, capacity) = node(r, around);
    let listen_addr = network::listen_addr(r);
    let admin = admin(r, around, &node);
    let network = network::network(r);
    let (memory, sqlite, pool) = performance(r);
    let location_map_bytes = memory.budget_bytes / LOCATION_MAP_DIVISOR;
    let storage = storage(r);
    let integrity = integrity::read(r);
    let replication = replication::read(r, node.profile);
    let allowances = network::allowances(r);
    let observability = observability(r);
    relations(r, &admin, &memory, &storage);
    let network = network::config(r, listen_addr, network, &pool, &allowances);
    let storage = StorageConfig {
        data_dir: node.data_dir.clone(),
        capacity_bytes: capacity.map(|size| size.0),
        location_map_bytes,
        sqlite_cache_kib: sqlite.cache_kib,
        sqlite_synchronous_full: sqlite.synchronous_full,
        sqlite_busy_timeout: sqlite.busy_timeout,
        sqlite_wal_autocheckpoint_pages: sqlite.wal_autocheckpoint_pages,
        min_free_bytes: storage.min_free.0,
        segment_bytes: storage.segment_size.0,
        compact_below: storage.compact_below,
        snapshot_interval: storage.snapshot_interval,
        snapshots: storage.snapshots,
    };
    Config { node, admin, memory, storage, integrity, network, replication, observability }
}

fn node(r: &mut Reader, around: &Surroundings<'_>) -> (NodeConfig, Option<Size>) {
    let choice = r.read(
        "node.profile",
        ProfileChoice::Auto,
        "Which defaults to use: \"small\", for up to 1 GiB of memory, \"standard\", or \"auto\" for whichever fits this machine.\n\
         A value that is set here or elsewhere always wins over the profile's.",
    );
    let profile = choice.resolve(around.machine.memory_bytes);
    r.set_profile(profile);
    let default = paths::data_dir(around.env, around.machine.is_root);
    let has_default = default.is_some();
    let data_dir = r.read(
        "node.data_dir",
        default.unwrap_or_default(),
        "The folder in which everything is kept. A relative path starts at the working directory.\n\
         For root /var/lib/tesseras, for others $XDG_DATA_HOME/tesseras (~/.local/share/tesseras).",
    );
    if !has_default && data_dir.as_os_str().is_empty() {
        r.report(ConfigError::Missing {
            key: "node.data_dir",
            reason: "neither XDG_DATA_HOME nor HOME names a folder",
            flag: "--data-dir",
        });
    }
    let capacity = r.read(
        "node.capacity",
        None::<Size>,
        "The most that stored fragments may take on the disk, such as \"500 GiB\"; \"none\" for all but storage.min_free.",
    );
    (NodeConfig { profile, data_dir }, capacity)
}

fn admin(r: &mut Reader, around: &Surroundings<'_>, node: &NodeConfig) -> AdminConfig {
    let default = if around.data_dir_is_named {
        paths::socket_in(&node.data_dir)
    } else {
        paths::socket(around.env, around.machine.is_root, &node.data_dir)
    };
    let socket = r.read(
        "admin.socket",
        default,
        "The Unix socket that the command line talks to; at most 107 bytes long.\n\
         With --data-dir it is node.sock in that folder; else for root /run/tesseras/node.sock,\n\
         for others $XDG_RUNTIME_DIR/tesseras/node.sock. Who has no node of their own reaches root's.",
    );
    let socket_group = r.read(
        "admin.socket_group",
        None::<String>,
        "A group whose members may use the socket too; \"none\" for this user and root only.",
    );
    AdminConfig { socket, socket_group }
}

/// The part of `[performance]` that is SQLite's.
struct Sqlite {
    cache_kib: u32,
    synchronous_full: bool,
    busy_timeout: Duration,
    wal_autocheckpoint_pages: u32,
}

fn performance(r: &mut Reader) -> (MemoryConfig, Sqlite, Pool) {
    let cache_kib = r.read_preset(
        "performance.sqlite_cache_size_kb",
        |preset| preset.sqlite_cache_size_kb,
        "SQLite's page cache in KiB, all connections together. It is beside memory_budget_mb, not part of it.",
    );
    let synchronous_full = r.read(
        "performance.sqlite_synchronous_full",
        false,
        "Flush the index at every commit too. Fragments survive a power cut either way;\n\
         what only the index knows (peers, jobs, verification times) may otherwise lose its last moments.",
    );
    let busy_timeout_ms = r.read(
        "performance.sqlite_busy_timeout_ms",
        5000_u32,
        "How long a statement waits for a lock, in milliseconds.",
    );
    let wal_autocheckpoint_pages = r.read_preset(
        "performance.sqlite_wal_autocheckpoint_pages",
        |preset| preset.sqlite_wal_autocheckpoint_pages,
        "The write-ahead log is moved into the database when it has grown to this many pages (1 KiB each).\n\
         More write less in all; fewer keep whoever lists or attests meanwhile waiting for a shorter time.",
    );
    let fragment_cache_mb = r.read_preset(
        "performance.fragment_cache_size_mb",
        |preset| preset.fragment_cache_size_mb,
        "Memory for fragments read lately, in MiB. Part of memory_budget_mb.",
    );
    let budget_mb = r.read_preset(
        "performance.memory_budget_mb",
        |preset| preset.memory_budget_mb,
        "Memory in MiB for the cache, the map of where fragments lie (an eighth), connections, transfers and verifying\n\
         (48 MiB), and requests under way.",
    );
    let pool = network::pool(r);
    let budget_bytes = u64::from(budget_mb) * MIB;
    let fragment_cache_bytes = u64::from(fragment_cache_mb) * MIB;
    let others = budget_bytes / LOCATION_MAP_DIVISOR + fragment_cache_bytes + FIXED_BYTES;
    let memory = MemoryConfig {
        budget_bytes,
        fragment_cache_bytes,
        requests_bytes: budget_bytes.saturating_sub(others),
    };
    let busy_timeout = Duration::from_millis(u64::from(busy_timeout_ms));
    (memory, Sqlite { cache_kib, synchronous_full, busy_timeout, wal_autocheckpoint_pages }, pool)
}

/// `[storage]`.
struct Storage {
    segment_size: Size,
    min_free: Size,
    compact_below: f64,
    snapshot_interval: Duration,
    snapshots: u32,
}

fn storage(r: &mut Reader) -> Storage {
    let segment_size = r.read_preset(
        "storage.segment_size",
        |preset| preset.segment_size,
        "A segment file is closed, and the next one begun, when it has grown to this.",
    );
    let min_free = r.read(
        "storage.min_free",
        Size(1 << 30),
        "Nothing new is stored when less than this is free on the disk, or less than 5 % of it if that is smaller.",
    );
    let compact_below = r.read(
        "storage.compact_below",
        0.5,
        "A closed segment is rewritten when less than this share of it is still wanted, from 0 (never) to 0.9.",
    );
    let snapshot_interval = r.read(
        "storage.snapshot_interval",
        Duration::from_secs(86_400),
        "How often what only the index knows (when things came and were verified) is kept aside, if it has changed.",
    );
    let snapshots = r.read("storage.snapshots", 2_u32, "How many of these are kept.");
    Storage { segment_size, min_free, compact_below, snapshot_interval, snapshots }
}

fn observability(r: &mut Reader) -> ObservabilityConfig {
    let config = ObservabilityConfig {
        metrics_addr: r.read(
            "observability.metrics_addr",
            Some(SocketAddr::from(([127, 0, 0, 1], 9190))),
            "Where Prometheus finds /metrics over TCP; \"off\" for nowhere. The admin socket has them in any case.",
        ),
        otlp_endpoint: r.read(
            "observability.otlp_endpoint",
            None::<Collector>,
            "A collector that metrics, traces and logs are sent to (OTLP over HTTP), such as \"http://127.0.0.1:4318\";\n\
             \"off\" for none. What it does not take in time is dropped and counted.",
        ),
        otlp_trace_ratio: r.read(
            "observability.otlp_trace_ratio",
            OTLP_TRACE_RATIO,
            "The share of requests, and of storage's own steps, that is sent to it as traces, from 0 to 1.",
        ),
        log_format: r.read(
            "observability.log_format",
            LogFormat::Text,
            "How log lines look: \"text\" for people, \"json\" for programs.",
        ),
        log_level: r.read(
            "observability.log_level",
            LogLevel::Info,
            "The least important lines to write: \"error\", \"warn\", \"info\", \"debug\" or \"trace\".",
        ),
    };
    r.require(
        (0.0..=1.0).contains(&config.otlp_trace_ratio),
        &["observability.otlp_trace_ratio"],
        String::from("the share of requests that is traced must lie between 0 and 1"),
    );
    config
}

/// The rules that no single value can break, or only together with the machine.
fn relations(r: &mut Reader, admin: &AdminConfig, memory: &MemoryConfig, storage: &Storage) {
    let length = admin.socket.as_os_str().len();
    r.require(
        length <= paths::SOCKET_PATH_BYTES_MAX,
        &["admin.socket"],
        format!(
            "the path of the socket may have {} bytes and has {length} (choose a shorter one with --socket)",
            paths::SOCKET_PATH_BYTES_MAX
        ),
    );
    r.require(
        memory.requests_bytes >= WORKING_BYTES_MIN,
        &["performance.fragment_cache_size_mb", "performance.memory_budget_mb"],
        format!(
            "the memory budget must have room for the fragment cache, the location map (an eighth of it), connections, transfers \
             and verifying ({} MiB), and {} MiB to work in",
            FIXED_BYTES / MIB,
            WORKING_BYTES_MIN / MIB
        ),
    );
    r.require(
        (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&storage.segment_size.0),
        &["storage.segment_size"],
        format!(
            "a segment must have between {} (the longest document fits) and {}",
            Size(SEGMENT_BYTES_MIN).to_toml(),
            Size(SEGMENT_BYTES_MAX).to_toml()
        ),
    );
    r.require(
        (0.0..=COMPACT_BELOW_MAX).contains(&storage.compact_below),
        &["storage.compact_below"],
        format!("the share below which a segment is compacted must lie between 0 and {COMPACT_BELOW_MAX}"),
    );
}

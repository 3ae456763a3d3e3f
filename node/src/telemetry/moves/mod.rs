//! Every metric moves: a whole node is driven through everything that is counted, and what never moved is dead.
//!
//! The names are held against [`contract::CONTRACT`], both ways.

mod contract;
mod disk;
mod exposition;
mod others;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use actors::{
    FragmentStore, Metrics as Instruments, System, SystemConfig, replication, supervision::RestartBudget,
};
use bytes::Bytes;
use config::{Flags, IntegrityConfig, Sources, StorageConfig};
use http_body_util::{BodyExt, Full};
use hyper::Method;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use proto::{Checksum, FragmentId, TesseraId};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{log, metrics::Metrics, otlp::Otlp};
use crate::{
    admin::{
        self, Node,
        connections::{self, Bounds},
        events::Events,
        health::Health,
        memory::Memory,
        socket::{Place, Socket},
    },
    client::Client,
    data_dir::DataDir,
    failure::Failure,
    keys::Keys,
    reload::{Reload, Running},
};
use contract::{CONTRACT, Row};
use disk::Tamed;
use exposition::{Labels, Type, families};

/// A whole node but for its process, and what was seen of its metrics.
struct Driven {
    dir: tempfile::TempDir,
    system: System,
    disk: Arc<Tamed>,
    client: Client,
    memory: Memory,
    /// The names of all instruments that were made.
    made: Arc<Mutex<BTreeSet<String>>>,
    seen: Seen,
}

/// Each series of each metric, and the values that it had, one after the other.
type Seen = BTreeMap<String, BTreeMap<Labels, Vec<f64>>>;

impl Driven {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(dir.path()).unwrap();
        let (disk, made) = (Arc::new(Tamed::default()), Arc::new(Mutex::new(BTreeSet::new())));
        let making = Arc::clone(&made);
        // A view is asked about every instrument that is made, used or not.
        let builder = SdkMeterProvider::builder().with_view(move |instrument| {
            making.lock().unwrap().insert(instrument.name().to_owned());
            None
        });
        // Nobody listens there: what is sent is dropped.
        let endpoint = ("TESSERAS_OBSERVABILITY__OTLP_ENDPOINT".to_owned(), "http://127.0.0.1:1".to_owned());
        let flags = Flags { data_dir: Some(dir.path().to_owned()), ..Flags::default() };
        let sources = Sources { file: None, env: vec![endpoint], flags };
        let loaded = config::load(&sources).unwrap();
        let otlp = Otlp::start(&loaded.config.observability).unwrap();
        let log = log::start(&loaded.config.observability, false, otlp.as_ref());
        let metrics = Metrics::of(builder, otlp.as_ref()).unwrap();
        let keys = Keys::open(&held).unwrap();
        let actors = SystemConfig {
            metrics: Instruments::new(&metrics.meter()),
            disk: disk.clone(),
            integrity: INTEGRITY,
            cache_bytes_max: CACHE_BYTES,
            network: others::network(),
            credential: Some(keys.credential().unwrap()),
            replication: replication::Settings {
                author: Some(keys.author.key().clone()),
                ..replication::Settings::default()
            },
            budget: RestartBudget { restarts_max: usize::MAX, ..RestartBudget::default() },
            ..SystemConfig::new(storage(dir.path().to_owned()), keys.node.clone())
        };
        let system = System::start(actors).await.unwrap();
        let reload = Reload::new(
            sources,
            &loaded,
            Running { log, scrub: system.scrub.clone(), events: Events::new(CancellationToken::new()) },
        );
        let memory = Memory::new(actors::budget::Budget::new(1 << 30));
        let watched = Health { draining: CancellationToken::new(), metrics, system, memory };
        let client = serve(dir.path().to_owned(), watched.clone(), keys, reload).await;
        let Health { system, memory, .. } = watched;
        let mut driven = Self { dir, system, disk, client, memory, made, seen: Seen::new() };
        driven.scrape().await;
        driven
    }

    /// Reads the metrics as Prometheus does, and holds what is said about them against the contract.
    async fn scrape(&mut self) {
        for (name, family) in families(&download(&self.client, "/metrics").await.unwrap()) {
            let Some(row) = CONTRACT.iter().find(|row| row.name == name) else {
                panic!("{name} is not in the contract");
            };
            assert_eq!(family.kind, row.kind, "{name}");
            assert!(family.help.ends_with('.'), "{name} does not say what it is: {:?}", family.help);
            for (labels, value) in family.series {
                assert_closed(row, &labels);
                let values = self.seen.entry(name.clone()).or_default().entry(labels).or_default();
                if values.last() != Some(&value) {
                    values.push(value);
                }
            }
        }
    }

    /// Looks again and again until a metric has moved, whatever its labels.
    async fn until_moved(&mut self, name: &str) {
        self.until(name, |driven| driven.has_moved(name)).await;
    }

    /// Looks again and again until one series of a metric was more than 0.
    async fn until_counted(&mut self, name: &str, label: &str, value: &str) {
        let wanted = (label.to_owned(), value.to_owned());
        let counted = |driven: &Self| {
            let series = driven.seen.get(name).into_iter().flatten();
            let mut wanted = series.filter(|(labels, _)| labels.contains(&wanted));
            wanted.any(|(_, values)| values.iter().any(|value| *value > 0.0))
        };
        self.until(name, counted).await;
    }

    async fn until(&mut self, name: &str, so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so(self) {
            if Instant::now() >= deadline {
                let scrub = self.system.scrub.status().await;
                panic!("{name} does not move: {:?}; {scrub:?}", self.seen.get(name));
            }
            tokio::task::yield_now().await;
            self.scrape().await;
        }
    }

    fn has_moved(&self, name: &str) -> bool {
        let row = CONTRACT.iter().find(|row| row.name == name).unwrap();
        // A counter appears with the first thing that it counts.
        let begins_at_zero = row.kind != Type::Gauge || row.is_constant;
        let mut series = self.seen.get(name).into_iter().flat_map(BTreeMap::values);
        series.any(|values| values.len() > 1 || begins_at_zero && values[0] > 0.0)
    }

    /// Changes a bit of a fragment where it is stored.
    fn damage(&self, number: u32) {
        let bytes = fragment(number);
        let folder = self.dir.path().join("segments");
        let found = std::fs::read_dir(folder).unwrap().any(|entry| {
            let path = entry.unwrap().path();
            let mut content = std::fs::read(&path).unwrap();
            let Some(at) = content.windows(64).position(|window| window == &bytes[..64]) else {
                return false;
            };
            content[at] ^= 1;
            std::fs::write(&path, content).unwrap();
            true
        });
        assert!(found, "fragment {number} is not stored as it is");
    }

    async fn put(&self, number: u32) -> Result<Value, Failure> {
        let body = Full::new(fragment(number)).map_err(|never| match never {}).boxed();
        self.client.upload(Method::PUT, &path(number), body).await
    }

    async fn get(&self, number: u32) -> Result<String, Failure> {
        download(&self.client, &path(number)).await
    }
}

async fn serve(dir: PathBuf, health: Health, keys: Keys, reload: Reload) -> Client {
    let place = Place { path: dir.join("node.sock"), group: None, data_dir: dir.clone() };
    let socket = Socket::bind(&place).await.unwrap();
    let node = Arc::new(Node {
        system: health.system.clone(),
        keys,
        memory: health.memory.clone(),
        events: Events::new(health.draining.clone()),
        reload: Arc::new(reload),
        network: others::network(),
        data_dir: dir,
        started: Instant::now(),
        not_watched: tokio::sync::watch::channel(None).1,
        stop: CancellationToken::new(),
    });
    let bounds = Bounds { connections: 64, silence: Duration::from_secs(60), drain: Duration::from_secs(1) };
    let router = admin::router(node, health.clone());
    tokio::spawn(connections::serve(socket, router, bounds, health.metrics.clone(), health.draining));
    Client::new(place.path)
}

/// Labels come from closed sets, never ids or addresses.
fn assert_closed(row: &Row, labels: &Labels) {
    assert_eq!(labels.len(), row.labels.len(), "{} has the labels {labels:?}", row.name);
    for (label, value) in labels {
        let known = row.labels.iter().find(|(name, _)| name == label);
        let values = known.unwrap_or_else(|| panic!("{} has the label {label}", row.name)).1;
        assert!(values.contains(&value.as_str()), "{} has the {label} {value:?}", row.name);
    }
}

#[tokio::test]
async fn every_metric_moves_and_is_in_the_contract() {
    let mut driven = Driven::start().await;
    keep_and_ask(&mut driven).await;
    others::talk(&mut driven).await;
    be_busy(&mut driven).await;
    make_room(&mut driven).await;
    fall(&mut driven).await;
    fail_to_write(&mut driven).await;
    find_damage(&mut driven).await;
    for row in CONTRACT {
        driven.until_moved(row.name).await;
    }
    let made = std::mem::take(&mut *driven.made.lock().unwrap());
    assert_eq!(made.len(), CONTRACT.len(), "an instrument is made that the contract does not have: {made:?}");
    for (name, label, values) in ALL_SEEN {
        for value in *values {
            driven.until_counted(name, label, value).await;
        }
    }
    driven.system.drain().await;
}

/// Puts and gets, hits and misses, a proof, claims and refusals, a snapshot.
async fn keep_and_ask(driven: &mut Driven) {
    driven.system.scrub.pause(Duration::from_secs(3600)).await.unwrap();
    for number in 0..FRAGMENTS {
        driven.put(number).await.unwrap();
    }
    for _ in 0..2 {
        driven.get(0).await.unwrap();
    }
    let reserved = driven.memory.reserve(1).await.unwrap();
    driven.scrape().await;
    drop(reserved);
    for number in 0..FRAGMENTS {
        driven.get(number).await.unwrap();
    }
    driven.get(FRAGMENTS).await.unwrap_err();
    driven.system.scrub.prove(Checksum::of(&fragment(0)), 0).await.unwrap();
    for (tessera, is_here) in [(tessera(), true), (TesseraId::from_bytes([9; 32]), false)] {
        let path = format!("/v1/tesseras/{tessera}/attest");
        let claim: Result<Value, _> = driven.client.call(Method::POST, &path).await;
        assert_eq!(claim.is_ok(), is_here);
    }
    driven.system.storage.snapshot().await.unwrap();
    driven.scrape().await;
}

/// All slots of the cache are taken by requests for one fragment that the disk does not give.
async fn be_busy(driven: &mut Driven) {
    driven.disk.stick();
    let id = FragmentId { tessera: tessera(), stripe: 0, index: 0 };
    // It goes from the cache, whichever way.
    driven.system.cache.panic();
    eventually(async || driven.system.cache.usage().await.is_ok()).await;
    let limit = driven.system.cache.load().1;
    let waiting: Vec<_> = (0..limit)
        .map(|_| {
            let cache = driven.system.cache.clone();
            tokio::spawn(async move { cache.get(id).await })
        })
        .collect();
    eventually(async || driven.system.cache.load().0 == limit).await;
    driven.scrape().await;
    tokio::time::pause();
    let (refused, ()) = tokio::join!(driven.get(1), async {
        // It has to be in the queue before its patience can end.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(Duration::from_secs(31)).await;
    });
    tokio::time::resume();
    assert!(refused.unwrap_err().to_string().contains("cache"), "it is busy");
    driven.disk.go_on();
    for request in waiting {
        request.await.unwrap().unwrap();
    }
}

/// What is dropped leaves a segment of which little counts.
async fn make_room(driven: &mut Driven) {
    for number in 1..FRAGMENTS {
        driven.client.call::<Value>(Method::DELETE, &path(number)).await.unwrap();
    }
    driven.system.storage.compact().await.unwrap();
    driven.scrape().await;
}

/// Every actor once.
async fn fall(driven: &mut Driven) {
    driven.system.storage.panic();
    driven.system.attestation.panic();
    driven.system.scrub.panic();
    driven.system.pool.panic();
    driven.system.replication.panic();
    let is_back = |driven: &Driven| {
        let standing = driven.system.standing.borrow();
        standing.actors.iter().all(|actor| actor.running && actor.restarts > 0)
    };
    eventually(async || is_back(driven)).await;
    driven.scrape().await;
}

/// The disk refuses a sync, and others take room on it.
async fn fail_to_write(driven: &mut Driven) {
    driven.disk.is_failing.store(true, Ordering::Relaxed);
    driven.put(1).await.unwrap_err();
    driven.scrape().await;
    driven.disk.is_failing.store(false, Ordering::Relaxed);
    driven.disk.taken.store(1 << 20, Ordering::Relaxed);
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = driven.put(1).await {
        assert!(Instant::now() < deadline, "{error}");
    }
    driven.put(2).await.unwrap();
    driven.until_moved("tesseras_storage_read_only").await;
}

/// One damage is found by whoever asks, one by verifying.
async fn find_damage(driven: &mut Driven) {
    driven.until_moved("tesseras_verification_overdue_bytes").await;
    driven.until_moved("tesseras_oldest_verification_age_seconds").await;
    driven.damage(1);
    driven.damage(2);
    eventually(async || driven.get(1).await.is_err()).await;
    driven.until_moved("tesseras_repairs_queued").await;
    driven.system.scrub.start().await.unwrap();
    driven.until_moved("tesseras_scrub_damaged_total").await;
}

async fn eventually(so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so().await {
        assert!(Instant::now() < deadline, "it never was so");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn download(client: &Client, path: &str) -> Result<String, Failure> {
    let bytes = client.download(path).await?.whole(1 << 20).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn storage(data_dir: PathBuf) -> StorageConfig {
    StorageConfig {
        min_free_bytes: 0,
        segment_bytes: 64 << 10,
        // It grows for some commits, and begins anew within the test.
        sqlite_wal_autocheckpoint_pages: 100,
        ..StorageConfig::with_defaults(data_dir)
    }
}

fn tessera() -> TesseraId {
    TesseraId::from_bytes([1; 32])
}

fn path(number: u32) -> String {
    format!("/v1/tesseras/{}/fragments/{number}/0", tessera())
}

fn fragment(number: u32) -> Bytes {
    number.to_le_bytes().repeat(FRAGMENT_BYTES / 4).into()
}

/// Series that have to move each by itself.
const ALL_SEEN: &[(&str, &str, &[&str])] = &[
    (
        "tesseras_actor_restarts_total",
        "actor",
        &["storage", "cache", "attestation", "scrub", "pool", "replication"],
    ),
    ("tesseras_attestations_total", "outcome", &["ok", "refused"]),
    ("tesseras_audits_total", "outcome", &["none"]),
    ("tesseras_memory_bytes", "part", &["cache", "locations", "requests"]),
    ("tesseras_blob_reads_total", "reason", &["get", "compact", "scrub", "prove"]),
    ("tesseras_conn_pool_turned_away_total", "reason", &["blocked"]),
    ("tesseras_network_bytes_total", "direction", &["in", "out"]),
    ("tesseras_admin_refusals_total", "reason", &["busy", "damaged", "not-found"]),
    ("tesseras_proofs_total", "outcome", &["refused"]),
    ("tesseras_publish_jobs_total", "outcome", &["degraded"]),
    ("tesseras_refusals_total", "reason", &["not_found"]),
    ("tesseras_request_duration_seconds", "side", &["asked", "served"]),
    ("tesseras_request_duration_seconds", "verb", &["hello", "get_fragment", "prove"]),
    ("tesseras_storage_written_bytes_total", "file", &["segment", "wal", "index", "snapshot"]),
    ("tesseras_tessera_health", "state", &["intact", "damaged"]),
];
const INTEGRITY: IntegrityConfig =
    IntegrityConfig { verify_within: Duration::from_millis(100), scrub_rate: None, quiet_hours: Vec::new() };
const FRAGMENT_BYTES: usize = 4096;
const CACHE_BYTES: u64 = 16 * FRAGMENT_BYTES as u64;
/// More than the cache has room for.
const FRAGMENTS: u32 = 32;
const PATIENCE: Duration = Duration::from_secs(30);

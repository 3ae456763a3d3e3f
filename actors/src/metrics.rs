//! What the actors count. Names are those of the interface; the exporter adds `_total` and units. Labels come from
//! closed sets.

mod network;
mod replication;

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram, Meter},
};

pub use network::{PoolMetrics, RequestMetrics};
pub use replication::ReplicationMetrics;

use crate::{
    attestation, cache, conn_pool,
    scrub::{self, Outlook},
    storage::{self, Usage, Written},
};

/// The instruments of all actors.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Storage.
    pub storage: StorageMetrics,
    /// Cache.
    pub cache: CacheMetrics,
    /// Attestation.
    pub attestation: AttestationMetrics,
    /// Scrubbing.
    pub scrub: ScrubMetrics,
    /// The connections to other nodes.
    pub pool: PoolMetrics,
    /// Asking and answering other nodes.
    pub requests: RequestMetrics,
    /// Having tesserae kept by other nodes.
    pub replication: ReplicationMetrics,
    /// Supervision.
    pub actors: ActorMetrics,
}

/// What storage counts.
#[derive(Debug, Clone)]
pub struct StorageMetrics {
    blob_reads: Counter<u64>,
    blob_read_bytes: Counter<u64>,
    put_duration: Histogram<f64>,
    batch_size: Histogram<u64>,
    syncs: Counter<u64>,
    written: Counter<u64>,
    used: Gauge<u64>,
    free: Gauge<u64>,
    room: Gauge<u64>,
    read_only: Gauge<u64>,
    wal: Gauge<u64>,
    repairs: Gauge<u64>,
    health: Gauge<u64>,
}

/// Why a blob was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadReason {
    /// Somebody asked for it.
    Get,
    /// Its segment is being compacted.
    Compact,
    /// Its segment is being verified.
    Scrub,
    /// Somebody wants proof of it.
    Prove,
}

/// What the cache counts.
#[derive(Debug, Clone)]
pub struct CacheMetrics {
    pub(crate) hits: Counter<u64>,
    pub(crate) misses: Counter<u64>,
    pub(crate) evictions: Counter<u64>,
    pub(crate) bytes: Gauge<u64>,
}

/// What attestation counts.
#[derive(Debug, Clone)]
pub struct AttestationMetrics {
    attestations: Counter<u64>,
    audits: Counter<u64>,
    duration: Histogram<f64>,
}

/// What scrubbing counts.
#[derive(Debug, Clone)]
pub struct ScrubMetrics {
    bytes: Counter<u64>,
    damaged: Counter<u64>,
    oldest_age: Gauge<u64>,
    overdue: Gauge<u64>,
}

/// What the supervisor counts.
#[derive(Debug, Clone)]
pub struct ActorMetrics {
    restarts: Counter<u64>,
    busy: Counter<u64>,
    waiting: Gauge<u64>,
}

impl Metrics {
    /// Makes all instruments.
    pub fn new(meter: &Meter) -> Self {
        let make = Make(meter);
        Self {
            storage: StorageMetrics::new(&make),
            cache: CacheMetrics::new(&make),
            attestation: AttestationMetrics::new(&make),
            scrub: ScrubMetrics::new(&make),
            pool: PoolMetrics::new(&make),
            requests: RequestMetrics::new(&make),
            replication: ReplicationMetrics::new(&make),
            actors: ActorMetrics::new(&make),
        }
    }

    /// Instruments that nobody reads.
    pub fn unread() -> Self {
        Self::new(&opentelemetry::global::meter("unread"))
    }
}

/// Makes instruments. Each says what it counts: that is the `# HELP` of the exposition. Counters are there from the
/// start, with 0: else the first thing that they count would not be seen as an increase.
struct Make<'a>(&'a Meter);

/// The name of a label, and all its values.
type Label = (&'static str, &'static [&'static str]);

impl Make<'_> {
    fn count(&self, name: &'static str, says: &'static str) -> Counter<u64> {
        let counter = self.0.u64_counter(name).with_description(says).build();
        counter.add(0, &[]);
        counter
    }

    fn count_bytes(&self, name: &'static str, says: &'static str) -> Counter<u64> {
        let counter = self.0.u64_counter(name).with_unit("By").with_description(says).build();
        counter.add(0, &[]);
        counter
    }

    fn count_by(&self, label: Label, name: &'static str, says: &'static str) -> Counter<u64> {
        zeros(label, self.0.u64_counter(name).with_description(says).build())
    }

    fn count_bytes_by(&self, label: Label, name: &'static str, says: &'static str) -> Counter<u64> {
        zeros(label, self.0.u64_counter(name).with_unit("By").with_description(says).build())
    }

    fn gauge(&self, name: &'static str, says: &'static str) -> Gauge<u64> {
        self.0.u64_gauge(name).with_description(says).build()
    }

    fn gauge_of(&self, unit: &'static str, name: &'static str, says: &'static str) -> Gauge<u64> {
        self.0.u64_gauge(name).with_unit(unit).with_description(says).build()
    }

    fn seconds(&self, name: &'static str, says: &'static str) -> Histogram<f64> {
        let histogram = self.0.f64_histogram(name).with_unit("s").with_description(says);
        histogram.with_boundaries(SECONDS_BOUNDARIES.into()).build()
    }
}

impl StorageMetrics {
    fn new(make: &Make<'_>) -> Self {
        let sizes = make.0.u64_histogram("storage_batch_size").with_boundaries(BATCH_BOUNDARIES.into());
        Self {
            blob_reads: make.count_by(REASONS, "blob_reads", "Stored blobs read from their segments, by why."),
            blob_read_bytes: make.count_bytes_by(REASONS, "blob_read", "Bytes of stored blobs read, by why."),
            put_duration: make
                .seconds("storage_put_duration", "From asking for a blob to be put until it is durable."),
            batch_size: sizes.with_description("Requests that shared one sync of the log.").build(),
            syncs: make.count("storage_syncs", "Syncs of the log."),
            written: make.count_bytes_by(FILES, "storage_written", WRITTEN),
            used: make.gauge_of("By", "storage_used", "Bytes of segment files."),
            free: make.gauge_of("By", "storage_free", "Bytes free on the disk for this process."),
            room: make.gauge_of(
                "By",
                "storage_room",
                "Bytes that may still be stored: up to node.capacity, and to what storage.min_free keeps free.",
            ),
            read_only: make.gauge("storage_read_only", "1 while nothing can be written, else 0."),
            wal: make.gauge_of("By", "wal", "Length of SQLite's write-ahead log."),
            repairs: make.gauge("repairs_queued", "Damaged blobs and documents that wait for their repair."),
            health: make.gauge("tessera_health", HEALTH),
        }
    }

    pub(crate) fn read(&self, reason: ReadReason, bytes: u64) {
        self.reads(reason, 1, bytes);
    }

    /// So many blobs were read, of so many bytes together.
    pub(crate) fn reads(&self, reason: ReadReason, blobs: u64, bytes: u64) {
        let reason = match reason {
            ReadReason::Get => "get",
            ReadReason::Compact => "compact",
            ReadReason::Scrub => "scrub",
            ReadReason::Prove => "prove",
        };
        let labels = [KeyValue::new("reason", reason)];
        self.blob_reads.add(blobs, &labels);
        self.blob_read_bytes.add(bytes, &labels);
    }

    pub(crate) fn put(&self, seconds: f64) {
        self.put_duration.record(seconds, &[]);
    }

    pub(crate) fn batch(&self, requests: usize) {
        self.batch_size.record(requests as u64, &[]);
    }

    pub(crate) fn sync(&self, log_bytes: u64) {
        self.syncs.add(1, &[]);
        self.written.add(log_bytes, &[KeyValue::new("file", "segment")]);
    }

    /// SQLite wrote so much.
    pub(crate) fn indexed(&self, written: Written) {
        self.written.add(written.wal, &[KeyValue::new("file", "wal")]);
        self.written.add(written.index, &[KeyValue::new("file", "index")]);
    }

    /// A snapshot of so many bytes was written.
    pub(crate) fn kept_aside(&self, bytes: u64) {
        self.written.add(bytes, &[KeyValue::new("file", "snapshot")]);
    }

    /// How it stands with what is stored.
    pub(crate) fn usage(&self, usage: &Usage) {
        self.used.record(usage.totals.segment_bytes, &[]);
        if let Some(free) = usage.free_bytes {
            self.free.record(free, &[]);
        }
        if let Some(room) = usage.room_bytes {
            self.room.record(room, &[]);
        }
        self.read_only.record(u64::from(usage.read_only.is_some()), &[]);
        self.wal.record(usage.wal_bytes, &[]);
        self.repairs.record(usage.totals.jobs, &[]);
        self.health.record(usage.health.intact, &[KeyValue::new("state", "intact")]);
        self.health.record(usage.health.damaged, &[KeyValue::new("state", "damaged")]);
    }
}

impl CacheMetrics {
    fn new(make: &Make<'_>) -> Self {
        Self {
            hits: make.count("fragment_cache_hits", "Fragments that were asked for and in the cache."),
            misses: make
                .count("fragment_cache_misses", "Fragments that were asked for and not in the cache."),
            evictions: make.count("fragment_cache_evictions", "Fragments that made room for others."),
            bytes: make.gauge_of("By", "fragment_cache", "Memory that cached fragments take."),
        }
    }
}

impl AttestationMetrics {
    fn new(make: &Make<'_>) -> Self {
        Self {
            attestations: make.count_by(
                OUTCOMES,
                "attestations",
                "Claims asked for, by whether one was signed.",
            ),
            audits: make.count_by(
                AUDITS,
                "audits",
                "Claims of other nodes, by whether all of it was true, something was not, or there was none.",
            ),
            duration: make.seconds("attestation_duration", "From asking for a claim until the answer."),
        }
    }

    /// Another node was asked what it holds; all of it may be true.
    pub(crate) fn audited<E>(&self, all_true: Result<bool, E>) {
        let outcome = match all_true {
            Ok(true) => "ok",
            Ok(false) => "wrong",
            Err(_) => "none",
        };
        self.audits.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    pub(crate) fn answered(&self, ok: bool, seconds: f64) {
        let outcome = if ok { "ok" } else { "refused" };
        self.attestations.add(1, &[KeyValue::new("outcome", outcome)]);
        self.duration.record(seconds, &[]);
    }
}

impl ScrubMetrics {
    fn new(make: &Make<'_>) -> Self {
        Self {
            bytes: make.count_bytes("scrub", "Bytes read back from the disk and verified."),
            damaged: make.count(
                "scrub_damaged",
                "Blobs, documents and records that verifying found damaged; read errors of others are not among them.",
            ),
            oldest_age: make.gauge_of(
                "s",
                "oldest_verification_age",
                "Age of the oldest verification, or of the oldest bytes that were never verified.",
            ),
            overdue: make.gauge_of(
                "By",
                "verification_overdue",
                "Bytes that were not verified within integrity.verify_within.",
            ),
        }
    }

    pub(crate) fn verified(&self, bytes: u64, damaged: u64) {
        self.bytes.add(bytes, &[]);
        self.damaged.add(damaged, &[]);
    }

    pub(crate) fn outlook(&self, outlook: &Outlook) {
        self.oldest_age.record(outlook.oldest_age_ms / 1000, &[]);
        self.overdue.record(outlook.overdue_bytes, &[]);
    }
}

impl ActorMetrics {
    fn new(make: &Make<'_>) -> Self {
        Self {
            restarts: make.count_by(
                ACTORS,
                "actor_restarts",
                "How often an actor fell, or could not be started again.",
            ),
            busy: make.count_by(
                ACTORS,
                "busy",
                "Requests refused because all of an actor's slots were taken.",
            ),
            waiting: make.gauge("actor_waiting", "Slots taken: requests waiting or running in an actor."),
        }
    }

    pub(crate) fn fell(&self, actor: &'static str) {
        self.restarts.add(1, &[KeyValue::new("actor", actor)]);
    }

    pub(crate) fn busy(&self, actor: &'static str) {
        self.busy.add(1, &[KeyValue::new("actor", actor)]);
    }

    pub(crate) fn waiting(&self, actor: &'static str, slots: usize) {
        self.waiting.record(slots as u64, &[KeyValue::new("actor", actor)]);
    }
}

fn zeros((label, values): Label, counter: Counter<u64>) -> Counter<u64> {
    values.iter().for_each(|value| counter.add(0, &[KeyValue::new(label, *value)]));
    counter
}

const ACTORS: Label =
    ("actor", &[storage::NAME, cache::NAME, attestation::NAME, scrub::NAME, conn_pool::NAME]);
const REASONS: Label = ("reason", &["get", "compact", "scrub", "prove"]);
const FILES: Label = ("file", &["segment", "wal", "index", "snapshot"]);
const OUTCOMES: Label = ("outcome", &["ok", "refused"]);
const AUDITS: Label = ("outcome", &["ok", "wrong", "none"]);
const WRITTEN: &str = "Bytes written: into segments (when they are synced), into SQLite's write-ahead log, \
     of pages that its checkpoints move into the index (counted when that log begins anew), and into snapshots.";
const HEALTH: &str = "Tesserae kept here: intact, or damaged when a fragment or document that should be here is wrong or gone.";
const SECONDS_BOUNDARIES: [f64; 12] =
    [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];
const BATCH_BOUNDARIES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

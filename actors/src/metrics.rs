//! What the actors count. Names are those of the interface; the exporter adds `_total` and units. Labels come from
//! closed sets.

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram, Meter},
};

use crate::scrub::Outlook;

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
    wal: Gauge<u64>,
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
        Self {
            storage: StorageMetrics::new(meter),
            cache: CacheMetrics {
                hits: meter.u64_counter("fragment_cache_hits").build(),
                misses: meter.u64_counter("fragment_cache_misses").build(),
                evictions: meter.u64_counter("fragment_cache_evictions").build(),
                bytes: meter.u64_gauge("fragment_cache").with_unit("By").build(),
            },
            attestation: AttestationMetrics {
                attestations: meter.u64_counter("attestations").build(),
                duration: seconds(meter, "attestation_duration"),
            },
            scrub: ScrubMetrics {
                bytes: meter.u64_counter("scrub").with_unit("By").build(),
                damaged: meter.u64_counter("scrub_damaged").build(),
                oldest_age: meter.u64_gauge("oldest_verification_age").with_unit("s").build(),
                overdue: meter.u64_gauge("verification_overdue").with_unit("By").build(),
            },
            actors: ActorMetrics {
                restarts: meter.u64_counter("actor_restarts").build(),
                busy: meter.u64_counter("busy").build(),
                waiting: meter.u64_gauge("actor_waiting").build(),
            },
        }
    }

    /// Instruments that nobody reads.
    pub fn unread() -> Self {
        Self::new(&opentelemetry::global::meter("unread"))
    }
}

impl StorageMetrics {
    fn new(meter: &Meter) -> Self {
        Self {
            blob_reads: meter.u64_counter("blob_reads").build(),
            blob_read_bytes: meter.u64_counter("blob_read").with_unit("By").build(),
            put_duration: seconds(meter, "storage_put_duration"),
            batch_size: meter
                .u64_histogram("storage_batch_size")
                .with_boundaries(BATCH_BOUNDARIES.into())
                .build(),
            syncs: meter.u64_counter("storage_syncs").build(),
            written: meter.u64_counter("storage_written").with_unit("By").build(),
            used: meter.u64_gauge("storage_used").with_unit("By").build(),
            free: meter.u64_gauge("storage_free").with_unit("By").build(),
            wal: meter.u64_gauge("wal").with_unit("By").build(),
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

    pub(crate) fn space(&self, used: u64, free: Option<u64>, wal: u64) {
        self.used.record(used, &[]);
        if let Some(free) = free {
            self.free.record(free, &[]);
        }
        self.wal.record(wal, &[]);
    }
}

impl AttestationMetrics {
    pub(crate) fn answered(&self, ok: bool, seconds: f64) {
        let outcome = if ok { "ok" } else { "refused" };
        self.attestations.add(1, &[KeyValue::new("outcome", outcome)]);
        self.duration.record(seconds, &[]);
    }
}

impl ScrubMetrics {
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
    pub(crate) fn restarted(&self, actor: &'static str) {
        self.restarts.add(1, &[KeyValue::new("actor", actor)]);
    }

    pub(crate) fn busy(&self, actor: &'static str) {
        self.busy.add(1, &[KeyValue::new("actor", actor)]);
    }

    pub(crate) fn waiting(&self, actor: &'static str, slots: usize) {
        self.waiting.record(slots as u64, &[KeyValue::new("actor", actor)]);
    }
}

fn seconds(meter: &Meter, name: &'static str) -> Histogram<f64> {
    meter.f64_histogram(name).with_unit("s").with_boundaries(SECONDS_BOUNDARIES.into()).build()
}

const SECONDS_BOUNDARIES: [f64; 12] =
    [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];
const BATCH_BOUNDARIES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

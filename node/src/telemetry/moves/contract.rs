//! Every metric of this node, by name: a contract with whoever draws or alerts on them. Whoever adds, renames or removes
//! one changes its row here, and CHANGELOG.md tells users how to migrate.

use proto::wire::RefusalKind;

use super::exposition::Type::{self, Counter, Gauge, Histogram};
use crate::problem::Kind;

/// A metric.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) kind: Type,
    /// Its labels, and the values that each may have.
    pub(super) labels: &'static [Label],
    /// Whether it is the same for as long as the process runs.
    pub(super) is_constant: bool,
}

/// The name of a label, and its values.
pub(super) type Label = (&'static str, &'static [&'static str]);

const fn row(name: &'static str, kind: Type) -> Row {
    Row { name, kind, labels: &[], is_constant: false }
}

impl Row {
    const fn by(self, labels: &'static [Label]) -> Self {
        Self { labels, ..self }
    }

    const fn constant(self) -> Self {
        Self { is_constant: true, ..self }
    }
}

const ACTORS: &[&str] = &["storage", "cache", "attestation", "scrub", "pool", "replication"];
const REASONS: &[&str] = &["get", "compact", "scrub", "prove"];
const KINDS: &[&str] = &words();
const REFUSALS: &[&str] = &refusals();
const VERBS: &[&str] = &[
    "hello",
    "put_document",
    "get_document",
    "put_fragment",
    "get_fragment",
    "drop_fragments",
    "attest",
    "compare",
    "prove",
    "peers",
    "look_after",
    "introduce",
    "unknown",
];

const fn refusals() -> [&'static str; RefusalKind::ALL.len()] {
    let mut names = [""; RefusalKind::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = RefusalKind::ALL[at].name();
        at += 1;
    }
    names
}

const fn words() -> [&'static str; KINDS_SERVED] {
    let mut words = [""; KINDS_SERVED];
    let (mut at, mut kind) = (0, 0);
    while kind < Kind::ALL.len() {
        if Kind::ALL[kind].is_served() {
            words[at] = Kind::ALL[kind].word();
            at += 1;
        }
        kind += 1;
    }
    words
}

const KINDS_SERVED: usize = 25;

pub(super) const CONTRACT: &[Row] = &[
    row("tesseras_actor_restarts_total", Counter).by(&[("actor", ACTORS)]),
    row("tesseras_actor_waiting", Gauge).by(&[("actor", ACTORS)]),
    row("tesseras_admin_refusals_total", Counter).by(&[("reason", KINDS)]),
    row("tesseras_attestation_duration_seconds", Histogram),
    row("tesseras_attestations_total", Counter).by(&[("outcome", &["ok", "refused"])]),
    row("tesseras_audits_total", Counter).by(&[("outcome", &["ok", "wrong", "none"])]),
    row("tesseras_blob_read_bytes_total", Counter).by(&[("reason", REASONS)]),
    row("tesseras_blob_reads_total", Counter).by(&[("reason", REASONS)]),
    row("tesseras_build_info", Gauge).by(&[("version", &[env!("CARGO_PKG_VERSION")])]).constant(),
    row("tesseras_busy_total", Counter).by(&[("actor", ACTORS)]),
    row("tesseras_conn_pool_dial_failures_total", Counter),
    row("tesseras_conn_pool_evictions_total", Counter),
    row("tesseras_conn_pool_hits_total", Counter),
    row("tesseras_conn_pool_misses_total", Counter),
    row("tesseras_conn_pool_reaped_total", Counter),
    row("tesseras_conn_pool_size", Gauge),
    row("tesseras_conn_pool_turned_away_total", Counter).by(&[("reason", &["blocked", "full"])]),
    row("tesseras_fetch_bytes_total", Counter),
    row("tesseras_fetch_jobs_total", Counter).by(&[("outcome", &["done", "failed"])]),
    row("tesseras_fragment_cache_bytes", Gauge),
    row("tesseras_fragment_cache_evictions_total", Counter),
    row("tesseras_fragment_cache_hits_total", Counter),
    row("tesseras_fragment_cache_misses_total", Counter),
    row("tesseras_handshake_duration_seconds", Histogram),
    row("tesseras_leave_jobs_total", Counter).by(&[("outcome", &["done", "degraded", "failed"])]),
    row("tesseras_memory_bytes", Gauge).by(&[("part", &["cache", "locations", "requests"])]),
    row("tesseras_network_bytes_total", Counter).by(&[("direction", &["in", "out"])]),
    row("tesseras_oldest_proof_age_seconds", Gauge),
    row("tesseras_oldest_verification_age_seconds", Gauge),
    row("tesseras_process_cpu_seconds_total", Counter),
    row("tesseras_process_max_fds", Gauge).constant(),
    row("tesseras_process_open_fds", Gauge),
    row("tesseras_process_resident_memory_bytes", Gauge),
    row("tesseras_process_start_time_seconds", Gauge).constant(),
    row("tesseras_proofs_total", Counter).by(&[("outcome", &["ok", "wrong", "refused", "unreachable"])]),
    row("tesseras_publish_bytes_total", Counter),
    row("tesseras_publish_jobs_total", Counter).by(&[("outcome", &["done", "degraded", "failed"])]),
    row("tesseras_refusals_total", Counter).by(&[("reason", REFUSALS)]),
    row("tesseras_repair_bytes_total", Counter),
    row("tesseras_repair_jobs_total", Counter).by(&[("outcome", &["done", "degraded", "failed"])]),
    row("tesseras_repairs_queued", Gauge),
    row("tesseras_request_duration_seconds", Histogram)
        .by(&[("side", &["asked", "served"]), ("verb", VERBS)]),
    row("tesseras_retract_jobs_total", Counter).by(&[("outcome", &["done", "degraded", "failed"])]),
    row("tesseras_scrub_bytes_total", Counter),
    row("tesseras_scrub_damaged_total", Counter),
    row("tesseras_storage_batch_size", Histogram),
    row("tesseras_storage_free_bytes", Gauge),
    row("tesseras_storage_put_duration_seconds", Histogram),
    row("tesseras_storage_read_only", Gauge),
    row("tesseras_storage_room_bytes", Gauge),
    row("tesseras_storage_syncs_total", Counter),
    row("tesseras_storage_used_bytes", Gauge),
    row("tesseras_storage_written_bytes_total", Counter)
        .by(&[("file", &["segment", "wal", "index", "snapshot"])]),
    // Only where a collector is configured.
    row("tesseras_telemetry_dropped_total", Counter).by(&[("signal", &["traces", "metrics", "logs"])]),
    row("tesseras_tessera_health", Gauge).by(&[("state", &["intact", "damaged"])]),
    row("tesseras_tessera_safety", Gauge).by(&[("state", &["safe", "below", "lost"])]),
    row("tesseras_verification_overdue_bytes", Gauge),
    row("tesseras_wal_bytes", Gauge),
];

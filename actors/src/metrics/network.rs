//! What the network side counts.

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram},
};

use super::{Label, Make};
use crate::conn_pool::Close;

/// What requests between nodes count, whoever makes them.
#[derive(Debug, Clone)]
pub struct RequestMetrics {
    duration: Histogram<f64>,
    refusals: Counter<u64>,
    proofs: Counter<u64>,
    bytes: Counter<u64>,
}

impl RequestMetrics {
    pub(super) fn new(make: &Make<'_>) -> Self {
        Self {
            duration: make.seconds(
                "request_duration",
                "From a request between nodes until its answer, by what it is about, and whether this node asked or was \
                 asked.",
            ),
            refusals: make.count_by(REFUSED, "refusals", "Requests of other nodes that were refused, by why."),
            proofs: make.count_by(
                PROOFS,
                "proofs",
                "Proofs that other nodes were asked for, by whether they were right, wrong, refused, or nobody answered.",
            ),
            bytes: make.count_bytes_by(DIRECTION, "network", "Bytes of requests and answers, by direction."),
        }
    }

    /// Another node was answered.
    pub(crate) fn served(&self, verb: &'static str, seconds: f64) {
        self.took("served", verb, seconds);
    }

    /// Another node has answered.
    pub(crate) fn asked(&self, verb: &'static str, seconds: f64) {
        self.took("asked", verb, seconds);
    }

    fn took(&self, side: &'static str, verb: &'static str, seconds: f64) {
        self.duration.record(seconds, &[KeyValue::new("side", side), KeyValue::new("verb", verb)]);
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refusals.add(1, &[KeyValue::new("reason", reason)]);
    }

    /// Another node was asked for a proof.
    pub(crate) fn proof(&self, outcome: &'static str) {
        self.proofs.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes.add(bytes as u64, &[KeyValue::new("direction", "out")]);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.bytes.add(bytes as u64, &[KeyValue::new("direction", "in")]);
    }
}

/// What the connection pool counts.
#[derive(Debug, Clone)]
pub struct PoolMetrics {
    size: Gauge<u64>,
    hits: Counter<u64>,
    misses: Counter<u64>,
    evictions: Counter<u64>,
    reaped: Counter<u64>,
    dial_failures: Counter<u64>,
    turned_away: Counter<u64>,
    handshake: Histogram<f64>,
}

impl PoolMetrics {
    pub(super) fn new(make: &Make<'_>) -> Self {
        Self {
            size: make.gauge("conn_pool_size", "Connections to other nodes."),
            hits: make.count("conn_pool_hits", "Connections that were asked for and there."),
            misses: make.count("conn_pool_misses", "Connections that were asked for and had to be dialled."),
            evictions: make.count("conn_pool_evictions", "Idle connections that made room for others."),
            reaped: make
                .count("conn_pool_reaped", "Connections closed because nobody had used them for long."),
            dial_failures: make.count("conn_pool_dial_failures", "Nodes that were dialled and not reached."),
            turned_away: make.count_by(
                TURNED_AWAY,
                "conn_pool_turned_away",
                "Nodes that dialled this one and were not let in, by why.",
            ),
            handshake: make.seconds("handshake_duration", "From a first packet until both sides are known."),
        }
    }

    pub(crate) fn size(&self, connections: usize) {
        self.size.record(connections as u64, &[]);
    }

    pub(crate) fn hit(&self) {
        self.hits.add(1, &[]);
    }

    pub(crate) fn miss(&self) {
        self.misses.add(1, &[]);
    }

    pub(crate) fn evicted(&self) {
        self.evictions.add(1, &[]);
    }

    pub(crate) fn reaped(&self, connections: usize) {
        self.reaped.add(connections as u64, &[]);
    }

    pub(crate) fn dial_failed(&self) {
        self.dial_failures.add(1, &[]);
    }

    pub(crate) fn turned_away(&self, close: Close) {
        let reason = match close {
            Close::Blocked => "blocked",
            _ => "full",
        };
        self.turned_away.add(1, &[KeyValue::new("reason", reason)]);
    }

    pub(crate) fn handshake(&self, seconds: f64) {
        self.handshake.record(seconds, &[]);
    }
}

const PROOFS: Label = ("outcome", &["ok", "wrong", "refused", "unreachable"]);
const DIRECTION: Label = ("direction", &["in", "out"]);
const REFUSED: Label = (
    "reason",
    &[
        "busy",
        "not_found",
        "quota_exceeded",
        "insufficient_storage",
        "forbidden",
        "not_known",
        "need_manifest",
        "corrupt",
        "blocked",
        "unsupported",
        "malformed",
        "restarting",
    ],
);
const TURNED_AWAY: Label = ("reason", &["blocked", "full"]);

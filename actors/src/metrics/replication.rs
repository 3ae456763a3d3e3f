//! What replication counts.

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge},
};

use super::{Label, Make};
use crate::storage::{JobKind, JobState, WatchedTotals};

/// What jobs count that have tesserae kept by others.
#[derive(Debug, Clone)]
pub struct ReplicationMetrics {
    published: Counter<u64>,
    sent: Counter<u64>,
    fetched: Counter<u64>,
    repaired: Counter<u64>,
    retracted: Counter<u64>,
    left: Counter<u64>,
    mended: Counter<u64>,
    received: Counter<u64>,
    safety: Gauge<u64>,
    oldest_proof: Gauge<u64>,
}

impl ReplicationMetrics {
    pub(super) fn new(make: &Make<'_>) -> Self {
        Self {
            published: make.count_by(
                PUBLISHED,
                "publish_jobs",
                "Tesserae that were given to other nodes, by whether they are as safe as asked, less, or it failed.",
            ),
            sent: make.count_bytes("publish", "Bytes of fragments that other nodes have taken and had not before."),
            mended: make.count_bytes("repair", "Bytes of fragments that were read from holders or taken by them to mend what was lost."),
            repaired: make.count_by(
                PUBLISHED,
                "repair_jobs",
                "Tesserae that were mended, by whether they are as safe as asked, less, or it failed.",
            ),
            retracted: make.count_by(
                PUBLISHED,
                "retract_jobs",
                "Tesserae that their author took back, by whether all nodes were told, some are told later, or it failed.",
            ),
            left: make.count_by(
                PUBLISHED,
                "leave_jobs",
                "Times that this node handed over what it keeps for others, by whether it was all, not all, or it failed.",
            ),
            fetched: make.count_by(
                FETCHED,
                "fetch_jobs",
                "Tesserae that were to be brought here from other nodes, by whether that was done.",
            ),
            safety: make.gauge(
                "tessera_safety",
                "Tesserae that others keep and this node looks after, by whether they survive what is asked.",
            ),
            oldest_proof: make.gauge_of(
                "s",
                "oldest_proof_age",
                "How long ago that holder proved anything whose last proof is longest ago; since 1970 if one never did.",
            ),
            received: make.count_bytes("fetch", "Bytes of tesserae that were brought here from other nodes."),
        }
    }

    /// What all tesserae that others keep come to, now.
    pub(crate) fn watched(&self, totals: &WatchedTotals, now_ms: i64) {
        for (state, count) in [("safe", totals.safe), ("below", totals.below), ("lost", totals.lost)] {
            self.safety.record(count, &[KeyValue::new("state", state)]);
        }
        let age_ms = totals.proven_at_ms.map_or(0, |at_ms| now_ms.saturating_sub(at_ms).max(0));
        self.oldest_proof.record(age_ms.cast_unsigned() / 1000, &[]);
    }

    /// A job has ended.
    pub(crate) fn ended(&self, kind: JobKind, state: JobState) {
        let outcome = match state {
            JobState::Done => "done",
            JobState::Degraded => "degraded",
            JobState::Failed => "failed",
            JobState::Pending | JobState::Cancelled => return,
        };
        let counter = match kind {
            JobKind::Publish | JobKind::Relayout => &self.published,
            JobKind::Fetch => &self.fetched,
            // All of it is here, however safe it is elsewhere.
            JobKind::Adopt => {
                let outcome = if state == JobState::Failed { "failed" } else { "done" };
                return self.fetched.add(1, &[KeyValue::new("outcome", outcome)]);
            }
            JobKind::Repair => &self.repaired,
            JobKind::Retract => &self.retracted,
            JobKind::Leave => &self.left,
        };
        counter.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// So much of a tessera was brought here.
    pub(crate) fn received(&self, bytes: u64) {
        self.received.add(bytes, &[]);
    }

    /// So much was read or sent to mend something.
    pub(crate) fn mended(&self, bytes: u64) {
        self.mended.add(bytes, &[]);
    }

    /// Another node has taken a fragment.
    pub(crate) fn sent(&self, bytes: u64) {
        self.sent.add(bytes, &[]);
    }
}

const FETCHED: Label = ("outcome", &["done", "failed"]);
const PUBLISHED: Label = ("outcome", &["done", "degraded", "failed"]);

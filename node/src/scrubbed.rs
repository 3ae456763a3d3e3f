//! How verifying stands, as JSON; the rest of the admin socket's JSON is in `api`.

use actors::scrub;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/scrub`, and the answer to `POST /v1/scrub/start` and `/pause`. Spans in milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Scrub {
    /// What it does.
    pub(crate) mode: Mode,
    /// Why the last try failed, if it did.
    pub(crate) trouble: Option<String>,
    /// For how long it is still paused.
    pub(crate) paused_for_ms: Option<u64>,
    /// The segment that is being verified.
    pub(crate) segment: Option<u32>,
    /// Up to where that is verified, in bytes.
    pub(crate) position: Option<u64>,
    /// Bytes that were asked to be verified now and are not yet.
    pub(crate) asked_bytes: u64,
    /// Bytes to be verified again and again.
    pub(crate) bytes: u64,
    /// The age of the oldest verification, or of what was never verified.
    pub(crate) oldest_age_ms: u64,
    /// Bytes that were not verified in time.
    pub(crate) overdue_bytes: u64,
    /// Everything is to be verified at least this often.
    pub(crate) within_ms: u64,
    /// The most that is read for that, in bytes a second; absent for as fast as it goes.
    pub(crate) rate: Option<u64>,
    /// How long verifying all of it takes at that rate.
    pub(crate) takes_ms: u64,
    /// By how much that span will be exceeded at that rate; 0 for not at all.
    pub(crate) late_ms: u64,
    /// When verifying begins by itself, from now; absent when there is nothing to verify.
    pub(crate) begins_in_ms: Option<u64>,
    /// Bytes verified since the daemon was started.
    pub(crate) verified_bytes: u64,
    /// Fragments found damaged since then.
    pub(crate) damaged_fragments: u64,
    /// Documents found damaged since then.
    pub(crate) damaged_documents: u64,
    /// Damaged records that were written again since then.
    pub(crate) mended_records: u64,
}

/// What verifying does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// Nothing is due.
    Idle,
    /// It reads.
    Verifying,
    /// It has read as much as the rate allows for now.
    Resting,
    /// Others became slower, so it waits.
    GivingWay,
    /// The quiet hours.
    QuietHours,
    /// Somebody paused it.
    Paused,
    /// It could not verify, and tries again.
    Failing,
}

impl From<scrub::Mode> for Mode {
    fn from(mode: scrub::Mode) -> Self {
        match mode {
            scrub::Mode::Idle => Self::Idle,
            scrub::Mode::Verifying => Self::Verifying,
            scrub::Mode::Resting => Self::Resting,
            scrub::Mode::GivingWay => Self::GivingWay,
            scrub::Mode::QuietHours => Self::QuietHours,
            scrub::Mode::Paused => Self::Paused,
            scrub::Mode::Failing => Self::Failing,
        }
    }
}

impl From<scrub::ScrubStatus> for Scrub {
    fn from(status: scrub::ScrubStatus) -> Self {
        let scrub::ScrubStatus { mode, trouble, paused_for_ms, cursor, asked_bytes, .. } = status;
        let (outlook, findings) = (status.outlook, status.findings);
        Self {
            mode: mode.into(),
            trouble,
            paused_for_ms,
            segment: cursor.map(|cursor| cursor.segment),
            position: cursor.map(|cursor| cursor.position),
            asked_bytes,
            bytes: outlook.bytes,
            oldest_age_ms: outlook.oldest_age_ms,
            overdue_bytes: outlook.overdue_bytes,
            within_ms: status.within_ms,
            rate: status.rate,
            takes_ms: outlook.takes_ms,
            late_ms: outlook.late_ms,
            begins_in_ms: outlook.begins_in_ms,
            verified_bytes: findings.bytes,
            damaged_fragments: findings.blobs,
            damaged_documents: findings.documents,
            mended_records: findings.mended,
        }
    }
}

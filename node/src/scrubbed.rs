//! How verifying stands, as JSON; the rest of the admin socket's JSON is in `api`.

use actors::scrub;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::human;

/// `GET /v1/scrub`, and the answer to `POST /v1/scrub/start` and `/pause`. Spans in milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Scrub {
    /// What it does.
    pub(crate) mode: Mode,
    /// Why the last try failed, if it did.
    pub(crate) trouble: Option<String>,
    /// For how long it is still paused.
    pub(crate) paused_for_ms: Option<u64>,
    /// For how long the quiet hours still last, if they are what it waits for.
    pub(crate) quiet_for_ms: Option<u64>,
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

/// Why not everything is verified in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lateness {
    /// What is the matter.
    pub(crate) what: String,
    /// What to do, if anything but to wait.
    pub(crate) remedy: Option<&'static str>,
}

impl Scrub {
    /// How long ago all of it was certainly there, in a clause. What was never read back counts from when it was written.
    pub(crate) fn oldest(&self) -> String {
        format!("everything verified or written within {}", human::the_last(self.oldest_age_ms))
    }

    /// Whether everything is verified in time, and why not: the rate is too low, or the machine was off.
    pub(crate) fn lateness(&self) -> Option<Lateness> {
        if self.late_ms == 0 && self.overdue_bytes == 0 {
            return None;
        }
        if self.takes_ms > self.within_ms {
            let (takes, late) = (human::at_most(self.takes_ms), human::at_most(self.late_ms));
            let what = format!("at this rate all of it takes {takes}, {late} too long");
            return Some(Lateness { what, remedy: Some(RAISE) });
        }
        let (bytes, state) = match self.overdue_bytes {
            0 => (self.bytes, "due soon"),
            overdue => (overdue, "overdue"),
        };
        let takes = u128::from(self.takes_ms) * u128::from(bytes) / u128::from(self.bytes.max(1));
        let takes = match u64::try_from(takes).unwrap_or(u64::MAX) {
            0 => String::new(),
            takes => format!(", which takes {}", human::at_most(takes)),
        };
        let what = format!("{} are {state} and are being verified{takes}", human::bytes(bytes));
        Some(Lateness { what, remedy: None })
    }
}

const RAISE: &str = "raise integrity.scrub_rate or integrity.verify_within, or make the quiet hours shorter";

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
        let scrub::ScrubStatus { mode, trouble, paused_for_ms, quiet_for_ms, cursor, asked_bytes, .. } =
            status;
        let (outlook, findings) = (status.outlook, status.findings);
        Self {
            mode: mode.into(),
            trouble,
            paused_for_ms,
            quiet_for_ms,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(late: (u64, u64), overdue_bytes: u64, what: &str, has_remedy: bool) {
        let json = serde_json::json!({
            "mode": "idle", "asked_bytes": 0, "bytes": 4096, "oldest_age_ms": 120_000, "overdue_bytes": overdue_bytes,
            "within_ms": 7_200_000, "takes_ms": late.0, "late_ms": late.1, "verified_bytes": 0,
            "damaged_fragments": 0, "damaged_documents": 0, "mended_records": 0,
        });
        let scrub: Scrub = serde_json::from_value(json).unwrap();
        let found = scrub.lateness().map(|late| (late.what, late.remedy.is_some()));
        let expected = (!what.is_empty()).then(|| (what.to_owned(), has_remedy));
        assert_eq!(found, expected);
    }

    #[test]
    fn rate_is_blamed_only_where_it_is_too_low() {
        check((3_600_000, 0), 0, "", false);
        check((10_800_000, 3_600_000), 0, "at this rate all of it takes 3 hours, 60 minutes too long", true);
        check((10_800_000, 9_000_000), 4096, "at this rate all of it takes 3 hours, 3 hours too long", true);
        // It was off for a while.
        let overdue = "2.00 KiB are overdue and are being verified, which takes 30 minutes";
        check((3_600_000, 9_000_000), 2048, overdue, false);
        check((0, 9_000_000), 2048, "2.00 KiB are overdue and are being verified", false);
        let soon = "4.00 KiB are due soon and are being verified, which takes 60 minutes";
        check((3_600_000, 60_000), 0, soon, false);
    }
}

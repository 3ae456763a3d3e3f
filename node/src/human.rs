//! Numbers as people read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indicatif::{HumanBytes, HumanDuration};
use proto::manifest::Visibility;

use crate::api::State;

/// A number of bytes: `1.50 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// A span of time: `3 hours`.
pub(crate) fn span(seconds: u64) -> String {
    HumanDuration(Duration::from_secs(seconds)).to_string()
}

/// How long ago that was: `3 hours ago`.
pub(crate) fn ago(ms: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let then = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    format!("{} ago", span(now.saturating_sub(then).as_secs()))
}

/// The day, in UTC: `2026-11-22`.
pub(crate) fn date(ms: u64) -> String {
    actors::archive::date(ms)
}

/// The moment, in UTC: `2026-11-22 18:05:00 UTC`.
pub(crate) fn moment(ms: u64) -> String {
    let seconds = ms / 1000 % 86_400;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{} {hours:02}:{minutes:02}:{seconds:02} UTC", date(ms))
}

/// Whether the bytes of a fragment are there, in a word.
pub(crate) fn state(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Suspect => "suspect",
        State::Missing => "missing",
        State::Newer => "newer",
    }
}

/// Who may read it, in a word.
pub(crate) fn visibility(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Private => "private",
        Visibility::Public => "public",
    }
}

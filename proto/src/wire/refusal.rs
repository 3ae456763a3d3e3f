//! The refusal: why a request was not done, by what the one who asked can do about it, and a sentence for people.

use std::fmt;

use minicbor::Decoder;

use super::check_text;
use crate::{
    cbor::{self, Fields, Writer},
    error::ProtoError,
    limits::REASON_BYTES_MAX,
};

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalKind {
    /// There is too much to do right now: the same request may succeed later.
    Busy {
        /// When to ask again at the earliest, in milliseconds from now.
        retry_after_ms: u32,
    },
    /// It is not here.
    NotFound,
    /// The account has no allowance left for it.
    QuotaExceeded,
    /// The disk has no room for it, whoever asks.
    InsufficientStorage,
    /// This node may not do that here.
    Forbidden,
    /// This node is a stranger here, and strangers are not served.
    NotKnown,
    /// A fragment or page came before the manifest or layout that it belongs to: send those first.
    NeedManifest,
    /// The bytes are damaged: those that were sent, or those that are kept here.
    Corrupt,
    /// This tessera, or this node, is refused by the will of whoever runs the machine.
    Blocked,
    /// This software does not know the request.
    Unsupported,
    /// The request breaks the format.
    Malformed,
    /// The node is stopping, or not ready yet.
    Restarting,
}

impl RefusalKind {
    /// All of them, with a wait of nothing.
    pub const ALL: [Self; 12] = [
        Self::Busy { retry_after_ms: 0 },
        Self::NotFound,
        Self::QuotaExceeded,
        Self::InsufficientStorage,
        Self::Forbidden,
        Self::NotKnown,
        Self::NeedManifest,
        Self::Corrupt,
        Self::Blocked,
        Self::Unsupported,
        Self::Malformed,
        Self::Restarting,
    ];

    /// The number that stands for it in a frame.
    pub const fn code(self) -> u8 {
        match self {
            Self::Busy { .. } => 1,
            Self::NotFound => 2,
            Self::QuotaExceeded => 3,
            Self::InsufficientStorage => 4,
            Self::Forbidden => 5,
            Self::NotKnown => 6,
            Self::NeedManifest => 7,
            Self::Corrupt => 8,
            Self::Blocked => 9,
            Self::Unsupported => 10,
            Self::Malformed => 11,
            Self::Restarting => 12,
        }
    }

    /// Its name in one word, for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Busy { .. } => "busy",
            Self::NotFound => "not_found",
            Self::QuotaExceeded => "quota_exceeded",
            Self::InsufficientStorage => "insufficient_storage",
            Self::Forbidden => "forbidden",
            Self::NotKnown => "not_known",
            Self::NeedManifest => "need_manifest",
            Self::Corrupt => "corrupt",
            Self::Blocked => "blocked",
            Self::Unsupported => "unsupported",
            Self::Malformed => "malformed",
            Self::Restarting => "restarting",
        }
    }

    /// A refusal of this kind, with a sentence for people.
    pub fn because(self, reason: impl AsRef<str>) -> Refusal {
        Refusal::new(self, reason)
    }
}

impl fmt::Display for RefusalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { retry_after_ms } => write!(f, "busy, ask again in {retry_after_ms} ms"),
            _ => f.write_str(&self.name().replace('_', " ")),
        }
    }
}

/// A typed no.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[error("refused ({kind}): {reason}")]
pub struct Refusal {
    kind: RefusalKind,
    reason: String,
}

impl Refusal {
    /// What is too long of the reason is cut off, at a character; control characters become spaces, and a reason that
    /// says nothing becomes the name of the kind.
    pub fn new(kind: RefusalKind, reason: impl AsRef<str>) -> Self {
        let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
        let mut reason: String = reason.as_ref().chars().take(REASON_BYTES_MAX).map(plain).collect();
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        if reason.is_empty() {
            reason = kind.to_string();
        }
        Self { kind, reason }
    }

    /// By what to do about it.
    pub fn kind(&self) -> RefusalKind {
        self.kind
    }

    /// For people; neither empty nor longer than [`REASON_BYTES_MAX`], without control characters.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    pub(super) fn write(&self) -> Writer {
        let mut out = Writer::new();
        out.unsigned(1, self.kind.code());
        out.text(2, &self.reason);
        if let RefusalKind::Busy { retry_after_ms } = self.kind {
            out.unsigned(3, retry_after_ms);
        }
        out
    }

    /// `None` for a code that only later software knows.
    pub(super) fn read(fields: &mut Fields<'_, '_>) -> Result<Option<Self>, ProtoError> {
        let code = fields.required(1, Decoder::u64)?;
        let Some(kind) = RefusalKind::ALL.into_iter().find(|kind| u64::from(kind.code()) == code) else {
            return Ok(None);
        };
        let reason = fields.required(2, cbor::text)?;
        check_text("refusal", &reason, REASON_BYTES_MAX)?;
        let kind = match kind {
            RefusalKind::Busy { .. } => {
                RefusalKind::Busy { retry_after_ms: fields.required(3, Decoder::u32)? }
            }
            other => other,
        };
        Ok(Some(Self { kind, reason }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_ascend_from_one() {
        assert!(RefusalKind::ALL.into_iter().map(RefusalKind::code).eq(1..=12));
    }

    #[test]
    fn reason_is_cut_at_a_character() {
        let check = |given: &str, expected: &str| {
            assert_eq!(RefusalKind::NotFound.because(given).reason(), expected);
        };
        check("no such fragment", "no such fragment");
        check("two\nlines\u{7}", "two lines ");
        check("", "not found");
        check(&"a".repeat(300), &"a".repeat(256));
        check(&"ä".repeat(300), &"ä".repeat(128));
        check(&format!("a{}", "€".repeat(300)), &format!("a{}", "€".repeat(85)));
    }

    #[test]
    fn refusal_reads_as_a_sentence() {
        let busy = RefusalKind::Busy { retry_after_ms: 250 }.because("64 requests wait");
        assert_eq!(busy.to_string(), "refused (busy, ask again in 250 ms): 64 requests wait");
        let room = RefusalKind::InsufficientStorage.because("1 GiB is left");
        assert_eq!(room.to_string(), "refused (insufficient storage): 1 GiB is left");
    }
}

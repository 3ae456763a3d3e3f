//! The index's rows as values.

use proto::{AccountId, Checksum, FragmentId, TesseraId, record::DocumentKind};

use super::digest::Digest;

/// Where a record's payload lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The segment's number.
    pub(crate) segment: u32,
    /// Where the record starts in it, in bytes.
    pub(crate) position: u64,
    /// Length of the payload in bytes.
    pub(crate) len: u32,
}

/// Whether the bytes behind a checksum are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobState {
    /// They were right when last seen.
    Ok,
    /// A read found other bytes. Never served, never claimed.
    Suspect,
    /// The log no longer has them.
    Missing,
}

impl BlobState {
    /// The number kept in the index.
    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::Ok => 0,
            Self::Suspect => 1,
            Self::Missing => 2,
        }
    }

    /// From the number kept in the index; an unknown one is never trusted.
    pub(crate) const fn from_code(code: i64) -> Self {
        match code {
            0 => Self::Ok,
            2 => Self::Missing,
            _ => Self::Suspect,
        }
    }
}

/// `blobs`: bytes in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlobRow {
    pub(crate) place: Place,
    /// Fragments with this checksum.
    pub(crate) refs: u32,
    pub(crate) state: BlobState,
}

/// `fragments`: the checksum of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FragmentRow {
    pub(crate) checksum: Checksum,
    /// Accounts that want it.
    pub(crate) deposits: u32,
}

/// `deposits`: an account wants a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DepositRow {
    /// The segment with the ref that says so.
    pub(crate) segment: u32,
    /// That ref's sequence number.
    pub(crate) seq: u64,
}

/// `holdings`: what an account has in a tessera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct HoldingRow {
    pub(crate) fragments: u64,
    pub(crate) bytes: u64,
    pub(crate) digest: Digest,
}

/// `tesseras`: something of it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TesseraRow {
    /// The session that is still writing it, or 0.
    pub(crate) session: u64,
    /// Accounts with a holding in it.
    pub(crate) holdings: u32,
    pub(crate) received_at_ms: i64,
    /// The sum modulo 2⁶⁴ of the seals of its documents.
    pub(crate) documents: u64,
}

/// `documents`: bytes in the log that belong to a tessera as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DocumentRow {
    /// In no segment (0) when the bytes are gone.
    pub(crate) place: Place,
    /// Since when the bytes are known to be damaged or gone, in milliseconds since 1970.
    pub(crate) suspect_at_ms: Option<i64>,
}

/// `segments`: one file of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentRow {
    /// Up to the end of its last record.
    pub(crate) bytes: u64,
    /// Of records that count.
    pub(crate) live_bytes: u64,
    /// The smallest sequence number of a ref or document in it; `u64::MAX` without any.
    pub(crate) min_seq: u64,
    /// Of drops, commits and forgets. They must stay as long as another segment may hold what they are about.
    pub(crate) drop_bytes: u64,
    /// The largest sequence number of these; 0 without any.
    pub(crate) drop_seq: u64,
    /// The sum modulo 2⁶⁴ of the sequence numbers of the refs in it that count.
    pub(crate) ref_seqs: u64,
    pub(crate) seal: Seal,
    pub(crate) written_at_ms: i64,
    pub(crate) verified_at_ms: Option<i64>,
}

/// `scrub`: how far scrubbing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScrubRow {
    /// The segment being verified, and up to where it is; 0 for none.
    pub segment: u32,
    /// In bytes.
    pub position: u64,
    /// When that was begun, in milliseconds since 1970.
    pub began_ms: i64,
    /// What was last verified before this time was asked to be verified now, in milliseconds since 1970; 0 for nothing.
    pub before_ms: i64,
    /// Until when it is paused, in milliseconds since 1970; 0 for not.
    pub paused_until_ms: i64,
    /// When all of the index was last looked through, in milliseconds since 1970; 0 for never.
    pub index_at_ms: i64,
}

/// How far a segment is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seal {
    /// Records are appended to it.
    Active,
    /// Nothing is appended any more.
    Sealed,
    /// All that counted was copied forward; the file goes after the next checkpoint.
    Drained,
}

impl Seal {
    /// The number kept in the index.
    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::Active => 0,
            Self::Sealed => 1,
            Self::Drained => 2,
        }
    }

    /// From the number kept in the index.
    pub(crate) const fn from_code(code: i64) -> Self {
        match code {
            0 => Self::Active,
            2 => Self::Drained,
            _ => Self::Sealed,
        }
    }
}

/// `log`: where the log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogEnd {
    pub(crate) watermark: Watermark,
    pub(crate) next_seq: u64,
    /// Set by the last transaction of a clean stop.
    pub(crate) clean: bool,
}

/// All records before this point of the log are in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Watermark {
    pub(crate) segment: u32,
    pub(crate) position: u64,
}

/// Key of a deposit.
pub(crate) type DepositKey = (AccountId, FragmentId);
/// Key of a holding.
pub(crate) type HoldingKey = (AccountId, TesseraId);
/// Key of a document.
pub(crate) type DocumentKey = (TesseraId, DocumentKind, Checksum);

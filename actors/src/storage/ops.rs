//! What the writer can be asked to do.

use std::sync::Arc;

use bytes::Bytes;
use proto::{
    AccountId, Checksum, Fragment, FragmentId, TesseraId,
    limits::{RECORD_ALIGN_BYTES, RECORD_HEADER_BYTES},
    record::{CLAIM_BYTES, DocumentKind, Header, Record, SessionId, record_len},
};
use ractor::RpcReplyPort;

use super::{
    facts::Need,
    notes::Note,
    prove,
    rows::{DepositRow, DocumentKey, Place},
};
use crate::{error::ActorError, store::Deposited, supervision::gate::Slot};

/// One request to the writer. Answered when it is durable: in the log (see [`Op::is_logged`]) or in the index.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) op: Op,
    pub(crate) reply: RpcReplyPort<Result<Outcome, ActorError>>,
    /// Freed when the submission is, which is after the reply.
    pub(crate) _slot: Option<Slot>,
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Op {
    /// An account wants a fragment. Documents of its tessera that are not here come with it.
    Put { account: AccountId, id: FragmentId, fragment: Fragment, outboard: Bytes, documents: Vec<Deposited> },
    /// An account no longer wants it.
    Drop { account: AccountId, id: FragmentId },
    /// Begin a session.
    OpenSession,
    /// Keep these bytes at least until the session ends.
    Pin { session: SessionId, fragment: Fragment, outboard: Bytes },
    /// A document of the session's tessera.
    Document { session: SessionId, tessera: TesseraId, kind: DocumentKind, bytes: Bytes },
    /// Fragments of the session's tessera; their bytes are pinned by it. Few enough for one batch.
    Refs { session: SessionId, tessera: TesseraId, refs: Vec<(u32, u16, Checksum)> },
    /// The session is complete.
    Commit { session: SessionId, tessera: TesseraId },
    /// The session will not be completed. What it has written is taken back by [`Op::Purge`].
    Abort { session: SessionId },
    /// Take back what an ended session wrote of a tessera, a bounded part at a time.
    Purge { tessera: TesseraId },
    /// The bytes at this place were read and are wrong.
    Suspect { checksum: Checksum, place: Place },
    /// The bytes of a document at this place were read, and are right or not.
    Seen { document: DocumentKey, place: Place, is_right: bool },
    /// The chaining values of the groups of these bytes are unknown, or not what is kept.
    Outboard { checksum: Checksum, values: Bytes },
    /// Records of a segment being compacted: copy forward those that count.
    Copy { from: u32, records: Vec<Copied> },
    /// Append no more to this segment, so that it can be compacted.
    Seal { segment: u32 },
    /// All that counted in a segment was copied.
    Drained { segment: u32 },
    /// The segment's file is gone for good.
    Unlinked { segment: u32 },
    /// These bytes are right, but their record at this place is not: write another.
    Rescue { fragment: Fragment, place: Place },
    /// The same of a document.
    RescueDocument { document: DocumentKey, bytes: Bytes, place: Place },
    /// The ref of a deposit, in this segment and with this sequence number, is damaged: write it again.
    Renew { account: AccountId, id: FragmentId, was: DepositRow },
    /// The commit of a session is damaged to which the ref of this deposit belongs: write it again.
    Recommit { session: SessionId, account: AccountId, id: FragmentId, was: DepositRow },
    /// How far scrubbing has come, or what it is asked for.
    Scrub(ScrubNote),
    /// What is to be kept of others: all of it, or nothing.
    Note(Arc<[Note]>),
}

/// Something to be kept of scrubbing. Times in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScrubNote {
    /// A segment was verified up to here.
    Reached {
        /// The segment.
        segment: u32,
        /// In bytes.
        position: u64,
        /// When that was begun.
        began_ms: i64,
    },
    /// All of a segment was verified.
    Verified {
        /// The segment.
        segment: u32,
        /// When that was begun.
        at_ms: i64,
    },
    /// All of the index was looked through.
    LookedThrough {
        /// When that was begun.
        at_ms: i64,
    },
    /// What was last verified before this time is to be verified now, and nothing is paused.
    Start {
        /// The time.
        before_ms: i64,
    },
    /// Nothing is to be verified until then.
    Pause {
        /// The time.
        until_ms: i64,
    },
}

/// A record of a segment being compacted.
#[derive(Debug, Clone)]
pub(crate) struct Copied {
    pub(crate) position: u64,
    pub(crate) header: Header,
    pub(crate) record: Record,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The session has ended, and what it wrote of this tessera can be purged.
    Emptied(TesseraId),
    /// It is durable now.
    Done,
    /// It was here already.
    Held,
    /// The session begun.
    Session(SessionId),
    /// More remains to be done: ask again.
    More,
    /// What was said no longer fits; nothing was done.
    Stale,
    /// The invite is not there, or has expired; nothing was done.
    NoInvite,
}

impl Op {
    /// With what is kept beside its bytes, which is made here and not by the writer: others would wait for that.
    pub(crate) async fn with_outboard(mut self) -> Self {
        if let Self::Put { fragment, outboard, .. } | Self::Pin { fragment, outboard, .. } = &mut self {
            *outboard = prove::outboard(fragment).await;
        }
        self
    }

    /// At most how many bytes its records take.
    pub(crate) fn record_bytes(&self) -> u64 {
        let aligned = (RECORD_HEADER_BYTES + RECORD_ALIGN_BYTES) as u64;
        match self {
            Self::Put { fragment, documents, .. } => {
                let documents = documents.iter().map(|document| record_len(document.bytes.len()) + aligned);
                record_len(fragment.bytes().len()) + record_len(CLAIM_BYTES) + documents.sum::<u64>()
            }
            Self::Pin { fragment, .. } => record_len(fragment.bytes().len()),
            Self::Document { bytes, .. } => record_len(bytes.len()) + aligned,
            Self::Refs { refs, .. } => refs.len() as u64 * record_len(CLAIM_BYTES),
            Self::Copy { records, .. } => records.iter().map(|copied| copied.header.record_len()).sum(),
            Self::Drop { .. } => record_len(CLAIM_BYTES) + record_len(TESSERA_BYTES),
            Self::Commit { .. } | Self::Recommit { .. } => record_len(CLAIM_BYTES),
            Self::Purge { .. } => record_len(TESSERA_BYTES),
            Self::Rescue { fragment, .. } => record_len(fragment.bytes().len()),
            Self::RescueDocument { bytes, .. } => record_len(bytes.len()) + aligned,
            Self::Renew { .. } => record_len(CLAIM_BYTES),
            Self::OpenSession
            | Self::Abort { .. }
            | Self::Suspect { .. }
            | Self::Seen { .. }
            | Self::Outboard { .. }
            | Self::Seal { .. }
            | Self::Drained { .. }
            | Self::Unlinked { .. }
            | Self::Scrub(_)
            | Self::Note(_) => 0,
        }
    }

    /// Whether it needs room on the disk. What frees room, or completes what has its room, is always done.
    pub(crate) fn needs_room(&self) -> bool {
        matches!(
            self,
            Self::Put { .. }
                | Self::Pin { .. }
                | Self::Document { .. }
                | Self::Refs { .. }
                | Self::Rescue { .. }
                | Self::RescueDocument { .. }
        )
    }

    /// Whether the reserve gives way to it when the disk is full. A copy makes room only if there is some for it.
    pub(crate) fn is_owed(&self) -> bool {
        !self.needs_room() && !matches!(self, Self::Copy { .. })
    }

    /// Whether this node keeps it for itself, so that it may well be read soon: what was just created is published next. What others
    /// bring is read when somebody has lost it, and what compaction copies is old.
    pub(crate) fn is_own(&self) -> bool {
        match self {
            Self::Put { account, .. } => *account == AccountId::LOCAL,
            op => matches!(op, Self::Pin { .. } | Self::Document { .. }),
        }
    }

    /// Whether a replay of the log brings it back, so that it may be answered when that is synced. Everything else is
    /// answered when the index has it.
    pub(crate) fn is_logged(&self) -> bool {
        match self {
            Self::Put { .. }
            | Self::Drop { .. }
            | Self::OpenSession
            | Self::Pin { .. }
            | Self::Document { .. }
            | Self::Refs { .. }
            | Self::Commit { .. } => true,
            Self::Abort { .. }
            | Self::Purge { .. }
            | Self::Suspect { .. }
            | Self::Seen { .. }
            | Self::Outboard { .. }
            | Self::Copy { .. }
            | Self::Seal { .. }
            | Self::Drained { .. }
            | Self::Unlinked { .. }
            | Self::Rescue { .. }
            | Self::RescueDocument { .. }
            | Self::Renew { .. }
            | Self::Recommit { .. }
            | Self::Scrub(_)
            | Self::Note(_) => false,
        }
    }

    /// What must be known of the index before it is decided.
    pub(crate) fn needs(&self, into: &mut Vec<Need>) {
        match self {
            Self::Put { account, id, fragment, .. } => {
                into.push(Need { account: *account, fragment: *id, checksum: Some(fragment.checksum()) });
            }
            Self::Drop { account, id }
            | Self::Renew { account, id, .. }
            | Self::Recommit { account, id, .. } => {
                into.push(Need { account: *account, fragment: *id, checksum: None })
            }
            Self::Pin { fragment, .. } | Self::Rescue { fragment, .. } => {
                into.push(blob(fragment.checksum()));
            }
            Self::Suspect { checksum, .. } | Self::Outboard { checksum, .. } => into.push(blob(*checksum)),
            Self::Refs { tessera, refs, .. } => {
                into.extend(refs.iter().map(|(stripe, index, checksum)| Need {
                    account: AccountId::LOCAL,
                    fragment: FragmentId { tessera: *tessera, stripe: *stripe, index: *index },
                    checksum: Some(*checksum),
                }))
            }
            Self::Copy { records, .. } => {
                into.extend(records.iter().filter_map(|copied| match &copied.record {
                    Record::Blob(_) => Some(blob(copied.header.payload_hash)),
                    Record::Ref(claim) | Record::Drop(claim) => Some(Need {
                        account: claim.account,
                        fragment: claim.fragment,
                        checksum: Some(claim.checksum),
                    }),
                    Record::Document { .. } | Record::Commit { .. } | Record::Forget { .. } => None,
                }))
            }
            Self::OpenSession
            | Self::Document { .. }
            | Self::Commit { .. }
            | Self::Abort { .. }
            | Self::Purge { .. }
            | Self::Seen { .. }
            | Self::RescueDocument { .. }
            | Self::Seal { .. }
            | Self::Drained { .. }
            | Self::Unlinked { .. }
            | Self::Scrub(_)
            | Self::Note(_) => {}
        }
    }

    /// The invites that must be known, by the hashes of their tokens.
    pub(crate) fn invites(&self, into: &mut Vec<Checksum>) {
        let Self::Note(notes) = self else { return };
        into.extend(notes.iter().filter_map(|note| match note {
            Note::TakeInvite { token, .. } => Some(*token),
            _ => None,
        }));
    }

    /// The documents that must be known.
    pub(crate) fn documents(&self, into: &mut Vec<DocumentKey>) {
        match self {
            Self::Put { id, documents, .. } => {
                into.extend(documents.iter().map(|document| (id.tessera, document.kind, document.hash)));
            }
            Self::Document { tessera, kind, bytes, .. } => into.push((*tessera, *kind, Checksum::of(bytes))),
            Self::Copy { records, .. } => {
                into.extend(records.iter().filter_map(|copied| match &copied.record {
                    Record::Document { tessera, kind, bytes, .. } => {
                        Some((*tessera, *kind, Checksum::of(bytes)))
                    }
                    _ => None,
                }))
            }
            Self::Seen { document, .. } | Self::RescueDocument { document, .. } => into.push(*document),
            _ => {}
        }
    }
}

/// What must be known of a blob alone.
pub(crate) fn blob(checksum: Checksum) -> Need {
    let fragment = FragmentId { tessera: TesseraId::from_bytes([0; 32]), stripe: 0, index: 0 };
    Need { account: AccountId::LOCAL, fragment, checksum: Some(checksum) }
}

const TESSERA_BYTES: usize = 32;

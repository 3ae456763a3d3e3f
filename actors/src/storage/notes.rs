//! What is kept of others: peers and their scores, who is blocked, invites, receipts, and what holders claim.
//!
//! Only the index knows these: they are in no segment, and a snapshot keeps them aside. Times are in milliseconds since
//! 1970, on this node's own clock where nothing else is said.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use proto::{AccountId, AuthorId, Checksum, FragmentId, NodeId, TesseraId};

use super::{
    replication::{KeptPlacement, ReplicationJob},
    watched::{RepairAllowance, Watched},
};

/// Something to be kept of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A peer is known from now on. What is known of it from a weaker origin is replaced, but for its author, if none is
    /// given, its name likewise, when it was added and seen, and its scores; what is known from a stronger one stays.
    Peer {
        /// Who it is.
        node: NodeId,
        /// Where it listens, `host:port`.
        addresses: Vec<String>,
        /// Who it acts for.
        author: Option<AuthorId>,
        /// How much may be kept for it, in bytes; `None` for as much as is said for everybody.
        allow_bytes: Option<u64>,
        /// How it came to be known.
        origin: Origin,
        /// What the operator calls it.
        name: Option<String>,
        /// When.
        at_ms: i64,
    },
    /// A peer is not known any more. What it claims and what it gave receipts for stays.
    RemovePeer {
        /// Who it is.
        node: NodeId,
    },
    /// A peer was there. Nothing is kept of one that is not known.
    Seen {
        /// Who it is.
        node: NodeId,
        /// Where it was reached, if that is known.
        address: Option<String>,
        /// Who it acts for, if it has shown that.
        author: Option<AuthorId>,
        /// When.
        at_ms: i64,
    },
    /// A peer did something amiss. Nothing is kept of one that is not known.
    Score {
        /// Who it is.
        node: NodeId,
        /// What it was.
        score: Score,
    },
    /// Nothing is accepted of a tessera, or from a node.
    Block {
        /// Of what, or from whom.
        what: Blocked,
        /// Why, in the words of whoever said so.
        reason: String,
        /// When.
        at_ms: i64,
    },
    /// A tessera or node is no longer blocked.
    Unblock {
        /// Which one.
        what: Blocked,
    },
    /// Whoever shows this token becomes a peer, once. Those that have expired by then are not kept any longer.
    Invite {
        /// BLAKE3 of it.
        token: Checksum,
        /// What it says.
        invite: Invite,
        /// When.
        at_ms: i64,
    },
    /// An invite no longer counts.
    RemoveInvite {
        /// BLAKE3 of its token.
        token: Checksum,
    },
    /// Somebody shows a token: its invite counts no more. If there is none or it has expired, nothing that was noted with
    /// this is kept.
    TakeInvite {
        /// BLAKE3 of the token.
        token: Checksum,
        /// When.
        at_ms: i64,
    },
    /// A holder has signed that it has a fragment of ours. Replaces its last receipt for it.
    Receipt(Receipt),
    /// What a holder says to have of some stripes, all of it: what it no longer claims counts no more, proven or not. What it has
    /// been noted to claim since it was asked stays: it may have taken that after it answered.
    Claim {
        /// Who says so.
        holder: NodeId,
        /// Of which tessera.
        tessera: TesseraId,
        /// Of which stripes; what is said of others is passed over.
        stripes: Range<u32>,
        /// Stripe, index and checksum of each fragment.
        held: Vec<(u32, u16, Checksum)>,
        /// When it was asked.
        asked_at_ms: i64,
        /// When it was noted.
        at_ms: i64,
    },
    /// A holder has just said of one fragment that it has it. What it claims of others stays.
    Claimed {
        /// Who says so.
        holder: NodeId,
        /// Which fragment.
        fragment: FragmentId,
        /// Its checksum.
        checksum: Checksum,
        /// When.
        at_ms: i64,
    },
    /// A holder has shown that it has a fragment. Counts for what it claims with this checksum.
    Proof {
        /// Who has shown it.
        holder: NodeId,
        /// Which fragment.
        fragment: FragmentId,
        /// The checksum that was proven against.
        checksum: Checksum,
        /// When.
        at_ms: i64,
    },
    /// A holder has not what it claimed: asked to show it, it said so. What it signed stays.
    Disproven {
        /// Who does not have it.
        holder: NodeId,
        /// Which fragment.
        fragment: FragmentId,
    },
    /// A holder no longer has these fragments, as we wished: its receipts and claims for them go.
    Dropped {
        /// Who had them.
        holder: NodeId,
        /// Of which tessera.
        tessera: TesseraId,
        /// Stripe and index of each.
        fragments: Vec<(u32, u16)>,
    },
    /// Who holds what of a tessera is of no interest any more: all receipts and claims of it go.
    Forget {
        /// Which tessera.
        tessera: TesseraId,
    },
    /// Who keeps a tessera. Counts unless what is known for this layout has a higher version, or the same and is the
    /// author's. It goes with the last fragment of the tessera.
    Placement(KeptPlacement),
    /// Nobody keeps a tessera under this layout any more.
    Unplaced {
        /// The tessera.
        tessera: TesseraId,
        /// BLAKE3 of the layout.
        layout: Checksum,
    },
    /// An author has taken a tessera back, for ever. What was known of that before stays, and of those that are counted together
    /// the last 16,384 are kept, and all that somebody is still to be told of.
    Retracted {
        /// Which tessera.
        tessera: TesseraId,
        /// Whose it is.
        author: AuthorId,
        /// With whose others it is counted.
        purse: AccountId,
        /// As its author has signed it.
        signed: Bytes,
        /// The nodes that are to be told.
        due: Vec<NodeId>,
        /// When.
        at_ms: i64,
    },
    /// A node has dropped what was taken back, and will not keep it again; or is no more to be told.
    RetractionTaken {
        /// Which tessera.
        tessera: TesseraId,
        /// Who did.
        node: NodeId,
    },
    /// Somebody else's tessera is kept whole and looked after here.
    Adopted {
        /// Which tessera.
        tessera: TesseraId,
        /// Since when.
        at_ms: i64,
    },
    /// It no longer is.
    Abandoned {
        /// Which tessera.
        tessera: TesseraId,
    },
    /// This node hands over what it keeps for others, and takes nothing new; or no longer does.
    Leaving {
        /// Since when; `None` when it stays.
        since_ms: Option<i64>,
    },
    /// Something is done about a tessera with other nodes, or how that stands has changed. Of those that are finished the
    /// last 1,000 are kept.
    Job(ReplicationJob),
    /// A tessera that others keep was looked at. Nothing is kept of one that nobody is said to keep.
    Looked(Watched),
    /// A tessera is to be looked at as soon as may be.
    LookAt {
        /// Which tessera.
        tessera: TesseraId,
    },
    /// All are.
    LookAtAll,
    /// A tessera is to be looked at some time, though nobody is known to keep it.
    Watch {
        /// Which tessera.
        tessera: TesseraId,
    },
    /// It no longer is, unless somebody is known to keep it. Who keeps what is not here is forgotten.
    Unwatch {
        /// Which tessera.
        tessera: TesseraId,
    },
    /// The tesserae are to be looked at that had something damaged, as far as it was found before this one.
    DamageSeen {
        /// Its number, as in [`FreshDamage`](super::FreshDamage).
        upto: i64,
    },
    /// Repair has begun to move something.
    RepairAllowance(RepairAllowance),
    /// A holder had not what it claimed when it was to show it: it counts for none of the tessera until it has proven
    /// something.
    Doubted {
        /// Who.
        holder: NodeId,
        /// Of which tessera.
        tessera: TesseraId,
        /// When.
        at_ms: i64,
    },
}

/// How a peer came to be known, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The operator named it.
    Configured,
    /// An invite made it known, given or followed.
    Invited,
    /// Another peer named it.
    Introduced,
}

/// What a peer did amiss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Score {
    /// It gave other bytes than it should.
    WrongBytes,
    /// It failed, or answered what nobody can make sense of.
    Error,
    /// It was not there.
    Absence,
}

/// What is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase", tag = "kind", content = "id")]
pub enum Blocked {
    /// A tessera.
    Tessera(TesseraId),
    /// A node.
    Node(NodeId),
}

/// What an invite says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// How much may be kept for whoever takes it, in bytes.
    pub allow_bytes: Option<u64>,
    /// From when on it does not count.
    pub expires_at_ms: i64,
    /// What whoever takes it will be called.
    pub name: Option<String>,
}

/// A holder has a fragment of ours, and has signed that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Who has it.
    pub holder: NodeId,
    /// Which fragment.
    pub fragment: FragmentId,
    /// Its checksum.
    pub checksum: Checksum,
    /// Its length in bytes.
    pub length: u32,
    /// Whom the holder charges it to.
    pub author: AuthorId,
    /// Since when it has it, by the holder's clock.
    pub held_at_ms: i64,
    /// The receipt as it was signed.
    pub signed: Bytes,
}

/// What came of notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// All of them are kept.
    All,
    /// None is: the invite that was taken with them is not there, or has expired.
    NoInvite,
}

impl Note {
    /// How many rows it is about.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Claim { held, .. } => held.len() + 1,
            Self::Dropped { fragments, .. } => fragments.len(),
            Self::Retracted { due, .. } => due.len() + 1,
            _ => 1,
        }
    }

    /// How soon a snapshot should hold it; `None` for whenever the next one is taken. What somebody typed in is not
    /// found out again by itself.
    pub(crate) fn keep_aside_within(&self) -> Option<Duration> {
        match self {
            Self::Peer { origin: Origin::Introduced, .. } => None,
            Self::Peer { .. }
            | Self::RemovePeer { .. }
            | Self::Block { .. }
            | Self::Unblock { .. }
            | Self::Invite { .. }
            | Self::RemoveInvite { .. }
            | Self::TakeInvite { .. }
            | Self::Adopted { .. }
            | Self::Abandoned { .. }
            | Self::Leaving { .. } => Some(Duration::ZERO),
            Self::Retracted { due, .. } => (!due.is_empty()).then_some(Duration::ZERO),
            // Receipts come by the thousand, and a snapshot holds all of them: with one every hour that would be all that an SD
            // card does. What is lost of them is told again by the holders.
            Self::Receipt(_)
            | Self::Seen { .. }
            | Self::Score { .. }
            | Self::Claim { .. }
            | Self::Claimed { .. }
            | Self::Placement(_)
            | Self::Unplaced { .. }
            | Self::RetractionTaken { .. }
            | Self::Job(_)
            | Self::Looked(_)
            | Self::LookAt { .. }
            | Self::LookAtAll
            | Self::Watch { .. }
            | Self::Unwatch { .. }
            | Self::DamageSeen { .. }
            | Self::RepairAllowance(_)
            | Self::Doubted { .. }
            | Self::Proof { .. }
            | Self::Disproven { .. }
            | Self::Dropped { .. }
            | Self::Forget { .. } => None,
        }
    }
}

impl Origin {
    /// The number kept in the index.
    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::Configured => 1,
            Self::Invited => 2,
            Self::Introduced => 3,
        }
    }

    /// From the number kept in the index; an unknown one is the weakest.
    pub(crate) const fn from_code(code: i64) -> Self {
        match code {
            1 => Self::Configured,
            2 => Self::Invited,
            _ => Self::Introduced,
        }
    }
}

impl Blocked {
    /// Its id.
    pub fn id(&self) -> &[u8; 32] {
        match self {
            Self::Tessera(id) => id.as_bytes(),
            Self::Node(id) => id.as_bytes(),
        }
    }

    /// The number of its kind kept in the index.
    pub(crate) const fn code(&self) -> i64 {
        match self {
            Self::Tessera(_) => 1,
            Self::Node(_) => 2,
        }
    }

    /// From the id and number kept in the index; `None` for an unknown number.
    pub(crate) const fn from_code(id: [u8; 32], code: i64) -> Option<Self> {
        match code {
            1 => Some(Self::Tessera(TesseraId::from_bytes(id))),
            2 => Some(Self::Node(NodeId::from_bytes(id))),
            _ => None,
        }
    }
}

/// What authors have taken back that is kept, of those that are counted together.
pub(crate) const RETRACTIONS_MAX: u64 = 16_384;
/// Finished jobs that are kept.
pub(crate) const FINISHED_JOBS_MAX: u64 = 1000;
/// The most rows that notes kept together may be about: they are written in one transaction.
pub const NOTE_ROWS_MAX: usize = 4096;

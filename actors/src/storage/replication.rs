//! What is kept for replication: who keeps which tessera, and what this node is doing about it. No bytes of blobs.

use bytes::Bytes;
use proto::{Checksum, TesseraId, placement::SignedPlacement};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use crate::error::ActorError;

/// A placement that was signed: see [`proto::placement`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPlacement {
    /// The tessera.
    pub tessera: TesseraId,
    /// BLAKE3 of the layout it is for.
    pub layout: Checksum,
    /// Of two for one layout the one with the higher version counts.
    pub version: u64,
    /// Whether the author of the tessera has signed it: of two of one version that one counts.
    pub is_by_author: bool,
    /// The file.
    pub signed: Bytes,
}

impl From<&SignedPlacement> for KeptPlacement {
    fn from(signed: &SignedPlacement) -> Self {
        let placement = signed.placement();
        Self {
            tessera: placement.tessera,
            layout: placement.layout,
            version: placement.version,
            is_by_author: placement.repairer.is_none(),
            signed: signed.bytes().clone(),
        }
    }
}

/// Something that is done about a tessera with other nodes, over restarts. Times in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationJob {
    /// Its number, from 1.
    pub id: u64,
    /// What is done.
    pub kind: JobKind,
    /// The tessera.
    pub tessera: TesseraId,
    /// How it stands.
    pub state: JobState,
    /// When it was asked for.
    pub began_at_ms: i64,
    /// When its state was last changed.
    pub changed_at_ms: i64,
    /// What came of it, in JSON.
    pub told: Option<String>,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Other nodes are given fragments.
    Publish,
    /// It is brought here from others.
    Fetch,
    /// Other nodes are given fragments under another layout.
    Relayout,
    /// What holders have lost is rebuilt.
    Repair,
    /// All nodes that keep any of it are told that its author takes it back.
    Retract,
    /// What is kept here for others is handed over to other nodes. It is about no tessera: [`ReplicationJob::OF_NONE`].
    Leave,
    /// It is brought here, and looked after from then on.
    Adopt,
}

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It is not finished: it runs, waits for its turn, or goes on with the next start.
    Pending,
    /// All that was asked for was done.
    Done,
    /// It is done as far as possible, and the tessera is less safe than asked.
    Degraded,
    /// It could not be done.
    Failed,
    /// Somebody gave it up.
    Cancelled,
}

/// Which jobs are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jobs {
    /// Those that are not finished, in the order in which they were asked for.
    Pending,
    /// The last ones, the newest first.
    Last(u32),
    /// The one with this number.
    One(u64),
}

impl ReplicationJob {
    /// Where no tessera is meant.
    pub const OF_NONE: TesseraId = TesseraId::from_bytes([0; 32]);
}

impl JobKind {
    /// Whether holders are to be asked what they have when it has ended: of what was mended, or was not known here before.
    pub(crate) const fn is_followed_by_a_look(self) -> bool {
        matches!(self, Self::Fetch | Self::Repair)
    }

    /// The number kept in the index.
    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::Publish => 1,
            Self::Fetch => 2,
            Self::Relayout => 3,
            Self::Repair => 4,
            Self::Retract => 5,
            Self::Leave => 6,
            Self::Adopt => 7,
        }
    }

    const fn from_code(code: i64) -> Option<Self> {
        match code {
            1 => Some(Self::Publish),
            2 => Some(Self::Fetch),
            3 => Some(Self::Relayout),
            4 => Some(Self::Repair),
            5 => Some(Self::Retract),
            6 => Some(Self::Leave),
            7 => Some(Self::Adopt),
            _ => None,
        }
    }
}

impl JobState {
    const ALL: [Self; 5] = [Self::Pending, Self::Done, Self::Degraded, Self::Failed, Self::Cancelled];

    /// The number kept in the index.
    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::Pending => 1,
            Self::Done => 2,
            Self::Degraded => 3,
            Self::Failed => 4,
            Self::Cancelled => 5,
        }
    }

    fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }
}

/// The placements of a tessera that are kept, one for each layout.
pub(super) async fn placements(
    index: &mut SqliteConnection,
    tessera: TesseraId,
) -> Result<Vec<KeptPlacement>, ActorError> {
    let rows = sqlx::query(PLACEMENTS).bind(tessera.as_bytes().as_slice()).fetch_all(index).await?;
    let placement = |row: &SqliteRow| -> Result<KeptPlacement, ActorError> {
        Ok(KeptPlacement {
            tessera,
            layout: Checksum::try_from(row.try_get::<&[u8], _>(0)?)?,
            version: row.try_get::<i64, _>(1)?.cast_unsigned(),
            is_by_author: row.try_get(2)?,
            signed: Bytes::copy_from_slice(row.try_get(3)?),
        })
    };
    rows.iter().map(placement).collect()
}

/// These jobs. One of a kind that only later software knows is passed over.
pub(super) async fn jobs(
    index: &mut SqliteConnection,
    which: Jobs,
) -> Result<Vec<ReplicationJob>, ActorError> {
    let rows = match which {
        Jobs::Pending => sqlx::query(PENDING).fetch_all(index).await?,
        Jobs::Last(limit) => sqlx::query(LAST).bind(limit).fetch_all(index).await?,
        Jobs::One(id) => sqlx::query(ONE).bind(id.cast_signed()).fetch_all(index).await?,
    };
    let job = |row: &SqliteRow| -> Result<Option<ReplicationJob>, ActorError> {
        let (kind, state) = (JobKind::from_code(row.try_get(1)?), JobState::from_code(row.try_get(3)?));
        let (Some(kind), Some(state)) = (kind, state) else { return Ok(None) };
        Ok(Some(ReplicationJob {
            id: row.try_get::<i64, _>(0)?.cast_unsigned(),
            kind,
            tessera: TesseraId::try_from(row.try_get::<&[u8], _>(2)?)?,
            state,
            began_at_ms: row.try_get(4)?,
            changed_at_ms: row.try_get(5)?,
            told: row.try_get(6)?,
        }))
    };
    rows.iter().filter_map(|row| job(row).transpose()).collect()
}

const PLACEMENTS: &str =
    "SELECT layout, version, by_author, signed FROM placements WHERE tessera = ? ORDER BY layout";
const PENDING: &str = "SELECT id, kind, tessera, state, began_at, changed_at, told FROM replication_jobs \
     INDEXED BY replication_jobs_pending WHERE state = 1 ORDER BY id";
const LAST: &str = "SELECT id, kind, tessera, state, began_at, changed_at, told FROM replication_jobs \
     ORDER BY id DESC LIMIT ? + 0";
const ONE: &str =
    "SELECT id, kind, tessera, state, began_at, changed_at, told FROM replication_jobs WHERE id = ?";

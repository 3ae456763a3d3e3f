//! When it is looked next how safe each tessera is that others keep, and what waits to be mended. No bytes of blobs.

use proto::{NodeId, TesseraId};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use crate::error::ActorError;

/// A tessera that others keep, as it was found. Times in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watched {
    /// The tessera.
    pub tessera: TesseraId,
    /// When it is looked at next; `None` until that is settled.
    pub next_at_ms: Option<i64>,
    /// When it was looked at last.
    pub looked_at_ms: Option<i64>,
    /// Fragments of the stripe that is worst off beyond those that are needed; `None` when it does not concern this node, or
    /// was not looked at.
    pub margin: Option<i32>,
    /// How many machines may be lost; `None` when too much is lost already.
    pub survives: Option<u16>,
    /// Since when the margin is too small.
    pub below_since_ms: Option<i64>,
    /// When it is this node's turn to mend it; `None` when it needs no mending, or others do it.
    pub due_at_ms: Option<i64>,
    /// What mending it moves, in bytes.
    pub repair_bytes: u64,
    /// When the holder proved anything whose last proof is longest ago, 0 for never; `None` when this node asks for none.
    pub proven_at_ms: Option<i64>,
}

impl Watched {
    /// Whether this node looks after it, as its author's or as a holder.
    pub fn is_looked_after(&self) -> bool {
        self.margin.is_some() || self.looked_at_ms.is_none()
    }

    /// Whether it is about to be looked at, or just is.
    pub(crate) fn is_looked_at_now(&self) -> bool {
        self.next_at_ms == Some(0)
    }
}

/// Which ones are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that are to be looked at by then, or later than could be: then a clock was wrong. At most so many.
    Next {
        /// By when.
        now_ms: i64,
        /// No later than this should any be.
        latest_ms: i64,
        /// At most so many.
        limit: u32,
    },
    /// Those whose turn it is to be mended, what is worst off first.
    Due {
        /// By when.
        now_ms: i64,
        /// At most so many.
        limit: u32,
    },
    /// This one.
    One(TesseraId),
    /// Those behind one, or all, in the order of their ids, at most so many.
    After(Option<TesseraId>, u32),
}

/// Bytes that repair may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepairAllowance {
    /// What is left; less than nothing when more was begun.
    pub left: i64,
    /// As of when, in milliseconds since 1970.
    pub at_ms: i64,
}

/// What all that is watched comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatchedTotals {
    /// Tesserae that survive as many losses as asked.
    pub safe: u64,
    /// Those that survive fewer, and are there.
    pub below: u64,
    /// Those of which too much is lost.
    pub lost: u64,
    /// Of the holder whose last proof is longest ago, in milliseconds since 1970, 0 for never; `None` when none is asked.
    pub proven_at_ms: Option<i64>,
}

/// Those that are asked for.
pub(super) async fn watched(index: &mut SqliteConnection, which: Which) -> Result<Vec<Watched>, ActorError> {
    let rows = match which {
        Which::Next { now_ms, latest_ms, limit } => {
            sqlx::query(NEXT).bind(now_ms).bind(latest_ms).bind(limit).fetch_all(index).await?
        }
        Which::Due { now_ms, limit } => sqlx::query(DUE).bind(now_ms).bind(limit).fetch_all(index).await?,
        Which::One(tessera) => sqlx::query(ONE).bind(tessera.as_bytes().as_slice()).fetch_all(index).await?,
        Which::After(tessera, limit) => {
            // Behind nothing is behind an id that is shorter than all others.
            let after = tessera.as_ref().map_or(&[][..], |tessera| tessera.as_bytes());
            sqlx::query(AFTER).bind(after).bind(limit).fetch_all(index).await?
        }
    };
    let watched = |row: &SqliteRow| -> Result<Watched, ActorError> {
        Ok(Watched {
            tessera: TesseraId::try_from(row.try_get::<&[u8], _>(0)?)?,
            next_at_ms: row.try_get(1)?,
            looked_at_ms: row.try_get(2)?,
            margin: row.try_get(3)?,
            survives: row.try_get(4)?,
            below_since_ms: row.try_get(5)?,
            due_at_ms: row.try_get(6)?,
            repair_bytes: row.try_get::<i64, _>(7)?.cast_unsigned(),
            proven_at_ms: row.try_get(8)?,
        })
    };
    rows.iter().map(watched).collect()
}

/// What all that is watched comes to, where so many losses are to be survived.
pub(super) async fn totals(index: &mut SqliteConnection, survive: u16) -> Result<WatchedTotals, ActorError> {
    let row = sqlx::query(TOTALS).bind(survive).fetch_one(index).await?;
    let count = |at: usize| row.try_get::<i64, _>(at).map(i64::cast_unsigned);
    Ok(WatchedTotals { safe: count(0)?, below: count(1)?, lost: count(2)?, proven_at_ms: row.try_get(3)? })
}

/// What repair may still move; `None` when it has moved nothing yet.
pub(super) async fn allowance(index: &mut SqliteConnection) -> Result<Option<RepairAllowance>, ActorError> {
    let row = sqlx::query(ALLOWANCE).fetch_optional(index).await?;
    row.map(|row| Ok(RepairAllowance { left: row.try_get(0)?, at_ms: row.try_get(1)? })).transpose()
}

/// The holders of a tessera that had not what they claimed.
pub(super) async fn doubted(
    index: &mut SqliteConnection,
    tessera: TesseraId,
) -> Result<Vec<NodeId>, ActorError> {
    let rows = sqlx::query(DOUBTED).bind(tessera.as_bytes().as_slice()).fetch_all(index).await?;
    rows.iter().map(|row| Ok(NodeId::try_from(row.try_get::<&[u8], _>(0)?)?)).collect()
}

const NEXT: &str = "SELECT tessera, next_at, looked_at, margin, survives, below_since, due_at, repair_bytes, proven_at \
     FROM watched WHERE next_at IS NULL OR next_at <= ? OR next_at > ? ORDER BY next_at LIMIT ? + 0";
/// What is worst off first; but last what cannot be mended unless somebody comes back.
const DUE: &str = "SELECT tessera, next_at, looked_at, margin, survives, below_since, due_at, repair_bytes, proven_at \
     FROM watched WHERE due_at IS NOT NULL AND due_at <= ? ORDER BY margin < 0, margin, due_at LIMIT ? + 0";
const ONE: &str = "SELECT tessera, next_at, looked_at, margin, survives, below_since, due_at, repair_bytes, proven_at \
     FROM watched WHERE tessera = ?";
const AFTER: &str = "SELECT tessera, next_at, looked_at, margin, survives, below_since, due_at, repair_bytes, proven_at \
     FROM watched WHERE tessera > ? ORDER BY tessera LIMIT ? + 0";
const TOTALS: &str = "SELECT coalesce(sum(survives >= ?1), 0), coalesce(sum(survives < ?1), 0), \
     coalesce(sum(survives IS NULL), 0), min(proven_at) FROM watched WHERE margin IS NOT NULL";
const ALLOWANCE: &str = "SELECT bytes, at FROM repair_allowance";
const DOUBTED: &str = "SELECT holder FROM doubted WHERE tessera = ? ORDER BY holder";

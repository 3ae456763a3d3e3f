//! What a snapshot knows of and the segments do not: an index that is made anew holds what is there, and nothing in it says
//! what should be.
//!
//! # Invariants
//! 1. The index that the snapshot is of may have been damaged itself: a tessera counts only as its seal says, and its
//!    documents only if they add up to what stands in its row.
//! 2. Nothing is missed of a tessera that was forgotten since, and came again.

use std::collections::HashMap;

use futures::TryStreamExt;
use proto::{Checksum, TesseraId, record::DocumentKind};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    digest, facts,
    rows::{DocumentKey, TesseraRow},
    snapshot::{MISSING_NAMED_MAX, Missing},
};
use crate::{clock, error::ActorError};

/// A document as the snapshot has it.
struct Kept {
    key: DocumentKey,
    length: i64,
    suspect_at_ms: Option<i64>,
    /// The index does not have it.
    is_lacking: bool,
    /// Something of its tessera that the index has is as old as the snapshot.
    is_of_before: bool,
    /// What the documents of its tessera add up to.
    sum: u64,
}

impl Kept {
    /// `None` when it is not as it was written.
    fn read(row: &SqliteRow) -> Result<Option<Self>, ActorError> {
        let tessera = TesseraId::try_from(row.try_get::<&[u8], _>(0)?)?;
        let of_tessera = facts::tessera_row(row, tessera, 7);
        let Some((kind, of_tessera)) = DocumentKind::from_code(row.try_get(1)?).zip(of_tessera.ok()) else {
            return Ok(None);
        };
        Ok(Some(Self {
            key: (tessera, kind, Checksum::try_from(row.try_get::<&[u8], _>(2)?)?),
            length: row.try_get(3)?,
            suspect_at_ms: row.try_get(4)?,
            is_lacking: row.try_get(5)?,
            is_of_before: row.try_get(6)?,
            sum: of_tessera.documents,
        }))
    }
}

/// Whether the snapshot `kept` can tell: one of an earlier version cannot.
pub(super) async fn can_tell(index: &mut SqliteConnection) -> Result<bool, ActorError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM kept.sqlite_schema WHERE name = 'log')";
    Ok(sqlx::query_scalar(sql).fetch_one(index).await?)
}

/// Takes documents into the index of which the snapshot `kept` knows and the segments tell nothing: their bytes are gone.
/// Returns the tesserae of those that were not known to be damaged.
pub(super) async fn documents(
    index: &mut SqliteConnection,
    dropped: Option<&HashMap<TesseraId, u64>>,
) -> Result<Vec<TesseraId>, ActorError> {
    let taken_at = next_seq(index).await?;
    let rows = sqlx::query(OF_LACKING).fetch_all(&mut *index).await?;
    let kept = rows.iter().filter_map(|row| Kept::read(row).transpose()).collect::<Result<Vec<_>, _>>()?;
    let mut lost = Vec::new();
    for all in kept.chunk_by(|one, next| one.key.0 == next.key.0) {
        let seals = all.iter().map(|one| digest::seal_of_document(&one.key));
        let sum = seals.fold(0, u64::wrapping_add);
        // One that was forgotten and came again since need not have the same documents.
        let came_again = |one: &Kept| {
            let kept_on = |dropped: &HashMap<_, _>| dropped.get(&one.key.0).is_none_or(|seq| *seq < taken_at);
            !one.is_of_before && !dropped.is_some_and(kept_on)
        };
        for one in all.iter().filter(|one| one.is_lacking && one.sum == sum && !came_again(one)) {
            if one.suspect_at_ms.is_none() {
                lost.push(one.key.0);
            }
            lose(index, one).await?;
        }
    }
    Ok(lost)
}

async fn lose(index: &mut SqliteConnection, one: &Kept) -> Result<(), ActorError> {
    let (tessera, kind, hash) = one.key;
    let row = sqlx::query(TESSERA).bind(tessera.as_bytes().as_slice()).fetch_one(&mut *index).await?;
    let row = facts::tessera_row(&row, tessera, 0)?;
    let documents = row.documents.wrapping_add(digest::seal_of_document(&one.key));
    let row = TesseraRow { documents, ..row };
    sqlx::query("INSERT INTO main.documents VALUES (?, ?, ?, 0, 0, ?, ?)")
        .bind(tessera.as_bytes().as_slice())
        .bind(kind.code())
        .bind(hash.as_bytes().as_slice())
        .bind(one.length)
        .bind(one.suspect_at_ms.unwrap_or_else(clock::now_ms))
        .execute(&mut *index)
        .await?;
    sqlx::query("UPDATE main.tesseras SET documents = ?, seal = ? WHERE tessera = ?")
        .bind(row.documents.cast_signed())
        .bind(digest::seal_of_tessera(tessera, &row))
        .bind(tessera.as_bytes().as_slice())
        .execute(&mut *index)
        .await?;
    Ok(())
}

/// Tesserae that the snapshot `kept` knows and the index does not, but for those of which something was dropped since.
pub(super) async fn tesseras(
    index: &mut SqliteConnection,
    dropped: &HashMap<TesseraId, u64>,
) -> Result<Missing, ActorError> {
    let taken_at = next_seq(index).await?;
    let mut missing = Missing::default();
    let mut rows = sqlx::query(MISSING).fetch(index);
    while let Some(row) = rows.try_next().await? {
        let tessera = TesseraId::try_from(row.try_get::<&[u8], _>(0)?)?;
        let is_dropped = dropped.get(&tessera).is_some_and(|seq| *seq >= taken_at);
        if is_dropped || facts::tessera_row(&row, tessera, 1).is_err() {
            continue;
        }
        missing.count += 1;
        if missing.first.len() < MISSING_NAMED_MAX {
            missing.first.push(tessera);
        }
    }
    Ok(missing)
}

/// The sequence number that was the next one when the snapshot `kept` was taken.
async fn next_seq(index: &mut SqliteConnection) -> Result<u64, ActorError> {
    let next: i64 = sqlx::query_scalar("SELECT next_seq FROM kept.log").fetch_one(index).await?;
    Ok(next.cast_unsigned())
}

/// All documents of tesserae that lack one, and what their rows say.
const OF_LACKING: &str = "WITH lacking AS (SELECT DISTINCT k.tessera FROM kept.documents k \
         JOIN main.tesseras t ON t.tessera = k.tessera AND t.session = 0 AND t.holdings > 0 \
         WHERE NOT EXISTS (SELECT 1 FROM main.documents d \
             WHERE d.tessera = k.tessera AND d.kind = k.kind AND d.hash = k.hash)) \
     SELECT k.tessera, k.kind, k.hash, k.len, k.suspect_at, NOT EXISTS (SELECT 1 FROM main.documents d \
             WHERE d.tessera = k.tessera AND d.kind = k.kind AND d.hash = k.hash), \
         EXISTS (SELECT 1 FROM main.deposits p \
             WHERE p.tessera = k.tessera AND p.seq < (SELECT next_seq FROM kept.log)), \
         t.session, t.holdings, t.received_at, t.documents, t.seal \
     FROM kept.documents k JOIN kept.tesseras t ON t.tessera = k.tessera \
     WHERE k.tessera IN lacking ORDER BY k.tessera";
const TESSERA: &str =
    "SELECT session, holdings, received_at, documents, seal FROM main.tesseras WHERE tessera = ?";
const MISSING: &str = "SELECT tessera, session, holdings, received_at, documents, seal FROM kept.tesseras k \
     WHERE NOT EXISTS (SELECT 1 FROM main.tesseras t WHERE t.tessera = k.tessera) ORDER BY tessera";

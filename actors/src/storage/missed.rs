//! What a snapshot knows of and the segments do not: an index that is made anew holds what is there, and nothing in it says
//! what should be.

use proto::{Checksum, TesseraId, record::DocumentKind};
use sqlx::{Row, SqliteConnection};

use super::{digest, facts, rows::TesseraRow};
use crate::{clock, error::ActorError};

/// Takes documents into the index of which the snapshot `kept` knows and the segments tell nothing: their bytes are gone.
/// Returns the tesserae of those that were not known to be damaged.
pub(super) async fn documents(index: &mut SqliteConnection) -> Result<Vec<TesseraId>, ActorError> {
    if !knows(index, "documents").await? {
        return Ok(Vec::new());
    }
    // One of before knows of damaged documents only.
    let next_seq: i64 = if knows(index, "log").await? {
        sqlx::query_scalar("SELECT next_seq FROM kept.log").fetch_one(&mut *index).await?
    } else {
        i64::MAX
    };
    let mut lost = Vec::new();
    for lacking in sqlx::query(LACKING).bind(next_seq).fetch_all(&mut *index).await? {
        let Some(kind) = DocumentKind::from_code(lacking.try_get(1)?) else { continue };
        let tessera = TesseraId::try_from(lacking.try_get::<&[u8], _>(0)?)?;
        let key = (tessera, kind, Checksum::try_from(lacking.try_get::<&[u8], _>(2)?)?);
        let suspect_at: Option<i64> = lacking.try_get(4)?;
        if suspect_at.is_none() {
            lost.push(tessera);
        }
        let row = sqlx::query(TESSERA).bind(tessera.as_bytes().as_slice()).fetch_one(&mut *index).await?;
        let row = facts::tessera_row(&row, tessera, 0)?;
        let documents = row.documents.wrapping_add(digest::seal_of_document(&key));
        let row = TesseraRow { documents, ..row };
        sqlx::query("INSERT INTO main.documents VALUES (?, ?, ?, 0, 0, ?, ?)")
            .bind(tessera.as_bytes().as_slice())
            .bind(kind.code())
            .bind(key.2.as_bytes().as_slice())
            .bind(lacking.try_get::<i64, _>(3)?)
            .bind(suspect_at.unwrap_or_else(clock::now_ms))
            .execute(&mut *index)
            .await?;
        sqlx::query("UPDATE main.tesseras SET documents = ?, seal = ? WHERE tessera = ?")
            .bind(row.documents.cast_signed())
            .bind(digest::seal_of_tessera(tessera, &row))
            .bind(tessera.as_bytes().as_slice())
            .execute(&mut *index)
            .await?;
    }
    Ok(lost)
}

/// Tesserae that the snapshot `kept` knows and the index does not.
pub(super) async fn tesseras(index: &mut SqliteConnection) -> Result<Vec<TesseraId>, ActorError> {
    let rows = sqlx::query(MISSING).fetch_all(index).await?;
    rows.iter().map(|row| Ok(TesseraId::try_from(row.try_get::<&[u8], _>(0)?)?)).collect()
}

async fn knows(index: &mut SqliteConnection, table: &str) -> Result<bool, ActorError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM kept.sqlite_schema WHERE name = ?)";
    Ok(sqlx::query_scalar(sql).bind(table).fetch_one(index).await?)
}

/// Of a tessera of which something is as old as the snapshot: one that was forgotten and came again since need not have
/// the same documents.
const LACKING: &str = "SELECT k.tessera, k.kind, k.hash, k.len, k.suspect_at FROM kept.documents k \
     JOIN main.tesseras t ON t.tessera = k.tessera AND t.session = 0 AND t.holdings > 0 \
     WHERE NOT EXISTS (SELECT 1 FROM main.documents d \
         WHERE d.tessera = k.tessera AND d.kind = k.kind AND d.hash = k.hash) \
     AND EXISTS (SELECT 1 FROM main.deposits p WHERE p.tessera = k.tessera AND p.seq < ?)";
const TESSERA: &str =
    "SELECT session, holdings, received_at, documents, seal FROM main.tesseras WHERE tessera = ?";
const MISSING: &str = "SELECT tessera FROM kept.tesseras k \
     WHERE NOT EXISTS (SELECT 1 FROM main.tesseras t WHERE t.tessera = k.tessera) ORDER BY tessera";

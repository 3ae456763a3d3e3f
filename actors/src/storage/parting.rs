//! What authors have taken back, what is kept here for its own sake, and whether this node goes. No bytes of blobs.

use bytes::Bytes;
use proto::{AuthorId, NodeId, TesseraId};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use crate::error::ActorError;

/// A retraction that is kept: see [`proto::retraction`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRetraction {
    /// What was taken back.
    pub tessera: TesseraId,
    /// By whom.
    pub author: AuthorId,
    /// The file.
    pub signed: Bytes,
    /// When that came to be known here, in milliseconds since 1970.
    pub at_ms: i64,
}

/// That of a tessera, if it was taken back.
pub(super) async fn retraction(
    index: &mut SqliteConnection,
    tessera: TesseraId,
) -> Result<Option<KeptRetraction>, ActorError> {
    let row = sqlx::query(RETRACTION).bind(tessera.as_bytes().as_slice()).fetch_optional(index).await?;
    let kept = |row: SqliteRow| -> Result<KeptRetraction, ActorError> {
        Ok(KeptRetraction {
            tessera,
            author: AuthorId::try_from(row.try_get::<&[u8], _>(0)?)?,
            signed: Bytes::copy_from_slice(row.try_get(1)?),
            at_ms: row.try_get(2)?,
        })
    };
    row.map(kept).transpose()
}

/// The nodes that are still to be told that something was taken back.
pub(super) async fn retractions_due(
    index: &mut SqliteConnection,
) -> Result<Vec<(TesseraId, NodeId)>, ActorError> {
    let rows = sqlx::query(DUE).fetch_all(index).await?;
    let due = |row: &SqliteRow| -> Result<(TesseraId, NodeId), ActorError> {
        let (tessera, node) = (row.try_get::<&[u8], _>(0)?, row.try_get::<&[u8], _>(1)?);
        Ok((TesseraId::try_from(tessera)?, NodeId::try_from(node)?))
    };
    rows.iter().map(due).collect()
}

/// The nodes that have signed to have anything of a tessera, as long as they have not said that it is gone.
pub(super) async fn signers(
    index: &mut SqliteConnection,
    tessera: TesseraId,
) -> Result<Vec<NodeId>, ActorError> {
    let rows = sqlx::query(SIGNERS).bind(tessera.as_bytes().as_slice()).fetch_all(index).await?;
    rows.iter().map(|row| Ok(NodeId::try_from(row.try_get::<&[u8], _>(0)?)?)).collect()
}

/// The tesserae that are looked after here, each since when: all, or this one.
pub(super) async fn adopted(
    index: &mut SqliteConnection,
    only: Option<TesseraId>,
) -> Result<Vec<(TesseraId, i64)>, ActorError> {
    let rows = match only {
        Some(tessera) => sqlx::query(ONE_ADOPTED).bind(tessera.as_bytes().to_vec()).fetch_all(index).await?,
        None => sqlx::query(ADOPTED).fetch_all(index).await?,
    };
    let one = |row: &SqliteRow| -> Result<(TesseraId, i64), ActorError> {
        Ok((TesseraId::try_from(row.try_get::<&[u8], _>(0)?)?, row.try_get(1)?))
    };
    rows.iter().map(one).collect()
}

/// Since when this node hands over what it keeps for others, if it does.
pub(super) async fn leaving(index: &mut SqliteConnection) -> Result<Option<i64>, ActorError> {
    Ok(sqlx::query_scalar(LEAVING).fetch_optional(index).await?)
}

const RETRACTION: &str = "SELECT author, signed, at FROM retractions WHERE tessera = ?";
const DUE: &str = "SELECT tessera, node FROM retraction_due ORDER BY tessera, node";
const SIGNERS: &str = "SELECT holder FROM placed WHERE tessera = ? ORDER BY holder";
const ADOPTED: &str = "SELECT tessera, at FROM adopted ORDER BY tessera";
const ONE_ADOPTED: &str = "SELECT tessera, at FROM adopted WHERE tessera = ?";
const LEAVING: &str = "SELECT at FROM leaving";

//! Questions that the index alone answers. No blob is read here.

use std::collections::HashMap;

use futures::TryStreamExt;
use proto::{AccountId, Checksum, FragmentId, TesseraId, record::DocumentKind};
use sqlx::{Row, SqlitePool, sqlite::SqliteRow};

use super::{
    digest::Digest,
    facts::{checked, place, tessera_row},
    locations::Location,
    readers::Pending,
    rows::{BlobState, Place},
};
use crate::{error::ActorError, store::FragmentRow};

/// What the index says of a tessera.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TesseraRow {
    /// Its id.
    pub id: TesseraId,
    /// Fragments kept for this node's own account.
    pub fragments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When it came here, in milliseconds since 1970.
    pub received_at_ms: i64,
    /// Whether its manifest is here.
    pub has_manifest: bool,
}

/// Counts of what is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Tesserae with at least one fragment.
    pub tesseras: u64,
    /// Fragments, all accounts together.
    pub fragments: u64,
    /// Their bytes, each account's counted.
    pub fragment_bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Bytes in them.
    pub segment_bytes: u64,
    /// Bytes of records in them that count.
    pub live_bytes: u64,
    /// Bytes of records in them that end older ones: they stay as long as any older one may still be there.
    pub drop_bytes: u64,
    /// Repairs queued.
    pub jobs: u64,
}

/// Where a fragment is, as far as the index knows.
pub(crate) enum Found {
    /// Its bytes are here.
    At(Location),
    /// Its bytes are damaged or gone.
    Damaged(Checksum),
    /// The index names a checksum that it does not know: it contradicts itself.
    Contradiction(Checksum),
    /// There is no row of it, though there are some of its tessera.
    Lacking,
    /// There is no such fragment.
    Nothing,
}

/// Looks a fragment up.
pub(crate) async fn locate(
    (pool, pending): (&SqlitePool, Pending),
    id: &FragmentId,
) -> Result<Found, ActorError> {
    let (fragment, tessera) = (pending.fragment(id), pending.tessera(id.tessera));
    if matches!(fragment, Some(None)) || matches!(tessera, Some(None)) {
        return Ok(Found::Nothing);
    }
    let known = fragment.flatten().map(|row| row.checksum);
    let row = sqlx::query(LOCATE)
        .bind(id.tessera.as_bytes().as_slice())
        .bind(id.stripe)
        .bind(id.index)
        .bind(known.as_ref().map(|checksum| checksum.as_bytes().as_slice()))
        .fetch_one(pool)
        .await?;
    let indexed = row.try_get::<Option<&[u8]>, _>(4)?;
    let tessera = match (tessera.flatten(), row.try_get::<Option<i64>, _>(0)?) {
        (Some(tessera), _) => tessera,
        (None, Some(_)) => tessera_row(&row, id.tessera, 0)?,
        (None, None) if indexed.is_none() => return Ok(Found::Nothing),
        (None, None) => {
            return Err(ActorError::damaged_index(format!("fragment {id} has lost the row of its tessera")));
        }
    };
    if tessera.session != 0 {
        return Ok(Found::Nothing);
    }
    let checksum = match (known, indexed) {
        (Some(checksum), _) => checksum,
        (None, Some(sum)) => checked(id, Checksum::try_from(sum)?, row.try_get(5)?)?,
        (None, None) => return Ok(Found::Lacking),
    };
    let (place, state) = match (pending.blob(&checksum).flatten(), row.try_get::<Option<i64>, _>(6)?) {
        (Some(blob), _) => (blob.place, blob.state),
        (None, Some(state)) => (place(&row, 7)?, BlobState::from_code(state)),
        (None, None) => return Ok(Found::Contradiction(checksum)),
    };
    Ok(match state {
        BlobState::Ok => Found::At(Location { checksum, place }),
        BlobState::Suspect | BlobState::Missing => Found::Damaged(checksum),
    })
}

/// A tessera's fragments from a place on, in order.
pub(crate) async fn checksums(
    pool: &SqlitePool,
    tessera: TesseraId,
    from: (u32, u16),
    limit: u32,
) -> Result<Vec<FragmentRow>, ActorError> {
    let rows = sqlx::query(CHECKSUMS)
        .bind(tessera.as_bytes().as_slice())
        .bind(from.0)
        .bind(from.1)
        .bind(limit)
        .fetch_all(pool)
        .await?;
    rows.iter().map(|row| fragment_row(row, tessera)).collect()
}

fn fragment_row(row: &SqliteRow, tessera: TesseraId) -> Result<FragmentRow, ActorError> {
    let id = FragmentId { tessera, stripe: row.try_get(0)?, index: row.try_get(1)? };
    let state = row.try_get::<Option<i64>, _>(5)?;
    Ok(FragmentRow {
        stripe: id.stripe,
        index: id.index,
        checksum: checked(&id, Checksum::try_from(row.try_get::<&[u8], _>(2)?)?, row.try_get(3)?)?,
        length: row.try_get::<Option<u32>, _>(4)?.unwrap_or(0),
        state: state.map_or(BlobState::Missing, BlobState::from_code),
        written_at_ms: row.try_get::<Option<i64>, _>(6)?.unwrap_or(0),
        verified_at_ms: row.try_get(7)?,
    })
}

/// Whether each account's fragments of a tessera are as many as are counted, and add up to the digest, as kept beside
/// them. In one transaction, so that what is written meanwhile is seen as a whole or not at all.
pub(crate) async fn adds_up(pool: &SqlitePool, tessera: TesseraId) -> Result<bool, ActorError> {
    let mut snapshot = pool.begin().await?;
    let mut kept = HashMap::new();
    let mut rows = sqlx::query(HOLDINGS).bind(tessera.as_bytes().as_slice()).fetch(&mut *snapshot);
    while let Some(row) = rows.try_next().await? {
        let digest = row.try_get::<&[u8], _>(2)?.try_into().unwrap_or_default();
        let count = row.try_get::<i64, _>(1)?.cast_unsigned();
        kept.insert(AccountId::try_from(row.try_get::<&[u8], _>(0)?)?, (count, Digest::from_bytes(&digest)));
    }
    drop(rows);
    let mut found = HashMap::<_, (u64, Digest)>::new();
    let mut rows = sqlx::query(DEPOSITS).bind(tessera.as_bytes().as_slice()).fetch(&mut *snapshot);
    while let Some(row) = rows.try_next().await? {
        let id = FragmentId { tessera, stripe: row.try_get(1)?, index: row.try_get(2)? };
        let checksum = checked(&id, Checksum::try_from(row.try_get::<&[u8], _>(3)?)?, row.try_get(4)?)?;
        let (count, sum) = found.entry(AccountId::try_from(row.try_get::<&[u8], _>(0)?)?).or_default();
        (*count, *sum) = (*count + 1, sum.plus(Digest::of(&id, &checksum)));
    }
    Ok(found == kept)
}

/// Tesserae whose ids lie in a range, in order.
pub(crate) async fn tesseras(
    pool: &SqlitePool,
    from: TesseraId,
    to: TesseraId,
    limit: u32,
) -> Result<Vec<TesseraRow>, ActorError> {
    let rows = sqlx::query(TESSERAS)
        .bind(AccountId::LOCAL.as_bytes().as_slice())
        .bind(DocumentKind::Manifest.code())
        .bind(from.as_bytes().as_slice())
        .bind(to.as_bytes().as_slice())
        .bind(limit)
        .fetch_all(pool)
        .await?;
    let tessera = |row: &SqliteRow| -> Result<TesseraRow, ActorError> {
        Ok(TesseraRow {
            id: TesseraId::try_from(row.try_get::<&[u8], _>(0)?)?,
            received_at_ms: row.try_get(1)?,
            fragments: row.try_get::<i64, _>(2)?.cast_unsigned(),
            bytes: row.try_get::<i64, _>(3)?.cast_unsigned(),
            has_manifest: row.try_get(4)?,
        })
    };
    rows.iter().map(tessera).collect()
}

/// Where a document of a tessera lies; without a hash, the only one of its kind.
pub(crate) async fn document(
    (pool, pending): (&SqlitePool, Pending),
    tessera: TesseraId,
    kind: DocumentKind,
    hash: Option<Checksum>,
) -> Result<Option<(Checksum, Place)>, ActorError> {
    let row = sqlx::query(DOCUMENT)
        .bind(tessera.as_bytes().as_slice())
        .bind(kind.code())
        .bind(hash.as_ref().map(|hash| hash.as_bytes().as_slice()))
        .fetch_one(pool)
        .await?;
    let counts = match pending.tessera(tessera) {
        Some(row) => row.is_some_and(|row| row.session == 0 && row.holdings > 0),
        None => row.try_get(0)?,
    };
    if !counts {
        return Ok(None);
    }
    if let Some(known) = pending.document(tessera, kind, hash) {
        return Ok(known);
    }
    let hash = row.try_get::<Option<&[u8]>, _>(1)?.map(Checksum::try_from).transpose()?;
    hash.map(|hash| Ok((hash, place(&row, 2)?))).transpose()
}

/// The counts.
pub(crate) async fn totals(pool: &SqlitePool) -> Result<Totals, ActorError> {
    let row = sqlx::query(TOTALS).fetch_one(pool).await?;
    let at = |column: usize| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
    Ok(Totals {
        tesseras: at(0)?,
        fragments: at(1)?,
        fragment_bytes: at(2)?,
        segments: at(3)?,
        segment_bytes: at(4)?,
        live_bytes: at(5)?,
        drop_bytes: at(6)?,
        jobs: at(7)?,
    })
}

/// One row, whatever there is.
const LOCATE: &str = "SELECT t.session, t.holdings, t.received_at, t.seal, f.checksum, f.seal, \
     b.state, b.segment, b.position, b.len \
     FROM (SELECT ?1 AS tessera, ?2 AS stripe, ?3 AS idx, ?4 AS checksum) q \
     LEFT JOIN tesseras t ON t.tessera = q.tessera \
     LEFT JOIN fragments f ON f.tessera = q.tessera AND f.stripe = q.stripe AND f.idx = q.idx \
     LEFT JOIN blobs b ON b.checksum = coalesce(q.checksum, f.checksum)";
/// One row, whatever there is.
const DOCUMENT: &str = "SELECT EXISTS (SELECT 1 FROM tesseras WHERE tessera = ?1 AND session = 0 AND holdings > 0), \
     d.hash, d.segment, d.position, d.len \
     FROM (SELECT 1) LEFT JOIN documents d ON d.tessera = ?1 AND d.kind = ?2 AND (?3 IS NULL OR d.hash = ?3) LIMIT 1";
/// The sum keeps SQLite from looking at the limit's value while it prepares, which it would do again every time.
const CHECKSUMS: &str = "SELECT f.stripe, f.idx, f.checksum, f.seal, b.len, b.state, s.written_at, s.verified_at \
     FROM fragments f JOIN tesseras t ON t.tessera = f.tessera \
     LEFT JOIN blobs b ON b.checksum = f.checksum LEFT JOIN segments s ON s.id = b.segment \
     WHERE f.tessera = ? AND t.session = 0 AND (f.stripe, f.idx) >= (?, ?) \
     ORDER BY f.stripe, f.idx LIMIT ? + 0";
/// Only of a tessera whose own row is there: without it, lists are empty.
const HOLDINGS: &str = "SELECT h.account, h.fragments, h.digest FROM holdings h \
     JOIN tesseras t ON t.tessera = h.tessera WHERE h.tessera = ?";
const DEPOSITS: &str = "SELECT d.account, d.stripe, d.idx, f.checksum, f.seal \
     FROM deposits d JOIN fragments f ON f.tessera = d.tessera AND f.stripe = d.stripe AND f.idx = d.idx \
     WHERE d.tessera = ?";
const TESSERAS: &str = "SELECT t.tessera, t.received_at, coalesce(h.fragments, 0), coalesce(h.bytes, 0), \
     EXISTS (SELECT 1 FROM documents d WHERE d.tessera = t.tessera AND d.kind = ?2) \
     FROM tesseras t LEFT JOIN holdings h ON h.account = ?1 AND h.tessera = t.tessera \
     WHERE t.tessera BETWEEN ?3 AND ?4 AND t.session = 0 AND t.holdings > 0 ORDER BY t.tessera LIMIT ?5 + 0";
const TOTALS: &str = "SELECT (SELECT count(*) FROM tesseras WHERE session = 0 AND holdings > 0), \
     (SELECT coalesce(sum(fragments), 0) FROM accounts), (SELECT coalesce(sum(bytes), 0) FROM accounts), \
     count(*), coalesce(sum(bytes), 0), coalesce(sum(live_bytes), 0), coalesce(sum(drop_bytes), 0), \
     (SELECT count(*) FROM jobs) FROM segments";

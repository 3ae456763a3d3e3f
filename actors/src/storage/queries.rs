//! Questions that the index alone answers. No blob is read here.

use std::collections::HashMap;

use futures::TryStreamExt;
use proto::{
    AccountId, Checksum, FragmentId, TesseraId,
    record::{DocumentKind, record_len},
};
use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    digest::{self, Digest},
    facts::{self, checked, place, tessera_row},
    lists,
    locations::Location,
    readers::Pending,
    rows::{self, BlobState, DocumentRow, Place},
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
    /// Whether any document of it is here.
    pub has_documents: bool,
    /// How many of these are damaged or gone.
    pub damaged_documents: u64,
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

/// Where a document is, as far as the index knows.
pub(crate) enum FoundDocument {
    /// The one with this hash is here.
    At(Checksum, DocumentRow),
    /// There is no row of it, though there are some of its tessera.
    Lacking,
    /// There is nothing of this tessera.
    Nothing,
}

/// Looks a fragment up.
pub(crate) async fn locate(
    index: &mut SqliteConnection,
    pending: Pending,
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
        .fetch_one(index)
        .await?;
    let Some(tessera) = known_tessera(tessera, &row, id.tessera)? else { return Ok(Found::Nothing) };
    if tessera.session != 0 {
        return Ok(Found::Nothing);
    }
    let checksum = match (known, row.try_get::<Option<&[u8]>, _>(6)?) {
        (Some(checksum), _) => checksum,
        (None, Some(sum)) => checked(id, Checksum::try_from(sum)?, row.try_get(7)?)?,
        (None, None) => return Ok(Found::Lacking),
    };
    let (place, state) = match (pending.blob(&checksum).flatten(), row.try_get::<Option<i64>, _>(8)?) {
        (Some(blob), _) => (blob.place, blob.state),
        (None, Some(state)) => (place(&row, 9)?, BlobState::from_code(state)),
        (None, None) => return Ok(Found::Contradiction(checksum)),
    };
    Ok(match state {
        BlobState::Ok => Found::At(Location { checksum, place }),
        BlobState::Suspect | BlobState::Missing => Found::Damaged(checksum),
    })
}

/// A tessera's row as a batch in flight has it, or else from the first columns of what the index answered: those of
/// [`tessera_row`], and whether anyone holds something of it.
///
/// Errors as damage of the index when someone does although there is no such row.
fn known_tessera(
    pending: Option<Option<rows::TesseraRow>>,
    row: &SqliteRow,
    id: TesseraId,
) -> Result<Option<rows::TesseraRow>, ActorError> {
    if let Some(known) = pending {
        return Ok(known);
    }
    if row.try_get::<Option<i64>, _>(0)?.is_some() {
        return tessera_row(row, id, 0).map(Some);
    }
    if row.try_get(TESSERA_COLUMNS)? {
        return Err(ActorError::damaged_index(format!("what is held of {id} has lost its row")));
    }
    Ok(None)
}

/// A tessera's fragments from a place on, in order.
pub(crate) async fn checksums(
    index: &mut SqliteConnection,
    tessera: TesseraId,
    from: (u32, u16),
    limit: u32,
) -> Result<Vec<FragmentRow>, ActorError> {
    let lists = sqlx::query(lists::FRAGMENTS)
        .bind(tessera.as_bytes().as_slice())
        .bind(from.0)
        .bind(from.1)
        .bind(limit)
        .fetch_one(index)
        .await?;
    let mut rows = lists::fragments(&lists, tessera)?;
    // SQLite promises no order inside of a list.
    rows.sort_unstable_by_key(|row| (row.stripe, row.index));
    Ok(rows)
}

/// Whether anything of a tessera is here.
///
/// Errors as damage of the index when somebody holds something of it and it has no row.
pub(crate) async fn is_here(index: &mut SqliteConnection, tessera: TesseraId) -> Result<bool, ActorError> {
    let row = sqlx::query(TESSERA).bind(tessera.as_bytes().as_slice()).fetch_one(index).await?;
    Ok(known_tessera(None, &row, tessera)?.is_some())
}

/// Whether the rows of a tessera are all there: each account's fragments are as many as are counted, and add up to the
/// digest, and so do the documents. In one transaction, so that what is written meanwhile is seen as a whole or not at
/// all.
pub(crate) async fn adds_up(index: &mut SqliteConnection, tessera: TesseraId) -> Result<bool, ActorError> {
    let mut snapshot = index.begin().await?;
    let row = sqlx::query(TESSERA).bind(tessera.as_bytes().as_slice()).fetch_one(&mut *snapshot).await?;
    let Some(row) = known_tessera(None, &row, tessera)? else { return Ok(true) };
    let mut documents = 0_u64;
    let mut rows = sqlx::query(DOCUMENTS).bind(tessera.as_bytes().as_slice()).fetch(&mut *snapshot);
    while let Some(row) = rows.try_next().await? {
        let Some(kind) = DocumentKind::from_code(row.try_get(0)?) else { return Ok(false) };
        let hash = Checksum::try_from(row.try_get::<&[u8], _>(1)?)?;
        documents = documents.wrapping_add(digest::seal_of_document(&(tessera, kind, hash)));
    }
    drop(rows);
    let mut kept = HashMap::new();
    let mut rows = sqlx::query(HOLDINGS).bind(tessera.as_bytes().as_slice()).fetch(&mut *snapshot);
    while let Some(row) = rows.try_next().await? {
        let digest = row.try_get::<&[u8], _>(2)?.try_into().unwrap_or_default();
        let count = row.try_get::<i64, _>(1)?.cast_unsigned();
        kept.insert(AccountId::try_from(row.try_get::<&[u8], _>(0)?)?, (count, Digest::from_bytes(&digest)));
    }
    drop(rows);
    let mut found = HashMap::<_, (u64, Digest)>::new();
    // Behind nothing is behind an account that is shorter than all others.
    let mut behind = Some((0, 0, Vec::new()));
    while let Some((stripe, index, account)) = behind {
        let page = sqlx::query(DEPOSITS).bind(tessera.as_bytes().as_slice()).bind(stripe).bind(index);
        let page = page.bind(account).bind(DEPOSITS_PER_PAGE).fetch_one(&mut *snapshot).await?;
        let deposits = deposits(&page, tessera)?;
        for (account, id, checksum) in &deposits {
            let (count, sum) = found.entry(*account).or_default();
            (*count, *sum) = (*count + 1, sum.plus(Digest::of(id, checksum)));
        }
        // The list need not be in order.
        let places =
            deposits.iter().map(|(account, id, _)| (id.stripe, id.index, account.as_bytes().to_vec()));
        behind = places.max().filter(|_| deposits.len() == DEPOSITS_PER_PAGE as usize);
    }
    Ok(found == kept && kept.len() == row.holdings as usize && documents == row.documents)
}

/// Which account wants which bytes for which fragment: a page of [`DEPOSITS`].
fn deposits(
    page: &SqliteRow,
    tessera: TesseraId,
) -> Result<Vec<(AccountId, FragmentId, Checksum)>, ActorError> {
    let (accounts, []) = page.try_get::<Option<&[u8]>, _>(0)?.unwrap_or_default().as_chunks() else {
        return Err(lists::not_as_written());
    };
    let (sums, []) = page.try_get::<Option<&[u8]>, _>(1)?.unwrap_or_default().as_chunks() else {
        return Err(lists::not_as_written());
    };
    let numbers = lists::numbers::<3>(page, 2)?;
    if accounts.len() != numbers.len() || sums.len() != numbers.len() {
        return Err(lists::not_as_written());
    }
    let rows = accounts.iter().zip(sums).zip(numbers);
    let deposit = |((account, sum), [stripe, index, seal]): ((&[u8; 32], &[u8; 32]), [i64; 3])| {
        let stripe = u32::try_from(stripe).map_err(|_| lists::not_as_written())?;
        let index = u16::try_from(index).map_err(|_| lists::not_as_written())?;
        let id = FragmentId { tessera, stripe, index };
        Ok((AccountId::from_bytes(*account), id, checked(&id, Checksum::from_bytes(*sum), seal)?))
    };
    rows.map(deposit).collect()
}

/// Tesserae whose ids lie in a range, in order.
pub(crate) async fn tesseras(
    index: &mut SqliteConnection,
    from: TesseraId,
    to: TesseraId,
    limit: u32,
) -> Result<Vec<TesseraRow>, ActorError> {
    if from == to {
        let row = sqlx::query(TESSERA).bind(from.as_bytes().as_slice()).fetch_one(&mut *index).await?;
        known_tessera(None, &row, from)?;
    }
    let rows = sqlx::query(TESSERAS)
        .bind(AccountId::LOCAL.as_bytes().as_slice())
        .bind(from.as_bytes().as_slice())
        .bind(to.as_bytes().as_slice())
        .bind(limit)
        .fetch_all(index)
        .await?;
    let tessera = |row: &SqliteRow| -> Result<TesseraRow, ActorError> {
        let id = TesseraId::try_from(row.try_get::<&[u8], _>(TESSERA_COLUMNS)?)?;
        let sealed = tessera_row(row, id, 0)?;
        Ok(TesseraRow {
            id,
            received_at_ms: sealed.received_at_ms,
            fragments: row.try_get::<i64, _>(TESSERA_COLUMNS + 1)?.cast_unsigned(),
            bytes: row.try_get::<i64, _>(TESSERA_COLUMNS + 2)?.cast_unsigned(),
            has_documents: sealed.documents != 0,
            damaged_documents: row.try_get::<i64, _>(TESSERA_COLUMNS + 3)?.cast_unsigned(),
        })
    };
    rows.iter().map(tessera).collect()
}

/// Where a document of a tessera lies; without a hash, the only one of its kind.
pub(crate) async fn document(
    index: &mut SqliteConnection,
    pending: Pending,
    tessera: TesseraId,
    kind: DocumentKind,
    hash: Option<Checksum>,
) -> Result<FoundDocument, ActorError> {
    let row = sqlx::query(DOCUMENT)
        .bind(tessera.as_bytes().as_slice())
        .bind(kind.code())
        .bind(hash.as_ref().map(|hash| hash.as_bytes().as_slice()))
        .fetch_one(index)
        .await?;
    let counts = known_tessera(pending.tessera(tessera), &row, tessera)?;
    if counts.is_none_or(|row| row.session != 0 || row.holdings == 0) {
        return Ok(FoundDocument::Nothing);
    }
    let found = match (pending.document(tessera, kind, hash), row.try_get::<Option<&[u8]>, _>(6)?) {
        (Some(known), _) => known,
        (None, Some(hash)) => Some((Checksum::try_from(hash)?, facts::document(&row, 7)?)),
        (None, None) => None,
    };
    Ok(found.map_or(FoundDocument::Lacking, |(hash, row)| FoundDocument::At(hash, row)))
}

/// The counts.
pub(crate) async fn totals(index: &mut SqliteConnection) -> Result<Totals, ActorError> {
    let row = sqlx::query(TOTALS).fetch_one(index).await?;
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

/// The bytes of all segments.
pub(crate) async fn segment_bytes(index: &mut SqliteConnection) -> Result<u64, ActorError> {
    let bytes: i64 =
        sqlx::query_scalar("SELECT coalesce(sum(bytes), 0) FROM segments").fetch_one(index).await?;
    Ok(bytes.cast_unsigned())
}

/// Whether the index names a place that its own row of the segment does not have.
pub(crate) async fn is_nowhere(index: &mut SqliteConnection, place: &Place) -> Result<bool, ActorError> {
    let bytes: Option<i64> = sqlx::query_scalar("SELECT bytes FROM segments WHERE id = ?")
        .bind(place.segment)
        .fetch_optional(index)
        .await?;
    let end = place.position.saturating_add(record_len(place.len as usize));
    Ok(bytes.is_none_or(|bytes| end > bytes.cast_unsigned()))
}

/// Sees the index as it is now, for ever.
#[cfg(feature = "faults")]
pub(crate) async fn hold(index: &mut SqliteConnection) -> Result<(), ActorError> {
    let mut snapshot = index.begin().await?;
    totals(&mut snapshot).await?;
    std::future::pending().await
}

/// Columns that [`tessera_row`] reads.
const TESSERA_COLUMNS: usize = 5;
/// One row, whatever there is.
const TESSERA: &str = "SELECT t.session, t.holdings, t.received_at, t.documents, t.seal, \
     t.seal IS NULL AND EXISTS (SELECT 1 FROM holdings h WHERE h.tessera = ?1) \
     FROM (SELECT 1) LEFT JOIN tesseras t ON t.tessera = ?1";
const DOCUMENTS: &str = "SELECT kind, hash FROM documents WHERE tessera = ?";
/// One row, whatever there is.
const LOCATE: &str = "SELECT t.session, t.holdings, t.received_at, t.documents, t.seal, \
     t.seal IS NULL AND EXISTS (SELECT 1 FROM holdings h WHERE h.tessera = ?1), f.checksum, f.seal, \
     b.state, b.segment, b.position, b.len \
     FROM (SELECT ?1 AS tessera, ?2 AS stripe, ?3 AS idx, ?4 AS checksum) q \
     LEFT JOIN tesseras t ON t.tessera = q.tessera \
     LEFT JOIN fragments f ON f.tessera = q.tessera AND f.stripe = q.stripe AND f.idx = q.idx \
     LEFT JOIN blobs b ON b.checksum = coalesce(q.checksum, f.checksum)";
/// One row, whatever there is.
const DOCUMENT: &str = "SELECT t.session, t.holdings, t.received_at, t.documents, t.seal, \
     t.seal IS NULL AND EXISTS (SELECT 1 FROM holdings h WHERE h.tessera = ?1), \
     d.hash, d.segment, d.position, d.len, d.suspect_at \
     FROM (SELECT 1) LEFT JOIN tesseras t ON t.tessera = ?1 \
     LEFT JOIN documents d ON d.tessera = ?1 AND d.kind = ?2 AND (?3 IS NULL OR d.hash = ?3) LIMIT 1";
const HOLDINGS: &str = "SELECT account, fragments, digest FROM holdings WHERE tessera = ?";
const DEPOSITS_PER_PAGE: u32 = 4096;
const DEPOSITS: &str = "SELECT group_concat(account, ''), group_concat(checksum, ''), \
     group_concat(stripe || ',' || idx || ',' || seal || ',', '') FROM ( \
     SELECT d.account, d.stripe, d.idx, f.checksum, f.seal \
     FROM deposits d JOIN fragments f ON f.tessera = d.tessera AND f.stripe = d.stripe AND f.idx = d.idx \
     WHERE d.tessera = ? AND (d.stripe, d.idx, d.account) > (?, ?, ?) \
     ORDER BY d.stripe, d.idx, d.account LIMIT ? + 0)";
const TESSERAS: &str = "SELECT t.session, t.holdings, t.received_at, t.documents, t.seal, \
     t.tessera, coalesce(h.fragments, 0), coalesce(h.bytes, 0), \
     (SELECT count(*) FROM documents d WHERE d.tessera = t.tessera AND d.suspect_at IS NOT NULL) \
     FROM tesseras t LEFT JOIN holdings h ON h.account = ?1 AND h.tessera = t.tessera \
     WHERE t.tessera BETWEEN ?2 AND ?3 AND t.session = 0 AND t.holdings > 0 ORDER BY t.tessera LIMIT ?4 + 0";
const TOTALS: &str = "SELECT (SELECT count(*) FROM tesseras WHERE session = 0 AND holdings > 0), \
     (SELECT coalesce(sum(fragments), 0) FROM accounts), (SELECT coalesce(sum(bytes), 0) FROM accounts), \
     count(*), coalesce(sum(bytes), 0), coalesce(sum(live_bytes), 0), coalesce(sum(drop_bytes), 0), \
     (SELECT count(*) FROM (SELECT checksum FROM jobs UNION \
         SELECT hash FROM documents INDEXED BY documents_suspect WHERE suspect_at IS NOT NULL)) FROM segments";

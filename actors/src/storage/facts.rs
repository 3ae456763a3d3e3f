//! Reading from the index what a batch needs to know before it is decided.

use proto::{AccountId, Checksum, FragmentId, TesseraId, record::DocumentKind};
use sqlx::{AssertSqlSafe, Row, SqliteConnection, sqlite::SqliteArguments, sqlite::SqliteRow};

use super::{
    digest::Digest,
    rows::{
        BlobRow, BlobState, DepositRow, DocumentKey, FragmentRow, HoldingRow, Place, Seal, SegmentRow,
        TesseraRow, Watermark,
    },
    view::View,
};
use crate::error::ActorError;

/// What one operation needs: the rows of this account's deposit of this fragment, and of the blob with this checksum
/// (or, where the fragment is known, of its own).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    pub(crate) account: AccountId,
    pub(crate) fragment: FragmentId,
    pub(crate) checksum: Option<Checksum>,
}

/// The state of the log as the index knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogState {
    pub(crate) watermark: Watermark,
    pub(crate) next_seq: u64,
    pub(crate) clean: bool,
}

/// Loads the rows behind these needs. A power of two of them is asked for at a time, so that the statement stays
/// prepared whatever the size of the batch.
pub(crate) async fn load(
    connection: &mut SqliteConnection,
    view: &mut View,
    needs: &[Need],
) -> Result<(), ActorError> {
    for chunk in needs.chunks(NEEDS_PER_QUERY_MAX) {
        let Some(last) = chunk.last() else { continue };
        let size = chunk.len().next_power_of_two();
        let padding = std::iter::repeat_n(last, size - chunk.len());
        let mut arguments = SqliteArguments::default();
        for need in chunk.iter().chain(padding) {
            add(&mut arguments, need.account.as_bytes().as_slice())?;
            add(&mut arguments, need.fragment.tessera.as_bytes().as_slice())?;
            add(&mut arguments, i64::from(need.fragment.stripe))?;
            add(&mut arguments, i64::from(need.fragment.index))?;
            add(&mut arguments, need.checksum.as_ref().map(|sum| sum.as_bytes().as_slice()))?;
        }
        let values = vec!["(?,?,?,?,?)"; size].join(",");
        let sql = format!("WITH q(account, tessera, stripe, idx, checksum) AS (VALUES {values}) {NEEDED}");
        let rows = sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_all(&mut *connection).await?;
        for row in &rows {
            load_row(view, row)?;
        }
    }
    Ok(())
}

/// Loads all documents of a tessera, the tessera's own row, and returns the documents' keys.
pub(crate) async fn load_documents(
    connection: &mut SqliteConnection,
    view: &mut View,
    tessera: TesseraId,
) -> Result<Vec<(DocumentKind, Checksum)>, ActorError> {
    let rows = sqlx::query("SELECT kind, hash, segment, position, len FROM documents WHERE tessera = ?")
        .bind(tessera.as_bytes().as_slice())
        .fetch_all(&mut *connection)
        .await?;
    let mut keys = Vec::with_capacity(rows.len());
    for row in &rows {
        let code: u8 = row.try_get(0)?;
        let Some(kind) = DocumentKind::from_code(code) else { continue };
        let hash = Checksum::try_from(row.try_get::<&[u8], _>(1)?)?;
        view.documents.load((tessera, kind, hash), place(row, 2)?);
        keys.push((kind, hash));
    }
    load_tessera(connection, view, tessera).await?;
    Ok(keys)
}

/// Loads one document and its tessera's own row.
pub(crate) async fn load_document(
    connection: &mut SqliteConnection,
    view: &mut View,
    key: DocumentKey,
) -> Result<(), ActorError> {
    let sql = "SELECT segment, position, len FROM documents WHERE tessera = ? AND kind = ? AND hash = ?";
    let row = sqlx::query(sql)
        .bind(key.0.as_bytes().as_slice())
        .bind(key.1.code())
        .bind(key.2.as_bytes().as_slice())
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(row) = row {
        view.documents.load(key, place(&row, 0)?);
    }
    load_tessera(connection, view, key.0).await
}

/// Loads a tessera's own row.
pub(crate) async fn load_tessera(
    connection: &mut SqliteConnection,
    view: &mut View,
    tessera: TesseraId,
) -> Result<(), ActorError> {
    let row = sqlx::query("SELECT session, holdings, received_at FROM tesseras WHERE tessera = ?")
        .bind(tessera.as_bytes().as_slice())
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(row) = row {
        view.tesseras.load(tessera, tessera_row(&row, 0)?);
    }
    Ok(())
}

/// At most `limit` deposits of a tessera, any account's.
pub(crate) async fn deposits_of(
    connection: &mut SqliteConnection,
    tessera: TesseraId,
    limit: u32,
) -> Result<Vec<Need>, ActorError> {
    let rows = sqlx::query("SELECT account, stripe, idx FROM deposits WHERE tessera = ? LIMIT ?")
        .bind(tessera.as_bytes().as_slice())
        .bind(limit)
        .fetch_all(&mut *connection)
        .await?;
    let need = |row: &SqliteRow| -> Result<Need, ActorError> {
        let account = AccountId::try_from(row.try_get::<&[u8], _>(0)?)?;
        let fragment = FragmentId { tessera, stripe: row.try_get(1)?, index: row.try_get(2)? };
        Ok(Need { account, fragment, checksum: None })
    };
    rows.iter().map(need).collect()
}

/// All segments.
pub(crate) async fn segments(
    connection: &mut SqliteConnection,
) -> Result<std::collections::HashMap<u32, SegmentRow>, ActorError> {
    let sql = "SELECT id, bytes, live_bytes, min_seq, sealed, written_at, verified_at FROM segments";
    let rows = sqlx::query(sql).fetch_all(connection).await?;
    let segment = |row: &SqliteRow| -> Result<(u32, SegmentRow), ActorError> {
        let segment = SegmentRow {
            bytes: row.try_get::<i64, _>(1)?.cast_unsigned(),
            live_bytes: row.try_get::<i64, _>(2)?.cast_unsigned(),
            min_seq: row.try_get::<i64, _>(3)?.cast_unsigned(),
            seal: Seal::from_code(row.try_get(4)?),
            written_at_ms: row.try_get(5)?,
            verified_at_ms: row.try_get(6)?,
        };
        Ok((row.try_get(0)?, segment))
    };
    rows.iter().map(segment).collect()
}

/// The state of the log.
pub(crate) async fn log_state(connection: &mut SqliteConnection) -> Result<LogState, ActorError> {
    let row = sqlx::query("SELECT segment, position, next_seq, clean FROM log").fetch_one(connection).await?;
    Ok(LogState {
        watermark: Watermark {
            segment: row.try_get(0)?,
            position: row.try_get::<i64, _>(1)?.cast_unsigned(),
        },
        next_seq: row.try_get::<i64, _>(2)?.cast_unsigned(),
        clean: row.try_get(3)?,
    })
}

fn load_row(view: &mut View, row: &SqliteRow) -> Result<(), ActorError> {
    let account = AccountId::try_from(row.try_get::<&[u8], _>(0)?)?;
    let tessera = TesseraId::try_from(row.try_get::<&[u8], _>(1)?)?;
    let id = FragmentId { tessera, stripe: row.try_get(2)?, index: row.try_get(3)? };
    if let Some(checksum) = row.try_get::<Option<&[u8]>, _>(4)? {
        let checksum = Checksum::try_from(checksum)?;
        view.fragments.load(id, FragmentRow { checksum, deposits: row.try_get(5)? });
    }
    if let Some(segment) = row.try_get(6)? {
        let seq = row.try_get::<i64, _>(7)?.cast_unsigned();
        view.deposits.load((account, id), DepositRow { segment, seq });
    }
    if let Some(fragments) = row.try_get::<Option<i64>, _>(8)? {
        let digest: [u8; 32] = row.try_get::<&[u8], _>(10)?.try_into().unwrap_or_default();
        let holding = HoldingRow {
            fragments: fragments.cast_unsigned(),
            bytes: row.try_get::<i64, _>(9)?.cast_unsigned(),
            digest: Digest::from_bytes(&digest),
        };
        view.holdings.load((account, tessera), holding);
    }
    if row.try_get::<Option<i64>, _>(11)?.is_some() {
        view.tesseras.load(tessera, tessera_row(row, 11)?);
    }
    if let Some(checksum) = row.try_get::<Option<&[u8]>, _>(14)? {
        let blob = BlobRow {
            place: place(row, 15)?,
            refs: row.try_get(18)?,
            state: BlobState::from_code(row.try_get(19)?),
        };
        view.blobs.load(Checksum::try_from(checksum)?, blob);
    }
    Ok(())
}

/// A place from three columns: segment, position, len.
pub(crate) fn place(row: &SqliteRow, at: usize) -> Result<Place, sqlx::Error> {
    Ok(Place {
        segment: row.try_get(at)?,
        position: row.try_get::<i64, _>(at + 1)?.cast_unsigned(),
        len: row.try_get(at + 2)?,
    })
}

fn tessera_row(row: &SqliteRow, at: usize) -> Result<TesseraRow, sqlx::Error> {
    Ok(TesseraRow {
        session: row.try_get::<i64, _>(at)?.cast_unsigned(),
        holdings: row.try_get(at + 1)?,
        received_at_ms: row.try_get(at + 2)?,
    })
}

/// Adds an argument; errors only when it cannot be encoded, which the types used here always can.
pub(crate) fn add<'q, T>(arguments: &mut SqliteArguments, value: T) -> Result<(), ActorError>
where
    T: sqlx::Encode<'q, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite> + 'q,
{
    sqlx::Arguments::add(arguments, value)
        .map_err(|error| ActorError::Index { reason: format!("a value cannot be stored: {error}") })
}

const NEEDS_PER_QUERY_MAX: usize = 64;
const NEEDED: &str = "SELECT q.account, q.tessera, q.stripe, q.idx, f.checksum, f.deposits, d.segment, d.seq, \
     h.fragments, h.bytes, h.digest, t.session, t.holdings, t.received_at, \
     b.checksum, b.segment, b.position, b.len, b.refs, b.state \
     FROM q \
     LEFT JOIN fragments f ON f.tessera = q.tessera AND f.stripe = q.stripe AND f.idx = q.idx \
     LEFT JOIN deposits d ON d.tessera = q.tessera AND d.stripe = q.stripe AND d.idx = q.idx \
          AND d.account = q.account \
     LEFT JOIN holdings h ON h.account = q.account AND h.tessera = q.tessera \
     LEFT JOIN tesseras t ON t.tessera = q.tessera \
     LEFT JOIN blobs b ON b.checksum = coalesce(f.checksum, q.checksum)";

//! Reading from the index what a batch needs to know before it is decided.

use proto::{AccountId, Checksum, FragmentId, TesseraId, record::DocumentKind};
use sqlx::{AssertSqlSafe, Row, SqliteConnection, sqlite::SqliteArguments, sqlite::SqliteRow};

use super::{
    digest::{self, Digest},
    records,
    rows::{
        BlobRow, BlobState, DepositKey, DepositRow, DocumentKey, DocumentRow, FragmentRow, HoldingRow,
        LogEnd, Place, ScrubRow, Seal, SegmentRow, TesseraRow, Watermark,
    },
    view::View,
};
use crate::error::ActorError;

/// What one operation needs: the rows of this account's deposit of this fragment, and of the blobs with this checksum
/// and, where the index knows the fragment, with its own. Both, because a batch in flight may have dropped the
/// fragment that the index still knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    pub(crate) account: AccountId,
    pub(crate) fragment: FragmentId,
    pub(crate) checksum: Option<Checksum>,
}

/// Loads the rows behind these needs.
pub(crate) async fn load(
    connection: &mut SqliteConnection,
    view: &mut View,
    needs: &[Need],
) -> Result<(), ActorError> {
    for chunk in needs.chunks(KEYS_PER_QUERY_MAX) {
        let rows = ask(connection, "(?,?,?,?,?)", NEEDED, chunk, |need, arguments| {
            add(arguments, need.account.as_bytes().as_slice())?;
            add(arguments, need.fragment.tessera.as_bytes().as_slice())?;
            add(arguments, i64::from(need.fragment.stripe))?;
            add(arguments, i64::from(need.fragment.index))?;
            add(arguments, need.checksum.as_ref().map(|sum| sum.as_bytes().as_slice()))
        });
        for row in &rows.await? {
            load_need(view, row)?;
        }
    }
    let mut holdings: Vec<_> = needs.iter().map(|need| (need.account, need.fragment.tessera)).collect();
    holdings.sort_unstable();
    holdings.dedup();
    holdings.retain(|key| !view.holdings.knows(key) || !view.tesseras.knows(&key.1));
    for chunk in holdings.chunks(KEYS_PER_QUERY_MAX) {
        let rows = ask(connection, "(?,?)", HELD, chunk, |(account, tessera), arguments| {
            add(arguments, account.as_bytes().as_slice())?;
            add(arguments, tessera.as_bytes().as_slice())
        });
        for row in &rows.await? {
            load_holding(view, row)?;
        }
    }
    Ok(())
}

/// Asks about up to [`KEYS_PER_QUERY_MAX`] keys at once: a power of two of them, filled up with the last, so that
/// the statement stays prepared whatever the size of the batch.
async fn ask<K>(
    connection: &mut SqliteConnection,
    form: &str,
    question: &str,
    keys: &[K],
    bind: impl Fn(&K, &mut SqliteArguments) -> Result<(), ActorError>,
) -> Result<Vec<SqliteRow>, ActorError> {
    let Some(last) = keys.last() else { return Ok(Vec::new()) };
    let size = keys.len().next_power_of_two();
    let mut arguments = SqliteArguments::default();
    for key in keys.iter().chain(std::iter::repeat_n(last, size - keys.len())) {
        bind(key, &mut arguments)?;
    }
    let values = vec![form; size].join(",");
    let sql = question.replace("VALUES ?", &format!("VALUES {values}"));
    Ok(sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_all(connection).await?)
}

/// Loads all documents of a tessera, the tessera's own row, and returns the documents' keys.
pub(crate) async fn load_documents_of(
    connection: &mut SqliteConnection,
    view: &mut View,
    tessera: TesseraId,
) -> Result<Vec<(DocumentKind, Checksum)>, ActorError> {
    let rows =
        sqlx::query("SELECT kind, hash, segment, position, len, suspect_at FROM documents WHERE tessera = ?")
            .bind(tessera.as_bytes().as_slice())
            .fetch_all(&mut *connection)
            .await?;
    let mut keys = Vec::with_capacity(rows.len());
    for row in &rows {
        let code: u8 = row.try_get(0)?;
        let Some(kind) = DocumentKind::from_code(code) else { continue };
        let hash = Checksum::try_from(row.try_get::<&[u8], _>(1)?)?;
        view.documents.load((tessera, kind, hash), document(row, 2)?);
        keys.push((kind, hash));
    }
    load_tessera(connection, view, tessera).await?;
    Ok(keys)
}

/// A document's row from four columns: segment, position, len, suspect_at.
pub(crate) fn document(row: &SqliteRow, at: usize) -> Result<DocumentRow, ActorError> {
    Ok(DocumentRow { place: place(row, at)?, suspect_at_ms: row.try_get(at + 3)? })
}

/// Loads one document and its tessera's own row.
pub(crate) async fn load_document(
    connection: &mut SqliteConnection,
    view: &mut View,
    key: DocumentKey,
) -> Result<(), ActorError> {
    load_documents(connection, view, &[key]).await?;
    load_tessera(connection, view, key.0).await
}

/// Loads these documents. The rows of their tesserae have to be loaded, too.
pub(crate) async fn load_documents(
    connection: &mut SqliteConnection,
    view: &mut View,
    keys: &[DocumentKey],
) -> Result<(), ActorError> {
    for chunk in keys.chunks(KEYS_PER_QUERY_MAX) {
        let rows = ask(connection, "(?,?,?)", DOCUMENTS, chunk, |(tessera, kind, hash), arguments| {
            add(arguments, tessera.as_bytes().as_slice())?;
            add(arguments, kind.code())?;
            add(arguments, hash.as_bytes().as_slice())
        });
        for row in &rows.await? {
            let code: u8 = row.try_get(1)?;
            let Some(kind) = DocumentKind::from_code(code) else { continue };
            let tessera = TesseraId::try_from(row.try_get::<&[u8], _>(0)?)?;
            let hash = Checksum::try_from(row.try_get::<&[u8], _>(2)?)?;
            view.documents.load((tessera, kind, hash), document(row, 3)?);
        }
    }
    Ok(())
}

/// Loads a tessera's own row.
pub(crate) async fn load_tessera(
    connection: &mut SqliteConnection,
    view: &mut View,
    tessera: TesseraId,
) -> Result<(), ActorError> {
    let row =
        sqlx::query("SELECT session, holdings, received_at, documents, seal FROM tesseras WHERE tessera = ?")
            .bind(tessera.as_bytes().as_slice())
            .fetch_optional(&mut *connection)
            .await?;
    if let Some(row) = row {
        view.tesseras.load(tessera, tessera_row(&row, tessera, 0)?);
    }
    Ok(())
}

/// Loads the invite for a token with this hash.
pub(crate) async fn load_invite(
    connection: &mut SqliteConnection,
    view: &mut View,
    token: Checksum,
) -> Result<(), ActorError> {
    for (token, invite) in records::invites(connection, Some(token)).await? {
        view.invites.load(token, invite.expires_at_ms);
    }
    Ok(())
}

/// At most `limit` deposits of a tessera, any account's.
pub(crate) async fn deposits_of(
    connection: &mut SqliteConnection,
    tessera: TesseraId,
    limit: u32,
) -> Result<Vec<Need>, ActorError> {
    let rows = sqlx::query("SELECT account, stripe, idx FROM deposits WHERE tessera = ? LIMIT ? + 0")
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

/// At most `limit` deposits whose refs should be in a segment, behind one of them, in order. Without those of sessions that
/// are not complete.
pub(crate) async fn deposits_in(
    connection: &mut SqliteConnection,
    segment: u32,
    behind: Option<&DepositKey>,
    limit: u32,
) -> Result<Vec<(DepositKey, DepositRow)>, ActorError> {
    // Behind nothing is behind a key that is shorter than all others.
    let tessera = behind.map_or(&[][..], |(_, id)| id.tessera.as_bytes());
    let account = behind.map_or(&[][..], |(account, _)| account.as_bytes());
    let (stripe, idx) = behind.map_or((0, 0), |(_, id)| (id.stripe, id.index));
    let rows = sqlx::query(DEPOSITS_IN).bind(segment).bind(tessera).bind(stripe).bind(idx).bind(account);
    let deposit = |row: &SqliteRow| -> Result<_, ActorError> {
        let tessera = TesseraId::try_from(row.try_get::<&[u8], _>(0)?)?;
        let id = FragmentId { tessera, stripe: row.try_get(1)?, index: row.try_get(2)? };
        let account = AccountId::try_from(row.try_get::<&[u8], _>(3)?)?;
        Ok(((account, id), DepositRow { segment, seq: row.try_get::<i64, _>(4)?.cast_unsigned() }))
    };
    rows.bind(limit).fetch_all(connection).await?.iter().map(deposit).collect()
}

/// All segments.
pub(crate) async fn segments(
    connection: &mut SqliteConnection,
) -> Result<std::collections::HashMap<u32, SegmentRow>, ActorError> {
    let rows = sqlx::query(SEGMENTS).fetch_all(connection).await?;
    rows.iter().map(segment_row).collect()
}

/// One segment.
pub(crate) async fn segment(
    connection: &mut SqliteConnection,
    id: u32,
) -> Result<Option<SegmentRow>, ActorError> {
    let row = sqlx::query(SEGMENT).bind(id).fetch_optional(connection).await?;
    row.map(|row| segment_row(&row).map(|(_, row)| row)).transpose()
}

/// Errors as damage of the index when the row is not the one that was written.
fn segment_row(row: &SqliteRow) -> Result<(u32, SegmentRow), ActorError> {
    let segment = SegmentRow {
        bytes: row.try_get::<i64, _>(1)?.cast_unsigned(),
        live_bytes: row.try_get::<i64, _>(2)?.cast_unsigned(),
        min_seq: row.try_get::<i64, _>(3)?.cast_unsigned(),
        drop_bytes: row.try_get::<i64, _>(4)?.cast_unsigned(),
        drop_seq: row.try_get::<i64, _>(5)?.cast_unsigned(),
        seal: Seal::from_code(row.try_get(6)?),
        written_at_ms: row.try_get(7)?,
        verified_at_ms: row.try_get(8)?,
        ref_seqs: row.try_get::<i64, _>(9)?.cast_unsigned(),
    };
    let (id, seal) = (row.try_get(0)?, row.try_get::<Option<i64>, _>(10)?);
    if seal.is_none_or(|seal| seal == digest::seal_of_segment(id, &segment)) {
        return Ok((id, segment));
    }
    Err(ActorError::damaged_index(format!("the row of segment {id} is not as it was written")))
}

/// How far scrubbing has come. When that is not what was written, everything is verified again.
pub(crate) async fn scrub(connection: &mut SqliteConnection) -> Result<ScrubRow, ActorError> {
    let sql = "SELECT segment, position, before, paused_until, index_at, began, seal FROM scrub";
    let row = sqlx::query(sql).fetch_one(connection).await?;
    let scrub = ScrubRow {
        segment: row.try_get(0)?,
        position: row.try_get::<i64, _>(1)?.cast_unsigned(),
        before_ms: row.try_get(2)?,
        paused_until_ms: row.try_get(3)?,
        index_at_ms: row.try_get(4)?,
        began_ms: row.try_get(5)?,
    };
    if row.try_get::<Option<i64>, _>(6)?.is_none_or(|seal| seal == digest::seal_of_scrub(&scrub)) {
        return Ok(scrub);
    }
    tracing::warn!("how far verifying has come is not as it was written: it begins anew");
    Ok(ScrubRow::default())
}

/// Where the log stands as the index knows it.
///
/// Errors as damage of the index when that is not what was written.
pub(crate) async fn log_end(connection: &mut SqliteConnection) -> Result<LogEnd, ActorError> {
    let sql = "SELECT segment, position, next_seq, clean, seal FROM log";
    let row = sqlx::query(sql).fetch_one(connection).await?;
    let end = LogEnd {
        watermark: Watermark {
            segment: row.try_get(0)?,
            position: row.try_get::<i64, _>(1)?.cast_unsigned(),
        },
        next_seq: row.try_get::<i64, _>(2)?.cast_unsigned(),
        clean: row.try_get(3)?,
    };
    match row.try_get::<Option<i64>, _>(4)? {
        Some(seal) if seal != digest::seal_of_log(&end) => {
            Err(ActorError::damaged_index("where the log ends is not as it was written".to_owned()))
        }
        _ => Ok(end),
    }
}

fn load_need(view: &mut View, row: &SqliteRow) -> Result<(), ActorError> {
    let account = AccountId::try_from(row.try_get::<&[u8], _>(0)?)?;
    let tessera = TesseraId::try_from(row.try_get::<&[u8], _>(1)?)?;
    let id = FragmentId { tessera, stripe: row.try_get(2)?, index: row.try_get(3)? };
    if let Some(sum) = row.try_get::<Option<&[u8]>, _>(4)? {
        let checksum = checked(&id, Checksum::try_from(sum)?, row.try_get(5)?)?;
        view.fragments.load(id, FragmentRow { checksum, deposits: row.try_get(6)? });
    }
    if let Some(segment) = row.try_get(7)? {
        let seq = row.try_get::<i64, _>(8)?.cast_unsigned();
        view.deposits.load((account, id), DepositRow { segment, seq });
    }
    load_blob(view, row, 9)?;
    load_blob(view, row, 15)
}

fn load_blob(view: &mut View, row: &SqliteRow, at: usize) -> Result<(), ActorError> {
    if let Some(checksum) = row.try_get::<Option<&[u8]>, _>(at)? {
        let blob = BlobRow {
            place: place(row, at + 1)?,
            refs: row.try_get(at + 4)?,
            state: BlobState::from_code(row.try_get(at + 5)?),
        };
        view.blobs.load(Checksum::try_from(checksum)?, blob);
    }
    Ok(())
}

fn load_holding(view: &mut View, row: &SqliteRow) -> Result<(), ActorError> {
    let account = AccountId::try_from(row.try_get::<&[u8], _>(0)?)?;
    let tessera = TesseraId::try_from(row.try_get::<&[u8], _>(1)?)?;
    if row.try_get::<Option<i64>, _>(2)?.is_none() {
        return Err(ActorError::damaged_index(format!("what is held of {tessera} has lost its row")));
    }
    view.tesseras.load(tessera, tessera_row(row, tessera, 2)?);
    if let Some(fragments) = row.try_get::<Option<i64>, _>(7)? {
        let digest: [u8; 32] = row.try_get::<&[u8], _>(9)?.try_into().unwrap_or_default();
        let holding = HoldingRow {
            fragments: fragments.cast_unsigned(),
            bytes: row.try_get::<i64, _>(8)?.cast_unsigned(),
            digest: Digest::from_bytes(&digest),
        };
        view.holdings.load((account, tessera), holding);
    }
    Ok(())
}

/// The checksum of a fragment's row, if it is the one that was written for this id.
///
/// Otherwise the error says that the index is damaged.
pub(crate) fn checked(id: &FragmentId, checksum: Checksum, seal: i64) -> Result<Checksum, ActorError> {
    if digest::seal(id, &checksum) == seal {
        return Ok(checksum);
    }
    Err(ActorError::damaged_index(format!("the row of fragment {id} is not as it was written")))
}

/// A place from three columns: segment, position, len.
pub(crate) fn place(row: &SqliteRow, at: usize) -> Result<Place, sqlx::Error> {
    Ok(Place {
        segment: row.try_get(at)?,
        position: row.try_get::<i64, _>(at + 1)?.cast_unsigned(),
        len: row.try_get(at + 2)?,
    })
}

/// A tessera's row from five columns: session, holdings, received_at, documents, seal.
///
/// Errors as damage of the index when it is not the one that was written for this id.
pub(crate) fn tessera_row(row: &SqliteRow, id: TesseraId, at: usize) -> Result<TesseraRow, ActorError> {
    let found = TesseraRow {
        session: row.try_get::<i64, _>(at)?.cast_unsigned(),
        holdings: row.try_get(at + 1)?,
        received_at_ms: row.try_get(at + 2)?,
        documents: row.try_get::<i64, _>(at + 3)?.cast_unsigned(),
    };
    if digest::seal_of_tessera(id, &found) == row.try_get::<i64, _>(at + 4)? {
        return Ok(found);
    }
    Err(ActorError::damaged_index(format!("the row of {id} is not as it was written")))
}

/// The tesserae that do not count: what is left of sessions, and those that nobody holds.
pub(crate) async fn not_counting(
    connection: &mut SqliteConnection,
) -> Result<Vec<(TesseraId, TesseraRow)>, ActorError> {
    let sql = "SELECT tessera, session, holdings, received_at, documents, seal FROM tesseras \
               WHERE session != 0 OR holdings = 0";
    let rows = sqlx::query(sql).fetch_all(connection).await?;
    let tessera = |row: &SqliteRow| -> Result<_, ActorError> {
        let id = TesseraId::try_from(row.try_get::<&[u8], _>(0)?)?;
        Ok((id, tessera_row(row, id, 1)?))
    };
    rows.iter().map(tessera).collect()
}

/// Adds an argument; errors only when it cannot be encoded, which the types used here always can.
pub(crate) fn add<'q, T>(arguments: &mut SqliteArguments, value: T) -> Result<(), ActorError>
where
    T: sqlx::Encode<'q, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite> + 'q,
{
    sqlx::Arguments::add(arguments, value)
        .map_err(|error| ActorError::Index { reason: format!("a value cannot be stored: {error}") })
}

const SEGMENTS: &str = "SELECT id, bytes, live_bytes, min_seq, drop_bytes, drop_seq, sealed, written_at, verified_at, \
     ref_seqs, seal FROM segments";
const SEGMENT: &str = "SELECT id, bytes, live_bytes, min_seq, drop_bytes, drop_seq, sealed, written_at, verified_at, \
     ref_seqs, seal FROM segments WHERE id = ?";
const DEPOSITS_IN: &str = "SELECT d.tessera, d.stripe, d.idx, d.account, d.seq \
     FROM deposits d JOIN tesseras t USING (tessera) \
     WHERE d.segment = ? AND t.session = 0 AND (d.tessera, d.stripe, d.idx, d.account) > (?, ?, ?, ?) \
     ORDER BY d.tessera, d.stripe, d.idx, d.account LIMIT ? + 0";
const KEYS_PER_QUERY_MAX: usize = 64;
/// Only what is found comes back: most puts are of something new, and a row costs more than its look-up.
const NEEDED: &str = "WITH q(account, tessera, stripe, idx, checksum) AS (VALUES ?) \
     SELECT q.account, q.tessera, q.stripe, q.idx, f.checksum, f.seal, f.deposits, d.segment, d.seq, \
     b.checksum, b.segment, b.position, b.len, b.refs, b.state, \
     o.checksum, o.segment, o.position, o.len, o.refs, o.state \
     FROM q \
     LEFT JOIN fragments f ON f.tessera = q.tessera AND f.stripe = q.stripe AND f.idx = q.idx \
     LEFT JOIN deposits d ON d.tessera = f.tessera AND d.stripe = f.stripe AND d.idx = f.idx \
          AND d.account = q.account \
     LEFT JOIN blobs b ON b.checksum = q.checksum \
     LEFT JOIN blobs o ON o.checksum = f.checksum AND o.checksum IS NOT q.checksum \
     WHERE f.checksum IS NOT NULL OR b.checksum IS NOT NULL";
const DOCUMENTS: &str = "WITH q(tessera, kind, hash) AS (VALUES ?) \
     SELECT d.tessera, d.kind, d.hash, d.segment, d.position, d.len, d.suspect_at \
     FROM q CROSS JOIN documents d ON d.tessera = q.tessera AND d.kind = q.kind AND d.hash = q.hash";
const HELD: &str = "WITH q(account, tessera) AS (VALUES ?) \
     SELECT q.account, q.tessera, t.session, t.holdings, t.received_at, t.documents, t.seal, \
     h.fragments, h.bytes, h.digest \
     FROM q LEFT JOIN tesseras t ON t.tessera = q.tessera \
     LEFT JOIN holdings h ON h.account = q.account AND h.tessera = q.tessera \
     WHERE t.tessera IS NOT NULL OR h.tessera IS NOT NULL";

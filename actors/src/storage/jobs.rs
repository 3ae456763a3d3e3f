//! Repairs that wait.

use proto::{
    Checksum, FragmentId, TesseraId,
    record::{DOCUMENT_FIELDS_BYTES, DocumentKind},
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{readers::Readers, rows::BlobState};
use crate::error::ActorError;

/// Damaged bytes that wait for their repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Their checksum: no two jobs have the same.
    pub checksum: Checksum,
    /// Whether they are wrong or gone.
    pub state: BlobState,
    /// Their length in bytes.
    pub length: u32,
    /// Since when they wait, in milliseconds since 1970.
    pub queued_at_ms: i64,
    /// The fragments that they are, in the order of their ids; the first of them when there are very many.
    pub fragments: Vec<FragmentId>,
    /// The documents that they are, likewise.
    pub documents: Vec<(TesseraId, DocumentKind)>,
}

/// Those that have waited longest, or the one for these bytes.
pub(crate) async fn waiting(
    index: &Readers,
    only: Option<Checksum>,
    limit: u32,
) -> Result<Vec<Job>, ActorError> {
    let mut jobs = index.as_it_is(async |index| listed(index, only, limit).await).await?;
    if jobs.is_empty() {
        return Ok(jobs);
    }
    // The index finds fragments by their ids, not by their checksums: all of them are looked at.
    let places = async |index: &mut SqliteConnection| {
        let documents = documents(index, only, limit).await?;
        // All of what is asked for may be documents.
        let blobs: bool = sqlx::query_scalar(ANY).bind(key(only.as_ref())).fetch_one(&mut *index).await?;
        let fragments = if blobs { fragments(index, only, limit).await? } else { Vec::new() };
        Ok::<_, ActorError>((fragments, documents))
    };
    let (fragments, documents) = index.aside(places).await?;
    for (checksum, id) in fragments {
        if let Some(job) = jobs.iter_mut().find(|job| job.checksum == checksum)
            && job.fragments.len() < PLACES_MAX
        {
            job.fragments.push(id);
        }
    }
    for (checksum, document) in documents {
        if let Some(job) = jobs.iter_mut().find(|job| job.checksum == checksum)
            && job.documents.len() < PLACES_MAX
        {
            job.documents.push(document);
        }
    }
    Ok(jobs)
}

async fn listed(
    index: &mut SqliteConnection,
    only: Option<Checksum>,
    limit: u32,
) -> Result<Vec<Job>, ActorError> {
    let rows = sqlx::query(JOBS)
        .bind(key(only.as_ref()))
        .bind(limit)
        .bind(DOCUMENT_FIELDS_BYTES as i64)
        .fetch_all(index)
        .await?;
    let job = |row: &SqliteRow| -> Result<Job, ActorError> {
        Ok(Job {
            checksum: Checksum::try_from(row.try_get::<&[u8], _>(0)?)?,
            queued_at_ms: row.try_get(1)?,
            state: BlobState::from_code(row.try_get(2)?),
            length: row.try_get(3)?,
            fragments: Vec::new(),
            documents: Vec::new(),
        })
    };
    rows.iter().map(job).collect()
}

async fn fragments(
    index: &mut SqliteConnection,
    only: Option<Checksum>,
    limit: u32,
) -> Result<Vec<(Checksum, FragmentId)>, ActorError> {
    let rows = sqlx::query(FRAGMENTS).bind(key(only.as_ref())).bind(limit).fetch_all(index).await?;
    let fragment = |row: &SqliteRow| -> Result<_, ActorError> {
        let tessera = TesseraId::try_from(row.try_get::<&[u8], _>(1)?)?;
        let id = FragmentId { tessera, stripe: row.try_get(2)?, index: row.try_get(3)? };
        Ok((Checksum::try_from(row.try_get::<&[u8], _>(0)?)?, id))
    };
    rows.iter().map(fragment).collect()
}

async fn documents(
    index: &mut SqliteConnection,
    only: Option<Checksum>,
    limit: u32,
) -> Result<Vec<(Checksum, (TesseraId, DocumentKind))>, ActorError> {
    let rows = sqlx::query(DOCUMENTS)
        .bind(key(only.as_ref()))
        .bind(if only.is_some() { u32::MAX } else { limit })
        .fetch_all(index)
        .await?;
    let document = |row: &SqliteRow| -> Result<_, ActorError> {
        let Some(kind) = DocumentKind::from_code(row.try_get(2)?) else { return Ok(None) };
        let tessera = TesseraId::try_from(row.try_get::<&[u8], _>(1)?)?;
        Ok(Some((Checksum::try_from(row.try_get::<&[u8], _>(0)?)?, (tessera, kind))))
    };
    rows.iter().filter_map(|row| document(row).transpose()).collect()
}

fn key(checksum: Option<&Checksum>) -> Option<&[u8]> {
    checksum.map(|checksum| checksum.as_bytes().as_slice())
}

/// The same bytes may belong to very many tesserae.
const PLACES_MAX: usize = 16;
const ANY: &str = "SELECT EXISTS (SELECT 1 FROM jobs WHERE ?1 IS NULL OR checksum = ?1)";
const JOBS: &str = "SELECT checksum, min(queued_at), max(state), max(len) FROM ( \
     SELECT j.checksum, j.queued_at, b.state, b.len FROM jobs j CROSS JOIN blobs b USING (checksum) \
     UNION ALL \
     SELECT hash, suspect_at, CASE segment WHEN 0 THEN 2 ELSE 1 END, max(len - ?3, 0) \
     FROM documents INDEXED BY documents_suspect WHERE suspect_at IS NOT NULL) \
     WHERE ?1 IS NULL OR checksum = ?1 GROUP BY checksum ORDER BY 2, 1 LIMIT ?2 + 0";
const FRAGMENTS: &str = "SELECT checksum, tessera, stripe, idx FROM fragments WHERE checksum IN ( \
     SELECT checksum FROM jobs WHERE ?1 IS NULL OR checksum = ?1 ORDER BY queued_at, checksum LIMIT ?2 + 0) \
     ORDER BY tessera, stripe, idx LIMIT 16384";
const DOCUMENTS: &str = "SELECT hash, tessera, kind FROM documents INDEXED BY documents_suspect \
     WHERE suspect_at IS NOT NULL AND (?1 IS NULL OR hash = ?1) AND hash IN ( \
         SELECT hash FROM documents INDEXED BY documents_suspect WHERE suspect_at IS NOT NULL \
         GROUP BY hash ORDER BY min(suspect_at), hash LIMIT ?2 + 0) \
     ORDER BY tessera, kind LIMIT 16384";

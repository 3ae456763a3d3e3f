//! Repairs that wait.

use proto::{Checksum, FragmentId, TesseraId};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{readers::Readers, rows::BlobState};
use crate::error::ActorError;

/// A damaged blob that waits for its repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its checksum.
    pub checksum: Checksum,
    /// Whether its bytes are wrong or gone.
    pub state: BlobState,
    /// Its length in bytes.
    pub length: u32,
    /// Since when it waits, in milliseconds since 1970.
    pub queued_at_ms: i64,
    /// The fragments that it is, in the order of their ids; the first of them when there are very many.
    pub fragments: Vec<FragmentId>,
}

/// Those that have waited longest.
pub(crate) async fn waiting(index: &Readers, limit: u32) -> Result<Vec<Job>, ActorError> {
    let mut jobs = index.as_it_is(async |index| listed(index, limit).await).await?;
    if jobs.is_empty() {
        return Ok(jobs);
    }
    // The index finds fragments by their ids, not by their checksums: all of them are looked at.
    let found = index.aside(async |index| fragments(index, limit).await).await?;
    for (checksum, id) in found {
        if let Some(job) = jobs.iter_mut().find(|job| job.checksum == checksum)
            && job.fragments.len() < FRAGMENTS_MAX
        {
            job.fragments.push(id);
        }
    }
    Ok(jobs)
}

async fn listed(index: &mut SqliteConnection, limit: u32) -> Result<Vec<Job>, ActorError> {
    let rows = sqlx::query(JOBS).bind(limit).fetch_all(index).await?;
    let job = |row: &SqliteRow| -> Result<Job, ActorError> {
        Ok(Job {
            checksum: Checksum::try_from(row.try_get::<&[u8], _>(0)?)?,
            queued_at_ms: row.try_get(1)?,
            state: BlobState::from_code(row.try_get(2)?),
            length: row.try_get(3)?,
            fragments: Vec::new(),
        })
    };
    rows.iter().map(job).collect()
}

async fn fragments(
    index: &mut SqliteConnection,
    limit: u32,
) -> Result<Vec<(Checksum, FragmentId)>, ActorError> {
    let rows = sqlx::query(FRAGMENTS).bind(limit).fetch_all(index).await?;
    let fragment = |row: &SqliteRow| -> Result<_, ActorError> {
        let tessera = TesseraId::try_from(row.try_get::<&[u8], _>(1)?)?;
        let id = FragmentId { tessera, stripe: row.try_get(2)?, index: row.try_get(3)? };
        Ok((Checksum::try_from(row.try_get::<&[u8], _>(0)?)?, id))
    };
    rows.iter().map(fragment).collect()
}

/// The same bytes may be a fragment of very many tesserae.
const FRAGMENTS_MAX: usize = 16;
const JOBS: &str = "SELECT j.checksum, j.queued_at, b.state, b.len FROM jobs j JOIN blobs b USING (checksum) \
     ORDER BY j.queued_at, j.checksum LIMIT ? + 0";
const FRAGMENTS: &str = "SELECT checksum, tessera, stripe, idx FROM fragments \
     WHERE checksum IN (SELECT checksum FROM jobs ORDER BY queued_at, checksum LIMIT ? + 0) \
     ORDER BY tessera, stripe, idx LIMIT 16384";

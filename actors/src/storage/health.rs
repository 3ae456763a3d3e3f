//! How the tesserae that are kept here fare, as far as their fragments are here.
//!
//! The index finds fragments by their ids, not by their checksums, so all of them are looked at once for each set of
//! damaged blobs: a part at a time, so that no reader is held for long. Until that set changes, only those tesserae are
//! looked at again: nothing new is ever made of bytes that are damaged, so none is added.

use std::sync::{Arc, Mutex, PoisonError};

use proto::TesseraId;
use sqlx::{Connection, Row, SqliteConnection};

use super::{queries::Totals, readers::Readers, recount::LAST_FRAGMENT};
use crate::error::ActorError;

/// Tesserae, by how they fare.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct TesseraHealth {
    /// Every fragment and document of them that is kept here is good, as far as anyone knows.
    pub intact: u64,
    /// A fragment or document of them that should be here is damaged or gone.
    pub damaged: u64,
}

/// What was found the last time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Damaged(Arc<Mutex<Option<Last>>>);

#[derive(Debug, Clone)]
struct Last {
    jobs: Jobs,
    /// Tesserae and fragments that were kept.
    kept: (u64, u64),
    damaged: u64,
    /// All tesserae that had anything damaged, also those that did not count; `None` when these were too many.
    tesserae: Option<Arc<Vec<TesseraId>>>,
}

/// Damaged blobs and documents: how many, and when the last of them was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Jobs {
    count: i64,
    newest_ms: i64,
}

/// A fragment, by its tessera, stripe and index.
type Key = (Vec<u8>, u32, u16);

impl Damaged {
    /// Tesserae that lack anything, where so much is kept.
    pub(crate) async fn count(
        &self,
        index: &Readers,
        totals: &Totals,
        jobs: Jobs,
    ) -> Result<u64, ActorError> {
        if jobs.count == 0 {
            return Ok(0);
        }
        let kept = (totals.tesseras, totals.fragments);
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let last = last.filter(|last| last.jobs == jobs);
        if let Some(last) = last.as_ref().filter(|last| last.kept == kept) {
            return Ok(last.damaged);
        }
        let tesserae = match last.and_then(|last| last.tesserae) {
            Some(tesserae) => tesserae,
            None => Arc::new(candidates(index, FRAGMENTS_PER_PART).await?),
        };
        let damaged = counting(index, &tesserae).await?;
        let tesserae = (tesserae.len() <= TESSERAE_MAX).then_some(tesserae);
        let last = Last { jobs, kept, damaged, tesserae };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
        Ok(damaged)
    }
}

/// The damaged blobs and documents that are known.
pub(crate) async fn jobs(index: &mut SqliteConnection) -> Result<Jobs, ActorError> {
    let row = sqlx::query(JOBS).fetch_one(index).await?;
    Ok(Jobs { count: row.try_get(0)?, newest_ms: row.try_get(1)? })
}

/// All tesserae that have a damaged fragment or document, in order.
async fn candidates(index: &Readers, fragments_per_part: u32) -> Result<Vec<TesseraId>, ActorError> {
    let mut tesserae = through(index, TESSERAE, fragments_per_part, usize::MAX).await?;
    let others = index.now(async |index, _| Ok(sqlx::query(OTHERS).fetch_all(index).await?)).await?;
    for row in &others {
        tesserae.push(TesseraId::try_from(row.try_get::<&[u8], _>(0)?)?);
    }
    tesserae.sort_unstable();
    tesserae.dedup();
    Ok(tesserae)
}

/// The tesserae that this statement finds among all fragments, in order; no more are looked for when it is more than so many.
pub(super) async fn through(
    index: &Readers,
    sql: &'static str,
    fragments_per_part: u32,
    most: usize,
) -> Result<Vec<TesseraId>, ActorError> {
    let mut tesserae = Vec::new();
    // Behind nothing is behind a key that is shorter than all others.
    let mut behind = Some((Vec::new(), 0, 0));
    while let Some(from) = behind.take_if(|_| tesserae.len() <= most) {
        let part = async |index: &mut SqliteConnection, _| part(index, sql, &from, fragments_per_part).await;
        let (found, end) = index.now(part).await?;
        tesserae.extend(found);
        tesserae.dedup();
        behind = end;
    }
    Ok(tesserae)
}

/// The tesserae that a statement finds among some fragments, and the last of these unless they are the last of all.
async fn part(
    index: &mut SqliteConnection,
    sql: &'static str,
    (tessera, stripe, idx): &Key,
    limit: u32,
) -> Result<(Vec<TesseraId>, Option<Key>), ActorError> {
    let mut snapshot = index.begin().await?;
    let bound = |sql| sqlx::query(sql).bind(tessera.as_slice()).bind(*stripe).bind(*idx).bind(limit);
    let rows = bound(sql).fetch_all(&mut *snapshot).await?;
    let found = rows.iter().map(|row| Ok(TesseraId::try_from(row.try_get::<&[u8], _>(0)?)?));
    let found = found.collect::<Result<Vec<_>, ActorError>>()?;
    let end = bound(LAST_FRAGMENT).fetch_optional(&mut *snapshot).await?;
    let end = end.map(|row| Ok::<_, ActorError>((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
    Ok((found, end.transpose()?))
}

/// How many of these count and have a damaged fragment or document now.
async fn counting(index: &Readers, tesserae: &[TesseraId]) -> Result<u64, ActorError> {
    let mut damaged = 0;
    for some in tesserae.chunks(TESSERAE_PER_PART) {
        let hex = |id: &TesseraId| id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let list: Vec<_> = some.iter().map(hex).collect();
        let list = serde_json::to_string(&list).unwrap_or_default();
        let count = async |index: &mut SqliteConnection, _| {
            Ok(sqlx::query_scalar::<_, i64>(DAMAGED).bind(&list).fetch_one(index).await?)
        };
        damaged += index.now(count).await?.cast_unsigned();
    }
    Ok(damaged)
}

/// So many are kept in memory, of 32 bytes each.
const TESSERAE_MAX: usize = 4096;
const TESSERAE_PER_PART: usize = 64;
/// Looked at with one question: some milliseconds.
pub(super) const FRAGMENTS_PER_PART: u32 = 16 << 10;
const JOBS: &str = "SELECT count(*), coalesce(max(at), 0) FROM (SELECT queued_at AS at FROM jobs \
     UNION ALL SELECT suspect_at FROM documents INDEXED BY documents_suspect WHERE suspect_at IS NOT NULL)";
const OTHERS: &str = "SELECT DISTINCT tessera FROM documents INDEXED BY documents_suspect \
     WHERE suspect_at IS NOT NULL";
const TESSERAE: &str = "SELECT DISTINCT tessera FROM (SELECT tessera, checksum FROM fragments \
     WHERE (tessera, stripe, idx) > (?, ?, ?) ORDER BY tessera, stripe, idx LIMIT ? + 0) \
     WHERE checksum IN (SELECT checksum FROM jobs) ORDER BY tessera";
const DAMAGED: &str = "SELECT count(*) FROM tesseras t \
     WHERE t.tessera IN (SELECT unhex(value) FROM json_each(?)) AND t.session = 0 AND t.holdings > 0 \
     AND (EXISTS (SELECT 1 FROM documents d WHERE d.tessera = t.tessera AND d.suspect_at IS NOT NULL) \
         OR EXISTS (SELECT 1 FROM fragments f WHERE f.tessera = t.tessera \
             AND f.checksum IN (SELECT checksum FROM jobs)))";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{
        lending::Lending,
        pragmas::{Database, open_in_memory},
        queries,
        readers::Progress,
    };

    async fn execute(database: &Database, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&database.writer).await.unwrap();
    }

    /// Tesserae 0 to 19 of up to four fragments each, of twenty blobs; not all of them count.
    async fn filled() -> (Database, Readers) {
        let database = open_in_memory().await.unwrap();
        execute(&database, FILL).await;
        let readers = Readers::new(Lending::new(&database), Progress::new());
        (database, readers)
    }

    async fn counted(lacking: &Damaged, index: &Readers) -> u64 {
        let asked = async |index: &mut _| Ok((queries::totals(&mut *index).await?, jobs(index).await?));
        let (totals, jobs) = index.as_it_is(asked).await.unwrap();
        lacking.count(index, &totals, jobs).await.unwrap()
    }

    /// By one question that looks at everything.
    async fn expected(database: &Database) -> u64 {
        let sql = "SELECT count(DISTINCT f.tessera) FROM fragments f JOIN tesseras t USING (tessera) \
                   WHERE t.session = 0 AND t.holdings > 0 AND f.checksum IN (SELECT checksum FROM jobs)";
        sqlx::query_scalar::<_, i64>(sql).fetch_one(&database.readers).await.unwrap().cast_unsigned()
    }

    #[tokio::test]
    async fn tesserae_found_in_parts_are_those_found_at_once() {
        let (database, index) = filled().await;
        execute(&database, SOME).await;
        let all = candidates(&index, 1000).await.unwrap();
        assert!((2..20).contains(&all.len()), "{all:?}");
        for fragments_per_part in 1..9 {
            assert_eq!(candidates(&index, fragments_per_part).await.unwrap(), all, "{fragments_per_part}");
        }
        let expected = expected(&database).await;
        assert!((1..all.len() as u64).contains(&expected), "some of them do not count");
        assert_eq!(counting(&index, &all).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn count_follows_whatever_changes() {
        let (database, index) = filled().await;
        let lacking = Damaged::default();
        assert_eq!(counted(&lacking, &index).await, 0);
        for change in [
            SOME,
            "UPDATE tesseras SET session = 0",
            "DELETE FROM fragments WHERE checksum = (SELECT min(checksum) FROM jobs)",
            "DELETE FROM jobs WHERE checksum = (SELECT max(checksum) FROM jobs)",
            "INSERT INTO jobs SELECT DISTINCT checksum, 1, 8 FROM fragments WHERE stripe = 0 \
             AND tessera > unhex(printf('%064x', 14)) ON CONFLICT DO NOTHING",
            "DELETE FROM jobs",
        ] {
            execute(&database, change).await;
            execute(&database, COUNTED).await;
            let expected = expected(&database).await;
            assert_eq!(counted(&lacking, &index).await, expected, "{change}");
        }
    }

    /// A row that no put would make: bytes that are damaged are written anew by it.
    #[tokio::test]
    async fn what_was_not_damaged_is_looked_at_again_only_when_something_else_is() {
        let (database, index) = filled().await;
        let lacking = Damaged::default();
        execute(&database, SOME).await;
        let before = counted(&lacking, &index).await;
        let made =
            "INSERT INTO fragments SELECT unhex(printf('%064x', 15)), 9, 0, min(checksum), 1, 0 FROM jobs";
        execute(&database, made).await;
        execute(&database, COUNTED).await;
        assert_eq!(counted(&lacking, &index).await, before);
        execute(&database, "UPDATE jobs SET queued_at = 9").await;
        assert_eq!(counted(&lacking, &index).await, before + 1);
        assert_eq!(expected(&database).await, before + 1);
    }

    /// Of the blobs of some tesserae.
    const SOME: &str = "INSERT INTO jobs SELECT DISTINCT checksum, 1, 7 FROM fragments WHERE stripe = 1 \
         AND tessera < unhex(printf('%064x', 9)) AND tessera NOT IN (SELECT tessera FROM fragments \
             WHERE checksum = (SELECT checksum FROM fragments WHERE tessera = unhex(printf('%064x', 15))))";
    const COUNTED: &str = "UPDATE accounts SET fragments = (SELECT count(*) FROM fragments)";
    const FILL: &str = "INSERT INTO accounts VALUES (zeroblob(32), 60, 0); \
         WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 19) \
         INSERT INTO tesseras SELECT unhex(printf('%064x', n)), n % 5 = 4, n % 7 != 6, 0, 0, 0 FROM n; \
         WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 59) \
         INSERT INTO fragments SELECT unhex(printf('%064x', n % 20)), n / 20, 0, \
             unhex(printf('%064x', n * 7 % 47)), 1, 0 FROM n;";
}

//! Counting anew what the index keeps as counts and sums, in one snapshot. A flipped bit in one of these hides nothing, but
//! it may let go of bytes that are still wanted, or keep what nobody wants.

use std::collections::HashMap;

use futures::TryStreamExt;
use proto::record::{CLAIM_BYTES, record_len};
use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    facts,
    lists::{not_as_written, numbers},
    rows::BlobState,
    sums,
};
use crate::error::ActorError;

/// Errors as damage of the index when a count or sum is not what its rows come to. Reads all of the index.
pub(crate) async fn check(index: &mut SqliteConnection) -> Result<(), ActorError> {
    let mut snapshot = index.begin().await?;
    for (sql, what) in QUESTIONS {
        if sqlx::query(sql).fetch_optional(&mut *snapshot).await?.is_some() {
            return Err(ActorError::damaged_index(format!("{what} are not what they come to")));
        }
    }
    sums::check(&mut snapshot).await?;
    let mut found = HashMap::<u32, Sums>::new();
    let wanted = fragments(&mut snapshot).await?;
    let referred = blobs(&mut snapshot, &mut found).await?;
    if wanted != referred {
        return Err(ActorError::damaged_index("fragments and what blobs say of them differ".to_owned()));
    }
    let newest = deposits(&mut snapshot, &mut found).await?;
    documents(&mut snapshot, &mut found).await?;
    let segments = facts::segments(&mut snapshot).await?;
    let newest = segments.values().map(|row| row.drop_seq).fold(newest, u64::max);
    if facts::log_end(&mut snapshot).await?.next_seq <= newest {
        return Err(ActorError::damaged_index("a record has a number that is to be given yet".to_owned()));
    }
    for (id, row) in segments {
        if found.remove(&id).unwrap_or_default()
            != (Sums { live_bytes: row.live_bytes, ref_seqs: row.ref_seqs })
        {
            return Err(ActorError::damaged_index(format!(
                "what counts in segment {id} is not what it comes to"
            )));
        }
    }
    match found.into_iter().find(|(_, sums)| *sums != Sums::default()) {
        Some((id, _)) => {
            Err(ActorError::damaged_index(format!("something is in segment {id}, which is not there")))
        }
        None => Ok(()),
    }
}

/// What rows say of a segment, summed up.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    live_bytes: u64,
    ref_seqs: u64,
}

/// What the checksums of all fragments add up to. They are as good as chance, so that two of them are not taken for two
/// others.
async fn fragments(snapshot: &mut SqliteConnection) -> Result<u64, ActorError> {
    let mut sum = 0_u64;
    // Behind nothing is behind a key that is shorter than all others.
    let mut behind = Some((Vec::<u8>::new(), 0_u32, 0_u32));
    while let Some((tessera, stripe, idx)) = behind {
        let bound =
            |sql| sqlx::query(sql).bind(tessera.as_slice()).bind(stripe).bind(idx).bind(ROWS_PER_PAGE);
        let page = bound(FRAGMENTS).fetch_one(&mut *snapshot).await?;
        sum = keys(&page)?.iter().fold(sum, |sum, key| sum.wrapping_add(*key));
        let last = bound(LAST_FRAGMENT).fetch_optional(&mut *snapshot).await?;
        let last = last.map(|row| Ok::<_, sqlx::Error>((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
        behind = last.transpose()?;
    }
    Ok(sum)
}

/// What they add up to by the blobs, each as often as it is referred to; and what these take in each segment.
async fn blobs(snapshot: &mut SqliteConnection, found: &mut HashMap<u32, Sums>) -> Result<u64, ActorError> {
    let mut sum = 0_u64;
    let mut behind = Some(Vec::<u8>::new());
    while let Some(checksum) = behind {
        let bound = |sql| sqlx::query(sql).bind(checksum.as_slice()).bind(ROWS_PER_PAGE);
        let page = bound(BLOBS).fetch_one(&mut *snapshot).await?;
        let (keys, numbers) = (keys(&page)?, numbers::<4>(&page, 1)?);
        if keys.len() != numbers.len() {
            return Err(not_as_written());
        }
        for (key, [refs, state, segment, len]) in keys.into_iter().zip(numbers) {
            sum = sum.wrapping_add(key.wrapping_mul(refs.cast_unsigned()));
            if refs > 0 && BlobState::from_code(state) != BlobState::Missing {
                let (segment, len) =
                    (segment_id(segment)?, usize::try_from(len).map_err(|_| not_as_written())?);
                found.entry(segment).or_default().live_bytes += record_len(len);
            }
        }
        let last = bound(LAST_BLOB).fetch_optional(&mut *snapshot).await?;
        behind = last.map(|row| row.try_get(0)).transpose()?;
    }
    Ok(sum)
}

/// The largest number of a ref; and what they come to in each segment.
async fn deposits(
    snapshot: &mut SqliteConnection,
    found: &mut HashMap<u32, Sums>,
) -> Result<u64, ActorError> {
    let mut newest = 0;
    let mut behind = Some((Vec::<u8>::new(), 0_u32, 0_u32, Vec::<u8>::new()));
    while let Some((tessera, stripe, idx, account)) = behind {
        let bound = |sql| {
            let behind = sqlx::query(sql).bind(tessera.as_slice()).bind(stripe).bind(idx);
            behind.bind(account.as_slice()).bind(ROWS_PER_PAGE)
        };
        let page = bound(DEPOSITS).fetch_one(&mut *snapshot).await?;
        for [segment, seq] in numbers::<2>(&page, 0)? {
            let sums = found.entry(segment_id(segment)?).or_default();
            sums.live_bytes += record_len(CLAIM_BYTES);
            sums.ref_seqs = sums.ref_seqs.wrapping_add(seq.cast_unsigned());
            newest = newest.max(seq.cast_unsigned());
        }
        let last = bound(LAST_DEPOSIT).fetch_optional(&mut *snapshot).await?;
        let last = last.map(|row| {
            Ok::<_, sqlx::Error>((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
        });
        behind = last.transpose()?;
    }
    Ok(newest)
}

/// The numbers that checksums begin with: a list, the first column.
fn keys(page: &SqliteRow) -> Result<Vec<u64>, ActorError> {
    let list = page.try_get::<Option<&[u8]>, _>(0)?.unwrap_or_default();
    let (keys, rest) = list.as_chunks();
    if rest.is_empty() {
        Ok(keys.iter().map(|key| u64::from_le_bytes(*key)).collect())
    } else {
        Err(not_as_written())
    }
}

fn segment_id(number: i64) -> Result<u32, ActorError> {
    u32::try_from(number).map_err(|_| not_as_written())
}

async fn documents(
    snapshot: &mut SqliteConnection,
    found: &mut HashMap<u32, Sums>,
) -> Result<(), ActorError> {
    let mut rows = sqlx::query("SELECT segment, len FROM documents WHERE segment > 0").fetch(snapshot);
    while let Some(row) = rows.try_next().await? {
        found.entry(row.try_get(0)?).or_default().live_bytes +=
            record_len(row.try_get::<u32, _>(1)? as usize);
    }
    Ok(())
}

/// Rows come as lists, so many at a time: each one that SQLite's thread hands over costs more than finding it. The sums with
/// this keep SQLite from looking at it while it prepares.
const ROWS_PER_PAGE: u32 = 4096;
const FRAGMENTS: &str = "SELECT group_concat(substr(checksum, 1, 8), '') FROM (SELECT checksum FROM fragments \
     WHERE (tessera, stripe, idx) > (?, ?, ?) ORDER BY tessera, stripe, idx LIMIT ? + 0)";
/// The last one of a page of fragments behind a place.
pub(super) const LAST_FRAGMENT: &str = "SELECT tessera, stripe, idx FROM fragments \
     WHERE (tessera, stripe, idx) > (?, ?, ?) ORDER BY tessera, stripe, idx LIMIT 1 OFFSET ? - 1";
const BLOBS: &str = "SELECT group_concat(substr(checksum, 1, 8), ''), \
     group_concat(refs || ',' || state || ',' || segment || ',' || len || ',', '') \
     FROM (SELECT * FROM blobs WHERE checksum > ? ORDER BY checksum LIMIT ? + 0)";
const LAST_BLOB: &str =
    "SELECT checksum FROM blobs WHERE checksum > ? ORDER BY checksum LIMIT 1 OFFSET ? - 1";
const DEPOSITS: &str = "SELECT group_concat(segment || ',' || seq || ',', '') FROM (SELECT segment, seq FROM deposits \
     WHERE (tessera, stripe, idx, account) > (?, ?, ?, ?) ORDER BY tessera, stripe, idx, account LIMIT ? + 0)";
const LAST_DEPOSIT: &str = "SELECT tessera, stripe, idx, account FROM deposits \
     WHERE (tessera, stripe, idx, account) > (?, ?, ?, ?) ORDER BY tessera, stripe, idx, account \
     LIMIT 1 OFFSET ? - 1";
/// Each finds something only when what it names is wrong.
const QUESTIONS: [(&str, &str); 8] = [
    (
        "SELECT 1 FROM fragments f WHERE deposits != (SELECT count(*) FROM deposits d \
         WHERE d.tessera = f.tessera AND d.stripe = f.stripe AND d.idx = f.idx) LIMIT 1",
        "deposits of fragments",
    ),
    (
        "SELECT 1 FROM holdings h WHERE bytes != (SELECT coalesce(sum(b.len), 0) FROM deposits d \
         JOIN fragments f ON f.tessera = d.tessera AND f.stripe = d.stripe AND f.idx = d.idx \
         LEFT JOIN blobs b ON b.checksum = f.checksum \
         WHERE d.tessera = h.tessera AND d.account = h.account) LIMIT 1",
        "bytes of holdings",
    ),
    (
        "SELECT 1 FROM accounts a WHERE (fragments, bytes) != (SELECT coalesce(sum(fragments), 0), \
         coalesce(sum(bytes), 0) FROM holdings h WHERE h.account = a.account) LIMIT 1",
        "totals of accounts",
    ),
    (
        "SELECT 1 FROM accounts a WHERE (SELECT coalesce(sum(bytes), 0) FROM document_sums s WHERE s.account = a.account) \
         != (SELECT coalesce(sum(d.len), 0) FROM holdings h JOIN documents d ON d.tessera = h.tessera \
         WHERE h.account = a.account) LIMIT 1",
        "bytes of documents",
    ),
    ("SELECT 1 FROM holdings WHERE account NOT IN (SELECT account FROM accounts) LIMIT 1", "accounts"),
    (
        "SELECT checksum FROM blobs WHERE refs > 0 AND state != 0 EXCEPT SELECT checksum FROM jobs LIMIT 1",
        "repairs of blobs",
    ),
    (
        "SELECT checksum FROM jobs EXCEPT SELECT checksum FROM blobs WHERE refs > 0 AND state != 0 LIMIT 1",
        "repairs",
    ),
    (
        "SELECT 1 WHERE (SELECT count(*), coalesce(sum(suspect_at), 0) FROM documents NOT INDEXED \
         WHERE suspect_at IS NOT NULL) != (SELECT count(*), coalesce(sum(suspect_at), 0) \
         FROM documents INDEXED BY documents_suspect WHERE suspect_at IS NOT NULL)",
        "repairs of documents",
    ),
];

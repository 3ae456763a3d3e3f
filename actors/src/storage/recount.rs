//! Counting anew what the index keeps as counts and sums, in one snapshot. A flipped bit in one of these hides nothing, but
//! it may let go of bytes that are still wanted, or keep what nobody wants.

use std::collections::HashMap;

use futures::TryStreamExt;
use proto::record::{CLAIM_BYTES, record_len};
use sqlx::{Connection, Row, SqliteConnection};

use super::{facts, rows::BlobState};
use crate::error::ActorError;

/// Errors as damage of the index when a count or sum is not what its rows come to. Reads all of the index.
pub(crate) async fn check(index: &mut SqliteConnection) -> Result<(), ActorError> {
    let mut snapshot = index.begin().await?;
    for (sql, what) in QUESTIONS {
        if sqlx::query(sql).fetch_optional(&mut *snapshot).await?.is_some() {
            return Err(ActorError::damaged_index(format!("{what} are not what they come to")));
        }
    }
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
    let mut rows = sqlx::query("SELECT substr(checksum, 1, 8) FROM fragments").fetch(snapshot);
    while let Some(row) = rows.try_next().await? {
        sum = sum.wrapping_add(number(row.try_get(0)?));
    }
    Ok(sum)
}

/// What they add up to by the blobs, each as often as it is referred to; and what these take in each segment.
async fn blobs(snapshot: &mut SqliteConnection, found: &mut HashMap<u32, Sums>) -> Result<u64, ActorError> {
    let mut sum = 0_u64;
    let sql = "SELECT substr(checksum, 1, 8), refs, state, segment, len FROM blobs";
    let mut rows = sqlx::query(sql).fetch(snapshot);
    while let Some(row) = rows.try_next().await? {
        let refs = row.try_get::<u32, _>(1)?;
        sum = sum.wrapping_add(number(row.try_get(0)?).wrapping_mul(refs.into()));
        if refs > 0 && BlobState::from_code(row.try_get(2)?) != BlobState::Missing {
            found.entry(row.try_get(3)?).or_default().live_bytes +=
                record_len(row.try_get::<u32, _>(4)? as usize);
        }
    }
    Ok(sum)
}

/// The largest number of a ref; and what they come to in each segment.
async fn deposits(
    snapshot: &mut SqliteConnection,
    found: &mut HashMap<u32, Sums>,
) -> Result<u64, ActorError> {
    let mut newest = 0;
    let mut rows = sqlx::query("SELECT segment, seq FROM deposits").fetch(snapshot);
    while let Some(row) = rows.try_next().await? {
        let seq = row.try_get::<i64, _>(1)?.cast_unsigned();
        let sums = found.entry(row.try_get(0)?).or_default();
        sums.live_bytes += record_len(CLAIM_BYTES);
        sums.ref_seqs = sums.ref_seqs.wrapping_add(seq);
        newest = newest.max(seq);
    }
    Ok(newest)
}

async fn documents(
    snapshot: &mut SqliteConnection,
    found: &mut HashMap<u32, Sums>,
) -> Result<(), ActorError> {
    let mut rows = sqlx::query("SELECT segment, len FROM documents").fetch(snapshot);
    while let Some(row) = rows.try_next().await? {
        found.entry(row.try_get(0)?).or_default().live_bytes +=
            record_len(row.try_get::<u32, _>(1)? as usize);
    }
    Ok(())
}

fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Each finds something only when what it names is wrong.
const QUESTIONS: [(&str, &str); 6] = [
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
    ("SELECT 1 FROM holdings WHERE account NOT IN (SELECT account FROM accounts) LIMIT 1", "accounts"),
    (
        "SELECT checksum FROM blobs WHERE refs > 0 AND state != 0 EXCEPT SELECT checksum FROM jobs LIMIT 1",
        "repairs of blobs",
    ),
    (
        "SELECT checksum FROM jobs EXCEPT SELECT checksum FROM blobs WHERE refs > 0 AND state != 0 LIMIT 1",
        "repairs",
    ),
];

//! What should be in some segments by the index: blobs and documents, in the order of their places. Verifying holds it
//! against what the device gives.
//!
//! The index finds blobs by their checksums, not by their places, so it is read from end to end; for as many of the
//! segments that come next as fit. A part at a time, so that no reader is held for long: what is in a sealed segment only
//! ever becomes less, and whoever finds something lacking asks the index once more.

use proto::{Checksum, limits::RECORD_ALIGN_BYTES};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::readers::Readers;
use crate::error::ActorError;

/// What should begin at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Item {
    /// Which of the segments, from 0.
    rank: u32,
    /// The place in it, in units of 64 bytes.
    block: u32,
    /// The first bytes of the checksum of the blob or document.
    pub(crate) key: [u8; 8],
    /// Length of its record's payload in bytes.
    pub(crate) len: u32,
}

/// What should be in some segments.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    segments: Vec<u32>,
    /// Of the first one, nothing before this block is known.
    start: u32,
    /// In order.
    items: Vec<Item>,
    /// The first that there was no room for: from there on nothing is known.
    unknown: Option<Item>,
}

impl Item {
    /// Where it should begin, in bytes.
    pub(crate) fn position(&self) -> u64 {
        u64::from(self.block) * RECORD_ALIGN_BYTES as u64
    }
}

/// The part of a checksum that is kept.
pub(crate) fn key(checksum: &Checksum) -> [u8; 8] {
    checksum.as_bytes().first_chunk().copied().unwrap_or_default()
}

impl Inventory {
    /// Takes stock of these segments, of the first one from a position on, as far as there is room for so many items.
    pub(crate) async fn take(
        index: &Readers,
        segments: Vec<u32>,
        from: u64,
        room: usize,
    ) -> Result<Self, ActorError> {
        let start = block(from).unwrap_or(u32::MAX);
        let mut taken = Self { segments, start, ..Self::default() };
        let list = serde_json::to_string(&taken.segments).unwrap_or_default();
        // The first question waits for what was acknowledged; the others need not keep the writer from its pace.
        let first = async |index: &mut _| Ok((documents(index, &list).await?, parts(index).await?));
        let (rows, parts) = index.as_it_is(first).await?;
        taken.add(&rows)?;
        for part in 0..parts {
            let rows = index.now(async |index, _| blobs(index, &list, part, parts).await).await?;
            taken.add(&rows)?;
            taken.keep(room);
        }
        taken.items.sort_unstable();
        Ok(taken)
    }

    /// What should begin in a segment from one position on, and up to where that is known; `None` when nothing is.
    pub(crate) fn from(&self, segment: u32, position: u64) -> Option<(&[Item], u64)> {
        let rank = u32::try_from(self.segments.iter().position(|id| *id == segment)?).ok()?;
        let block = block(position)?;
        if rank == 0 && block < self.start {
            return None;
        }
        let start = self.items.partition_point(|item| (item.rank, item.block) < (rank, block));
        let items = self.items.get(start..)?;
        let items = items.get(..items.partition_point(|item| item.rank == rank))?;
        match self.unknown {
            Some(unknown) if (unknown.rank, unknown.block) <= (rank, block) => None,
            Some(unknown) if unknown.rank == rank => Some((items, unknown.position())),
            _ => Some((items, u64::MAX)),
        }
    }

    fn add(&mut self, lists: &Lists) -> Result<(), ActorError> {
        let damaged = || ActorError::damaged_index("a row does not say where its bytes are".to_owned());
        let mut numbers = lists.places.split_terminator(',').map(str::parse::<u64>);
        let (keys, rest) = lists.keys.as_chunks();
        for key in keys {
            let [Some(Ok(segment)), Some(Ok(position)), Some(Ok(len))] = [(); 3].map(|()| numbers.next())
            else {
                return Err(damaged());
            };
            let rank = self.segments.iter().position(|id| u64::from(*id) == segment);
            let rank = rank.and_then(|rank| u32::try_from(rank).ok()).ok_or_else(damaged)?;
            let is_aligned = position.is_multiple_of(RECORD_ALIGN_BYTES as u64);
            let block = block(position).filter(|_| is_aligned).ok_or_else(damaged)?;
            let len = u32::try_from(len).map_err(|_| damaged())?;
            if rank > 0 || block >= self.start {
                self.items.push(Item { rank, block, key: *key, len });
            }
        }
        if numbers.next().is_some() || !rest.is_empty() { Err(damaged()) } else { Ok(()) }
    }

    /// Lets go of the last ones when there are too many.
    fn keep(&mut self, room: usize) {
        if let Some(unknown) = self.unknown {
            self.items.retain(|item| *item < unknown);
        }
        if self.items.len() > room {
            self.items.sort_unstable();
            self.unknown = self.items.get(room).copied();
            self.items.truncate(room);
        }
    }
}

fn block(position: u64) -> Option<u32> {
    u32::try_from(position / RECORD_ALIGN_BYTES as u64).ok()
}

/// Rows as lists: one that is handed over costs more than one that is found.
struct Lists {
    keys: Vec<u8>,
    /// Segment, position and length, in turn, a comma behind each.
    places: String,
}

fn lists(row: &SqliteRow) -> Result<Lists, ActorError> {
    let keys = row.try_get::<Option<&[u8]>, _>(0)?.unwrap_or_default().to_vec();
    Ok(Lists { keys, places: row.try_get::<Option<String>, _>(1)?.unwrap_or_default() })
}

async fn documents(index: &mut SqliteConnection, segments: &str) -> Result<Lists, ActorError> {
    lists(&sqlx::query(DOCUMENTS).bind(segments).fetch_one(index).await?)
}

/// The good blobs of one part of all checksums.
async fn blobs(
    index: &mut SqliteConnection,
    segments: &str,
    part: u32,
    parts: u32,
) -> Result<Lists, ActorError> {
    // No byte is behind all checksums; more than 32 of the last one are.
    let bound = |part: u32| u8::try_from(part * 256 / parts).map_or(vec![0xff; 33], |byte| vec![byte]);
    let question = sqlx::query(BLOBS).bind(bound(part)).bind(bound(part + 1)).bind(segments);
    lists(&question.fetch_one(index).await?)
}

/// How many parts the blobs are read in.
async fn parts(index: &mut SqliteConnection) -> Result<u32, ActorError> {
    let fragments: i64 =
        sqlx::query_scalar("SELECT coalesce(sum(fragments), 0) FROM accounts").fetch_one(index).await?;
    let parts = (fragments / ROWS_PER_PART).clamp(1, 256);
    Ok(u32::try_from(parts).unwrap_or(1).next_power_of_two().min(256))
}

/// Of twenty bytes each.
pub(crate) const ITEMS_MAX: usize = 512 << 10;
/// Read with one question, about: some milliseconds.
const ROWS_PER_PART: i64 = 16 << 10;
const BLOBS: &str = "SELECT group_concat(substr(checksum, 1, 8), ''), \
     group_concat(segment || ',' || position || ',' || len || ',', '') FROM blobs \
     WHERE checksum >= ? AND checksum < ? AND state = 0 AND segment IN (SELECT value FROM json_each(?))";
const DOCUMENTS: &str = "SELECT group_concat(substr(hash, 1, 8), ''), \
     group_concat(segment || ',' || position || ',' || len || ',', '') FROM documents \
     WHERE segment IN (SELECT value FROM json_each(?))";

#[cfg(test)]
mod tests {
    use super::*;

    fn item(rank: u32, block: u32) -> Item {
        Item { rank, block, key: [7; 8], len: 9 }
    }

    /// A stock of segments 5 and 3, from block 2 of the former on.
    fn stock(items: Vec<Item>, room: usize) -> Inventory {
        let mut stock = Inventory { segments: vec![5, 3], start: 2, items, unknown: None };
        stock.keep(room);
        stock.items.sort_unstable();
        stock
    }

    /// The blocks that should begin in a segment from a block on, and the block up to which that is known.
    fn check(stock: &Inventory, (segment, from): (u32, u64), expected: Option<(&[u32], Option<u64>)>) {
        let known = stock.from(segment, from * 64).map(|(items, until)| {
            let blocks: Vec<_> = items.iter().map(|item| item.block).collect();
            (blocks, (until != u64::MAX).then_some(until / 64))
        });
        assert_eq!(known, expected.map(|(blocks, until)| (blocks.to_vec(), until)), "{segment} {from}");
    }

    #[test]
    fn stock_knows_its_segments_from_where_it_was_taken() {
        let stock = stock(vec![item(1, 0), item(0, 9), item(0, 2), item(1, 4)], 9);
        check(&stock, (5, 2), Some((&[2, 9], None)));
        check(&stock, (5, 3), Some((&[9], None)));
        check(&stock, (5, 1), None);
        check(&stock, (3, 0), Some((&[0, 4], None)));
        check(&stock, (4, 0), None);
    }

    #[test]
    fn stock_without_room_knows_what_comes_first() {
        let items = || vec![item(1, 0), item(0, 9), item(0, 2), item(1, 4)];
        let three = stock(items(), 3);
        check(&three, (5, 2), Some((&[2, 9], None)));
        check(&three, (3, 0), Some((&[0], Some(4))));
        check(&three, (3, 4), None);
        let one = stock(items(), 1);
        check(&one, (5, 2), Some((&[2], Some(9))));
        check(&one, (5, 9), None);
        check(&one, (3, 0), None);
    }
}

//! Rows that come as one row of lists, a list for each column: each row that SQLite's thread hands over costs about as
//! much as finding it.

use std::str::FromStr;

use proto::{Checksum, FragmentId, TesseraId};
use sqlx::{Row, sqlite::SqliteRow};

use super::{digest, rows::BlobState};
use crate::{error::ActorError, store::FragmentRow};

/// A tessera's fragments from a place on. The sum keeps SQLite from looking at the limit's value while it prepares,
/// which it would do again every time.
pub(super) const FRAGMENTS: &str = "SELECT group_concat(checksum, ''), \
     group_concat(stripe) || ',', group_concat(idx) || ',', group_concat(seal) || ',', \
     group_concat(coalesce(len, '')) || ',', group_concat(coalesce(state, '')) || ',', \
     group_concat(coalesce(written_at, '')) || ',', group_concat(coalesce(verified_at, '')) || ',' FROM ( \
     SELECT f.stripe, f.idx, f.checksum, f.seal, b.len, b.state, s.written_at, s.verified_at \
     FROM fragments f JOIN tesseras t ON t.tessera = f.tessera \
     LEFT JOIN blobs b ON b.checksum = f.checksum LEFT JOIN segments s ON s.id = b.segment \
     WHERE f.tessera = ? AND t.session = 0 AND (f.stripe, f.idx) >= (?, ?) \
     ORDER BY f.stripe, f.idx LIMIT ? + 0)";

/// The rows that [`FRAGMENTS`] found, in any order.
///
/// Errors as damage of the index when they are not as they were written.
pub(super) fn fragments(found: &SqliteRow, tessera: TesseraId) -> Result<Vec<FragmentRow>, ActorError> {
    let sums = found.try_get::<Option<&[u8]>, _>(0)?.unwrap_or_default();
    let mut lists = Lists { columns: [1, 2, 3, 4, 5, 6, 7].map(|at| found.try_get(at).unwrap_or_default()) };
    let (sums, rest) = sums.as_chunks();
    let rows: Option<Vec<_>> =
        sums.iter().map(|sum| lists.fragment(tessera, Checksum::from_bytes(*sum))).collect();
    rows.filter(|_| rest.is_empty() && lists.are_empty()).ok_or_else(|| {
        ActorError::damaged_index(format!("the rows of {tessera} are not as they were written"))
    })
}

/// Numbers that belong together: a list, a comma behind each.
pub(super) fn numbers<const N: usize>(page: &SqliteRow, column: usize) -> Result<Vec<[i64; N]>, ActorError> {
    let list = page.try_get::<Option<&str>, _>(column)?.unwrap_or_default();
    let numbers = list.split_terminator(',').map(str::parse).collect::<Result<Vec<i64>, _>>();
    let numbers = numbers.map_err(|_| not_as_written())?;
    let (rows, rest) = numbers.as_chunks();
    if rest.is_empty() { Ok(rows.to_vec()) } else { Err(not_as_written()) }
}

pub(super) fn not_as_written() -> ActorError {
    ActorError::damaged_index("rows are not as they were written".to_owned())
}

/// What is left of each list. A value ends with a comma.
struct Lists<'a> {
    columns: [&'a str; 7],
}

impl Lists<'_> {
    fn fragment(&mut self, tessera: TesseraId, checksum: Checksum) -> Option<FragmentRow> {
        let id = FragmentId { tessera, stripe: self.next(0)??, index: self.next(1)?? };
        let seal = self.next::<i64>(2)??;
        let row = FragmentRow {
            stripe: id.stripe,
            index: id.index,
            checksum,
            length: self.next(3)?.unwrap_or(0),
            state: self.next(4)?.map_or(BlobState::Missing, BlobState::from_code),
            written_at_ms: self.next(5)?.unwrap_or(0),
            verified_at_ms: self.next(6)?,
        };
        (digest::seal(&id, &checksum) == seal).then_some(row)
    }

    /// The next value of a column; an empty one is NULL.
    fn next<T: FromStr>(&mut self, column: usize) -> Option<Option<T>> {
        let list = self.columns.get_mut(column)?;
        // The values are short: looking for one comma after the other beats a search that prepares itself for long ones.
        let end = list.bytes().position(|byte| byte == b',')?;
        let (value, rest) = list.split_at_checked(end)?;
        *list = rest.get(1..)?;
        if value.is_empty() { Some(None) } else { value.parse().ok().map(Some) }
    }

    fn are_empty(&self) -> bool {
        self.columns.iter().all(|column| column.is_empty())
    }
}

//! Writing a batch's rows into the index: one transaction, few statements.
//!
//! A statement costs a thread hop, whatever its number of rows. Rows are written in chunks of fixed sizes (so that
//! the statements stay prepared), the smaller chunks of one size of all tables in one call.

mod notes;
pub(super) mod placed;

use bytes::Bytes;
use proto::{AccountId, Checksum, FragmentId, TesseraId, compare::Sum};
use sqlx::{AssertSqlSafe, SqliteConnection, sqlite::SqliteArguments};

use super::{
    digest,
    facts::add,
    pragmas::Database,
    rows::{
        BlobRow, DepositKey, DepositRow, DocumentKey, DocumentRow, FragmentRow, HoldingKey, HoldingRow,
        LogEnd, ScrubRow, SegmentRow, TesseraRow,
    },
    view::Changes,
};
use crate::error::ActorError;

/// Writes a batch's rows and the watermark in one transaction. On an error nothing of it is in the index.
pub(crate) async fn write(
    database: &Database,
    changes: &Changes,
    end: LogEnd,
    now_ms: i64,
) -> Result<(), ActorError> {
    let mut script = Script::default();
    script.changes(changes, now_ms)?;
    script.log_end(end)?;
    let mut connection = database.writer.acquire().await?;
    let outcome = script.run(&mut connection, changes).await;
    if outcome.is_err() {
        // An error inside the transaction leaves it open; one before it leaves nothing to roll back.
        let rolled_back = sqlx::query("ROLLBACK").execute(&mut *connection).await;
        tracing::debug!(?rolled_back, "a batch was not written into the index");
    }
    // Before the next transaction, which may begin the WAL anew.
    let meter = database.meter.clone();
    let looked = tokio::task::spawn_blocking(move || meter.look()).await;
    if let Err(error) = looked {
        tracing::debug!(%error, "what SQLite writes could not be counted");
    }
    outcome
}

/// Statements of one transaction: those of a few rows grouped by the number of rows they take, and before them those
/// of many rows, a table's a few at a time. So there are few combinations of them, and all stay prepared.
#[derive(Debug, Default)]
struct Script {
    full: Vec<Group>,
    groups: [Group; CHUNK_SIZES.len()],
}

#[derive(Debug, Default)]
struct Group {
    sql: String,
    arguments: SqliteArguments,
    rows: usize,
}

impl Group {
    fn statement<T>(
        &mut self,
        form: &Form,
        rows: &[T],
        bind: impl Fn(&T, &mut SqliteArguments) -> Result<(), ActorError>,
    ) -> Result<(), ActorError> {
        self.sql.push_str(form.head);
        for (at, row) in rows.iter().enumerate() {
            self.sql.push_str(if at == 0 { "" } else { "," });
            self.sql.push_str(form.row);
            bind(row, &mut self.arguments)?;
        }
        self.sql.push_str(form.tail);
        self.rows += rows.len();
        Ok(())
    }
}

/// How the rows of one table are written or deleted: what stands before and after the list of rows.
struct Form {
    head: &'static str,
    row: &'static str,
    tail: &'static str,
}

impl Script {
    fn changes(&mut self, changes: &Changes, now_ms: i64) -> Result<(), ActorError> {
        let sealed = |(id, row): &(TesseraId, Option<TesseraRow>)| {
            (*id, row.map(|row| (row, digest::seal_of_tessera(*id, &row))))
        };
        self.table(&TESSERAS, &changes.tesseras.iter().map(sealed).collect::<Vec<_>>())?;
        self.table(&BLOBS, &changes.blobs)?;
        let outboards: Vec<_> =
            changes.outboards.iter().map(|(sum, values)| (*sum, Some(values.clone()))).collect();
        self.table(&OUTBOARDS, &outboards)?;
        self.table(&DOCUMENTS, &changes.documents)?;
        let sealed = |(id, row): &(FragmentId, Option<FragmentRow>)| {
            (*id, row.map(|row| (row, digest::seal(id, &row.checksum))))
        };
        self.table(&FRAGMENTS, &changes.fragments.iter().map(sealed).collect::<Vec<_>>())?;
        self.table(&DEPOSITS, &changes.deposits)?;
        self.table(&HOLDINGS, &changes.holdings)?;
        let sums: Vec<_> = changes.sums.iter().map(|(key, by)| (*key, Some(*by))).collect();
        self.table(&HOLDING_SUMS, &sums)?;
        let sealed = |(id, row): &(u32, Option<SegmentRow>)| {
            (*id, row.map(|row| (row, digest::seal_of_segment(*id, &row))))
        };
        self.table(&SEGMENTS, &changes.segments.iter().map(sealed).collect::<Vec<_>>())?;
        let accounts: Vec<_> = changes.accounts.iter().map(|(account, by)| (*account, Some(*by))).collect();
        self.table(&ACCOUNTS, &accounts)?;
        let jobs: Vec<_> =
            changes.jobs.iter().map(|(sum, queued)| (*sum, queued.then_some(now_ms))).collect();
        self.table(&JOBS, &jobs)?;
        let scrub: Vec<_> =
            changes.scrub.iter().map(|row| (1_u32, Some((*row, digest::seal_of_scrub(row))))).collect();
        self.table(&SCRUB, &scrub)
    }

    fn log_end(&mut self, end: LogEnd) -> Result<(), ActorError> {
        let Some(group) = self.groups.last_mut() else { return Ok(()) };
        group.sql.push_str("UPDATE log SET segment=?, position=?, next_seq=?, clean=?, seal=?;");
        add(&mut group.arguments, end.watermark.segment)?;
        add(&mut group.arguments, end.watermark.position.cast_signed())?;
        add(&mut group.arguments, end.next_seq.cast_signed())?;
        add(&mut group.arguments, end.clean)?;
        add(&mut group.arguments, digest::seal_of_log(&end))
    }

    fn table<K: Bind, R: Bind>(
        &mut self,
        table: &[Form; 2],
        rows: &[(K, Option<R>)],
    ) -> Result<(), ActorError> {
        let [upsert, delete] = table;
        let kept: Vec<_> = rows.iter().filter_map(|(key, row)| row.as_ref().map(|row| (key, row))).collect();
        self.rows(upsert, &kept, |(key, row), arguments| {
            key.bind(arguments)?;
            row.bind(arguments)
        })?;
        let gone: Vec<_> = rows.iter().filter(|(_, row)| row.is_none()).map(|(key, _)| key).collect();
        self.rows(delete, &gone, |key, arguments| key.bind(arguments))
    }

    /// Cuts the rows into chunks of the fixed sizes, largest first.
    fn rows<T>(
        &mut self,
        form: &Form,
        mut rows: &[T],
        bind: impl Fn(&T, &mut SqliteArguments) -> Result<(), ActorError>,
    ) -> Result<(), ActorError> {
        while rows.len() >= FULL_ROWS {
            let mut group = Group::default();
            for chunk in rows.chunks_exact(FULL_ROWS).take(FULL_CHUNKS_PER_CALL) {
                group.statement(form, chunk, &bind)?;
            }
            rows = rows.get(group.rows..).unwrap_or_default();
            self.full.push(group);
        }
        for (size, group) in CHUNK_SIZES.into_iter().zip(&mut self.groups) {
            if let Some((chunk, rest)) = rows.split_at_checked(size) {
                rows = rest;
                group.statement(form, chunk, &bind)?;
            }
        }
        Ok(())
    }

    async fn run(self, connection: &mut SqliteConnection, changes: &Changes) -> Result<(), ActorError> {
        let last = self.full.len() + self.groups.len() - 1;
        let mut begin = "BEGIN IMMEDIATE;";
        if !changes.notes.is_empty() {
            begin = "";
            notes::write(connection, changes).await?;
        }
        for (at, group) in self.full.into_iter().chain(self.groups).enumerate() {
            if group.sql.is_empty() {
                continue;
            }
            let end = if at == last { "COMMIT;" } else { "" };
            let sql = format!("{begin}{}{end}", group.sql);
            begin = "";
            sqlx::query_with(AssertSqlSafe(sql), group.arguments).execute(&mut *connection).await?;
        }
        Ok(())
    }
}

/// Values that become arguments, in the order of their table's columns.
trait Bind {
    fn bind(&self, to: &mut SqliteArguments) -> Result<(), ActorError>;
}

macro_rules! bind {
    ($type:ty, |$value:ident| $($field:expr),+) => {
        impl Bind for $type {
            fn bind(&self, to: &mut SqliteArguments) -> Result<(), ActorError> {
                let $value = self;
                $(add(to, $field)?;)+
                Ok(())
            }
        }
    };
}

bind!(Checksum, |sum| sum.as_bytes().as_slice());
bind!(Bytes, |bytes| bytes.as_ref());
bind!(TesseraId, |id| id.as_bytes().as_slice());
bind!(AccountId, |id| id.as_bytes().as_slice());
bind!(u32, |id| *id);
bind!(i64, |number| *number);
bind!((i64, i64), |pair| pair.0, pair.1);
bind!(FragmentId, |id| id.tessera.as_bytes().as_slice(), id.stripe, id.index);
bind!(
    DepositKey,
    |key| key.1.tessera.as_bytes().as_slice(),
    key.1.stripe,
    key.1.index,
    key.0.as_bytes().as_slice()
);
bind!(HoldingKey, |key| key.0.as_bytes().as_slice(), key.1.as_bytes().as_slice());
bind!((AccountId, u8), |key| key.0.as_bytes().as_slice(), key.1);
bind!(Sum, |sum| sum.get().cast_signed());
bind!(DocumentKey, |key| key.0.as_bytes().as_slice(), key.1.code(), key.2.as_bytes().as_slice());
bind!(
    DocumentRow,
    |row| row.place.segment,
    row.place.position.cast_signed(),
    row.place.len,
    row.suspect_at_ms
);
bind!(
    BlobRow,
    |row| row.place.segment,
    row.place.position.cast_signed(),
    row.place.len,
    row.refs,
    row.state.code()
);
bind!((FragmentRow, i64), |row| row.0.checksum.as_bytes().as_slice(), row.0.deposits, row.1);
bind!(DepositRow, |row| row.segment, row.seq.cast_signed());
bind!(HoldingRow, |row| row.fragments.cast_signed(), row.bytes.cast_signed(), row.digest.to_bytes().to_vec());
bind!(
    (TesseraRow, i64),
    |row| row.0.session.cast_signed(),
    row.0.holdings,
    row.0.received_at_ms,
    row.0.documents.cast_signed(),
    row.1
);
bind!(
    (SegmentRow, i64),
    |row| row.0.bytes.cast_signed(),
    row.0.live_bytes.cast_signed(),
    row.0.min_seq.cast_signed(),
    row.0.drop_bytes.cast_signed(),
    row.0.drop_seq.cast_signed(),
    row.0.seal.code(),
    row.0.written_at_ms,
    row.0.verified_at_ms,
    row.0.ref_seqs.cast_signed(),
    row.1
);

bind!(
    (ScrubRow, i64),
    |row| row.0.segment,
    row.0.position.cast_signed(),
    row.0.before_ms,
    row.0.paused_until_ms,
    row.0.index_at_ms,
    row.0.began_ms,
    row.1
);

/// Rows of the largest statement.
const FULL_ROWS: usize = 32;
/// Of these, so many in one call: calls cost a thread hop, and each number of them is kept prepared.
const FULL_CHUNKS_PER_CALL: usize = 4;
/// Largest first; the last is one, so what is left of any number of rows can be cut into these, each at most once.
const CHUNK_SIZES: [usize; 5] = [16, 8, 4, 2, 1];

const TESSERAS: [Form; 2] = [
    Form {
        head: "INSERT INTO tesseras VALUES ",
        row: "(?,?,?,?,?,?)",
        tail: " ON CONFLICT DO UPDATE SET session=excluded.session, holdings=excluded.holdings, \
               documents=excluded.documents, seal=excluded.seal;",
    },
    Form { head: "DELETE FROM tesseras WHERE tessera IN (", row: "?", tail: ");" },
];
const BLOBS: [Form; 2] = [
    Form {
        head: "INSERT INTO blobs VALUES ",
        row: "(?,?,?,?,?,?)",
        tail: " ON CONFLICT DO UPDATE SET segment=excluded.segment, position=excluded.position, len=excluded.len, \
               refs=excluded.refs, state=excluded.state;",
    },
    Form { head: "DELETE FROM blobs WHERE checksum IN (", row: "?", tail: ");" },
];
/// A trigger deletes them with their blobs.
const OUTBOARDS: [Form; 2] = [
    Form {
        head: "INSERT INTO outboards VALUES ",
        row: "(?,?)",
        tail: " ON CONFLICT DO UPDATE SET chaining=excluded.chaining;",
    },
    Form { head: "DELETE FROM outboards WHERE checksum IN (", row: "?", tail: ");" },
];
const DOCUMENTS: [Form; 2] = [
    Form {
        head: "INSERT INTO documents VALUES ",
        row: "(?,?,?,?,?,?,?)",
        tail: " ON CONFLICT DO UPDATE SET segment=excluded.segment, position=excluded.position, len=excluded.len, \
               suspect_at=excluded.suspect_at;",
    },
    Form {
        head: "DELETE FROM documents WHERE (tessera, kind, hash) IN (VALUES ",
        row: "(?,?,?)",
        tail: ");",
    },
];
const FRAGMENTS: [Form; 2] = [
    Form {
        head: "INSERT INTO fragments VALUES ",
        row: "(?,?,?,?,?,?)",
        tail: " ON CONFLICT DO UPDATE SET checksum=excluded.checksum, deposits=excluded.deposits, seal=excluded.seal;",
    },
    Form {
        head: "DELETE FROM fragments WHERE (tessera, stripe, idx) IN (VALUES ",
        row: "(?,?,?)",
        tail: ");",
    },
];
const DEPOSITS: [Form; 2] = [
    Form {
        head: "INSERT INTO deposits VALUES ",
        row: "(?,?,?,?,?,?)",
        tail: " ON CONFLICT DO UPDATE SET segment=excluded.segment, seq=excluded.seq;",
    },
    Form {
        head: "DELETE FROM deposits WHERE (tessera, stripe, idx, account) IN (VALUES ",
        row: "(?,?,?,?)",
        tail: ");",
    },
];
const HOLDINGS: [Form; 2] = [
    Form {
        head: "INSERT INTO holdings VALUES ",
        row: "(?,?,?,?,?)",
        tail: " ON CONFLICT DO UPDATE SET fragments=excluded.fragments, bytes=excluded.bytes, \
               digest=excluded.digest;",
    },
    Form { head: "DELETE FROM holdings WHERE (account, tessera) IN (VALUES ", row: "(?,?)", tail: ");" },
];
const SEGMENTS: [Form; 2] = [
    Form {
        head: "INSERT INTO segments VALUES ",
        row: "(?,?,?,?,?,?,?,?,?,?,?)",
        tail: " ON CONFLICT DO UPDATE SET bytes=excluded.bytes, live_bytes=excluded.live_bytes, \
               min_seq=excluded.min_seq, drop_bytes=excluded.drop_bytes, drop_seq=excluded.drop_seq, \
               sealed=excluded.sealed, verified_at=excluded.verified_at, ref_seqs=excluded.ref_seqs, seal=excluded.seal;",
    },
    Form { head: "DELETE FROM segments WHERE id IN (", row: "?", tail: ");" },
];
/// Written as differences: nobody needs to know the sums before.
const HOLDING_SUMS: [Form; 2] = [
    Form {
        head: "INSERT INTO holding_sums VALUES ",
        row: "(?,?,?)",
        // Modulo 2^62.
        tail: " ON CONFLICT DO UPDATE SET sum=(sum+excluded.sum)&4611686018427387903;",
    },
    Form {
        head: "DELETE FROM holding_sums WHERE (account, first_byte) IN (VALUES ",
        row: "(?,?)",
        tail: ");",
    },
];
/// As the sums.
const ACCOUNTS: [Form; 2] = [
    Form {
        head: "INSERT INTO accounts VALUES ",
        row: "(?,?,?)",
        tail: " ON CONFLICT DO UPDATE SET fragments=fragments+excluded.fragments, bytes=bytes+excluded.bytes;",
    },
    Form { head: "DELETE FROM accounts WHERE account IN (", row: "?", tail: ");" },
];
const JOBS: [Form; 2] = [
    Form {
        head: "INSERT INTO jobs(checksum, queued_at, kind) VALUES ",
        row: "(?,?,1)",
        tail: " ON CONFLICT DO NOTHING;",
    },
    Form { head: "DELETE FROM jobs WHERE checksum IN (", row: "?", tail: ");" },
];
/// There is one row.
const SCRUB: [Form; 2] = [
    Form {
        head: "INSERT INTO scrub VALUES ",
        row: "(?,?,?,?,?,?,?,?)",
        tail: " ON CONFLICT DO UPDATE SET segment=excluded.segment, position=excluded.position, \
               before=excluded.before, paused_until=excluded.paused_until, index_at=excluded.index_at, \
               began=excluded.began, seal=excluded.seal;",
    },
    Form { head: "DELETE FROM scrub WHERE id IN (", row: "?", tail: ");" },
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// SQLite keeps each of them prepared, at some kilobytes for every row.
    #[test]
    fn numbers_of_rows_come_to_few_different_calls() {
        let mut calls = HashSet::new();
        for rows in 0..1000_u32 {
            let blobs = (0..rows).map(|number| (Checksum::of(&number.to_le_bytes()), None)).collect();
            let mut script = Script::default();
            script.changes(&Changes { blobs, ..Changes::default() }, 0).unwrap();
            let written: usize = script.full.iter().chain(&script.groups).map(|group| group.rows).sum();
            assert_eq!(written, rows as usize, "none is left out");
            calls.extend(script.full.into_iter().chain(script.groups).map(|group| group.sql));
        }
        // None, one for each of the smaller sizes, and one for each number of full chunks.
        assert_eq!(calls.len(), 1 + CHUNK_SIZES.len() + FULL_CHUNKS_PER_CALL);
    }
}

//! Segments that are shorter than the index knows them, or gone: what was in them is given up by name, and what only
//! the index still knows is written into the log again.

use proto::{
    Checksum, TesseraId,
    record::{Claim, DocumentKind, Kind, Record, SessionId},
};
use sqlx::{Row, sqlite::SqliteRow};

use super::{
    facts::{self, Need},
    log::Log,
    ops,
    recover::Replay,
    rows::{DepositKey, DepositRow, Seal, SegmentRow},
};
use crate::{clock, error::ActorError};

impl Replay<'_> {
    /// Compares the segments the index knows with the files. What is gone is given up; a file that the index does not
    /// know (any more) becomes one of which nothing counts.
    pub(super) async fn compare_segments(&mut self, ids: &[u32]) -> Result<(), ActorError> {
        let rows: Vec<_> = self.view.segments.iter().map(|(id, row)| (*id, *row)).collect();
        for (id, row) in rows {
            let is_there = ids.contains(&id);
            if row.seal == Seal::Drained {
                // Nothing in it counts, and a compaction may be removing it at this moment.
                if !is_there {
                    self.remove_row(id);
                }
                continue;
            }
            let length = if is_there { self.length(id)? } else { 0 };
            if length < row.bytes {
                self.lose(id, length).await?;
            }
        }
        let before = |id: &&u32| **id < self.state.watermark.segment;
        let strays = ids.iter().filter(before).filter(|id| !self.view.segments.contains_key(id));
        for id in strays.copied().collect::<Vec<_>>() {
            let bytes = self.length(id)?;
            // What it holds does not count, and may be older than any drop.
            let row = SegmentRow {
                bytes,
                min_seq: 0,
                seal: Seal::Sealed,
                ..super::recover::new_segment(0, clock::now_ms())
            };
            self.view.segments.insert(id, row);
            self.view.touched_segments.push(id);
        }
        self.flush().await
    }

    async fn lose(&mut self, id: u32, length: u64) -> Result<(), ActorError> {
        self.report.lost_segments.push(id);
        let sql = "SELECT checksum FROM blobs WHERE segment = ? AND position + 64 + len > ?";
        for chunk in self.lost(sql, id, length).await?.chunks(ROWS_PER_WRITE) {
            let sums = chunk.iter().map(|row| Ok(Checksum::try_from(row.try_get::<&[u8], _>(0)?)?));
            let sums = sums.collect::<Result<Vec<_>, ActorError>>()?;
            let needs: Vec<_> = sums.iter().map(|sum| ops::blob(*sum)).collect();
            facts::load(&mut self.connection, &mut self.view, &needs).await?;
            for sum in sums {
                self.view.lose_blob(sum);
            }
            self.flush().await?;
        }
        let sql = "SELECT tessera, kind, hash FROM documents \
                   WHERE segment = ? AND position + 64 + len > ?";
        for row in &self.lost(sql, id, length).await? {
            let tessera = TesseraId::try_from(row.try_get::<&[u8], _>(0)?)?;
            let Some(kind) = DocumentKind::from_code(row.try_get(1)?) else { continue };
            let key = (tessera, kind, Checksum::try_from(row.try_get::<&[u8], _>(2)?)?);
            facts::load_document(&mut self.connection, &mut self.view, key).await?;
            self.view.lose_document(key, clock::now_ms());
            self.report.lost_documents.push(tessera);
        }
        // Which drops are left is not known; those that are not can keep nothing away any more.
        self.view.segment(id, |row| (row.bytes, row.drop_bytes) = (length, 0));
        self.flush().await
    }

    async fn lost(&mut self, sql: &'static str, id: u32, from: u64) -> Result<Vec<SqliteRow>, ActorError> {
        let query = sqlx::query(sql).bind(id).bind(from.cast_signed());
        Ok(query.fetch_all(&mut self.connection).await?)
    }

    /// Writes the refs that lost segments held into the log again: it must be able to say all of it by itself.
    pub(super) async fn write_lost_refs(&mut self, log: &mut Log) -> Result<(), ActorError> {
        for id in self.report.lost_segments.clone() {
            let mut behind = None;
            loop {
                let page =
                    facts::deposits_in(&mut self.connection, id, behind.as_ref(), REFS_PER_WRITE).await?;
                let Some((last, _)) = page.last() else { break };
                behind = Some(*last);
                let need = |((account, fragment), _): &(DepositKey, DepositRow)| Need {
                    account: *account,
                    fragment: *fragment,
                    checksum: None,
                };
                self.write_refs(&page.iter().map(need).collect::<Vec<_>>(), log).await?;
            }
            if self.length(id).is_err() {
                self.remove_row(id);
            }
        }
        self.flush().await
    }

    async fn write_refs(&mut self, needs: &[Need], log: &mut Log) -> Result<(), ActorError> {
        facts::load(&mut self.connection, &mut self.view, needs).await?;
        let mut tape = log.tape();
        for need in needs {
            let Some(row) = self.view.fragments.get(&need.fragment) else { continue };
            let length = self.view.blobs.get(&row.checksum).map_or(0, |blob| blob.place.len);
            let (account, fragment, checksum) = (need.account, need.fragment, row.checksum);
            let claim = Claim { session: SessionId::NONE, account, fragment, checksum, length };
            let seq = self.state.next_seq;
            self.state.next_seq += 1;
            let place = tape.record(seq, &Record::Ref(claim))?;
            self.view.renew_deposit(need.account, need.fragment, place.segment, seq);
            self.view.note_record(place.segment, Kind::Ref, seq, 0);
        }
        let (bytes, disk) = (tape.bytes(), self.disk.clone());
        let write = move || tape.write(disk.as_ref()).and_then(|()| disk.sync(tape.file())).map(|()| tape);
        let written = tokio::task::spawn_blocking(write).await.map_err(std::io::Error::other)?;
        let tape = written.map_err(ActorError::io("cannot write to the log"))?;
        log.advance(&tape);
        self.state.watermark = log.end();
        self.view.segment(tape.segment(), |row| row.bytes += bytes);
        self.flush().await
    }

    fn remove_row(&mut self, id: u32) {
        self.view.segments.remove(&id);
        self.view.touched_segments.push(id);
    }
}

const ROWS_PER_WRITE: usize = 1024;
const REFS_PER_WRITE: u32 = 1024;

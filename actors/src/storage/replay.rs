//! Reading the log behind the watermark, in two passes.
//!
//! The first takes blobs, drops, commits and what was forgotten, the second refs and documents. Compaction copies a
//! drop to the end of the log, far behind what was put after it: only who knows all drops beforehand can apply refs in
//! the order of the log.

use proto::{
    AccountId, Checksum, TesseraId,
    record::{Claim, DocumentKind, Header, Kind, Record, SessionId},
};
use sqlx::Row;

use super::{
    facts::{self, Need},
    ops,
    recover::{Damage, Replay},
    rows::{BlobState, Place},
    scan::Found,
};
use crate::{clock, error::ActorError};

/// A record that the second pass applies.
struct Applied<'a> {
    place: Place,
    seq: u64,
    record: &'a Record,
}

impl Replay<'_> {
    /// The first pass: blobs, drops, commits and what was forgotten. Damage is reported once something valid is found
    /// behind it.
    pub(super) async fn gather(
        &mut self,
        segment: u32,
        chunk: &[Found],
        trailing: &mut Vec<Damage>,
    ) -> Result<(), ActorError> {
        let mut records = Vec::with_capacity(chunk.len());
        for found in chunk {
            match found {
                Found::Record { position, header, record } => {
                    self.report.damage.append(trailing);
                    records.push((*position, *header, record));
                }
                Found::Damage { position, length, header, unreadable } => {
                    // What cannot be read is no unfinished write, wherever it is.
                    let place = if *unreadable { &mut self.report.damage } else { &mut *trailing };
                    place.push(damage(segment, *position, *length, *header));
                }
            }
        }
        let needs = records.iter().filter_map(|(_, header, record)| match record {
            Record::Blob(_) => Some(ops::blob(header.payload_hash)),
            Record::Drop(claim) => Some(need(claim)),
            _ => None,
        });
        let needs: Vec<_> = needs.collect();
        facts::load(&mut self.connection, &mut self.view, &needs).await?;
        for (position, header, record) in records {
            self.report.records += 1;
            self.note(segment, position, &header);
            match record {
                Record::Blob(_) => self.blob(segment, position, &header),
                Record::Drop(claim) => self.dropped(claim, header.sequence),
                Record::Commit { session, .. } => {
                    self.committed.insert(*session);
                }
                Record::Forget { tessera } => self.forgotten(*tessera, header.sequence).await?,
                Record::Ref(_) | Record::Document { .. } => {}
            }
        }
        self.flush_if_many().await
    }

    /// Documents that the index has of the tessera are older, unless this is a copy: then the index knows of it.
    async fn forgotten(&mut self, tessera: TesseraId, seq: u64) -> Result<(), ActorError> {
        let newest = self.forgotten.entry(tessera).or_default();
        *newest = seq.max(*newest);
        if seq >= self.first_seq {
            for (kind, hash) in
                facts::load_documents_of(&mut self.connection, &mut self.view, tessera).await?
            {
                self.view.remove_document((tessera, kind, hash));
            }
        }
        Ok(())
    }

    /// Takes back what sessions left behind that were never completed. No session outlives its process, and what
    /// comes next in the log may be about the same tesserae.
    pub(super) async fn purge_ended_sessions(&mut self) -> Result<(), ActorError> {
        for (tessera, row) in facts::not_counting(&mut self.connection).await? {
            if row.session != 0 && !self.committed.contains(&SessionId(row.session)) {
                self.purge(tessera).await?;
            }
        }
        Ok(())
    }

    async fn purge(&mut self, tessera: TesseraId) -> Result<(), ActorError> {
        loop {
            let needs = facts::deposits_of(&mut self.connection, tessera, PURGED_PER_WRITE).await?;
            facts::load(&mut self.connection, &mut self.view, &needs).await?;
            if needs.is_empty() {
                break;
            }
            let is_known = |need: &Need| self.view.deposits.get(&(need.account, need.fragment)).is_some();
            if !needs.iter().any(is_known) {
                // It would be read again and again.
                return Err(ActorError::damaged_index(format!("deposits of {tessera} lack their fragments")));
            }
            for need in &needs {
                self.view.remove_deposit(need.account, need.fragment);
            }
            self.flush().await?;
        }
        for (kind, hash) in facts::load_documents_of(&mut self.connection, &mut self.view, tessera).await? {
            self.view.remove_document((tessera, kind, hash));
        }
        self.view.tesseras.set(tessera, None, self.view.batch);
        self.flush().await
    }

    /// The second pass: refs and documents. Of a session's only if it was completed.
    pub(super) async fn apply(&mut self, segment: u32, chunk: &[Found]) -> Result<(), ActorError> {
        let mut records = Vec::new();
        for found in chunk {
            let Found::Record { position, header, record } = found else { continue };
            if matches!(header.kind, Kind::Ref | Kind::Document | Kind::Commit) {
                let place = Place { segment, position: *position, len: header.payload_len };
                records.push(Applied { place, seq: header.sequence, record });
            }
        }
        self.load(&records).await?;
        for applied in &records {
            match applied.record {
                Record::Ref(claim) if self.counts(claim.session) => {
                    if self.contradicts(claim) {
                        self.unseat(claim, applied.seq).await?;
                        self.load(&records).await?;
                    }
                    self.refer(applied.place.segment, applied.seq, claim);
                }
                Record::Document { session, tessera, kind, bytes }
                    if self.counts(*session) && !self.is_forgotten(tessera, applied.seq) =>
                {
                    self.document((*tessera, *kind, Checksum::of(bytes)), applied.place);
                }
                Record::Commit { tessera, .. } => self.view.commit_tessera(*tessera),
                _ => {}
            }
        }
        self.flush_if_many().await
    }

    async fn load(&mut self, records: &[Applied<'_>]) -> Result<(), ActorError> {
        let mut needs = Vec::new();
        for applied in records {
            match applied.record {
                Record::Ref(claim) => needs.push(need(claim)),
                Record::Document { tessera, kind, bytes, .. } => {
                    let key = (*tessera, *kind, Checksum::of(bytes));
                    facts::load_document(&mut self.connection, &mut self.view, key).await?;
                }
                Record::Commit { tessera, .. } => {
                    facts::load_tessera(&mut self.connection, &mut self.view, *tessera).await?;
                }
                _ => {}
            }
        }
        facts::load(&mut self.connection, &mut self.view, &needs).await
    }

    fn note(&mut self, segment: u32, position: u64, header: &Header) {
        self.state.next_seq = self.state.next_seq.max(header.sequence.saturating_add(1));
        let end = position + header.record_len();
        // A replay that was interrupted has noted some of it already.
        if self.view.segments.get(&segment).is_some_and(|row| row.bytes < end) {
            self.view.note_record(segment, header.kind, header.sequence, header.record_len());
            self.view.segment(segment, |row| row.bytes = end);
        }
    }

    fn blob(&mut self, segment: u32, position: u64, header: &Header) {
        let row = self.view.blobs.get(&header.payload_hash);
        if row.is_none_or(|row| row.state != BlobState::Ok) {
            let place = Place { segment, position, len: header.payload_len };
            self.view.add_blob(header.payload_hash, place);
        }
    }

    fn dropped(&mut self, claim: &Claim, seq: u64) {
        let key = (claim.account, claim.fragment);
        let newest = self.tombstones.entry(key).or_default();
        *newest = seq.max(*newest);
        if self.view.deposits.get(&key).is_some_and(|row| row.seq < seq) {
            self.view.remove_deposit(claim.account, claim.fragment);
        }
    }

    fn refer(&mut self, segment: u32, seq: u64, claim: &Claim) {
        let key = (claim.account, claim.fragment);
        let dropped = self.tombstones.get(&key).is_some_and(|drop| *drop > seq);
        let newer = self.view.deposits.get(&key).is_some_and(|row| row.seq >= seq);
        if !dropped && !newer && !self.contradicts(claim) {
            let counting = Claim { session: SessionId::NONE, ..*claim };
            self.view.add_deposit(&counting, segment, seq, clock::now_ms());
        }
    }

    fn is_forgotten(&self, tessera: &TesseraId, seq: u64) -> bool {
        self.forgotten.get(tessera).is_some_and(|forgotten| *forgotten > seq)
    }

    fn document(&mut self, key: (TesseraId, DocumentKind, Checksum), place: Place) {
        // One that was damaged may have come once more.
        if self.view.documents.get(&key).is_none_or(|row| row.suspect_at_ms.is_some()) {
            self.view.add_document(key, place, SessionId::NONE, clock::now_ms());
        }
    }

    /// Whether other bytes are here under the fragment's id. Whoever put these had dropped those, so a drop was lost.
    fn contradicts(&self, claim: &Claim) -> bool {
        self.view.fragments.get(&claim.fragment).is_some_and(|row| row.checksum != claim.checksum)
    }

    /// Takes back what contradicts a ref, if all of it is older.
    async fn unseat(&mut self, claim: &Claim, seq: u64) -> Result<(), ActorError> {
        self.flush().await?;
        let id = claim.fragment;
        let rows =
            sqlx::query("SELECT account, seq FROM deposits WHERE tessera = ? AND stripe = ? AND idx = ?")
                .bind(id.tessera.as_bytes().as_slice())
                .bind(id.stripe)
                .bind(id.index)
                .fetch_all(&mut self.connection)
                .await?;
        let mut needs = Vec::new();
        for row in &rows {
            if row.try_get::<i64, _>(1)?.cast_unsigned() > seq {
                return Ok(());
            }
            let account = AccountId::try_from(row.try_get::<&[u8], _>(0)?)?;
            needs.push(Need { account, ..need(claim) });
        }
        facts::load(&mut self.connection, &mut self.view, &needs).await?;
        for need in &needs {
            self.view.remove_deposit(need.account, id);
        }
        self.flush().await
    }

    fn counts(&self, session: SessionId) -> bool {
        session == SessionId::NONE || self.committed.contains(&session)
    }
}

fn need(claim: &Claim) -> Need {
    Need { account: claim.account, fragment: claim.fragment, checksum: Some(claim.checksum) }
}

fn damage(segment: u32, position: u64, length: u64, header: Option<Header>) -> Damage {
    let blob = header.filter(|header| header.kind == Kind::Blob).map(|header| header.payload_hash);
    Damage { segment, position, length, blob }
}

/// Deposits taken back in one transaction.
const PURGED_PER_WRITE: u32 = 1024;

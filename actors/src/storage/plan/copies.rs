//! What compaction asks of the writer: to copy forward what counts in a segment, and to give it up.

use proto::{
    Checksum, TesseraId,
    record::{Claim, Record, SessionId},
};

use super::{Planner, Scene};
use crate::{
    error::ActorError,
    storage::{
        ops::{Copied, Outcome},
        rows::{DepositRow, DocumentRow, Place, Seal},
        victim::oldest_elsewhere,
    },
};

impl Planner {
    /// Refs and documents get new sequence numbers: they count here and now, so no drop that is older can concern
    /// them. What ends others keeps its own.
    pub(super) fn copy(
        &mut self,
        from: u32,
        records: &[Copied],
        scene: &mut Scene<'_>,
    ) -> Result<Outcome, ActorError> {
        if self.sessions.first_segment().is_some_and(|first| first <= from) {
            return Ok(Outcome::Stale);
        }
        let oldest_elsewhere = oldest_elsewhere(&self.view.segments, from);
        for copied in records {
            let at = |place: Place| place.segment == from && place.position == copied.position;
            match &copied.record {
                Record::Blob(bytes) => {
                    let checksum = copied.header.payload_hash;
                    let Some(row) = self.view.blobs.get(&checksum).filter(|row| at(row.place)) else {
                        continue;
                    };
                    if row.refs > 0 || self.sessions.keeps(&checksum) {
                        let place = scene.tape.blob(copied.header.sequence, checksum, bytes)?;
                        // These bytes were read and are right, whatever was thought of them before.
                        self.view.add_blob(checksum, place);
                    } else {
                        self.view.blobs.set(checksum, None, self.view.batch);
                    }
                }
                Record::Ref(claim) => self.copy_ref(from, copied, claim, scene)?,
                Record::Document { tessera, kind, bytes, .. } => {
                    let key = (*tessera, *kind, Checksum::of(bytes));
                    // One that was gone may be in a file that somebody put back.
                    let counts = |row: DocumentRow| at(row.place) || row.place.segment == 0;
                    if self.view.documents.get(&key).is_some_and(counts) {
                        let record = self.as_it_counts(&copied.record, *tessera);
                        let (_, place) = self.append(&record, scene)?;
                        self.view.add_document(key, place, SessionId::NONE, scene.now_ms);
                    }
                }
                Record::Drop(_) | Record::Commit { .. } | Record::Forget { .. } => {
                    if oldest_elsewhere < copied.header.sequence {
                        self.write(copied.header.sequence, &copied.record, scene)?;
                    }
                }
            }
        }
        Ok(Outcome::Done)
    }

    fn copy_ref(
        &mut self,
        from: u32,
        copied: &Copied,
        claim: &Claim,
        scene: &mut Scene<'_>,
    ) -> Result<(), ActorError> {
        let key = (claim.account, claim.fragment);
        let governs = |row: &DepositRow| row.segment == from && row.seq == copied.header.sequence;
        if self.view.deposits.get(&key).is_some_and(|row| governs(&row)) {
            let record = self.as_it_counts(&copied.record, claim.fragment.tessera);
            let (seq, place) = self.append(&record, scene)?;
            self.view.renew_deposit(claim.account, claim.fragment, place.segment, seq);
        }
        Ok(())
    }

    /// A record for its copy: without its session if that is complete. What an ended session left and a purge has not
    /// come to yet must not count by being copied.
    fn as_it_counts(&self, record: &Record, tessera: TesseraId) -> Record {
        let counts = self.view.tesseras.get(&tessera).is_some_and(|row| row.session == 0);
        if counts { without_session(record) } else { record.clone() }
    }

    /// The writer has begun a new segment before this, if it could.
    pub(super) fn sealed(&self, segment: u32) -> Outcome {
        let is_active = self.view.segments.get(&segment).is_some_and(|row| row.seal == Seal::Active);
        if is_active { Outcome::Stale } else { Outcome::Done }
    }

    pub(super) fn drained(&mut self, segment: u32) -> Outcome {
        match self.view.segments.get(&segment) {
            Some(row) if row.live_bytes == 0 && row.seal == Seal::Sealed => {
                self.view.segment(segment, |row| row.seal = Seal::Drained);
                Outcome::Done
            }
            _ => Outcome::Stale,
        }
    }
}

/// A record as it counts on its own: the session that wrote it is complete.
fn without_session(record: &Record) -> Record {
    match record.clone() {
        Record::Ref(claim) => Record::Ref(Claim { session: SessionId::NONE, ..claim }),
        Record::Document { tessera, kind, bytes, .. } => {
            Record::Document { session: SessionId::NONE, tessera, kind, bytes }
        }
        other => other,
    }
}

//! Deciding a batch: which records are appended and which rows change, in log order.
//!
//! # Invariants
//! 1. Every decision is made against the committed index with all batches in flight laid over it.
//! 2. Only bytes in state `ok` are deduplicated against; a put that matches anything else appends and so heals.
//! 3. A copy is appended only if what it says counts at this point of the log, so no copy stands behind the drop
//!    that ended it.
//! 4. An operation that is refused leaves no record and no row.

mod copies;
mod records;

use bytes::Bytes;
use proto::{
    AccountId, Checksum, Fragment, FragmentId, TesseraId,
    record::{Claim, DocumentKind, Record, SessionId, record_len},
};

use super::{
    digest::Digest,
    facts::Need,
    log::Tape,
    needed::Extra,
    ops::{Op, Outcome, ScrubNote},
    rows::{BlobState, DepositKey, DepositRow, DocumentKey, Place, ScrubRow},
    sessions::Sessions,
    view::View,
};
use crate::{error::ActorError, store::Deposited};

/// What the writer knows between batches.
#[derive(Debug)]
pub(crate) struct Planner {
    pub(crate) view: View,
    pub(crate) sessions: Sessions,
    pub(crate) next_seq: u64,
}

/// What deciding one operation needs beside the planner.
pub(crate) struct Scene<'a> {
    pub(crate) tape: &'a mut Tape,
    pub(crate) extra: &'a Extra,
    /// Why there is no room, if there is none.
    pub(crate) no_room: Option<&'a str>,
    pub(crate) now_ms: i64,
    /// Fragments that an account let go of: their places must be forgotten before the reply.
    pub(crate) dropped: &'a mut Vec<FragmentId>,
}

impl Planner {
    /// Decides one operation.
    pub(crate) fn decide(&mut self, op: &Op, scene: &mut Scene<'_>) -> Result<Outcome, ActorError> {
        if let Some(reason) = scene.no_room.filter(|_| op.needs_room()) {
            return Err(ActorError::InsufficientStorage { reason: reason.to_owned() });
        }
        match op {
            Op::Put { account, id, fragment, outboard, documents } => {
                self.put((*account, *id), (fragment, outboard), documents, scene)
            }
            Op::Drop { account, id } => self.drop(*account, *id, scene),
            Op::OpenSession => Ok(self.open_session(scene)),
            Op::Pin { session, fragment, outboard } => self.pin(*session, (fragment, outboard), scene),
            Op::Outboard { checksum, values } => Ok(self.outboard(*checksum, values)),
            Op::Document { session, tessera, kind, bytes } => {
                let record = Record::Document {
                    session: *session,
                    tessera: *tessera,
                    kind: *kind,
                    bytes: bytes.clone(),
                };
                self.document(*session, (*tessera, *kind, Checksum::of(bytes)), &record, scene)
            }
            Op::Refs { session, tessera, refs } => self.refs(*session, *tessera, refs, scene),
            Op::Commit { session, tessera } => self.commit(*session, *tessera, scene),
            Op::Abort { session } => Ok(self.abort(*session)),
            Op::Purge { tessera } => self.purge(*tessera, scene),
            Op::Suspect { checksum, place } => Ok(self.suspect(*checksum, *place)),
            Op::Seen { document, place, is_right } => {
                Ok(self.seen(*document, *place, (!is_right).then_some(scene.now_ms)))
            }
            Op::Copy { from, records } => self.copy(*from, records, scene),
            Op::Seal { segment } => Ok(self.sealed(*segment)),
            Op::Drained { segment } => Ok(self.drained(*segment)),
            Op::Unlinked { segment } => {
                self.view.segments.remove(segment);
                self.view.touched_segments.push(*segment);
                Ok(Outcome::Done)
            }
            Op::Rescue { fragment, place } => match self.suspect(fragment.checksum(), *place) {
                // What is kept beside these bytes stays.
                Outcome::Done => self.blob(fragment, &Bytes::new(), scene),
                stale => Ok(stale),
            },
            Op::RescueDocument { document, bytes, place } => {
                self.rescue_document(*document, bytes, *place, scene)
            }
            Op::Renew { account, id, was } => self.renew(*account, *id, *was, scene),
            Op::Recommit { session, account, id, was } => {
                self.recommit(*session, (*account, *id), *was, scene)
            }
            Op::Scrub(note) => Ok(self.scrub(*note)),
            Op::Note(notes) => Ok(self.note(notes)),
        }
    }

    fn put(
        &mut self,
        (account, id): DepositKey,
        (fragment, outboard): (&Fragment, &Bytes),
        documents: &[Deposited],
        scene: &mut Scene<'_>,
    ) -> Result<Outcome, ActorError> {
        let checksum = fragment.checksum();
        self.check_same(id, checksum)?;
        let length = blob_length(fragment)?;
        if self.view.tesseras.get(&id.tessera).is_some_and(|row| row.session != 0) {
            return Err(ActorError::Conflict { what: format!("{} is still being written", id.tessera) });
        }
        // First, so that a torn batch has no fragment without them. Alone they are purged at the next start.
        for Deposited { kind, hash, bytes } in documents {
            let (session, tessera) = (SessionId::NONE, id.tessera);
            let record = Record::Document { session, tessera, kind: *kind, bytes: bytes.clone() };
            self.add_document((tessera, *kind, *hash), session, &record, scene)?;
        }
        let held = self.view.deposits.get(&(account, id)).is_some();
        if held && self.is_ok(&checksum) {
            return Ok(Outcome::Held);
        }
        self.blob(fragment, outboard, scene)?;
        if !held {
            let claim = Claim { session: SessionId::NONE, account, fragment: id, checksum, length };
            self.add_ref(&claim, scene)?;
        }
        Ok(Outcome::Done)
    }

    fn drop(
        &mut self,
        account: AccountId,
        id: FragmentId,
        scene: &mut Scene<'_>,
    ) -> Result<Outcome, ActorError> {
        let pending = self.view.tesseras.get(&id.tessera).is_some_and(|row| row.session != 0);
        let fragment = self.view.fragments.get(&id).filter(|_| !pending);
        let held = self.view.deposits.get(&(account, id));
        let (Some(fragment), Some(_)) = (fragment, held) else {
            return Err(ActorError::not_found(format!("fragment {id}")));
        };
        self.check_last(account, id, fragment.checksum)?;
        let length = self.view.blobs.get(&fragment.checksum).map_or(0, |row| row.place.len);
        let session = SessionId::NONE;
        let claim = Claim { session, account, fragment: id, checksum: fragment.checksum, length };
        self.append(&Record::Drop(claim), scene)?;
        self.view.remove_deposit(account, id);
        scene.dropped.push(id);
        if self.view.tesseras.get(&id.tessera).is_some_and(|row| row.holdings == 0) {
            self.forget(id.tessera, scene)?;
        }
        Ok(Outcome::Done)
    }

    /// A drop that seems to be an account's last one must leave nothing: what comes with it is not taken back.
    fn check_last(&self, account: AccountId, id: FragmentId, checksum: Checksum) -> Result<(), ActorError> {
        let holding = self.view.holdings.get(&(account, id.tessera)).unwrap_or_default();
        let is_last = holding.fragments <= 1;
        if is_last && holding.digest != Digest::of(&id, &checksum) {
            let reason = format!("more of {} is held than is counted", id.tessera);
            return Err(ActorError::damaged_index(reason));
        }
        Ok(())
    }

    /// Nobody holds anything of a tessera any more: its documents go, and never come back.
    fn forget(&mut self, tessera: TesseraId, scene: &mut Scene<'_>) -> Result<(), ActorError> {
        self.append(&Record::Forget { tessera }, scene)?;
        self.remove_tessera(tessera, scene);
        Ok(())
    }

    fn remove_tessera(&mut self, tessera: TesseraId, scene: &Scene<'_>) {
        for (kind, hash) in scene.extra.documents.get(&tessera).into_iter().flatten() {
            self.view.remove_document((tessera, *kind, *hash));
        }
        // What came with a fragment may have come in this very batch.
        let in_flight = self.view.documents.in_flight().filter(|(of, ..)| *of == tessera);
        for key in in_flight.copied().collect::<Vec<_>>() {
            self.view.remove_document(key);
        }
        self.view.tesseras.set(tessera, None, self.view.batch);
    }

    fn open_session(&mut self, scene: &Scene<'_>) -> Outcome {
        let session = SessionId(self.sequence());
        self.sessions.open(session, scene.tape.segment());
        Outcome::Session(session)
    }

    fn pin(
        &mut self,
        session: SessionId,
        (fragment, outboard): (&Fragment, &Bytes),
        scene: &mut Scene<'_>,
    ) -> Result<Outcome, ActorError> {
        self.sessions.pin(session, fragment.checksum())?;
        self.blob(fragment, outboard, scene)
    }

    /// What is kept beside bytes that are right.
    fn outboard(&mut self, checksum: Checksum, values: &Bytes) -> Outcome {
        if !self.is_ok(&checksum) {
            return Outcome::Stale;
        }
        self.view.outboards.insert(checksum, values.clone());
        Outcome::Done
    }

    fn document(
        &mut self,
        session: SessionId,
        key: (TesseraId, DocumentKind, Checksum),
        record: &Record,
        scene: &mut Scene<'_>,
    ) -> Result<Outcome, ActorError> {
        self.name(session, key.0)?;
        self.add_document(key, session, record, scene)
    }

    /// Writes a document unless it is here and right, as far as anyone knows.
    fn add_document(
        &mut self,
        key: DocumentKey,
        session: SessionId,
        record: &Record,
        scene: &mut Scene<'_>,
    ) -> Result<Outcome, ActorError> {
        if self.view.documents.get(&key).is_some_and(|row| row.suspect_at_ms.is_none()) {
            return Ok(Outcome::Held);
        }
        let (_, place) = self.append(record, scene)?;
        self.view.add_document(key, place, session, scene.now_ms);
        Ok(Outcome::Done)
    }

    fn refs(
        &mut self,
        session: SessionId,
        tessera: TesseraId,
        refs: &[(u32, u16, Checksum)],
        scene: &mut Scene<'_>,
    ) -> Result<Outcome, ActorError> {
        self.name(session, tessera)?;
        let id = |stripe, index| FragmentId { tessera, stripe, index };
        for (stripe, index, checksum) in refs {
            self.check_same(id(*stripe, *index), *checksum)?;
            if !self.is_ok(checksum) {
                return Err(ActorError::not_found(format!("the blob {checksum} of {}", id(*stripe, *index))));
            }
        }
        for (stripe, index, checksum) in refs {
            let fragment = id(*stripe, *index);
            if self.view.deposits.get(&(AccountId::LOCAL, fragment)).is_none() {
                let length = self.view.blobs.get(checksum).map_or(0, |row| row.place.len);
                let account = AccountId::LOCAL;
                self.add_ref(&Claim { session, account, fragment, checksum: *checksum, length }, scene)?;
            }
        }
        Ok(Outcome::Done)
    }

    fn commit(
        &mut self,
        session: SessionId,
        tessera: TesseraId,
        scene: &mut Scene<'_>,
    ) -> Result<Outcome, ActorError> {
        self.name(session, tessera)?;
        self.append(&Record::Commit { session, tessera }, scene)?;
        self.view.commit_tessera(tessera);
        self.sessions.end(session);
        Ok(Outcome::Done)
    }

    /// A session makes a tessera of which nothing is here: rows that count and rows that do not yet would not be told
    /// apart otherwise.
    fn name(&mut self, session: SessionId, tessera: TesseraId) -> Result<(), ActorError> {
        self.sessions.name(session, tessera)?;
        match self.view.tesseras.get(&tessera) {
            Some(row) if row.session != session.0 => Err(ActorError::Conflict {
                what: format!(
                    "something of {tessera} is here already: forget it first, or wait until that is done"
                ),
            }),
            _ => Ok(()),
        }
    }

    fn abort(&mut self, session: SessionId) -> Outcome {
        self.sessions.end(session).map_or(Outcome::Done, Outcome::Emptied)
    }

    /// Takes back what an ended session left. No record is written: without its commit it never counted.
    fn purge(&mut self, tessera: TesseraId, scene: &mut Scene<'_>) -> Result<Outcome, ActorError> {
        let Some(row) = self.view.tesseras.get(&tessera) else { return Ok(Outcome::Done) };
        if self.sessions.is_open(SessionId(row.session)) || (row.session == 0 && row.holdings > 0) {
            return Ok(Outcome::Stale);
        }
        let deposits = scene.extra.deposits.get(&tessera).map_or(&[][..], Vec::as_slice);
        for need in deposits {
            self.view.remove_deposit(need.account, need.fragment);
            scene.dropped.push(need.fragment);
        }
        match self.view.tesseras.get(&tessera) {
            Some(left) if left.holdings > 0 && self.knows_any(deposits) => return Ok(Outcome::More),
            // It would be tried again and again.
            Some(left) if left.holdings > 0 => {
                return Err(ActorError::damaged_index(format!("what is held of {tessera} is not there")));
            }
            // A replay found the last drop but not that the tessera was forgotten with it.
            Some(left) if left.session == 0 => self.forget(tessera, scene)?,
            _ => self.remove_tessera(tessera, scene),
        }
        Ok(Outcome::Done)
    }

    /// Whether one of these deposits was there when the batch began: an earlier purge may have taken it.
    fn knows_any(&self, deposits: &[Need]) -> bool {
        deposits.iter().any(|need| self.view.deposits.knows(&(need.account, need.fragment)))
    }

    fn suspect(&mut self, checksum: Checksum, place: Place) -> Outcome {
        match self.view.blobs.get(&checksum) {
            Some(row) if row.place == place => {
                if row.state == BlobState::Ok || row.refs == 0 {
                    self.view.suspect_blob(checksum);
                }
                Outcome::Done
            }
            _ => Outcome::Stale,
        }
    }

    /// What is known already is not noted again: it waits for its repair since it was found.
    fn seen(&mut self, document: DocumentKey, place: Place, suspect_at_ms: Option<i64>) -> Outcome {
        match self.view.documents.get(&document) {
            Some(row) if row.place != place => Outcome::Stale,
            Some(row) if row.suspect_at_ms.is_some() == suspect_at_ms.is_some() => Outcome::Held,
            Some(_) => {
                self.view.see_document(document, suspect_at_ms);
                Outcome::Done
            }
            None => Outcome::Stale,
        }
    }

    /// Writes the record of a document again.
    fn rescue_document(
        &mut self,
        document: DocumentKey,
        bytes: &Bytes,
        place: Place,
        scene: &mut Scene<'_>,
    ) -> Result<Outcome, ActorError> {
        let (tessera, kind, _) = document;
        let row = self.view.documents.get(&document).filter(|row| row.place == place);
        let (Some(_), Some(of)) = (row, self.view.tesseras.get(&tessera)) else { return Ok(Outcome::Stale) };
        let session = SessionId(of.session);
        let (_, place) =
            self.append(&Record::Document { session, tessera, kind, bytes: bytes.clone() }, scene)?;
        self.view.add_document(document, place, session, scene.now_ms);
        Ok(Outcome::Done)
    }

    /// Writes a ref again whose record is damaged: the log must be able to say all of it by itself.
    fn renew(
        &mut self,
        account: AccountId,
        id: FragmentId,
        was: DepositRow,
        scene: &mut Scene<'_>,
    ) -> Result<Outcome, ActorError> {
        let fragment = self.view.fragments.get(&id).filter(|_| self.governs((account, id), was));
        let Some(fragment) = fragment else { return Ok(Outcome::Stale) };
        let (session, checksum) = (SessionId::NONE, fragment.checksum);
        let length = self.view.blobs.get(&checksum).map_or(0, |row| row.place.len);
        let claim = Claim { session, account, fragment: id, checksum, length };
        let (seq, place) = self.append(&Record::Ref(claim), scene)?;
        self.view.renew_deposit(account, id, place.segment, seq);
        Ok(Outcome::Done)
    }

    /// Writes the commit of a session again, of which one ref counts and so all that it wrote of the tessera did.
    fn recommit(
        &mut self,
        session: SessionId,
        key: DepositKey,
        was: DepositRow,
        scene: &mut Scene<'_>,
    ) -> Result<Outcome, ActorError> {
        if !self.governs(key, was) {
            return Ok(Outcome::Stale);
        }
        self.append(&Record::Commit { session, tessera: key.1.tessera }, scene)?;
        Ok(Outcome::Done)
    }

    /// Whether a deposit counts, and because of this ref.
    fn governs(&self, key: DepositKey, was: DepositRow) -> bool {
        let counts = self.view.tesseras.get(&key.1.tessera).is_some_and(|row| row.session == 0);
        counts && self.view.deposits.get(&key) == Some(was)
    }

    fn scrub(&mut self, note: ScrubNote) -> Outcome {
        let was = self.view.scrub;
        self.view.scrub = match note {
            ScrubNote::Reached { segment, position, began_ms } => {
                ScrubRow { segment, position, began_ms, ..was }
            }
            ScrubNote::Verified { segment, at_ms } => {
                self.view.segment(segment, |row| row.verified_at_ms = Some(at_ms));
                ScrubRow { segment: 0, position: 0, began_ms: 0, ..was }
            }
            ScrubNote::LookedThrough { at_ms } => ScrubRow { index_at_ms: at_ms, ..was },
            ScrubNote::Start { before_ms } => ScrubRow { before_ms, paused_until_ms: 0, ..was },
            ScrubNote::Pause { until_ms } => ScrubRow { paused_until_ms: until_ms, ..was },
        };
        self.view.scrub_changed |= self.view.scrub != was;
        Outcome::Done
    }

    /// Appends bytes unless good ones are here.
    fn blob(
        &mut self,
        fragment: &Fragment,
        outboard: &Bytes,
        scene: &mut Scene<'_>,
    ) -> Result<Outcome, ActorError> {
        let checksum = fragment.checksum();
        if self.is_ok(&checksum) {
            return Ok(Outcome::Held);
        }
        let seq = self.sequence();
        let place = scene.tape.blob(seq, checksum, fragment.bytes())?;
        self.view.add_blob(checksum, place);
        if !outboard.is_empty() {
            self.view.outboards.insert(checksum, outboard.clone());
        }
        Ok(Outcome::Done)
    }

    fn add_ref(&mut self, claim: &Claim, scene: &mut Scene<'_>) -> Result<(), ActorError> {
        let (seq, place) = self.append(&Record::Ref(*claim), scene)?;
        self.view.add_deposit(claim, place.segment, seq, scene.now_ms);
        Ok(())
    }

    fn append(&mut self, record: &Record, scene: &mut Scene<'_>) -> Result<(u64, Place), ActorError> {
        let seq = self.sequence();
        Ok((seq, self.write(seq, record, scene)?))
    }

    fn write(&mut self, seq: u64, record: &Record, scene: &mut Scene<'_>) -> Result<Place, ActorError> {
        let place = scene.tape.record(seq, record)?;
        self.view.note_record(place.segment, record.kind(), seq, record_len(place.len as usize));
        Ok(place)
    }

    fn is_ok(&self, checksum: &Checksum) -> bool {
        self.view.blobs.get(checksum).is_some_and(|row| row.state == BlobState::Ok)
    }

    fn check_same(&self, id: FragmentId, checksum: Checksum) -> Result<(), ActorError> {
        match self.view.fragments.get(&id) {
            Some(row) if row.checksum != checksum => Err(ActorError::Conflict {
                what: format!(
                    "fragment {id} is here with checksum {}, not {checksum}: drop it first",
                    row.checksum
                ),
            }),
            _ => Ok(()),
        }
    }

    fn sequence(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }
}

fn blob_length(fragment: &Fragment) -> Result<u32, ActorError> {
    let length = fragment.bytes().len();
    u32::try_from(length).map_err(|_| {
        let limit = proto::limits::FRAGMENT_BYTES_MAX as u64;
        proto::ProtoError::TooLong { what: "fragment", length: length as u64, limit }.into()
    })
}

#[cfg(test)]
mod tests;

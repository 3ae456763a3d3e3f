//! Verifying a piece of a segment: what the device gives is held against the records' own hashes, and against what should
//! be there by the index. Who does it decides when, and how much.
//!
//! # Invariants
//! 1. It is the device that is asked, not the page cache: what lies in memory says nothing about the disk.
//! 2. What is found damaged is marked before whoever asked hears of it: blobs and documents as suspect, with a repair queued
//!    in the same transaction. Records of which all is known are written again: refs, from the index, with the commits of
//!    their sessions, and blobs and documents whose bytes are right. What was suspect and reads right waits no more.
//! 3. Bytes that are right at a place where the index has others mean that the index is wrong: it is made anew.
//! 4. Not mended: a drop. The index does not know what was dropped, so it could not say what to write. The segment is not
//!    given up as long as another may hold what the drop is about, and only an index that is made anew takes that for
//!    wanted again.

mod reading;

use std::{
    collections::HashSet,
    fs::File,
    future::Future,
    io,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::join_all;
use proto::{
    Checksum, Fragment, TesseraId,
    record::{DOCUMENT_FIELDS_BYTES, DocumentKind, SessionId},
};
use reading::{Lacking, Reading, Remains};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    background::Background,
    facts::{self, place},
    inventory::{self, ITEMS_MAX, Inventory, Item},
    ops::{Op, Outcome},
    readers::Readers,
    rows::{DocumentKey, Place, Seal, SegmentRow},
    segment::SegmentFiles,
};
use crate::{
    error::ActorError,
    metrics::{ReadReason, StorageMetrics},
};

/// A piece of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The segment.
    pub segment: u32,
    /// Where it begins, in bytes: where the last one ended, or 0.
    pub from: u64,
    /// At least so many bytes, if there are as many.
    pub bytes: u64,
    /// Segments that will be verified next, so that the index need not be asked for each of them.
    pub next: Vec<u32>,
}

/// What became of a piece.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Bytes read.
    pub bytes: u64,
    /// Where the next piece begins; `None` when the segment ends here, or is gone.
    pub reached: Option<u64>,
    /// Blobs that were good as far as anyone knew, and are damaged.
    pub blobs: u64,
    /// The tesserae of documents that were good as far as anyone knew, and are damaged; one for each document.
    pub documents: Vec<TesseraId>,
    /// Records that were damaged and of which all is known: written again.
    pub mended: u64,
}

/// What verifying works with. `submit` hands an operation to the writer.
pub(crate) struct Verifier<S> {
    pub(crate) index: Readers,
    pub(crate) files: SegmentFiles,
    pub(crate) background: Background,
    pub(crate) stock: Stock,
    pub(crate) metrics: StorageMetrics,
    pub(crate) submit: S,
}

/// The stock that was taken last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stock(Arc<Mutex<Arc<Inventory>>>);

impl<S, F> Verifier<S>
where
    S: Fn(Op) -> F + Send + Sync,
    F: Future<Output = Result<Outcome, ActorError>> + Send,
{
    /// Verifies a piece. Errors only when that could not be done, which says nothing about the bytes; with
    /// [`ActorError::Conflict`] while a session writes to the segment.
    pub(crate) async fn verify(&self, piece: Piece) -> Result<Verified, ActorError> {
        let Some(row) = self.row(piece.segment).await? else { return Ok(Verified::default()) };
        let Some(file) = self.open(piece.segment).await? else { return Ok(Verified::default()) };
        // What was said to be verified up to behind the end was not.
        let piece = Piece { from: if piece.from < row.bytes { piece.from } else { 0 }, ..piece };
        let (inventory, until) = self.stock(&piece).await?;
        let until = until.min(row.bytes).min(piece.from.saturating_add(piece.bytes));
        let (files, segment, from) = (self.files.clone(), piece.segment, piece.from);
        let reading = self.background.run(move || {
            let (items, known) = inventory.from(segment, from).unwrap_or((&[], u64::MAX));
            Reading::of(&files, file.as_ref(), row.bytes.min(known), from..until, items)
        });
        let reading = reading.await.ok_or_else(|| io::Error::other("a verification ended in a panic"))?;
        let reading = reading.map_err(ActorError::io(format!("cannot read segment {segment}")))?;
        self.metrics.reads(ReadReason::Scrub, reading.blobs, reading.blob_bytes);
        let mut verified = Verified {
            bytes: reading.reached - from,
            reached: (reading.reached < row.bytes).then_some(reading.reached),
            ..Verified::default()
        };
        for (item, lacking) in &reading.lacking {
            self.note(segment, item, *lacking, &mut verified).await?;
        }
        self.acquit(segment, from..reading.reached, &reading.lacking).await?;
        if reading.is_spoiled {
            self.renew(segment, reading.may_lack_commit, &mut verified).await?;
        }
        if verified.reached.is_none() && piece.next.is_empty() {
            self.stock.set(Arc::default());
        }
        Ok(verified)
    }

    /// The segment's row, if anything of it may count. Nothing more is appended to it.
    async fn row(&self, segment: u32) -> Result<Option<SegmentRow>, ActorError> {
        let row = async || self.index.now(async |index, _| facts::segment(index, segment).await).await;
        let mut found = row().await?;
        if found.is_some_and(|row| row.seal == Seal::Active) {
            if (self.submit)(Op::Seal { segment }).await? != Outcome::Done {
                let what = format!("segment {segment} is being written to: verify it later");
                return Err(ActorError::Conflict { what });
            }
            // What was known of it while it was written to is not all.
            self.stock.set(Arc::default());
            found = row().await?;
        }
        Ok(found.filter(|row| row.seal != Seal::Drained))
    }

    /// The segment's file: `None` when the segment is gone, and no file when only that is.
    async fn open(&self, segment: u32) -> Result<Option<Option<File>>, ActorError> {
        let files = self.files.clone();
        let opened = self.background.run(move || files.open_past_cache(segment)).await;
        match opened.ok_or_else(|| io::Error::other("opening a segment ended in a panic"))? {
            Ok(file) => Ok(Some(Some(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Compaction removes files of which nothing counts any more.
                Ok(self.row(segment).await?.map(|_| None))
            }
            Err(error) => Err(ActorError::io(format!("cannot open segment {segment}"))(error)),
        }
    }

    /// A stock that knows where the piece begins, and up to where it knows the segment.
    async fn stock(&self, piece: &Piece) -> Result<(Arc<Inventory>, u64), ActorError> {
        let last = self.stock.get();
        if let Some((_, until)) = last.from(piece.segment, piece.from) {
            return Ok((last, until));
        }
        // What is known now of a segment that is still written to would not be all when it is its turn.
        let rows = self.index.as_it_is(facts::segments).await?;
        let is_sealed = |id: &u32| rows.get(id).is_some_and(|row| row.seal == Seal::Sealed);
        let others = piece.next.iter().copied().filter(|id| *id != piece.segment && is_sealed(id));
        let segments = std::iter::once(piece.segment).chain(others).collect();
        let taken = Arc::new(Inventory::take(&self.index, segments, piece.from, ITEMS_MAX).await?);
        let until = taken.from(piece.segment, piece.from).map_or(u64::MAX, |(_, until)| until);
        self.stock.set(taken.clone());
        Ok((taken, until))
    }

    /// Something is not where it should be. If the index still says that it should, that is noted.
    async fn note(
        &self,
        segment: u32,
        item: &Item,
        lacking: Lacking,
        verified: &mut Verified,
    ) -> Result<(), ActorError> {
        let position = item.position();
        let is_there = |place: &Place| (place.segment, place.position) == (segment, position);
        let blobs = self.index.as_it_is(async |index| blobs_like(index, item.key).await).await?;
        let documents = async |index: &mut _| documents_at(index, segment, position).await;
        let documents = self.index.as_it_is(documents).await?;
        let document = documents.into_iter().find(|((.., hash), _)| inventory::key(hash) == item.key);
        let blob = blobs.into_iter().find(|(_, place)| is_there(place));
        if lacking == Lacking::Elsewhere && (blob.is_some() || document.is_some()) {
            let reason = format!("segment {segment} has something else at {position} than the index says");
            return Err(ActorError::damaged_index(reason));
        }
        if let Some((checksum, place)) = blob {
            self.note_blob(checksum, place, verified).await?;
        }
        if let Some((document, place)) = document {
            self.note_document(document, place, verified).await?;
        }
        Ok(())
    }

    /// As [`Self::note_blob`], of a document.
    async fn note_document(
        &self,
        document: DocumentKey,
        place: Place,
        verified: &mut Verified,
    ) -> Result<(), ActorError> {
        let ((tessera, kind, hash), Place { segment, position, .. }) = (document, place);
        let files = self.files.clone();
        let bytes = self.background.run(move || reading::payload(&files, &place)).await.flatten();
        let bytes = bytes.filter(|bytes| bytes.len() >= DOCUMENT_FIELDS_BYTES);
        let bytes = bytes.map(|bytes| bytes.slice(DOCUMENT_FIELDS_BYTES..));
        if let Some(bytes) = bytes.filter(|bytes| Checksum::of(bytes) == hash) {
            match (self.submit)(Op::RescueDocument { document, bytes, place }).await {
                Ok(Outcome::Done) => {
                    verified.mended += 1;
                    tracing::warn!(%tessera, ?kind, segment, position, "the record of a right document was damaged: written again");
                    return Ok(());
                }
                Ok(_) => return Ok(()),
                // It is read as long as it is there, but would be gone from an index that is made anew.
                Err(error @ ActorError::InsufficientStorage { .. }) => {
                    tracing::warn!(%tessera, ?kind, %error, "the record of a right document is damaged and has to stay");
                }
                Err(error) => return Err(error),
            }
        }
        if (self.submit)(Op::Seen { document, place, is_right: false }).await? == Outcome::Done {
            verified.documents.push(tessera);
            tracing::error!(%tessera, ?kind, segment, position, "a document is damaged: restore it from another copy");
        }
        Ok(())
    }

    /// What was found damaged and has been read now: a disk may give again what it did not, and a file may have been put
    /// back.
    async fn acquit(
        &self,
        segment: u32,
        read: Range<u64>,
        lacking: &[(Item, Lacking)],
    ) -> Result<(), ActorError> {
        let suspects = async |index: &mut SqliteConnection, _| {
            Ok((suspects_in(index, segment).await?, suspect_blobs_in(index, segment).await?))
        };
        let (documents, blobs) = self.index.now(suspects).await?;
        for (checksum, place) in blobs {
            if read.contains(&place.position) {
                self.rescue(checksum, place).await?;
            }
        }
        for (document, place) in documents {
            let is_right = !lacking.iter().any(|(item, _)| item.position() == place.position);
            if read.contains(&place.position)
                && is_right
                && (self.submit)(Op::Seen { document, place, is_right }).await? == Outcome::Done
            {
                tracing::info!(tessera = %document.0, segment, "a document that was damaged can be read again");
            }
        }
        Ok(())
    }

    /// Writes the bytes of a suspect blob again, if they are right now.
    async fn rescue(&self, checksum: Checksum, place: Place) -> Result<(), ActorError> {
        let files = self.files.clone();
        let bytes = self.background.run(move || reading::payload(&files, &place)).await.flatten();
        let Some(fragment) = bytes.and_then(|bytes| Fragment::check(checksum, bytes).ok()) else {
            return Ok(());
        };
        match (self.submit)(Op::Rescue { fragment, place }).await {
            Ok(Outcome::Done) => {
                tracing::info!(%checksum, segment = place.segment, "bytes that were damaged can be read again");
                Ok(())
            }
            Ok(_) | Err(ActorError::InsufficientStorage { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A blob's record is damaged. Its bytes may be right all the same: then another record is written of them.
    async fn note_blob(
        &self,
        checksum: Checksum,
        place: Place,
        verified: &mut Verified,
    ) -> Result<(), ActorError> {
        let Place { segment, position, .. } = place;
        let files = self.files.clone();
        let bytes = self.background.run(move || reading::payload(&files, &place)).await.flatten();
        let right = bytes.and_then(|bytes| Fragment::check(checksum, bytes).ok());
        if let Some(fragment) = right {
            match (self.submit)(Op::Rescue { fragment, place }).await {
                Ok(Outcome::Done) => {
                    verified.mended += 1;
                    tracing::warn!(%checksum, segment, position, "the record of right bytes was damaged: written again");
                }
                Ok(_) => {}
                // They are served as long as they are there.
                Err(error @ ActorError::InsufficientStorage { .. }) => {
                    tracing::warn!(%checksum, %error, "the record of right bytes is damaged and has to stay");
                }
                Err(error) => return Err(error),
            }
        } else if (self.submit)(Op::Suspect { checksum, place }).await? == Outcome::Done {
            verified.blobs += 1;
            tracing::error!(%checksum, segment, position, "stored bytes are damaged");
        }
        Ok(())
    }

    /// Writes the refs again that the index knows in this segment and that it does not hold any more; and, if they may be
    /// lacking, the commits of the sessions that wrote the others. Refs come before their commit, so those may be in the
    /// segment before.
    async fn renew(
        &self,
        segment: u32,
        may_lack_commit: bool,
        verified: &mut Verified,
    ) -> Result<(), ActorError> {
        let (mut committed, mended) = (HashSet::new(), verified.mended);
        self.renew_in(segment, may_lack_commit, &mut committed, verified).await?;
        let ids = self.index.as_it_is(facts::segments).await?;
        let before = ids.into_keys().filter(|id| *id < segment && may_lack_commit).max();
        if let Some(before) = before {
            self.renew_in(before, may_lack_commit, &mut committed, verified).await?;
        }
        let renewed = verified.mended - mended;
        if renewed > 0 {
            tracing::warn!(segment, renewed, "records of who wants what were damaged: written again");
        }
        Ok(())
    }

    async fn renew_in(
        &self,
        segment: u32,
        may_lack_commit: bool,
        committed: &mut HashSet<SessionId>,
        verified: &mut Verified,
    ) -> Result<(), ActorError> {
        let files = self.files.clone();
        let there = self.background.run(move || Remains::of(&files, segment)).await;
        let there = there.ok_or_else(|| io::Error::other("a verification ended in a panic"))?;
        let there = there.map_err(ActorError::io(format!("cannot read segment {segment}")))?;
        // Whoever sets the pace has to know of it.
        verified.bytes += there.bytes;
        committed.insert(SessionId::NONE);
        committed.extend(there.committed);
        let counts = |session: &SessionId| !may_lack_commit || committed.contains(session);
        let (mut behind, mut recommitted) = (None, HashSet::new());
        loop {
            let page = async |index: &mut _| {
                facts::deposits_in(index, segment, behind.as_ref(), DEPOSITS_PER_PAGE).await
            };
            let page = self.index.as_it_is(page).await?;
            let Some(last) = page.last() else { break };
            behind = Some(last.0);
            let lost: Vec<_> =
                page.iter().filter(|(_, was)| !there.refs.get(&was.seq).is_some_and(counts)).collect();
            // First what all of a session needs: its refs do not lead here any more once they are written again.
            for ((account, id), was) in &lost {
                if let Some(session) = there.refs.get(&was.seq).copied()
                    && recommitted.insert(session)
                {
                    let op = Op::Recommit { session, account: *account, id: *id, was: *was };
                    verified.mended += u64::from((self.submit)(op).await? == Outcome::Done);
                }
            }
            let ops =
                lost.iter().map(|((account, id), was)| Op::Renew { account: *account, id: *id, was: *was });
            for outcome in join_all(ops.map(&self.submit)).await {
                verified.mended += u64::from(outcome? == Outcome::Done);
            }
        }
        Ok(())
    }
}

impl Stock {
    fn get(&self) -> Arc<Inventory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, taken: Arc<Inventory>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = taken;
    }
}

/// The good blobs whose checksums begin like this, and where they should be.
async fn blobs_like(
    index: &mut SqliteConnection,
    key: [u8; 8],
) -> Result<Vec<(Checksum, Place)>, ActorError> {
    let after = [&key[..], &[0xff; 25]].concat();
    let sql = "SELECT checksum, segment, position, len FROM blobs \
               WHERE checksum >= ? AND checksum < ? AND state = 0";
    let rows = sqlx::query(sql).bind(key.as_slice()).bind(after).fetch_all(index).await?;
    rows.iter().map(|row| Ok((Checksum::try_from(row.try_get::<&[u8], _>(0)?)?, place(row, 1)?))).collect()
}

/// The documents that should be at a place.
async fn documents_at(
    index: &mut SqliteConnection,
    segment: u32,
    position: u64,
) -> Result<Vec<(DocumentKey, Place)>, ActorError> {
    let sql = "SELECT tessera, kind, hash, segment, position, len FROM documents \
               WHERE segment = ? AND position = ?";
    documents(&sqlx::query(sql).bind(segment).bind(position.cast_signed()).fetch_all(index).await?)
}

/// The documents of a segment that were found damaged.
async fn suspects_in(
    index: &mut SqliteConnection,
    segment: u32,
) -> Result<Vec<(DocumentKey, Place)>, ActorError> {
    let sql = "SELECT tessera, kind, hash, segment, position, len FROM documents INDEXED BY documents_suspect \
               WHERE suspect_at IS NOT NULL AND segment = ?";
    documents(&sqlx::query(sql).bind(segment).fetch_all(index).await?)
}

/// The blobs of a segment that were found damaged.
async fn suspect_blobs_in(
    index: &mut SqliteConnection,
    segment: u32,
) -> Result<Vec<(Checksum, Place)>, ActorError> {
    let sql = "SELECT b.checksum, b.segment, b.position, b.len FROM jobs j CROSS JOIN blobs b USING (checksum) \
               WHERE b.segment = ? AND b.state = 1";
    let rows = sqlx::query(sql).bind(segment).fetch_all(index).await?;
    rows.iter().map(|row| Ok((Checksum::try_from(row.try_get::<&[u8], _>(0)?)?, place(row, 1)?))).collect()
}

fn documents(rows: &[SqliteRow]) -> Result<Vec<(DocumentKey, Place)>, ActorError> {
    let document = |row: &SqliteRow| -> Result<_, ActorError> {
        let tessera = TesseraId::try_from(row.try_get::<&[u8], _>(0)?)?;
        let Some(kind) = DocumentKind::from_code(row.try_get(1)?) else { return Ok(None) };
        Ok(Some(((tessera, kind, Checksum::try_from(row.try_get::<&[u8], _>(2)?)?), place(row, 3)?)))
    };
    rows.iter().filter_map(|row| document(row).transpose()).collect()
}

/// Looked at with one question.
const DEPOSITS_PER_PAGE: u32 = 256;

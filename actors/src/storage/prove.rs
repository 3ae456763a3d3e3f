//! Proving that bytes are here, a group of 16 KiB at a time, without reading more than that.
//!
//! # Invariants
//! 1. What leaves was held against the checksum, as whoever receives it does: a group or a row that is wrong is found here.
//! 2. Of bytes whose chaining values are at hand only the group is read. Else all of them are, once: then their values are
//!    kept.
//! 3. Bytes that turn out to be wrong are marked, and their repair queued, before whoever asked hears of it.

use bytes::Bytes;
use proto::{
    Checksum, Fragment, ProtoError, TesseraId,
    limits::PROOF_GROUP_BYTES,
    proof::{self, Outboard},
};
use sqlx::{Row, SqliteConnection};

use super::{
    facts::place,
    locations::Location,
    lookup::Lookup,
    message::StorageMsg,
    ops::{Op, Outcome},
    read::Unread,
    readers::Pending,
    rows::{BlobRow, BlobState},
    writer::Notice,
};
use crate::{error::ActorError, metrics::ReadReason};

/// A proof that a node has a group of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Length of all the bytes.
    pub fragment_len: u32,
    /// What leads from the checksum to the group, and the group: see [`proto::proof`].
    pub slice: Bytes,
}

/// The chaining values that are to be kept of these bytes: none for one group.
pub(super) async fn outboard(fragment: &Fragment) -> Bytes {
    if let Some(outboard) = fragment.outboard() {
        return outboard.bytes().clone();
    }
    let bytes = fragment.bytes().clone();
    let length = bytes.len();
    let make = move || Outboard::of(&bytes).bytes().clone();
    if length <= INLINE_BYTES_MAX {
        return make();
    }
    // Without them the first proof makes them.
    tokio::task::spawn_blocking(make).await.unwrap_or_default()
}

impl Lookup {
    /// Proves a group of the bytes with this checksum.
    ///
    /// Errors with [`ActorError::NotFound`] when nobody here wants such bytes or they have no such group, and with
    /// [`ActorError::CorruptBlob`] when they are damaged.
    pub(super) async fn prove(&self, checksum: Checksum, group: u32) -> Result<Proof, ActorError> {
        let mut before = None;
        loop {
            let (location, outboard) = self.blob(checksum).await?;
            let fragment_len = location.place.len;
            if proof::group_len(fragment_len, group).is_none() {
                return Err(ActorError::not_found(format!("group {group} of {checksum}")));
            }
            match self.slice(&location, outboard, group).await {
                Ok(slice) => return Ok(Proof { fragment_len, slice }),
                Err(Unread::Failed(error)) => return Err(error),
                // Moved by a compaction, unless the index says the same once more.
                Err(Unread::Gone) if before != Some(location) => {}
                Err(wrong) => {
                    if self.doubt_blob(&location, &wrong).await {
                        return Err(ActorError::CorruptBlob { checksum });
                    }
                }
            }
            before = Some(location);
        }
    }

    /// Where good bytes are, and their chaining values if they are at hand.
    async fn blob(&self, checksum: Checksum) -> Result<(Location, Option<Bytes>), ActorError> {
        let found = self.index.now(async |index, pending| find(index, pending, checksum).await).await?;
        let wanted = found.filter(|(row, _)| row.refs > 0);
        let (row, outboard) =
            wanted.ok_or_else(|| ActorError::not_found(format!("the bytes of {checksum}")))?;
        match row.state {
            BlobState::Ok => Ok((Location { checksum, place: row.place }, outboard)),
            BlobState::Suspect | BlobState::Missing => Err(ActorError::CorruptBlob { checksum }),
        }
    }

    async fn slice(&self, location: &Location, outboard: Option<Bytes>, group: u32) -> Result<Bytes, Unread> {
        if let Some(outboard) = outboard {
            match self.slice_with(location, outboard, group).await {
                // The bytes, or only their chaining values: that shows when all of them are read.
                Err(Unread::Wrong) => {}
                sliced => return sliced,
            }
        }
        let fragment = self.reader.fragment_for(location, ReadReason::Prove).await?;
        let bytes = fragment.into_bytes();
        let (outboard, slice) = tokio::task::spawn_blocking(move || {
            let outboard = Outboard::of(&bytes);
            let slice = whole(&outboard, &bytes, group);
            (outboard, slice)
        })
        .await
        .map_err(|error| Unread::Failed(std::io::Error::other(error).into()))?;
        if !outboard.bytes().is_empty() {
            let op = Op::Outboard { checksum: location.checksum, values: outboard.bytes().clone() };
            self.note(op).await;
        }
        slice.map_err(|error| Unread::Failed(error.into()))
    }

    /// Reads the group only.
    async fn slice_with(&self, location: &Location, outboard: Bytes, group: u32) -> Result<Bytes, Unread> {
        let Location { checksum, place } = *location;
        let length = proof::group_len(place.len, group).unwrap_or_default();
        let from = u64::from(group) * PROOF_GROUP_BYTES as u64;
        let bytes = self.reader.part(&place, from, length as usize, ReadReason::Prove).await?;
        let slice = Outboard::parse(outboard).and_then(|outboard| outboard.slice(place.len, group, &bytes));
        let slice = slice.map_err(|_| Unread::Wrong)?;
        proof::verify(checksum, place.len, group, &slice).map_err(|_| Unread::Wrong)?;
        Ok(slice)
    }

    /// As for a fragment: marks the bytes before anyone is told. `false` when the index no longer names this place.
    async fn doubt_blob(&self, location: &Location, wrong: &Unread) -> bool {
        let (checksum, place) = (location.checksum, location.place);
        let misled = self.is_misled(FIRST..=LAST, wrong, &place).await;
        if self.note(Op::Suspect { checksum, place }).await == Some(Outcome::Stale) {
            return false;
        }
        self.doubts.add(place.segment);
        let (segment, position) = (place.segment, place.position);
        tracing::error!(%checksum, segment, position, "stored bytes are damaged: they could not be proven");
        if misled {
            let reason = format!("segment {segment} has no blob {checksum} at {position}");
            self.tell(StorageMsg::Notice(Notice::IndexDamaged(reason)));
        }
        true
    }
}

/// The slice of a group, of all bytes.
fn whole(outboard: &Outboard, bytes: &Bytes, group: u32) -> Result<Bytes, ProtoError> {
    let of_group = bytes.chunks(PROOF_GROUP_BYTES).nth(group as usize).unwrap_or_default();
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    outboard.slice(length, group, of_group)
}

/// Some bytes, and their chaining values unless they are unknown; those of one group need none.
async fn find(
    index: &mut SqliteConnection,
    pending: Pending,
    checksum: Checksum,
) -> Result<Option<(BlobRow, Option<Bytes>)>, ActorError> {
    let row = sqlx::query(FIND).bind(checksum.as_bytes().as_slice()).fetch_optional(index).await?;
    let mut kept = None;
    let mut found = None;
    if let Some(row) = row {
        let (refs, state) = (row.try_get(3)?, BlobState::from_code(row.try_get(4)?));
        found = Some(BlobRow { place: place(&row, 0)?, refs, state });
        kept = row.try_get::<Option<&[u8]>, _>(5)?.map(Bytes::copy_from_slice);
    }
    let kept = pending.outboard(&checksum).or(kept);
    let found = pending.blob(&checksum).unwrap_or(found);
    Ok(found.map(|blob| {
        let is_one_group = blob.place.len as usize <= PROOF_GROUP_BYTES;
        (blob, if is_one_group { None } else { kept })
    }))
}

/// Hashed at once up to this length: 256 KiB take about 50 µs.
const INLINE_BYTES_MAX: usize = 256 << 10;
const FIRST: TesseraId = TesseraId::from_bytes([0; 32]);
const LAST: TesseraId = TesseraId::from_bytes([0xff; 32]);
const FIND: &str = "SELECT b.segment, b.position, b.len, b.refs, b.state, o.chaining \
     FROM blobs b LEFT JOIN outboards o ON o.checksum = b.checksum WHERE b.checksum = ?";

#[cfg(test)]
mod tests;

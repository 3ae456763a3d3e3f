//! What is kept beside the values of a row, so that a flipped bit in it shows.

use proto::{Checksum, FragmentId, TesseraId, compare::entry};

pub(crate) use proto::compare::Digest;

use super::rows::{DocumentKey, LogEnd, ScrubRow, SegmentRow, TesseraRow};

/// What is kept beside a fragment's checksum, so that a flipped bit in either or in the id shows. The tessera is the
/// key of the hash: what is left to be hashed is one block.
pub(crate) fn seal(id: &FragmentId, checksum: &Checksum) -> i64 {
    first_of(&blake3::keyed_hash(id.tessera.as_bytes(), &entry(id, checksum)))
}

/// What is kept in a tessera's row, for the same reason.
pub(crate) fn seal_of_tessera(tessera: TesseraId, row: &TesseraRow) -> i64 {
    let mut bytes = [0; 20];
    let (session, rest) = bytes.split_at_mut(8);
    let (holdings, documents) = rest.split_at_mut(4);
    session.copy_from_slice(&row.session.to_le_bytes());
    holdings.copy_from_slice(&row.holdings.to_le_bytes());
    documents.copy_from_slice(&row.documents.to_le_bytes());
    first_of(&blake3::keyed_hash(tessera.as_bytes(), &bytes))
}

/// What a document adds to its tessera's row, so that one that has gone astray is missed.
pub(crate) fn seal_of_document((tessera, kind, hash): &DocumentKey) -> u64 {
    let mut bytes = [kind.code(); 33];
    let (sum, _kind) = bytes.split_at_mut(32);
    sum.copy_from_slice(hash.as_bytes());
    first_of(&blake3::keyed_hash(tessera.as_bytes(), &bytes)).cast_unsigned()
}

/// What is kept in a segment's row: what it says decides which drops and which files go. Without its times, which are
/// restored from a snapshot.
pub(crate) fn seal_of_segment(id: u32, row: &SegmentRow) -> i64 {
    seal_of_numbers([
        id.into(),
        row.bytes,
        row.live_bytes,
        row.min_seq,
        row.drop_bytes,
        row.drop_seq,
        row.seal.code().cast_unsigned(),
        row.ref_seqs,
    ])
}

/// What is kept beside where the log ends.
pub(crate) fn seal_of_log(end: &LogEnd) -> i64 {
    let LogEnd { watermark, next_seq, clean } = *end;
    seal_of_numbers([watermark.segment.into(), watermark.position, next_seq, clean.into()])
}

/// What is kept beside how far scrubbing has come.
pub(crate) fn seal_of_scrub(row: &ScrubRow) -> i64 {
    let ScrubRow { segment, position, began_ms, before_ms, paused_until_ms, index_at_ms } = *row;
    let times = [before_ms, paused_until_ms, index_at_ms, began_ms].map(i64::cast_unsigned);
    let [before, paused_until, index_at, began] = times;
    seal_of_numbers([segment.into(), position, before, paused_until, index_at, began])
}

fn seal_of_numbers<const N: usize>(numbers: [u64; N]) -> i64 {
    first_of(&blake3::hash(numbers.map(u64::to_le_bytes).as_flattened()))
}

fn first_of(hash: &blake3::Hash) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    i64::from_le_bytes([a, b, c, d, e, f, g, h])
}

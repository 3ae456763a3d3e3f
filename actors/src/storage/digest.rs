//! The digest of a set of fragments: the sum modulo 2²⁵⁶ of BLAKE3(stripe, index, checksum), little-endian. Order
//! does not matter and a drop subtracts. It detects a difference; it proves nothing.

use proto::{Checksum, FragmentId, TesseraId};

use super::rows::{DocumentKey, LogEnd, ScrubRow, SegmentRow, TesseraRow};

/// What is kept beside a fragment's checksum, so that a flipped bit in either or in the id shows. The tessera is the
/// key of the hash: what is left to be hashed is one block.
pub(crate) fn seal(id: &FragmentId, checksum: &Checksum) -> i64 {
    first_of(&blake3::keyed_hash(id.tessera.as_bytes(), &place_and_checksum(id, checksum)))
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

/// At once: a hasher that is fed piece by piece takes several times as long for so few bytes.
fn place_and_checksum(id: &FragmentId, checksum: &Checksum) -> [u8; 38] {
    let mut bytes = [0; 38];
    let (stripe, rest) = bytes.split_at_mut(4);
    let (index, sum) = rest.split_at_mut(2);
    stripe.copy_from_slice(&id.stripe.to_le_bytes());
    index.copy_from_slice(&id.index.to_le_bytes());
    sum.copy_from_slice(checksum.as_bytes());
    bytes
}

/// A sum modulo 2²⁵⁶ as four little-endian words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Digest([u64; 4]);

impl Digest {
    /// The digest of one fragment.
    pub(crate) fn of(id: &FragmentId, checksum: &Checksum) -> Self {
        Self::from_bytes(blake3::hash(&place_and_checksum(id, checksum)).as_bytes())
    }

    /// With another set added.
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        self.combine(other, u64::overflowing_add)
    }

    /// With another set taken away.
    #[must_use]
    pub(crate) fn minus(self, other: Self) -> Self {
        self.combine(other, u64::overflowing_sub)
    }

    /// The 32 bytes kept in the index.
    pub(crate) fn to_bytes(self) -> [u8; 32] {
        let mut out = [0; 32];
        for (target, word) in out.chunks_exact_mut(8).zip(self.0) {
            target.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// From the 32 bytes kept in the index.
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut words = [0; 4];
        for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        Self(words)
    }

    fn combine(self, other: Self, step: fn(u64, u64) -> (u64, bool)) -> Self {
        let mut out = [0; 4];
        let mut carry = false;
        for ((target, a), b) in out.iter_mut().zip(self.0).zip(other.0) {
            let (sum, first) = step(a, b);
            let (sum, second) = step(sum, u64::from(carry));
            (*target, carry) = (sum, first || second);
        }
        Self(out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digest_carries_and_borrows_through_all_words() {
        let one = Digest([1, 0, 0, 0]);
        let all = Digest([u64::MAX; 4]);
        assert_eq!(all.plus(one), Digest::default());
        assert_eq!(Digest::default().minus(one), all);
    }

    proptest! {
        #[test]
        fn digest_forgets_the_order_and_undoes_a_drop(a: [u64; 4], b: [u64; 4]) {
            let (a, b) = (Digest(a), Digest(b));
            prop_assert_eq!(a.plus(b), b.plus(a));
            prop_assert_eq!(a.plus(b).minus(b), a);
            prop_assert_eq!(Digest::from_bytes(&a.to_bytes()), a);
        }
    }
}

//! How two nodes find where their records differ without sending them: digests of sets of fragments, and sums of
//! digests. Order does not matter, what is put adds, what is dropped subtracts. They detect a difference; they prove
//! nothing.
//!
//! - The [`Digest`] of what is held of a tessera: the sum modulo 2²⁵⁶ of BLAKE3(stripe ‖ index ‖ checksum).
//! - The [`Sum`] of a tessera: the first 8 bytes of BLAKE3, keyed with its id, of the digest, modulo 2⁶²; 0 if the digest
//!   is. The sum of several tesserae is that of theirs modulo 2⁶², which an index adds up in 64 signed bits without an
//!   overflow.
//!
//! A comparison goes down only where sums differ: 256 sums by the first byte of the tessera id, 256 by the second
//! under one first byte, then the tesserae under both with their digests, then the fragments of one tessera. A tessera
//! of which nothing is held is not listed. Whoever has no records to compare asks for all tesserae.

use crate::{
    fragment::FragmentId,
    ids::{Checksum, TesseraId},
};

/// Length of what stands for one fragment in a hash, in bytes.
pub const ENTRY_BYTES: usize = 38;

/// What stands for one fragment of a tessera in a hash: stripe (4 bytes), index (2), both little-endian, checksum (32).
/// In one piece: a hasher that is fed piece by piece takes several times as long for so few bytes.
pub fn entry(id: &FragmentId, checksum: &Checksum) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0; ENTRY_BYTES];
    let (stripe, rest) = bytes.split_at_mut(size_of::<u32>());
    let (index, sum) = rest.split_at_mut(size_of::<u16>());
    stripe.copy_from_slice(&id.stripe.to_le_bytes());
    index.copy_from_slice(&id.index.to_le_bytes());
    sum.copy_from_slice(checksum.as_bytes());
    bytes
}

/// What is held of one tessera: a sum modulo 2²⁵⁶, as four little-endian words. That of nothing is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Digest([u64; 4]);

impl Digest {
    /// The digest of one fragment.
    pub fn of(id: &FragmentId, checksum: &Checksum) -> Self {
        Self::from_bytes(blake3::hash(&entry(id, checksum)).as_bytes())
    }

    /// With another set added.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.combine(other, u64::overflowing_add)
    }

    /// With another set taken away.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.combine(other, u64::overflowing_sub)
    }

    /// The 32 bytes, little-endian, that are kept and sent.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut out = [0; 32];
        for (target, word) in out.chunks_exact_mut(8).zip(self.0) {
            target.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// From the 32 bytes that are kept and sent.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
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

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self::from_bytes(&bytes)
    }
}

/// What is held of a set of tesserae, in 62 bits. That of nothing is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sum(u64);

impl Sum {
    /// The bits that count: two sums below this added up still fit 63 bits.
    pub const MASK: u64 = (1 << 62) - 1;

    /// The sum of one tessera, of which this is held; zero if that is nothing.
    pub fn of(tessera: TesseraId, digest: &Digest) -> Self {
        if *digest == Digest::default() {
            return Self::default();
        }
        let [a, b, c, d, e, f, g, h, ..] =
            *blake3::keyed_hash(tessera.as_bytes(), &digest.to_bytes()).as_bytes();
        Self::wrapped(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }

    /// This number modulo 2⁶².
    pub const fn wrapped(number: u64) -> Self {
        Self(number & Self::MASK)
    }

    /// The number, below 2⁶².
    pub const fn get(self) -> u64 {
        self.0
    }

    /// With other tesserae added.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self::wrapped(self.0.wrapping_add(other.0))
    }

    /// With some tesserae taken away.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self::wrapped(self.0.wrapping_sub(other.0))
    }
}

/// What is compared: each level asks for a part of what differed in the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Question {
    /// The sums by the first byte of the tessera id.
    All,
    /// The sums by the second byte of the tessera ids whose first byte this is.
    Under(u8),
    /// The tesserae whose ids begin with these two bytes, ascending, with their digests.
    Pair {
        /// The two bytes.
        prefix: [u8; 2],
        /// Continue behind this one, which begins with `prefix` too; `None` for the first page.
        after: Option<TesseraId>,
    },
    /// All tesserae, ascending, with their digests.
    Tesserae {
        /// Continue behind this one; `None` for the first page.
        after: Option<TesseraId>,
    },
    /// The fragments of one tessera, ascending by stripe and index, with their checksums.
    Tessera {
        /// The tessera.
        tessera: TesseraId,
        /// The first stripe and index that are wanted, whether or not they are held; (0, 0) for the first page.
        from: (u32, u16),
    },
}

impl Question {
    /// The first and last tessera id that belong to the answer.
    pub fn tesserae(&self) -> (TesseraId, TesseraId) {
        match self {
            Self::All | Self::Tesserae { .. } => under(&[]),
            Self::Under(first) => under(&[*first]),
            Self::Pair { prefix, .. } => under(prefix),
            Self::Tessera { tessera, .. } => (*tessera, *tessera),
        }
    }

    /// The questions of the next level, for the sums of this one that differ: one for each byte in `differing`. None
    /// where this level has no sums.
    pub fn below(&self, differing: impl IntoIterator<Item = u8>) -> Vec<Self> {
        let narrowed = |byte| match self {
            Self::All => Some(Self::Under(byte)),
            Self::Under(first) => Some(Self::Pair { prefix: [*first, byte], after: None }),
            Self::Pair { .. } | Self::Tesserae { .. } | Self::Tessera { .. } => None,
        };
        differing.into_iter().filter_map(narrowed).collect()
    }
}

/// The lowest and the highest id that begin with these bytes.
fn under(prefix: &[u8]) -> (TesseraId, TesseraId) {
    let filled = |rest: u8| {
        let mut id = [rest; 32];
        id.iter_mut().zip(prefix).for_each(|(to, from)| *to = *from);
        TesseraId::from_bytes(id)
    };
    (filled(0x00), filled(0xff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_carries_and_borrows_through_all_words() {
        let one = Digest([1, 0, 0, 0]);
        let all = Digest([u64::MAX; 4]);
        assert_eq!(all.plus(one), Digest::default());
        assert_eq!(Digest::default().minus(one), all);
    }

    #[test]
    fn digest_is_the_hash_of_place_and_checksum() {
        let id = FragmentId { tessera: TesseraId::from_bytes([9; 32]), stripe: 0x0403_0201, index: 0x0605 };
        let mut hashed = vec![1, 2, 3, 4, 5, 6];
        hashed.extend_from_slice(&[7; 32]);
        let digest = Digest::of(&id, &Checksum::from_bytes([7; 32]));
        assert_eq!(digest.to_bytes(), *blake3::hash(&hashed).as_bytes());
    }

    #[test]
    fn sum_wraps_at_62_bits() {
        let (one, all) = (Sum(1), Sum(Sum::MASK));
        assert_eq!(all.plus(one), Sum::default());
        assert_eq!(Sum::default().minus(one), all);
        assert_eq!(Sum::wrapped(u64::MAX), all);
        assert!(i64::try_from(Sum::MASK + Sum::MASK).is_ok());
    }

    #[test]
    fn sum_of_nothing_is_zero() {
        assert_eq!(Sum::of(TesseraId::from_bytes([1; 32]), &Digest::default()), Sum::default());
    }

    #[test]
    fn sum_depends_on_the_tessera_and_on_all_of_the_digest() {
        let sum = |tessera: u8, digest: &Digest| Sum::of(TesseraId::from_bytes([tessera; 32]), digest);
        let digest = Digest([1, 2, 3, 4]);
        let hash = blake3::keyed_hash(&[1; 32], &digest.to_bytes());
        let first = u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap());
        assert_eq!(sum(1, &digest).get(), first & 0x3fff_ffff_ffff_ffff);
        assert_ne!(sum(1, &digest), sum(2, &digest));
        for word in 0..4 {
            let mut other = digest;
            other.0[word] ^= 1 << 63;
            assert_ne!(sum(1, &digest), sum(1, &other), "{word}");
        }
    }

    #[test]
    fn question_goes_down_where_sums_differ() {
        assert_eq!(Question::All.below([0, 255]), [Question::Under(0), Question::Under(255)]);
        let pair = Question::Pair { prefix: [7, 1], after: None };
        assert_eq!(Question::Under(7).below([1]), [pair]);
        assert_eq!(pair.below([1]), []);
    }

    #[test]
    fn question_knows_the_tesserae_it_is_about() {
        let check = |question: Question, first: &str, last: &str| {
            let shown = |id: TesseraId| Checksum::from_bytes(*id.as_bytes()).to_string();
            let (low, high) = question.tesserae();
            assert!(shown(low).starts_with(first) && shown(high).starts_with(last), "{question:?}");
        };
        check(Question::All, "0000", "ffffffff");
        check(Question::Under(0xab), "ab0000", "abffff");
        check(Question::Pair { prefix: [0xab, 0xcd], after: None }, "abcd00", "abcdff");
        check(Question::Tesserae { after: None }, "0000", "ffffffff");
        let tessera = TesseraId::from_bytes([5; 32]);
        assert_eq!(Question::Tessera { tessera, from: (0, 0) }.tesserae(), (tessera, tessera));
    }
}

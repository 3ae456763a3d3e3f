//! Proof that a node has the bytes of a fragment, for one group of 16 KiB at a time: the group, and what leads from it
//! to the fragment's checksum in the hash tree that BLAKE3 is.
//!
//! Groups are those of 16 chunks of 1 KiB; the last one may be shorter. Left of each inner node is the largest power of
//! two of groups that leaves at least one to the right (BLAKE3 paper §2.1), so the tree above the groups follows from
//! their number. A *slice* is that of bao with groups of 16 KiB, without the length in front: the two chaining values
//! below each node from the root down to the group, left ‖ right, then the bytes of the group. A fragment of one group
//! has no nodes above it: its slice is its bytes.
//!
//! The *outboard* of a fragment is what a holder keeps so that it reads 16 KiB for a proof and not the whole fragment:
//! the chaining value of each group. A fragment of one group needs none.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    error::ProtoError,
    ids::Checksum,
    limits::{
        CHECKSUM_BYTES, FRAGMENT_BYTES_MAX, OUTBOARD_BYTES_MAX, PROOF_GROUP_BYTES, PROOF_GROUPS_MAX,
        PROOF_SLICE_BYTES_MAX,
    },
};

/// How many groups a fragment of this length has; none for length 0, which no fragment has.
pub const fn groups(length: u32) -> u32 {
    length.div_ceil(GROUP_BYTES)
}

/// How many bytes a group of a fragment of this length has; `None` behind the last.
pub fn group_len(length: u32, group: u32) -> Option<u32> {
    let start = group.checked_mul(GROUP_BYTES)?;
    length.checked_sub(start).filter(|left| *left > 0).map(|left| left.min(GROUP_BYTES))
}

/// How many bytes the slice of a group has; `None` behind the last, and for a fragment that is too long.
pub fn slice_len(length: u32, group: u32) -> Option<usize> {
    let group_len = group_len(length, group)?;
    let fits = length as usize <= FRAGMENT_BYTES_MAX;
    fits.then(|| way(groups(length), group).count() * PARENT_BYTES + group_len as usize)
}

/// The chaining values of a fragment's groups; without any for a fragment of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outboard(Bytes);

impl Outboard {
    /// The outboard of this fragment.
    pub fn of(fragment: &[u8]) -> Self {
        if fragment.len() <= PROOF_GROUP_BYTES {
            return Self(Bytes::new());
        }
        let groups = (0..).zip(fragment.chunks(PROOF_GROUP_BYTES));
        let values = groups.map(|(group, bytes)| chaining_value(group, bytes));
        Self(values.collect::<Vec<_>>().into_flattened().into())
    }

    /// Reads an outboard that was kept. Errors with [`ProtoError::Malformed`] when it is none of any fragment. Whether
    /// it is that of a certain fragment tells [`Outboard::root`].
    pub fn parse(bytes: Bytes) -> Result<Self, ProtoError> {
        let length = bytes.len();
        if length > OUTBOARD_BYTES_MAX || !length.is_multiple_of(CHECKSUM_BYTES) || length == CHECKSUM_BYTES {
            return Err(ProtoError::malformed(OUTBOARD, format!("{length} bytes")));
        }
        Ok(Self(bytes))
    }

    /// The bytes to keep.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The checksum of the fragment of this length that the outboard is of. Errors with [`ProtoError::Malformed`] when
    /// it is of a fragment with another number of groups, and for a fragment of one group: that has no outboard.
    pub fn root(&self, length: u32) -> Result<Checksum, ProtoError> {
        let values = self.values(length)?;
        let (left, right) = values.split_at_checked(left_of(values.len())).unwrap_or_default();
        match (subtree(left), subtree(right)) {
            (Some(left), Some(right)) => {
                Ok(Checksum::from_bytes(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()))
            }
            _ => Err(ProtoError::malformed(OUTBOARD, format!("a fragment of {length} bytes has none"))),
        }
    }

    /// The slice of a group of a fragment of this length, whose bytes were read from the disk. Neither these nor the
    /// outboard are looked at: whoever sends it calls [`verify`] first, as whoever receives it does. Errors with
    /// [`ProtoError::Malformed`] when there is no such group, it has another length, or the outboard is of a fragment
    /// with another number of groups.
    pub fn slice(&self, length: u32, group: u32, bytes: &[u8]) -> Result<Bytes, ProtoError> {
        if group_len(length, group).is_none_or(|expected| expected as usize != bytes.len()) {
            let reason = format!("group {group} of {length} bytes does not have {}", bytes.len());
            return Err(ProtoError::malformed(SLICE, reason));
        }
        let values = self.values(length)?;
        let mut slice = BytesMut::with_capacity(PROOF_SLICE_BYTES_MAX);
        for node in way(groups(length), group) {
            for half in [node.start..node.split, node.split..node.end] {
                let value = values.get(half).and_then(subtree).unwrap_or_default();
                slice.put_slice(&value);
            }
        }
        slice.put_slice(bytes);
        Ok(slice.freeze())
    }

    /// One for each group, none when there is one group only.
    fn values(&self, length: u32) -> Result<&[ChainingValue], ProtoError> {
        let (values, _) = self.0.as_chunks();
        let needed = match groups(length) as usize {
            0 | 1 => 0,
            more => more,
        };
        if values.len() == needed {
            return Ok(values);
        }
        let reason = format!("{} chaining values for a fragment of {length} bytes", values.len());
        Err(ProtoError::malformed(OUTBOARD, reason))
    }
}

/// Checks that a slice proves possession of a group of the fragment with this checksum and length, both taken from its
/// layout and never from whoever sent the slice. (Lengths for which the group has the same place in the tree and the
/// same bytes cannot be told apart by it.) Errors with [`ProtoError::TooLong`] for a length beyond
/// [`FRAGMENT_BYTES_MAX`], with [`ProtoError::Malformed`] when there is no such group or its slice has another length,
/// and with [`ProtoError::Mismatch`] when a part of it is not what the part above it, or the checksum, says.
pub fn verify(checksum: Checksum, length: u32, group: u32, slice: &[u8]) -> Result<(), ProtoError> {
    if length as usize > FRAGMENT_BYTES_MAX {
        let (length, limit) = (length.into(), FRAGMENT_BYTES_MAX as u64);
        return Err(ProtoError::TooLong { what: "fragment", length, limit });
    }
    if slice_len(length, group).is_none_or(|expected| expected != slice.len()) {
        let reason = format!("{} bytes for group {group} of a fragment of {length}", slice.len());
        return Err(ProtoError::malformed(SLICE, reason));
    }
    let (mut expected, mut rest, mut is_root) = (*checksum.as_bytes(), slice, true);
    for node in way(groups(length), group) {
        let (left, right, below) = parent(rest)?;
        let found = if is_root {
            *merge_subtrees_root(left, right, Mode::Hash).as_bytes()
        } else {
            merge_subtrees_non_root(left, right, Mode::Hash)
        };
        same(expected, found)?;
        expected = if group < node.first_of_right() { *left } else { *right };
        (rest, is_root) = (below, false);
    }
    let found = if is_root { *blake3::hash(rest).as_bytes() } else { chaining_value(group, rest) };
    same(expected, found)
}

/// A node above the groups: those from `start` to `end`, of which those before `split` are to the left.
struct Node {
    start: usize,
    split: usize,
    end: usize,
}

impl Node {
    fn first_of_right(&self) -> u32 {
        u32::try_from(self.split).unwrap_or(u32::MAX)
    }
}

/// The nodes from the root down to a group.
fn way(groups: u32, group: u32) -> impl Iterator<Item = Node> {
    let (mut start, mut end, group) = (0_usize, groups as usize, group as usize);
    std::iter::from_fn(move || {
        let split = start + left_of(end - start);
        let node = (end - start > 1).then_some(Node { start, split, end })?;
        if group < split {
            end = split
        } else {
            start = split
        }
        Some(node)
    })
}

/// How many of these groups are left of the node above them: the largest power of two that leaves at least one.
const fn left_of(groups: usize) -> usize {
    groups.div_ceil(2).next_power_of_two()
}

/// The chaining value above these; `None` without any.
fn subtree(values: &[ChainingValue]) -> Option<ChainingValue> {
    match values {
        [] => None,
        [value] => Some(*value),
        _ => {
            let (left, right) = values.split_at_checked(left_of(values.len()))?;
            Some(merge_subtrees_non_root(&subtree(left)?, &subtree(right)?, Mode::Hash))
        }
    }
}

/// That of a group which is not the whole fragment and has at least one byte.
fn chaining_value(group: u32, bytes: &[u8]) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(u64::from(group) * PROOF_GROUP_BYTES as u64).update(bytes);
    hasher.finalize_non_root()
}

fn parent(slice: &[u8]) -> Result<(&ChainingValue, &ChainingValue, &[u8]), ProtoError> {
    let halves = slice.split_first_chunk().and_then(|(left, rest)| Some((left, rest.split_first_chunk()?)));
    let (left, (right, rest)) = halves.ok_or_else(|| ProtoError::malformed(SLICE, "the end is missing"))?;
    Ok((left, right, rest))
}

fn same(expected: ChainingValue, found: ChainingValue) -> Result<(), ProtoError> {
    if expected == found {
        return Ok(());
    }
    Err(ProtoError::Mismatch { expected: expected.into(), found: found.into() })
}

const SLICE: &str = "slice of a fragment";
const OUTBOARD: &str = "outboard";
/// Two chaining values.
const PARENT_BYTES: usize = 2 * CHECKSUM_BYTES;
#[expect(clippy::cast_possible_truncation, reason = "as asserted below")]
const GROUP_BYTES: u32 = PROOF_GROUP_BYTES as u32;
const _: () = assert!(PROOF_GROUP_BYTES <= u32::MAX as usize);
const _: () =
    assert!(left_of(PROOF_GROUPS_MAX) == PROOF_GROUPS_MAX / 2 && left_of(2) == 1 && left_of(3) == 2);

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes without a pattern that groups could share.
    fn content(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(b"proof").finalize_xof().fill(&mut bytes);
        bytes
    }

    fn length_of(bytes: &[u8]) -> u32 {
        bytes.len().try_into().unwrap()
    }

    fn group_of(bytes: &[u8], group: u32) -> &[u8] {
        bytes.chunks(PROOF_GROUP_BYTES).nth(group as usize).unwrap()
    }

    fn slice(bytes: &[u8], group: u32) -> Bytes {
        Outboard::of(bytes).slice(length_of(bytes), group, group_of(bytes, group)).unwrap()
    }

    #[test]
    fn root_of_the_outboard_is_the_hash_of_the_whole() {
        let all = content(FRAGMENT_BYTES_MAX);
        let powers = (0..=20).map(|power| 1_usize << power);
        let groups = (1..=PROOF_GROUPS_MAX).map(|group| group * PROOF_GROUP_BYTES);
        for around in powers.chain(groups) {
            for length in around.saturating_sub(1).max(1)..=(around + 1).min(all.len()) {
                let bytes = &all[..length];
                let outboard = Outboard::of(bytes);
                let root = outboard.root(length_of(bytes));
                if length <= PROOF_GROUP_BYTES {
                    assert!(outboard.bytes().is_empty() && root.is_err(), "{length}");
                } else {
                    assert_eq!(root, Ok(Checksum::of(bytes)), "{length}");
                    assert_eq!(outboard.bytes().len(), 32 * groups_of(length), "{length}");
                }
                assert_eq!(Outboard::parse(outboard.bytes().clone()), Ok(outboard));
            }
        }
    }

    fn groups_of(length: usize) -> usize {
        length.div_ceil(PROOF_GROUP_BYTES)
    }

    #[test]
    fn every_group_is_proven() {
        let all = content(FRAGMENT_BYTES_MAX);
        for length in [1, 1024, 16_384, 16_385, 32_768, 32_769, 49_152, 81_920, 100_000, 1 << 20] {
            let bytes = &all[..length];
            let checksum = Checksum::of(bytes);
            assert_eq!(groups(length_of(bytes)) as usize, groups_of(length));
            for group in 0..groups(length_of(bytes)) {
                let slice = slice(bytes, group);
                assert!(slice.len() <= PROOF_SLICE_BYTES_MAX && slice.ends_with(group_of(bytes, group)));
                assert_eq!(verify(checksum, length_of(bytes), group, &slice), Ok(()), "{length} {group}");
            }
        }
        assert_eq!(slice(&all, 0).len(), PROOF_SLICE_BYTES_MAX);
    }

    #[test]
    fn slice_with_a_flipped_bit_is_refused() {
        let all = content(100_000);
        for (length, group) in [(1, 0), (1025, 0), (16_385, 1), (49_153, 3), (100_000, 6)] {
            let bytes = &all[..length];
            let (checksum, slice) = (Checksum::of(bytes), slice(bytes, group));
            for bit in 0..slice.len() * 8 {
                let mut changed = slice.to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                let refused = verify(checksum, length_of(bytes), group, &changed);
                assert!(matches!(refused, Err(ProtoError::Mismatch { .. })), "{length} {group} bit {bit}");
            }
        }
    }

    #[test]
    fn slice_of_another_group_or_length_is_refused() {
        let bytes = content(100_000);
        let checksum = Checksum::of(&bytes);
        for group in 0..6 {
            let slice = slice(&bytes, group);
            for other in (0..9).filter(|other| *other != group) {
                assert!(verify(checksum, 100_000, other, &slice).is_err(), "{group} as {other}");
            }
            for length in [0, 1, 16_384, 16_385, 65_536, 131_073, 1 << 20, (1 << 20) + 1, u32::MAX] {
                assert!(verify(checksum, length, group, &slice).is_err(), "{group} of {length}");
            }
        }
        let last = slice(&bytes, 6);
        for length in (98_305..=114_688).filter(|length| *length != 100_000) {
            assert!(verify(checksum, length, 6, &last).is_err(), "{length}");
        }
    }

    #[test]
    fn length_that_moves_nothing_is_not_told_apart() {
        // From 5 to 8 groups, those of the first half have the same place. Hence the length is the layout's.
        let bytes = content(100_000);
        let (checksum, first) = (Checksum::of(&bytes), slice(&bytes, 0));
        let accepted = |length: u32| verify(checksum, length, 0, &first).is_ok();
        assert!(accepted(65_537) && accepted(131_072));
        assert!(!accepted(65_536) && !accepted(131_073));
    }

    #[test]
    fn groups_alike_are_told_apart_by_their_place() {
        let bytes = vec![7; 4 * PROOF_GROUP_BYTES];
        let values: Vec<_> = (0..4).map(|group| chaining_value(group, group_of(&bytes, 0))).collect();
        assert!((1..4).all(|group| values[group] != values[0]));
        // Siblings have the same pairs above them, and here the same bytes: one slice, which is right for both.
        assert_eq!(slice(&bytes, 0), slice(&bytes, 1));
        assert_ne!(slice(&bytes, 1), slice(&bytes, 2));
    }

    #[test]
    fn slice_that_is_cut_or_longer_is_refused() {
        let bytes = content(40_000);
        let slice = slice(&bytes, 1);
        let checksum = Checksum::of(&bytes);
        for cut in [0, 1, 63, 64, 65, slice.len() - 1] {
            assert!(matches!(verify(checksum, 40_000, 1, &slice[..cut]), Err(ProtoError::Malformed { .. })));
        }
        assert!(verify(checksum, 40_000, 1, &[&slice[..], &[0]].concat()).is_err());
    }

    #[test]
    fn outboard_of_another_length_makes_no_slice() {
        let bytes = content(40_000);
        let outboard = Outboard::of(&bytes);
        assert!(outboard.root(32_768).is_err() && outboard.root(50_000).is_err());
        assert!(outboard.slice(40_000, 3, &bytes[..1]).is_err());
        assert!(outboard.slice(40_000, 0, &bytes[..100]).is_err());
        assert!(outboard.slice(60_000, 0, group_of(&bytes, 0)).is_err());
        for length in [1, 31, 32, 33, 65, OUTBOARD_BYTES_MAX + 32] {
            assert!(Outboard::parse(vec![0; length].into()).is_err(), "{length}");
        }
    }

    #[test]
    fn slice_is_the_pairs_from_the_root_down() {
        // Three groups: the root has two of them to the left, and that node one and one.
        let bytes = content(40_000);
        let values: Vec<_> = (0..3).map(|group| chaining_value(group, group_of(&bytes, group))).collect();
        let left = merge_subtrees_non_root(&values[0], &values[1], Mode::Hash);
        let check = |group: u32, parents: &[ChainingValue]| {
            let expected = [parents.as_flattened(), group_of(&bytes, group)].concat();
            assert_eq!(slice(&bytes, group), expected, "{group}");
        };
        check(0, &[left, values[2], values[0], values[1]]);
        check(1, &[left, values[2], values[0], values[1]]);
        check(2, &[left, values[2]]);
    }
}

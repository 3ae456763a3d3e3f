//! Slices and outboards. The input says how long a fragment is, which of its groups is asked for, and which byte of
//! the answer is another: the slice is accepted, and no other one is. What is left of the input is a slice and an
//! outboard in itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::{
    Checksum,
    limits::{FRAGMENT_BYTES_MAX, PROOF_GROUP_BYTES, PROOF_SLICE_BYTES_MAX},
    proof::{self, Outboard},
};

fuzz_target!(|bytes: &[u8]| {
    let Some((numbers, rest)) = bytes.split_first_chunk::<12>() else { return };
    let [a, b, c, d, e, f, g, h, at @ ..] = *numbers;
    let (length, group) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    assert!(proof::verify(Checksum::of(bytes), length, group, rest).is_err());
    if let Ok(outboard) = Outboard::parse(rest.to_vec().into()) {
        let _ = (outboard.root(length), outboard.slice(length, group, rest));
    }
    let length = 1 + length % FRAGMENT_BYTES_MAX as u32;
    let (fragment, group) = (content(length as usize, rest), group % proof::groups(length));
    let read = fragment.chunks(PROOF_GROUP_BYTES).nth(group as usize).expect("a group");
    let slice = Outboard::of(&fragment).slice(length, group, read).expect("a slice");
    assert!(slice.len() <= PROOF_SLICE_BYTES_MAX);
    assert_eq!(proof::slice_len(length, group), Some(slice.len()));
    let checksum = Checksum::of(&fragment);
    assert_eq!(proof::verify(checksum, length, group, &slice), Ok(()));
    let mut other = slice.to_vec();
    let at = u32::from_le_bytes(at) as usize % other.len();
    other[at] ^= 1;
    assert!(proof::verify(checksum, length, group, &other).is_err());
});

/// The input over and over: groups may be alike.
fn content(length: usize, pattern: &[u8]) -> Vec<u8> {
    let pattern = if pattern.is_empty() { &[0] } else { pattern };
    pattern.iter().copied().cycle().take(length).collect()
}

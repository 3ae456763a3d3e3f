//! Claims. The last 64 bytes are replaced by a signature that is right, so that the fuzzer gets past it whenever it
//! leaves the five expected values alone; the seeds have these.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::{
    NodeKey, TesseraId,
    attestation::{Expect, SignedClaim},
};

fuzz_target!(|bytes: &[u8]| {
    let node = NodeKey::from_seed([1; 32]);
    let expect = Expect {
        node: node.id(),
        verifier: NodeKey::from_seed([2; 32]).id(),
        nonce: [3; 32],
        binding: [4; 32],
        tessera: TesseraId::from_bytes([5; 32]),
    };
    let _ = SignedClaim::verify(bytes, &expect);
    let Some((map, _)) = bytes.split_last_chunk::<64>() else { return };
    let signature = node.sign(&[b"tesseras/1 claim\0", map].concat());
    let file = [map, &signature].concat();
    let Ok(claim) = SignedClaim::verify(&file, &expect) else { return };
    let again = claim.sign(&node).expect("what was accepted can be written");
    assert_eq!(SignedClaim::verify(again.bytes(), &expect), Ok(claim));
});

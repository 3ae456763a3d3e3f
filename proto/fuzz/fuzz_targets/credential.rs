//! Credentials. The last 64 bytes are replaced by a signature that is right, so that the fuzzer gets past it whenever
//! it leaves author and node alone; the seeds have these.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::{AuthorKey, NodeId, credential::SignedCredential};

fuzz_target!(|bytes: &[u8]| {
    let (key, node) = (AuthorKey::from_seed([1; 32]), NodeId::from_bytes([2; 32]));
    let _ = SignedCredential::verify(bytes, node);
    let Some((map, _)) = bytes.split_last_chunk::<64>() else { return };
    let signature = key.sign(&[b"tesseras/1 credential\0", map].concat());
    let file = [map, &signature].concat();
    let Ok(credential) = SignedCredential::verify(&file, node) else { return };
    let again = credential.sign(&key).expect("what was accepted can be written");
    assert_eq!(SignedCredential::verify(again.bytes(), node), Ok(credential));
});

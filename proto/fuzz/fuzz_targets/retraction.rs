//! Retractions. The last 64 bytes are replaced by a signature that is right, so that the fuzzer gets past it whenever it leaves
//! tessera and author alone; the seeds have these.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::{AuthorKey, TesseraId, retraction::SignedRetraction};

fuzz_target!(|bytes: &[u8]| {
    let (key, tessera) = (AuthorKey::from_seed([1; 32]), TesseraId::from_bytes([3; 32]));
    let parse = |bytes: &[u8]| SignedRetraction::parse(bytes.to_vec().into(), tessera, key.id());
    let _ = parse(bytes);
    let Some((map, _)) = bytes.split_last_chunk::<64>() else { return };
    let signature = key.sign(&[b"tesseras/1 retraction\0", map].concat());
    let Ok(signed) = parse(&[map, &signature].concat()) else { return };
    let again = signed.retraction().sign(&key).expect("what was accepted can be written");
    assert_eq!(parse(again.bytes()).map(|again| *again.retraction()), Ok(*signed.retraction()));
});

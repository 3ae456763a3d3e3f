//! Receipts. The last 64 bytes are replaced by a signature that is right, so that the fuzzer gets past it whenever it
//! leaves the holder alone; the seeds have this holder.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::{NodeKey, receipt::SignedReceipt};

fuzz_target!(|bytes: &[u8]| {
    let key = NodeKey::from_seed([1; 32]);
    let _ = SignedReceipt::verify(bytes, key.id());
    let Some((map, _)) = bytes.split_last_chunk::<64>() else { return };
    let signature = key.sign(&[b"tesseras/1 receipt\0", map].concat());
    let file = [map, &signature].concat();
    let Ok(receipt) = SignedReceipt::verify(&file, key.id()) else { return };
    let again = receipt.sign(&key).expect("what was accepted can be written");
    assert_eq!(SignedReceipt::verify(again.bytes(), key.id()), Ok(receipt));
});

//! Orders to drop. The last 64 bytes are replaced by a signature that is right, so that the fuzzer gets past it
//! whenever it leaves author, holder and binding alone; the seeds have these.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::{AuthorKey, NodeId, order::SignedDropOrder};

fuzz_target!(|bytes: &[u8]| {
    let (key, holder, binding) = (AuthorKey::from_seed([1; 32]), NodeId::from_bytes([2; 32]), [3; 32]);
    let _ = SignedDropOrder::verify(bytes, holder, &binding);
    let Some((map, _)) = bytes.split_last_chunk::<64>() else { return };
    let signature = key.sign(&[b"tesseras/1 drop\0", map].concat());
    let file = [map, &signature].concat();
    let Ok(order) = SignedDropOrder::verify(&file, holder, &binding) else { return };
    assert!(!order.fragments.is_empty() && order.fragments.is_sorted());
    let again = order.sign(&key).expect("what was accepted can be written");
    assert_eq!(SignedDropOrder::verify(again.bytes(), holder, &binding), Ok(order));
});

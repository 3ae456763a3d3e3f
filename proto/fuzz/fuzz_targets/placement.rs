//! Placements. The last 64 bytes are replaced by a signature that is right, that of an author or that of a repairer, so that
//! the fuzzer gets past it; the seeds have these.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::{AuthorKey, NodeKey, TesseraId, placement::SignedPlacement};

fuzz_target!(|bytes: &[u8]| {
    let (author, repairer) = (AuthorKey::from_seed([1; 32]), NodeKey::from_seed([2; 32]));
    let tessera = TesseraId::from_bytes([3; 32]);
    let parse = |bytes: &[u8]| SignedPlacement::parse(bytes.to_vec().into(), tessera, author.id());
    let _ = parse(bytes);
    let Some((map, _)) = bytes.split_last_chunk::<64>() else { return };
    let message = [b"tesseras/1 placement\0", map].concat();
    for signature in [author.sign(&message), repairer.sign(&message)] {
        let Ok(signed) = parse(&[map, &signature].concat()) else { continue };
        let placement = signed.placement();
        let again = match placement.repairer {
            None => placement.sign(&author),
            Some(_) => placement.sign_as_repairer(&repairer),
        };
        let again = again.expect("what was accepted can be written");
        assert_eq!(parse(again.bytes()).map(|again| again.placement().clone()), Ok(placement.clone()));
    }
});

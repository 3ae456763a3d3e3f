//! Manifests. The last 64 bytes are replaced by a signature that is right, so that the fuzzer gets past it whenever
//! it leaves the author alone; the seeds have this author.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::{AuthorKey, manifest::SignedManifest};

fuzz_target!(|bytes: &[u8]| {
    let _ = SignedManifest::parse(bytes.to_vec().into());
    let Some((map, _)) = bytes.split_last_chunk::<64>() else { return };
    let key = AuthorKey::from_seed(SEED);
    let signature = key.sign(&[b"tesseras/1 manifest\0", map].concat());
    let file = [map, &signature].concat();
    let Ok(parsed) = SignedManifest::parse(file.clone().into()) else { return };
    assert_eq!(parsed.bytes(), &file);
    let again = parsed.manifest().sign(&key).expect("what was accepted can be written");
    assert_eq!(again.manifest(), parsed.manifest());
    assert_eq!(SignedManifest::parse(again.bytes().clone()), Ok(again));
});

/// RFC 8032 §7.1, test 1: the author of the test vectors.
const SEED: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49,
    0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];

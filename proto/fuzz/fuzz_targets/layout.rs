//! Layouts. The last 64 bytes are replaced by a signature that is right, and the manifest follows the content length
//! of the input, so that the fuzzer gets past both; a layout it gets through must hold together.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::{
    AuthorKey, Checksum,
    layout::{Layout, SignedLayout},
    manifest::{Description, Manifest, SignedManifest, Visibility},
};

fuzz_target!(|bytes: &[u8]| {
    let Some((length, file)) = bytes.split_first_chunk::<8>() else { return };
    let Some(manifest) = manifest(u64::from_le_bytes(*length)) else { return };
    let _ = SignedLayout::parse(file.to_vec().into(), &manifest);
    // Field 1, the tessera, stands at a fixed place in front of all that varies.
    let Some((map, _)) = file.split_last_chunk::<64>() else { return };
    let mut map = map.to_vec();
    let Some(tessera) = map.get_mut(6..38) else { return };
    tessera.copy_from_slice(manifest.id().as_bytes());
    let signature = key().sign(&[b"tesseras/1 layout\0", &map[..]].concat());
    let file = [&map[..], &signature].concat();
    let Ok(parsed) = SignedLayout::parse(file.clone().into(), &manifest) else { return };
    assert_eq!(parsed.bytes(), &file);
    holds_together(parsed.layout());
});

fn holds_together(layout: &Layout) {
    let last = layout.fragments().saturating_sub(1);
    for number in [0, last / 2, last] {
        let Some((stripe, index)) = layout.position(number) else {
            assert_eq!(layout.fragments(), 0);
            return;
        };
        assert_eq!(layout.number(stripe, index), Some(number));
        assert!(layout.fragment_len_at(stripe, index) > 0);
        assert!(layout.page_of(number).0 < layout.pages().len());
    }
    assert_eq!(layout.position(last + 1), None);
    assert!(layout.stripe(layout.stripe_numbers().end).is_none());
}

fn manifest(content_len: u64) -> Option<SignedManifest> {
    let manifest = Manifest {
        author: key().id(),
        created_at_ms: 0,
        visibility: Visibility::Private,
        content_len,
        content_hash: Checksum::of(b""),
        description: Description::default(),
        supersedes: None,
        part_of: None,
        rights: None,
    };
    manifest.sign(&key()).ok()
}

fn key() -> AuthorKey {
    AuthorKey::from_seed([1; 32])
}

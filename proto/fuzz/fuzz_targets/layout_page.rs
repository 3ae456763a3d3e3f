//! Pages of checksums, with the hash that their layout pins and with another.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::{Checksum, layout::LayoutPage};

fuzz_target!(|bytes: &[u8]| {
    assert!(LayoutPage::parse(Checksum::from_bytes([0; 32]), bytes.to_vec().into()).is_err());
    let Ok(page) = LayoutPage::parse(Checksum::of(bytes), bytes.to_vec().into()) else { return };
    assert_eq!(page.len() * 32, bytes.len());
    assert!(page.iter().flat_map(|checksum| *checksum.as_bytes()).eq(bytes.iter().copied()));
    assert_eq!(page.checksum(page.len() - 1), page.iter().last());
    assert_eq!(page.checksum(page.len()), None);
});

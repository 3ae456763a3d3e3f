//! Ids and prefixes of ids: a text is refused, or is the one form of what it stands for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::{AccountId, AuthorId, Checksum, NodeId, TesseraId, ids::Id, prefix::IdPrefix};

fn check<T: Id + std::str::FromStr>(text: &str) {
    let id = text.parse::<T>().ok();
    if let Some(id) = &id {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
    }
    let Ok(prefix) = text.parse::<IdPrefix<T>>() else {
        assert!(id.is_none(), "an id is a prefix of itself");
        return;
    };
    assert!(prefix.first() <= prefix.last());
    assert!(prefix.contains(&prefix.first()) && prefix.contains(&prefix.last()));
    assert!(id.is_none_or(|id| prefix.exact() == Some(id)));
}

fuzz_target!(|text: &str| {
    check::<TesseraId>(text);
    check::<NodeId>(text);
    check::<AuthorId>(text);
    check::<AccountId>(text);
    if let Ok(checksum) = text.parse::<Checksum>() {
        assert_eq!(checksum.to_string(), text.to_ascii_lowercase());
    }
});

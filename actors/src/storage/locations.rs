//! Where fragments lie: a bounded map in memory, filled on use, with SQLite behind it.
//!
//! # Invariant
//! What a look-up found is noted only if nothing was dropped since it began, so a dropped fragment never comes back
//! through this map.

use std::num::NonZeroUsize;

use lru::LruCache;
use proto::{Checksum, FragmentId};

use super::rows::Place;

/// Where a fragment lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) checksum: Checksum,
    pub(crate) place: Place,
}

/// The map.
#[derive(Debug)]
pub(crate) struct Locations {
    map: LruCache<FragmentId, Location>,
    epoch: u64,
}

impl Locations {
    /// A map that takes at most about so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let entries = usize::try_from(bytes / ENTRY_BYTES).unwrap_or(usize::MAX);
        let entries = NonZeroUsize::new(entries).unwrap_or(NonZeroUsize::MIN);
        Self { map: LruCache::new(entries), epoch: 0 }
    }

    pub(crate) fn get(&mut self, id: &FragmentId) -> Option<Location> {
        self.map.get(id).copied()
    }

    /// What a look-up that begins now must bring back.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Notes what a look-up found.
    pub(crate) fn note(&mut self, id: FragmentId, location: Location, epoch: u64) {
        if epoch == self.epoch {
            self.map.put(id, location);
        }
    }

    /// Forgets fragments that may be gone.
    pub(crate) fn forget(&mut self, ids: &[FragmentId]) {
        self.epoch += 1;
        for id in ids {
            self.map.pop(id);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.epoch += 1;
        self.map.clear();
    }

    /// Bytes it takes by now.
    pub(crate) fn bytes(&self) -> u64 {
        self.map.len() as u64 * ENTRY_BYTES
    }
}

/// Key, location, two links, the hash table's slot, and what the allocator adds.
const ENTRY_BYTES: u64 = 176;

#[cfg(test)]
mod tests {
    use proto::TesseraId;

    use super::*;

    fn id(stripe: u32) -> FragmentId {
        FragmentId { tessera: TesseraId::from_bytes([1; 32]), stripe, index: 0 }
    }

    fn location() -> Location {
        Location { checksum: Checksum::of(b""), place: Place { segment: 1, position: 0, len: 0 } }
    }

    #[test]
    fn look_up_that_began_before_a_drop_is_not_noted() {
        let mut locations = Locations::new(1 << 20);
        let epoch = locations.epoch();
        locations.forget(&[id(1)]);
        locations.note(id(1), location(), epoch);
        assert_eq!(locations.get(&id(1)), None);
        locations.note(id(1), location(), locations.epoch());
        assert_eq!(locations.get(&id(1)), Some(location()));
    }

    #[test]
    fn map_never_grows_above_its_bound() {
        let mut locations = Locations::new(10 * ENTRY_BYTES);
        for stripe in 0..100 {
            locations.note(id(stripe), location(), 0);
        }
        assert_eq!(locations.bytes(), 10 * ENTRY_BYTES);
        assert!(locations.get(&id(99)).is_some(), "the newest stay");
    }
}

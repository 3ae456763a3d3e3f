//! Mappings that are ready for whoever needs one next: the system takes longer to make one of a MiB than it takes to hash
//! it. Those of one stripe, so that a process that does nothing holds little.

use std::sync::{Mutex, PoisonError};

use memmap2::{MmapMut, MmapOptions};

use crate::limits::{FRAGMENT_BYTES_MAX, STRIPE_TOTAL_MAX};

/// Memory of its own. Becomes a spare one when nobody uses it any more.
pub(crate) struct Mapping(Option<MmapMut>);

impl Mapping {
    /// Of so many bytes, whatever they are. `None` where the system has no more places: a process may have so many mappings
    /// only. The heap has room then.
    pub(crate) fn of(length: usize) -> Option<Self> {
        let spare = SPARES.lock().unwrap_or_else(PoisonError::into_inner).take(length);
        let map = spare.or_else(|| MmapOptions::new().len(length).populate().map_anon().ok())?;
        Some(Self(Some(map)))
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Some(map) = self.0.take() {
            SPARES.lock().unwrap_or_else(PoisonError::into_inner).keep(map);
        }
    }
}

/// Those that nobody uses.
struct Spares {
    maps: Vec<MmapMut>,
    bytes: usize,
}

impl Spares {
    const fn new() -> Self {
        Self { maps: Vec::new(), bytes: 0 }
    }

    fn take(&mut self, length: usize) -> Option<MmapMut> {
        let at = self.maps.iter().rposition(|map| map.len() == length)?;
        self.bytes -= length;
        Some(self.maps.swap_remove(at))
    }

    /// Keeps it, unless there are enough.
    fn keep(&mut self, map: MmapMut) {
        if map.len() <= LENGTH_MAX && self.bytes + map.len() <= BYTES_MAX {
            self.bytes += map.len();
            self.maps.push(map);
        }
    }
}

static SPARES: Mutex<Spares> = Mutex::new(Spares::new());
/// Longer ones are rare.
const LENGTH_MAX: usize = 1 << 20;
/// All of them together, in bytes: those of the widest stripe, as one is made while the one before is given up.
const BYTES_MAX: usize = STRIPE_TOTAL_MAX as usize * FRAGMENT_BYTES_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn map(length: usize) -> MmapMut {
        MmapMut::map_anon(length).unwrap()
    }

    #[test]
    fn mapping_is_used_again_by_one_who_needs_as_much() {
        let mut spares = Spares::new();
        spares.keep(map(1 << 20));
        assert!(spares.take(1 << 19).is_none());
        assert_eq!(spares.take(1 << 20).unwrap().len(), 1 << 20);
        assert!(spares.take(1 << 20).is_none());
        assert_eq!(spares.bytes, 0);
    }

    #[test]
    fn few_are_kept_and_no_long_ones() {
        let mut spares = Spares::new();
        (0..30).for_each(|_| spares.keep(map(1 << 20)));
        spares.keep(map(2 << 20));
        assert_eq!((spares.maps.len(), spares.bytes), (24, BYTES_MAX));
    }

    #[test]
    fn mapping_is_as_long_as_was_asked() {
        for length in [1, (1 << 19) + 1, 1 << 20, 1 << 20, (1 << 20) + 1] {
            assert_eq!(Mapping::of(length).unwrap().as_ref().len(), length);
        }
    }
}

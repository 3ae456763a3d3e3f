//! Which fragments are known not to be here: whoever brings many of a tessera asks the index once for a page of them, and not
//! for each.
//!
//! Only absence is remembered. What was dropped since is taken for present, and looked up; what somebody else has brought
//! since is taken once more, and found to be here then.

use std::sync::{Mutex, MutexGuard, PoisonError};

use proto::{AccountId, Checksum, TesseraId, limits::LAYOUT_PAGE_CHECKSUMS_MAX};

/// Of the fragments of one page of a layout.
pub(super) struct Absent(Mutex<Vec<bool>>);

/// Of whose tessera, by which layout, and of which page of it.
pub(super) type Key = (AccountId, TesseraId, Checksum, usize);

impl Absent {
    /// All but those that are here, by their place in the page.
    pub(super) fn but(present: impl Iterator<Item = usize>) -> Self {
        let mut absent = vec![true; LAYOUT_PAGE_CHECKSUMS_MAX];
        for at in present {
            if let Some(is_absent) = absent.get_mut(at) {
                *is_absent = false;
            }
        }
        Self(Mutex::new(absent))
    }

    pub(super) fn is_absent(&self, at: usize) -> bool {
        self.lock().get(at).copied().unwrap_or_default()
    }

    /// It is here from now on.
    pub(super) fn came(&self, at: usize) {
        if let Some(is_absent) = self.lock().get_mut(at) {
            *is_absent = false;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_not_absent() {
        let absent = Absent::but([3, 99_999].into_iter());
        absent.came(5);
        let found: Vec<_> = (0..8).filter(|at| absent.is_absent(*at)).collect();
        assert_eq!(found, [0, 1, 2, 4, 6, 7]);
        assert!(!absent.is_absent(LAYOUT_PAGE_CHECKSUMS_MAX));
    }
}

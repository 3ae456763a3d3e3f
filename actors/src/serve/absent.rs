//! Which fragments are known not to be here: whoever brings many of a tessera asks the index once for a page of them, and not
//! for each.
//!
//! Only absence is remembered. What was dropped since is taken for present, and looked up; what somebody else has brought
//! since is taken once more, and found to be here then.

use std::sync::{Mutex, MutexGuard, PoisonError};

use proto::{AccountId, Checksum, TesseraId, limits::LAYOUT_PAGE_CHECKSUMS_MAX};
use tokio::sync::OnceCell;

/// Of the fragments of one page of a layout; nothing is known until the index was asked.
#[derive(Default)]
pub(super) struct Absent(OnceCell<Mutex<Vec<bool>>>);

/// Of whose tessera, by which layout, and of which page of it.
pub(super) type Key = (AccountId, TesseraId, Checksum, usize);

impl Absent {
    /// Asks which are here, by their places in the page, unless somebody has; the others are absent.
    pub(super) async fn learn<E>(&self, ask: impl AsyncFnOnce() -> Result<Vec<usize>, E>) -> Result<(), E> {
        let asked = async || {
            let mut absent = vec![true; LAYOUT_PAGE_CHECKSUMS_MAX];
            for at in ask().await? {
                if let Some(is_absent) = absent.get_mut(at) {
                    *is_absent = false;
                }
            }
            Ok(Mutex::new(absent))
        };
        self.0.get_or_try_init(asked).await.map(drop)
    }

    pub(super) fn is_absent(&self, at: usize) -> bool {
        self.lock().is_some_and(|absent| absent.get(at).copied().unwrap_or_default())
    }

    /// It is here from now on.
    pub(super) fn came(&self, at: usize) {
        if let Some(mut absent) = self.lock()
            && let Some(is_absent) = absent.get_mut(at)
        {
            *is_absent = false;
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, Vec<bool>>> {
        self.0.get().map(|absent| absent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_came_is_not_absent_and_the_index_is_asked_once() {
        let absent = Absent::default();
        absent.learn(async || Err("busy")).await.unwrap_err();
        assert!(!absent.is_absent(0), "nothing is known yet");
        absent.learn(async || Ok::<_, &str>(vec![3, 99_999])).await.unwrap();
        absent.learn(async || Err("asked again")).await.unwrap();
        absent.came(5);
        let found: Vec<_> = (0..8).filter(|at| absent.is_absent(*at)).collect();
        assert_eq!(found, [0, 1, 2, 4, 6, 7]);
        assert!(!absent.is_absent(LAYOUT_PAGE_CHECKSUMS_MAX));
    }
}

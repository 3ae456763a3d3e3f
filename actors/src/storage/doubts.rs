//! Segments in which something was found damaged by whoever read it: what lies beside it is verified next.

use std::collections::BTreeSet;

use tokio::sync::watch;

/// Shared by storage, which adds to them, and by who verifies.
#[derive(Debug, Clone)]
pub(crate) struct Doubts {
    segments: watch::Sender<BTreeSet<u32>>,
}

impl Doubts {
    pub(crate) fn new() -> Self {
        Self { segments: watch::Sender::default() }
    }

    /// Something in this segment is damaged. A disk that fails everywhere is told of once in so many segments; the
    /// others are found when it is their turn.
    pub(crate) fn add(&self, segment: u32) {
        self.segments.send_if_modified(|segments| segments.len() < SEGMENTS_MAX && segments.insert(segment));
    }

    /// Returns those there are, as soon as there are any, and forgets them.
    pub(crate) async fn take(&self) -> BTreeSet<u32> {
        let mut seen = self.segments.subscribe();
        // The sender is here, so there is no error.
        let _ = seen.wait_for(|segments| !segments.is_empty()).await;
        let mut taken = BTreeSet::new();
        self.segments.send_if_modified(|segments| {
            taken = std::mem::take(segments);
            false
        });
        taken
    }
}

/// Segments remembered at a time.
const SEGMENTS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn doubts_are_told_once_and_bounded() {
        let doubts = Doubts::new();
        assert!(doubts.take().now_or_never().is_none());
        (0..1000).chain(0..1000).for_each(|segment| doubts.add(segment));
        assert_eq!(doubts.take().now_or_never().unwrap().len(), SEGMENTS_MAX);
        assert!(doubts.take().now_or_never().is_none());
        doubts.add(7);
        assert_eq!(doubts.take().now_or_never().unwrap(), [7].into());
    }
}

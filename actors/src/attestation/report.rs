//! What a row of the index says, as of now.

use proto::{Checksum, attestation::ClaimedFragment};

use crate::{storage::BlobState, store::FragmentRow};

/// What is known of one fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct AttestedRow {
    /// The stripe, from 0.
    pub stripe: u32,
    /// The place in the stripe, from 0.
    pub index: u16,
    /// Its checksum.
    pub checksum: Checksum,
    /// Its length in bytes.
    pub length: u32,
    /// Whether its bytes are there.
    pub state: BlobState,
    /// How long ago they were last read back and found right, in milliseconds; `None` when they were written and not
    /// read back yet.
    pub verified_age_ms: Option<u64>,
}

impl AttestedRow {
    /// A row as of a time. A clock that was set back makes nothing younger than new.
    pub(super) fn new(row: &FragmentRow, now_ms: i64) -> Self {
        let FragmentRow { stripe, index, checksum, length, state, .. } = *row;
        let age = |at: i64| u64::try_from(now_ms.saturating_sub(at)).unwrap_or(0);
        Self { stripe, index, checksum, length, state, verified_age_ms: row.verified_at_ms.map(age) }
    }

    /// What may be claimed of it: only what is in order. Nothing is a fragment of no layout.
    pub(super) fn claimed(&self) -> Option<ClaimedFragment> {
        let Self { stripe, index, checksum, length, state, verified_age_ms } = *self;
        let is_held = state == BlobState::Ok && length > 0;
        is_held.then_some(ClaimedFragment { stripe, index, checksum, length, verified_age_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: BlobState, length: u32, verified_at_ms: Option<i64>) -> FragmentRow {
        let checksum = Checksum::of(b"");
        FragmentRow { stripe: 1, index: 2, checksum, length, state, written_at_ms: 0, verified_at_ms }
    }

    #[test]
    fn age_is_what_has_passed_and_never_negative() {
        let check = |verified_at_ms, now_ms, expected| {
            let row = AttestedRow::new(&row(BlobState::Ok, 1, verified_at_ms), now_ms);
            assert_eq!(row.verified_age_ms, expected);
            assert_eq!(row.claimed().unwrap().verified_age_ms, expected);
        };
        check(None, 5000, None);
        check(Some(2000), 5000, Some(3000));
        check(Some(5000), 5000, Some(0));
        check(Some(9000), 5000, Some(0));
        check(Some(i64::MIN), i64::MAX, Some(i64::MAX.unsigned_abs()));
    }

    #[test]
    fn only_what_is_in_order_is_claimed() {
        let check = |state, length, expected| {
            assert_eq!(AttestedRow::new(&row(state, length, None), 0).claimed().is_some(), expected);
        };
        check(BlobState::Ok, 1, true);
        check(BlobState::Ok, 0, false);
        check(BlobState::Suspect, 1, false);
        check(BlobState::Missing, 0, false);
    }
}

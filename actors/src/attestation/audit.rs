//! Checking what another node claims: every checksum against those that the layout names. Pure.

use std::{collections::BTreeMap, ops::Range};

use proto::{Checksum, NodeId, TesseraId, attestation::Claim};

/// What came of asking a node what it holds of a tessera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// The node.
    pub holder: NodeId,
    /// The tessera.
    pub tessera: TesseraId,
    /// Fragments that it claims, with the checksums that they must have.
    pub held: u64,
    /// Fragments that it claims with others, or that there are not in stripes that a layout here names: nothing of that
    /// counts. What it claims of other stripes is of a layout that is not known here.
    pub wrong: u64,
    /// How long ago, by its own clock, it read back that one of them which it read back longest ago, in milliseconds.
    pub verified_age_ms: Option<u64>,
    /// Those of them that it has not read back since they were written.
    pub unverified: u64,
}

/// The fragments of some stripes, as the layouts name them.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// The stripes that the layouts name.
    pub(super) stripes: Vec<Range<u32>>,
    /// Checksum and length of each fragment.
    pub(super) fragments: BTreeMap<(u32, u16), (Checksum, u32)>,
}

/// One page of a claim, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    /// The stripes it is about.
    pub(super) stripes: Range<u32>,
    /// What counts of it.
    pub(super) held: Vec<(u32, u16, Checksum)>,
}

impl Audit {
    pub(super) fn new(holder: NodeId, tessera: TesseraId) -> Self {
        Self { holder, tessera, held: 0, wrong: 0, verified_age_ms: None, unverified: 0 }
    }

    /// Adds what a claim says, as far as it is true.
    pub(super) fn add(&mut self, claim: &Claim, expected: &Expected) -> Page {
        let mut held = Vec::new();
        for fragment in &claim.fragments {
            let place = (fragment.stripe, fragment.index);
            if expected.fragments.get(&place) != Some(&(fragment.checksum, fragment.length)) {
                let is_named = expected.stripes.iter().any(|stripes| stripes.contains(&fragment.stripe));
                self.wrong += u64::from(is_named);
                continue;
            }
            self.held += 1;
            match fragment.verified_age_ms {
                None => self.unverified += 1,
                age => self.verified_age_ms = self.verified_age_ms.max(age),
            }
            held.push((fragment.stripe, fragment.index, fragment.checksum));
        }
        Page { stripes: claim.stripes.clone(), held }
    }
}

#[cfg(test)]
mod tests {
    use proto::attestation::ClaimedFragment;

    use super::*;

    #[test]
    fn only_what_the_layout_names_counts() {
        let (holder, tessera) = (NodeId::from_bytes([1; 32]), TesseraId::from_bytes([2; 32]));
        let right = Checksum::of(b"right");
        let fragment = |stripe, checksum, length, verified_age_ms| ClaimedFragment {
            stripe,
            index: 0,
            checksum,
            length,
            verified_age_ms,
        };
        let claim = Claim {
            node: holder,
            verifier: holder,
            nonce: [0; 32],
            binding: [0; 32],
            tessera,
            made_at_ms: 0,
            stripes: 0..10,
            next_stripe: None,
            fragments: vec![
                fragment(0, right, 10, None),
                fragment(1, right, 10, Some(7)),
                fragment(2, right, 10, Some(5)),
                fragment(3, Checksum::of(b"wrong"), 10, None),
                fragment(4, right, 11, None),
                fragment(8, right, 10, None),
                fragment(9, right, 10, None),
            ],
        };
        let fragments = (0..5).map(|stripe| ((stripe, 0), (right, 10))).collect();
        let expected = Expected { stripes: vec![0..5, 7..9], fragments };
        let mut audit = Audit::new(holder, tessera);
        let page = audit.add(&claim, &expected);
        assert_eq!(page.held, [(0, 0, right), (1, 0, right), (2, 0, right)]);
        let (held, wrong, unverified) = (3, 3, 1);
        assert_eq!(audit, Audit { held, wrong, unverified, verified_age_ms: Some(7), ..audit.clone() });
    }
}

//! The guarantee: how many machines may be lost before anything of a tessera is. It is computed from what is alive and
//! where, never from what was planned.
//!
//! A stripe of which `k` fragments are needed and `alive` different ones are there survives the loss of any `f` domains
//! ([`Domain`](crate::placement::Domain)) exactly when the `f` fullest of them together hold no more than `alive − k`.
//! Second copies of a fragment do not count. With `k` = 1 all fragments are the same bytes, so a domain counts once.

/// What is left of one stripe, or of all stripes: of these the one that is worst off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Fragments that are there beyond those that are needed; negative when there are too few.
    pub margin: i32,
    /// How many domains may be lost, whichever these are; `None` when something is lost already.
    pub survives: Option<u16>,
}

impl Standing {
    /// Of a stripe that needs `k` fragments, with so many different ones alive in each domain.
    pub fn of(k: u16, alive: impl IntoIterator<Item = u16>) -> Self {
        // Equal bytes count by machine.
        let most = if k == 1 { 1 } else { u16::MAX };
        let mut alive: Vec<_> =
            alive.into_iter().map(|count| count.min(most)).filter(|count| *count > 0).collect();
        alive.sort_unstable_by(|a, b| b.cmp(a));
        let total: i32 = alive.iter().copied().map(i32::from).sum();
        let margin = total - i32::from(k);
        let mut spare = margin;
        let lost = alive.iter().take_while(|count| {
            spare -= i32::from(**count);
            spare >= 0
        });
        let survives = u16::try_from(lost.count()).unwrap_or(u16::MAX);
        Self { margin, survives: (margin >= 0).then_some(survives) }
    }

    /// Of two stripes together: the worse.
    pub fn and(self, other: Self) -> Self {
        Self { margin: self.margin.min(other.margin), survives: self.survives.min(other.survives) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(k: u16, alive: &[u16], margin: i32, survives: Option<u16>) {
        assert_eq!(Standing::of(k, alive.iter().copied()), Standing { margin, survives }, "{k} {alive:?}");
    }

    #[test]
    fn fullest_domains_decide() {
        check(3, &[1; 5], 2, Some(2));
        check(16, &[1; 24], 8, Some(8));
        check(3, &[2, 1, 1, 1], 2, Some(1));
        check(3, &[1, 1, 3], 2, Some(0));
        check(4, &[2, 2, 2, 2, 2], 6, Some(3));
        check(3, &[1, 0, 1, 1], 0, Some(0));
        check(3, &[1, 1], -1, None);
        check(3, &[], -3, None);
    }

    #[test]
    fn equal_fragments_count_by_machine() {
        check(1, &[1; 3], 2, Some(2));
        check(1, &[3], 0, Some(0));
        check(1, &[2, 1], 1, Some(1));
        check(1, &[], -1, None);
    }

    #[test]
    fn guarantee_holds_for_every_loss_of_so_many_and_not_for_every_loss_of_one_more() {
        const DOMAINS: u32 = 5;
        for (k, numbers) in (2..=6).flat_map(|k| (0..4_u16.pow(DOMAINS)).map(move |numbers| (k, numbers))) {
            let alive: Vec<u16> = (0..DOMAINS).map(|at| numbers / 4_u16.pow(at) % 4).collect();
            let holds = |losses: u32| {
                let mut sets = (0_u32..1 << DOMAINS).filter(|set| set.count_ones() == losses);
                sets.all(|set| {
                    let left = (0..).zip(&alive).filter(|(at, _)| set & (1 << at) == 0);
                    left.map(|(_, count)| *count).sum::<u16>() >= k
                })
            };
            let most = (0..=DOMAINS).take_while(|losses| holds(*losses)).last();
            let most = most.map(|most| u16::try_from(most).unwrap());
            assert_eq!(Standing::of(k, alive.iter().copied()).survives, most, "{k} {alive:?}");
        }
    }

    #[test]
    fn all_stripes_together_stand_as_the_worst() {
        let (good, bad) = (Standing::of(3, [1; 5]), Standing::of(3, [1; 3]));
        assert_eq!(good.and(bad), bad);
        assert_eq!(good.and(Standing::of(3, [1; 2])).survives, None);
    }
}

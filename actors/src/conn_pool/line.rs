//! Who waits for a handshake, and whose is begun next: pure, with the counts as arguments.
//!
//! A handshake costs both ends about a millisecond of work and nothing else, so whoever wants to hurt asks for many. They
//! are begun one after the other, as fast as leaves most of the time for those who are connected. Who waits is bounded,
//! also by network; what cannot wait is not answered, and comes again by itself.

use std::collections::{BTreeMap, VecDeque};

use proto::placement::Network;

use super::limits::{HANDSHAKES_PREFIX_SHARE, HANDSHAKES_UNVALIDATED_SHARE};

/// Somebody who has sent a first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Comer {
    pub(super) prefix: Network,
    /// Whether it has shown that it receives what is sent to its address.
    pub(super) is_validated: bool,
    /// Whether a node that the operator wants is said to be at that address.
    pub(super) is_wanted: bool,
}

/// What is done with a first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    Waits,
    /// It is to come again with a token.
    Retry,
    Ignored,
}

/// Those who wait, and how many handshakes are under way.
#[derive(Debug)]
pub(super) struct Line<T> {
    /// At a time.
    max: usize,
    wanted: VecDeque<(Comer, T)>,
    others: VecDeque<(Comer, T)>,
    /// Waiting or under way, by network.
    networks: BTreeMap<Network, usize>,
    under_way: usize,
}

impl<T> Line<T> {
    /// For so many handshakes at a time.
    pub(super) fn new(max: usize) -> Self {
        let (wanted, others) = (VecDeque::new(), VecDeque::new());
        Self { max: max.max(1), wanted, others, networks: BTreeMap::new(), under_way: 0 }
    }

    /// What is to be done with one who comes.
    pub(super) fn treat(&self, comer: &Comer) -> Treatment {
        let is_quiet = self.waiting() == 0 && self.under_way < self.share(HANDSHAKES_UNVALIDATED_SHARE);
        if !comer.is_validated && !is_quiet {
            return Treatment::Retry;
        }
        let of_network = self.networks.get(&comer.prefix).copied().unwrap_or_default();
        let is_crowded = of_network >= self.share(HANDSHAKES_PREFIX_SHARE) || self.others.len() >= self.max;
        let has_place = if comer.is_wanted { self.wanted.len() < self.max } else { !is_crowded };
        if has_place { Treatment::Waits } else { Treatment::Ignored }
    }

    /// One waits.
    pub(super) fn push(&mut self, comer: Comer, what: T) {
        *self.networks.entry(comer.prefix).or_default() += 1;
        let line = if comer.is_wanted { &mut self.wanted } else { &mut self.others };
        line.push_back((comer, what));
    }

    /// Whether another may be begun.
    pub(super) fn may_begin(&self) -> bool {
        // Those who are wanted have some more places, which nobody else takes.
        let more = self.share(HANDSHAKES_PREFIX_SHARE);
        (!self.wanted.is_empty() && self.under_way < self.max + more)
            || (!self.others.is_empty() && self.under_way < self.max)
    }

    /// The one that is begun next.
    pub(super) fn begin(&mut self) -> Option<(Comer, T)> {
        if !self.may_begin() {
            return None;
        }
        let next = self.wanted.pop_front().or_else(|| self.others.pop_front())?;
        self.under_way += 1;
        Some(next)
    }

    /// One that was begun has ended.
    pub(super) fn ended(&mut self, comer: &Comer) {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(count) = self.networks.get_mut(&comer.prefix) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.networks.remove(&comer.prefix);
            }
        }
    }

    fn waiting(&self) -> usize {
        self.wanted.len() + self.others.len()
    }

    fn share(&self, of: usize) -> usize {
        (self.max / of).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comer(network: u8) -> Comer {
        Comer { prefix: Network::V4([network; 3]), is_validated: true, is_wanted: false }
    }

    fn unvalidated(network: u8) -> Comer {
        Comer { is_validated: false, ..comer(network) }
    }

    fn wanted(network: u8) -> Comer {
        Comer { is_wanted: true, ..comer(network) }
    }

    fn line(waiting: &[Comer]) -> Line<usize> {
        let mut line = Line::new(16);
        (0..).zip(waiting).for_each(|(number, comer)| line.push(*comer, number));
        line
    }

    #[test]
    fn who_comes_while_others_wait_is_told_to_come_again() {
        assert_eq!(line(&[]).treat(&unvalidated(1)), Treatment::Waits);
        assert_eq!(line(&[comer(2)]).treat(&unvalidated(1)), Treatment::Retry);
        assert_eq!(line(&[comer(2)]).treat(&comer(1)), Treatment::Waits);
        let mut line = line(&[comer(2), comer(3)]);
        while line.begin().is_some() {}
        assert_eq!(line.treat(&unvalidated(1)), Treatment::Retry, "an eighth of 16 is under way");
        line.ended(&comer(2));
        assert_eq!(line.treat(&unvalidated(1)), Treatment::Waits);
    }

    #[test]
    fn one_network_waits_with_a_share_only() {
        assert_eq!(line(&[comer(1); 3]).treat(&comer(1)), Treatment::Waits);
        assert_eq!(line(&[comer(1); 4]).treat(&comer(1)), Treatment::Ignored);
        assert_eq!(line(&[comer(1); 4]).treat(&comer(2)), Treatment::Waits);
        assert_eq!(line(&[comer(1); 4]).treat(&wanted(1)), Treatment::Waits);
        let many: Vec<_> = (0..16).map(comer).collect();
        assert_eq!(line(&many).treat(&comer(99)), Treatment::Ignored);
        assert_eq!(line(&many).treat(&wanted(99)), Treatment::Waits);
    }

    #[test]
    fn who_is_wanted_comes_first_and_has_places_of_its_own() {
        let many: Vec<_> = (0..16).map(comer).chain([wanted(50)]).collect();
        let mut line = line(&many);
        assert_eq!(line.begin().map(|(_, number)| number), Some(16));
        let begun = std::iter::from_fn(|| line.begin()).count();
        assert_eq!(begun, 15);
        assert!(!line.may_begin());
        line.push(wanted(51), 17);
        assert_eq!(line.begin().map(|(_, number)| number), Some(17));
    }

    #[test]
    fn network_is_forgotten_when_its_last_handshake_has_ended() {
        let mut line = line(&[comer(1), comer(1)]);
        while let Some((comer, _)) = line.begin() {
            line.ended(&comer);
        }
        assert!(line.networks.is_empty());
        assert_eq!(line.under_way, 0);
    }
}

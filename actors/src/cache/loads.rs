//! Loads under way: one per fragment, however many ask, and a change during a load wins.

use std::collections::HashMap;

use proto::FragmentId;

/// Tells the loads of one actor apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct LoadNumber(u64);

/// Who waits for which load.
#[derive(Debug)]
pub(super) struct Loads<W> {
    waiting: HashMap<LoadNumber, Vec<W>>,
    /// The load that those who ask now may wait for. One that a change has overtaken is not here any more.
    current: HashMap<FragmentId, LoadNumber>,
    last: LoadNumber,
}

/// A load that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended<W> {
    /// Those who asked before any change: any outcome is right for them.
    pub(super) waiting: Vec<W>,
    /// Whether nothing has changed since it began, so that what it found may be kept.
    pub(super) is_current: bool,
}

impl<W> Default for Loads<W> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), current: HashMap::new(), last: LoadNumber::default() }
    }
}

impl<W> Loads<W> {
    /// Somebody waits for a fragment. Returns the load to begin, unless one is under way.
    pub(super) fn join(&mut self, id: FragmentId, waiter: W) -> Option<LoadNumber> {
        if let Some(waiting) = self.current.get(&id).and_then(|load| self.waiting.get_mut(load)) {
            waiting.push(waiter);
            return None;
        }
        self.last = LoadNumber(self.last.0 + 1);
        self.current.insert(id, self.last);
        self.waiting.insert(self.last, vec![waiter]);
        Some(self.last)
    }

    /// A fragment was put or dropped: nobody else may wait for the load under way, and nothing it finds is kept.
    pub(super) fn change(&mut self, id: &FragmentId) {
        self.current.remove(id);
    }

    /// A load has ended.
    pub(super) fn end(&mut self, id: &FragmentId, load: LoadNumber) -> Ended<W> {
        let is_current = self.current.get(id) == Some(&load);
        if is_current {
            self.current.remove(id);
        }
        Ended { waiting: self.waiting.remove(&load).unwrap_or_default(), is_current }
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use proto::TesseraId;

    use super::*;

    fn id(index: u16) -> FragmentId {
        FragmentId { tessera: TesseraId::from_bytes([0; 32]), stripe: 0, index }
    }

    #[test]
    fn second_to_ask_waits_for_the_load_of_the_first() {
        let mut loads = Loads::default();
        let load = loads.join(id(0), "first").unwrap();
        assert_eq!(loads.join(id(0), "second"), None);
        assert!(loads.join(id(1), "another").is_some());
        assert_eq!(loads.end(&id(0), load), Ended { waiting: vec!["first", "second"], is_current: true });
        assert!(loads.join(id(0), "later").is_some(), "the load has ended");
    }

    #[test]
    fn load_overtaken_by_a_change_ends_for_those_who_asked_before_it_only() {
        let mut loads = Loads::default();
        let old = loads.join(id(0), "before").unwrap();
        loads.change(&id(0));
        let new = loads.join(id(0), "after").unwrap();
        assert_eq!(loads.len(), 2);
        assert_eq!(loads.end(&id(0), old), Ended { waiting: vec!["before"], is_current: false });
        assert_eq!(loads.join(id(0), "later"), None, "the new load is still under way");
        assert_eq!(loads.end(&id(0), new), Ended { waiting: vec!["after", "later"], is_current: true });
        assert_eq!(loads.len(), 0);
    }
}

//! Whether room was refused, and whether a compaction may win some. Pure.
//!
//! A refusal begins a compaction at once, but only one: then the next needs a reason to hope, something that was freed
//! since. What is freed is waited for a moment, since a tessera is forgotten in many steps.

/// What the storage actor knows of refusals.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    /// Bytes that were refused for lack of room, until there is enough.
    wanted: Option<u64>,
    /// Since the last compaction began, there is a reason why another one may win something.
    hope: bool,
    /// A look at it is on its way.
    scheduled: bool,
}

impl Pressure {
    /// The bytes for which there is no room, if any.
    pub(crate) fn wanted(&self) -> Option<u64> {
        self.wanted
    }

    /// So many bytes were refused.
    pub(crate) fn refused(&mut self, bytes: u64) {
        self.hope |= self.wanted.is_none();
        self.wanted = Some(bytes);
    }

    /// Something was dropped, or ended that kept segments from compaction. Whether to look at it in a moment.
    pub(crate) fn freed(&mut self) -> bool {
        self.hope = true;
        self.schedules()
    }

    /// The moment is over.
    pub(crate) fn looked(&mut self) {
        self.scheduled = false;
    }

    /// Whether a compaction should begin now.
    pub(crate) fn calls_for_compaction(&self) -> bool {
        self.wanted.is_some() && self.hope
    }

    /// A compaction begins.
    pub(crate) fn begun(&mut self) {
        self.hope = false;
    }

    /// It has ended: there is room again, or it had to leave something for later. Whether to look again in a moment.
    pub(crate) fn ended(&mut self, has_room: bool, left_over: bool) -> bool {
        if has_room {
            self.wanted = None;
        }
        self.hope |= left_over;
        self.schedules()
    }

    fn schedules(&mut self) -> bool {
        let schedules = self.calls_for_compaction() && !self.scheduled;
        self.scheduled |= schedules;
        schedules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room was refused, and a compaction has won nothing.
    fn in_vain() -> Pressure {
        let mut pressure = Pressure::default();
        pressure.refused(10);
        assert!(pressure.calls_for_compaction(), "the first refusal is a reason");
        pressure.begun();
        assert!(!pressure.ended(false, false));
        pressure
    }

    #[test]
    fn refusals_after_a_compaction_in_vain_begin_no_other() {
        let mut pressure = in_vain();
        pressure.refused(20);
        assert!(!pressure.calls_for_compaction());
        assert_eq!(pressure.wanted(), Some(20));
    }

    #[test]
    fn what_is_freed_while_room_is_short_is_looked_at_once_in_a_moment() {
        let mut pressure = in_vain();
        assert!(pressure.freed());
        assert!(!pressure.freed(), "a look at it is on its way");
        assert!(pressure.calls_for_compaction(), "a refusal need not wait for it");
        pressure.looked();
        pressure.begun();
        assert!(!pressure.ended(true, false));
        assert!(!pressure.freed(), "there is room now");
    }

    #[test]
    fn what_a_compaction_had_to_leave_is_looked_at_in_a_moment() {
        let mut pressure = in_vain();
        pressure.refused(10);
        assert!(pressure.freed());
        pressure.looked();
        pressure.begun();
        assert!(pressure.ended(false, true));
        assert!(pressure.calls_for_compaction());
    }

    #[test]
    fn refusal_while_a_compaction_runs_that_knows_nothing_of_it_is_looked_at_behind_it() {
        let mut pressure = Pressure::default();
        pressure.begun();
        pressure.refused(10);
        assert!(pressure.ended(false, false));
    }

    #[test]
    fn nothing_is_called_for_as_long_as_there_is_room() {
        let mut pressure = Pressure::default();
        assert!(!pressure.freed());
        assert!(!pressure.ended(true, true));
        assert!(!pressure.calls_for_compaction());
    }
}

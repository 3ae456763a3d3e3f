//! Making the index anew because somebody asks for it.

use std::{path::PathBuf, time::Duration};

use ractor::ActorRef;

use super::State;
use crate::{
    error::ActorError,
    storage::{
        message::{Reply, StorageMsg},
        open,
    },
    supervision::gate::Slot,
};

impl State {
    /// Ends this actor in good order; the one after it makes the index anew. That is one restart within the window of its
    /// budget, however many ask: what falls by itself meanwhile has all the others.
    pub(super) fn rebuild(
        &mut self,
        me: &ActorRef<StorageMsg>,
        reason: &str,
        _slot: Slot,
        reply: Reply<PathBuf>,
    ) {
        let asked = may_rebuild(self.recovery.rebuilt.then(|| self.opened_at.elapsed()))
            .and_then(|()| open::ask_for_rebuild(&self.arguments.config, reason));
        if asked.is_ok() {
            tracing::warn!(reason, "the index is made anew from the segments, as somebody asked for");
            me.stop(Some(format!("the index is to be made anew: {reason}")));
        }
        // A caller that gave up has nothing to be told.
        let _ = reply.send(asked);
    }
}

/// Whether an index that was made anew so long ago, if it was, may be once more.
fn may_rebuild(rebuilt_ago: Option<Duration>) -> Result<(), ActorError> {
    match rebuilt_ago.and_then(|ago| REBUILD_INTERVAL.checked_sub(ago)) {
        Some(wait) => Err(ActorError::Conflict {
            what: format!(
                "the index was made anew {} s ago, and nothing was done now: if it must be once more, ask again in {} s",
                (REBUILD_INTERVAL - wait).as_secs(),
                wait.as_secs() + 1
            ),
        }),
        None => Ok(()),
    }
}

/// The window of [`crate::supervision::RestartBudget`], so that these restarts never exhaust it.
const REBUILD_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervision::RestartBudget;

    #[test]
    fn index_is_made_anew_once_within_the_window_of_the_restarts() {
        assert_eq!(RestartBudget::default().window, REBUILD_INTERVAL);
        assert!(
            may_rebuild(None).is_ok()
                && may_rebuild(Some(REBUILD_INTERVAL + Duration::from_millis(1))).is_ok()
        );
        let refused = may_rebuild(Some(Duration::from_secs(20))).unwrap_err().to_string();
        assert!(refused.contains("20 s ago") && refused.contains("in 41 s"), "{refused}");
    }
}

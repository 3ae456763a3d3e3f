//! After a failure: nothing is tried again. The log is cut back to what was synced, the index brought up to that, and
//! a new segment begun.
//!
//! It is done at once, not when the next request comes: until then the log holds records that may or may not be on the
//! device, and a process that starts anew could not tell.

use std::time::Instant;

use super::{Notice, Writer, planner};
use crate::{
    error::ActorError,
    storage::{
        log,
        recover::{Tail, recover},
        segment::SEGMENTS_FOLDER,
    },
};

impl Writer {
    /// Whether writing works, if need be after mending it. When that fails it is tried again later.
    pub(super) async fn mend_if_broken(&mut self) -> bool {
        if !self.trouble.is_set() {
            return true;
        }
        if !self.trouble.may_retry(Instant::now()) {
            return false;
        }
        (self.tools.notify)(Notice::Writing(Some(self.trouble.cause().reason)));
        self.stages.idle().await;
        // A segment is begun, and the index written.
        self.tools.reserve.settle(1).await;
        match self.mend().await {
            Ok(()) => {
                self.trouble.clear(self.log.end());
                self.tools.progress.level();
                self.purges_wait = false;
                (self.tools.notify)(Notice::Writing(None));
                true
            }
            Err(error) => {
                tracing::warn!(%error, "writing cannot go on yet");
                if error.is_damaged_index() {
                    (self.tools.notify)(Notice::IndexDamaged(error.to_string()));
                }
                self.trouble.postpone(&error, Instant::now());
                false
            }
        }
    }

    /// Whatever failed last is cut off before somebody else reads the log. No batch may be under way.
    pub(super) async fn mend_before_the_end(&mut self) {
        if !self.trouble.is_set() {
            return;
        }
        match self.mend().await {
            Ok(()) => self.trouble.clear(self.log.end()),
            Err(error) => tracing::warn!(%error, "what failed last is left for the next start to find"),
        }
    }

    async fn mend(&mut self) -> Result<(), ActorError> {
        while self.settled.try_recv().is_ok() {}
        let (durable, end) = (self.trouble.durable(), self.log.end());
        let tools = self.tools.clone();
        let folder = tools.config.data_dir.join(SEGMENTS_FOLDER);
        let disk = tools.disk.clone();
        let cut = move || log::cut_back(disk.as_ref(), &folder, durable, end);
        tokio::task::spawn_blocking(cut).await.map_err(std::io::Error::other)??;
        let recovered = recover(&tools.config, &tools.disk, &tools.database, Tail::Synced).await?;
        // A number that was used must not come back: a session that has ended would be taken for a new one.
        let next_seq = recovered.next_seq.max(self.planner.next_seq);
        self.planner = planner(recovered.view, next_seq);
        self.purges = recovered.purge.into();
        self.log = recovered.log;
        Ok(())
    }
}

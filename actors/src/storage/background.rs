//! A thread for work that may wait: the scheduler gives it what others leave, and so does the disk where its scheduler
//! goes by the same number.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// The thread. It ends, after what it is at, when the last copy of this is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Background {
    jobs: Arc<SyncSender<Job>>,
}

impl Background {
    /// Starts a thread of this name.
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel::<Job>(JOBS_WAITING_MAX);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let niced = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
            if let Err(error) = niced {
                tracing::debug!(%error, "a thread in the background runs with the priority of all others");
            }
            waiting.into_iter().for_each(|job| job());
        })?;
        Ok(Self { jobs: Arc::new(jobs) })
    }

    /// Does this, after what was asked for before. `None` when it panicked or could not be taken.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (done, result) = oneshot::channel();
        let job = move || {
            // Whoever asked may have given up.
            let _ = done.send(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok());
        };
        self.jobs.try_send(Box::new(job)).ok()?;
        result.await.ok().flatten()
    }
}

/// The most that there is.
const NICENESS: i32 = 19;
/// One asks at a time; a second one may come before the first has heard of its end.
const JOBS_WAITING_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn background_gives_way_to_others_and_survives_a_panic() {
        let background = Background::start("test").unwrap();
        let niceness = || rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
        let before = niceness();
        assert_eq!(background.run(niceness).await, Some(NICENESS));
        assert_eq!(niceness(), before, "only that thread");
        assert_eq!(background.run(|| -> u8 { std::panic::resume_unwind(Box::new("asked to")) }).await, None);
        assert_eq!(background.run(|| 7).await, Some(7));
    }
}

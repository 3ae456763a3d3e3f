//! Attackers on a thread of their own, which takes only what nobody else needs of this machine: it is the node that is
//! measured.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use super::attackers;

/// Lasts until it is dropped.
pub(crate) struct Attack {
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<attackers::Result<()>>>,
}

impl Attack {
    /// One that looks itself whether it is over.
    pub(crate) fn begin(attack: impl FnOnce(&AtomicBool) -> attackers::Result<()> + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        let thread = thread::spawn(move || {
            let _ = rustix::process::setpriority_process(None, 19);
            attack(&is_over)
        });
        Self { over, thread: Some(thread) }
    }

    /// One that goes on for as long as it is awaited.
    pub(crate) fn of<F>(attack: F) -> Self
    where
        F: Future<Output = attackers::Result<()>> + Send + 'static,
    {
        Self::begin(move |over| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let ended = runtime.block_on(async {
                tokio::select! {
                    ended = attack => ended,
                    () = is_set(over) => Ok(()),
                }
            });
            runtime.shutdown_background();
            ended
        })
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        assert!(matches!(ended, Ok(Ok(()))) || thread::panicking(), "the attack itself failed");
    }
}

async fn is_set(flag: &AtomicBool) {
    while !flag.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

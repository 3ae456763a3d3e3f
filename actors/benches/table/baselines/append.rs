//! The disk itself: bytes appended to one file, without any index.

use std::{
    fs::File,
    io::Write,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use proto::{Fragment, FragmentId};
use tokio::task::spawn_blocking;

use crate::{
    Result,
    load::Put,
    rounds::{Contender, Work},
};

/// Appends and syncs, one fragment after the other.
#[derive(Debug, Clone)]
pub(crate) struct BareAppend {
    file: Arc<Mutex<File>>,
}

impl BareAppend {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        Ok(Self { file: Arc::new(Mutex::new(File::create_new(path)?)) })
    }
}

impl Put for BareAppend {
    async fn put(&self, _: FragmentId, fragment: Fragment) -> Result<()> {
        let file = self.file.clone();
        spawn_blocking(move || {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(fragment.bytes())?;
            Ok(file.sync_data()?)
        })
        .await?
    }
}

/// One thread that writes as fast as it can and syncs now and then.
pub(crate) struct SequentialWrite {
    file: Arc<File>,
    bytes: Arc<Vec<u8>>,
    writes_per_sync: usize,
}

impl SequentialWrite {
    /// Writes so many bytes at a time.
    pub(crate) fn create(path: &Path, bytes: usize, bytes_per_sync: usize) -> Result<Self> {
        let file = Arc::new(File::create_new(path)?);
        Ok(Self { file, bytes: Arc::new(vec![1; bytes]), writes_per_sync: bytes_per_sync / bytes })
    }

    fn write_until(file: &File, bytes: &[u8], writes_per_sync: usize, until: Instant) -> Result<Work> {
        let mut work = Work::default();
        let start = Instant::now();
        while Instant::now() < until {
            let begun = Instant::now();
            for _ in 0..writes_per_sync {
                (&*file).write_all(bytes)?;
            }
            file.sync_data()?;
            for _ in 0..writes_per_sync {
                work.note(begun.elapsed())?;
            }
        }
        work.seconds = start.elapsed().as_secs_f64();
        Ok(work)
    }
}

impl Contender for SequentialWrite {
    fn name(&self) -> &'static str {
        "sequential write, sync per 8 MiB"
    }

    fn round(&mut self, length: Duration) -> BoxFuture<'_, Result<Work>> {
        let (file, bytes, writes_per_sync) = (self.file.clone(), self.bytes.clone(), self.writes_per_sync);
        Box::pin(async move {
            let until = Instant::now() + length;
            spawn_blocking(move || Self::write_until(&file, &bytes, writes_per_sync, until)).await?
        })
    }
}

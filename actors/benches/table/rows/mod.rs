//! The rows of the table.

mod archive;
mod attest;
mod get;
mod idle;
mod memory;
mod network;
mod put;
mod rebuild;
mod replication;
mod scrub;
mod start;
mod wal;

use std::path::PathBuf;

use futures::future::BoxFuture;

use crate::{Result, report::Row, rounds::Plan};

/// What every row is measured with.
pub(crate) struct Bench {
    /// Empty, on the disk that is measured.
    pub(crate) folder: PathBuf,
    pub(crate) plan: Plan,
}

/// A row, and how it is measured.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Bench) -> BoxFuture<'_, Result<Vec<Row>>>,
}

/// All rows, in order. Those that want all that the disk can do come first.
pub(crate) const ROWS: &[Entry] = &[
    Entry { name: "put-64k", run: |bench| Box::pin(put::medium(bench)) },
    Entry { name: "put-1m", run: |bench| Box::pin(put::large(bench)) },
    Entry { name: "put-4k-1-tessera", run: |bench| Box::pin(put::small(bench, 1)) },
    Entry { name: "put-4k-64-tesserae", run: |bench| Box::pin(put::small(bench, 64)) },
    Entry { name: "put-4k-1-client", run: |bench| Box::pin(put::alone(bench)) },
    Entry { name: "get-4k-cached", run: |bench| Box::pin(get::cached(bench)) },
    Entry { name: "get-4k-uncached", run: |bench| Box::pin(get::uncached(bench)) },
    Entry { name: "attest", run: |bench| Box::pin(attest::hundred(bench)) },
    Entry { name: "peer-pooled", run: |bench| Box::pin(network::pooled(bench)) },
    Entry { name: "peer-get-4k", run: |bench| Box::pin(network::get_small(bench)) },
    Entry { name: "peer-get-1m", run: |bench| Box::pin(network::get_large(bench)) },
    Entry { name: "peer-put-64k", run: |bench| Box::pin(network::put(bench)) },
    Entry { name: "peer-attest", run: |bench| Box::pin(network::attest(bench)) },
    Entry { name: "peer-compare-10k", run: |bench| Box::pin(network::few_tesserae(bench)) },
    Entry { name: "peer-compare-300k", run: |bench| Box::pin(network::many_tesserae(bench)) },
    Entry { name: "peer-proof", run: |bench| Box::pin(network::one(bench)) },
    Entry { name: "peer-stalled", run: |bench| Box::pin(network::stalled(bench)) },
    Entry { name: "peer-flooded", run: |bench| Box::pin(network::flooded(bench)) },
    Entry { name: "publish-256m", run: |bench| Box::pin(replication::one_large(bench)) },
    Entry { name: "publish-1000-small", run: |bench| Box::pin(replication::many(bench)) },
    Entry { name: "fetch-256m", run: |bench| Box::pin(replication::with_a_third_dead(bench)) },
    Entry { name: "repair-256m", run: |bench| Box::pin(replication::one_lost(bench)) },
    Entry { name: "memory-4g", run: |bench| Box::pin(replication::of_a_large_one(bench)) },
    Entry { name: "create-export-1g", run: |bench| Box::pin(archive::create_and_export(bench)) },
    Entry { name: "scrub", run: |bench| Box::pin(scrub::alone(bench)) },
    Entry { name: "scrub-beside", run: |bench| Box::pin(scrub::beside_others(bench)) },
    Entry { name: "wal", run: |bench| Box::pin(wal::with_a_reader_held_open(bench)) },
    Entry { name: "memory", run: |bench| Box::pin(memory::under_puts_and_gets(bench)) },
    Entry { name: "idle", run: |bench| Box::pin(idle::for_ten_minutes(bench)) },
    Entry { name: "rebuild-1m-fragments", run: |bench| Box::pin(rebuild::from_the_segments(bench)) },
    Entry { name: "start-1m-fragments", run: |bench| Box::pin(start::after_a_clean_stop(bench)) },
];

impl Bench {
    /// An empty folder of this name.
    fn fresh(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        std::fs::create_dir(&folder)?;
        Ok(folder)
    }

    /// Removes what a row has left, and waits until the disk has done so: the next row must not pay for it.
    fn clear(&self) -> Result<()> {
        std::fs::remove_dir_all(&self.folder)?;
        std::fs::create_dir(&self.folder)?;
        rustix::fs::syncfs(std::fs::File::open(&self.folder)?)?;
        Ok(())
    }
}

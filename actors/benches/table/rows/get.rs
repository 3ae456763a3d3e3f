//! Gets, without and with the cache.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use actors::{FragmentStore, cache::CacheHandle, storage::StorageHandle};
use futures::future::BoxFuture;
use proto::{Fragment, FragmentId};
use tokio::task::JoinSet;

use crate::{
    Result,
    load::{Load, Puts, tessera_id},
    ours::Ours,
    report::{Figure, Judgement, Row, Target},
    rounds::{Contender, Series, Work, interleave},
    rows::Bench,
};

/// 4 KiB that the cache holds.
pub(crate) async fn cached(bench: &Bench) -> Result<Vec<Row>> {
    let (clients, fragments) = (8, bench.plan.scaled(4096, 256));
    let ours = filled(bench, fragments).await?;
    // The warm-up fills the cache.
    let from = ours.system.cache.clone();
    let contenders: Vec<Box<dyn Contender>> = vec![Box::new(Gets { name: "ours", from, clients, fragments })];
    let series = interleave(&bench.plan, &ours.syncs, contenders).await?;
    let [gets] = series.as_slice() else { return Err("one contender was asked for".into()) };
    let row = row("get from the cache", clients, gets, 300_000.0);
    ours.system.drain().await;
    bench.clear()?;
    Ok(vec![row])
}

/// 4 KiB from the page cache, the hash checked, without any cache of ours.
pub(crate) async fn uncached(bench: &Bench) -> Result<Vec<Row>> {
    let (clients, fragments) = (64, bench.plan.scaled(16_384, 512));
    let ours = filled(bench, fragments).await?;
    let bare = BareRead::create(&bench.folder.join("bare"), fragments)?;
    let from = ours.system.storage.clone();
    let contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(Gets { name: "ours", from, clients, fragments }),
        Box::new(Gets { name: "pread + BLAKE3", from: bare, clients, fragments }),
    ];
    let series = interleave(&bench.plan, &ours.syncs, contenders).await?;
    let [gets, bare] = series.as_slice() else { return Err("two contenders were asked for".into()) };
    let mut row = row("get, no cache, pages warm", clients, gets, 150_000.0);
    row.judgements.push(Judgement::ratio(bare.name, Figure::new(bare.rate(), " /s"), gets.over(bare), None));
    ours.system.drain().await;
    bench.clear()?;
    Ok(vec![row])
}

async fn filled(bench: &Bench, fragments: u32) -> Result<Ours> {
    let ours = Ours::start(&bench.fresh("ours")?).await?;
    let load = Load { bytes: BYTES, clients: 64, tesseras: 1 };
    Puts::new("ours", ours.system.storage.clone(), load).fill(fragments).await?;
    Ok(ours)
}

fn row(operation: &str, clients: u32, gets: &Series, target: f64) -> Row {
    let figure = Figure::new(gets.rate(), " /s");
    let cpu = gets.per_operation(|used| used.cpu_seconds);
    Row {
        operation: operation.to_owned(),
        size: "4 KiB".to_owned(),
        clients: Some(clients),
        figure,
        p50_seconds: gets.percentile(50),
        p99_seconds: gets.percentile(99),
        judgements: vec![
            Judgement::value("(the figure)", figure, Some(Target::AtLeast(target))),
            Judgement::value("processor time per get", Figure::new(cpu, "s"), None),
        ],
    }
}

/// Whatever a fragment can be had from.
trait Get: Clone + Send + Sync + 'static {
    fn get(&self, id: FragmentId) -> impl Future<Output = Result<Fragment>> + Send;
}

impl Get for StorageHandle {
    async fn get(&self, id: FragmentId) -> Result<Fragment> {
        Ok(FragmentStore::get(self, id).await?)
    }
}

impl Get for CacheHandle<StorageHandle> {
    async fn get(&self, id: FragmentId) -> Result<Fragment> {
        Ok(FragmentStore::get(self, id).await?)
    }
}

/// Clients that get one fragment after the other, in an order that repeats late.
struct Gets<T> {
    name: &'static str,
    from: T,
    clients: u32,
    fragments: u32,
}

impl<T: Get> Contender for Gets<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn round(&mut self, length: Duration) -> BoxFuture<'_, Result<Work>> {
        let end = Instant::now() + length;
        let mut clients = JoinSet::new();
        for number in 0..self.clients {
            clients.spawn(get_until(end, self.from.clone(), number, self.fragments));
        }
        Box::pin(Work::of_all(clients))
    }
}

async fn get_until<T: Get>(end: Instant, from: T, number: u32, fragments: u32) -> Result<Work> {
    let mut work = Work::default();
    let tessera = tessera_id(0);
    let mut at = number.wrapping_mul(STRIDE);
    loop {
        let start = Instant::now();
        if start >= end {
            return Ok(work);
        }
        at = at.wrapping_add(STRIDE);
        from.get(FragmentId { tessera, stripe: at % fragments, index: 0 }).await?;
        work.note(start.elapsed())?;
    }
}

/// What disk and processor alone take: one file, read and hashed by the client itself.
#[derive(Debug, Clone)]
struct BareRead {
    file: Arc<File>,
}

impl BareRead {
    fn create(path: &Path, fragments: u32) -> Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        file.write_all_at(&vec![1; BYTES * usize::try_from(fragments)?], 0)?;
        Ok(Self { file: Arc::new(file) })
    }
}

impl Get for BareRead {
    async fn get(&self, id: FragmentId) -> Result<Fragment> {
        let mut bytes = vec![0; BYTES];
        self.file.read_exact_at(&mut bytes, u64::from(id.stripe) * BYTES as u64)?;
        Ok(Fragment::hash(bytes.into())?)
    }
}

/// Of a fragment.
const BYTES: usize = 4 << 10;
/// Odd, so that an order of a power of two of fragments repeats only when all were had.
const STRIDE: u32 = 0x9e37_79b1;

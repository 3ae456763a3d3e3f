//! Reading back everything that is stored, alone and beside others.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use actors::{
    FragmentStore, System,
    scrub::Mode,
    storage::{SEGMENTS_FOLDER, StorageHandle},
};
use config::IntegrityConfig;
use futures::future::BoxFuture;
use proto::{AccountId, Fragment, FragmentId};
use rustix::fs::Advice;
use tokio::task::JoinSet;

use crate::{
    Result,
    load::{Load, Puts, tessera_id},
    ours::Ours,
    report::{Figure, Judgement, Row, Target},
    rounds::{Contender, Series, Work, interleave},
    rows::Bench,
};

/// Without a limit, against reading the same files from one end to the other and hashing them.
pub(crate) async fn alone(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (bytes, size, target) in [(64 << 10, "64 KiB", Some(Target::AtLeast(0.7))), (4 << 10, "4 KiB", None)]
    {
        let (ours, stored) = filled(bench, bytes).await?;
        let segments = bench.folder.join("ours").join(SEGMENTS_FOLDER);
        let contenders: Vec<Box<dyn Contender>> =
            vec![Box::new(Scrub { system: ours.system.clone() }), Box::new(Sequential { segments })];
        let series = interleave(&bench.plan, &ours.syncs, contenders).await?;
        let [scrub, sequential] = series.as_slice() else {
            return Err("two contenders were asked for".into());
        };
        let mib = |series: &Series| Figure::new(series.rate(), "MiB/s");
        rows.push(Row {
            operation: format!("scrub of {stored} MiB without a limit"),
            size: size.to_owned(),
            clients: None,
            figure: mib(scrub),
            p50_seconds: None,
            p99_seconds: None,
            judgements: vec![Judgement::ratio(
                sequential.name,
                mib(sequential),
                scrub.over(sequential),
                target,
            )],
        });
        ours.system.drain().await;
        bench.clear()?;
    }
    Ok(rows)
}

/// Puts and gets, while something is verified all the time and while nothing is.
pub(crate) async fn beside_others(bench: &Bench) -> Result<Vec<Row>> {
    let (ours, _) = filled(bench, 64 << 10).await?;
    let others = |name, scrubs, gets| {
        Box::new(Others { name, system: ours.system.clone(), scrubs, gets, next: 0 }) as Box<dyn Contender>
    };
    let contenders = vec![
        others("gets, scrub on", true, true),
        others("gets, scrub off", false, true),
        others("puts, scrub on", true, false),
        others("puts, scrub off", false, false),
    ];
    let series = interleave(&bench.plan, &ours.syncs, contenders).await?;
    let mut rows = Vec::new();
    for (pair, size) in series.chunks_exact(2).zip(["64 KiB", "4 KiB"]) {
        let [on, off] = pair else { return Err("four contenders were asked for".into()) };
        let p99 = |series: &Series| series.percentile(99).unwrap_or(f64::NAN);
        let figure = Figure::new(p99(on) * 1e6, "µs");
        rows.push(Row {
            operation: format!("p99 of {}", on.name),
            size: size.to_owned(),
            clients: Some(CLIENTS),
            figure,
            p50_seconds: on.percentile(50),
            p99_seconds: on.percentile(99),
            judgements: vec![
                Judgement::ratio(
                    off.name,
                    Figure::new(p99(off) * 1e6, "µs"),
                    p99(on) / p99(off),
                    Some(Target::AtMost(1.25)),
                ),
                Judgement::ratio(
                    "rate with scrub on ÷ off",
                    Figure::new(off.rate(), " /s"),
                    on.over(off),
                    None,
                ),
            ],
        });
    }
    let status = ours.system.scrub.status().await?;
    let verified = Figure::new(status.findings.bytes as f64 / f64::from(1 << 20), "MiB");
    if let Some(row) = rows.last_mut() {
        row.judgements.push(Judgement::value("verified meanwhile", verified, None));
    }
    ours.system.drain().await;
    bench.clear()?;
    Ok(rows)
}

/// A store with some segments full of fragments of so many bytes, and how many MiB these are.
async fn filled(bench: &Bench, bytes: usize) -> Result<(Ours, u32)> {
    let mib = bench.plan.scaled(512, 8);
    let integrity = IntegrityConfig { scrub_rate: None, ..IntegrityConfig::default() };
    let ours = Ours::start_scrubbing(&bench.fresh("ours")?, integrity).await?;
    let load = Load { bytes, clients: 64, tesseras: 1 };
    let fragments = mib * u32::try_from((1 << 20) / bytes)?;
    Puts::new("ours", ours.system.storage.clone(), load).fill(fragments).await?;
    Ok((ours, mib))
}

/// Has everything verified once.
struct Scrub {
    system: System,
}

impl Contender for Scrub {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn round(&mut self, _: Duration) -> BoxFuture<'_, Result<Work>> {
        Box::pin(async {
            let start = Instant::now();
            let before = self.system.scrub.start().await?;
            let mut status = before.clone();
            while status.asked_bytes > 0 || status.mode == Mode::Verifying {
                tokio::time::sleep(Duration::from_millis(4)).await;
                status = self.system.scrub.status().await?;
            }
            Ok(work(start, status.findings.bytes - before.findings.bytes))
        })
    }
}

/// Reads all segments, one after the other, from the disk, and hashes them.
struct Sequential {
    segments: PathBuf,
}

impl Contender for Sequential {
    fn name(&self) -> &'static str {
        "sequential read + BLAKE3"
    }

    fn round(&mut self, _: Duration) -> BoxFuture<'_, Result<Work>> {
        let segments = self.segments.clone();
        Box::pin(async move { tokio::task::spawn_blocking(move || read_all(&segments)).await? })
    }
}

fn read_all(segments: &Path) -> Result<Work> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(segments)? {
        let file = File::open(entry?.path())?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
        rustix::fs::fadvise(&file, 0, None, Advice::Sequential)?;
        files.push(file);
    }
    let start = Instant::now();
    let (mut buffer, mut total) = (vec![0; 1 << 20], 0);
    for mut file in files {
        let mut hasher = blake3::Hasher::new();
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            hasher.update(buffer.get(..read).unwrap_or_default());
            total += read as u64;
        }
        std::hint::black_box(hasher.finalize());
    }
    Ok(work(start, total))
}

/// A MiB counts as an operation.
fn work(start: Instant, bytes: u64) -> Work {
    let operations = usize::try_from(bytes >> 20).unwrap_or(0);
    Work { seconds: start.elapsed().as_secs_f64(), latencies: vec![0; operations] }
}

/// Clients that put or get, while everything is verified again and again or nothing is.
struct Others {
    name: &'static str,
    system: System,
    scrubs: bool,
    gets: bool,
    /// The stripe of the next put.
    next: u32,
}

impl Contender for Others {
    fn name(&self) -> &'static str {
        self.name
    }

    fn round(&mut self, length: Duration) -> BoxFuture<'_, Result<Work>> {
        let (gets, base) = (self.gets, self.next);
        self.next += STRIPES_PER_ROUND;
        Box::pin(async move {
            if self.scrubs {
                self.system.scrub.start().await?;
            } else {
                self.system.scrub.pause(Duration::from_secs(3600)).await?;
            }
            let end = Instant::now() + length;
            let stripe = Arc::new(std::sync::atomic::AtomicU32::new(base));
            let mut clients = JoinSet::new();
            for number in 0..CLIENTS {
                let (storage, stripe, name) = (self.system.storage.clone(), stripe.clone(), self.name);
                clients.spawn(async move {
                    match gets {
                        true => get_until(end, storage, number).await,
                        false => put_until(end, storage, &stripe, name).await,
                    }
                });
            }
            Work::of_all(clients).await
        })
    }
}

async fn get_until(end: Instant, storage: StorageHandle, number: u32) -> Result<Work> {
    let mut work = Work::default();
    let mut at = number.wrapping_mul(STRIDE);
    while Instant::now() < end {
        at = at.wrapping_add(STRIDE);
        let id = FragmentId { tessera: tessera_id(0), stripe: at % HOT, index: 0 };
        let start = Instant::now();
        storage.get(id).await?;
        work.note(start.elapsed())?;
    }
    Ok(work)
}

async fn put_until(
    end: Instant,
    storage: StorageHandle,
    stripe: &std::sync::atomic::AtomicU32,
    name: &str,
) -> Result<Work> {
    let mut work = Work::default();
    let tessera = proto::TesseraId::from_bytes(*proto::Checksum::of(name.as_bytes()).as_bytes());
    while Instant::now() < end {
        let stripe = stripe.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut bytes = vec![0; 4 << 10];
        let label = name.bytes().chain(stripe.to_le_bytes());
        bytes.iter_mut().zip(label).for_each(|(byte, label)| *byte = label);
        let fragment = Fragment::hash(bytes.into())?;
        let start = Instant::now();
        storage.put(AccountId::LOCAL, FragmentId { tessera, stripe, index: 0 }, fragment).await?;
        work.note(start.elapsed())?;
    }
    Ok(work)
}

const CLIENTS: u32 = 16;
/// More than any round puts.
const STRIPES_PER_ROUND: u32 = 1 << 20;
/// Fragments that are asked for again and again.
const HOT: u32 = 64;
/// Odd, as in the rows of gets.
const STRIDE: u32 = 0x9e37_79b1;

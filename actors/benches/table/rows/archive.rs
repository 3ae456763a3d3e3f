//! Files into the store and out again, beside copying and hashing them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use config::StorageConfig;
use futures::future::BoxFuture;
use tokio::task::spawn_blocking;

use crate::{
    Result, child,
    report::{Figure, Judgement, Row, Target},
    rounds::{Contender, Plan, Work, interleave},
    rows::Bench,
};

/// 1 GiB of public files. Each round is one creation and one export, however long they take.
pub(crate) async fn create_and_export(bench: &Bench) -> Result<Vec<Row>> {
    let files = bench.plan.scaled(512, 4);
    let folder = bench.fresh("files")?;
    spawn_blocking({
        let folder = folder.clone();
        move || write_files(&folder, files)
    })
    .await??;
    let peak_bytes = Arc::new(AtomicU64::new(0));
    let folders = Folders { files: folder, work: bench.folder.join("work") };
    let ours = Ours { folders: folders.clone(), peak_bytes: peak_bytes.clone() };
    let contenders: Vec<Box<dyn Contender>> = vec![Box::new(ours), Box::new(Copies(folders))];
    let plan = Plan { rounds: bench.plan.scaled(3, 1), ..bench.plan };
    let series = interleave(&plan, &AtomicU64::new(0), contenders).await?;
    let [ours, copies] = series.as_slice() else { return Err("two contenders were asked for".into()) };
    let peak = peak_bytes.load(Ordering::Relaxed) as f64 / f64::from(1 << 20);
    let row = Row {
        operation: "create, then export".to_owned(),
        size: format!("{} MiB", (files * FILE_BYTES) >> 20),
        clients: Some(1),
        figure: Figure::new(1.0 / ours.rate(), "s"),
        p50_seconds: None,
        p99_seconds: None,
        judgements: vec![
            Judgement::ratio(
                copies.name,
                Figure::new(1.0 / copies.rate(), "s"),
                ours.over(copies),
                Some(Target::AtLeast(0.25)),
            ),
            Judgement::value(
                "peak memory",
                Figure::new(peak, " MiB"),
                Some(Target::AtMost(memory_max_mib())),
            ),
        ],
    };
    bench.clear()?;
    Ok(vec![row])
}

/// The budget of the defaults, SQLite's cache, and 64 MiB for all the rest.
fn memory_max_mib() -> f64 {
    let sqlite_kib = StorageConfig::with_defaults("").sqlite_cache_kib;
    MEMORY_BUDGET_MIB + f64::from(sqlite_kib) / 1024.0 + 64.0
}

/// Files that nothing can make shorter or store once only.
fn write_files(folder: &Path, files: usize) -> Result<()> {
    let mut stream = blake3::Hasher::new().finalize_xof();
    let mut bytes = vec![0; FILE_BYTES];
    for number in 0..files {
        stream.fill(&mut bytes);
        let below = folder.join(format!("{:02}", number / FILES_PER_FOLDER));
        std::fs::create_dir_all(&below)?;
        std::fs::write(below.join(format!("{number:04}.jpg")), &bytes)?;
    }
    Ok(())
}

#[derive(Debug, Clone)]
struct Folders {
    files: PathBuf,
    /// Made anew for every round.
    work: PathBuf,
}

impl Folders {
    /// One round in an empty folder, which is removed afterwards: only the round itself is timed.
    fn timed(&self, round: impl FnOnce(&Path) -> Result<()>) -> Result<Work> {
        std::fs::create_dir(&self.work)?;
        let disk = std::fs::File::open(&self.work)?;
        rustix::fs::syncfs(&disk)?;
        let start = Instant::now();
        round(&self.work)?;
        let mut work = Work { seconds: start.elapsed().as_secs_f64(), ..Work::default() };
        work.note(start.elapsed())?;
        std::fs::remove_dir_all(&self.work)?;
        rustix::fs::syncfs(&disk)?;
        Ok(work)
    }
}

/// The archive, in a process of its own, whose memory can be told.
struct Ours {
    folders: Folders,
    peak_bytes: Arc<AtomicU64>,
}

impl Contender for Ours {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn round(&mut self, _: Duration) -> BoxFuture<'_, Result<Work>> {
        let (folders, peak_bytes) = (self.folders.clone(), self.peak_bytes.clone());
        let files = folders.files.clone();
        let round = move |work: &Path| {
            peak_bytes.fetch_max(child::run(&files, work)?, Ordering::Relaxed);
            Ok(())
        };
        Box::pin(async move { spawn_blocking(move || folders.timed(round)).await? })
    }
}

/// What somebody without this project would do: copy, and note the same checksums, twice.
struct Copies(Folders);

impl Contender for Copies {
    fn name(&self) -> &'static str {
        "2 × cp, sync, sha512sum, BLAKE3"
    }

    fn round(&mut self, _: Duration) -> BoxFuture<'_, Result<Work>> {
        let folders = self.0.clone();
        let files = folders.files.clone();
        let round = move |work: &Path| {
            let copy = work.join("copy");
            copy_and_hash(&files, &copy)?;
            copy_and_hash(&copy, &work.join("copy of the copy"))
        };
        Box::pin(async move { spawn_blocking(move || folders.timed(round)).await? })
    }
}

fn copy_and_hash(from: &Path, to: &Path) -> Result<()> {
    succeed(Command::new("cp").arg("-r").arg(from).arg(to))?;
    succeed(Command::new("sync").arg("-f").arg(to))?;
    let mut files = Vec::new();
    for folder in std::fs::read_dir(to)? {
        for file in std::fs::read_dir(folder?.path())? {
            files.push(file?.path());
        }
    }
    succeed(Command::new("sha512sum").args(&files))?;
    for file in &files {
        blake3::Hasher::new().update_reader(std::fs::File::open(file)?)?;
    }
    Ok(())
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed: {status}").into()) }
}

const FILE_BYTES: usize = 2 << 20;
const FILES_PER_FOLDER: usize = 32;
/// Of `[performance]`, by default.
const MEMORY_BUDGET_MIB: f64 = 256.0;

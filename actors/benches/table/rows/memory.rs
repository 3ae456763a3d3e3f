//! How much memory the daemon takes when many put and get much, and how much it writes for that.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    Result,
    daemon::{Connection, Daemon},
    load::tessera_id,
    report::{Figure, Judgement, Row, Target},
    rounds::Work,
    rows::Bench,
};

/// 64 clients, each of which puts 1 MiB and gets it again.
pub(crate) async fn under_puts_and_gets(bench: &Bench) -> Result<Vec<Row>> {
    let daemon = Daemon::start(&bench.fresh("daemon")?).await?;
    let end = Instant::now() + bench.plan.scaled(Duration::from_secs(60), Duration::from_secs(1));
    let stripe = Arc::new(AtomicU32::new(0));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(put_and_get(daemon.connect().await?, number, stripe.clone(), end));
    }
    let work = Work::of_all(clients).await?;
    let stored = f64::from(stripe.load(Ordering::Relaxed)) * BYTES as f64;
    let written = daemon.metric("tesseras_storage_written_bytes_total").await? / stored;
    let peak = daemon.peak_bytes()?;
    drop(daemon);
    bench.clear()?;
    let mib = |bytes: f64| Figure::new(bytes / f64::from(1 << 20), " MiB");
    Ok(vec![Row {
        operation: "memory, put and get".to_owned(),
        size: "1 MiB".to_owned(),
        clients: Some(CLIENTS),
        figure: mib(peak),
        p50_seconds: None,
        p99_seconds: None,
        judgements: vec![
            Judgement::ratio("the budget", mib(BUDGET_BYTES), peak / BUDGET_BYTES, Some(Target::AtMost(1.1))),
            Judgement::value("puts and gets", Figure::new(work.rate(), " /s"), None),
            Judgement::value("bytes written per byte stored", Figure::new(written, ""), None),
        ],
    }])
}

async fn put_and_get(
    mut connection: Connection,
    number: u32,
    stripes: Arc<AtomicU32>,
    end: Instant,
) -> Result<Work> {
    let (mut bytes, mut answer, mut work) = (vec![0; BYTES], Vec::new(), Work::default());
    // No two fragments have the same bytes: they would be stored once.
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    while Instant::now() < end {
        let stripe = stripes.fetch_add(1, Ordering::Relaxed);
        bytes.iter_mut().zip(stripe.to_le_bytes()).for_each(|(byte, number)| *byte = number);
        let path = format!("/v1/tesseras/{}/fragments/{stripe}/0", tessera_id(number));
        for (method, body) in [("PUT", bytes.as_slice()), ("GET", b"".as_slice())] {
            let start = Instant::now();
            connection.ask(method, &path, body, &mut answer).await?;
            work.note(start.elapsed())?;
        }
        if answer != bytes {
            return Err("other bytes came back".into());
        }
    }
    Ok(work)
}

const CLIENTS: u32 = 64;
const BYTES: usize = 1 << 20;
/// performance.memory_budget_mb where nobody has set it.
const BUDGET_BYTES: f64 = (256 << 20) as f64;

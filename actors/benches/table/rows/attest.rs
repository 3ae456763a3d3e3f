//! Saying what is held, beside reading all of it back.

use std::{
    fs::File,
    io::Write,
    os::unix::fs::FileExt,
    sync::Arc,
    time::{Duration, Instant},
};

use actors::attestation::{AttestationHandle, Question};
use futures::future::BoxFuture;
use proto::{Checksum, NodeKey};
use tokio::task::spawn_blocking;

use crate::{
    Result,
    load::{Load, Puts, tessera_id},
    ours::Ours,
    report::{Figure, Judgement, Row, Target},
    rounds::{Contender, Work, interleave},
    rows::Bench,
};

/// 100 fragments of 1 MiB.
pub(crate) async fn hundred(bench: &Bench) -> Result<Vec<Row>> {
    let ours = Ours::start(&bench.fresh("ours")?).await?;
    let load = Load { bytes: BYTES, clients: 8, tesseras: 1 };
    Puts::new("ours", ours.system.storage.clone(), load).fill(FRAGMENTS).await?;
    let mut file = File::options().read(true).write(true).create_new(true).open(bench.folder.join("bare"))?;
    for _ in 0..FRAGMENTS {
        file.write_all(&vec![1; BYTES])?;
    }
    let contenders: Vec<Box<dyn Contender>> =
        vec![Box::new(Attests(ours.system.attestation.clone())), Box::new(Reads(Arc::new(file)))];
    let series = interleave(&bench.plan, &ours.syncs, contenders).await?;
    let [attests, reads] = series.as_slice() else { return Err("two contenders were asked for".into()) };
    let figure = Figure::new(1.0 / attests.rate(), "s");
    let row = Row {
        operation: format!("attest {FRAGMENTS} fragments"),
        size: "1 MiB".to_owned(),
        clients: Some(1),
        figure,
        p50_seconds: attests.percentile(50),
        p99_seconds: attests.percentile(99),
        judgements: vec![
            Judgement::value("(the figure)", figure, Some(Target::AtMost(500e-6))),
            Judgement::ratio(
                reads.name,
                Figure::new(1.0 / reads.rate(), "s"),
                attests.over(reads),
                Some(Target::AtLeast(100.0)),
            ),
        ],
    };
    ours.system.drain().await;
    bench.clear()?;
    Ok(vec![row])
}

struct Attests(AttestationHandle);

impl Contender for Attests {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn round(&mut self, length: Duration) -> BoxFuture<'_, Result<Work>> {
        // A task, as every request to a node is one.
        let asked = tokio::spawn(ask_until(self.0.clone(), length));
        Box::pin(async move { asked.await? })
    }
}

async fn ask_until(attestation: AttestationHandle, length: Duration) -> Result<Work> {
    let mut work = Work::default();
    let verifier = NodeKey::from_seed([2; 32]).id();
    let start = Instant::now();
    while start.elapsed() < length {
        let stripes = 0..u32::MAX;
        let question =
            Question { tessera: tessera_id(0), stripes, verifier, nonce: [3; 32], binding: [4; 32] };
        let asked = Instant::now();
        let answer = attestation.attest(question).await?;
        work.note(asked.elapsed())?;
        if answer.rows.len() != usize::try_from(FRAGMENTS)? || answer.next_stripe.is_some() {
            return Err("a claim did not cover all fragments".into());
        }
    }
    work.seconds = start.elapsed().as_secs_f64();
    Ok(work)
}

/// What a node would do that keeps no checksums.
struct Reads(Arc<File>);

impl Contender for Reads {
    fn name(&self) -> &'static str {
        "reading and hashing"
    }

    fn round(&mut self, length: Duration) -> BoxFuture<'_, Result<Work>> {
        let file = self.0.clone();
        Box::pin(async move { spawn_blocking(move || read_until(&file, Instant::now() + length)).await? })
    }
}

fn read_until(file: &File, end: Instant) -> Result<Work> {
    let mut work = Work::default();
    let start = Instant::now();
    let mut bytes = vec![0; BYTES];
    while Instant::now() < end {
        let begun = Instant::now();
        for number in 0..u64::from(FRAGMENTS) {
            file.read_exact_at(&mut bytes, number * BYTES as u64)?;
            std::hint::black_box(Checksum::of(&bytes));
        }
        work.note(begun.elapsed())?;
    }
    work.seconds = start.elapsed().as_secs_f64();
    Ok(work)
}

const FRAGMENTS: u32 = 100;
/// Of a fragment.
const BYTES: usize = 1 << 20;

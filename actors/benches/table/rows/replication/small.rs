//! Many small tesserae, given to a few nodes at once.

use std::time::Instant;

use futures::{StreamExt, TryStreamExt, stream};

use super::swarm::Swarm;
use crate::{
    Result,
    report::{Figure, Judgement, Row, Target},
    rows::Bench,
};

/// 1,000 tesserae of 100 KiB, to 8 nodes.
pub(crate) async fn many(bench: &Bench) -> Result<Vec<Row>> {
    let swarm = Swarm::start(&bench.fresh("swarm")?, HOLDERS).await?;
    let count = bench.plan.scaled(1000, 50);
    let created = stream::iter(0..count).map(|seed| swarm.create(seed, BYTES));
    let tesserae: Vec<_> = created.buffer_unordered(AT_ONCE).try_collect().await?;
    let begun = Instant::now();
    stream::iter(tesserae).map(Ok).try_for_each_concurrent(AT_ONCE, |one| swarm.publish(one)).await?;
    let rate = Figure::new(count as f64 / begun.elapsed().as_secs_f64(), "/s");
    swarm.stop().await;
    bench.clear()?;
    Ok(vec![Row {
        operation: format!("publish {count} tesserae to {HOLDERS} nodes"),
        size: format!("{} KiB", BYTES >> 10),
        clients: Some(u32::try_from(AT_ONCE)?),
        figure: rate,
        p50_seconds: None,
        p99_seconds: None,
        judgements: vec![Judgement::value("tesserae", rate, Some(Target::AtLeast(50.0)))],
    }])
}

const HOLDERS: usize = 8;
const BYTES: usize = 100 << 10;
/// Tesserae that are waited for at a time.
const AT_ONCE: usize = 32;

//! The start of a node that was stopped in good order, however much it holds.

use std::time::Instant;

use crate::{
    Result,
    load::{Load, Puts},
    ours::Ours,
    report::{Figure, Judgement, Row, Target},
    rounds::median,
    rows::Bench,
    tell,
};

/// From nothing to ready, with as many fragments as a home keeps in years.
pub(crate) async fn after_a_clean_stop(bench: &Bench) -> Result<Vec<Row>> {
    let fragments = bench.plan.scaled(1_000_000, 2_000);
    let folder = bench.fresh("ours")?;
    let ours = Ours::start(&folder).await?;
    // Hardly any bytes: the index is what a start might have to read.
    let load = Load { bytes: 8, clients: 1024, tesseras: 64 };
    let start = Instant::now();
    Puts::new("ours", ours.system.storage.clone(), load).fill(fragments).await?;
    tell(&format!("  {fragments} fragments put in {:.1} s", start.elapsed().as_secs_f64()))?;
    ours.system.drain().await;

    let mut times = Vec::new();
    for _ in 0..=bench.plan.rounds {
        let start = Instant::now();
        let ours = Ours::start(&folder).await?;
        times.push(start.elapsed().as_secs_f64());
        let usage = ours.system.storage.usage().await?;
        if usage.totals.fragments != u64::from(fragments) || usage.recovery.records != 0 {
            return Err(format!("the start was not after a clean stop: {usage:?}").into());
        }
        ours.system.drain().await;
    }
    bench.clear()?;
    let figure = Figure::new(median(times.into_iter().skip(1)), "s");
    Ok(vec![Row {
        operation: format!("start after a clean stop, {fragments} fragments"),
        size: String::new(),
        clients: None,
        figure,
        p50_seconds: None,
        p99_seconds: None,
        judgements: vec![Judgement::value("(the figure)", figure, Some(Target::AtMost(1.0)))],
    }])
}

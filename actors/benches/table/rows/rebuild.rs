//! Making the index anew when it is gone.

use std::time::Instant;

use actors::storage::INDEX_FILE;

use crate::{
    Result,
    load::{Load, Puts},
    ours::Ours,
    report::{Figure, Judgement, Row, Target},
    rows::Bench,
    tell,
};

/// From segments without an index to ready. Once: it is read from the disk, and that takes its time.
pub(crate) async fn from_the_segments(bench: &Bench) -> Result<Vec<Row>> {
    let fragments = bench.plan.scaled(1_000_000, 2_000);
    let folder = bench.fresh("ours")?;
    let ours = Ours::start(&folder).await?;
    let load = Load { bytes: 4 << 10, clients: 256, tesseras: 64 };
    let start = Instant::now();
    Puts::new("ours", ours.system.storage.clone(), load).fill(fragments).await?;
    tell(&format!("  {fragments} fragments put in {:.1} s", start.elapsed().as_secs_f64()))?;
    ours.system.drain().await;

    std::fs::remove_file(folder.join(INDEX_FILE))?;
    let start = Instant::now();
    let ours = Ours::start(&folder).await?;
    let figure = Figure::new(start.elapsed().as_secs_f64(), "s");
    let usage = ours.system.storage.usage().await?;
    if usage.totals.fragments != u64::from(fragments) || !usage.recovery.rebuilt {
        return Err(format!("it was not made anew: {usage:?}").into());
    }
    ours.system.drain().await;
    bench.clear()?;
    Ok(vec![Row {
        operation: format!("rebuild of the index, {fragments} fragments"),
        size: "4 KiB".to_owned(),
        clients: None,
        figure,
        p50_seconds: None,
        p99_seconds: None,
        judgements: vec![Judgement::value("(the figure)", figure, Some(Target::AtMost(60.0)))],
    }])
}

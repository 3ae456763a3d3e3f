//! Durable puts: ours, files, and the bare disk.

use crate::{
    Result,
    baselines::{BareAppend, DurableFiles, GroupedFiles, SequentialWrite},
    load::{Load, Puts},
    ours::Ours,
    report::{Figure, Judgement, Row, Target},
    rounds::{Contender, Plan, Series, interleave},
    rows::Bench,
};

/// 4 KiB by 64 clients.
pub(crate) async fn small(bench: &Bench, tesseras: u32) -> Result<Vec<Row>> {
    let load = Load { bytes: 4 << 10, clients: 64, tesseras };
    let [durable, grouped] = [Target::AtLeast(20.0), Target::AtLeast(8.0)];
    let plural = if tesseras == 1 { "1 tessera".to_owned() } else { format!("{tesseras} tesserae") };
    let mut row = against_files(bench, &bench.plan, load, durable, Some(grouped)).await?;
    row.operation = format!("durable put, {plural}");
    Ok(vec![row])
}

/// 64 KiB by 64 clients.
pub(crate) async fn medium(bench: &Bench) -> Result<Vec<Row>> {
    let load = Load { bytes: 64 << 10, clients: 64, tesseras: 1 };
    Ok(vec![against_files(bench, &bench.plan.short(), load, Target::AtLeast(10.0), None).await?])
}

/// 4 KiB by one client.
pub(crate) async fn alone(bench: &Bench) -> Result<Vec<Row>> {
    let load = Load { bytes: 4 << 10, clients: 1, tesseras: 1 };
    let ours = Ours::start(&bench.fresh("ours")?).await?;
    let bare = BareAppend::create(&bench.folder.join("bare"))?;
    let contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(Puts::new("ours", ours.system.storage.clone(), load)),
        Box::new(Puts::new("append + fdatasync", bare, load)),
    ];
    let series = interleave(&bench.plan, &ours.syncs, contenders).await?;
    let [puts, bare] = sides(&series)?;
    let mut row = row(load, puts)?;
    // Of times, not of rates: how long one of ours takes.
    let time = Figure::new(1.0 / bare.rate(), "s");
    row.figure = Figure::new(1.0 / puts.rate(), "s");
    row.judgements = vec![Judgement::ratio(bare.name, time, bare.over(puts), Some(Target::AtMost(3.0)))];
    row.judgements.extend(costs(load, puts));
    ours.system.drain().await;
    bench.clear()?;
    Ok(vec![row])
}

/// 1 MiB by 8 clients.
pub(crate) async fn large(bench: &Bench) -> Result<Vec<Row>> {
    let load = Load { bytes: 1 << 20, clients: 8, tesseras: 1 };
    let ours = Ours::start(&bench.fresh("ours")?).await?;
    let files = DurableFiles::one_by_one(&bench.fresh("durable")?).await?;
    let beside = DurableFiles::side_by_side(&bench.fresh("beside")?).await?;
    let plain = SequentialWrite::create(&bench.folder.join("plain"), load.bytes, 8 << 20)?;
    let contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(Puts::new("ours", ours.system.storage.clone(), load)),
        Box::new(Puts::new("durable files", files, load)),
        Box::new(Puts::new("durable files, side by side", beside, load)),
        Box::new(plain),
    ];
    let series = interleave(&bench.plan.short(), &ours.syncs, contenders).await?;
    let [puts, files, beside, plain] = sides(&series)?;
    let mut row = row(load, puts)?;
    row.figure = speed(load, puts);
    row.judgements = vec![
        Judgement::ratio(files.name, speed(load, files), puts.over(files), Some(Target::AtLeast(2.0))),
        Judgement::ratio(beside.name, speed(load, beside), puts.over(beside), None),
        Judgement::ratio(plain.name, speed(load, plain), puts.over(plain), Some(Target::AtLeast(0.6))),
    ];
    row.judgements.extend(costs(load, puts));
    ours.system.drain().await;
    bench.clear()?;
    Ok(vec![row])
}

async fn against_files(
    bench: &Bench,
    plan: &Plan,
    load: Load,
    durable: Target,
    grouped: Option<Target>,
) -> Result<Row> {
    let ours = Ours::start(&bench.fresh("ours")?).await?;
    let durable_files = DurableFiles::one_by_one(&bench.fresh("durable")?).await?;
    let beside = DurableFiles::side_by_side(&bench.fresh("beside")?).await?;
    let grouped_files = GroupedFiles::open(&bench.fresh("grouped")?).await?;
    let contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(Puts::new("ours", ours.system.storage.clone(), load)),
        Box::new(Puts::new("durable files", durable_files, load)),
        Box::new(Puts::new("durable files, side by side", beside, load)),
        Box::new(Puts::new("grouped files", grouped_files, load)),
    ];
    let series = interleave(plan, &ours.syncs, contenders).await?;
    let [puts, one_by_one, beside, in_groups] = sides(&series)?;
    let mut row = row(load, puts)?;
    row.judgements = vec![
        Judgement::ratio(one_by_one.name, rate(one_by_one), puts.over(one_by_one), Some(durable)),
        Judgement::ratio(beside.name, rate(beside), puts.over(beside), None),
        Judgement::ratio(in_groups.name, rate(in_groups), puts.over(in_groups), grouped),
    ];
    let syncs = Figure::new(puts.per_operation(|used| used.syncs as f64), "");
    let few = grouped.map(|_| Target::AtMost(0.08));
    row.judgements.push(Judgement::value("log syncs per put", syncs, few));
    row.judgements.extend(costs(load, puts));
    ours.system.drain().await;
    bench.clear()?;
    Ok(row)
}

fn row(load: Load, puts: &Series) -> Result<Row> {
    Ok(Row {
        operation: "durable put".to_owned(),
        size: size(load.bytes),
        clients: Some(load.clients),
        figure: rate(puts),
        p50_seconds: puts.percentile(50),
        p99_seconds: puts.percentile(99),
        judgements: Vec::new(),
    })
}

/// What a put costs; nobody has set a target, but whoever changes the store wants to know.
fn costs(load: Load, puts: &Series) -> [Judgement; 2] {
    let cpu = puts.per_operation(|used| used.cpu_seconds);
    let written = puts.per_operation(|used| used.written_bytes as f64) / load.bytes as f64;
    [
        Judgement::value("processor time per put", Figure::new(cpu, "s"), None),
        Judgement::value("bytes written per byte stored", Figure::new(written, ""), None),
    ]
}

fn rate(series: &Series) -> Figure {
    Figure::new(series.rate(), " /s")
}

fn speed(load: Load, series: &Series) -> Figure {
    Figure::new(series.rate() * load.bytes as f64 / f64::from(1 << 20), " MiB/s")
}

fn size(bytes: usize) -> String {
    if bytes < 1 << 20 { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes >> 20) }
}

/// The series of each contender, in their order.
fn sides<const N: usize>(series: &[Series]) -> Result<[&Series; N]> {
    let sides: Vec<_> = series.iter().collect();
    sides.try_into().map_err(|_| "not as many series as contenders".into())
}

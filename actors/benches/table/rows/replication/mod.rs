//! A tessera on many nodes of this machine: given to them, brought back, mended.

mod fetch;
mod memory;
mod parts;
mod publish;
mod repair;
mod small;
mod swarm;

pub(crate) use fetch::with_a_third_dead;
pub(crate) use memory::of_a_large_one;
pub(crate) use publish::one_large;
pub(crate) use repair::one_lost;
pub(crate) use small::many;

use crate::{
    report::{Figure, Judgement, Row, Target},
    rounds::{Plan, Series},
    rows::Bench,
};

/// Holders of a large tessera: as many as the widest stripe has fragments.
const HOLDERS: usize = proto::limits::STRIPE_TOTAL_MAX as usize;
/// Of which so many bring a stripe back.
const DATA: usize = proto::limits::STRIPE_DATA_MAX as usize;
/// The least that ours may reach of the slowest of what it is made of.
const TARGET: Target = Target::AtLeast(0.5);

/// The bytes of a large tessera.
fn large_bytes(bench: &Bench) -> usize {
    bench.plan.scaled(256 << 20, 16 << 20)
}

/// For operations that take seconds, of which each round is one.
fn few_rounds(bench: &Bench) -> Plan {
    Plan { rounds: bench.plan.scaled(3, 1), ..bench.plan }
}

/// Ours beside the parts that it is made of, the slowest of which is what it is held against.
fn beside_its_parts(operation: &str, bytes: usize, series: &[Series]) -> Option<Row> {
    let (ours, parts) = series.split_first()?;
    let seconds = |series: &Series| Figure::new(1.0 / series.rate(), "s");
    let mut parts: Vec<_> = parts.iter().collect();
    parts.sort_by(|one, other| one.rate().total_cmp(&other.rate()));
    let judged = parts.iter().enumerate().map(|(at, part)| {
        let (what, target) = match at {
            0 => (format!("the slowest: {}", part.name), Some(TARGET)),
            _ => (part.name.to_owned(), None),
        };
        Judgement::ratio(what, seconds(part), ours.over(part), target)
    });
    Some(Row {
        operation: operation.to_owned(),
        size: format!("{} MiB", bytes >> 20),
        clients: Some(1),
        figure: seconds(ours),
        p50_seconds: None,
        p99_seconds: None,
        judgements: judged.collect(),
    })
}

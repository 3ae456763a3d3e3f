//! Contenders taking turns.

use std::{
    sync::atomic::AtomicU64,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use tokio::task::JoinSet;

use crate::{Result, meters::Reading, tell};

/// How many rounds, and how long each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Beside the warm-up.
    pub(crate) rounds: usize,
    /// Of one contender in one round.
    pub(crate) length: Duration,
    /// Whether it is only to be seen that it works.
    pub(crate) quick: bool,
    /// Whether only the first contender takes part.
    pub(crate) ours: bool,
}

/// What one contender did in one round.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) seconds: f64,
    /// Nanoseconds that each operation took.
    pub(crate) latencies: Vec<u64>,
}

/// One side of a comparison.
pub(crate) trait Contender: Send {
    /// As the table names it.
    fn name(&self) -> &'static str;

    /// Works for about so long.
    fn round(&mut self, length: Duration) -> BoxFuture<'_, Result<Work>>;
}

/// All rounds of one contender.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    rounds: Vec<(Work, Reading)>,
}

impl Plan {
    /// For figures, or only for whether it works; of all contenders, or only of ours.
    pub(crate) fn new(quick: bool, ours: bool) -> Self {
        match quick {
            true => Self { rounds: 1, length: Duration::from_millis(200), quick, ours },
            false => Self { rounds: 7, length: Duration::from_secs(1), quick, ours },
        }
    }

    /// For contenders that write all that the disk takes: one for rent is slowed down after some gigabytes, and then it is
    /// the disk that is measured. Whether it was shows beside a sequential write.
    pub(crate) fn short(self) -> Self {
        Self { length: self.length / 10, ..self }
    }

    /// The smaller number for a run that only shows that it works.
    pub(crate) fn scaled<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// Lets the contenders, ours first, take turns, and throws the first round away.
pub(crate) async fn interleave(
    plan: &Plan,
    syncs: &AtomicU64,
    mut contenders: Vec<Box<dyn Contender + '_>>,
) -> Result<Vec<Series>> {
    let mut series: Vec<_> =
        contenders.iter().map(|contender| Series { name: contender.name(), rounds: Vec::new() }).collect();
    for round in 0..=plan.rounds {
        let taking_part = if plan.ours { 1 } else { contenders.len() };
        for (contender, series) in contenders.iter_mut().zip(&mut series).take(taking_part) {
            let before = Reading::now(syncs)?;
            let work = contender.round(plan.length).await?;
            let used = Reading::now(syncs)?.since(before);
            tell(&format!("  round {round}/{}: {:<40} {:>12.1} /s", plan.rounds, series.name, work.rate()))?;
            if round > 0 {
                series.rounds.push((work, used));
            }
        }
    }
    Ok(series)
}

impl Work {
    /// One operation that took so long.
    pub(crate) fn note(&mut self, took: Duration) -> Result<()> {
        self.latencies.push(u64::try_from(took.as_nanos())?);
        Ok(())
    }

    /// What all clients did from now until the last of them ended.
    pub(crate) async fn of_all(mut clients: JoinSet<Result<Self>>) -> Result<Self> {
        let start = Instant::now();
        let mut all = Self::default();
        while let Some(work) = clients.join_next().await {
            all.latencies.append(&mut work??.latencies);
        }
        all.seconds = start.elapsed().as_secs_f64();
        Ok(all)
    }

    fn operations(&self) -> f64 {
        self.latencies.len() as f64
    }

    pub(crate) fn rate(&self) -> f64 {
        self.operations() / self.seconds
    }
}

impl Series {
    /// Operations in a second.
    pub(crate) fn rate(&self) -> f64 {
        median(self.rounds.iter().map(|(work, _)| work.rate()))
    }

    /// How many times as many operations as another contender did in the same time.
    pub(crate) fn over(&self, other: &Self) -> f64 {
        let pairs = self.rounds.iter().zip(&other.rounds);
        median(pairs.map(|((ours, _), (theirs, _))| ours.rate() / theirs.rate()))
    }

    /// The time within which this many of a hundred operations ended, in seconds.
    pub(crate) fn percentile(&self, percent: usize) -> Option<f64> {
        let mut all: Vec<u64> =
            self.rounds.iter().flat_map(|(work, _)| work.latencies.iter().copied()).collect();
        all.sort_unstable();
        Some(*all.get(all.len() * percent / 100)? as f64 / 1e9)
    }

    /// What an operation used.
    pub(crate) fn per_operation(&self, of: impl Fn(&Reading) -> f64) -> f64 {
        median(self.rounds.iter().map(|(work, used)| of(used) / work.operations()))
    }
}

/// The middle one; of an even number, the mean of the middle two.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = |at: usize| values.get(at).copied().unwrap_or(f64::NAN);
    let upper = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(middle(upper.wrapping_sub(1)), middle(upper))
    } else {
        middle(upper)
    }
}

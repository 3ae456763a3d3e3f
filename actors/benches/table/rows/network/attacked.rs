//! What an honest peer gets from a node that is attacked, beside what it gets before and after.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{
    nodes::{Clients, Pair, Tessera},
    requests::Get,
};
use crate::{
    Result,
    attack::{Attack, Kind},
    attackers::Victim,
    report::{Figure, Judgement, Row, Target},
    rounds::{Series, interleave},
    rows::Bench,
};

/// Throughput of 1 MiB, 8 in flight, with a thousand peers that stall.
pub(crate) async fn stalled(bench: &Bench) -> Result<Vec<Row>> {
    let measured = Measured::of(bench, Kind::Stall, 8, 1 << 20).await?;
    let rate = |series: &Series| Figure::new(series.rate(), "/s");
    Ok(vec![measured.row(
        "remote get, 1,000 stalled peers",
        "1 MiB",
        8,
        rate(&measured.meanwhile),
        vec![
            Judgement::ratio(
                "without them",
                rate(&measured.before),
                measured.meanwhile.over(&measured.before),
                Some(Target::AtLeast(0.9)),
            ),
            Judgement::ratio(
                "once they are gone",
                rate(&measured.after),
                measured.meanwhile.over(&measured.after),
                None,
            ),
        ],
    )])
}

/// The slowest of a hundred gets of 4 KiB, in a flood of handshakes.
pub(crate) async fn flooded(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (kind, operation) in [
        (Kind::Call, "p99 of a remote get, flood of handshakes"),
        (Kind::Forge, "p99 of a remote get, forged first packets"),
    ] {
        let measured = Measured::of(bench, kind, 1, 4 << 10).await?;
        let p99 = |series: &Series| series.percentile(99).unwrap_or(f64::NAN);
        let (before, meanwhile, after) =
            (p99(&measured.before), p99(&measured.meanwhile), p99(&measured.after));
        let time = |seconds| Figure::new(seconds, "s");
        rows.push(measured.row(
            operation,
            "4 KiB",
            1,
            time(meanwhile),
            vec![
                Judgement::ratio("without it", time(before), meanwhile / before, Some(Target::AtMost(3.0))),
                Judgement::ratio("once it is over", time(after), meanwhile / after, None),
            ],
        ));
    }
    Ok(rows)
}

/// An attack does not take turns: it is measured before, meanwhile and after.
struct Measured {
    before: Series,
    meanwhile: Series,
    after: Series,
}

impl Measured {
    async fn of(bench: &Bench, kind: Kind, clients: usize, bytes: usize) -> Result<Self> {
        let pair = Pair::open_to_all(&bench.fresh("pair")?).await?;
        let tessera = Tessera::new(&pair.author, 1, FRAGMENTS, bytes)?;
        pair.give(&tessera).await?;
        let before = honest(bench, &pair, &tessera, "before", clients).await?;
        let first = tessera.fragments.first().ok_or("no fragment")?;
        let victim = Victim { node: pair.holder, address: pair.holds.pool.address() };
        let attack = Attack::begin(kind, victim, tessera.fragment(0)?, first.checksum())?;
        settled(&pair, kind).await?;
        let meanwhile = honest(bench, &pair, &tessera, "attacked", clients).await?;
        let done = attack.end()?;
        if done == 0 && !matches!(kind, Kind::Stall) {
            return Err("the attackers have done nothing".into());
        }
        sleep(AFTERWARDS).await;
        let after = honest(bench, &pair, &tessera, "after", clients).await?;
        pair.stop().await;
        bench.clear()?;
        Ok(Self { before, meanwhile, after })
    }

    fn row(
        &self,
        operation: &str,
        size: &str,
        clients: u32,
        figure: Figure,
        judgements: Vec<Judgement>,
    ) -> Row {
        Row {
            operation: operation.to_owned(),
            size: size.to_owned(),
            clients: Some(clients),
            figure,
            p50_seconds: self.meanwhile.percentile(50),
            p99_seconds: self.meanwhile.percentile(99),
            judgements,
        }
    }
}

async fn honest(
    bench: &Bench,
    pair: &Pair,
    tessera: &Tessera,
    name: &'static str,
    clients: usize,
) -> Result<Series> {
    let get = Get::new(pair, tessera)?;
    let contender = Clients::new(name, clients, get, |get, number| Box::pin(get.run(number)));
    let mut series = interleave(&bench.plan, &pair.syncs, vec![Box::new(contender)]).await?;
    series.pop().ok_or_else(|| "a contender was asked for".into())
}

/// Waits until the attack is at its height.
async fn settled(pair: &Pair, kind: Kind) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while matches!(kind, Kind::Stall) && pair.holds.pool.status().await?.connections.len() < STALLED_MIN {
        if Instant::now() > deadline {
            return Err("the stalled peers do not come in".into());
        }
        sleep(Duration::from_millis(100)).await;
    }
    sleep(RAMP).await;
    Ok(())
}

const FRAGMENTS: usize = 32;
/// Connections that are there before it is measured: of the 256 that there may be, those for wanted nodes stay free.
const STALLED_MIN: usize = 200;
const RAMP: Duration = Duration::from_secs(1);
/// Until what they have left is cleared away.
const AFTERWARDS: Duration = Duration::from_secs(5);

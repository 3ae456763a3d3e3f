//! Single requests: on a pooled connection beside a fresh one, and a claim beside an empty round trip.

use std::sync::Arc;

use actors::{System, remote::Remote};
use proto::{Checksum, FragmentId, NodeId, TesseraId};

use super::{
    bare::Bare,
    nodes::{Clients, Pair, Tessera},
    pinned::Pinned,
};
use crate::{
    Result,
    report::{Figure, Judgement, Row, Target},
    rounds::{Contender, interleave},
    rows::Bench,
};

/// What it takes to get one fragment.
pub(super) struct Get {
    pub(super) remote: Remote,
    pub(super) holder: NodeId,
    pub(super) fragments: Vec<(FragmentId, Checksum)>,
}

impl Get {
    pub(super) fn new(pair: &Pair, tessera: &Tessera) -> Result<Self> {
        let ids = tessera
            .fragments
            .iter()
            .enumerate()
            .map(|(stripe, fragment)| Ok((tessera.fragment(stripe)?, fragment.checksum())));
        let fragments = ids.collect::<Result<_>>()?;
        Ok(Self { remote: pair.asks.remote.clone(), holder: pair.holder, fragments })
    }

    pub(super) async fn run(self: Arc<Self>, number: usize) -> Result<()> {
        let at = number % self.fragments.len();
        let (id, checksum) = *self.fragments.get(at).ok_or("no such fragment")?;
        self.remote.fragment(self.holder, id, checksum).await?;
        Ok(())
    }
}

/// A get of 4 KiB on a pooled connection, beside a handshake and the same: where the system puts the threads, and on one
/// core. Between cores a request is four wake-ups, which cost more than all that is done for it.
pub(crate) async fn pooled(bench: &Bench) -> Result<Vec<Row>> {
    let pair = Pair::start(&bench.fresh("pair")?).await?;
    let tessera = Tessera::new(&pair.author, 1, 16, 4 << 10)?;
    pair.give(&tessera).await?;
    let mut rows = vec![pooled_beside_fresh(bench, &pair, &tessera, "remote get, pooled").await?];
    let pinned = Pinned::to_one_core()?;
    rows.push(pooled_beside_fresh(bench, &pair, &tessera, "the same, all threads on one core").await?);
    pinned.release()?;
    pair.stop().await;
    bench.clear()?;
    Ok(rows)
}

async fn pooled_beside_fresh(bench: &Bench, pair: &Pair, tessera: &Tessera, operation: &str) -> Result<Row> {
    let contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(Clients::new("ours, pooled", 1, Get::new(pair, tessera)?, |get, n| Box::pin(get.run(n)))),
        Box::new(Clients::new("fresh handshake + request", 1, Bare::start().await?, |bare, _| {
            Box::pin(async move { bare.fresh(4 << 10).await })
        })),
    ];
    let series = interleave(&bench.plan, &pair.syncs, contenders).await?;
    let [ours, fresh] = series.as_slice() else { return Err("two contenders were asked for".into()) };
    let time = Figure::new(1.0 / fresh.rate(), "s");
    Ok(Row {
        operation: operation.to_owned(),
        size: "4 KiB".to_owned(),
        clients: Some(1),
        figure: Figure::new(1.0 / ours.rate(), "s"),
        p50_seconds: ours.percentile(50),
        p99_seconds: ours.percentile(99),
        judgements: vec![Judgement::ratio(fresh.name, time, ours.over(fresh), Some(Target::AtLeast(8.0)))],
    })
}

struct Claims {
    asks: System,
    holder: NodeId,
    tessera: TesseraId,
}

/// 100 fragments of 1 MiB, claimed and compared, beside an empty request.
pub(crate) async fn attest(bench: &Bench) -> Result<Vec<Row>> {
    let pair = Pair::start(&bench.fresh("pair")?).await?;
    let tessera = Tessera::new(&pair.author, 1, FRAGMENTS, 1 << 20)?;
    pair.give(&tessera).await?;
    let claims = |tessera| Claims { asks: pair.asks.clone(), holder: pair.holder, tessera };
    let contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(Clients::new("ours", 1, claims(tessera.id()), |claims, _| {
            Box::pin(async move {
                let claim = claims.asks.remote.attest(claims.holder, claims.tessera, 0..u32::MAX).await?;
                if claim.fragments.len() == FRAGMENTS { Ok(()) } else { Err("a claim of too little".into()) }
            })
        })),
        Box::new(Clients::new("empty round trip", 1, claims(tessera.id()), |claims, _| {
            Box::pin(async move {
                claims.asks.remote.peers_of(claims.holder).await?;
                Ok(())
            })
        })),
    ];
    let series = interleave(&bench.plan, &pair.syncs, contenders).await?;
    let [ours, empty] = series.as_slice() else { return Err("two contenders were asked for".into()) };
    let time = Figure::new(1.0 / empty.rate(), "s");
    let row = Row {
        operation: format!("attest {FRAGMENTS} fragments, remotely"),
        size: "1 MiB".to_owned(),
        clients: Some(1),
        figure: Figure::new(1.0 / ours.rate(), "s"),
        p50_seconds: ours.percentile(50),
        p99_seconds: ours.percentile(99),
        judgements: vec![Judgement::ratio(empty.name, time, empty.over(ours), Some(Target::AtMost(6.0)))],
    };
    pair.stop().await;
    bench.clear()?;
    Ok(vec![row])
}

const FRAGMENTS: usize = 100;

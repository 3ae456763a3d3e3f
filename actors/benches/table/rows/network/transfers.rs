//! Fragments on their way, beside bare quinn and beside the same put without a network.

use std::sync::Arc;

use actors::{FragmentStore, System};
use proto::AccountId;

use super::{
    bare::Bare,
    nodes::{Clients, Pair, Tessera},
    requests::Get,
};
use crate::{
    Result,
    report::{Figure, Judgement, Row, Target},
    rounds::{Contender, interleave},
    rows::Bench,
};

/// 4 KiB from the cache, 64 in flight.
pub(crate) async fn get_small(bench: &Bench) -> Result<Vec<Row>> {
    get(bench, 4 << 10, 64, 256, Target::AtLeast(0.6)).await
}

/// 1 MiB, 8 in flight.
pub(crate) async fn get_large(bench: &Bench) -> Result<Vec<Row>> {
    get(bench, 1 << 20, 8, 32, Target::AtLeast(0.8)).await
}

async fn get(
    bench: &Bench,
    bytes: u32,
    clients: usize,
    fragments: usize,
    target: Target,
) -> Result<Vec<Row>> {
    let pair = Pair::start(&bench.fresh("pair")?).await?;
    let tessera = Tessera::new(&pair.author, 1, fragments, bytes as usize)?;
    pair.give(&tessera).await?;
    let bare = Bare::start().await?;
    let local = Local { holds: pair.holds.clone(), get: Get::new(&pair, &tessera)? };
    let contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(Clients::new("ours", clients, Get::new(&pair, &tessera)?, |get, n| Box::pin(get.run(n)))),
        Box::new(bare.asks("bare quinn", bytes, clients)),
        // What it is made of.
        Box::new(Clients::new("of which: the cache, without a network", clients, local, |local, n| {
            Box::pin(local.run(n))
        })),
        Box::new(Clients::new(
            "of which: an empty request",
            clients,
            Get::new(&pair, &tessera)?,
            |get, _| {
                Box::pin(async move {
                    get.remote.peers_of(get.holder).await?;
                    Ok(())
                })
            },
        )),
    ];
    let series = interleave(&bench.plan, &pair.syncs, contenders).await?;
    let [ours, bare, parts @ ..] = series.as_slice() else {
        return Err("four contenders were asked for".into());
    };
    let rate = |rate| Figure::new(rate, "/s");
    let mut judgements = vec![Judgement::ratio(bare.name, rate(bare.rate()), ours.over(bare), Some(target))];
    judgements.extend(
        parts.iter().map(|part| Judgement::ratio(part.name, rate(part.rate()), ours.over(part), None)),
    );
    let row = Row {
        operation: "remote get, cached".to_owned(),
        size: format!("{} KiB", bytes >> 10),
        clients: Some(u32::try_from(clients)?),
        figure: rate(ours.rate()),
        p50_seconds: ours.percentile(50),
        p99_seconds: ours.percentile(99),
        judgements,
    };
    pair.stop().await;
    bench.clear()?;
    Ok(vec![row])
}

struct Local {
    holds: System,
    get: Get,
}

impl Local {
    async fn run(self: Arc<Self>, number: usize) -> Result<()> {
        let at = number % self.get.fragments.len();
        let (id, _) = *self.get.fragments.get(at).ok_or("no such fragment")?;
        self.holds.cache.get(id).await?;
        Ok(())
    }
}

struct Put {
    from: System,
    pair: Pair,
    tessera: Tessera,
}

/// 64 KiB, durable, 64 in flight, beside the same without a network.
pub(crate) async fn put(bench: &Bench) -> Result<Vec<Row>> {
    let plan = bench.plan.short();
    let pair = Pair::start(&bench.fresh("pair")?).await?;
    let alone = Pair::start(&bench.fresh("alone")?).await?;
    let syncs = pair.syncs.clone();
    // More than all rounds together can put.
    let fragments = plan.scaled(FRAGMENTS, 2048);
    let [ours, local] = [1, 2].map(|seed| Tessera::new(&pair.author, seed, fragments, 64 << 10));
    let (ours, local) = (ours?, local?);
    ours.introduce(&pair.asks, pair.holder).await?;
    let remote = Put { from: pair.asks.clone(), pair, tessera: ours };
    let local = Put { from: alone.holds.clone(), pair: alone, tessera: local };
    let contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(Clients::new("ours", 64, remote, |put, n| {
            Box::pin(async move { put.tessera.give(&put.from, put.pair.holder, n).await })
        })),
        Box::new(Clients::new("local durable put", 64, local, |put, n| {
            Box::pin(async move {
                let fragment = put.tessera.fragments.get(n).ok_or("more fragments are needed")?.clone();
                put.from.storage.put(AccountId::LOCAL, put.tessera.fragment(n)?, fragment).await?;
                Ok(())
            })
        })),
    ];
    let series = interleave(&plan, &syncs, contenders).await?;
    let [ours, local] = series.as_slice() else { return Err("two contenders were asked for".into()) };
    let rate = |rate| Figure::new(rate, "/s");
    let row = Row {
        operation: "remote durable put".to_owned(),
        size: "64 KiB".to_owned(),
        clients: Some(64),
        figure: rate(ours.rate()),
        p50_seconds: ours.percentile(50),
        p99_seconds: ours.percentile(99),
        judgements: vec![Judgement::ratio(
            local.name,
            rate(local.rate()),
            ours.over(local),
            Some(Target::AtLeast(0.4)),
        )],
    };
    bench.clear()?;
    Ok(vec![row])
}

const FRAGMENTS: usize = 20 << 10;

//! One proof: what it takes on the wire, and what its holder reads.

use std::time::Instant;

use actors::System;
use proto::{NodeId, proof};

use super::nodes::{Pair, Tessera};
use crate::{
    Result,
    meters::Reading,
    report::{Figure, Judgement, Row, Target},
    rounds::median,
    rows::Bench,
};

/// Of a fragment of 1 MiB.
pub(crate) async fn one(bench: &Bench) -> Result<Vec<Row>> {
    let pair = Pair::start(&bench.fresh("pair")?).await?;
    let tessera = Tessera::new(&pair.author, 1, 16, 1 << 20)?;
    pair.give(&tessera).await?;
    let (mut times, mut wires) = (Vec::new(), Vec::new());
    let groups = proof::groups(1 << 20);
    let rounds = bench.plan.scaled(400_u32, 20);
    for round in 0..rounds {
        let at = round as usize % tessera.fragments.len();
        let checksum = tessera.fragments.get(at).ok_or("no such fragment")?.checksum();
        let (before, begun) = (received(&pair.asks, pair.holder).await?, Instant::now());
        pair.asks.remote.prove(pair.holder, checksum, 1 << 20, round % groups).await?;
        times.push(begun.elapsed().as_secs_f64());
        wires.push((received(&pair.asks, pair.holder).await? - before) as f64);
    }
    times.sort_unstable_by(f64::total_cmp);
    let time = median(times.iter().copied());
    let (read, wire) = (read_bytes(&pair, &tessera).await?, median(wires.into_iter()));
    let row = Row {
        operation: "one proof, remotely".to_owned(),
        size: "1 MiB".to_owned(),
        clients: Some(1),
        figure: Figure::new(time, "s"),
        p50_seconds: Some(time),
        p99_seconds: times.get(times.len() * 99 / 100).copied(),
        judgements: vec![
            Judgement::value("on the wire, UDP", Figure::new(wire, "B"), Some(Target::AtMost(17_500.0))),
            Judgement::value("read by its holder", Figure::new(read, "B"), Some(Target::AtMost(32_768.0))),
        ],
    };
    pair.stop().await;
    bench.clear()?;
    Ok(vec![row])
}

/// Bytes of UDP that came from a node.
async fn received(system: &System, node: NodeId) -> Result<u64> {
    let status = system.pool.status().await?;
    let connection = status.connections.iter().find(|connection| connection.node == node);
    Ok(connection.ok_or("the connection is gone")?.received_bytes)
}

/// What the process reads from files for a proof.
async fn read_bytes(pair: &Pair, tessera: &Tessera) -> Result<f64> {
    let checksum = tessera.fragments.first().ok_or("no fragment")?.checksum();
    let before = Reading::now(&pair.syncs)?;
    for group in 0..proof::groups(1 << 20) {
        pair.asks.remote.prove(pair.holder, checksum, 1 << 20, group).await?;
    }
    let used = Reading::now(&pair.syncs)?.since(before);
    Ok(used.read_bytes as f64 / f64::from(proof::groups(1 << 20)))
}

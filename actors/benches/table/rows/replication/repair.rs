//! One of the holders of a large tessera is lost: what goes over the wire until another has what it had.

use std::{collections::BTreeMap, time::Instant};

use actors::{FragmentStore, System};
use proto::{Checksum, NodeId, TesseraId};

use super::{
    DATA, HOLDERS, large_bytes,
    swarm::{Swarm, Traffic, ended, introduce},
};
use crate::{
    Result,
    report::{Figure, Judgement, Row, Target},
    rows::Bench,
};

/// What each node has, by stripe and index.
type Held = BTreeMap<NodeId, BTreeMap<(u32, u16), (Checksum, u32)>>;

/// By the author, who has all of it; and then by a holder, while the author is away.
pub(crate) async fn one_lost(bench: &Bench) -> Result<Vec<Row>> {
    let bytes = large_bytes(bench);
    let mut swarm = Swarm::start(&bench.fresh("swarm")?, HOLDERS).await?;
    let tessera = swarm.create(0, bytes).await?;
    swarm.publish(tessera).await?;
    let with_copy = repair(&mut swarm, tessera, None, 1).await?;
    let repairer = swarm.holder(tessera, 0).await?;
    let without = repair(&mut swarm, tessera, Some(repairer), 2).await?;
    let rows = vec![
        with_copy.row("repair one of 24, from a full copy", bytes, 1.05),
        without.row("repair one of 24, without a copy", bytes, (DATA + 1) as f64 * 1.05),
    ];
    swarm.stop().await;
    bench.clear()?;
    Ok(rows)
}

/// What a repair took.
struct Repaired {
    seconds: f64,
    lost_bytes: u64,
    traffic_bytes: u64,
    /// Fragments that came to be anywhere and were not lost.
    moved: usize,
}

/// Kills the holder of an index, and has another take its place: by order of a holder, or of the author.
async fn repair(
    swarm: &mut Swarm,
    tessera: TesseraId,
    repairer: Option<NodeId>,
    index: u16,
) -> Result<Repaired> {
    let spare = swarm.stranger(&format!("spare {index}")).await?;
    let by = match repairer {
        None => swarm.home.clone(),
        Some(node) => {
            let by = swarm.holders.iter().find(|holder| holder.peers.us() == node).ok_or("no such holder")?;
            for other in swarm.holders.iter().filter(|other| other.peers.us() != node) {
                introduce(by, other).await?;
            }
            by.clone()
        }
    };
    introduce(&by, &spare).await?;
    // It keeps something for an author only of whom it has heard.
    introduce(&swarm.home, &spare).await?;
    swarm.holders.push(spare);
    let dead = swarm.holder(tessera, index).await?;
    let mut before = held(&swarm.holders, tessera).await?;
    let lost = before.remove(&dead).ok_or("the dead one had nothing")?;
    swarm.kill(dead).await?;
    let mut alive: Vec<&System> = swarm.holders.iter().collect();
    match repairer {
        None => alive.push(&swarm.home),
        Some(_) => swarm.home.clone().crash().await,
    }
    let traffic = Traffic::of(&alive).await?;
    let begun = Instant::now();
    let job = by.replication.repair(tessera).await?;
    ended(&by, job).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let traffic_bytes = Traffic::of(&alive).await?.since(&traffic);
    let after = held(&swarm.holders, tessera).await?;
    let new = after.iter().flat_map(|(node, fragments)| {
        let had = before.get(node);
        fragments.iter().filter(move |(place, _)| had.is_none_or(|had| !had.contains_key(*place)))
    });
    let (came, moved): (Vec<_>, Vec<_>) = new.partition(|(place, what)| lost.get(*place) == Some(*what));
    if came.len() != lost.len() {
        return Err(format!("{} fragments were lost, and {} came back", lost.len(), came.len()).into());
    }
    let lost_bytes = lost.values().map(|(_, length)| u64::from(*length)).sum();
    Ok(Repaired { seconds, lost_bytes, traffic_bytes, moved: moved.len() })
}

async fn held(nodes: &[System], tessera: TesseraId) -> Result<Held> {
    let mut held = Held::new();
    for node in nodes {
        let rows = node.storage.checksums(tessera, (0, 0), u32::MAX >> 1).await?;
        let rows = rows.into_iter().map(|row| ((row.stripe, row.index), (row.checksum, row.length)));
        held.insert(node.peers.us(), rows.collect());
    }
    Ok(held)
}

impl Repaired {
    fn row(&self, operation: &str, bytes: usize, most: f64) -> Row {
        let mib = |bytes: u64| Figure::new(bytes as f64 / f64::from(1 << 20), " MiB");
        let ratio = self.traffic_bytes as f64 / self.lost_bytes as f64;
        Row {
            operation: operation.to_owned(),
            size: format!("{} MiB", bytes >> 20),
            clients: Some(1),
            figure: Figure::new(self.seconds, "s"),
            p50_seconds: None,
            p99_seconds: None,
            judgements: vec![
                Judgement::ratio(
                    format!("all UDP of {}, by what was lost", mib(self.traffic_bytes).value.round()),
                    mib(self.lost_bytes),
                    ratio,
                    Some(Target::AtMost(most)),
                ),
                Judgement::value(
                    "fragments moved that were not lost",
                    Figure::new(self.moved as f64, ""),
                    Some(Target::AtMost(0.0)),
                ),
            ],
        }
    }
}

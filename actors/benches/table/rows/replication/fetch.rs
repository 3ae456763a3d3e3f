//! A large tessera, brought back while a third of its holders are dead.

use std::time::Duration;

use actors::System;
use futures::future::BoxFuture;
use proto::TesseraId;

use super::{
    DATA, HOLDERS, beside_its_parts, few_rounds, large_bytes,
    parts::{Carrying, Coding, FRAGMENT_BYTES, Puts},
    swarm::{Swarm, ended, introduce, timed},
};
use crate::{
    Result,
    report::Row,
    rounds::{Contender, Work, interleave},
    rows::{Bench, network::Fan},
};

/// A node in each round that never had it.
struct Fetches {
    readers: Vec<System>,
    tessera: TesseraId,
}

/// Beside decoding, carrying and putting the same bytes.
pub(crate) async fn with_a_third_dead(bench: &Bench) -> Result<Vec<Row>> {
    let (plan, bytes) = (few_rounds(bench), large_bytes(bench));
    let mut swarm = Swarm::start(&bench.fresh("swarm")?, HOLDERS).await?;
    let tessera = swarm.create(0, bytes).await?;
    swarm.publish(tessera).await?;
    // Readers know the dead as well as the living.
    let mut readers = Vec::new();
    for round in 0..=plan.rounds {
        let reader = swarm.stranger(&format!("reader {round}")).await?;
        for holder in &swarm.holders {
            introduce(&reader, holder).await?;
        }
        readers.push(reader);
    }
    let missing: Vec<u16> = (0..u16::try_from(HOLDERS)?).step_by(3).collect();
    for index in &missing {
        swarm.kill(swarm.holder(tessera, *index).await?).await?;
    }
    let stripes = bytes / (DATA * FRAGMENT_BYTES);
    let alone = swarm.stranger("puts").await?;
    let contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(Fetches { readers, tessera }),
        Box::new(Coding::decodes(stripes, DATA, u16::try_from(HOLDERS - DATA)?, &missing)?),
        Box::new(Carrying { fan: Fan::from_many(DATA).await?, fragments: stripes }),
        Box::new(Puts::new(vec![alone], stripes * DATA)),
    ];
    let series = interleave(&plan, &swarm.syncs, contenders).await?;
    let row = beside_its_parts("fetch, 8 of 24 nodes dead", bytes, &series).ok_or("there are no rounds")?;
    swarm.stop().await;
    bench.clear()?;
    Ok(vec![row])
}

impl Contender for Fetches {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn round(&mut self, _: Duration) -> BoxFuture<'_, Result<Work>> {
        Box::pin(async {
            let reader = self.readers.pop().ok_or("a reader for each round")?;
            let work = timed(async {
                let job = reader.replication.fetch(self.tessera).await?;
                ended(&reader, job).await
            });
            let work = work.await?;
            reader.drain().await;
            Ok(work)
        })
    }
}

//! A large tessera, given to as many nodes as any layout has a use for.

use std::time::Duration;

use futures::future::BoxFuture;
use proto::TesseraId;

use super::{
    DATA, HOLDERS, beside_its_parts, few_rounds, large_bytes,
    parts::{Carrying, Coding, FRAGMENT_BYTES, Puts},
    swarm::{Swarm, timed},
};
use crate::{
    Result,
    report::Row,
    rounds::{Contender, Work, interleave},
    rows::{Bench, network::Fan},
};

/// Another tessera in each round.
struct Publishes<'a> {
    swarm: &'a Swarm,
    tesserae: Vec<TesseraId>,
}

/// Beside encoding, carrying and putting the same bytes.
pub(crate) async fn one_large(bench: &Bench) -> Result<Vec<Row>> {
    let (plan, bytes) = (few_rounds(bench), large_bytes(bench));
    let swarm = Swarm::start(&bench.fresh("swarm")?, HOLDERS).await?;
    let mut tesserae = Vec::new();
    for seed in 0..=plan.rounds {
        tesserae.push(swarm.create(seed, bytes).await?);
    }
    let stripes = bytes / (DATA * FRAGMENT_BYTES);
    let parity = u16::try_from(HOLDERS - DATA)?;
    let contenders: Vec<Box<dyn Contender + '_>> = vec![
        Box::new(Publishes { swarm: &swarm, tesserae }),
        Box::new(Coding::encodes(stripes, DATA, parity)),
        Box::new(Carrying { fan: Fan::to_many(HOLDERS).await?, fragments: stripes }),
        Box::new(Puts::new(swarm.holders.clone(), stripes)),
    ];
    let series = interleave(&plan, &swarm.syncs, contenders).await?;
    let row = beside_its_parts("publish to 24 nodes", bytes, &series).ok_or("there are no rounds")?;
    swarm.stop().await;
    bench.clear()?;
    Ok(vec![row])
}

impl Contender for Publishes<'_> {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn round(&mut self, _: Duration) -> BoxFuture<'_, Result<Work>> {
        Box::pin(async {
            let tessera = self.tesserae.pop().ok_or("a tessera for each round")?;
            timed(self.swarm.publish(tessera)).await
        })
    }
}

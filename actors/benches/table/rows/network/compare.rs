//! A million fragments, as this node knows them and as their holder does.

use std::time::Instant;

use actors::{
    FragmentStore, System,
    remote::Compared,
    storage::{Note, Receipt},
};
use bytes::Bytes;
use futures::future::try_join_all;
use proto::{AccountId, Fragment, FragmentId};

use super::nodes::Pair;
use crate::{
    Result,
    load::tessera_id,
    report::{Figure, Judgement, Row, Target},
    rounds::median,
    rows::Bench,
};

/// In 10,000 tesserae.
pub(crate) async fn few_tesserae(bench: &Bench) -> Result<Vec<Row>> {
    compare(bench, 10_000).await
}

/// In 300,000 tesserae.
pub(crate) async fn many_tesserae(bench: &Bench) -> Result<Vec<Row>> {
    compare(bench, 300_000).await
}

async fn compare(bench: &Bench, tesserae: u32) -> Result<Vec<Row>> {
    let (fragments, tesserae) =
        (bench.plan.scaled(1_000_000, 20_000), bench.plan.scaled(tesserae, tesserae / 50));
    let pair = Pair::start(&bench.fresh("pair")?).await?;
    let fragment = Fragment::hash(Bytes::from_static(b"the same everywhere"))?;
    let places: Vec<FragmentId> = (0..fragments)
        .map(|number| FragmentId {
            tessera: tessera_id(number % tesserae),
            stripe: number / tesserae,
            index: 0,
        })
        .collect();
    let account = AccountId::from(pair.author.id());
    hold(&pair.holds, account, &places, &fragment).await?;
    note(&pair, &places, &fragment).await?;
    let (same_s, same) = measured(&pair, account, bench.plan.rounds).await?;
    // Ten, each in another tessera.
    let differing: Vec<_> = places.iter().step_by(places.len() / 10).take(10).collect();
    try_join_all(differing.iter().map(|id| pair.holds.storage.drop_fragment(account, **id))).await?;
    let (differ_s, differ) = measured(&pair, account, bench.plan.rounds).await?;
    if (same.differences.len(), differ.differences.len()) != (0, 10) {
        return Err(format!("{} and {} differences", same.differences.len(), differ.differences.len()).into());
    }
    let bytes = |compared: &Compared| Figure::new(compared.bytes as f64, "B");
    let row = Row {
        operation: format!("compare {fragments} fragments of {tesserae} tesserae"),
        size: "-".to_owned(),
        clients: Some(1),
        figure: Figure::new(same_s, "s"),
        p50_seconds: None,
        p99_seconds: None,
        judgements: vec![
            Judgement::value("none differing", Figure::new(same_s, "s"), Some(Target::AtMost(0.1))),
            Judgement::value("none differing, on the wire", bytes(&same), Some(Target::AtMost(65_536.0))),
            Judgement::value("10 differing", Figure::new(differ_s, "s"), None),
            Judgement::value("10 differing, on the wire", bytes(&differ), Some(Target::AtMost(1_048_576.0))),
        ],
    };
    pair.stop().await;
    bench.clear()?;
    Ok(vec![row])
}

async fn hold(system: &System, account: AccountId, places: &[FragmentId], fragment: &Fragment) -> Result<()> {
    for some in places.chunks(256) {
        try_join_all(some.iter().map(|id| system.storage.put(account, *id, fragment.clone()))).await?;
    }
    Ok(())
}

/// What the holder would have signed. The signatures are not looked at again.
async fn note(pair: &Pair, places: &[FragmentId], fragment: &Fragment) -> Result<()> {
    let receipt = |id: &FragmentId| {
        Note::Receipt(Receipt {
            holder: pair.holder,
            fragment: *id,
            checksum: fragment.checksum(),
            length: 19,
            author: pair.author.id(),
            held_at_ms: 0,
            signed: Bytes::from_static(&[0; 200]),
        })
    };
    for some in places.chunks(4096) {
        pair.asks.storage.records().note(some.iter().map(receipt).collect()).await?;
    }
    Ok(())
}

async fn measured(pair: &Pair, account: AccountId, rounds: usize) -> Result<(f64, Compared)> {
    let records = pair.asks.storage.checksums_door();
    let (mut times, mut last) = (Vec::new(), Compared::default());
    for _ in 0..=rounds {
        let begun = Instant::now();
        last = pair.asks.remote.compare(&records, pair.holder, account).await?;
        times.push(begun.elapsed().as_secs_f64());
    }
    Ok((median(times.into_iter().skip(1)), last))
}

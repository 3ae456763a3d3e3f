//! How much memory the daemon takes for what is larger than any memory: it is given to others, mended, and brought back.

use std::{fs::File, path::Path};

use actors::System;
use config::PeerAddress;
use serde_json::Value;

use super::{HOLDERS, swarm::Swarm};
use crate::{
    Result,
    daemon::Daemon,
    report::{Figure, Judgement, Row, Target},
    rows::Bench,
};

/// 4 GiB, to and from 24 nodes.
pub(crate) async fn of_a_large_one(bench: &Bench) -> Result<Vec<Row>> {
    let bytes = bench.plan.scaled(4 << 30, 64 << 20);
    let mut swarm = Swarm::start(&bench.fresh("swarm")?, HOLDERS + 1).await?;
    let spare = swarm.holders.pop().ok_or("a spare one")?;
    let author = join(&bench.folder, "author", &swarm.holders).await?;
    // Zeros would be stored once; encrypted they are as good as anything.
    let file = bench.folder.join("zeros.bin");
    File::create(&file)?.set_len(bytes)?;
    let said = author.command(&["preserve", file.to_str().ok_or("a path that is no text")?]).await?;
    let id = said.lines().next().ok_or("no id")?.to_owned();
    let publishing = author.peak_bytes()?;
    if let Some(lost) = swarm.holders.pop() {
        lost.crash().await;
    }
    know(&author, &spare).await?;
    swarm.holders.push(spare);
    author.command(&["repair", &id]).await?;
    let repairing = author.peak_bytes()?;
    drop(author);
    let reader = join(&bench.folder, "reader", &swarm.holders).await?;
    reader.command(&["fetch", &id]).await?;
    let fetching = reader.peak_bytes()?;
    drop(reader);
    swarm.stop().await;
    bench.clear()?;
    let mib = |bytes: f64| Figure::new(bytes / f64::from(1 << 20), " MiB");
    let judged = [("publish", publishing), ("then repair", repairing), ("fetch", fetching)];
    let judgements = judged.map(|(what, peak)| {
        let what = format!("{what}, by the budget");
        Judgement::ratio(what, mib(BUDGET_BYTES), peak / BUDGET_BYTES, Some(Target::AtMost(1.1)))
    });
    Ok(vec![Row {
        operation: "memory, publish, repair and fetch".to_owned(),
        size: format!("{} MiB", bytes >> 20),
        clients: Some(1),
        figure: mib(publishing.max(repairing).max(fetching)),
        p50_seconds: None,
        p99_seconds: None,
        judgements: judgements.into(),
    }])
}

/// A daemon that knows these nodes, and is known to them.
async fn join(folder: &Path, name: &str, holders: &[System]) -> Result<Daemon> {
    let daemon = Daemon::listening(&folder.join(name), "127.0.0.1:0").await?;
    for holder in holders {
        know(&daemon, holder).await?;
    }
    Ok(daemon)
}

async fn know(daemon: &Daemon, holder: &System) -> Result<()> {
    let status: Value = serde_json::from_str(&daemon.command(&["status", "--json"]).await?)?;
    let text = |path: &str| status.pointer(path).and_then(Value::as_str).ok_or("it does not say where it is");
    let at: PeerAddress = format!("{}@{}", text("/node")?, text("/network/listens_at")?).parse()?;
    let allow = Some(u64::MAX / 4);
    holder.peers.add(at.node, &at.addresses, allow, None).await?;
    let at = format!("{}@{}", holder.peers.us(), holder.pool.address());
    daemon.command(&["peers", "add", &at]).await?;
    daemon.command(&["peers", "ping", &holder.peers.us().to_string()]).await?;
    Ok(())
}

/// performance.memory_budget_mb where nobody has set it.
const BUDGET_BYTES: f64 = (256 << 20) as f64;

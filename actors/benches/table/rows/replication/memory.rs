//! How much memory the daemon takes for what is larger than any memory: it is given to others, kept, mended, and brought back.

use std::{fs::File, path::Path};

use actors::System;
use config::PeerAddress;
use serde_json::Value;

use super::{DATA, HOLDERS, swarm::Swarm};
use crate::{
    Result,
    daemon::Daemon,
    report::{Figure, Judgement, Row, Target},
    rows::Bench,
};

/// 4 GiB, to and from 24 nodes.
pub(crate) async fn of_a_large_one(bench: &Bench) -> Result<Vec<Row>> {
    let bytes = bench.plan.scaled(4 << 30, 64 << 20);
    // With one that is a daemon, and two that step in for others.
    let mut swarm = Swarm::start(&bench.fresh("swarm")?, HOLDERS + 1).await?;
    let spares = swarm.holders.split_off(HOLDERS - 1);
    let holder = join(&bench.folder, "holder", &swarm.holders).await?;
    let author = join(&bench.folder, "author", &swarm.holders).await?;
    meet(&author, &holder).await?;
    // Zeros would be stored once; encrypted they are as good as anything.
    let file = bench.folder.join("zeros.bin");
    File::create(&file)?.set_len(bytes)?;
    let said = author.command(&["preserve", file.to_str().ok_or("a path that is no text")?]).await?;
    let id = said.lines().next().ok_or("no id")?.to_owned();
    let (publishing, keeping) = (author.peak_bytes()?, holder.peak_bytes()?);
    for spare in &spares {
        know(&author, spare).await?;
        know(&holder, spare).await?;
    }
    let mut peaks = Vec::new();
    let mut author = Some(author);
    for spare in spares {
        swarm.holders.swap_remove(0).crash().await;
        swarm.holders.push(spare);
        // First by the author, who has all of it; then by a holder, who has a part.
        let by = author.as_ref().unwrap_or(&holder);
        by.command(&["repair", &id]).await?;
        peaks.push(by.peak_bytes()?);
        author = None;
    }
    let [repairing, rebuilding] = peaks[..] else { return Err("two repairs".into()) };
    for dead in swarm.holders.drain(..HOLDERS - DATA) {
        dead.crash().await;
    }
    let reader = join(&bench.folder, "reader", &swarm.holders).await?;
    meet(&reader, &holder).await?;
    reader.command(&["fetch", &id]).await?;
    let fetching = reader.peak_bytes()?;
    drop((reader, holder));
    swarm.stop().await;
    bench.clear()?;
    let mib = |bytes: f64| Figure::new(bytes / f64::from(1 << 20), " MiB");
    let judged = [
        ("publish", publishing),
        ("then repair", repairing),
        ("keep a part", keeping),
        ("then repair without a copy", rebuilding),
        ("fetch with 8 dead", fetching),
    ];
    let most = judged.iter().map(|(_, peak)| *peak).fold(0.0, f64::max);
    let judgements = judged.map(|(what, peak)| {
        let what = format!("{what}, by the budget");
        Judgement::ratio(what, mib(BUDGET_BYTES), peak / BUDGET_BYTES, Some(Target::AtMost(1.1)))
    });
    Ok(vec![Row {
        operation: "memory, publish, repair and fetch".to_owned(),
        size: format!("{} MiB", bytes >> 20),
        clients: Some(1),
        figure: mib(most),
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
    let at: PeerAddress = address(daemon).await?.parse()?;
    let allow = Some(u64::MAX / 4);
    holder.peers.add(at.node, &at.addresses, allow, None).await?;
    let at = format!("{}@{}", holder.peers.us(), holder.pool.address());
    daemon.command(&["peers", "add", &at]).await?;
    daemon.command(&["peers", "ping", &holder.peers.us().to_string()]).await?;
    Ok(())
}

/// Makes two daemons known to each other.
async fn meet(one: &Daemon, other: &Daemon) -> Result<()> {
    for (one, other) in [(one, other), (other, one)] {
        one.command(&["peers", "add", &address(other).await?, "--allow", "1 TiB"]).await?;
    }
    let at = address(other).await?;
    let (node, _) = at.split_once('@').ok_or("no address")?;
    one.command(&["peers", "ping", node]).await?;
    Ok(())
}

/// Who a daemon is, and where.
async fn address(daemon: &Daemon) -> Result<String> {
    let status: Value = serde_json::from_str(&daemon.command(&["status", "--json"]).await?)?;
    let text = |path: &str| status.pointer(path).and_then(Value::as_str).ok_or("it does not say where it is");
    Ok(format!("{}@{}", text("/node")?, text("/network/listens_at")?))
}

/// performance.memory_budget_mb where nobody has set it.
const BUDGET_BYTES: f64 = (256 << 20) as f64;

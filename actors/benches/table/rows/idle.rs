//! What a daemon does when nobody asks it for anything.

use std::time::Duration;

use crate::{
    Result,
    daemon::Daemon,
    load::tessera_id,
    report::{Figure, Judgement, Row, Target},
    rows::Bench,
};

/// After what was put has come to rest.
pub(crate) async fn for_ten_minutes(bench: &Bench) -> Result<Vec<Row>> {
    let daemon = Daemon::start(&bench.fresh("daemon")?).await?;
    let (mut connection, mut answer) = (daemon.connect().await?, Vec::new());
    for stripe in 0..64_u32 {
        let path = format!("/v1/tesseras/{}/fragments/{stripe}/0", tessera_id(0));
        connection.ask("PUT", &path, &stripe.to_le_bytes().repeat(16 << 10), &mut answer).await?;
    }
    drop(connection);
    tokio::time::sleep(bench.plan.scaled(REST, Duration::from_millis(100))).await;
    let length = bench.plan.scaled(Duration::from_secs(600), Duration::from_secs(1));
    let before = daemon.used()?;
    tokio::time::sleep(length).await;
    let used = daemon.used()?.since(before);
    drop(daemon);
    bench.clear()?;
    let share = Figure::new(used.cpu_seconds / length.as_secs_f64() * 100.0, " %");
    Ok(vec![Row {
        operation: "idle".to_owned(),
        size: format!("{} s", length.as_secs()),
        clients: None,
        figure: share,
        p50_seconds: None,
        p99_seconds: None,
        judgements: vec![
            Judgement::value("of a core", share, Some(Target::AtMost(0.2))),
            Judgement::value(
                "pages written",
                Figure::new(used.written_bytes / PAGE_BYTES, ""),
                Some(Target::AtMost(10.0)),
            ),
            Judgement::value(
                "calls that write, to wake threads too",
                Figure::new(used.write_calls, ""),
                None,
            ),
        ],
    }])
}

/// What the disk is given at a time, at least.
const PAGE_BYTES: f64 = 4096.0;
/// The index is at rest, and its log is shortened, half a minute after the last write.
const REST: Duration = Duration::from_secs(90);

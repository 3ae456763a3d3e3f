//! What the node says about itself while it runs: metrics for machines, a log for people, and both, with traces, for a
//! collector.

mod gate;
mod line;
pub(crate) mod log;
pub(crate) mod metrics;
#[cfg(test)]
mod moves;
pub(crate) mod otlp;
mod process;
mod repeats;

use std::{thread, time::Duration};

use tokio::{sync::oneshot, time::timeout};

use log::Log;
use metrics::Metrics;
use otlp::Otlp;

/// Says and sends what is left, within a deadline. For the end of the process.
pub(crate) async fn finish(log: Log, metrics: Metrics, otlp: Option<Otlp>) {
    log.finish();
    let (done, ended) = oneshot::channel();
    // A thread of its own: the end of the process waits for those that may block.
    let sending = thread::Builder::new().name("telemetry-end".to_owned()).spawn(move || {
        metrics.shutdown();
        if let Some(otlp) = otlp {
            otlp.shutdown();
        }
        // Whoever waited may have gone.
        let _ = done.send(());
    });
    if sending.is_err() || timeout(FINISH_DEADLINE, ended).await.is_err() {
        tracing::warn!("the collector did not take in time what was left for it");
    }
}

/// How long the end of the process waits for the collector.
const FINISH_DEADLINE: Duration = Duration::from_secs(5);

//! Health, metrics and the status page over TCP, for those who watch.
//!
//! # Invariants
//! 1. An address that is taken keeps no memory from anyone: the node runs, says what is wrong, and tries again, less and
//!    less often, until it can listen or stops.
//! 2. Tried before the storage is opened, which takes long: until then whoever connects waits.

use std::{io, net::SocketAddr, time::Duration};

use axum::Router;
use tokio::{net::TcpListener, sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::connections::{self, Bounds},
    telemetry::metrics::Metrics,
};

/// Where is listened, or will be.
#[derive(Debug)]
pub(crate) struct OverTcp {
    wanted: SocketAddr,
    listener: Option<(TcpListener, SocketAddr)>,
    trouble: watch::Sender<Option<String>>,
}

impl OverTcp {
    /// At this address, if that is possible now. The other end says why it is not.
    pub(crate) async fn at(wanted: SocketAddr) -> (Self, watch::Receiver<Option<String>>) {
        let (trouble, told) = watch::channel(None);
        let mut this = Self { wanted, listener: None, trouble };
        if let Err(error) = this.listen().await {
            tracing::error!(%error, address = %wanted, "health and metrics are not served over TCP: {REMEDY}");
        }
        (this, told)
    }

    /// Serves what there is for an address, from when it can be listened there until `stopped`.
    pub(crate) async fn serve(
        mut self,
        router: impl FnOnce(SocketAddr) -> Router,
        metrics: Metrics,
        stopped: CancellationToken,
    ) {
        let mut wait = RETRY_MIN;
        let (listener, address) = loop {
            if let Some(listener) = self.listener.take() {
                break listener;
            }
            if stopped.run_until_cancelled(sleep(wait)).await.is_none() {
                return;
            }
            if let Err(error) = self.listen().await {
                tracing::debug!(%error, address = %self.wanted, "health and metrics are still not served over TCP");
            }
            wait = RETRY_MAX.min(wait * 2);
        };
        tracing::info!(metrics = %address, "serving health, metrics and the status page over TCP");
        connections::serve(listener, router(address), WATCHERS, metrics, stopped).await;
    }

    async fn listen(&mut self) -> io::Result<()> {
        let bound = async {
            let listener = TcpListener::bind(self.wanted).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (trouble, outcome) = match bound.await {
            Ok(listener) => {
                self.listener = Some(listener);
                (None, Ok(()))
            }
            Err(error) => (Some(format!("not served on {}: {error}; {REMEDY}", self.wanted)), Err(error)),
        };
        self.trouble.send_replace(trouble);
        outcome
    }
}

const REMEDY: &str = "it is tried again; set observability.metrics_addr to another, or to \"off\"";
const WATCHERS: Bounds =
    Bounds { connections: 16, silence: Duration::from_secs(10), drain: Duration::from_secs(1) };
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(300);

//! Connections: accepts them within a bound, speaks HTTP/1.1 on each, and ends them in order.
//!
//! # Invariants
//! 1. A permit is taken before a connection is accepted and rides inside its task, so their number is bounded.
//! 2. A caller that sends no complete request in time, or takes nothing of its answer for too long, is cut: what is
//!    held for it is not held for ever. One that sends too long a head is refused.
//! 3. On drain nothing new is accepted and each connection ends after the request it is in; what is left at the
//!    deadline is cut, so that no client takes half an answer for a whole one.

use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::timeout,
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use super::{problems, socket::Socket};

/// Where connections come from.
pub(crate) trait Listener: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection, and whether its other end may use the node.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, bool)>> + Send;
}

impl Listener for Socket {
    type Stream = UnixStream;

    fn accept(&self) -> impl Future<Output = io::Result<(UnixStream, bool)>> + Send {
        Self::accept(self)
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, bool)> {
        let (stream, _) = Self::accept(self).await?;
        Ok((stream, true))
    }
}

/// What callers may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Connections at a time.
    pub(crate) connections: usize,
    /// How long one may take nothing of what is sent to it.
    pub(crate) silence: Duration,
    /// How long requests under way may go on when nothing new is accepted any more.
    pub(crate) drain: Duration,
}

/// Serves `router` to whoever connects, within `bounds`, until `draining` and the requests under way are done.
pub(crate) async fn serve<L: Listener>(
    listener: L,
    router: Router,
    bounds: Bounds,
    draining: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(bounds.connections));
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        tokio::select! {
            () = draining.cancelled() => break,
            accepted = accept(&listener, &permits) => {
                let Some((stream, allowed, permit)) = accepted else { continue };
                let router = if allowed { router.clone() } else { problems::router_for_strangers() };
                let stream = patient(stream, bounds.silence);
                tasks.spawn(connection(stream, router, permit, draining.clone()));
            }
        }
    }
    drop(listener);
    if timeout(bounds.drain, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!(connections = tasks.len(), "the deadline has passed: these connections are cut");
    }
}

async fn accept<L: Listener>(
    listener: &L,
    permits: &Arc<Semaphore>,
) -> Option<(L::Stream, bool, OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, allowed)) => Some((stream, allowed, permit)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            None
        }
    }
}

/// Writing to it fails when the other end takes nothing for so long.
fn patient<S: AsyncRead + AsyncWrite>(stream: S, silence: Duration) -> Pin<Box<TimeoutStream<S>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(silence));
    Box::pin(stream)
}

async fn connection<S>(stream: S, router: Router, permit: OwnedSemaphorePermit, draining: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = draining.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection ended early");
    }
    drop(permit);
}

/// A caller has this long to send a request's head, and between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const HEAD_BYTES_MAX: usize = 16 << 10;
/// What one connection buffers while reading, in bytes.
const BUFFER_BYTES_MAX: usize = 128 << 10;
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

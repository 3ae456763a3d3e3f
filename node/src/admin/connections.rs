//! Connections: accepts them within a bound, speaks HTTP/1.1 on each, and ends them in order.
//!
//! # Invariants
//! 1. A permit rides inside the task of each connection, so their number is bounded. One more is accepted: it waits for
//!    a permit, for which another gives way if one waits for nothing but its next request.
//! 2. A caller that sends no complete request in time, or takes nothing of its answer for too long, is cut: what is
//!    held for it is not held for ever. One that sends too long a head is refused.
//! 3. A caller that only ends what it sends gets its answer; one that is gone is noticed at once, whatever it has under
//!    way.
//! 4. On drain nothing new is accepted and each connection ends after the request it is in; what is left at the
//!    deadline is cut, so that no client takes half an answer for a whole one.

use std::{convert::Infallible, future::Future, io, os::fd::AsFd, pin::Pin, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http_body_util::BodyExt;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::Service};
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

use super::{
    callers::{Caller, Callers},
    gone::Gone,
    panics, problems, refusals,
    socket::Socket,
    watched::Watched,
};
use crate::{pipe, telemetry::metrics::Metrics};

/// Where connections come from.
pub(crate) trait Listener: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static;

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

/// Serves `router` to whoever connects, within `bounds`, until `draining` and the requests under way are done. What is
/// refused is counted.
pub(crate) async fn serve<L: Listener>(
    listener: L,
    router: Router,
    bounds: Bounds,
    metrics: Metrics,
    draining: CancellationToken,
) {
    let router = refusals::counted(panics::answered(router), &metrics);
    let for_strangers = refusals::counted(problems::router_for_strangers(), &metrics);
    let (permits, callers) = (Arc::new(Semaphore::new(bounds.connections)), Callers::default());
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        tokio::select! {
            () = draining.cancelled() => break,
            accepted = accept(&listener, &permits, &callers) => {
                let Some((stream, allowed, permit)) = accepted else { continue };
                let Ok(gone) = Gone::watch(&stream).inspect_err(cannot_be_watched) else { continue };
                let router = if allowed { router.clone() } else { for_strangers.clone() };
                let caller = callers.join();
                let stream = Watched::new(patient(stream, bounds.silence), caller.clone());
                tasks.spawn(connection(stream, gone, Asked { router, caller }, permit, draining.clone()));
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
    callers: &Callers,
) -> Option<(L::Stream, bool, OwnedSemaphorePermit)> {
    match listener.accept().await {
        Ok((stream, allowed)) => Some((stream, allowed, place(permits, callers).await?)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            None
        }
    }
}

fn cannot_be_watched(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be watched, and is closed");
}

/// A place for one more. The semaphore is never closed.
async fn place(permits: &Arc<Semaphore>, callers: &Callers) -> Option<OwnedSemaphorePermit> {
    let free = Arc::clone(permits).acquire_owned();
    tokio::pin!(free);
    tokio::select! {
        biased;
        permit = free.as_mut() => permit.ok(),
        // Its permit is free in a moment, and no other one has to be cut for this.
        () = callers.cut_one() => free.await.ok(),
    }
}

/// Writing to it fails when the other end takes nothing for so long.
fn patient<S: AsyncRead + AsyncWrite>(stream: S, silence: Duration) -> Pin<Box<TimeoutStream<S>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(silence));
    Box::pin(stream)
}

/// The endpoints, for one caller.
struct Asked {
    router: Router,
    caller: Caller,
}

impl Service<Request<Incoming>> for Asked {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let under_way = self.caller.asks();
        let router = TowerToHyperService::new(self.router.clone());
        Box::pin(async move {
            // Its connection is about to be dropped.
            let Some(under_way) = under_way else { return std::future::pending().await };
            let answer = router.call(request).await?;
            // It is under way until the last of the body is sent.
            Ok(answer.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    let _ = &under_way;
                    frame
                }))
            }))
        })
    }
}

async fn connection<S>(
    stream: S,
    gone: Gone,
    asked: Asked,
    permit: OwnedSemaphorePermit,
    draining: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let caller = asked.caller.clone();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Else whoever ends what it sends after its request counts as gone, and gets no answer.
        .half_close(true)
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), asked);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = gone.wait() => return,
        () = caller.cut() => {
            tracing::debug!("a connection gave way to a new one");
            return;
        }
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
/// What one connection buffers while reading, and from where on it takes no more to write, in bytes.
const BUFFER_BYTES_MAX: usize = 32 << 10;
/// What one connection holds of a request that nothing is reserved for, in bytes: the beginning of a body, or the last
/// pieces of an answer that nobody takes.
pub(crate) const BYTES_MAX: u64 = (BUFFER_BYTES_MAX + 2 * pipe::PIECE_BYTES) as u64;
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

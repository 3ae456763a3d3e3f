//! Bodies on their way out that memory is held for.
//!
//! # Invariants
//! 1. What makes the pieces, and the memory for that, ends with the body: when it was sent, when its caller left, or when
//!    its caller had to give way.
//! 2. A body that failed breaks off, so that what came is not taken for all.

use std::{io, pin::pin};

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::memory::Reserved;
use crate::pipe;

/// These pieces, as a body. A task of their own makes them, so that a caller that takes nothing can be left alone.
pub(super) fn body<E>(
    pieces: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    reserved: Reserved,
) -> Body
where
    E: std::error::Error + Send + Sync + 'static,
{
    let (to, from) = pipe::between_tasks();
    tokio::spawn(send(pieces, to, reserved));
    Body::from_stream(from)
}

async fn send<E>(pieces: impl Stream<Item = Result<Bytes, E>> + Send, to: pipe::Sender, reserved: Reserved)
where
    E: std::error::Error + Send + Sync + 'static,
{
    // Pieces and memory are gone before the end is said: nobody may be there to hear it for long.
    match pass_on(pieces, &to, reserved).await {
        Ok(()) => to.finish().await,
        Err(error) => to.fail(error).await,
    }
}

/// Sends all pieces, or as many as are wanted.
async fn pass_on<E>(
    pieces: impl Stream<Item = Result<Bytes, E>> + Send,
    to: &pipe::Sender,
    reserved: Reserved,
) -> io::Result<()>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let pace = reserved.pace();
    let mut pieces = pin!(pieces);
    loop {
        let piece = tokio::select! {
            piece = pieces.next() => piece,
            () = to.closed() => return Ok(()),
        };
        let Some(bytes) = piece.transpose().map_err(io::Error::other)? else { return Ok(()) };
        let length = bytes.len();
        let sent = pace.wait(to.send(bytes)).await;
        if !sent.inspect_err(|error| tracing::info!(%error, "an answer was broken off"))? {
            return Ok(());
        }
        pace.moved(length);
    }
}

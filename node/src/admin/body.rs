//! Bodies on their way in.
//!
//! # Invariants
//! 1. A caller that sends nothing for [`IDLE_TIMEOUT`] is cut off; how much it sends is the reader's business.
//! 2. When nobody reads any more, because the request was refused, what still comes is thrown away for a while: else
//!    the caller would see a broken pipe instead of the refusal.

use std::{io, pin::pin, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body_util::{BodyExt, Limited};
use tokio::{io::AsyncRead, sync::mpsc, time::timeout};
use tokio_util::io::StreamReader;

use crate::problem::{Kind, Problem};

/// The body as a reader.
pub(super) fn reader(body: Body) -> impl AsyncRead + Unpin + Send {
    let (to, mut from) = mpsc::channel(PIECES_WAITING);
    tokio::spawn(pump(body.into_data_stream().map(|piece| piece.map_err(io::Error::other)), to));
    StreamReader::new(futures::stream::poll_fn(move |context| from.poll_recv(context)))
}

/// The whole body, if it is no longer than this.
pub(super) async fn whole(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let collected = timeout(IDLE_TIMEOUT, Limited::new(body, limit).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Problem::new(Kind::TooLarge, format!("the body is longer than {limit} bytes")))
        }
        Ok(Err(error)) => Err(Problem::new(Kind::BadRequest, format!("the body broke off: {error}"))),
        Err(_) => Err(Problem::new(Kind::Timeout, silent())),
    }
}

async fn pump(body: impl Stream<Item = io::Result<Bytes>>, to: mpsc::Sender<io::Result<Bytes>>) {
    let mut body = pin!(body);
    loop {
        let piece = match timeout(IDLE_TIMEOUT, body.next()).await {
            Ok(None) => return,
            Ok(Some(piece)) => piece,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, silent())),
        };
        let failed = piece.is_err();
        if to.send(piece).await.is_err() {
            break;
        }
        if failed {
            return;
        }
    }
    // Whoever has read the refusal hangs up; whoever has not gets no more than this.
    let _ = timeout(THROW_AWAY, async { while let Some(Ok(_)) = body.next().await {} }).await;
}

fn silent() -> String {
    format!("nothing was sent for {} s", IDLE_TIMEOUT.as_secs())
}

/// How long a caller may send nothing in the middle of a body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the rest of a refused body is thrown away.
const THROW_AWAY: Duration = Duration::from_secs(5);
const PIECES_WAITING: usize = 2;

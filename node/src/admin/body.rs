//! Bodies on their way in.
//!
//! # Invariants
//! 1. Memory is held for nobody who has not begun.
//! 2. A caller that sends nothing for [`IDLE_TIMEOUT`] is cut off, and one that is slow while others need the memory;
//!    how much it sends is the reader's business.
//! 3. When nobody reads any more, because the request was refused, what still comes is thrown away for a while: else
//!    the caller would see a broken pipe instead of the refusal.

use std::{io, sync::Arc, time::Duration};

use axum::body::{Body, BodyDataStream, HttpBody};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use proto::buffer::Buffer;
use tokio::{io::AsyncRead, sync::mpsc, time::timeout};
use tokio_util::io::StreamReader;

use super::pace::{Pace, STEP_BYTES};
use crate::problem::{Kind, Problem};

/// The same body, when its beginning has come: until then nobody needs memory for it, however slow it is.
pub(super) async fn begun(body: Body) -> Result<Body, Problem> {
    let mut rest = body.into_data_stream().fuse();
    let mut begin = BytesMut::new();
    let beginning = async {
        while begin.len() < BEGIN_BYTES
            && let Some(piece) = rest.next().await.transpose()?
        {
            begin.extend_from_slice(&piece);
        }
        Ok::<(), axum::Error>(())
    };
    match timeout(BEGIN_DEADLINE, beginning).await {
        Ok(Ok(())) => Ok(Body::from_stream(stream::iter([Ok(begin.freeze())]).chain(rest))),
        Ok(Err(error)) => Err(broke_off(&error)),
        Err(_) => {
            let (bytes, seconds) = (BEGIN_BYTES, BEGIN_DEADLINE.as_secs());
            let detail = format!("of the body came neither its end nor {bytes} bytes within {seconds} s");
            Err(Problem::new(Kind::Timeout, detail))
        }
    }
}

/// The body as a reader.
pub(super) fn reader(body: Body, pace: Arc<Pace>) -> impl AsyncRead + Unpin + Send {
    let (to, mut from) = mpsc::channel(PIECES_WAITING);
    tokio::spawn(pump(body, pace, to));
    StreamReader::new(stream::poll_fn(move |context| from.poll_recv(context)))
}

/// The whole body, if it is no longer than this.
pub(super) async fn whole(body: Body, limit: usize, pace: &Pace) -> Result<Bytes, Problem> {
    let mut body = body.into_data_stream();
    let mut whole = Buffer::up_to(limit);
    while let Some(piece) = next(&mut body, pace).await.transpose() {
        let piece = piece.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Problem::new(Kind::Timeout, error.to_string()),
            _ => broke_off(&error),
        })?;
        if !whole.fill(&piece).is_empty() {
            tokio::spawn(throw_away(body));
            return Err(Problem::new(Kind::TooLarge, format!("the body is longer than {limit} bytes")));
        }
    }
    Ok(whole.freeze())
}

/// The whole of a body for which no memory is reserved: one that is longer than [`SHORT_BYTES_MAX`] is refused.
pub(super) async fn short(body: Body) -> Result<Bytes, Problem> {
    let mut rest = body.into_data_stream();
    let mut whole = BytesMut::new();
    let all = async {
        while let Some(piece) = rest.next().await.transpose()? {
            if whole.len() + piece.len() > SHORT_BYTES_MAX {
                return Ok(false);
            }
            whole.extend_from_slice(&piece);
        }
        Ok::<bool, axum::Error>(true)
    };
    match timeout(BEGIN_DEADLINE, all).await {
        Ok(Ok(true)) => Ok(whole.freeze()),
        Ok(Ok(false)) => {
            tokio::spawn(throw_away(rest));
            Err(Problem::new(Kind::TooLarge, format!("the body is longer than {SHORT_BYTES_MAX} bytes")))
        }
        Ok(Err(error)) => Err(broke_off(&error)),
        Err(_) => {
            let seconds = BEGIN_DEADLINE.as_secs();
            Err(Problem::new(Kind::Timeout, format!("the end of the body did not come within {seconds} s")))
        }
    }
}

/// The next piece of a body, `None` at its end. Fails with [`io::ErrorKind::TimedOut`] when the caller is silent for
/// too long, or slow while others need the memory.
async fn next(body: &mut BodyDataStream, pace: &Pace) -> io::Result<Option<Bytes>> {
    let silent = || io::Error::new(io::ErrorKind::TimedOut, silent());
    let piece = timeout(IDLE_TIMEOUT, pace.wait(body.next())).await.map_err(|_| silent())?;
    let piece = piece.ok_or_else(too_slow)?;
    let piece = piece.transpose().map_err(io::Error::other)?;
    pace.moved(piece.as_ref().map_or(0, Bytes::len));
    Ok(piece)
}

async fn pump(body: Body, pace: Arc<Pace>, to: mpsc::Sender<io::Result<Bytes>>) {
    let mut body = body.into_data_stream();
    loop {
        let Some(piece) = next(&mut body, &pace).await.transpose() else { return };
        let failed = piece.is_err();
        if to.send(piece).await.is_err() {
            break;
        }
        if failed {
            return;
        }
    }
    throw_away(body).await;
}

/// A body that is not taken, as the request is refused.
pub(super) fn throw_away_soon(body: Body) {
    if !body.is_end_stream() {
        tokio::spawn(throw_away(body.into_data_stream()));
    }
}

async fn throw_away(mut body: BodyDataStream) {
    // Whoever has read the refusal hangs up; whoever has not gets no more than this.
    let _ = timeout(THROW_AWAY, async { while let Some(Ok(_)) = body.next().await {} }).await;
}

fn broke_off(error: &dyn std::error::Error) -> Problem {
    Problem::new(Kind::BadRequest, format!("the body broke off: {error}"))
}

fn silent() -> String {
    format!("nothing was sent for {} s", IDLE_TIMEOUT.as_secs())
}

fn too_slow() -> io::Error {
    let (bytes, seconds) = (STEP_BYTES, PATIENCE.as_secs());
    let reason = format!(
        "other requests need the memory that this one holds, and for fewer than {bytes} bytes it was waited for longer \
         than {seconds} s"
    );
    io::Error::new(io::ErrorKind::TimedOut, reason)
}

/// How long a caller may be waited for over one step when others need the memory.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// So much of a body, or all of it, must come in time. As many bytes are not reserved for each connection.
const BEGIN_BYTES: usize = 32 << 10;
const BEGIN_DEADLINE: Duration = Duration::from_secs(30);

/// A body that says what to do, and is nothing that is kept.
const SHORT_BYTES_MAX: usize = 16 << 10;
const _: () = assert!(SHORT_BYTES_MAX <= BEGIN_BYTES);

/// How long a caller may send nothing in the middle of a body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the rest of a refused body is thrown away.
const THROW_AWAY: Duration = Duration::from_secs(5);
const PIECES_WAITING: usize = 2;

//! Bodies on their way out that memory is held for.
//!
//! # Invariants
//! 1. What makes the pieces, and the memory for that, ends with the body: when it was sent, or when its caller left.
//! 2. A caller that takes nothing while others need the memory gives it back, and goes on when it takes something: a film
//!    may be paused for as long as one likes.
//! 3. A body that failed breaks off, so that what came is not taken for all.

use std::{error::Error, future::Future, io, pin::pin, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::{memory::Reserved, pace::Pace};
use crate::{pipe, problem::Problem};

/// These pieces, as a body. `again` makes those behind so many bytes anew.
pub(super) fn body<Pieces, E, Opening>(
    pieces: Pieces,
    again: impl Fn(u64) -> Opening + Send + Sync + 'static,
    reserved: Reserved,
) -> Body
where
    Pieces: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Error + Send + Sync + 'static,
    Opening: Future<Output = Result<Pieces, Problem>> + Send,
{
    let (to, from) = pipe::between_tasks();
    tokio::spawn(async move {
        // Pieces and memory are gone before the end is said: nobody may be there to hear it for long.
        match send(pieces, again, &to, reserved).await {
            Ok(()) => to.finish().await,
            Err(error) => to.fail(error).await,
        }
    });
    Body::from_stream(from)
}

async fn send<Pieces, E, Opening>(
    mut pieces: Pieces,
    again: impl Fn(u64) -> Opening,
    to: &pipe::Sender,
    mut reserved: Reserved,
) -> io::Result<()>
where
    Pieces: Stream<Item = Result<Bytes, E>>,
    E: Error + Send + Sync + 'static,
    Opening: Future<Output = Result<Pieces, Problem>>,
{
    let mut sent = 0;
    loop {
        match send_some(pieces, to, &reserved.pace(PATIENCE), &mut sent).await? {
            Sent::All => return Ok(()),
            Sent::Some => tracing::debug!(sent, "an answer that nobody takes gives its memory back"),
        }
        let released = reserved.release();
        if !to.has_room().await {
            return Ok(());
        }
        reserved = released.reserve().await.map_err(failed)?;
        pieces = again(sent).await.map_err(failed)?;
    }
}

/// How much was sent.
enum Sent {
    /// All that anybody wants.
    All,
    /// As much as was taken while nobody else needed the memory.
    Some,
}

async fn send_some<E>(
    pieces: impl Stream<Item = Result<Bytes, E>>,
    to: &pipe::Sender,
    pace: &Pace,
    sent: &mut u64,
) -> io::Result<Sent>
where
    E: Error + Send + Sync + 'static,
{
    let mut pieces = pin!(pieces);
    loop {
        let piece = tokio::select! {
            piece = pieces.next() => piece,
            () = to.closed() => return Ok(Sent::All),
        };
        let Some(bytes) = piece.transpose().map_err(io::Error::other)? else { return Ok(Sent::All) };
        let length = bytes.len();
        match pace.wait(to.send(bytes)).await {
            Some(true) => {
                pace.moved(length);
                *sent += length as u64;
            }
            Some(false) => return Ok(Sent::All),
            None => return Ok(Sent::Some),
        }
    }
}

fn failed(problem: Problem) -> io::Error {
    tracing::warn!(reason = problem.detail, "an answer could not go on");
    io::Error::other(problem.detail)
}

/// How long a caller may take nothing before it gives the memory back, if others need it.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
    };

    use futures::stream;
    use http_body_util::BodyExt;

    use super::*;
    use crate::admin::memory::Memory;

    fn numbers(from: u64) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        stream::iter((from..100).map(|number| Ok(Bytes::from(vec![number.to_le_bytes()[0]]))))
    }

    #[tokio::test(start_paused = true)]
    async fn answer_that_nobody_takes_gives_its_memory_back_and_goes_on_later() {
        let memory = Memory::new(actors::budget::Budget::new(1 << 20));
        let opened = Arc::new(AtomicU64::new(0));
        let again = {
            let opened = Arc::clone(&opened);
            move |sent| {
                opened.fetch_add(1, Ordering::Relaxed);
                async move { Ok(numbers(sent)) }
            }
        };
        let body = body(numbers(0), again, memory.reserve(1).await.unwrap());
        drop(memory.reserve(1).await.unwrap());
        let bytes = body.collect().await.unwrap().to_bytes();
        assert_eq!(bytes, (0..100).collect::<Vec<u8>>());
        assert_eq!(opened.load(Ordering::Relaxed), 1, "only then it is made anew");
    }
}

//! Pipes between threads that read and write as `std` does and tasks that send and receive bodies.
//!
//! # Invariants
//! 1. A pipe holds a few pieces and no more; the faster side waits for the slower.
//! 2. An end is an end only when it was said. Whoever is dropped before `finish` makes the other side fail: nothing
//!    is taken for whole because its maker died.

use std::{
    io::{self, Read, Write},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use futures::Stream;
use tokio::sync::mpsc;

/// What travels: bytes, the end (`None`), or why there are no more.
type Piece = io::Result<Option<Bytes>>;

/// A pipe from a thread to a task.
pub(crate) fn from_thread() -> (Writer, Pieces) {
    let (to, from) = mpsc::channel(PIECES_MAX);
    (Writer { to, buffer: BytesMut::new() }, Pieces { from, ended: false })
}

/// A pipe from a task to a task. It holds one piece: neither end needs a thread to be woken.
pub(crate) fn between_tasks() -> (Sender, Pieces) {
    let (to, from) = mpsc::channel(1);
    (Sender { to }, Pieces { from, ended: false })
}

/// A pipe from a task to a thread.
pub(crate) fn to_thread() -> (Sender, Reader) {
    let (to, from) = mpsc::channel(PIECES_MAX);
    (Sender { to }, Reader { from, rest: Some(Bytes::new()) })
}

/// Where a thread writes. Must not be used on a thread of the runtime: it blocks.
#[derive(Debug)]
pub(crate) struct Writer {
    to: mpsc::Sender<Piece>,
    buffer: BytesMut,
}

impl Writer {
    /// Says that this was all.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.to.blocking_send(Ok(None)).map_err(|_| nobody_reads())
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.reserve(PIECE_BYTES.saturating_sub(self.buffer.len()));
        let taken = bytes.len().min(PIECE_BYTES - self.buffer.len());
        let (taken_bytes, _) = bytes.split_at(taken);
        self.buffer.extend_from_slice(taken_bytes);
        if self.buffer.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = self.buffer.split().freeze();
        self.to.blocking_send(Ok(Some(piece))).map_err(|_| nobody_reads())
    }
}

/// What a thread writes or a task sends, as a stream.
#[derive(Debug)]
pub(crate) struct Pieces {
    from: mpsc::Receiver<Piece>,
    ended: bool,
}

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.from.poll_recv(context).map(|piece| match piece.unwrap_or_else(|| Err(cut_off())) {
            Ok(Some(bytes)) => Some(Ok(bytes)),
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        })
    }
}

/// Where a task sends what a thread or another task reads.
#[derive(Debug)]
pub(crate) struct Sender {
    to: mpsc::Sender<Piece>,
}

impl Sender {
    /// Sends bytes. `false` when nobody reads any more.
    pub(crate) async fn send(&self, bytes: Bytes) -> bool {
        self.to.send(Ok(Some(bytes))).await.is_ok()
    }

    /// Waits until the reader has taken something. `false` when nobody reads any more.
    pub(crate) async fn has_room(&self) -> bool {
        self.to.reserve().await.is_ok()
    }

    /// Returns when nobody reads any more.
    pub(crate) async fn closed(&self) {
        self.to.closed().await;
    }

    /// Says that this was all.
    pub(crate) async fn finish(self) {
        // Nobody reads any more: then nobody has to know.
        let _ = self.to.send(Ok(None)).await;
    }

    /// Makes the reader fail with this error.
    pub(crate) async fn fail(self, error: io::Error) {
        // As above.
        let _ = self.to.send(Err(error)).await;
    }
}

/// Where a thread reads what a task sends. Must not be used on a thread of the runtime: it blocks.
#[derive(Debug)]
pub(crate) struct Reader {
    from: mpsc::Receiver<Piece>,
    /// What is left of the current piece; `None` behind the end.
    rest: Option<Bytes>,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.rest.as_ref().is_some_and(Bytes::is_empty) {
            self.rest = self.from.blocking_recv().unwrap_or_else(|| Err(cut_off()))?;
        }
        let Some(rest) = &mut self.rest else { return Ok(0) };
        let length = rest.len().min(buffer.len());
        let (filled, _) = buffer.split_at_mut(length);
        rest.copy_to_slice(filled);
        Ok(length)
    }
}

fn nobody_reads() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads any more")
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it was cut off")
}

/// How much travels at a time, in bytes.
pub(crate) const PIECE_BYTES: usize = 64 << 10;
const PIECES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tokio::task::spawn_blocking;

    use super::*;

    fn content() -> Vec<u8> {
        (0..3 * PIECE_BYTES + 7).map(|at| at.to_le_bytes()[0]).collect()
    }

    #[tokio::test]
    async fn what_a_thread_writes_is_streamed() {
        let (mut writer, mut pieces) = from_thread();
        let thread = spawn_blocking(move || writer.write_all(&content()).and_then(|()| writer.finish()));
        let mut received = Vec::new();
        while let Some(piece) = pieces.next().await {
            received.extend_from_slice(&piece.unwrap());
        }
        thread.await.unwrap().unwrap();
        assert_eq!(received, content());
        assert!(pieces.next().await.is_none());
    }

    #[tokio::test]
    async fn writer_dropped_before_its_end_makes_the_stream_fail() {
        let (mut writer, mut pieces) = from_thread();
        spawn_blocking(move || writer.write_all(b"half").and_then(|()| writer.flush()))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(pieces.next().await.unwrap().unwrap(), "half");
        assert_eq!(pieces.next().await.unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(pieces.next().await.is_none());
    }

    #[tokio::test]
    async fn writer_whose_stream_is_gone_fails() {
        let (mut writer, pieces) = from_thread();
        drop(pieces);
        let written = spawn_blocking(move || writer.write_all(&content())).await.unwrap();
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn what_a_task_sends_is_read() {
        let (sender, mut reader) = to_thread();
        let thread = spawn_blocking(move || {
            let mut read = Vec::new();
            reader.read_to_end(&mut read).map(|_| read)
        });
        for piece in content().chunks(1000) {
            assert!(sender.send(Bytes::copy_from_slice(piece)).await);
        }
        sender.finish().await;
        assert_eq!(thread.await.unwrap().unwrap(), content());
    }

    #[tokio::test]
    async fn sender_dropped_before_its_end_makes_the_reader_fail() {
        let (sender, mut reader) = to_thread();
        assert!(sender.send(Bytes::from_static(b"half")).await);
        drop(sender);
        let read = spawn_blocking(move || reader.read_to_end(&mut Vec::new())).await.unwrap();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn what_a_task_sends_is_streamed_and_ends_only_when_that_is_said() {
        let (sender, pieces) = between_tasks();
        let sent = async {
            assert!(sender.send(Bytes::from_static(b"whole")).await);
            sender.finish().await;
        };
        let (received, ()) = tokio::join!(pieces.map(|piece| piece.unwrap()).collect::<Vec<_>>(), sent);
        assert_eq!(received, ["whole"]);
        let (sender, mut pieces) = between_tasks();
        assert!(sender.send(Bytes::from_static(b"half")).await);
        drop(sender);
        assert_eq!(pieces.next().await.unwrap().unwrap(), "half");
        assert_eq!(pieces.next().await.unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn error_that_is_sent_is_the_error_that_is_read() {
        let (sender, mut reader) = to_thread();
        sender.fail(io::Error::other("the disk is gone")).await;
        let read = spawn_blocking(move || reader.read(&mut [0; 1])).await.unwrap();
        assert_eq!(read.unwrap_err().to_string(), "the disk is gone");
    }
}

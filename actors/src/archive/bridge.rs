//! Between async streams and the sync readers and writers of tar and age: bounded channels, one end of which is used
//! on a blocking thread. Whoever drops its end stops the other one.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::mpsc::{Receiver, Sender, channel},
    task::JoinError,
};

use super::{error::ArchiveError, pieces::PIECE_BYTES};

/// Pieces of a stream under way.
pub(crate) type Piece = Result<Bytes, ArchiveError>;

/// Pieces that may wait in a channel.
pub(crate) const PIECES_WAITING: usize = 4;

/// A channel with a sync reading end.
pub(crate) fn to_reader() -> (Sender<Piece>, ChannelReader) {
    let (sender, receiver) = channel(PIECES_WAITING);
    (sender, ChannelReader { receiver, current: Bytes::new() })
}

/// A channel with a sync writing end.
pub(crate) fn from_writer() -> (ChannelWriter, Receiver<Bytes>) {
    let (sender, receiver) = channel(PIECES_WAITING);
    (ChannelWriter { sender, filling: BytesMut::new() }, receiver)
}

/// Reads a stream to its end into a channel. A reader that wants no more ends it at once, also while the stream has
/// nothing to read; an error travels on.
pub(crate) async fn feed(mut stream: impl AsyncRead + Unpin, to: Sender<Piece>, what: &'static str) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIECE_BYTES);
        let read = tokio::select! {
            read = stream.read_buf(&mut buffer) => read,
            () = to.closed() => return,
        };
        let piece = match read {
            Ok(0) => return,
            Ok(_) => Ok(buffer.split().freeze()),
            Err(source) => Err(ArchiveError::Stream { what, source }),
        };
        let last = piece.is_err();
        if to.send(piece).await.is_err() || last {
            return;
        }
    }
}

/// What a blocking task returned. A panic in it goes on in the caller.
pub(crate) async fn joined<T>(
    task: impl Future<Output = Result<Result<T, ArchiveError>, JoinError>>,
) -> Result<T, ArchiveError> {
    match task.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(ArchiveError::Stopped),
        },
    }
}

/// Reads what is sent. For blocking threads only.
pub(crate) struct ChannelReader {
    receiver: Receiver<Piece>,
    current: Bytes,
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.current.len());
        if let Some(buffer) = buffer.get_mut(..length) {
            self.current.copy_to_slice(buffer);
        }
        Ok(length)
    }
}

/// Sends what is written, in pieces of [`PIECE_BYTES`]; the last one with [`ChannelWriter::flush`]. For blocking
/// threads only.
pub(crate) struct ChannelWriter {
    sender: Sender<Bytes>,
    filling: BytesMut,
}

impl Write for ChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(PIECE_BYTES - self.filling.len());
        self.filling.reserve(PIECE_BYTES - self.filling.len());
        self.filling.extend_from_slice(bytes.get(..length).unwrap_or_default());
        if self.filling.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.filling.is_empty() {
            return Ok(());
        }
        let piece = self.filling.split().freeze();
        self.sender.blocking_send(piece).map_err(|_| ArchiveError::Stopped.into())
    }
}

//! Frames on streams: what both ends of a request do. Whoever is slow beyond reason is given up.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use proto::{
    ProtoError,
    buffer::Buffer,
    limits::FRAME_HEAD_BYTES,
    wire::{Answer, Head, Request},
};
use quinn::{ConnectionError, ReadError, ReadExactError, RecvStream, SendStream, VarInt, WriteError};
use tokio::time::timeout;

/// Why a frame or its bulk did not come, or did not go.
#[derive(Debug)]
pub(crate) enum FrameError {
    /// The other side ended the stream before all was there, or gave it up.
    Ended,
    /// It took longer than this, which is all that anybody has to wait.
    Slow(Duration),
    /// It has made way for others, who had to wait for it here.
    GaveWay,
    /// The other side says that it has made way for others there.
    GivenUp,
    /// What came is not a frame.
    Malformed(ProtoError),
    /// The connection is gone.
    Lost(ConnectionError),
}

/// A frame that came: its kind and its body.
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

/// Reads a frame, which must be there within a deadline.
pub(crate) async fn read(receive: &mut RecvStream, deadline: Duration) -> Result<Frame, FrameError> {
    within(deadline, async {
        let head = read_head(receive).await?;
        read_body(receive, head).await
    })
    .await
}

/// Reads what stands in front of a frame.
pub(crate) async fn read_head(receive: &mut RecvStream) -> Result<Head, FrameError> {
    let mut head = [0; FRAME_HEAD_BYTES];
    receive.read_exact(&mut head).await?;
    Head::parse(head).map_err(FrameError::Malformed)
}

/// Reads the rest of a frame.
pub(crate) async fn read_body(receive: &mut RecvStream, head: Head) -> Result<Frame, FrameError> {
    // At most as much as a frame may have: the head was checked.
    let mut body = vec![0; head.body_len as usize];
    receive.read_exact(&mut body).await?;
    Ok(Frame { kind: head.kind, body })
}

/// Reads the bytes that follow a frame, and tells how long each piece is. Their length was checked, and memory for them is reserved.
pub(crate) async fn read_bulk(
    receive: &mut RecvStream,
    length: u32,
    moved: impl Fn(usize),
) -> Result<Bytes, FrameError> {
    within(patience(length), async {
        // Memory that goes back to the system: an allocator would keep what so many threads have used.
        let mut bulk = Buffer::for_just(length as usize);
        // Many at a time: each time the connection is locked, and its own thread wants it too.
        let mut chunks = [const { Bytes::new() }; CHUNKS];
        while bulk.room() > 0 {
            let count = receive.read_chunks(&mut chunks).await?.ok_or(FrameError::Ended)?;
            let before = bulk.len();
            for chunk in chunks.iter_mut().take(count) {
                // What goes on behind its end is not what was announced.
                if !bulk.fill(&std::mem::take(chunk)).is_empty() {
                    let error = ProtoError::malformed("bulk", "more bytes than were announced");
                    return Err(FrameError::Malformed(error));
                }
            }
            moved(bulk.len() - before);
        }
        Ok(bulk.freeze())
    })
    .await
}

/// Sends a frame and the little that follows it.
pub(crate) async fn write(send: &mut SendStream, frame: Vec<u8>, little: Bytes) -> Result<(), FrameError> {
    let mut all = [frame.into(), little];
    within(FRAME_DEADLINE, async { Ok(send.write_all_chunks(&mut all).await?) }).await
}

/// Sends the bytes that follow a frame, and tells how long each piece is.
pub(crate) async fn write_bulk(
    send: &mut SendStream,
    bulk: Bytes,
    moved: impl Fn(usize),
) -> Result<(), FrameError> {
    let length = u32::try_from(bulk.len()).unwrap_or(u32::MAX);
    let mut left = [bulk];
    within(patience(length), async {
        while left.iter().any(|bulk| !bulk.is_empty()) {
            // As much as the other side takes now.
            moved(send.write_chunks(&mut left).await?.bytes);
        }
        Ok(())
    })
    .await
}

/// What stands in the answer that this frame is.
pub(crate) fn answer(frame: &Frame) -> Result<Answer, FrameError> {
    let known = Answer::decode(frame.kind, &frame.body).map_err(FrameError::Malformed)?;
    known.ok_or_else(|| {
        FrameError::Malformed(ProtoError::malformed("answer", "a kind that is not known here"))
    })
}

/// What stands in the request that this frame is; `None` for one that is not known here.
pub(crate) fn request(frame: &Frame) -> Result<Option<Request>, FrameError> {
    Request::decode(frame.kind, &frame.body).map_err(FrameError::Malformed)
}

/// How long so many bytes may take: nobody has to be faster than a slow telephone line, and nobody may be slower.
pub(crate) fn patience(length: u32) -> Duration {
    FRAME_DEADLINE + Duration::from_secs(u64::from(length / SLOWEST_BYTES_PER_SECOND))
}

pub(crate) async fn within<T>(
    deadline: Duration,
    work: impl Future<Output = Result<T, FrameError>>,
) -> Result<T, FrameError> {
    timeout(deadline, work).await.unwrap_or(Err(FrameError::Slow(deadline)))
}

impl From<ReadError> for FrameError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(error) => Self::Lost(error),
            ReadError::Reset(code) if code == GAVE_WAY => Self::GivenUp,
            _ => Self::Ended,
        }
    }
}

impl From<ReadExactError> for FrameError {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::FinishedEarly(_) => Self::Ended,
            ReadExactError::ReadError(error) => error.into(),
        }
    }
}

impl From<WriteError> for FrameError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(error) => Self::Lost(error),
            _ => Self::Ended,
        }
    }
}

/// How long a frame may take from its first to its last byte.
pub(crate) const FRAME_DEADLINE: Duration = Duration::from_secs(10);
/// How long an answer may take to begin: a put waits for the other side's disk.
pub(crate) const ANSWER_DEADLINE: Duration = Duration::from_secs(25);
/// Packets whose bytes are taken at a time.
const CHUNKS: usize = 32;
/// What follows a frame must come at least so fast, on average, in bytes per second.
const SLOWEST_BYTES_PER_SECOND: u32 = 16 << 10;
/// What a stream is given up with that was too slow, or made way for others: whoever reads it may ask again.
pub(crate) const GAVE_WAY: VarInt = VarInt::from_u32(1);

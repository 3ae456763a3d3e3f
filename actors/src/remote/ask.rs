//! One request and its answer, on a stream of its own.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::{
    limits::FRAME_HEAD_BYTES,
    wire::{Answer, RefusalKind, Request},
};
use quinn::{RecvStream, SendStream, VarInt};

use super::leaving::Leaving;
use crate::{
    conn_pool::{Lease, PeerTrouble},
    frames::{self, ANSWER_DEADLINE, Frame, FrameError},
    metrics::RequestMetrics,
};

/// Asks, and returns the answer with the bytes that follow it. It is told what of the request is on its way. What is not
/// answered takes no time that would say anything.
pub(super) async fn ask(
    lease: &Lease,
    request: &Request,
    bulk: Bytes,
    leaving: &Leaving<'_>,
    metrics: &RequestMetrics,
) -> Result<(Answer, Bytes), PeerTrouble> {
    let begun = Instant::now();
    let (mut send, mut receive) = lease.open().await?;
    let question = request.frame();
    metrics.sent(question.len() + bulk.len());
    let frame = talk(&mut send, &mut receive, question, bulk, leaving).await.map_err(trouble)?;
    metrics.received(FRAME_HEAD_BYTES + frame.body.len());
    let answer = frames::answer(&frame).map_err(trouble)?;
    // Before what follows it is read: a document of 16 MiB is no answer to an empty question.
    if !is_answer(request, &answer) {
        return Err(unexpected(&answer));
    }
    if let Request::GetDocument { document, .. } = request
        && answer.bulk_len() as usize > document.sent_bytes_max()
    {
        let what = format!("a {} of {} bytes is longer than any", document.name(), answer.bulk_len());
        return Err(PeerTrouble::Malformed { what });
    }
    let bulk = match answer.bulk_len() {
        0 => Bytes::new(),
        length if length < LONG_BYTES => {
            frames::read_bulk(&mut receive, length, |_| ()).await.map_err(trouble)?
        }
        length => {
            let read = async move { frames::read_bulk(&mut receive, length, |_| ()).await };
            lease.on_its_thread(read).await.unwrap_or(Err(FrameError::Ended)).map_err(trouble)?
        }
    };
    metrics.received(bulk.len());
    metrics.asked(request.name(), begun.elapsed().as_secs_f64());
    match answer {
        Answer::Refused(refusal) => Err(PeerTrouble::Refused(refusal)),
        answer => Ok((answer, bulk)),
    }
}

/// Sends and listens at once: the other side may answer before it has all, that it has it already or does not want it.
async fn talk(
    send: &mut SendStream,
    receive: &mut RecvStream,
    question: Vec<u8>,
    bulk: Bytes,
    leaving: &Leaving<'_>,
) -> Result<Frame, FrameError> {
    let has_bulk = !bulk.is_empty();
    // A slow line has its time to send, and the other side then has its time to answer.
    let to_send = match u32::try_from(bulk.len()).unwrap_or(u32::MAX) {
        0 => Duration::ZERO,
        length => frames::patience(length),
    };
    let answer = frames::read(receive, to_send + ANSWER_DEADLINE);
    tokio::pin!(answer);
    let early = tokio::select! {
        biased;
        told = tell(send, question, bulk, leaving) => match told {
            // Whoever stops reading says why.
            Ok(()) | Err(FrameError::Ended) => None,
            Err(error) => return Err(error),
        },
        early = &mut answer => Some(early),
    };
    leaving.is_over();
    match early {
        None => {
            let answer = answer.await?;
            // What it does not acknowledge stays in memory, and counts until it has, or the connection is gone.
            if has_bulk {
                let acknowledged = async {
                    let _ = send.stopped().await;
                    Ok(())
                };
                frames::within(ANSWER_DEADLINE, acknowledged).await?;
            }
            Ok(answer)
        }
        Some(early) => {
            // What is left of the request is of no use any more.
            let _ = send.reset(VarInt::from_u32(0));
            early
        }
    }
}

async fn tell(
    send: &mut SendStream,
    question: Vec<u8>,
    bulk: Bytes,
    leaving: &Leaving<'_>,
) -> Result<(), FrameError> {
    leaving.moved(question.len());
    frames::write(send, question, Bytes::new()).await?;
    if !bulk.is_empty() {
        frames::write_bulk(send, bulk, |bytes| leaving.moved(bytes)).await?;
    }
    // A stream that was stopped has ended as well.
    let _ = send.finish();
    Ok(())
}

fn trouble(error: FrameError) -> PeerTrouble {
    match error {
        FrameError::Ended => PeerTrouble::Malformed { what: "it ended before it was whole".to_owned() },
        FrameError::Slow(waited) => PeerTrouble::Silent { what: "answer", seconds: waited.as_secs() },
        FrameError::GaveWay | FrameError::GivenUp => {
            let kind = RefusalKind::Busy { retry_after_ms: RETRY_AFTER_MS };
            PeerTrouble::Refused(kind.because("its answer made way for others, because it was taken slowly"))
        }
        FrameError::Malformed(error) => PeerTrouble::Malformed { what: error.to_string() },
        FrameError::Lost(error) => error.into(),
    }
}

/// Whether an answer is one to this request, or a refusal.
fn is_answer(request: &Request, answer: &Answer) -> bool {
    match answer {
        Answer::Refused(_) => true,
        Answer::Hello { .. } => matches!(request, Request::Hello { .. }),
        Answer::Done => matches!(
            request,
            Request::PutDocument { .. } | Request::LookAfter { .. } | Request::Introduce { .. }
        ),
        Answer::Document { .. } => matches!(request, Request::GetDocument { .. }),
        Answer::Have { .. } | Answer::Stored { .. } => matches!(request, Request::PutFragment { .. }),
        Answer::Fragment { .. } => matches!(request, Request::GetFragment { .. }),
        Answer::Dropped { .. } => matches!(request, Request::DropFragments { .. }),
        Answer::Claim { .. } => matches!(request, Request::Attest { .. }),
        Answer::Sums(_) | Answer::Tesseras { .. } | Answer::Fragments { .. } => {
            matches!(request, Request::Compare { .. })
        }
        Answer::Proof { .. } => matches!(request, Request::Prove { .. }),
        Answer::Peers(_) => matches!(request, Request::Peers),
        _ => false,
    }
}

/// An answer to another question than the one that was asked.
pub(super) fn unexpected(answer: &Answer) -> PeerTrouble {
    PeerTrouble::Malformed { what: format!("`{}` is no answer to what was asked", answer.name()) }
}

/// When to ask again what made way for others, in milliseconds.
const RETRY_AFTER_MS: u32 = 1_000;
/// What is as long comes in so many packets that it is read where these arrive: else each few of them are a hop between
/// threads. In bytes.
const LONG_BYTES: u32 = 128 << 10;

//! Whether what comes back is an answer.

use proto::{
    limits::FRAME_HEAD_BYTES,
    wire::{Answer, Head},
};

/// The name of the answer that these bytes are, of a refusal that of its kind. Errors with what is wrong with them.
pub(crate) fn answered(bytes: &[u8]) -> Result<&'static str, String> {
    let (head, rest) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>().ok_or("no head")?;
    let head = Head::parse(*head).map_err(|error| error.to_string())?;
    let (body, bulk) = rest.split_at_checked(head.body_len as usize).ok_or("half a body")?;
    let answer = Answer::decode(head.kind, body).map_err(|error| error.to_string())?;
    let answer = answer.ok_or("an answer of no known kind")?;
    if bulk.len() != answer.bulk_len() as usize {
        return Err(format!("{} bytes behind a `{}`", bulk.len(), answer.name()));
    }
    match answer {
        Answer::Refused(refusal) if refusal.reason().is_empty() => {
            Err("a refusal without a reason".to_owned())
        }
        Answer::Refused(refusal) => Ok(refusal.kind().name()),
        answer => Ok(answer.name()),
    }
}

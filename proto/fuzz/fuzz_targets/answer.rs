//! Frames of answers: one that is accepted can be written, and is read as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::{
    limits::{DOCUMENT_BYTES_MAX, FRAME_BYTES_MAX, FRAME_HEAD_BYTES},
    wire::{Answer, Head},
};

fuzz_target!(|bytes: &[u8]| {
    let Some((head, body)) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>() else { return };
    let Ok(head) = Head::parse(*head) else { return };
    assert!(head.body_len as usize <= FRAME_BYTES_MAX);
    // That the length is rarely right must not stop the fuzzer here.
    let Ok(Some(answer)) = Answer::decode(head.kind, body) else { return };
    assert_eq!(answer.kind(), head.kind);
    assert!(answer.bulk_len() as usize <= DOCUMENT_BYTES_MAX);
    let frame = answer.frame();
    let (again, body) = frame.split_first_chunk::<FRAME_HEAD_BYTES>().expect("a head");
    let again = Head::parse(*again).expect("what was accepted can be written");
    assert_eq!(again.body_len as usize, body.len());
    assert_eq!(Answer::decode(again.kind, body), Ok(Some(answer)));
});

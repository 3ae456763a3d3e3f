//! Frames of requests: one that is accepted can be written, and is read as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::{
    limits::{DOCUMENT_BYTES_MAX, FRAME_BYTES_MAX, FRAME_HEAD_BYTES},
    wire::{Head, Request},
};

fuzz_target!(|bytes: &[u8]| {
    let Some((head, body)) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>() else { return };
    let Ok(head) = Head::parse(*head) else { return };
    assert!(head.body_len as usize <= FRAME_BYTES_MAX);
    // That the length is rarely right must not stop the fuzzer here.
    let Ok(Some(request)) = Request::decode(head.kind, body) else { return };
    assert_eq!(request.kind(), head.kind);
    assert!(request.bulk_len() as usize <= DOCUMENT_BYTES_MAX);
    let frame = request.frame();
    let (again, body) = frame.split_first_chunk::<FRAME_HEAD_BYTES>().expect("a head");
    let again = Head::parse(*again).expect("what was accepted can be written");
    assert_eq!(again.body_len as usize, body.len());
    assert_eq!(Request::decode(again.kind, body), Ok(Some(request)));
});

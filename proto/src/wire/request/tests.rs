//! Requests that are written and read, and such as break a rule.

use super::*;
use crate::{limits::FRAME_HEAD_BYTES, wire::Head};

fn decoded(frame: &[u8]) -> Result<Option<Request>, ProtoError> {
    let (head, body) = frame.split_first_chunk::<FRAME_HEAD_BYTES>().unwrap();
    let head = Head::parse(*head).unwrap();
    assert_eq!(head.body_len as usize, body.len());
    Request::decode(head.kind, body)
}

fn hello(addresses: Vec<String>) -> Request {
    Request::Hello {
        software: "s".repeat(64),
        addresses,
        credential: Some(vec![1; 1024].into()),
        invite: Some([2; 32]),
        dial_back: true,
    }
}

fn all() -> Vec<Request> {
    let (tessera, checksum) = (TesseraId::from_bytes([7; 32]), Checksum::of(b"x"));
    let fragment = FragmentId { tessera, stripe: u32::MAX, index: u16::MAX };
    let compare = |question| Request::Compare { account: AccountId::from_bytes([3; 32]), question };
    let document = DocumentKind::LayoutPage;
    vec![
        hello(vec![format!("{}:1", "a".repeat(253)); 8]),
        Request::PutDocument { tessera, document, layout: Some(checksum), length: 65_536 },
        Request::GetDocument { tessera, document, hash: Some(checksum) },
        Request::PutFragment { fragment, checksum, length: 1 << 20, layout: checksum },
        Request::GetFragment { fragment, checksum: None },
        Request::DropFragments { order: vec![9; 16_384].into() },
        Request::Attest { tessera, stripes: 0..u32::MAX, nonce: [4; 32] },
        compare(Question::All),
        compare(Question::Under(255)),
        compare(Question::Pair { prefix: [7, 7], after: Some(tessera) }),
        compare(Question::Tessera { tessera, from: (1, 2) }),
        Request::Prove { checksum, group: 63, nonce: [5; 32] },
        Request::Peers,
        Request::LookAfter { tessera },
        Request::Introduce { tessera, manifest: 200, layout: 300, page: 65_036 },
    ]
}

#[test]
fn request_written_and_read_is_the_same() {
    for request in all() {
        let frame = request.frame();
        assert!(frame.len() <= FRAME_HEAD_BYTES + FRAME_BYTES_MAX, "{request:?}");
        assert_eq!(decoded(&frame), Ok(Some(request)));
    }
}

#[test]
fn request_that_breaks_a_rule_is_refused() {
    let (tessera, checksum) = (TesseraId::from_bytes([7; 32]), Checksum::of(b"x"));
    let refused = |request: Request, reason: &str| {
        let error = request.check().unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        let read = Request::decode(request.kind(), &request.body().finish());
        assert!(read.is_err(), "{reason}: {read:?}");
    };
    let put = |document, layout, length| Request::PutDocument { tessera, document, layout, length };
    refused(put(DocumentKind::Manifest, None, 0), "a length of 0 bytes");
    refused(put(DocumentKind::Manifest, None, 65_537), "65537 bytes long; at most 65536");
    refused(put(DocumentKind::Layout, None, (16 << 20) + 1), "at most 16777216");
    refused(put(DocumentKind::Layout, Some(checksum), 1), "a page names its layout");
    refused(put(DocumentKind::LayoutPage, None, 32), "a page names its layout");
    let introduce = |manifest, layout, page| Request::Introduce { tessera, manifest, layout, page };
    refused(introduce(1, 0, 1), "a length of 0 bytes");
    refused(introduce(1, 1, 65_535), "65537 bytes long; at most 65536");
    refused(introduce(u32::MAX, 1, 1), "at most 65536");
    let fragment = FragmentId { tessera, stripe: 0, index: 0 };
    let length = (1 << 20) + 1;
    refused(Request::PutFragment { fragment, checksum, length, layout: checksum }, "at most 1048576");
    let stripes = Range { start: 2, end: 1 };
    refused(Request::Attest { tessera, stripes, nonce: [0; 32] }, "end before they start");
    let question = Question::Pair { prefix: [7, 8], after: Some(tessera) };
    refused(Request::Compare { account: AccountId::LOCAL, question }, "outside its prefix");
    refused(Request::Prove { checksum, group: 64, nonce: [0; 32] }, "no fragment has");
    refused(hello(vec!["a:1".to_owned(); 9]), "9 items; at most 8");
    refused(hello(vec!["nowhere".to_owned()]), "no port");
}

#[test]
fn what_only_later_software_knows_is_told_from_what_is_wrong() {
    for kind in [0, 11, 64, 65, 127, 255] {
        assert_eq!(Request::decode(kind, b"anything"), Ok(None), "{kind}");
    }
    let document = |code: u64| {
        let mut body = Writer::new();
        body.bytes(1, &[7; 32]);
        body.unsigned(2, code);
        body.finish()
    };
    assert_eq!(Request::decode(GET_DOCUMENT, &document(4)), Ok(None));
    assert_eq!(Request::decode(PUT_DOCUMENT, &document(300)), Ok(None));
    assert_eq!(Request::decode(COMPARE, &document(4)), Ok(None));
    assert!(matches!(Request::decode(PEERS, &[0xa1, 1]), Err(ProtoError::Malformed { .. })));
    assert!(matches!(Request::decode(PEERS, &[]), Err(ProtoError::Malformed { .. })));
    let long = vec![0; FRAME_BYTES_MAX + 1];
    assert!(matches!(Request::decode(PEERS, &long), Err(ProtoError::TooLong { .. })));
}

#[test]
fn unknown_field_is_skipped() {
    let mut body = Request::Peers.body();
    body.text(99, "later");
    assert_eq!(Request::decode(PEERS, &body.finish()), Ok(Some(Request::Peers)));
}

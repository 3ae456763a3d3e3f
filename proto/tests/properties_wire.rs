//! What holds for every frame, signed word between nodes, comparison and proof: read as written, in no other way, and
//! refused without a panic.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use bytes::Bytes;
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{Index, select},
};
use proto::{
    AccountId, AuthorId, AuthorKey, Checksum, FragmentId, NodeId, NodeKey, ProtoError, TesseraId,
    compare::{Digest, Question, Sum},
    credential::{Credential, SignedCredential},
    limits::{FRAME_BYTES_MAX, FRAME_HEAD_BYTES, PROOF_GROUP_BYTES},
    order::{DropOrder, SignedDropOrder},
    placement::{Placement, SignedPlacement},
    proof::{self, Outboard},
    receipt::{Receipt, SignedReceipt},
    record::DocumentKind,
    retraction::{Retraction, SignedRetraction},
    wire::{Answer, Bound, Head, PeerSample, RefusalKind, Request},
};

fn tessera() -> impl Strategy<Value = TesseraId> + Clone {
    any::<[u8; 32]>().prop_map(TesseraId::from_bytes)
}

fn checksum() -> impl Strategy<Value = Checksum> + Clone {
    any::<[u8; 32]>().prop_map(Checksum::from_bytes)
}

fn fragment() -> impl Strategy<Value = FragmentId> {
    (tessera(), any::<u32>(), any::<u16>()).prop_map(|(tessera, stripe, index)| FragmentId {
        tessera,
        stripe,
        index,
    })
}

fn length() -> impl Strategy<Value = u32> {
    1..=1_u32 << 20
}

fn nonce() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>()
}

fn short(bytes_max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=bytes_max).prop_map(Bytes::from)
}

fn address() -> impl Strategy<Value = String> {
    let host = prop_oneof!["[a-z0-9.-]{1,40}", "\\[[0-9a-f:]{2,39}(%[a-z0-9]{1,8})?\\]"];
    (host, 1..=u16::MAX).prop_map(|(host, port)| format!("{host}:{port}"))
}

fn document() -> impl Strategy<Value = (DocumentKind, Option<Checksum>, u32)> {
    let page = (checksum(), 1..=65_536_u32);
    prop_oneof![
        (1..=65_536_u32).prop_map(|length| (DocumentKind::Manifest, None, length)),
        (1..=16_u32 << 20).prop_map(|length| (DocumentKind::Layout, None, length)),
        page.prop_map(|(layout, length)| (DocumentKind::LayoutPage, Some(layout), length)),
        (1..=1024_u32).prop_map(|length| (DocumentKind::Placement, None, length)),
        (1..=1024_u32).prop_map(|length| (DocumentKind::Retraction, None, length)),
    ]
}

fn question() -> impl Strategy<Value = Question> {
    prop_oneof![
        Just(Question::All),
        any::<u8>().prop_map(Question::Under),
        (tessera(), any::<bool>()).prop_map(|(tessera, first)| {
            let [a, b, ..] = *tessera.as_bytes();
            Question::Pair { prefix: [a, b], after: (!first).then_some(tessera) }
        }),
        (tessera(), any::<(u32, u16)>()).prop_map(|(tessera, from)| Question::Tessera { tessera, from }),
        option::of(tessera()).prop_map(|after| Question::Tesserae { after }),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let hello =
        ("\\PC{1,12}", vec(address(), 0..=8), option::of(short(1024)), option::of(nonce()), any::<bool>());
    let account = any::<[u8; 32]>().prop_map(AccountId::from_bytes);
    let stripes = any::<(u32, u32)>().prop_map(|(a, b)| a.min(b)..a.max(b));
    prop_oneof![
        hello.prop_map(|(software, addresses, credential, invite, dial_back)| Request::Hello {
            software,
            addresses,
            credential,
            invite,
            dial_back
        }),
        (tessera(), document()).prop_map(|(tessera, (document, layout, length))| Request::PutDocument {
            tessera,
            document,
            layout,
            length
        }),
        (tessera(), document()).prop_map(|(tessera, (document, hash, _))| Request::GetDocument {
            tessera,
            document,
            hash
        }),
        (fragment(), checksum(), length(), checksum()).prop_map(|(fragment, checksum, length, layout)| {
            Request::PutFragment { fragment, checksum, length, layout }
        }),
        (fragment(), option::of(checksum()))
            .prop_map(|(fragment, checksum)| Request::GetFragment { fragment, checksum }),
        short(16_384).prop_map(|order| Request::DropFragments { order }),
        (tessera(), stripes, nonce()).prop_map(|(tessera, stripes, nonce)| Request::Attest {
            tessera,
            stripes,
            nonce
        }),
        (account, question()).prop_map(|(account, question)| Request::Compare { account, question }),
        (checksum(), 0..64_u32, nonce()).prop_map(|(checksum, group, nonce)| Request::Prove {
            checksum,
            group,
            nonce
        }),
        Just(Request::Peers),
        tessera().prop_map(|tessera| Request::LookAfter { tessera }),
        (tessera(), 1..20_000_u32, 1..20_000_u32, 1..20_000_u32).prop_map(
            |(tessera, manifest, layout, page)| Request::Introduce { tessera, manifest, layout, page }
        ),
    ]
}

fn refusal() -> impl Strategy<Value = Answer> {
    (any::<Index>(), any::<u32>(), ".{0,300}").prop_map(|(kind, retry_after_ms, reason)| {
        let kind = match *kind.get(&RefusalKind::ALL) {
            RefusalKind::Busy { .. } => RefusalKind::Busy { retry_after_ms },
            other => other,
        };
        Answer::Refused(kind.because(reason))
    })
}

fn compared() -> impl Strategy<Value = Answer> {
    let tesserae = proptest::collection::btree_map(tessera(), any::<[u8; 32]>(), 0..40);
    let fragments = proptest::collection::btree_map(any::<(u32, u16)>(), checksum(), 0..40);
    prop_oneof![
        vec(any::<u64>(), 256).prop_map(|sums| {
            let sums: Vec<_> = sums.into_iter().map(Sum::wrapped).collect();
            Answer::Sums(Box::new(sums.try_into().unwrap()))
        }),
        (tesserae, any::<bool>()).prop_map(|(list, more)| {
            let list: Vec<_> = list.into_iter().map(|(id, digest)| (id, Digest::from(digest))).collect();
            Answer::Tesseras { more: more && !list.is_empty(), list }
        }),
        (fragments, any::<bool>()).prop_map(|(list, more)| {
            let list: Vec<_> = list.into_iter().map(|((stripe, index), sum)| (stripe, index, sum)).collect();
            Answer::Fragments { more: more && !list.is_empty(), list }
        }),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let who = ("\\PC{1,12}", vec(address(), 0..=8), address());
    let more = (option::of(any::<bool>()), option::of(short(1024)), any::<u64>());
    let bound = option::of(select(Bound::ALL.to_vec()));
    let peer = (any::<[u8; 32]>(), vec(address(), 0..=4))
        .prop_map(|(node, addresses)| PeerSample { node: NodeId::from_bytes(node), addresses });
    prop_oneof![
        (who, more, bound).prop_map(
            |((software, addresses, observed), (dial_back, credential, allowance_bytes), bound)| {
                Answer::Hello { software, addresses, observed, dial_back, credential, allowance_bytes, bound }
            }
        ),
        Just(Answer::Done),
        (1..=16_u32 << 20).prop_map(|length| Answer::Document { length }),
        short(1024).prop_map(|receipt| Answer::Have { receipt }),
        short(1024).prop_map(|receipt| Answer::Stored { receipt }),
        (checksum(), length()).prop_map(|(checksum, length)| Answer::Fragment { checksum, length }),
        any::<u32>().prop_map(|count| Answer::Dropped { count }),
        (1..=65_536_u32).prop_map(|length| Answer::Claim { length }),
        compared(),
        (nonce(), length(), 1..=16_768_u32).prop_map(|(nonce, fragment_len, length)| Answer::Proof {
            nonce,
            fragment_len,
            length
        }),
        vec(peer, 0..=32).prop_map(Answer::Peers),
        refusal(),
    ]
}

/// Kind and body of a frame.
fn parts(frame: &[u8]) -> (u8, &[u8]) {
    let (head, body) = frame.split_first_chunk::<FRAME_HEAD_BYTES>().unwrap();
    let head = Head::parse(*head).unwrap();
    assert!(head.body_len as usize == body.len() && body.len() <= FRAME_BYTES_MAX);
    (head.kind, body)
}

/// The same bytes with one of them changed.
fn changed(bytes: &[u8], at: Index, flip: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if !bytes.is_empty() {
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
    }
    bytes
}

/// Bytes that look random, so that no two groups are alike.
fn content(seed: u64, length: u32) -> Vec<u8> {
    let mut out = vec![0; length as usize];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn request_is_read_as_written(request in request(), at in any::<Index>(), flip in 1..=u8::MAX) {
        let frame = request.frame();
        let (kind, body) = parts(&frame);
        prop_assert_eq!(kind, request.kind());
        prop_assert_eq!(Request::decode(kind, body), Ok(Some(request)));
        // A changed one is refused, or is another that is good in itself: frames are not signed, connections are.
        if let Ok(Some(other)) = Request::decode(kind, &changed(body, at, flip)) {
            let frame = other.frame();
            prop_assert_eq!(Request::decode(kind, parts(&frame).1), Ok(Some(other)));
        }
        prop_assert!(body.is_empty() || Request::decode(kind, &body[..at.index(body.len())]).is_err());
    }

    #[test]
    fn answer_is_read_as_written(answer in answer(), at in any::<Index>(), flip in 1..=u8::MAX) {
        let frame = answer.frame();
        let (kind, body) = parts(&frame);
        prop_assert_eq!(kind, answer.kind());
        prop_assert_eq!(Answer::decode(kind, body), Ok(Some(answer)));
        if let Ok(Some(other)) = Answer::decode(kind, &changed(body, at, flip)) {
            let frame = other.frame();
            prop_assert_eq!(Answer::decode(kind, parts(&frame).1), Ok(Some(other)));
        }
        prop_assert!(body.is_empty() || Answer::decode(kind, &body[..at.index(body.len())]).is_err());
    }

    #[test]
    fn head_is_refused_or_read_in_one_way(bytes in any::<[u8; FRAME_HEAD_BYTES]>(), zero in any::<bool>()) {
        let bytes = if zero { [1, bytes[1], 0, 0, bytes[4], bytes[5], bytes[6] & 1, 0] } else { bytes };
        if let Ok(head) = Head::parse(bytes) {
            prop_assert_eq!(head.encode(), bytes);
            prop_assert!(head.body_len as usize <= FRAME_BYTES_MAX);
        }
    }

    #[test]
    fn any_body_of_any_kind_is_read_or_refused(kind: u8, body in vec(any::<u8>(), 0..100)) {
        if let Ok(Some(request)) = Request::decode(kind, &body) {
            prop_assert_eq!(request.kind(), kind);
        }
        if let Ok(Some(answer)) = Answer::decode(kind, &body) {
            prop_assert_eq!(answer.kind(), kind);
        }
    }

    #[test]
    fn digest_and_sum_forget_the_order_and_undo_a_drop(
        a in any::<[u8; 32]>(), b in any::<[u8; 32]>(), x: u64, y: u64,
    ) {
        let (a, b) = (Digest::from(a), Digest::from(b));
        prop_assert_eq!(a.plus(b), b.plus(a));
        prop_assert_eq!(a.plus(b).minus(b), a);
        prop_assert_eq!(Digest::from_bytes(&a.to_bytes()), a);
        let (x, y) = (Sum::wrapped(x), Sum::wrapped(y));
        prop_assert_eq!(x.plus(y), y.plus(x));
        prop_assert_eq!(x.plus(y).minus(y), x);
        // As an index adds: 63 bits, cut to 62.
        prop_assert_eq!(x.plus(y).get(), (x.get() + y.get()) & Sum::MASK);
    }
}

proptest! {
    // Signatures are slow without optimisation.
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn receipt_is_read_as_written_and_in_no_other_way(
        fragment in fragment(), sums in (checksum(), any::<[u8; 32]>(), any::<[u8; 32]>()),
        length in length(), held_at_ms in 0..=i64::MAX as u64, at in any::<Index>(), flip in 1..=u8::MAX,
    ) {
        let key = NodeKey::from_seed([2; 32]);
        let (checksum, deliverer, author) = sums;
        let (deliverer, author) = (NodeId::from_bytes(deliverer), AuthorId::from_bytes(author));
        let receipt = Receipt { holder: key.id(), deliverer, author, fragment, checksum, length, held_at_ms };
        let signed = receipt.sign(&key).unwrap();
        prop_assert_eq!(SignedReceipt::verify(signed.bytes(), key.id()), Ok(receipt));
        prop_assert!(SignedReceipt::verify(&changed(signed.bytes(), at, flip), key.id()).is_err());
    }

    #[test]
    fn credential_is_read_as_written_and_in_no_other_way(
        node in any::<[u8; 32]>(), made_at_ms in 0..=i64::MAX as u64, at in any::<Index>(), flip in 1..=u8::MAX,
    ) {
        let (key, node) = (AuthorKey::from_seed([1; 32]), NodeId::from_bytes(node));
        let credential = Credential { author: key.id(), node, made_at_ms };
        let signed = credential.sign(&key).unwrap();
        prop_assert_eq!(SignedCredential::verify(signed.bytes(), node), Ok(credential));
        prop_assert!(SignedCredential::verify(&changed(signed.bytes(), at, flip), node).is_err());
    }

    #[test]
    fn retraction_is_read_as_written_and_in_no_other_way(
        tessera in tessera(), retracted_at_ms in 0..=i64::MAX as u64, at in any::<Index>(), flip in 1..=u8::MAX,
    ) {
        let key = AuthorKey::from_seed([1; 32]);
        let signed = Retraction { tessera, author: key.id(), retracted_at_ms }.sign(&key).unwrap();
        let parse = |bytes| SignedRetraction::parse(bytes, tessera, key.id());
        prop_assert_eq!(parse(signed.bytes().clone()), Ok(signed.clone()));
        prop_assert!(parse(changed(signed.bytes(), at, flip).into()).is_err());
    }

    #[test]
    fn placement_is_read_as_written_and_in_no_other_way(
        tessera in tessera(), layout in checksum(), version in 0..=i64::MAX as u64, is_repaired: bool,
        holders in vec(option::of(any::<[u8; 32]>()), 1..25), at in any::<Index>(), flip in 1..=u8::MAX,
    ) {
        let (author, repairer) = (AuthorKey::from_seed([1; 32]), NodeKey::from_seed([2; 32]));
        let holders = holders.into_iter().map(|holder| holder.map(NodeId::from_bytes)).collect();
        let by = is_repaired.then_some(repairer.id());
        let placement = Placement { tessera, layout, version, holders, repairer: by };
        let signed = if is_repaired { placement.sign_as_repairer(&repairer) } else { placement.sign(&author) };
        let signed = signed.unwrap();
        let parse = |bytes| SignedPlacement::parse(bytes, tessera, author.id());
        prop_assert_eq!(signed.placement(), &placement);
        prop_assert_eq!(parse(signed.bytes().clone()), Ok(signed.clone()));
        prop_assert!(parse(changed(signed.bytes(), at, flip).into()).is_err());
        prop_assert!(parse(signed.bytes().slice(..at.index(signed.bytes().len()))).is_err());
    }

    #[test]
    fn drop_order_is_read_as_written_and_in_no_other_way(
        holder in any::<[u8; 32]>(), binding in any::<[u8; 32]>(), tessera in tessera(),
        fragments in proptest::collection::btree_set(any::<(u32, u16)>(), 1..50),
        at in any::<Index>(), flip in 1..=u8::MAX,
    ) {
        let (key, holder) = (AuthorKey::from_seed([1; 32]), NodeId::from_bytes(holder));
        let fragments = fragments.into_iter().collect();
        let order = DropOrder { author: key.id(), holder, binding, tessera, fragments };
        let signed = order.sign(&key).unwrap();
        let verify = |bytes: &[u8]| SignedDropOrder::verify(bytes, holder, &binding);
        prop_assert_eq!(verify(signed.bytes()), Ok(order));
        prop_assert!(verify(&changed(signed.bytes(), at, flip)).is_err());
        prop_assert!(verify(&signed.bytes()[..at.index(signed.bytes().len())]).is_err());
    }

    #[test]
    fn group_is_proven_by_its_slice_and_by_no_other(
        seed: u64, length in length(), group in any::<Index>(), at in any::<Index>(), flip in 1..=u8::MAX,
    ) {
        let bytes = content(seed, length);
        let group = u32::try_from(group.index(proof::groups(length) as usize)).unwrap();
        let outboard = Outboard::of(&bytes);
        prop_assert_eq!(Outboard::parse(outboard.bytes().clone()), Ok(outboard.clone()));
        let checksum = Checksum::of(&bytes);
        if outboard.bytes().is_empty() {
            prop_assert!(bytes.len() <= PROOF_GROUP_BYTES && outboard.root(length).is_err());
        } else {
            prop_assert_eq!(outboard.root(length), Ok(checksum));
        }
        let read = bytes.chunks(PROOF_GROUP_BYTES).nth(group as usize).unwrap();
        let slice = outboard.slice(length, group, read).unwrap();
        prop_assert_eq!(proof::slice_len(length, group), Some(slice.len()));
        prop_assert_eq!(proof::verify(checksum, length, group, &slice), Ok(()));
        let refused = proof::verify(checksum, length, group, &changed(&slice, at, flip));
        prop_assert!(matches!(refused, Err(ProtoError::Mismatch { .. })), "{refused:?}");
        // Damage on the disk of the holder makes a slice that it refuses itself.
        let damaged = outboard.slice(length, group, &changed(read, at, flip)).unwrap();
        prop_assert!(proof::verify(checksum, length, group, &damaged).is_err());
    }

    #[test]
    fn any_slice_is_accepted_or_refused(
        checksum in checksum(), length: u32, group in 0..70_u32, slice in vec(any::<u8>(), 0..500),
    ) {
        prop_assert!(proof::verify(checksum, length, group, &slice).is_err());
        let outboard = Outboard::parse(slice.clone().into());
        if let Ok(outboard) = outboard {
            let _ = (outboard.root(length), outboard.slice(length, group, &slice));
        }
    }
}

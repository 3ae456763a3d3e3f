//! A peer that lies: nothing that is wrong is accepted, and what it did is counted by kind.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actors::{
    ActorError,
    conn_pool::{PeerTrouble, raw::Raw},
};
use bytes::Bytes;
use proto::{
    AuthorKey, Checksum, Fragment, FragmentId, NodeId, NodeKey, TesseraId,
    attestation::{Claim, ClaimedFragment},
    proof::Outboard,
    receipt::Receipt,
    record::DocumentKind,
    wire::{Answer, Request},
};
use quinn::TransportConfig;

use crate::{
    liar::{Asked, Pace, serve},
    log,
    support::{Node, Tessera, trouble, until},
};

/// A node, and a peer of it that answers like this.
struct Scene {
    node: Node,
    liar: NodeId,
}

impl Scene {
    async fn with(lie: impl Fn(&Asked, Request) -> Option<(Vec<u8>, Bytes)> + Send + Sync + 'static) -> Self {
        let node = Node::start(1).await;
        let key = NodeKey::from_seed([66; 32]);
        let raw = Raw::bind(&key, ([127, 0, 0, 1], 0).into(), TransportConfig::default()).unwrap();
        node.knows_at(key.id(), raw.address().unwrap(), None).await;
        tokio::spawn(serve(raw, key.clone(), Pace::default(), Arc::new(lie)));
        Self { node, liar: key.id() }
    }

    /// How often it was found to give wrong bytes, to break the protocol, and not to be there.
    async fn scores(&self) -> (u64, u64, u64) {
        let peer = self.node.system.storage.records().peer(self.liar).await.unwrap().unwrap();
        (peer.wrong_bytes, peer.errors, peer.absences)
    }

    async fn until_scored(&self, expected: (u64, u64, u64)) {
        until(&format!("{expected:?}"), async || self.scores().await == expected).await;
    }
}

fn id() -> FragmentId {
    FragmentId { tessera: TesseraId::from_bytes([5; 32]), stripe: 0, index: 0 }
}

fn fragment() -> Fragment {
    Fragment::hash(Bytes::from(vec![7; 40_000])).unwrap()
}

#[track_caller]
fn lied(outcome: Result<impl std::fmt::Debug, ActorError>, reason: &str) {
    let told = trouble(outcome);
    let is_lie = matches!(&told, PeerTrouble::Lied { what } if what.contains(reason));
    assert!(is_lie, "{reason}: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_are_not_accepted() {
    let scene = Scene::with(|_, _| {
        let wrong = vec![8; 40_000];
        Some((Answer::Fragment { checksum: fragment().checksum(), length: 40_000 }.frame(), wrong.into()))
    })
    .await;
    lied(scene.node.system.remote.fragment(scene.liar, id(), fragment().checksum()).await, "hash to");
    scene.until_scored((1, 0, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_that_lies_again_and_again_does_not_fill_the_log() {
    log::keep();
    let scene = Scene::with(|_, _| {
        let wrong = vec![8; 40_000];
        Some((Answer::Fragment { checksum: fragment().checksum(), length: 40_000 }.frame(), wrong.into()))
    })
    .await;
    for _ in 0..5 {
        lied(scene.node.system.remote.fragment(scene.liar, id(), fragment().checksum()).await, "hash to");
    }
    // Each counts, and one is told of.
    scene.until_scored((5, 0, 0)).await;
    let lines = log::lines_with(&["a peer has misbehaved", "hash to", &scene.liar.to_string()]);
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_that_lets_nobody_ask_is_not_waited_for_for_ever() {
    let node = Node::start(1).await;
    let key = NodeKey::from_seed([66; 32]);
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(0_u32.into()).keep_alive_interval(Some(Duration::from_secs(5)));
    let raw = Raw::bind(&key, ([127, 0, 0, 1], 0).into(), transport).unwrap();
    node.knows_at(key.id(), raw.address().unwrap(), None).await;
    tokio::spawn(async move {
        let connected = raw.accept().await;
        std::future::pending::<()>().await;
        drop(connected);
    });
    let asked = node.system.remote.fragment(key.id(), id(), fragment().checksum());
    let told = trouble(tokio::time::timeout(Duration::from_secs(60), asked).await.unwrap());
    assert!(matches!(told, PeerTrouble::Silent { what: "take another request", .. }), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_fewer_or_more_than_announced_are_not_accepted() {
    // Nobody waits to see whether more would come: many more, so that some do at once.
    for length in [39_999, 400_000] {
        let scene = Scene::with(move |_, _| {
            let answer = Answer::Fragment { checksum: fragment().checksum(), length: 40_000 };
            Some((answer.frame(), vec![7; length].into()))
        })
        .await;
        let told = trouble(scene.node.system.remote.fragment(scene.liar, id(), fragment().checksum()).await);
        assert!(matches!(told, PeerTrouble::Malformed { .. }), "{length}: {told}");
        scene.until_scored((0, 1, 0)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_document_than_was_asked_for_is_not_accepted() {
    let author = AuthorKey::from_seed([1; 32]);
    let (meant, other) = (Tessera::new(&author, 1, 5_000), Tessera::new(&author, 2, 5_000));
    let bytes = other.manifest.bytes().clone();
    let scene = Scene::with(move |_, _| {
        let length = u32::try_from(bytes.len()).unwrap();
        Some((Answer::Document { length }.frame(), bytes.clone()))
    })
    .await;
    let remote = &scene.node.system.remote;
    lied(remote.document(scene.liar, meant.id(), DocumentKind::Manifest, None).await, "another");
    scene.until_scored((1, 0, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answer_to_another_question_or_none_at_all_breaks_the_protocol() {
    let frames: [fn() -> Vec<u8>; 3] =
        [|| Answer::Done.frame(), || b"HTTP/1.1 200 OK".to_vec(), || Request::Peers.frame()];
    for frame in frames {
        let scene = Scene::with(move |_, _| Some((frame(), Bytes::new()))).await;
        let told = trouble(scene.node.system.remote.fragment(scene.liar, id(), fragment().checksum()).await);
        assert!(matches!(told, PeerTrouble::Malformed { .. }), "{told}");
        scene.until_scored((0, 1, 0)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_that_says_nothing_is_given_up_and_counted_as_absent() {
    let scene = Scene::with(|_, _| None).await;
    let begun = std::time::Instant::now();
    let told = trouble(scene.node.system.remote.fragment(scene.liar, id(), fragment().checksum()).await);
    let PeerTrouble::Silent { seconds, .. } = told else { panic!("{told}") };
    assert!(begun.elapsed().as_secs().abs_diff(seconds) <= 2, "{seconds} {:?}", begun.elapsed());
    scene.until_scored((0, 0, 1)).await;
}

type Change = fn(&mut Claim);

/// The claim that an honest holder would make, changed.
fn claim(asked: &Asked, request: Request, change: Change) -> Option<(Vec<u8>, Bytes)> {
    let Request::Attest { tessera, stripes, nonce } = request else { return None };
    let mut claim = Claim {
        node: asked.liar.id(),
        verifier: asked.node,
        nonce,
        binding: asked.binding,
        tessera,
        made_at_ms: 0,
        stripes,
        next_stripe: None,
        fragments: vec![],
    };
    change(&mut claim);
    let signed = claim.sign(&asked.liar).unwrap();
    let length = u32::try_from(signed.bytes().len()).unwrap();
    Some((Answer::Claim { length }.frame(), signed.bytes().clone()))
}

#[tokio::test(flavor = "multi_thread")]
async fn claim_for_another_question_is_not_accepted() {
    let changes: [(Change, &str); 5] = [
        (|claim| claim.verifier = NodeId::from_bytes([9; 32]), "another verifier"),
        (|claim| claim.nonce = [9; 32], "another nonce"),
        (|claim| claim.binding = [0; 32], "another connection"),
        (|claim| claim.tessera = TesseraId::from_bytes([9; 32]), "another tessera"),
        (|claim| claim.stripes = 1..2, "other stripes"),
    ];
    for (change, reason) in changes {
        let scene = Scene::with(move |asked, request| claim(asked, request, change)).await;
        lied(scene.node.system.remote.attest(scene.liar, id().tessera, 0..9).await, reason);
        scene.until_scored((1, 0, 0)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_claim_and_the_claim_of_another_are_not_accepted() {
    // The first answer is honest; it is given again to the next question.
    let first = Arc::new(Mutex::new(None));
    let scene = Scene::with(move |asked, request| {
        let mut first = first.lock().unwrap();
        let said = first.clone().or_else(|| claim(asked, request, |_| ()));
        first.clone_from(&said);
        said
    })
    .await;
    let remote = &scene.node.system.remote;
    remote.attest(scene.liar, id().tessera, 0..9).await.unwrap();
    lied(remote.attest(scene.liar, id().tessera, 0..9).await, "another nonce");
    scene.until_scored((1, 0, 0)).await;

    let scene = Scene::with(|asked, request| {
        let other = NodeKey::from_seed([77; 32]);
        let asked = Asked { liar: other, node: asked.node, binding: asked.binding };
        claim(&asked, request, |_| ())
    })
    .await;
    lied(scene.node.system.remote.attest(scene.liar, id().tessera, 0..9).await, "signature");
    scene.until_scored((1, 0, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claim_of_what_the_layout_does_not_name_counts_for_nothing() {
    let scene = Scene::with(|asked, request| {
        claim(asked, request, |claim| {
            let wrong = Checksum::of(b"never was");
            claim.fragments = vec![ClaimedFragment {
                stripe: 0,
                index: 0,
                checksum: wrong,
                length: 4096,
                verified_age_ms: Some(0),
            }];
        })
    })
    .await;
    let tessera = Tessera::new(&scene.node.author, 1, 5_000);
    tessera.keep(&scene.node).await;
    let audit = scene.node.system.attestation.audit(scene.liar, tessera.id()).await.unwrap();
    assert_eq!((audit.held, audit.wrong), (0, 1));
    let claims = scene.node.system.storage.records().claims(tessera.id(), 0..9).await.unwrap();
    assert_eq!(claims, []);
    scene.until_scored((1, 0, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claim_without_end_is_not_followed_beyond_the_layouts() {
    let asked_for = Arc::new(Mutex::new(0));
    let count = asked_for.clone();
    let scene = Scene::with(move |asked, request| {
        *count.lock().unwrap() += 1;
        claim(asked, request, |claim| {
            let next = claim.stripes.start + 42;
            (claim.stripes, claim.next_stripe) = (claim.stripes.start..next, Some(next));
        })
    })
    .await;
    let tessera = Tessera::new(&scene.node.author, 1, 5_000);
    tessera.keep(&scene.node).await;
    let audit = scene.node.system.attestation.audit(scene.liar, tessera.id());
    // What it says of stripes that it was not asked about is a lie.
    let audit = tokio::time::timeout(Duration::from_secs(5), audit).await;
    assert!(audit.is_ok_and(|audit| audit.is_err()) && *asked_for.lock().unwrap() == 1);
}

/// A proof of the fragment, changed.
fn proof(request: Request, group: u32, length: u32, echo: bool) -> Option<(Vec<u8>, Bytes)> {
    let Request::Prove { nonce, .. } = request else { return None };
    let bytes = fragment().into_bytes();
    let start = group as usize * (16 << 10);
    let piece = &bytes[start..bytes.len().min(start + (16 << 10))];
    let slice = Outboard::of(&bytes).slice(40_000, group, piece).unwrap();
    let nonce = if echo { nonce } else { [0; 32] };
    let answer = Answer::Proof { nonce, fragment_len: length, length: u32::try_from(slice.len()).unwrap() };
    Some((answer.frame(), slice))
}

#[tokio::test(flavor = "multi_thread")]
async fn proof_of_anything_else_is_not_accepted() {
    let honest = Scene::with(|_, request| proof(request, 1, 40_000, true)).await;
    honest.node.system.remote.prove(honest.liar, fragment().checksum(), 40_000, 1).await.unwrap();
    // Another group, which is all that it kept; another length; the answer of another time.
    let remote = &honest.node.system.remote;
    assert!(remote.prove(honest.liar, fragment().checksum(), 40_000, 2).await.is_err());
    assert!(remote.prove(honest.liar, Checksum::of(b"other"), 40_000, 1).await.is_err());
    honest.until_scored((2, 0, 0)).await;
    let longer = Scene::with(|_, request| proof(request, 1, 50_000, true)).await;
    lied(longer.node.system.remote.prove(longer.liar, fragment().checksum(), 40_000, 1).await, "length");
    let old = Scene::with(|_, request| proof(request, 1, 40_000, false)).await;
    lied(old.node.system.remote.prove(old.liar, fragment().checksum(), 40_000, 1).await, "another question");
}

#[tokio::test(flavor = "multi_thread")]
async fn receipt_for_something_else_is_not_accepted() {
    let changes: [fn(&mut Receipt); 4] = [
        |receipt| receipt.fragment.stripe = 9,
        |receipt| receipt.checksum = Checksum::of(b"other"),
        |receipt| receipt.deliverer = NodeId::from_bytes([9; 32]),
        |receipt| receipt.length = 1,
    ];
    for change in changes {
        let scene = Scene::with(move |asked, request| {
            let Request::PutFragment { fragment, checksum, length, .. } = request else { return None };
            let author = AuthorKey::from_seed([1; 32]).id();
            let (holder, deliverer) = (asked.liar.id(), asked.node);
            let mut receipt =
                Receipt { holder, deliverer, author, fragment, checksum, length, held_at_ms: 0 };
            change(&mut receipt);
            let receipt = receipt.sign(&asked.liar).unwrap().bytes().clone();
            Some((Answer::Stored { receipt }.frame(), Bytes::new()))
        })
        .await;
        let (remote, author) = (&scene.node.system.remote, scene.node.author.id());
        let given = remote.put_fragment(scene.liar, author, id(), Checksum::of(b"layout"), &fragment()).await;
        lied(given, "receipt is for something else");
        scene.until_scored((1, 0, 0)).await;
    }
}

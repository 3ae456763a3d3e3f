//! Twenty-four nodes: what is published survives the loss of eight, however these are lost, and a third of them that lie.

use std::sync::Arc;

use actors::storage::{Blocked, JobState};
use bytes::Bytes;
use proto::{
    NodeId, NodeKey,
    attestation::{Claim, ClaimedFragment},
    placement::Placement,
    record::DocumentKind,
    wire::{Answer, Request},
};

use super::{
    fetching::{fetch, is_intact, is_not_whole, reader},
    *,
};
use crate::liar::{Asked, Pace, stand_in};

/// A tessera of so many bytes on twenty-four nodes, each of somebody else.
async fn on_twenty_four(length: usize) -> (Node, Vec<Node>, Tessera) {
    let (author, nodes) = network(24).await;
    let tessera = Tessera::new(&author.author, 1, length);
    tessera.keep(&author).await;
    let (state, told) = publish(&author, tessera.id()).await;
    assert_eq!(
        (state, told.sentence.as_str()),
        (JobState::Done, "Safe: survives the loss of any 8 of 24 machines.")
    );
    (author, nodes, tessera)
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_of_twenty_four_may_be_lost_in_any_way_and_one_more_is_said() {
    let (author, nodes, tessera) = on_twenty_four(MANY_STRIPES).await;
    let (layout, _) = published(&author, &tessera).await;
    let stripes = layout.layout().stripe_numbers();
    let widths: Vec<_> = stripes.map(|stripe| layout.layout().stripe_width(stripe)).collect();
    assert_eq!(widths, [(16, 8), (16, 8), (3, 8)]);
    let knows_all = reader(50, &nodes).await;
    let late = reader(51, &nodes).await;
    author.system.clone().drain().await;
    for gone in &nodes[..2] {
        gone.system.clone().crash().await;
    }
    nodes[2].system.clone().drain().await;
    for dropped in &nodes[3..5] {
        assert!(dropped.system.drop_for_all(tessera.id()).await.unwrap() > 0);
    }
    let blocked = Blocked::Tessera(tessera.id());
    nodes[5].system.peers.block(blocked, "I do not want it".to_owned()).await.unwrap();
    for broken in &nodes[6..8] {
        broken.lose_segments();
    }
    let (state, told) = fetch(&knows_all, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    is_intact(&knows_all, &tessera).await;
    knows_all.system.clone().drain().await;

    nodes[8].system.clone().drain().await;
    let (state, told) = fetch(&late, tessera.id()).await;
    assert_eq!(state, JobState::Failed, "{told:?}");
    assert!(told.sentence.contains("16 fragments bring it back, and 15 were to be had"), "{told:?}");
    is_not_whole(&late, &tessera).await;
}

/// Lengths of contents: sixteen fragments, and as many twice and three more.
const ONE_STRIPE: usize = 16 << 14;
const MANY_STRIPES: usize = 35 << 20;

/// The documents that everybody has.
#[derive(Clone)]
struct Papers {
    layout: SignedLayout,
    manifest: Bytes,
    layout_page: Bytes,
    /// The first placement, with nobody in it: its author has signed it once.
    older: Bytes,
}

/// How a holder lies.
#[derive(Debug, Clone, Copy)]
enum Lies {
    /// Other bytes than it should give.
    WrongBytes,
    /// It claims everything, and has nothing.
    FalseClaims,
    Silence,
    /// A byte a second.
    SlowDrip,
    /// It alone is said to keep all of it.
    ForgedPlacement,
    /// Who kept it once.
    OlderVersion,
    /// What nobody can make sense of.
    Nonsense,
}

const ALL: [Lies; 7] = [
    Lies::WrongBytes,
    Lies::FalseClaims,
    Lies::Silence,
    Lies::SlowDrip,
    Lies::ForgedPlacement,
    Lies::OlderVersion,
    Lies::Nonsense,
];

type Said = Option<(Vec<u8>, Bytes)>;

fn document(bytes: Bytes) -> Said {
    Some((Answer::Document { length: u32::try_from(bytes.len()).unwrap() }.frame(), bytes))
}

fn not_found() -> Said {
    let refusal = proto::wire::RefusalKind::NotFound.because("it is not here");
    Some((Answer::Refused(refusal).frame(), Bytes::new()))
}

impl Lies {
    fn says(self, asked: &Asked, request: Request, papers: &Papers) -> Said {
        match (self, request) {
            (Self::Silence, _) => None,
            (Self::Nonsense, _) => Some((b"HTTP/1.1 200 OK\r\n".to_vec(), Bytes::new())),
            (_, Request::GetDocument { document: kind, .. }) => match kind {
                DocumentKind::Manifest => document(papers.manifest.clone()),
                DocumentKind::Layout => document(papers.layout.bytes().clone()),
                DocumentKind::LayoutPage => document(papers.layout_page.clone()),
                _ => match self {
                    Self::ForgedPlacement => document(forged(&asked.liar, &papers.layout)),
                    Self::OlderVersion => document(papers.older.clone()),
                    _ => not_found(),
                },
            },
            (Self::FalseClaims, Request::GetFragment { .. }) => not_found(),
            (_, Request::GetFragment { checksum, .. }) => {
                let (length, bytes) = (16 << 10, Bytes::from(vec![7; 16 << 10]));
                Some((Answer::Fragment { checksum: checksum.unwrap(), length }.frame(), bytes))
            }
            (_, Request::Attest { stripes, nonce, .. }) => {
                claims_all(asked, stripes, nonce, &papers.layout, &papers.layout_page)
            }
            _ => not_found(),
        }
    }
}

/// Signed by the liar, which says that it has all of it.
fn forged(liar: &NodeKey, layout: &SignedLayout) -> Bytes {
    let holders = vec![Some(liar.id()); 24];
    let (tessera, layout) = (layout.layout().tessera(), layout.checksum());
    let placement = Placement { tessera, layout, version: 99, holders, repairer: Some(liar.id()) };
    placement.sign_as_repairer(liar).unwrap().bytes().clone()
}

/// A claim to have everything.
pub(super) fn claims_all(
    asked: &Asked,
    stripes: std::ops::Range<u32>,
    nonce: [u8; 32],
    layout: &SignedLayout,
    page: &Bytes,
) -> Said {
    let layout = layout.layout();
    let page = layout.page(0, page.clone()).unwrap();
    let fragments = (0..layout.fragments()).map(|number| {
        let (stripe, index) = layout.position(number).unwrap();
        let length = layout.fragment_len_at(stripe, index);
        let checksum = page.checksum(layout.page_of(number).1).unwrap();
        ClaimedFragment { stripe, index, checksum, length, verified_age_ms: Some(0) }
    });
    let claim = Claim {
        node: asked.liar.id(),
        verifier: asked.node,
        nonce,
        binding: asked.binding,
        tessera: layout.tessera(),
        made_at_ms: 0,
        stripes,
        next_stripe: None,
        fragments: fragments.collect(),
    };
    let signed = claim.sign(&asked.liar).unwrap();
    Some((
        Answer::Claim { length: u32::try_from(signed.bytes().len()).unwrap() }.frame(),
        signed.bytes().clone(),
    ))
}

/// In the place of a node.
async fn replace(node: &Node, lies: Lies, papers: &Papers) {
    let byte = if matches!(lies, Lies::SlowDrip) { Duration::from_secs(1) } else { Duration::ZERO };
    let (pace, papers) = (Pace { byte, ..Pace::default() }, papers.clone());
    stand_in(node, pace, Arc::new(move |asked: &Asked, request| lies.says(asked, request, &papers))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seven_liars_of_twenty_four_are_no_holders_and_nothing_of_theirs_is_kept() {
    let (author, nodes, tessera) = &on_twenty_four(ONE_STRIPE).await;
    let (layout, placement) = published(author, tessera).await;
    let (storage, kind) = (&author.system.storage, DocumentKind::LayoutPage);
    let older =
        Placement { version: 1, holders: vec![Some(nodes[0].id()); 24], ..placement.placement().clone() };
    let papers = Papers {
        layout_page: storage
            .document(tessera.id(), kind, layout.layout().pages().first().copied())
            .await
            .unwrap(),
        manifest: tessera.manifest.bytes().clone(),
        older: older.sign(&author.author).unwrap().bytes().clone(),
        layout,
    };
    for (node, lies) in nodes.iter().zip(ALL) {
        replace(node, lies, &papers).await;
    }
    let reader = reader(50, nodes).await;
    // The silent are waited for: both at once.
    let job = author.system.replication.repair(tessera.id()).await.unwrap();
    let ((state, told), (_, mended)) = tokio::join!(fetch(&reader, tessera.id()), ended(author, job.id));
    assert_eq!(state, JobState::Done, "{told:?}");
    is_intact(&reader, tessera).await;
    // Whatever they say of who keeps it, nobody who is honest is passed over when it is mended.
    let (_, after) = published(author, tessera).await;
    assert!(mended.guarantee.unwrap().nodes >= 17, "{mended:?}");
    let honest = nodes[ALL.len()..].iter().map(Node::id);
    for (index, node) in (0..).zip(&placement.placement().holders) {
        let stays = node.is_some_and(|node| honest.clone().any(|one| one == node));
        assert!(!stays || after.placement().holders[index] == *node, "{index}: {mended:?}");
    }

    // Those that claim it have to show it, and cannot: whoever claims most counts for nothing.
    let liars: Vec<NodeId> = nodes[..ALL.len()].iter().map(Node::id).collect();
    let (records, door) = (storage.records(), storage.checksums_door());
    let asked = liars.iter().zip(ALL).filter(|(_, lies)| !matches!(lies, Lies::Silence));
    let shown = asked.map(|(liar, _)| {
        let (author, records, door) = (&author.system, &records, &door);
        async move {
            let _ = author.attestation.audit(*liar, tessera.id()).await;
            author.remote.prove_one(records, door, *liar, tessera.id()).await
        }
    });
    assert!(join_all(shown).await.iter().all(Result::is_err));
    let doubted = records.doubted(tessera.id()).await.unwrap();
    let claimed_all = [
        Lies::WrongBytes,
        Lies::FalseClaims,
        Lies::SlowDrip,
        Lies::ForgedPlacement,
        Lies::OlderVersion,
        Lies::Nonsense,
    ];
    for (liar, lies) in liars.iter().zip(ALL) {
        let is_among =
            claimed_all.iter().any(|one| std::mem::discriminant(one) == std::mem::discriminant(&lies));
        assert_eq!(doubted.contains(liar), is_among, "{lies:?}");
    }
    let told = author.system.replication.safety(tessera.id()).await.unwrap().unwrap();
    let guarantee = told.guarantee.unwrap();
    // The seventeen that are honest bring it back, and one of them may be lost as well.
    assert_eq!(guarantee.nodes, 17, "{told:?}");
    assert!(guarantee.survives >= Some(1), "{told:?}");

    // What they were to keep others keep from now on, and it is as safe as so many machines make it.
    let job = author.system.replication.repair(tessera.id()).await.unwrap();
    let (_, told) = ended(author, job.id).await;
    let (_, after) = published(author, tessera).await;
    for (liar, lies) in liars.iter().zip(ALL).filter(|(liar, _)| doubted.contains(liar)) {
        assert!(!after.placement().holders.contains(&Some(*liar)), "{lies:?} {told:?}");
    }
    let guarantee = told.guarantee.unwrap();
    assert_eq!((guarantee.nodes, guarantee.margin), (17, 8), "{told:?}");
}

//! What holders have lost is rebuilt, and nothing else moves.

use actors::storage::{Blocked, JobState, Note};
use proto::{AuthorKey, record::DocumentKind};

use super::*;

pub(super) async fn repair(node: &Node, tessera: TesseraId) -> (JobState, Told) {
    let job = node.system.replication.repair(tessera).await.unwrap();
    ended(node, job.id).await
}

/// Of a layout, what each of these nodes has.
pub(super) async fn all_held(nodes: &[Node], layout: &Layout) -> Vec<Vec<((u32, u16), Fragment)>> {
    let mut all = Vec::new();
    for node in nodes {
        all.push(held(node, layout).await);
    }
    all
}

/// A tessera on five of six nodes, which all know each other; the one that keeps nothing of it comes last.
pub(super) async fn published_on_five_of_six() -> (Node, Vec<Node>, Tessera, SignedLayout) {
    on_five_of_six(|author| Tessera::new(author, 1, 200_000)).await
}

async fn on_five_of_six(tessera: impl Fn(&AuthorKey) -> Tessera) -> (Node, Vec<Node>, Tessera, SignedLayout) {
    let (author, mut nodes) = network(5).await;
    let tessera = tessera(&author.author);
    tessera.keep(&author).await;
    let (state, told) = publish(&author, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    let spare = Node::start(40).await;
    introduce(&author, &spare).await;
    // It keeps something for an author only of whom it has heard.
    author.system.remote.hello(spare.id(), false, None).await.unwrap();
    nodes.push(spare);
    for (at, one) in nodes.iter().enumerate() {
        for other in &nodes[at + 1..] {
            introduce(one, other).await;
        }
    }
    let (layout, _) = published(&author, &tessera).await;
    (author, nodes, tessera, layout)
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_node_is_replaced_and_only_what_it_had_is_sent() {
    let (author, nodes, tessera, layout) = published_on_five_of_six().await;
    let before = all_held(&nodes, layout.layout()).await;
    nodes[1].system.clone().drain().await;
    let (state, told) = repair(&author, tessera.id()).await;
    assert_eq!(
        (state, told.sentence.as_str()),
        (JobState::Done, "Safe: survives the loss of any 2 of 5 machines.")
    );
    let after = all_held(&nodes[2..], layout.layout()).await;
    assert_eq!(after[..3], before[2..5], "nothing else has moved");
    assert_eq!(after[3], before[1], "the spare one has what was lost");
    let (_, placement) = published(&author, &tessera).await;
    assert!(!placement.placement().holders.contains(&Some(nodes[1].id())));
    assert_eq!(placement.placement().repairer, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn author_that_publishes_again_goes_by_what_others_have_mended() {
    let (author, nodes, tessera, _) = published_on_five_of_six().await;
    nodes[1].system.clone().crash().await;
    // A holder tells the others, and not the author, which is none.
    assert_eq!(repair(&nodes[0], tessera.id()).await.0, JobState::Done);
    let (state, told) = publish(&author, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    let (_, placement) = published(&author, &tessera).await;
    assert!(placement.placement().holders.contains(&Some(nodes[5].id())));
    assert!(!placement.placement().holders.contains(&Some(nodes[1].id())));
    let known = author.system.replication.safety(tessera.id()).await.unwrap().unwrap();
    assert_eq!(known.sentence, told.sentence, "and it is what has been found");
    // Whoever has it now has signed for it.
    agreeing::both_sides_agree(&author, &nodes[2..], &tessera).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_few_had_to_keep_twice_is_spread_again_when_others_are_there() {
    let (author, nodes) = network(5).await;
    let tessera = Tessera::new(&author.author, 1, 200_000);
    tessera.keep(&author).await;
    assert_eq!(publish(&author, tessera.id()).await.0, JobState::Done);
    let refused = Blocked::Tessera(tessera.id());
    for node in &nodes[..2] {
        node.system.peers.block(refused, "not now".to_owned()).await.unwrap();
        assert!(node.system.drop_for_all(tessera.id()).await.unwrap() > 0);
    }
    let (state, told) = repair(&author, tessera.id()).await;
    assert_eq!(state, JobState::Degraded);
    assert!(told.sentence.contains("the loss of any 1 of 3 machines"), "{told:?}");
    for node in &nodes[..2] {
        node.system.peers.unblock(refused).await.unwrap();
    }
    // A holder moves nothing: the others would not believe that one of them is replaced who is there.
    for (at, one) in nodes.iter().enumerate() {
        for other in &nodes[at + 1..] {
            introduce(one, other).await;
        }
    }
    assert_eq!(repair(&nodes[2], tessera.id()).await.0, JobState::Degraded);
    assert_eq!([fragments(&nodes[0], tessera.id()).await, fragments(&nodes[1], tessera.id()).await], [0, 0]);

    let (state, told) = publish(&author, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    assert_eq!(told.sentence, "Safe: survives the loss of any 2 of 5 machines.");
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_repairs_without_the_author() {
    let (author, nodes, tessera, layout) = published_on_five_of_six().await;
    let before = all_held(&nodes, layout.layout()).await;
    // Of the one who repairs it the spare one would keep nothing.
    nodes[5].knows_at(nodes[0].id(), nodes[0].address(), Some(0)).await;
    author.system.clone().crash().await;
    nodes[1].system.clone().crash().await;
    let (state, told) = repair(&nodes[0], tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    assert_eq!(told.sentence, "Safe: survives the loss of any 2 of 5 machines.");
    assert_eq!(held(&nodes[5], layout.layout()).await, before[1]);
    let known = nodes[2].system.storage.records().placements(tessera.id()).await.unwrap();
    let signed = SignedPlacement::parse(known[0].signed.clone(), tessera.id(), author.author.id()).unwrap();
    assert_eq!(signed.placement().repairer, Some(nodes[0].id()));
    assert!(signed.placement().holders.contains(&Some(nodes[5].id())));
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_has_lost_it_is_given_it_again() {
    let (author, nodes, tessera, layout) = published_on_five_of_six().await;
    let before = held(&nodes[3], layout.layout()).await;
    assert!(nodes[3].system.drop_for_all(tessera.id()).await.unwrap() > 0);
    let (state, told) = repair(&author, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    assert_eq!(held(&nodes[3], layout.layout()).await, before);
    assert_eq!(held(&nodes[5], layout.layout()).await, []);
    agreeing::both_sides_agree(&author, &nodes, &tessera).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_cannot_show_what_it_claims_is_replaced() {
    for publishes in [false, true] {
        let (author, nodes, tessera, layout) = published_on_five_of_six().await;
        let had = held(&nodes[1], layout.layout()).await;
        // It still says that it has it.
        nodes[1].damage(&had.iter().map(|(_, fragment)| fragment.clone()).collect::<Vec<_>>());
        let doubted = Note::Doubted { holder: nodes[1].id(), tessera: tessera.id(), at_ms: 1 };
        author.system.storage.records().note(vec![doubted]).await.unwrap();
        let (state, told) = match publishes {
            true => publish(&author, tessera.id()).await,
            false => repair(&author, tessera.id()).await,
        };
        assert_eq!(state, JobState::Done, "{told:?}");
        let (_, placement) = published(&author, &tessera).await;
        assert!(!placement.placement().holders.contains(&Some(nodes[1].id())), "{told:?}");
        assert_eq!(held(&nodes[5], layout.layout()).await, had);
        assert!(told.turned.iter().any(|one| one.node == nodes[1].id()), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_cut_off_from_all_changes_nothing() {
    let (author, mut nodes, tessera, layout) = published_on_five_of_six().await;
    let (_, before) = published(&author, &tessera).await;
    let held_before = all_held(&nodes, layout.layout()).await;
    let addresses: Vec<_> = nodes.iter().map(Node::address).collect();
    join_all(nodes.iter().map(|node| node.system.clone().drain())).await;
    let (state, told) = repair(&author, tessera.id()).await;
    assert_eq!(state, JobState::Failed);
    assert!(told.sentence.contains("is this machine connected?"), "{told:?}");
    assert_eq!(published(&author, &tessera).await.1, before);
    for (node, address) in nodes.iter_mut().zip(addresses) {
        node.start_again(address).await;
    }
    until("all are there", async || {
        let hellos = nodes.iter().map(|node| author.system.remote.hello(node.id(), false, None));
        join_all(hellos).await.iter().all(Result::is_ok)
    })
    .await;
    let (state, told) = repair(&author, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    assert_eq!(published(&author, &tessera).await.1, before);
    assert_eq!(all_held(&nodes, layout.layout()).await, held_before);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_holder_whom_nobody_replaces_is_still_one_when_it_is_back() {
    // Three copies on three machines, and nobody else.
    let (author, mut nodes) = network(3).await;
    let tessera = Tessera::new(&author.author, 1, 50_000);
    tessera.keep(&author).await;
    publish(&author, tessera.id()).await;
    let (_, before) = published(&author, &tessera).await;
    let lost = &mut nodes[1];
    let address = lost.address();
    lost.system.clone().drain().await;
    let (state, told) = repair(&author, tessera.id()).await;
    assert_eq!(state, JobState::Degraded, "{told:?}");
    assert_eq!(published(&author, &tessera).await.1, before);
    lost.start_again(address).await;
    let (state, told) = repair(&author, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    assert_eq!(published(&author, &tessera).await.1, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_signed_and_lost_it_is_given_it_again_though_another_is_away() {
    let (author, nodes, tessera, layout) = published_on_five_of_six().await;
    let before = held(&nodes[3], layout.layout()).await;
    assert!(nodes[3].system.drop_for_all(tessera.id()).await.unwrap() > 0);
    nodes[1].system.clone().drain().await;
    // What it has signed counts of the one that does not answer, and of that one alone.
    publish(&author, tessera.id()).await;
    assert_eq!(held(&nodes[3], layout.layout()).await, before);
    assert_eq!(held(&nodes[5], layout.layout()).await, [], "who is only away is not replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_knows_only_the_author_finds_the_others_before_it_takes_them_for_lost() {
    let (author, nodes) = network(5).await;
    let tessera = Tessera::new(&author.author, 1, 200_000);
    tessera.keep(&author).await;
    assert_eq!(publish(&author, tessera.id()).await.0, JobState::Done);
    let (layout, placed) = published(&author, &tessera).await;
    let before = all_held(&nodes, layout.layout()).await;
    // It takes nothing from whom it does not know.
    nodes[1].knows(&nodes[0]).await;
    assert!(nodes[1].system.drop_for_all(tessera.id()).await.unwrap() > 0);
    let (state, told) = repair(&nodes[0], tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    assert_eq!(all_held(&nodes, layout.layout()).await, before);
    let kept = nodes[0].system.storage.records().placements(tessera.id()).await.unwrap();
    assert_eq!(kept[0].signed, *placed.bytes(), "nobody was replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_mended_is_said() {
    let (author, nodes, tessera, _) = published_on_five_of_six().await;
    let stranger = Node::start(80).await;
    introduce(&stranger, &nodes[0]).await;
    let (state, told) = repair(&stranger, tessera.id()).await;
    assert_eq!(state, JobState::Failed);
    assert!(told.sentence.contains("by its author or by a node that keeps some of it"), "{told:?}");
    let unpublished = Tessera::new(&author.author, 7, 9_000);
    unpublished.keep(&author).await;
    let (state, told) = repair(&author, unpublished.id()).await;
    assert_eq!(state, JobState::Failed);
    assert!(told.sentence.contains("its author publishes it first"), "{told:?}");
    // With too few left, a holder cannot do it.
    for lost in [&author, &nodes[2], &nodes[3], &nodes[4]] {
        lost.system.clone().drain().await;
    }
    let (state, told) = repair(&nodes[0], tessera.id()).await;
    assert_eq!(state, JobState::Failed, "{told:?}");
    assert!(told.sentence.contains("3 fragments bring it back, and 2 were to be had"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_without_the_page_that_names_what_others_have_mends_what_they_lose() {
    // The last stripe begins on the first page of checksums and ends on the second: who keeps data has the first alone.
    let pieces = 3 * STRIPES;
    let (author, nodes, tessera, layout) =
        on_five_of_six(|author| Tessera::in_pieces(author, 1, pieces)).await;
    let pages = layout.layout().pages();
    let (_, placement) = published(&author, &tessera).await;
    let keeper = |index: usize| {
        let node = placement.placement().holders[index];
        nodes.iter().find(|one| Some(one.id()) == node).unwrap()
    };
    let (data, parity) = (keeper(0), keeper(4));
    let storage = &data.system.storage;
    let page = storage.document(tessera.id(), DocumentKind::LayoutPage, pages.get(1).copied()).await;
    assert!(pages.len() == 2 && matches!(page, Err(ActorError::NotFound { .. })), "{page:?}");
    author.system.clone().drain().await;
    let claims = data.system.attestation.audit(parity.id(), tessera.id()).await.unwrap();
    assert_eq!((claims.held, claims.wrong), (STRIPES as u64, 0));
    // Nothing but what stands on the second page can be picked.
    let (records, holder) = (storage.records(), parity.id());
    let (stripes, last) = (layout.layout().stripe_numbers(), layout.layout().stripe_numbers().end - 1);
    let but_the_last = (stripes.start..last).map(|stripe| (stripe, 4)).collect();
    let dropped = Note::Dropped { holder, tessera: tessera.id(), fragments: but_the_last };
    records.note(vec![dropped]).await.unwrap();
    let proven =
        data.system.remote.prove_one(&records, &storage.checksums_door(), holder, tessera.id()).await;
    assert_eq!(proven.unwrap().fragment.stripe, last);
    let before = held(parity, layout.layout()).await;
    parity.system.clone().drain().await;
    let (state, told) = repair(data, tessera.id()).await;
    assert_eq!(
        (state, told.sentence.as_str()),
        (JobState::Done, "Safe: survives the loss of any 2 of 5 machines.")
    );
    assert_eq!(held(&nodes[5], layout.layout()).await, before, "the spare one has what was lost");
}

/// Of five fragments, so that the last one is on both sides of the end of a page.
const STRIPES: usize = proto::limits::LAYOUT_PAGE_CHECKSUMS_MAX / 5 + 1;

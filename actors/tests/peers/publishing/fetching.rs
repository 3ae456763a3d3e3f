//! A tessera is brought back from those that keep it, on a node that never had it.

use actors::{
    archive::verify,
    storage::{Blocked, JobState},
};
use proto::{AccountId, layout::Code, placement::Placement, record::DocumentKind};

use super::*;

/// Brings a tessera to a node, and waits for what comes of it.
pub(super) async fn fetch(node: &Node, tessera: TesseraId) -> (JobState, Told) {
    let job = node.system.replication.fetch(tessera).await.unwrap();
    ended(node, job.id).await
}

/// A node that knows these, and is not known to them.
pub(super) async fn reader(seed: u8, nodes: &[Node]) -> Node {
    let reader = Node::start(seed).await;
    for node in nodes {
        reader.knows(node).await;
    }
    reader
}

/// All of it is here, and what its author signed.
pub(super) async fn is_intact(node: &Node, tessera: &Tessera) {
    let report = verify(node.system.storage.clone(), tessera.id(), |_| ()).await.unwrap();
    assert!(report.is_intact(), "{report:?}");
    let keepers = node.system.storage.records().keepers(tessera.id()).await.unwrap();
    assert!(keepers.contains(&AccountId::LOCAL), "{keepers:?}");
}

/// Some of it may be here, and what is here is right.
pub(super) async fn is_not_whole(node: &Node, tessera: &Tessera) {
    if fragments(node, tessera.id()).await == 0 {
        return;
    }
    let report = verify(node.system.storage.clone(), tessera.id(), |_| ()).await.unwrap();
    assert!(report.missing > 0 && report.damaged == 0 && !report.is_intact(), "{report:?}");
}

async fn published_on(nodes: u8, length: usize) -> (Node, Vec<Node>, Tessera) {
    let (author, nodes) = network(nodes).await;
    let tessera = Tessera::new(&author.author, 1, length);
    tessera.keep(&author).await;
    let (state, told) = publish(&author, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    (author, nodes, tessera)
}

#[tokio::test(flavor = "multi_thread")]
async fn tessera_comes_back_without_its_author_and_as_many_holders_as_it_survives() {
    let (author, mut nodes, tessera) = published_on(5, 300_000).await;
    author.system.drain().await;
    let reader = reader(50, &nodes).await;
    for lost in nodes.drain(..2) {
        lost.system.clone().crash().await;
    }
    let (state, told) = fetch(&reader, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    assert!(told.sentence.contains("all 292.9 KiB of it"), "{told:?}");
    is_intact(&reader, &tessera).await;
    // It is somebody else's: nobody has been asked what he has, and none is said to have nothing.
    let told = reader.system.replication.safety(tessera.id()).await.unwrap().unwrap();
    assert!(told.guarantee.is_none() && told.sentence.contains("the 5 nodes"), "{told:?}");
    // There is nothing left to be fetched.
    for node in &nodes {
        node.system.clone().crash().await;
    }
    let (state, told) = fetch(&reader, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_holder_too_few_is_said_and_nothing_is_invented() {
    let (author, mut nodes, tessera) = published_on(5, 10_000).await;
    let (layout, placement) = published(&author, &tessera).await;
    assert_eq!(layout.layout().stripe_numbers().len(), 1);
    author.system.drain().await;
    let reader = reader(50, &nodes).await;
    let indices = |node: &Node| placement.placement().indices(node.id()).next();
    nodes.sort_by_key(indices);
    let mut lost = nodes.split_off(2);
    let addresses: Vec<_> = lost.iter().map(Node::address).collect();
    for node in &lost {
        node.system.clone().drain().await;
    }
    let (state, told) = fetch(&reader, tessera.id()).await;
    assert_eq!(state, JobState::Failed, "{told:?}");
    assert!(told.sentence.contains("3 fragments bring it back, and 2 were to be had"), "{told:?}");
    is_not_whole(&reader, &tessera).await;
    // The data that has come is here, and what brings it back need not come from them.
    assert_eq!(held(&reader, layout.layout()).await.iter().map(|((_, index), _)| *index).max(), Some(1));
    for node in &nodes {
        node.system.clone().drain().await;
    }
    lost[2].start_again(addresses[2]).await;
    let (state, told) = fetch(&reader, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    is_intact(&reader, &tessera).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_with_wrong_bytes_are_passed_over() {
    let (_author, nodes, tessera) = published_on(5, 200_000).await;
    let (layout, _) = published(&_author, &tessera).await;
    let reader = reader(50, &nodes).await;
    for damaged in &nodes[..2] {
        let held: Vec<_> = held(damaged, layout.layout()).await.into_iter().map(|(_, it)| it).collect();
        damaged.damage(&held);
    }
    let (state, told) = fetch(&reader, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    is_intact(&reader, &tessera).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_knows_only_one_holder_hears_of_the_others_from_it() {
    let (author, nodes, tessera) = published_on(3, 50_000).await;
    author.system.drain().await;
    // The one it knows has all of it, as each of three has.
    let reader = reader(50, &nodes[..1]).await;
    let (state, told) = fetch(&reader, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    is_intact(&reader, &tessera).await;
}

/// Fetches on a node that knows one other, and is known to none.
async fn comes_by_way_of(known: &Node, author: &Node, tessera: &Tessera) {
    let reader = reader(50, std::slice::from_ref(known)).await;
    let (state, told) = fetch(&reader, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    is_intact(&reader, tessera).await;
    // Who else has it is known from then on.
    let signed = async |node: &Node| {
        let kept = node.system.storage.records().placements(tessera.id()).await.unwrap();
        kept.into_iter().map(|kept| (kept.version, kept.signed)).collect::<Vec<_>>()
    };
    assert_eq!(signed(&reader).await, signed(author).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_that_is_known_leads_to_the_holders() {
    let (author, nodes, tessera) = published_on(5, 90_000).await;
    comes_by_way_of(&author, &author, &tessera).await;
    // It names the author, and that the other four.
    comes_by_way_of(&nodes[0], &author, &tessera).await;
    // It keeps nothing of it, and knows who may.
    let friend = Node::start(60).await;
    friend.knows(&author).await;
    comes_by_way_of(&friend, &author, &tessera).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_fetches_what_it_keeps_for_its_author_for_itself_as_well() {
    let (_author, nodes, tessera) = published_on(5, 120_000).await;
    for node in &nodes[1..] {
        introduce(&nodes[0], node).await;
    }
    let (state, told) = fetch(&nodes[0], tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    is_intact(&nodes[0], &tessera).await;
    nodes[0].system.storage.forget(tessera.id()).await.unwrap();
    let (layout, _) = published(&_author, &tessera).await;
    assert!(!held(&nodes[0], layout.layout()).await.is_empty(), "that is its author's to say");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_or_is_blocked_here_is_not_fetched() {
    let (author, nodes, tessera) = published_on(3, 9_000).await;
    let absent = Tessera::new(&author.author, 9, 100);
    let (state, told) = fetch(&nodes[0], absent.id()).await;
    assert_eq!(state, JobState::Failed);
    assert!(
        told.sentence.contains("none of the 3 nodes that are known has anything of it, or answered"),
        "{told:?}"
    );
    let alone = Node::start(60).await;
    let (_, told) = fetch(&alone, absent.id()).await;
    assert!(told.sentence.contains("no other node is known"), "{told:?}");
    let reader = reader(50, &nodes).await;
    reader.system.peers.block(Blocked::Tessera(tessera.id()), "never".to_owned()).await.unwrap();
    let (state, told) = fetch(&reader, tessera.id()).await;
    assert_eq!(state, JobState::Failed);
    assert!(told.sentence.contains("is blocked here (never)"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fetch_that_is_killed_goes_on() {
    let (_author, nodes, tessera) = published_on(4, 4_000_000).await;
    let mut reader = reader(50, &nodes).await;
    let job = reader.system.replication.fetch(tessera.id()).await.unwrap();
    for _ in 0..3 {
        let storage = reader.system.storage.clone();
        let here = async || storage.usage().await.unwrap().totals.fragments;
        let before = here().await;
        let more =
            async || here().await > before || kept_job(&reader, job.id).await.state != JobState::Pending;
        until("something that came", more).await;
        reader.kill_and_start().await;
    }
    let (state, told) = ended(&reader, job.id).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    is_intact(&reader, &tessera).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_its_author_has_not_signed_is_not_kept() {
    let (author, nodes) = network(3).await;
    let (signed, other) = (Tessera::new(&author.author, 1, 50_000), Tessera::new(&author.author, 2, 50_000));
    // The layout is the author's, and leads to other content than the manifest.
    let sums: Vec<_> = other.fragments.iter().map(Fragment::checksum).collect();
    let (of, length) = (signed.layout.layout(), signed.manifest.manifest().content_len);
    let (layout, pages) = Layout::build(signed.id(), of.code(), of.fragment_len(), length, &sums).unwrap();
    let layout = layout.sign(&author.author).unwrap();
    let exchanged = Tessera { layout, pages, fragments: other.fragments, manifest: signed.manifest };
    exchanged.keep(&author).await;
    let (state, told) = publish(&author, exchanged.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    let reader = reader(50, &nodes).await;
    let (state, told) = fetch(&reader, exchanged.id()).await;
    assert_eq!(state, JobState::Failed);
    assert!(told.sentence.contains("is not what its author signed: nothing of it was kept"), "{told:?}");
    assert_eq!(reader.system.storage.usage().await.unwrap().totals.fragments, 0);
}

/// The first fragments of a tessera, each of which is a stripe, and its documents.
async fn give_by_hand(author: &Node, to: &Node, tessera: &Tessera, fragments: usize) {
    let (remote, layout) = (&author.system.remote, &tessera.layout);
    for (kind, bytes, root) in [
        (DocumentKind::Manifest, tessera.manifest.bytes().clone(), None),
        (DocumentKind::Layout, layout.bytes().clone(), None),
        (DocumentKind::LayoutPage, tessera.pages[0].clone(), Some(layout.checksum())),
    ] {
        remote.put_document(to.id(), tessera.id(), kind, root, bytes).await.unwrap();
    }
    let fragments = tessera.fragments.iter().take(fragments);
    for (stripe, fragment) in layout.layout().stripe_numbers().zip(fragments) {
        let id = proto::FragmentId { tessera: tessera.id(), stripe, index: 0 };
        let (to, author) = (to.id(), author.author.id());
        remote.put_fragment(to, author, id, layout.checksum(), fragment).await.unwrap();
    }
}

/// An author who knew nothing of the first layout begins another at the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    Behind,
    AtTheSame,
}

async fn too_little_by_one_hides_nothing_of_another(begins: Begins) {
    let (author, mut nodes, tessera) = published_on(3, 50_000).await;
    let (before, placed) = published(&author, &tessera).await;
    nodes.sort_by_key(|node| placed.placement().indices(node.id()).next());
    let (of, length) = (tessera.layout.layout(), tessera.manifest.manifest().content_len);
    let sums: Vec<_> = tessera.fragments.iter().map(Fragment::checksum).collect();
    let code = Code::new(2, 1).unwrap();
    let stripes = sums.chunks(2).flat_map(|chunks| [chunks, &[Checksum::of(b"nobody has it")]].concat());
    let (newer, pages) =
        Layout::build(tessera.id(), code, of.fragment_len(), length, &stripes.collect::<Vec<_>>()).unwrap();
    let numbers = before.layout().stripe_numbers();
    let first = if begins == Begins::Behind { numbers.end } else { numbers.start };
    let newer = newer.beginning_at(first).unwrap().sign(&author.author).unwrap();
    let fragments = tessera.fragments.iter().step_by(2).cloned().collect();
    let newer = Tessera { layout: newer, pages, fragments, manifest: tessera.manifest.clone() };
    // The first was away then.
    for node in &nodes[1..] {
        give_by_hand(&author, node, &newer, 2).await;
        let (layout, holders) = (newer.layout.checksum(), vec![Some(node.id()), None, None]);
        let placement = Placement { layout, holders, ..placed.placement().clone() };
        let placement = placement.sign(&author.author).unwrap().bytes().clone();
        let (remote, kind) = (&author.system.remote, DocumentKind::Placement);
        remote.put_document(node.id(), tessera.id(), kind, None, placement).await.unwrap();
    }
    author.system.clone().drain().await;
    let reader = reader(50, &nodes).await;
    let (state, told) = fetch(&reader, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{begins:?}: {told:?}");
    is_intact(&reader, &tessera).await;
    if begins == Begins::Behind {
        assert_eq!(held(&reader, newer.layout.layout()).await, [], "nobody needs it");
        // As a kill just before that would leave it.
        newer.keep_first(&reader, 1).await;
        is_intact(&reader, &tessera).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_by_a_layout_of_which_too_little_is_there_does_not_hide_what_came_by_another() {
    too_little_by_one_hides_nothing_of_another(Begins::Behind).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_by_a_layout_with_the_same_numbers_is_not_in_the_way_and_takes_nothing_along() {
    too_little_by_one_hides_nothing_of_another(Begins::AtTheSame).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_that_is_here_is_looked_through_and_never_dropped() {
    let (author, nodes) = network(3).await;
    let (signed, other) = (Tessera::new(&author.author, 1, 50_000), Tessera::new(&author.author, 2, 50_000));
    signed.keep(&author).await;
    let (state, told) = fetch(&author, signed.id()).await;
    assert_eq!(state, JobState::Done, "nobody else is needed: {told:?}");
    // Others keep it by a layout of its author's that leads to other content.
    let sums: Vec<_> = other.fragments.iter().map(Fragment::checksum).collect();
    let (of, length) = (signed.layout.layout(), signed.manifest.manifest().content_len);
    let (layout, pages) = Layout::build(signed.id(), of.code(), of.fragment_len(), length, &sums).unwrap();
    let layout = layout.beginning_at(of.stripe_numbers().end).unwrap().sign(&author.author).unwrap();
    let relaid = Tessera { layout, pages, fragments: other.fragments, manifest: signed.manifest.clone() };
    give_by_hand(&author, &nodes[0], &relaid, usize::MAX).await;
    // One chunk of the copy is damaged, and nobody has it.
    author.damage(&signed.fragments[..1]);
    let before = author.system.storage.records().tessera(signed.id()).await.unwrap().fragments;
    let (state, told) = fetch(&author, signed.id()).await;
    assert_eq!(state, JobState::Failed, "{told:?}");
    let after = author.system.storage.records().tessera(signed.id()).await.unwrap().fragments;
    assert_eq!(after, before, "what came by the other layout has gone again");
}

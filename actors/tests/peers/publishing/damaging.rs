//! What a disk has spoiled is put back where it was, as soon as it is found, and nothing else moves.

use actors::{
    ActorError,
    storage::{KeptPlacement, Totals},
};
use config::RepairConfig;
use proto::FragmentId;

use super::{
    repairing::{all_held, published_on_five_of_six, repair},
    sweeping::{network, published_by, repairs, watched},
    *,
};

/// Looks once a day, and waits six hours for whoever is only away.
fn rarely() -> RepairConfig {
    RepairConfig::default()
}

/// Spoils these fragments on the disk of a node, and has it read them.
async fn spoil(node: &Node, tessera: &Tessera, fragments: &[((u32, u16), Fragment)]) {
    node.damage(&fragments.iter().map(|(_, fragment)| fragment.clone()).collect::<Vec<_>>());
    for ((stripe, index), _) in fragments {
        let id = FragmentId { tessera: tessera.id(), stripe: *stripe, index: *index };
        let read = node.system.storage.get(id).await;
        assert!(matches!(read, Err(ActorError::Corrupt { .. })), "{read:?}");
    }
}

/// What each of these nodes stores, and who keeps the tessera by what it knows.
async fn stands(nodes: &[Node], tessera: &Tessera) -> Vec<(Totals, Vec<KeptPlacement>)> {
    let mut all = Vec::new();
    for node in nodes {
        let storage = &node.system.storage;
        let placements = storage.records().placements(tessera.id()).await.unwrap();
        all.push((storage.usage().await.unwrap().totals, placements));
    }
    all
}

/// Waits until a node has done so many repairs.
async fn mended(node: &Node, times: usize) {
    let is_done = |job: &ReplicationJob| job.state == JobState::Done;
    until("it has mended it", async || {
        repairs(node).await.iter().filter(|job| is_done(job)).count() == times
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fragment_that_scrub_finds_damaged_is_put_back_at_once_and_nothing_else_moves() {
    let (author, mut nodes) = network(5, rarely(), rarely()).await;
    let (tessera, layout) = published_by(&author, 1).await;
    let (before, stood) = (all_held(&nodes, layout.layout()).await, stands(&nodes, &tessera).await);
    nodes[2].damage(&[before[2][0].1.clone()]);
    nodes[2].system.scrub.start().await.unwrap();
    mended(&nodes[2], 1).await;
    assert_eq!(all_held(&nodes, layout.layout()).await, before);
    let mut stands = stands(&nodes, &tessera).await;
    assert_eq!(stands[2].1, stood[2].1, "the same nodes keep it");
    let storage = nodes[2].system.storage.clone();
    assert_eq!(storage.jobs(1).await.unwrap(), [], "nothing is damaged any more");
    let receipts = storage.records().receipts(nodes[2].id(), tessera.id(), (0, 0), 1).await.unwrap();
    assert_eq!(receipts, [], "nobody signs for himself");
    stands.remove(2);
    nodes.remove(2);
    let others: Vec<_> = stood.into_iter().enumerate().filter(|(at, _)| *at != 2).map(|(_, it)| it).collect();
    assert_eq!(stands, others, "nobody else has stored anything");
    for node in nodes.iter().chain([&author]) {
        assert_eq!(repairs(node).await, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_was_found_just_before_a_kill_is_mended_after_the_start() {
    let (author, mut nodes) = network(5, rarely(), rarely()).await;
    let (tessera, layout) = published_by(&author, 1).await;
    let before = all_held(&nodes, layout.layout()).await;
    // What it says to have then would count for two days.
    assert_eq!(repair(&nodes[1], tessera.id()).await.0, JobState::Done);
    spoil(&nodes[1], &tessera, &before[1]).await;
    nodes[1].kill_and_start().await;
    mended(&nodes[1], 2).await;
    assert_eq!(all_held(&nodes, layout.layout()).await, before);
    assert_eq!(repairs(&nodes[1]).await.len(), 2, "its fragments are of one tessera");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_the_only_one_to_have_lost_something_waits_for_its_turn() {
    let (author, nodes) = network(5, rarely(), rarely()).await;
    let (tessera, layout) = published_by(&author, 1).await;
    let before = held(&nodes[2], layout.layout()).await;
    assert!(nodes[3].system.drop_for_all(tessera.id()).await.unwrap() > 0);
    spoil(&nodes[2], &tessera, &before[..1]).await;
    until("it has looked", async || watched(&nodes[2], &tessera).await.below_since_ms.is_some()).await;
    let seen = watched(&nodes[2], &tessera).await;
    let grace_ms = i64::try_from(rarely().grace.as_millis()).unwrap();
    assert!(seen.due_at_ms.unwrap() >= seen.below_since_ms.unwrap() + grace_ms, "{seen:?}");
    assert_eq!(repairs(&nodes[2]).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_repairs_keeps_again_what_it_has_lost_itself() {
    let (author, nodes, tessera, layout) = published_on_five_of_six().await;
    let (before, stood) = (all_held(&nodes, layout.layout()).await, stands(&nodes, &tessera).await);
    spoil(&nodes[0], &tessera, &before[0][..1]).await;
    let (stripe, index) = before[0][1].0;
    let gone = FragmentId { tessera: tessera.id(), stripe, index };
    nodes[0].system.storage.drop_fragment(author.author.id().into(), gone).await.unwrap();
    let (state, told) = repair(&nodes[0], tessera.id()).await;
    assert_eq!(
        (state, told.sentence.as_str(), told.turned.len()),
        (JobState::Done, "Safe: survives the loss of any 2 of 5 machines.", 0)
    );
    assert_eq!(all_held(&nodes, layout.layout()).await, before);
    assert_eq!(stands(&nodes, &tessera).await[1..], stood[1..], "nobody else has stored anything");
    agreeing::both_sides_agree(&author, &nodes, &tessera).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_of_a_whole_copy_that_is_damaged_gets_it_from_another() {
    let (author, nodes) = network(3, rarely(), rarely()).await;
    let (tessera, layout) = published_by(&author, 1).await;
    assert_eq!(layout.layout().code().k(), 1);
    let before = all_held(&nodes, layout.layout()).await;
    spoil(&nodes[0], &tessera, &before[0][..2]).await;
    let (state, told) = repair(&nodes[0], tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    assert_eq!(all_held(&nodes, layout.layout()).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn author_whose_own_copy_is_damaged_repairs_from_the_others() {
    let (author, nodes, tessera, layout) = published_on_five_of_six().await;
    let before = all_held(&nodes, layout.layout()).await;
    assert!(nodes[3].system.drop_for_all(tessera.id()).await.unwrap() > 0);
    // Nobody has read them yet.
    author.damage(&tessera.fragments);
    let (state, told) = repair(&author, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    assert_eq!(all_held(&nodes, layout.layout()).await, before);
}

//! A node that goes hands over what it keeps for others, and nothing is lost by it.

use actors::storage::JobState;
use proto::{
    AccountId,
    wire::{Bound, RefusalKind},
};

use super::{repairing::published_on_five_of_six, *};
use crate::support::refusal;

async fn leave(node: &Node) -> (JobState, Told) {
    node.system.peers.set_leaving(true).await.unwrap();
    let job = node.system.replication.leave().await.unwrap();
    ended(node, job.id).await
}

async fn others_have_here(node: &Node) -> u64 {
    node.system.storage.records().others(vec![AccountId::LOCAL]).await.unwrap().fragments
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_for_others_goes_to_the_next_and_nothing_else_moves() {
    let (author, nodes, tessera, layout) = published_on_five_of_six().await;
    let mut before = Vec::new();
    for node in &nodes {
        before.push(held(node, layout.layout()).await);
    }
    let own = Tessera::new(&nodes[1].author, 9, 30_000);
    own.keep(&nodes[1]).await;
    let (state, told) = leave(&nodes[1]).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    assert!(told.sentence.starts_with("Handed over: all that this node kept for others"), "{told:?}");
    assert_eq!((told.only_here.as_slice(), told.left.as_slice()), (&[own.id()][..], &[][..]));
    assert_eq!(others_have_here(&nodes[1]).await, 0);
    assert_eq!(held(&nodes[5], layout.layout()).await, before[1]);
    for at in [0, 2, 3, 4] {
        assert_eq!(held(&nodes[at], layout.layout()).await, before[at]);
    }
    // All holders know who has it now, the new one, too.
    for at in [0, 2, 3, 4, 5] {
        let known = nodes[at].system.storage.records().placements(tessera.id()).await.unwrap();
        let signed = SignedPlacement::parse(known[0].signed.clone(), tessera.id(), author.author.id());
        let placement = signed.unwrap().placement().clone();
        assert_eq!(placement.repairer, Some(nodes[1].id()), "{at}");
        assert!(placement.holders.contains(&Some(nodes[5].id())));
        assert!(!placement.holders.contains(&Some(nodes[1].id())));
    }
    // What it has claimed a moment ago does not count any more.
    let job = author.system.replication.repair(tessera.id()).await.unwrap();
    let (_, told) = ended(&author, job.id).await;
    assert_eq!(told.sentence, "Safe: survives the loss of any 2 of 5 machines.");
    // It takes nothing new, until it stays.
    let theirs = Tessera::new(&nodes[0].author, 3, 9_000);
    assert_eq!(refusal(theirs.introduce(&nodes[0], nodes[1].id()).await), RefusalKind::Forbidden);
    let greeting = nodes[0].system.remote.hello(nodes[1].id(), false, None).await.unwrap();
    assert_eq!((greeting.allowance_bytes, greeting.bound), (0, Some(Bound::Leaving)));
    nodes[1].system.peers.set_leaving(false).await.unwrap();
    theirs.introduce(&nodes[0], nodes[1].id()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_is_killed_while_it_leaves_goes_on_and_takes_nothing_meanwhile() {
    let (author, mut nodes, _, layout) = published_on_five_of_six().await;
    let before = held(&nodes[1], layout.layout()).await;
    nodes[1].system.peers.set_leaving(true).await.unwrap();
    let job = nodes[1].system.replication.leave().await.unwrap();
    let spare = nodes[5].id();
    let is_under_way = async || {
        let receipts = nodes[1].system.storage.records();
        let receipts = receipts.receipts(spare, layout.layout().tessera(), (0, 0), 99).await.unwrap();
        !receipts.is_empty() || kept_job(&nodes[1], job.id).await.state != JobState::Pending
    };
    until("something that was sent", is_under_way).await;
    nodes[1].kill_and_start().await;
    let theirs = Tessera::new(&author.author, 3, 9_000);
    assert_eq!(refusal(theirs.introduce(&author, nodes[1].id()).await), RefusalKind::Forbidden);
    let (state, told) = ended(&nodes[1], job.id).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    assert_eq!(held(&nodes[5], layout.layout()).await, before);
    assert_eq!(others_have_here(&nodes[1]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_stays_and_it_is_said_why() {
    let (author, nodes, tessera, layout) = published_on_five_of_six().await;
    let before = held(&nodes[1], layout.layout()).await;
    for node in nodes.iter().filter(|node| node.id() != nodes[1].id()) {
        node.system.peers.set_leaving(true).await.unwrap();
    }
    let (state, told) = leave(&nodes[1]).await;
    assert_eq!(state, JobState::Degraded, "{told:?}");
    assert!(told.sentence.contains("bytes of 1 tessera are still here"), "{told:?}");
    let [left] = told.left.as_slice() else { panic!("{told:?}") };
    assert_eq!(left.tessera, tessera.id());
    assert!(left.reason.contains("no other node takes it") && left.reason.contains("leaving"), "{told:?}");
    assert!(told.remedies[0].contains("`leave` again"), "{told:?}");
    // Nobody is told that this node no longer has it.
    assert_eq!(held(&nodes[1], layout.layout()).await, before);
    let known = nodes[0].system.storage.records().placements(tessera.id()).await.unwrap();
    let signed = SignedPlacement::parse(known[0].signed.clone(), tessera.id(), author.author.id()).unwrap();
    assert!(signed.placement().holders.contains(&Some(nodes[1].id())));
}

//! Somebody else's tessera, kept whole and looked after by a node that is none of its holders.

use actors::storage::JobState;
use proto::{AccountId, wire::RefusalKind};

use super::{
    repairing::{published_on_five_of_six, repair},
    *,
};
use crate::support::refusal;

async fn adopt(node: &Node, tessera: TesseraId) -> (JobState, Told) {
    let job = node.system.replication.adopt(tessera).await.unwrap();
    ended(node, job.id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_mends_what_is_adopted_with_what_the_adopter_has() {
    let (author, nodes, tessera, layout) = published_on_five_of_six().await;
    let adopter = Node::start(50).await;
    for node in &nodes {
        introduce(&adopter, node).await;
    }
    let (state, told) = repair(&adopter, tessera.id()).await;
    assert_eq!(state, JobState::Failed);
    assert!(told.sentence.contains("`adopt` it first"), "{told:?}");
    let (state, told) = adopt(&adopter, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    assert!(told.sentence.starts_with("Adopted: all of it is here"), "{told:?}");
    assert!(told.sentence.ends_with("Safe: survives the loss of any 2 of 5 machines."), "{told:?}");
    let records = adopter.system.storage.records();
    assert!(records.adopted_since(tessera.id()).await.unwrap().is_some());
    // The author has it no more, and what the holders have left is too little.
    author.system.cache.forget(tessera.id()).await.unwrap();
    let mut before = Vec::new();
    for node in &nodes[1..4] {
        before.push(held(node, layout.layout()).await);
        assert!(node.system.drop_for_all(tessera.id()).await.unwrap() > 0);
    }
    let (state, told) = repair(&adopter, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    assert_eq!(told.sentence, "Safe: survives the loss of any 2 of 5 machines.");
    for (node, before) in nodes[1..4].iter().zip(before) {
        assert_eq!(held(node, layout.layout()).await, before);
    }
    // It is no holder: nobody says that it keeps anything, and it is charged to nobody else.
    let keepers = records.keepers(tessera.id()).await.unwrap();
    assert_eq!(keepers, [AccountId::LOCAL]);
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_is_asked_seldom_and_only_about_what_it_keeps() {
    let (_author, nodes, tessera, _) = published_on_five_of_six().await;
    let remote = &nodes[0].system.remote;
    assert_eq!(refusal(remote.look_after(nodes[5].id(), tessera.id()).await), RefusalKind::NotFound);
    remote.look_after(nodes[1].id(), tessera.id()).await.unwrap();
    let again = refusal(remote.look_after(nodes[1].id(), tessera.id()).await);
    assert!(matches!(again, RefusalKind::Busy { retry_after_ms: 500_000.. }), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn own_tessera_is_not_adopted() {
    let (author, _) = network(1).await;
    let tessera = Tessera::new(&author.author, 1, 9_000);
    tessera.keep(&author).await;
    let (state, told) = adopt(&author, tessera.id()).await;
    assert_eq!(state, JobState::Failed);
    assert!(told.sentence.contains("this node's own"), "{told:?}");
}

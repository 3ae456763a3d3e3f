//! What an author has taken back goes from all holders, now or later, and nobody brings it back.

use std::sync::atomic::{AtomicU64, Ordering};

use actors::storage::{Blocked, JobState, Note};
use config::RepairConfig;
use proto::{AccountId, wire::RefusalKind};

use super::*;
use crate::support::refusal;

async fn retract(node: &Node, tessera: TesseraId) -> (JobState, Told) {
    let job = node.system.replication.retract(tessera).await.unwrap();
    ended(node, job.id).await
}

/// A tessera of which each of these nodes has a copy, and which all know each other.
async fn published_on(others: u8) -> (Node, Vec<Node>, Tessera) {
    let (author, nodes) = network(others).await;
    let tessera = Tessera::new(&author.author, 1, 60_000);
    tessera.keep(&author).await;
    assert_eq!(publish(&author, tessera.id()).await.0, JobState::Done);
    for (at, one) in nodes.iter().enumerate() {
        for other in &nodes[at + 1..] {
            introduce(one, other).await;
        }
    }
    (author, nodes, tessera)
}

async fn has_any(node: &Node, tessera: &Tessera) -> bool {
    !node.system.storage.records().keepers(tessera.id()).await.unwrap().is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_holders_drop_it_and_refuse_it_from_then_on_and_the_copy_here_stays() {
    let (author, nodes, tessera) = published_on(3).await;
    // One keeps it by its own wish as well: that is not the author's to take.
    let own = nodes[2].system.replication.fetch(tessera.id()).await.unwrap();
    assert_eq!(ended(&nodes[2], own.id).await.0, JobState::Done);
    let (state, told) = retract(&author, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    assert!(told.sentence.starts_with("Taken back for ever: 3 nodes dropped it"), "{told:?}");
    assert!(!has_any(&nodes[0], &tessera).await && !has_any(&nodes[1], &tessera).await);
    let keepers = nodes[2].system.storage.records().keepers(tessera.id()).await.unwrap();
    assert_eq!(keepers, [AccountId::LOCAL]);
    assert_eq!(author.system.storage.records().signers(tessera.id()).await.unwrap(), []);
    // Whoever brings it again, even the author, is refused; and here it is not published any more.
    assert_eq!(refusal(tessera.introduce(&author, nodes[0].id()).await), RefusalKind::Blocked);
    let (state, told) = publish(&author, tessera.id()).await;
    assert_eq!(state, JobState::Failed);
    assert!(told.sentence.contains("taken back by its author, for ever"), "{told:?}");
    let here = author.system.storage.records().tessera(tessera.id()).await.unwrap().fragments;
    assert_eq!(here, tessera.fragments.len() as u64);
    let (state, told) = retract(&nodes[1], tessera.id()).await;
    assert_eq!(state, JobState::Failed, "{told:?}");
}

/// A holder that does not hear its author for a while; as one that is away, but nobody waits for its silence.
async fn deaf_to_its_author(author: &Node, node: &Node) -> Blocked {
    let what = Blocked::Node(author.id());
    node.system.peers.block(what, "away".to_owned()).await.unwrap();
    what
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_was_away_is_told_later_although_the_author_was_killed_meanwhile() {
    let (mut author, nodes, tessera) = published_on(3).await;
    let deaf = deaf_to_its_author(&author, &nodes[1]).await;
    let job = author.system.replication.retract(tessera.id()).await.unwrap();
    let (state, told) = ended(&author, job.id).await;
    assert_eq!(state, JobState::Degraded, "{told:?}");
    let [left] = told.turned.as_slice() else { panic!("{told:?}") };
    assert_eq!(left.node, nodes[1].id());
    assert!(told.sentence.contains("1 of 3 nodes could not be told yet"), "{told:?}");
    author.kill_and_start().await;
    assert!(has_any(&nodes[1], &tessera).await);
    nodes[1].system.peers.unblock(deaf).await.unwrap();
    let news = AtomicU64::new(1 << 30);
    let is_gone = async || {
        // Whenever something is said of other nodes it is tried again.
        let allow = Some(news.fetch_add(1, Ordering::Relaxed));
        author.knows_at(nodes[1].id(), nodes[1].address(), allow).await;
        !has_any(&nodes[1], &tessera).await
    };
    until("nothing left", is_gone).await;
    until("the job to be done", async || kept_job(&author, job.id).await.state == JobState::Done).await;
    assert_eq!(author.system.storage.records().retractions_due().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_was_away_is_told_as_soon_as_it_is_there_again() {
    let (author, mut nodes, tessera) = published_on(3).await;
    let address = nodes[1].address();
    nodes[1].system.clone().drain().await;
    let (state, told) = retract(&author, tessera.id()).await;
    assert_eq!(state, JobState::Degraded, "{told:?}");
    nodes[1].start_again(address).await;
    nodes[1].system.remote.hello(author.id(), false, None).await.unwrap();
    // By itself it would be tried again in ten minutes.
    until("nothing left", async || !has_any(&nodes[1], &tessera).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_is_not_mended_though_one_that_is_away_still_keeps_it() {
    let (author, nodes) = sweeping::network(3, sweeping::soon(), RepairConfig::default()).await;
    let (tessera, _) = sweeping::published_by(&author, 1).await;
    nodes[1].system.clone().drain().await;
    let (state, told) = retract(&author, tessera.id()).await;
    assert_eq!(state, JobState::Degraded, "{told:?}");
    let looked = async || sweeping::watched(&author, &tessera).await;
    until("it is not counted any more", async || looked().await.margin.is_none()).await;
    let repairs = sweeping::repairs(&author).await;
    for _ in 0..5 {
        let before = looked().await.looked_at_ms;
        until("another look", async || looked().await.looked_at_ms > before).await;
        let found = looked().await;
        assert_eq!((found.margin, found.below_since_ms, found.due_at_ms), (None, None, None));
    }
    assert_eq!(sweeping::repairs(&author).await, repairs);
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_was_away_does_not_bring_it_back_but_learns_of_it_from_another() {
    let (author, nodes, tessera) = published_on(3).await;
    deaf_to_its_author(&author, &nodes[1]).await;
    assert_eq!(retract(&author, tessera.id()).await.0, JobState::Degraded);
    // One that never heard of it, and would take it.
    let spare = Node::start(40).await;
    introduce(&nodes[1], &spare).await;
    introduce(&author, &spare).await;
    author.system.remote.hello(spare.id(), false, None).await.unwrap();
    let job = nodes[1].system.replication.repair(tessera.id()).await.unwrap();
    let (state, told) = ended(&nodes[1], job.id).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    assert!(told.sentence.contains("has taken"), "{told:?}");
    for node in nodes.iter().chain([&spare]) {
        assert!(!has_any(node, &tessera).await, "{}", node.id());
    }
    let again = nodes[1].system.replication.repair(tessera.id()).await.unwrap();
    assert_eq!(ended(&nodes[1], again.id).await.0, JobState::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_while_it_is_published_is_nowhere() {
    let (author, nodes) = network(4).await;
    let tessera = Tessera::new(&author.author, 1, 40_000_000);
    tessera.keep(&author).await;
    let job = author.system.replication.publish(tessera.id()).await.unwrap();
    until("something that was sent", async || {
        !author.system.storage.records().signers(tessera.id()).await.unwrap().is_empty()
    })
    .await;
    let (state, told) = retract(&author, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    let (state, told) = ended(&author, job.id).await;
    assert_eq!(state, JobState::Failed, "it does not go on to the end first: {told:?}");
    for node in &nodes {
        assert!(!has_any(node, &tessera).await, "{}", node.id());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_only_its_receipts_name_is_told_and_nobody_is_by_a_forged_one() {
    let (author, nodes, tessera) = published_on(3).await;
    // It took some, and is in no placement.
    let extra = Node::start(41).await;
    introduce(&author, &extra).await;
    tessera.give_all(&author, extra.id()).await;
    let forged = proto::retraction::Retraction {
        tessera: tessera.id(),
        author: nodes[0].author.id(),
        retracted_at_ms: 0,
    };
    let forged = forged.sign(&nodes[0].author).unwrap().bytes().clone();
    let (kind, id) = (proto::record::DocumentKind::Retraction, tessera.id());
    let put = nodes[0].system.remote.put_document(nodes[1].id(), id, kind, None, forged).await;
    assert_eq!(refusal(put), RefusalKind::Corrupt);
    assert!(has_any(&nodes[1], &tessera).await);
    let (state, told) = retract(&author, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    assert!(!has_any(&extra, &tessera).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_are_counted_together_are_kept_up_to_a_bound() {
    let node = Node::start(1).await;
    let records = node.system.storage.records();
    let kept = |number: u32, purse: u8, due| {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        Note::Retracted {
            tessera: TesseraId::from_bytes(id),
            author: node.author.id(),
            purse: AccountId::from_bytes([purse; 32]),
            signed: vec![7].into(),
            due,
            at_ms: number.into(),
        }
    };
    records
        .note(vec![kept(1, 1, vec![node.id()]), kept(2, 1, Vec::new()), kept(3, 2, Vec::new())])
        .await
        .unwrap();
    for first in (0..16_384).step_by(4096) {
        records.note((first..first + 4096).map(|at| kept(10 + at, 1, Vec::new())).collect()).await.unwrap();
    }
    let is_kept = async |number: u32| {
        let Note::Retracted { tessera, .. } = kept(number, 1, Vec::new()) else { unreachable!() };
        records.retraction(tessera).await.unwrap().is_some()
    };
    // The oldest is the one that somebody is still to be told of.
    assert!(is_kept(1).await && !is_kept(2).await && is_kept(3).await && is_kept(10 + 16_383).await);
}

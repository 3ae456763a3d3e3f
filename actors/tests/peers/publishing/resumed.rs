//! A job goes on where it was, and does nothing twice.

use std::{
    slice::from_ref,
    sync::{Arc, Mutex},
};

use actors::{
    replication::Step,
    storage::{JobState, Jobs},
};
use bytes::Bytes;
use proto::{
    AccountId, FragmentId,
    receipt::Receipt,
    wire::{Answer, Request},
};

use super::*;
use crate::{
    liar::{Asked, Pace, stand_in},
    support::SlowDisk,
};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_there_is_a_receipt_for_is_sent_again() {
    let (author, nodes) = network(3).await;
    let tessera = Tessera::new(&author.author, 1, 100_000);
    tessera.keep(&author).await;
    let (_, first) = publish(&author, tessera.id()).await;
    let (_, placed) = published(&author, &tessera).await;
    // With nobody there, nothing can be sent.
    for node in &nodes {
        node.system.clone().crash().await;
    }
    let (state, second) = publish(&author, tessera.id()).await;
    assert_eq!((state, &second.sentence), (JobState::Done, &first.sentence));
    assert_eq!(published(&author, &tessera).await.1, placed, "nothing has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn job_outlives_that_a_part_of_its_node_is_started_again() {
    let (author, nodes) = network(4).await;
    let tessera = Tessera::new(&author.author, 1, 8_000_000);
    tessera.keep(&author).await;
    let job = author.system.replication.publish(tessera.id()).await.unwrap();
    for _ in 0..5 {
        let before = receipts(&author, &nodes, &tessera).await;
        until("something that was sent", async || {
            let records = author.system.storage.records();
            let is_over = records.replication_jobs(Jobs::Pending).await.is_ok_and(|jobs| jobs.is_empty());
            is_over || receipts(&author, &nodes, &tessera).await > before
        })
        .await;
        author.system.storage.panic();
        until("it is there again", async || author.system.storage.usage().await.is_ok()).await;
    }
    let (state, told) = ended(&author, job.id).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    agreeing::both_sides_agree(&author, &nodes, &tessera).await;
}

/// As a holder sees it that writes down what it is brought.
#[tokio::test(flavor = "multi_thread")]
async fn publisher_that_is_killed_brings_nothing_again_that_it_has_a_receipt_for() {
    let (mut author, mut nodes) = network(2).await;
    let tessera = Tessera::new(&author.author, 1, 48 << 20);
    tessera.keep(&author).await;
    let holder = nodes.pop().unwrap();
    let brought: Arc<Mutex<Vec<FragmentId>>> = Arc::default();
    let (write_down, owner) = (brought.clone(), author.author.id());
    let holds = move |asked: &Asked, request| {
        let Request::PutFragment { fragment, checksum, length, .. } = request else {
            return Some((Answer::Done.frame(), Bytes::new()));
        };
        write_down.lock().unwrap().push(fragment);
        let (holder, deliverer, held_at_ms) = (asked.liar.id(), asked.node, 0);
        let receipt = Receipt { holder, deliverer, author: owner, fragment, checksum, length, held_at_ms };
        let receipt = receipt.sign(&asked.liar).unwrap().bytes().clone();
        Some((Answer::Have { receipt }.frame(), Bytes::new()))
    };
    stand_in(&holder, Pace { answer: Duration::from_millis(150), ..Pace::default() }, Arc::new(holds)).await;
    let job = author.system.replication.publish(tessera.id()).await.unwrap();
    for _ in 0..3 {
        let count = async |author: &Node| receipts(author, from_ref(&holder), &tessera).await;
        let before = count(&author).await;
        until("a receipt", async || count(&author).await > before).await;
        let records = author.system.storage.records();
        let have = records.receipts(holder.id(), tessera.id(), (0, 0), 10_000).await.unwrap();
        let so_far = brought.lock().unwrap().len();
        author.kill_and_start_slow(UPLOAD).await;
        assert_eq!(kept_job(&author, job.id).await.state, JobState::Pending, "it was killed under way");
        until("another receipt", async || count(&author).await > have.len()).await;
        let since = brought.lock().unwrap()[so_far..].to_vec();
        let again: Vec<_> = have.iter().filter(|receipt| since.contains(&receipt.fragment)).collect();
        assert!(again.is_empty(), "{again:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publisher_that_is_killed_goes_on_and_both_sides_agree() {
    let (mut author, mut nodes) = network(4).await;
    let tessera = Tessera::new(&author.author, 1, 2_000_000);
    tessera.keep(&author).await;
    let job = author.system.replication.publish(tessera.id()).await.unwrap();
    for round in 1..=4 {
        let sent = async || receipts(&author, &nodes, &tessera).await;
        let before = sent().await;
        let is_on_its_way =
            async || sent().await > before || kept_job(&author, job.id).await.state != JobState::Pending;
        until("something that was sent", is_on_its_way).await;
        author.kill_and_start().await;
        if round % 2 == 0 {
            let node = &mut nodes[round % 3];
            node.kill_and_start().await;
            introduce(&author, node).await;
        }
    }
    let (state, told) = ended(&author, job.id).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    assert_eq!(told.sentence, "Safe: survives the loss of any 2 of 4 machines.");
    agreeing::both_sides_agree(&author, &nodes, &tessera).await;
}

/// Kills a node as soon as a job of its has come to a step, and starts it again. Whether it was seen there: a step may be over
/// before anybody looks.
async fn was_killed_at(node: &mut Node, id: u64, step: Step) -> bool {
    let Some(mut progress) = node.system.replication.watch(id).await.unwrap() else { return false };
    while progress.borrow_and_update().step != step {
        if progress.changed().await.is_err() {
            return false;
        }
    }
    node.kill_and_start().await;
    true
}

/// Tries it until a job was killed at each step.
async fn at_each_step(steps: &[Step], try_at: impl AsyncFn(Step) -> bool) {
    for step in steps {
        let mut tries = 1;
        while !try_at(*step).await {
            tries += 1;
            assert!(tries <= 50, "{step:?} was never seen");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_that_is_killed_at_any_step_goes_on_and_both_sides_agree() {
    at_each_step(
        &[Step::Waiting, Step::Asking, Step::Coding, Step::Sending, Step::Finishing],
        async |step| {
            let (mut author, nodes) = network(4).await;
            let tessera = Tessera::new(&author.author, 1, 400_000);
            tessera.keep(&author).await;
            let job = author.system.replication.publish(tessera.id()).await.unwrap();
            let was_killed = was_killed_at(&mut author, job.id, step).await;
            let (state, told) = ended(&author, job.id).await;
            assert_eq!(state, JobState::Done, "{step:?} {told:?}");
            // Of the layout under which nothing was published yet there is nothing.
            agreeing::both_sides_agree(&author, &nodes, &tessera).await;
            was_killed
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repair_that_is_killed_at_any_step_goes_on_and_both_sides_agree() {
    at_each_step(&[Step::Waiting, Step::Asking, Step::Sending, Step::Finishing], async |step| {
        let (mut author, nodes) = network(4).await;
        let tessera = Tessera::new(&author.author, 1, 400_000);
        tessera.keep(&author).await;
        assert_eq!(publish(&author, tessera.id()).await.0, JobState::Done);
        let (layout, _) = published(&author, &tessera).await;
        let before = repairing::all_held(&nodes, layout.layout()).await;
        assert!(nodes[2].system.drop_for_all(tessera.id()).await.unwrap() > 0);
        let job = author.system.replication.repair(tessera.id()).await.unwrap();
        let was_killed = was_killed_at(&mut author, job.id, step).await;
        let (state, told) = ended(&author, job.id).await;
        assert_eq!(state, JobState::Done, "{step:?} {told:?}");
        assert_eq!(repairing::all_held(&nodes, layout.layout()).await, before);
        assert_eq!(publish(&author, tessera.id()).await.0, JobState::Done);
        agreeing::both_sides_agree(&author, &nodes, &tessera).await;
        was_killed
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fetch_that_is_killed_at_any_step_goes_on_and_it_is_whole() {
    let (author, nodes) = network(4).await;
    let tessera = Tessera::new(&author.author, 1, 400_000);
    tessera.keep(&author).await;
    assert_eq!(publish(&author, tessera.id()).await.0, JobState::Done);
    at_each_step(&[Step::Waiting, Step::Asking, Step::Receiving], async |step| {
        let mut reader = fetching::reader(50, &nodes).await;
        let job = reader.system.replication.fetch(tessera.id()).await.unwrap();
        let was_killed = was_killed_at(&mut reader, job.id, step).await;
        let (state, told) = ended(&reader, job.id).await;
        assert_eq!(state, JobState::Done, "{step:?} {told:?}");
        fetching::is_intact(&reader, &tessera).await;
        was_killed
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repairer_that_is_killed_goes_on_and_both_sides_agree() {
    let (mut author, nodes) = network(4).await;
    let tessera = Tessera::new(&author.author, 1, 2_000_000);
    tessera.keep(&author).await;
    let (state, told) = publish(&author, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    let (layout, placement) = published(&author, &tessera).await;
    assert!(nodes[0].system.drop_for_all(tessera.id()).await.unwrap() > 0);
    let job = author.system.replication.repair(tessera.id()).await.unwrap();
    for _ in 1..=3 {
        let here = async || held(&nodes[0], layout.layout()).await.len();
        let before = here().await;
        let more =
            async || here().await > before || kept_job(&author, job.id).await.state != JobState::Pending;
        until("something that was mended", more).await;
        author.kill_and_start().await;
    }
    let (state, told) = ended(&author, job.id).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    assert_eq!(published(&author, &tessera).await.1.placement().holders, placement.placement().holders);
    agreeing::both_sides_agree(&author, &nodes, &tessera).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repairer_and_holders_that_are_killed_go_on_and_both_sides_agree() {
    let (mut author, mut nodes) = network(5).await;
    let tessera = Tessera::new(&author.author, 1, 2_000_000);
    tessera.keep(&author).await;
    let (state, told) = publish(&author, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    let (layout, _) = published(&author, &tessera).await;
    assert!(nodes[0].system.drop_for_all(tessera.id()).await.unwrap() > 0);
    let job = author.system.replication.repair(tessera.id()).await.unwrap();
    for round in 0..=3 {
        let before = count(&nodes, layout.layout()).await;
        let more = async || {
            count(&nodes, layout.layout()).await > before
                || kept_job(&author, job.id).await.state != JobState::Pending
        };
        // At first while it still asks.
        if round > 0 {
            until("something that was mended", more).await;
        }
        let ((), ()) = tokio::join!(author.kill_and_start_slow(UPLOAD), nodes[round].kill_and_start());
        introduce(&author, &nodes[round]).await;
    }
    let (state, told) = ended(&author, job.id).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    // Who was away just when it was asked was replaced, and has dropped what others keep once this has ended.
    let (state, told) = publish(&author, tessera.id()).await;
    assert_eq!((state, told.turned), (JobState::Done, vec![]));
    is_kept_as_placed(&author, &nodes, &tessera).await;
    agreeing::both_sides_agree(&author, &nodes, &tessera).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fetcher_and_holders_that_are_killed_go_on_and_it_is_whole() {
    let (author, mut nodes) = network(5).await;
    let tessera = Tessera::new(&author.author, 1, 2_000_000);
    tessera.keep(&author).await;
    let (state, told) = publish(&author, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    author.system.clone().drain().await;
    for node in &mut nodes {
        node.kill_and_start_slow(UPLOAD / 4).await;
    }
    let mut reader = fetching::reader(50, &nodes).await;
    let job = reader.system.replication.fetch(tessera.id()).await.unwrap();
    for (round, node) in nodes.iter_mut().take(4).enumerate() {
        let before = fragments(&reader, tessera.id()).await;
        let more = async || {
            fragments(&reader, tessera.id()).await > before
                || kept_job(&reader, job.id).await.state != JobState::Pending
        };
        if round > 0 {
            until("something that has come", more).await;
        }
        let ((), ()) = tokio::join!(reader.kill_and_start(), node.kill_and_start());
    }
    let (state, told) = ended(&reader, job.id).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    fetching::is_intact(&reader, &tessera).await;
    let kept = reader.system.storage.records().account(AccountId::LOCAL).await.unwrap();
    assert_eq!((kept.fragments, kept.bytes), (tessera.fragments.len() as u64, 2_000_000));
    agreeing::deposits_are_what_is_there(&nodes, &tessera).await;
}

/// How many of a layout these have.
async fn count(nodes: &[Node], layout: &Layout) -> usize {
    let mut count = 0;
    for node in nodes {
        count += fragments(node, layout.tessera()).await;
    }
    count
}

/// Each has the fragments that the placement gives it, and no others.
async fn is_kept_as_placed(author: &Node, nodes: &[Node], tessera: &Tessera) {
    let (layout, placement) = published(author, tessera).await;
    let layout = layout.layout();
    for node in nodes {
        let indices: Vec<_> = placement.placement().indices(node.id()).collect();
        let all = (0..layout.fragments()).map(|number| layout.position(number).unwrap());
        let placed: Vec<_> = all.filter(|(_, index)| indices.contains(index)).collect();
        let held: Vec<_> = held(node, layout).await.into_iter().map(|(place, _)| place).collect();
        assert_eq!(held, placed, "{}", node.id());
    }
}

/// How many receipts there are.
async fn receipts(author: &Node, nodes: &[Node], tessera: &Tessera) -> usize {
    let mut count = 0;
    for node in nodes {
        let records = author.system.storage.records();
        count += records.receipts(node.id(), tessera.id(), (0, 0), 10_000).await.unwrap().len();
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn job_that_was_given_up_stays_given_up() {
    let mut author = Node::start(1).await;
    let disk = SlowDisk::default();
    let node = Node::on_disk(20, disk.clone(), |_| ()).await;
    introduce(&author, &node).await;
    let tessera = Tessera::new(&author.author, 1, 50_000);
    tessera.keep(&author).await;
    disk.hold(true);
    let job = author.system.replication.publish(tessera.id()).await.unwrap();
    let again = author.system.replication.publish(tessera.id()).await.unwrap();
    assert_eq!(job, again, "it is the same as long as it is not finished");
    until("it to be under way", async || author.system.replication.watch(job.id).await.unwrap().is_some())
        .await;
    assert!(author.system.replication.cancel(job.id).await.unwrap());
    assert!(!author.system.replication.cancel(job.id).await.unwrap());
    author.kill_and_start().await;
    disk.hold(false);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(kept_job(&author, job.id).await.state, JobState::Cancelled);
    assert!(author.system.replication.watch(job.id).await.unwrap().is_none());
    let next = author.system.replication.publish(tessera.id()).await.unwrap();
    assert_eq!(next.id, job.id + 1);
}

/// So slow that a job can be killed while it is under way, in bytes a second.
const UPLOAD: u64 = 1_600_000;

/// What was on its way to it is sent anew, and none of that keeps what the rest waits for.
#[tokio::test(flavor = "multi_thread")]
async fn holder_that_is_restarted_while_it_is_given_much_holds_up_nobody() {
    let (author, mut nodes) = network(3).await;
    let tessera = Tessera::new(&author.author, 1, 48 << 20);
    tessera.keep(&author).await;
    let job = author.system.replication.publish(tessera.id()).await.unwrap();
    let is_over = async || kept_job(&author, job.id).await.state != JobState::Pending;
    for _ in 0..4 {
        let before = receipts(&author, &nodes, &tessera).await;
        until("something that was sent", async || {
            is_over().await || receipts(&author, &nodes, &tessera).await > before + 8
        })
        .await;
        nodes[0].kill_and_start().await;
    }
    let (state, told) = ended(&author, job.id).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    agreeing::both_sides_agree(&author, &nodes, &tessera).await;
}

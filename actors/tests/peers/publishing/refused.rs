//! Nodes that do not take it: others do, and it is said why.

use actors::{
    ActorError,
    storage::{Blocked, JobState},
};
use proto::AuthorKey;

use super::*;
use crate::support::SlowDisk;

#[tokio::test(flavor = "multi_thread")]
async fn without_anybody_it_is_said_that_nobody_has_it() {
    let (author, _) = network(0).await;
    let tessera = Tessera::new(&author.author, 1, 9_000);
    tessera.keep(&author).await;
    let (state, told) = publish(&author, tessera.id()).await;
    assert_eq!((state, told.sentence.as_str()), (JobState::Degraded, "Not safe: no other machine has it."));
    assert!(told.remedies[0].starts_with("3 more machines"), "{:?}", told.remedies);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_is_not_there_or_has_no_room_is_named_and_others_keep_it() {
    let (author, nodes) = network(3).await;
    let (gone, small) = (Node::start(40).await, Node::start(41).await);
    introduce(&author, &gone).await;
    small.knows_at(author.id(), author.address(), Some(1000)).await;
    author.knows(&small).await;
    gone.system.clone().crash().await;
    let tessera = Tessera::new(&author.author, 1, 60_000);
    tessera.keep(&author).await;
    let (state, told) = publish(&author, tessera.id()).await;
    assert_eq!((state, told.guarantee.unwrap().machines), (JobState::Done, 3), "{told:?}");
    let reason =
        |node: &Node| told.turned.iter().find(|it| it.node == node.id()).map(|it| it.reason.as_str());
    assert!(reason(&small).unwrap().contains("too little: its operator allows no more"), "{told:?}");
    assert!(reason(&gone).is_some());
    assert!(nodes.iter().all(|node| reason(node).is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_whose_disk_fills_meanwhile_is_named_and_the_next_keeps_its_part() {
    let (author, nodes) = network(3).await;
    let disk = SlowDisk::default();
    let small = Node::on_disk(40, disk.clone(), |_| ()).await;
    introduce(&author, &small).await;
    let tessera = Tessera::new(&author.author, 1, 8_000_000);
    tessera.keep(&author).await;
    // It says that it has room, and some of its part comes.
    disk.has_room_for(2_500_000);
    let (state, told) = publish(&author, tessera.id()).await;
    assert_eq!((state, told.guarantee.unwrap().machines), (JobState::Degraded, 3), "{told:?}");
    let [turned] = told.turned.as_slice() else { panic!("{told:?}") };
    assert_eq!(turned.node, small.id());
    assert!(turned.reason.contains("no room"), "{told:?}");
    // Whether it could write down on a full disk that it drops the beginning of its part is as may be.
    agreeing::both_sides_agree(&author, &nodes, &tessera).await;
    let (_, placement) = published(&author, &tessera).await;
    assert!(!placement.placement().holders.contains(&Some(small.id())));
    assert!(placement.placement().holders.iter().all(Option::is_some));
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_blocks_it_is_replaced_by_the_next() {
    let (author, nodes) = network(4).await;
    let tessera = Tessera::new(&author.author, 1, 60_000);
    tessera.keep(&author).await;
    let blocking = &nodes[2];
    blocking.system.peers.block(Blocked::Tessera(tessera.id()), "not here".to_owned()).await.unwrap();
    let (state, told) = publish(&author, tessera.id()).await;
    // Two data fragments and two of parity for four machines, of which one does not take its.
    assert_eq!(told.guarantee.unwrap().machines, 3, "{told:?}");
    assert_eq!(state, JobState::Degraded);
    let [turned] = told.turned.as_slice() else { panic!("{told:?}") };
    assert_eq!(turned.node, blocking.id());
    assert!(turned.reason.contains("not here"), "{told:?}");
    let (layout, placement) = published(&author, &tessera).await;
    assert!(!placement.placement().holders.contains(&Some(blocking.id())));
    assert!(placement.placement().holders.iter().all(Option::is_some), "another keeps two");
    let sums = checksums(&author, &layout).await;
    let mut all = Vec::new();
    for node in &nodes {
        all.extend(held(node, layout.layout()).await);
    }
    assert!(hash(&tessera.manifest, &rebuilt(&layout, &sums, &all).unwrap()));
    agreeing::both_sides_agree(&author, &nodes, &tessera).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_dies_while_it_is_given_its_part_is_replaced_by_the_next() {
    let (author, nodes) = network(4).await;
    let tessera = Tessera::new(&author.author, 1, 32 << 20);
    tessera.keep(&author).await;
    let job = author.system.replication.publish(tessera.id()).await.unwrap();
    let dies = &nodes[2];
    until("some of its part", async || fragments(dies, tessera.id()).await > 1).await;
    dies.system.clone().crash().await;
    assert_eq!(kept_job(&author, job.id).await.state, JobState::Pending, "it died in time");
    let (state, told) = ended(&author, job.id).await;
    assert_eq!((state, told.guarantee.unwrap().machines), (JobState::Degraded, 3), "{told:?}");
    assert!(told.turned.iter().any(|one| one.node == dies.id()), "{told:?}");
    let (layout, placement) = published(&author, &tessera).await;
    assert!(!placement.placement().holders.contains(&Some(dies.id())));
    assert!(placement.placement().holders.iter().all(Option::is_some), "another keeps two");
    let sums = checksums(&author, &layout).await;
    let alive = nodes.iter().filter(|node| node.id() != dies.id());
    let mut all = Vec::new();
    for node in alive {
        all.extend(held(node, layout.layout()).await);
    }
    assert!(hash(&tessera.manifest, &rebuilt(&layout, &sums, &all).unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_somebody_elses_or_not_here_is_not_published() {
    let (author, _nodes) = network(1).await;
    let theirs = Tessera::new(&AuthorKey::from_seed([77; 32]), 1, 9_000);
    theirs.keep(&author).await;
    let (state, told) = publish(&author, theirs.id()).await;
    assert_eq!(state, JobState::Failed);
    assert!(told.sentence.contains("only its author publishes it"), "{told:?}");
    let absent = Tessera::new(&author.author, 2, 9_000);
    let (state, told) = publish(&author, absent.id()).await;
    assert_eq!(state, JobState::Failed);
    assert!(told.sentence.contains("is not here"), "{told:?}");
    let unknown = author.system.replication.watch(99).await;
    assert!(matches!(unknown, Ok(None)), "{:?}", unknown.map(|_| ()).map_err(|error: ActorError| error));
}

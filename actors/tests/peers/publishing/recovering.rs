//! An author who has lost every machine gets back all that was published, knowing one node and having the key.

use actors::storage::JobState;

use super::{fetching::is_intact, *};

#[tokio::test(flavor = "multi_thread")]
async fn author_without_any_machine_gets_back_all_that_was_published() {
    let (author, nodes) = network(5).await;
    for node in &nodes[1..] {
        introduce(&nodes[0], node).await;
    }
    let mut tesserae: Vec<_> = (0..3).map(|seed| Tessera::new(&author.author, seed, 60_000)).collect();
    for tessera in &tesserae {
        tessera.keep(&author).await;
        assert_eq!(publish(&author, tessera.id()).await.0, JobState::Done);
    }
    tesserae.sort_by_key(Tessera::id);
    let ids: Vec<_> = tesserae.iter().map(Tessera::id).collect();
    let before = published(&author, &tesserae[0]).await;
    author.system.clone().drain().await;
    let new = Node::of(50, 1).await;
    new.knows(&nodes[0]).await;

    let found = new.system.replication.recover().await.unwrap();
    assert_eq!((found.tesseras.iter().map(|(id, _)| *id).collect::<Vec<_>>(), found.left), (ids.clone(), 0));
    let kept = |node: &Node| found.asked.iter().find(|one| one.node == node.id()).map(|one| one.kept.clone());
    assert!(nodes.iter().all(|node| kept(node) == Some(Ok(3))), "{:?}", found.asked);
    assert!(kept(&author).unwrap().is_err(), "{:?}", found.asked);
    for ((_, job), tessera) in found.tesseras.iter().zip(&tesserae) {
        let (state, told) = ended(&new, job.unwrap()).await;
        assert_eq!(state, JobState::Done, "{told:?}");
        is_intact(&new, tessera).await;
    }
    until("how safe they are is known", async || {
        let told = join_all(ids.iter().map(|id| new.system.replication.safety(*id))).await;
        let survives = |told: Option<Told>| told?.guarantee?.survives;
        told.into_iter().all(|told| survives(told.unwrap()) == Some(2))
    })
    .await;
    let again = new.system.replication.recover().await.unwrap();
    assert!(again.tesseras.iter().all(|(_, job)| job.is_none()), "{:?}", again.tesseras);
    // What is damaged here is brought back once more, and nothing else.
    new.damage(&tesserae[1].fragments[2..3]);
    let storage = &new.system.storage;
    let rows = storage.checksums(ids[1], (0, 0), 1000).await.unwrap();
    let row = rows.iter().find(|row| row.checksum == tesserae[1].fragments[2].checksum()).unwrap();
    let id = proto::FragmentId { tessera: ids[1], stripe: row.stripe, index: row.index };
    storage.get(id).await.unwrap_err();
    until("the damage is noted", async || !storage.jobs(1).await.unwrap().is_empty()).await;
    let damaged = new.system.replication.recover().await.unwrap();
    let jobs: Vec<_> = damaged.tesseras.iter().filter_map(|(id, job)| Some((*id, (*job)?))).collect();
    let [(id, job)] = jobs[..] else { panic!("{jobs:?}") };
    assert_eq!(id, ids[1]);
    assert_eq!(ended(&new, job).await.0, JobState::Done);
    is_intact(&new, &tesserae[1]).await;

    // Their author's they are again: who keeps them is known, and those that do take it from the new machine.
    assert_eq!(published(&new, &tesserae[0]).await, before);
    let (state, told) = publish(&new, ids[0]).await;
    assert_eq!(
        (state, told.sentence.as_str()),
        (JobState::Done, "Safe: survives the loss of any 2 of 5 machines.")
    );
    assert_eq!(published(&new, &tesserae[0]).await, before);
    nodes[1].system.clone().crash().await;
    let job = new.system.replication.repair(ids[0]).await.unwrap();
    let (_, told) = ended(&new, job.id).await;
    assert_eq!(told.guarantee.unwrap().machines, 4, "{told:?}");
    let (_, after) = published(&new, &tesserae[0]).await;
    assert!(after.placement().version > before.1.placement().version);
    let there = nodes[0].system.storage.records().placements(ids[0]).await.unwrap();
    assert_eq!(&there[0].signed, after.bytes());
}

//! More machines than before: another layout, and what was kept under the old one goes.

use actors::storage::JobState;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn more_machines_get_another_layout_and_the_old_one_goes() {
    let (author, mut nodes) = network(3).await;
    let tessera = Tessera::new(&author.author, 1, 150_000);
    tessera.keep(&author).await;
    publish(&author, tessera.id()).await;
    let (before, _) = published(&author, &tessera).await;
    assert_eq!(before.layout().code().to_string(), "1+2");
    for seed in 70..74 {
        let node = Node::start(seed).await;
        introduce(&author, &node).await;
        nodes.push(node);
    }
    // By itself nothing is moved.
    let (state, told) = publish(&author, tessera.id()).await;
    assert_eq!((state, published(&author, &tessera).await.0), (JobState::Done, before.clone()));
    let offer = told.offer.unwrap();
    assert!(offer.contains("the loss of any 3 and takes 1.75 times its size, not 3.00"), "{offer}");
    let job = author.system.replication.relayout(tessera.id()).await.unwrap();
    let (state, told) = ended(&author, job.id).await;
    assert_eq!(
        (state, told.sentence.as_str()),
        (JobState::Done, "Safe: survives the loss of any 3 of 7 machines.")
    );
    let (after, _) = published(&author, &tessera).await;
    assert_eq!(after.layout().code().to_string(), "4+3");
    assert!(after.layout().stripe_numbers().start >= before.layout().stripe_numbers().end);
    // Only parity is computed anew: the data is what it was, and nothing more is kept of it at home.
    let (of, sums) = (after.layout(), checksums(&author, &after).await);
    let data = (0..of.fragments()).zip(sums).filter(|(number, _)| {
        of.position(*number).is_some_and(|(stripe, index)| index < of.stripe_width(stripe).0)
    });
    let cut = tessera.fragments.iter().map(Fragment::checksum).collect::<Vec<_>>();
    assert_eq!(data.map(|(_, sum)| sum).collect::<Vec<_>>(), cut);
    assert_eq!(fragments(&author, tessera.id()).await, cut.len());
    for node in &nodes {
        assert_eq!(held(node, before.layout()).await, [], "{}", node.id());
        assert!(!held(node, after.layout()).await.is_empty());
    }
    agreeing::both_sides_agree(&author, &nodes[3..], &tessera).await;
    // And once more, with nothing to be done.
    let job = author.system.replication.relayout(tessera.id()).await.unwrap();
    let (state, told) = ended(&author, job.id).await;
    assert_eq!((state, told.offer), (JobState::Done, None));
    assert_eq!(published(&author, &tessera).await.0, after);
}

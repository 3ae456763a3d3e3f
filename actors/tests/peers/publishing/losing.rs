//! What is published survives what it is said to survive, and no more is said.

use actors::storage::JobState;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn published_tessera_comes_back_without_any_two_of_five_and_not_without_three() {
    let (author, nodes) = network(5).await;
    let tessera = Tessera::new(&author.author, 1, 300_000);
    tessera.keep(&author).await;
    let (state, told) = publish(&author, tessera.id()).await;
    assert_eq!(
        (state, told.sentence.as_str()),
        (JobState::Done, "Safe: survives the loss of any 2 of 5 machines.")
    );
    let guarantee = told.guarantee.unwrap();
    assert_eq!((guarantee.survives, guarantee.machines, guarantee.margin), (Some(2), 5, 2));

    let (layout, placement) = published(&author, &tessera).await;
    assert_eq!(layout.layout().code().to_string(), "3+2");
    let sums = checksums(&author, &layout).await;
    let mut all = Vec::new();
    for node in &nodes {
        let held = held(node, layout.layout()).await;
        // One fragment of each stripe, the one that the placement says.
        let indices: Vec<_> = placement.placement().indices(node.id()).collect();
        let stripes = layout.layout().stripe_numbers().filter(|stripe| {
            let (data, parity) = layout.layout().stripe_width(*stripe);
            indices.iter().all(|index| *index < data + parity)
        });
        assert_eq!((indices.len(), held.len()), (1, stripes.count()));
        all.push(held);
    }
    for lost in 0_u32..1 << nodes.len() {
        let left = all.iter().enumerate().filter(|(at, _)| lost & (1 << at) == 0);
        let left: Vec<_> = left.flat_map(|(_, held)| held.iter().cloned()).collect();
        let content = rebuilt(&layout, &sums, &left);
        match lost.count_ones() {
            0..=2 => assert!(hash(&tessera.manifest, &content.unwrap()), "{lost:b}"),
            _ => assert!(content.is_none(), "{lost:b}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn number_of_machines_gives_the_layout() {
    for (machines, code, sentence) in [
        (1, "1+0", "Less safe than asked: kept by 1 machine, and survives the loss of none of them."),
        (2, "1+1", "Less safe than asked: survives the loss of any 1 of 2 machines, not of 2."),
        (3, "1+2", "Safe: survives the loss of any 2 of 3 machines."),
    ] {
        let (author, nodes) = network(machines).await;
        let tessera = Tessera::new(&author.author, 2, 20_000);
        tessera.keep(&author).await;
        let (state, told) = publish(&author, tessera.id()).await;
        assert_eq!(told.sentence, sentence);
        assert_eq!(state == JobState::Done, machines == 3);
        assert_eq!(told.remedies.is_empty(), machines == 3, "{:?}", told.remedies);
        let (layout, _) = published(&author, &tessera).await;
        assert_eq!(layout.layout().code().to_string(), code);
        let sums = checksums(&author, &layout).await;
        for node in &nodes {
            let content = rebuilt(&layout, &sums, &held(node, layout.layout()).await).unwrap();
            assert!(hash(&tessera.manifest, &content));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_of_one_operator_are_one() {
    let (author, _nodes) = network(2).await;
    // Two more machines of the first of these.
    let mut others = Vec::new();
    for seed in [31, 32] {
        let other = Node::of(seed, 10).await;
        introduce(&author, &other).await;
        others.push(other);
    }
    let tessera = Tessera::new(&author.author, 3, 20_000);
    tessera.keep(&author).await;
    let (state, told) = publish(&author, tessera.id()).await;
    assert_eq!(state, JobState::Degraded);
    assert_eq!(told.sentence, "Less safe than asked: survives the loss of any 1 of 2 machines, not of 2.");
}

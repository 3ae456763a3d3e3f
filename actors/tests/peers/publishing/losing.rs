//! What is published survives what it is said to survive, and no more is said.

use std::sync::Arc;

use actors::storage::{Blocked, JobState};

use super::{
    fetching::{fetch, is_intact, is_not_whole, reader},
    *,
};
use crate::liar::{Pace, stand_in};

/// How what a holder keeps is lost.
#[derive(Debug, Clone, Copy)]
enum Loss {
    Stopped,
    Killed,
    Silent,
    Dropped,
    Blocked,
    Zeroed,
    Flipped,
}

const LOSSES: [Loss; 7] =
    [Loss::Stopped, Loss::Killed, Loss::Silent, Loss::Dropped, Loss::Blocked, Loss::Zeroed, Loss::Flipped];

impl Loss {
    async fn befalls(self, node: &Node, tessera: TesseraId, layout: &Layout) {
        match self {
            Self::Stopped => node.system.clone().drain().await,
            Self::Killed => node.system.clone().crash().await,
            Self::Silent => stand_in(node, Pace::default(), Arc::new(|_, _| None)).await,
            Self::Dropped => assert!(node.system.drop_for_all(tessera).await.unwrap() > 0),
            Self::Blocked => {
                let blocked = Blocked::Tessera(tessera);
                node.system.peers.block(blocked, "I do not want it".to_owned()).await.unwrap();
            }
            Self::Zeroed => node.lose_segments(),
            Self::Flipped => {
                let held: Vec<_> = held(node, layout).await.into_iter().map(|(_, it)| it).collect();
                node.damage(&held);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_five_may_be_lost_whichever_way_it_is_and_a_third_is_said() {
    for loss in LOSSES {
        let (author, nodes) = network(5).await;
        let tessera = Tessera::new(&author.author, 1, 300_000);
        tessera.keep(&author).await;
        assert_eq!(publish(&author, tessera.id()).await.0, JobState::Done);
        let (layout, _) = published(&author, &tessera).await;
        let [early, late] = [reader(50, &nodes).await, reader(51, &nodes).await];
        author.system.drain().await;
        for lost in &nodes[..2] {
            loss.befalls(lost, tessera.id(), layout.layout()).await;
        }
        let (state, told) = fetch(&early, tessera.id()).await;
        assert_eq!(state, JobState::Done, "{loss:?}: {told:?}");
        is_intact(&early, &tessera).await;
        early.system.drain().await;
        // Who says nothing is waited for, for a minute: that is tried with twenty-four.
        if matches!(loss, Loss::Killed | Loss::Silent) {
            continue;
        }
        // What was just read is in its memory as well.
        let third = if matches!(loss, Loss::Zeroed | Loss::Flipped) { Loss::Dropped } else { loss };
        third.befalls(&nodes[2], tessera.id(), layout.layout()).await;
        let (state, told) = fetch(&late, tessera.id()).await;
        assert_eq!(state, JobState::Failed, "{loss:?}: {told:?}");
        let said = "3 fragments bring it back, and 2 were to be had";
        assert!(told.sentence.contains(said), "{loss:?}: {told:?}");
        is_not_whole(&late, &tessera).await;
    }
}

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

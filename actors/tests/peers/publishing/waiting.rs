//! Holders that have it and are slow to say so, or have too much to do at first.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use actors::storage::{Blocked, JobState};
use bytes::Bytes;
use proto::{
    NodeKey,
    placement::Placement,
    record::DocumentKind,
    wire::{Answer, RefusalKind, Request},
};
use tokio::time::timeout;

use super::{
    fetching::{fetch, is_intact, reader},
    *,
};
use crate::{
    liar::{Asked, Pace, stand_in},
    support::SlowDisk,
};

type Said = Option<(Vec<u8>, Bytes)>;

/// All that a holder has.
struct Holding {
    documents: Vec<(DocumentKind, Bytes)>,
    fragments: Vec<Fragment>,
}

impl Holding {
    async fn of(node: &Node, author: &Node, tessera: &Tessera) -> Self {
        let (layout, placement) = published(author, tessera).await;
        let page = layout.layout().pages().first().copied();
        let kind = DocumentKind::LayoutPage;
        let page = author.system.storage.document(tessera.id(), kind, page).await.unwrap();
        let held = held(node, layout.layout()).await;
        let documents = vec![
            (DocumentKind::Manifest, tessera.manifest.bytes().clone()),
            (DocumentKind::Layout, layout.bytes().clone()),
            (DocumentKind::LayoutPage, page),
            (DocumentKind::Placement, placement.bytes().clone()),
        ];
        Self { documents, fragments: held.into_iter().map(|(_, fragment)| fragment).collect() }
    }

    fn says(&self, request: &Request) -> Said {
        match request {
            Request::GetDocument { document, .. } => {
                let (_, bytes) = self.documents.iter().find(|(kind, _)| kind == document)?;
                let length = u32::try_from(bytes.len()).unwrap();
                Some((Answer::Document { length }.frame(), bytes.clone()))
            }
            Request::GetFragment { checksum, .. } => {
                let is_it = |fragment: &&Fragment| Some(fragment.checksum()) == *checksum;
                match self.fragments.iter().find(is_it) {
                    None => refuses(RefusalKind::NotFound),
                    Some(fragment) => {
                        let (checksum, bytes) = (fragment.checksum(), fragment.bytes().clone());
                        let length = u32::try_from(bytes.len()).unwrap();
                        Some((Answer::Fragment { checksum, length }.frame(), bytes))
                    }
                }
            }
            _ => refuses(RefusalKind::NotFound),
        }
    }
}

fn refuses(kind: RefusalKind) -> Said {
    Some((Answer::Refused(kind.because("it is so")).frame(), Bytes::new()))
}

/// In the place of a node, which takes so long for each answer.
async fn replace(
    node: &Node,
    answer: Duration,
    says: impl Fn(&Request, &NodeKey) -> Said + Send + Sync + 'static,
) {
    at_a_pace(node, Pace { answer, ..Pace::default() }, says).await;
}

async fn at_a_pace(
    node: &Node,
    pace: Pace,
    says: impl Fn(&Request, &NodeKey) -> Said + Send + Sync + 'static,
) {
    stand_in(node, pace, Arc::new(move |asked: &Asked, request| says(&request, &asked.liar))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_is_slow_keeps_nobody_else_from_being_given_theirs() {
    let disk = SlowDisk::default();
    let (author, quick) = (Node::start(1).await, Node::start(2).await);
    let slow = Node::on_disk(3, disk.clone(), |_| ()).await;
    introduce(&author, &quick).await;
    introduce(&author, &slow).await;
    // More for each than it takes at a time, and than is on its way to all.
    let tessera = Tessera::new(&author.author, 1, 20 << 20);
    tessera.keep(&author).await;
    disk.hold(true);
    let job = author.system.replication.publish(tessera.id()).await.unwrap();
    // Long before it is given up that the other answers.
    let given = timeout(Duration::from_secs(15), async {
        while fragments(&quick, tessera.id()).await < 20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let given = given.await;
    disk.hold(false);
    given.unwrap();
    ended(&author, job.id).await;
    assert_eq!(fragments(&slow, tessera.id()).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_takes_nothing_keeps_nobody_else_from_being_given_theirs() {
    // Whether anything else is heard of it, or not.
    for murmur in [Duration::ZERO, Duration::from_millis(500)] {
        given_beside_one_that_takes_nothing(20, murmur, Duration::from_secs(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_takes_nothing_keeps_no_more_waiting_than_until_it_is_given_up() {
    // More than there is memory for what is on its way.
    given_beside_one_that_takes_nothing(64, Duration::from_millis(500), Duration::from_secs(60)).await;
}

/// A tessera of so many MiB is with another within this time.
async fn given_beside_one_that_takes_nothing(mebibytes: usize, murmur: Duration, within: Duration) {
    let (author, quick, stalled) = (Node::start(1).await, Node::start(2).await, Node::start(3).await);
    introduce(&author, &quick).await;
    introduce(&author, &stalled).await;
    let tessera = Tessera::new(&author.author, 1, mebibytes << 20);
    tessera.keep(&author).await;
    let pace = Pace { window_bytes: Some(64 << 10), murmur, ..Pace::default() };
    at_a_pace(&stalled, pace, |request, _| match request {
        Request::PutFragment { .. } => None,
        _ => Some((Answer::Done.frame(), Bytes::new())),
    })
    .await;
    author.system.replication.publish(tessera.id()).await.unwrap();
    // One that is written nowhere is waited for much longer, and those for this holder are more than are on their way at once.
    let given = timeout(within, async {
        while fragments(&quick, tessera.id()).await < mebibytes {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    given.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_has_too_much_to_do_is_asked_again_when_nobody_else_has_it() {
    let (author, nodes) = network(5).await;
    let tessera = Tessera::new(&author.author, 1, 60_000);
    tessera.keep(&author).await;
    assert_eq!(publish(&author, tessera.id()).await.0, JobState::Done);
    let holding = Holding::of(&nodes[0], &author, &tessera).await;
    let reader = reader(50, &nodes).await;
    author.system.clone().drain().await;
    // The three that are left are as many as it takes.
    for node in &nodes[3..] {
        assert!(node.system.drop_for_all(tessera.id()).await.unwrap() > 0);
        node.system.peers.block(Blocked::Tessera(tessera.id()), "not here".to_owned()).await.unwrap();
    }
    let times = Arc::new(AtomicU32::new(0));
    let counted = times.clone();
    replace(&nodes[0], Duration::ZERO, move |request, _| {
        let is_early =
            matches!(request, Request::GetFragment { .. }) && counted.fetch_add(1, Ordering::Relaxed) < 4;
        if is_early { refuses(RefusalKind::Busy { retry_after_ms: 200 }) } else { holding.says(request) }
    })
    .await;
    let (state, told) = fetch(&reader, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    is_intact(&reader, &tessera).await;
    assert!(times.load(Ordering::Relaxed) > 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn liar_that_is_the_first_to_answer_does_not_end_the_search() {
    // A whole copy with each: one that has it is enough.
    let (author, nodes) = network(3).await;
    let tessera = Tessera::new(&author.author, 1, 60_000);
    tessera.keep(&author).await;
    assert_eq!(publish(&author, tessera.id()).await.0, JobState::Done);
    let (layout, placement) = published(&author, &tessera).await;
    let mut lie = Holding::of(&nodes[0], &author, &tessera).await;
    let honest =
        [Holding::of(&nodes[1], &author, &tessera).await, Holding::of(&nodes[2], &author, &tessera).await];
    let reader = reader(50, &nodes).await;
    author.system.clone().drain().await;
    lie.fragments.clear();
    replace(&nodes[0], Duration::ZERO, move |request, key| match request {
        Request::GetDocument { document: DocumentKind::Placement, .. } => {
            let (tessera, layout) = (layout.layout().tessera(), layout.checksum());
            let holders = vec![Some(key.id()); placement.placement().holders.len()];
            let forged = Placement { tessera, layout, version: 9, holders, repairer: Some(key.id()) };
            let bytes = forged.sign_as_repairer(key).unwrap().bytes().clone();
            Some((Answer::Document { length: u32::try_from(bytes.len()).unwrap() }.frame(), bytes))
        }
        request => lie.says(request),
    })
    .await;
    for (node, holding) in nodes[1..].iter().zip(honest) {
        replace(node, Duration::from_millis(150), move |request, _| holding.says(request)).await;
    }
    let (state, told) = fetch(&reader, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    is_intact(&reader, &tessera).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_that_give_a_byte_at_a_time_hold_nobody_up() {
    let (author, nodes) = network(5).await;
    let tessera = Tessera::new(&author.author, 1, 300_000);
    tessera.keep(&author).await;
    assert_eq!(publish(&author, tessera.id()).await.0, JobState::Done);
    let reader = reader(50, &nodes).await;
    let holdings =
        [Holding::of(&nodes[0], &author, &tessera).await, Holding::of(&nodes[1], &author, &tessera).await];
    author.system.clone().drain().await;
    let pace = Pace { byte: Duration::from_millis(50), has_documents_ready: true, ..Pace::default() };
    for (node, holding) in nodes.iter().zip(holdings) {
        at_a_pace(node, pace, move |request, _| holding.says(request)).await;
    }
    let begun = Instant::now();
    let (state, told) = fetch(&reader, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    is_intact(&reader, &tessera).await;
    // A fragment of theirs takes almost half an hour.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn fragments_come_from_the_holders_that_are_quick() {
    let (author, nodes) = network(5).await;
    let tessera = Tessera::new(&author.author, 1, 30 << 20);
    tessera.keep(&author).await;
    assert_eq!(publish(&author, tessera.id()).await.0, JobState::Done);
    let (layout, placement) = published(&author, &tessera).await;
    let reader = reader(50, &nodes).await;
    // It has data of each stripe, which is asked for before what has to be decoded.
    let first = placement.placement().holders[0];
    let slow = nodes.iter().find(|node| Some(node.id()) == first).unwrap();
    let holding = Holding::of(slow, &author, &tessera).await;
    author.system.clone().drain().await;
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    // As it would go on to be: nobody waits for it so long that another is asked as well.
    let pace = Pace { answer: Duration::from_millis(300), has_documents_ready: true, ..Pace::default() };
    at_a_pace(slow, pace, move |request, _| {
        counted.fetch_add(u32::from(matches!(request, Request::GetFragment { .. })), Ordering::Relaxed);
        holding.says(request)
    })
    .await;
    let (state, told) = fetch(&reader, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    is_intact(&reader, &tessera).await;
    let (asked, stripes) = (asked.load(Ordering::Relaxed), layout.layout().stripes());
    assert!((1..=stripes / 2).contains(&asked), "it was asked {asked} times for {stripes} stripes");
}

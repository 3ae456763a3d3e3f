//! What is lost is mended by itself, by those whose turn it is, and nobody else moves anything.

use std::sync::Arc;

use actors::storage::{Blocked, JobKind, KeptPlacement, Note, RepairAllowance, Watched, Which};
use config::RepairConfig;
use proto::{
    FragmentId, NodeKey,
    placement::Placement,
    record::DocumentKind,
    wire::{Answer, RefusalKind, Request},
};

use super::{many::claims_all, *};
use crate::liar::{Asked, Pace, stand_in};

/// Looks several times a second.
pub(super) fn soon() -> RepairConfig {
    let interval = Duration::from_millis(400);
    RepairConfig {
        interval,
        jitter: Duration::ZERO,
        grace: Duration::from_millis(200),
        ..RepairConfig::default()
    }
}

/// An author and so many other nodes that look after what they keep, and all know each other.
pub(super) async fn network(others: u8, author: RepairConfig, holders: RepairConfig) -> (Node, Vec<Node>) {
    let author = Node::sweeping(1, author).await;
    let nodes = join_all((0..others).map(|number| Node::sweeping(10 + number, holders))).await;
    for (at, one) in nodes.iter().enumerate() {
        introduce(&author, one).await;
        // It keeps something for an author only of whom it has heard.
        author.system.remote.hello(one.id(), false, None).await.unwrap();
        for other in &nodes[at + 1..] {
            introduce(one, other).await;
        }
    }
    (author, nodes)
}

/// A tessera on the nodes of this network, and the layout that they keep.
pub(super) async fn published_by(author: &Node, number: u64) -> (Tessera, SignedLayout) {
    let tessera = Tessera::new(&author.author, number, 200_000);
    tessera.keep(author).await;
    let (state, told) = publish(author, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    let (layout, _) = published(author, &tessera).await;
    (tessera, layout)
}

pub(super) async fn watched(node: &Node, tessera: &Tessera) -> Watched {
    let found = node.system.storage.records().watched(Which::One(tessera.id())).await.unwrap();
    found.into_iter().next().unwrap()
}

/// The repairs of a node.
pub(super) async fn repairs(node: &Node) -> Vec<ReplicationJob> {
    let jobs = node.system.storage.records().replication_jobs(Jobs::Last(100)).await.unwrap();
    jobs.into_iter().filter(|job| job.kind == JobKind::Repair).collect()
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// How many fragments of a layout these nodes have.
async fn all(nodes: &[Node], layout: &SignedLayout) -> usize {
    let mut count = 0;
    for node in nodes {
        count += held(node, layout.layout()).await.len();
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_holder_is_replaced_by_itself_and_the_author_is_first() {
    // All others leave it the time to do it.
    let later = RepairConfig { grace: Duration::from_secs(20), ..soon() };
    let (author, mut nodes) = network(5, soon(), later).await;
    let (tessera, layout) = published_by(&author, 1).await;
    let spare = Node::start(40).await;
    for node in nodes.iter().chain([&author]) {
        introduce(node, &spare).await;
    }
    author.system.remote.hello(spare.id(), false, None).await.unwrap();
    let mut lost = nodes.remove(1);
    let (address, had) = (lost.address(), held(&lost, layout.layout()).await);
    lost.system.clone().drain().await;
    until("what was lost is with the spare one", async || held(&spare, layout.layout()).await == had).await;
    until("it is safe again", async || {
        let found = watched(&author, &tessera).await;
        (found.margin, found.survives, found.below_since_ms) == (Some(2), Some(2), None)
    })
    .await;
    let (_, placement) = published(&author, &tessera).await;
    assert_eq!(placement.placement().repairer, None);
    for node in &nodes {
        assert_eq!(repairs(node).await, [], "the author was there");
    }
    // Whoever comes back has nothing to do with it any more.
    lost.start_again(address).await;
    until("what others keep now is dropped", async || held(&lost, layout.layout()).await.is_empty()).await;
    assert_eq!(held(&spare, layout.layout()).await, had);
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_that_look_all_at_once_mend_it_once() {
    // Within this one mends it and the next sees that, on a machine that has much to do as well.
    let holders = RepairConfig { grace: Duration::from_secs(3), ..soon() };
    // Its author is there, and does not look.
    let (author, nodes) = network(5, RepairConfig::default(), holders).await;
    let (tessera, layout) = published_by(&author, 1).await;
    let total = all(&nodes, &layout).await;
    for node in &nodes[..2] {
        assert!(node.system.drop_for_all(tessera.id()).await.unwrap() > 0);
    }
    until("all is there again", async || all(&nodes, &layout).await == total).await;
    // Two others would have begun by now.
    tokio::time::sleep(2 * holders.grace).await;
    assert_eq!(all(&nodes, &layout).await, total, "nobody has what somebody else has");
    let mut repaired = Vec::new();
    for node in &nodes {
        repaired.extend(repairs(node).await.iter().map(|job| job.state));
    }
    assert_eq!(repaired, [JobState::Done], "one did it, and the others saw that it was done");
    assert_eq!(repairs(&author).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_with_a_peer_that_is_removed_or_blocked_is_looked_at_at_once() {
    for is_blocked in [false, true] {
        // By itself it would not look within hours.
        let (author, nodes) = network(5, RepairConfig::default(), RepairConfig::default()).await;
        let (tessera, _) = published_by(&author, 1).await;
        let (peers, gone) = (&author.system.peers, nodes[1].id());
        let before = now_ms();
        if is_blocked {
            peers.block(Blocked::Node(gone), "gone".to_owned()).await.unwrap();
        } else {
            peers.remove(gone).await.unwrap();
        }
        until("it is looked at", async || watched(&author, &tessera).await.looked_at_ms >= Some(before))
            .await;
        let found = watched(&author, &tessera).await;
        // Who is removed may come again and show what it keeps.
        if is_blocked {
            assert_eq!((found.margin, found.below_since_ms.is_some()), (Some(1), true));
        }
        assert_eq!(repairs(&author).await, [], "it may yet come back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_away_for_less_than_the_grace_is_waited_for() {
    let patient = RepairConfig { grace: Duration::from_secs(3600), ..soon() };
    let (author, mut nodes) = network(5, patient, RepairConfig::default()).await;
    let (tessera, layout) = published_by(&author, 1).await;
    let total = all(&nodes, &layout).await;
    let spare = Node::start(40).await;
    introduce(&author, &spare).await;
    let lost = &mut nodes[1];
    let address = lost.address();
    lost.system.clone().drain().await;
    until("it is missed", async || watched(&author, &tessera).await.below_since_ms.is_some()).await;
    assert!(watched(&author, &tessera).await.due_at_ms.is_some());
    lost.start_again(address).await;
    until("it is back", async || watched(&author, &tessera).await.below_since_ms.is_none()).await;
    assert_eq!((repairs(&author).await, held(&spare, layout.layout()).await), (vec![], vec![]));
    assert_eq!(all(&nodes, &layout).await, total);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_just_before_something_else_is_mended_is_not_replaced() {
    let patient = RepairConfig { grace: Duration::from_secs(4), ..soon() };
    let (author, nodes) = network(5, patient, RepairConfig::default()).await;
    let (tessera, layout) = published_by(&author, 1).await;
    let (_, before) = published(&author, &tessera).await;
    let had = held(&nodes[0], layout.layout()).await;
    let spare = Node::start(40).await;
    introduce(&author, &spare).await;
    author.system.remote.hello(spare.id(), false, None).await.unwrap();
    assert!(nodes[0].system.drop_for_all(tessera.id()).await.unwrap() > 0);
    until("it is missed", async || watched(&author, &tessera).await.below_since_ms.is_some()).await;
    nodes[1].system.clone().drain().await;
    until("it is mended", async || repairs(&author).await.iter().any(|job| job.state != JobState::Pending))
        .await;
    assert_eq!(held(&nodes[0], layout.layout()).await, had);
    assert_eq!((held(&spare, layout.layout()).await, published(&author, &tessera).await.1), (vec![], before));
    // From now on that one is missed, and for as long again.
    until("it is replaced", async || !held(&spare, layout.layout()).await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_worst_off_is_mended_first_and_the_rest_waits_for_the_next_day() {
    let thrifty = RepairConfig { per_day: Some(1), ..soon() };
    let (author, nodes) = network(5, thrifty, RepairConfig::default()).await;
    let (first, _) = published_by(&author, 1).await;
    let (worst, layout) = published_by(&author, 2).await;
    let allow = async |left| {
        let allowance = RepairAllowance { left, at_ms: now_ms() };
        author.system.storage.records().note(vec![Note::RepairAllowance(allowance)]).await.unwrap();
    };
    allow(-1000).await;
    for (tessera, lost) in [(&first, &nodes[..1]), (&worst, &nodes[..2])] {
        for node in lost {
            assert!(node.system.drop_for_all(tessera.id()).await.unwrap() > 0);
        }
        let is_due =
            async || watched(&author, tessera).await.due_at_ms.is_some_and(|due_ms| due_ms < now_ms());
        until("it is due", is_due).await;
    }
    assert_eq!(repairs(&author).await, []);
    allow(1).await;
    until("the worst is mended", async || !held(&nodes[0], layout.layout()).await.is_empty()).await;
    until("it is safe again", async || watched(&author, &worst).await.survives == Some(2)).await;
    tokio::time::sleep(3 * soon().interval).await;
    assert!(watched(&author, &first).await.due_at_ms.is_some(), "it waits");
    let repaired: Vec<_> = repairs(&author).await.iter().map(|job| job.tessera).collect();
    assert_eq!(repaired, [worst.id()]);
    assert!(author.system.storage.records().repair_allowance().await.unwrap().unwrap().left < 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_few_had_to_keep_twice_is_spread_by_itself_when_others_are_there_again() {
    let (author, nodes) = network(5, soon(), RepairConfig::default()).await;
    let (tessera, layout) = published_by(&author, 1).await;
    let total = all(&nodes, &layout).await;
    let refused = Blocked::Tessera(tessera.id());
    for node in &nodes[..2] {
        node.system.peers.block(refused, "not now".to_owned()).await.unwrap();
        assert!(node.system.drop_for_all(tessera.id()).await.unwrap() > 0);
    }
    until("three keep what five kept", async || {
        all(&nodes, &layout).await == total && watched(&author, &tessera).await.survives == Some(1)
    })
    .await;
    let version = async || published(&author, &tessera).await.1.placement().version;
    let (before, mended) = (version().await, repairs(&author).await.len());
    tokio::time::sleep(3 * soon().interval).await;
    assert_eq!(
        (version().await, repairs(&author).await.len()),
        (before, mended),
        "who blocks it is not tried again"
    );
    nodes[0].system.peers.unblock(refused).await.unwrap();
    nodes[1].system.peers.unblock(refused).await.unwrap();
    until("it is safe again", async || watched(&author, &tessera).await.survives == Some(2)).await;
    until("nobody keeps any of it twice", async || all(&nodes, &layout).await == total).await;
    let (_, placed) = published(&author, &tessera).await;
    for node in &nodes {
        assert_eq!(placed.placement().indices(node.id()).count(), 1);
    }
    agreeing::both_sides_agree(&author, &nodes, &tessera).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_mended_keeps_nothing_else_from_being_mended() {
    // Nothing more is moved today once anything was.
    let thrifty = RepairConfig { per_day: Some(1), ..soon() };
    // A copy with each, and nobody else.
    let (author, nodes) = network(3, thrifty, RepairConfig::default()).await;
    let (refused, _) = published_by(&author, 1).await;
    let (other, layout) = published_by(&author, 2).await;
    let before = held(&nodes[1], layout.layout()).await;
    nodes[0].system.peers.block(Blocked::Tessera(refused.id()), "not here".to_owned()).await.unwrap();
    assert!(nodes[0].system.drop_for_all(refused.id()).await.unwrap() > 0);
    until("it is tried in vain", async || {
        repairs(&author).await.iter().any(|job| job.state == JobState::Degraded)
    })
    .await;
    assert!(nodes[1].system.drop_for_all(other.id()).await.unwrap() > 0);
    until("the other is mended", async || held(&nodes[1], layout.layout()).await == before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clock_that_was_years_ahead_puts_nothing_off() {
    let (author, nodes) = network(5, soon(), RepairConfig::default()).await;
    let (tessera, layout) = published_by(&author, 1).await;
    let years_ms = 5 * 365 * 86_400_000;
    until("it is looked at by and by", async || watched(&author, &tessera).await.margin.is_some()).await;
    let ahead = Watched {
        next_at_ms: Some(now_ms() + years_ms),
        looked_at_ms: Some(now_ms() + years_ms),
        below_since_ms: Some(now_ms() + years_ms),
        ..watched(&author, &tessera).await
    };
    author.system.storage.records().note(vec![Note::Looked(ahead)]).await.unwrap();
    let before = held(&nodes[0], layout.layout()).await;
    assert!(nodes[0].system.drop_for_all(tessera.id()).await.unwrap() > 0);
    until("it is mended", async || held(&nodes[0], layout.layout()).await == before).await;
    until("it is looked at soon again", async || {
        watched(&author, &tessera).await.next_at_ms.is_some_and(|at_ms| at_ms < now_ms() + 60_000)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_that_knew_only_the_author_get_to_know_each_other_while_it_is_there() {
    let author = Node::sweeping(1, soon()).await;
    let nodes = join_all((0..5).map(|number| Node::sweeping(10 + number, soon()))).await;
    for node in &nodes {
        introduce(&author, node).await;
        author.system.remote.hello(node.id(), false, None).await.unwrap();
    }
    let (tessera, layout) = published_by(&author, 1).await;
    until("each sees that nothing is missing", async || {
        let found = join_all(nodes.iter().map(|node| watched(node, &tessera))).await;
        found.iter().all(|found| found.margin == Some(2) && found.survives == Some(2))
    })
    .await;
    author.system.clone().drain().await;
    let had = held(&nodes[1], layout.layout()).await;
    assert!(nodes[1].system.drop_for_all(tessera.id()).await.unwrap() > 0);
    until("it is given back what it has lost", async || held(&nodes[1], layout.layout()).await == had).await;
    let placements = async |node: &Node| {
        let kept = node.system.storage.records().placements(tessera.id()).await.unwrap();
        kept.iter().map(|kept| kept.version).collect::<Vec<_>>()
    };
    until("it knows the others again", async || !placements(&nodes[1]).await.is_empty()).await;
    for node in &nodes {
        assert_eq!(placements(node).await, [1], "nobody was replaced");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_came_by_a_second_repair_learns_who_the_others_are() {
    let (author, nodes) = network(5, RepairConfig::default(), RepairConfig::default()).await;
    let (tessera, layout) = published_by(&author, 1).await;
    let spares = [Node::start(40).await, Node::sweeping(41, soon()).await];
    for spare in &spares {
        introduce(&author, spare).await;
        author.system.remote.hello(spare.id(), false, None).await.unwrap();
    }
    for (spare, replaced) in spares.iter().zip(&nodes) {
        for node in &nodes {
            introduce(node, spare).await;
        }
        introduce(&spares[0], &spares[1]).await;
        let had = held(replaced, layout.layout()).await;
        replaced.system.peers.block(Blocked::Tessera(tessera.id()), "not here".to_owned()).await.unwrap();
        assert!(replaced.system.drop_for_all(tessera.id()).await.unwrap() > 0);
        let (state, told) = repairing::repair(&nodes[4], tessera.id()).await;
        assert_eq!(state, JobState::Done, "{told:?}");
        assert_eq!(held(spare, layout.layout()).await, had);
    }
    // What it goes by is signed by one that is no holder by what the author has signed.
    until("it looks after it as the others do", async || {
        let kept = spares[1].system.storage.records().placements(tessera.id()).await.unwrap();
        kept.first().is_some_and(|kept| kept.version == 3)
            && watched(&spares[1], &tessera).await.survives == Some(2)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_says_that_it_keeps_all_is_not_believed() {
    let later = RepairConfig { grace: Duration::from_secs(20), ..soon() };
    let (author, mut nodes) = network(5, soon(), later).await;
    let (tessera, layout) = published_by(&author, 1).await;
    let (_, placed) = published(&author, &tessera).await;
    let liar = NodeKey::from_seed([10; 32]);
    assert_eq!(nodes[0].id(), liar.id());
    // It goes by that itself, and so tells it whenever it mends anything.
    let forged = Placement {
        version: 1000,
        holders: vec![Some(liar.id()); placed.placement().holders.len()],
        repairer: Some(liar.id()),
        ..placed.placement().clone()
    };
    let forged = KeptPlacement::from(&forged.sign_as_repairer(&liar).unwrap());
    nodes[0].system.storage.records().note(vec![Note::Placement(forged.clone())]).await.unwrap();
    let spare = Node::start(40).await;
    for node in nodes.iter().chain([&author]) {
        introduce(node, &spare).await;
    }
    author.system.remote.hello(spare.id(), false, None).await.unwrap();
    let lost = nodes.remove(1);
    let had = held(&lost, layout.layout()).await;
    lost.system.clone().drain().await;
    until("its author has mended it", async || {
        let (_, now) = published(&author, &tessera).await;
        let is_safe = watched(&author, &tessera).await.survives == Some(2);
        let is_its_word =
            now.placement().repairer.is_none() && now.placement().rank() > placed.placement().rank();
        is_safe && is_its_word && !now.placement().holders.contains(&Some(lost.id()))
    })
    .await;
    // The liar, who mends by what it says itself, may have given it more.
    let has = held(&spare, layout.layout()).await;
    assert!(had.iter().all(|fragment| has.contains(fragment)));
    for node in &nodes[1..] {
        let kept = node.system.storage.records().placements(tessera.id()).await.unwrap();
        assert!(!kept.contains(&forged));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_never_has_time_to_show_what_it_claims_is_doubted() {
    // It is not to be replaced while the liar takes its place.
    let patient = RepairConfig { grace: RepairConfig::default().grace, ..soon() };
    let (author, nodes) = network(5, RepairConfig::default(), patient).await;
    let (tessera, layout) = published_by(&author, 1).await;
    let kind = DocumentKind::LayoutPage;
    let page = layout.layout().pages().first().copied();
    let page = author.system.storage.document(tessera.id(), kind, page).await.unwrap();
    let places = held(&nodes[0], layout.layout()).await.into_iter().map(|(place, _)| place);
    let fragments: Vec<_> =
        places.map(|(stripe, index)| FragmentId { tessera: tessera.id(), stripe, index }).collect();
    let liar = nodes[0].id();
    let lie = move |asked: &Asked, request| match request {
        Request::Attest { stripes, nonce, .. } => claims_all(asked, stripes, nonce, &layout, &page),
        _ => {
            let refusal = RefusalKind::Busy { retry_after_ms: 1 }.because("not now");
            Some((Answer::Refused(refusal).frame(), bytes::Bytes::new()))
        }
    };
    stand_in(&nodes[0], Pace::default(), Arc::new(lie)).await;
    // What was asked before is answered.
    let since_ms = Some(now_ms());
    until("a look that began since then", async || {
        watched(&nodes[1], &tessera).await.looked_at_ms > since_ms
    })
    .await;
    // It has shown it once: as if it never had.
    let records = nodes[1].system.storage.records();
    let forgets = fragments.iter().map(|fragment| Note::Disproven { holder: liar, fragment: *fragment });
    records.note(forgets.collect()).await.unwrap();
    until("it is doubted", async || records.doubted(tessera.id()).await.unwrap().contains(&liar)).await;
    until("it is no holder", async || watched(&nodes[1], &tessera).await.survives == Some(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_cannot_show_what_it_claims_is_no_holder() {
    let (author, nodes) = network(5, RepairConfig::default(), RepairConfig::default()).await;
    let (tessera, _) = published_by(&author, 1).await;
    let survives = async || {
        author.system.replication.safety(tessera.id()).await.unwrap().unwrap().guarantee.unwrap().survives
    };
    assert_eq!(survives().await, Some(2));
    let doubted = Note::Doubted { holder: nodes[0].id(), tessera: tessera.id(), at_ms: 1 };
    let records = author.system.storage.records();
    records.note(vec![doubted]).await.unwrap();
    // What it claims once more is no proof.
    author.system.attestation.audit(nodes[0].id(), tessera.id()).await.unwrap();
    assert_eq!(survives().await, Some(1));
    let checksums = author.system.storage.checksums_door();
    author.system.remote.prove_one(&records, &checksums, nodes[0].id(), tessera.id()).await.unwrap();
    assert_eq!(survives().await, Some(2));
}

/// Long before they look at it themselves: whoever gave it to them may be gone the day after, and nobody else knows them all.
#[tokio::test(flavor = "multi_thread")]
async fn holders_that_knew_only_the_author_meet_soon_and_each_of_them_leads_to_all() {
    let within_minutes = RepairConfig { interval: Duration::from_secs(12 * 60), ..RepairConfig::default() };
    let author = Node::sweeping(1, within_minutes).await;
    let nodes = join_all((0..5).map(|number| Node::sweeping(10 + number, within_minutes))).await;
    for node in &nodes {
        introduce(&author, node).await;
    }
    let (tessera, layout) = published_by(&author, 1).await;
    assert!(layout.layout().code().k() > 1, "one of them is not enough");
    let has_met = |one: &Node, other: &Node| {
        let book = one.system.peers.book();
        book.peers.get(&other.id()).is_some_and(|known| known.author.is_some())
    };
    let others = |one: &Node| nodes.iter().filter(|other| other.id() != one.id()).collect::<Vec<_>>();
    until("all have met", async || {
        nodes.iter().all(|one| others(one).into_iter().all(|other| has_met(one, other)))
    })
    .await;
    author.system.clone().drain().await;
    let reader = fetching::reader(50, &nodes[..1]).await;
    let (state, told) = fetching::fetch(&reader, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    fetching::is_intact(&reader, &tessera).await;
}

/// It is written after the tessera's row has gone, which would have taken it along.
#[tokio::test(flavor = "multi_thread")]
async fn placement_that_comes_while_the_last_fragment_is_dropped_is_not_looked_at_for_ever() {
    let (author, nodes) = (Node::start(1).await, join_all((10..15).map(Node::start)).await);
    let holder = Node::sweeping(40, soon()).await;
    for node in nodes.iter().chain([&holder]) {
        introduce(&author, node).await;
    }
    let (tessera, layout) = published_by(&author, 1).await;
    assert!(!held(&holder, layout.layout()).await.is_empty());
    let placement = KeptPlacement::from(&published(&author, &tessera).await.1);
    let records = holder.system.storage.records();
    assert!(holder.system.drop_for_all(tessera.id()).await.unwrap() > 0);
    until("its row is gone", async || records.placements(tessera.id()).await.unwrap().is_empty()).await;
    records.note(vec![Note::Placement(placement.clone())]).await.unwrap();
    assert_eq!(records.placements(tessera.id()).await.unwrap(), [placement]);
    until("it is watched no longer", async || {
        records.watched(Which::One(tessera.id())).await.unwrap().is_empty()
    })
    .await;
    assert_eq!(records.placements(tessera.id()).await.unwrap(), []);
}

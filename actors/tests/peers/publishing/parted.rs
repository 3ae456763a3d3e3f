//! Two halves that do not reach each other for a while.

use actors::storage::{JobState, Watched, Which};
use config::RepairConfig;
use proto::NodeId;

use super::{
    fetching::{fetch, is_intact, reader},
    line::Lines,
    repairing::all_held,
    sweeping::{repairs, soon},
    *,
};

/// Nodes that all know each other, in two halves: these reach each other by lines that can be cut.
struct Halves {
    author: Node,
    near: Vec<Node>,
    far: Vec<Node>,
    lines: Lines,
    /// How they look after what they keep, on the author's side and on the other one.
    repair: [RepairConfig; 2],
}

impl Halves {
    /// An author, and so many others on its side and on the other one.
    async fn start(near: u8, far: u8, repair: [RepairConfig; 2]) -> Self {
        let (author, lines) = (Node::sweeping(1, repair[0]).await, Lines::default());
        let mut halves = Self { author, near: Vec::new(), far: Vec::new(), lines, repair };
        halves.grow(near, far).await;
        halves
    }

    /// So many more.
    async fn grow(&mut self, near: u8, far: u8) {
        for number in 0..near + far {
            let seed = 10 + u8::try_from(self.near.len() + self.far.len()).unwrap();
            let is_far = number >= near;
            let new = Node::sweeping(seed, self.repair[usize::from(is_far)]).await;
            let author_side: Vec<_> = [&self.author].into_iter().chain(&self.near).collect();
            let other_side: Vec<_> = self.far.iter().collect();
            let (same, other) = if is_far { (other_side, author_side) } else { (author_side, other_side) };
            for node in same {
                introduce(node, &new).await;
            }
            for node in other {
                let (there, here) = self.lines.between(node.address(), new.address()).await;
                node.knows_at(new.id(), there, None).await;
                new.knows_at(node.id(), here, None).await;
            }
            // It keeps something for an author only of whom it has heard.
            self.author.system.remote.hello(new.id(), false, None).await.unwrap();
            let half = if is_far { &mut self.far } else { &mut self.near };
            half.push(new);
        }
    }

    /// Each half misses the other from now on.
    fn part(&self) {
        self.lines.cut(true);
        // Nobody new gets through, and with it all connections end that there are.
        self.far.iter().for_each(|node| node.system.pool.panic());
    }

    /// They reach each other again, and wait no longer for having dialled in vain.
    async fn heal(&self) {
        self.lines.cut(false);
        let (author, far) = (&self.author.system.remote, self.far.iter().map(Node::id));
        until("the author reaches all", async || {
            join_all(far.clone().map(|node| author.hello(node, false, None))).await.iter().all(Result::is_ok)
        })
        .await;
    }

    fn all(&self) -> impl Iterator<Item = &Node> {
        [&self.author].into_iter().chain(&self.near).chain(&self.far)
    }

    /// What each has of a layout.
    async fn held(&self, layout: &SignedLayout) -> [Vec<Vec<((u32, u16), Fragment)>>; 2] {
        [all_held(&self.near, layout.layout()).await, all_held(&self.far, layout.layout()).await]
    }

    /// Whether all but the author have something of a layout.
    async fn all_hold(&self, layout: &SignedLayout) -> bool {
        self.held(layout).await.iter().flatten().all(|held| !held.is_empty())
    }

    /// Whether this is what all find who look after a tessera.
    async fn all_watch(&self, tessera: &Tessera, is_so: impl Fn(&Watched) -> bool) -> bool {
        for node in self.all() {
            let found = node.system.storage.records().watched(Which::One(tessera.id())).await.unwrap();
            if !found.iter().all(&is_so) {
                return false;
            }
        }
        true
    }

    /// Who has begun to mend anything, once for each time.
    async fn repairs(&self) -> Vec<NodeId> {
        let mut all = Vec::new();
        for node in self.all() {
            all.extend(repairs(node).await.iter().map(|_| node.id()));
        }
        all
    }
}

/// Those wait for whoever is away.
fn patient() -> RepairConfig {
    RepairConfig { grace: Duration::from_secs(3600), ..soon() }
}

/// Those do not wait for long.
fn hasty() -> RepairConfig {
    RepairConfig { grace: Duration::from_secs(6), ..soon() }
}

/// A tessera of the author of these, and the layout that they keep.
async fn published_on(halves: &Halves) -> (Tessera, SignedLayout) {
    sweeping::published_by(&halves.author, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn halves_that_miss_each_other_for_less_than_the_grace_mend_nothing() {
    let halves = Halves::start(3, 4, [patient(); 2]).await;
    let (tessera, layout) = published_on(&halves).await;
    let before = halves.held(&layout).await;
    halves.part();
    until("each misses the others", async || {
        halves.all_watch(&tessera, |it| it.below_since_ms.is_some() && it.due_at_ms.is_some()).await
    })
    .await;
    halves.heal().await;
    until("all are there again", async || {
        halves.all_watch(&tessera, |it| it.below_since_ms.is_none() && it.due_at_ms.is_none()).await
    })
    .await;
    assert_eq!(halves.repairs().await, []);
    assert_eq!(halves.held(&layout).await, before, "nothing has moved");
    agreeing::both_sides_agree(&halves.author, &halves.near, &tessera).await;
    agreeing::both_sides_agree(&halves.author, &halves.far, &tessera).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_half_mends_it_once_and_then_all_go_by_what_the_author_says() {
    let mut halves = Halves::start(2, 3, [hasty(); 2]).await;
    let (tessera, layout) = published_on(&halves).await;
    let far_holders: Vec<_> = halves.far.iter().map(Node::id).collect();
    // They have nothing of it yet. The author's half can make it as safe as it was.
    halves.grow(3, 1).await;
    halves.part();
    until("each half has what it needs", async || {
        halves.all_hold(&layout).await
            && halves.all_watch(&tessera, |it| it.margin == Some(2) && it.due_at_ms.is_none()).await
    })
    .await;
    let first = proto::repair::repairers(tessera.id(), &[], &far_holders)[0];
    let repairers = vec![halves.author.id(), first];
    assert_eq!(halves.repairs().await, repairers, "one in each half, and nobody out of turn");
    let near = all_held(&halves.near, layout.layout()).await;

    halves.heal().await;
    until("nobody has what somebody else keeps", async || {
        let left = join_all(halves.far.iter().map(|node| fragments(node, tessera.id()))).await;
        left.iter().sum::<usize>() == 0
    })
    .await;
    assert_eq!(all_held(&halves.near, layout.layout()).await, near, "nothing else has moved");
    assert_eq!(halves.repairs().await, repairers, "nobody mends what is not lost");
    let (_, placement) = published(&halves.author, &tessera).await;
    assert_eq!((placement.placement().version, placement.placement().repairer), (2, None));
    agreeing::both_sides_agree(&halves.author, &halves.near, &tessera).await;
    agreeing::both_sides_agree(&halves.author, &halves.far, &tessera).await;
    let reader = reader(90, &halves.near).await;
    let (state, told) = fetch(&reader, tessera.id()).await;
    assert_eq!(state, JobState::Done, "{told:?}");
    is_intact(&reader, &tessera).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn author_that_has_missed_what_was_mended_goes_by_it_and_nobody_keeps_it_twice() {
    let mut halves = Halves::start(1, 4, [patient(), hasty()]).await;
    let (tessera, layout) = published_on(&halves).await;
    let missed = held(&halves.near[0], layout.layout()).await;
    halves.grow(0, 1).await;
    let address = halves.author.address();
    halves.author.system.clone().drain().await;
    halves.part();
    until("the spare one has what is missed", async || held(&halves.far[4], layout.layout()).await == missed)
        .await;
    // As long as not most have heard of it, it is taken back.
    until("all on that side go by it", async || {
        let known = join_all(halves.far.iter().map(|node| placements(node, &tessera))).await;
        known.iter().all(|placement| placement == &known[4] && !placement.is_empty())
    })
    .await;
    let far = all_held(&halves.far, layout.layout()).await;

    // All holders that the author knows are there when it comes back: it misses nothing.
    halves.lines.cut(false);
    halves.author.start_again(address).await;
    let left = async || fragments(&halves.near[0], tessera.id()).await;
    until("who was missed has dropped it", async || left().await == 0).await;
    assert_eq!(all_held(&halves.far, layout.layout()).await, far, "nothing else has moved");
    let (_, placement) = published(&halves.author, &tessera).await;
    assert_eq!(halves.repairs().await, Vec::from_iter(placement.placement().repairer), "once, by a holder");
    for node in &halves.far {
        assert_eq!(placements(node, &tessera).await, std::slice::from_ref(placement.bytes()));
    }
    agreeing::deposits_are_what_is_there(&halves.near, &tessera).await;
    agreeing::deposits_are_what_is_there(&halves.far, &tessera).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_mended_by_one_alone_that_was_cut_off_from_the_others_is_taken_back() {
    let mut halves = Halves::start(2, 1, [patient(), hasty()]).await;
    let (tessera, layout) = published_on(&halves).await;
    let before = halves.held(&layout).await;
    halves.grow(0, 1).await;
    halves.part();
    until("it has mended it, and the spare one knows", async || {
        let known = join_all(halves.far.iter().map(|node| placements(node, &tessera))).await;
        let done = repairs(&halves.far[0])
            .await
            .iter()
            .any(|job| job.state == JobState::Done || job.state == JobState::Degraded);
        done && known[0] == known[1] && known[0] != placements(&halves.author, &tessera).await
    })
    .await;
    halves.heal().await;
    until("nobody has what somebody else keeps", async || fragments(&halves.far[1], tessera.id()).await == 0)
        .await;
    until("all go by what its author says", async || {
        let (_, placement) = published(&halves.author, &tessera).await;
        let placed = placement.placement();
        placed.version > 2
            && placed.repairer.is_none()
            && join_all(halves.near.iter().chain(&halves.far[..1]).map(|node| placements(node, &tessera)))
                .await
                .iter()
                .all(|known| known == std::slice::from_ref(placement.bytes()))
    })
    .await;
    assert_eq!(halves.held(&layout).await, [before[0].clone(), vec![before[1][0].clone(), Vec::new()]]);
    let far: Vec<_> = halves.far.iter().map(Node::id).collect();
    assert!(
        halves.repairs().await.iter().all(|node| far.contains(node)),
        "nobody else mends what is not lost"
    );
    agreeing::both_sides_agree(&halves.author, &halves.near, &tessera).await;
    agreeing::deposits_are_what_is_there(&halves.far, &tessera).await;
}

/// What a node knows of who keeps a tessera.
async fn placements(node: &Node, tessera: &Tessera) -> Vec<bytes::Bytes> {
    let known = node.system.storage.records().placements(tessera.id()).await.unwrap();
    known.into_iter().map(|kept| kept.signed).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_comes_and_goes_all_the_time_is_waited_for_each_time() {
    let mut halves = Halves::start(4, 1, [patient(); 2]).await;
    let (tessera, layout) = published_on(&halves).await;
    halves.grow(1, 0).await;
    let before = halves.held(&layout).await;
    let others = halves.near.len();
    // It and each of the others dial each other, at once and then after ever longer waits.
    let mut dials_max = 0;
    for _ in 0..FLAPS {
        let begun = Instant::now();
        halves.part();
        until("all who look after it miss it", async || {
            halves.all_watch(&tessera, |it| it.due_at_ms.is_some()).await
        })
        .await;
        let waits = begun.elapsed().as_millis() / DIALLED_AGAIN_AFTER.as_millis();
        dials_max += 2 * (others + 1) * (2 + waits.checked_ilog2().map_or(0, |waits| waits as usize + 1));
        halves.heal().await;
        until("it is there again", async || {
            halves.all_watch(&tessera, |it| it.below_since_ms.is_none() && it.due_at_ms.is_none()).await
        })
        .await;
    }
    let dials = halves.lines.dialled_in_vain();
    assert!((FLAPS..=dials_max).contains(&dials), "{dials} of {dials_max}");
    assert_eq!(halves.repairs().await, []);
    assert_eq!(halves.held(&layout).await, before, "nothing has moved");
    agreeing::both_sides_agree(&halves.author, &halves.near, &tessera).await;
    agreeing::both_sides_agree(&halves.author, &halves.far, &tessera).await;
}

/// No more: a pool that falls more often in a minute stays down.
const FLAPS: usize = 3;
/// At the earliest, and then after twice as long each time.
const DIALLED_AGAIN_AFTER: Duration = Duration::from_millis(500);

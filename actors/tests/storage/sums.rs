//! Digests and sums of what is held and of what holders have signed to have: they are what the fragments come to, whatever
//! has happened.

use std::collections::{BTreeMap, BTreeSet};

use actors::{
    FragmentStore,
    storage::{Note, Noted, Side},
};
use proto::{
    Checksum, FragmentId, TesseraId,
    compare::{Digest, Sum},
};

use super::{
    damage::{execute, usage},
    records::{peer, receipt},
    scrubbing::scrub,
    support::{
        account,
        chance::Chance,
        fragment,
        node::{DEADLINE, End, Node},
    },
};

type Fragments = BTreeMap<FragmentId, Checksum>;

/// Ids that share their first byte, or two, and others.
fn tesserae() -> [TesseraId; 5] {
    let id = |first: [u8; 3]| {
        let mut id = [9; 32];
        id[..3].copy_from_slice(&first);
        TesseraId::from_bytes(id)
    };
    [id([1, 1, 1]), id([1, 1, 2]), id([1, 2, 1]), id([2, 1, 1]), id([255, 255, 255])]
}

/// All answers about one side are what these fragments come to.
async fn check(node: &Node, side: Side, fragments: &Fragments) {
    let door = node.storage().checksums_door();
    let mut digests = BTreeMap::<TesseraId, Digest>::new();
    for (id, checksum) in fragments {
        let digest = digests.entry(id.tessera).or_default();
        *digest = digest.plus(Digest::of(id, checksum));
    }
    let mut sums = [Sum::default(); 256];
    let mut under = BTreeMap::<u8, [Sum; 256]>::new();
    let mut pairs = BTreeMap::<[u8; 2], Vec<(TesseraId, Digest)>>::new();
    for (tessera, digest) in &digests {
        let [first, second, ..] = *tessera.as_bytes();
        let sum = &mut sums[usize::from(first)];
        *sum = sum.plus(Sum::of(*tessera, digest));
        let sum = &mut under.entry(first).or_insert([Sum::default(); 256])[usize::from(second)];
        *sum = sum.plus(Sum::of(*tessera, digest));
        pairs.entry([first, second]).or_default().push((*tessera, *digest));
    }
    assert_eq!(*door.sums(side).await.unwrap(), sums, "{side:?}");
    for first in tesserae().map(|id| id.as_bytes()[0]) {
        let expected = under.get(&first).copied().unwrap_or([Sum::default(); 256]);
        assert_eq!(*door.sums_under(side, first).await.unwrap(), expected, "{side:?} {first}");
    }
    for prefix in
        tesserae().map(|id| [id.as_bytes()[0], id.as_bytes()[1]]).into_iter().collect::<BTreeSet<_>>()
    {
        let expected = pairs.remove(&prefix).unwrap_or_default();
        let mut found = Vec::new();
        loop {
            let after = found.last().map(|(tessera, _)| *tessera);
            let page = door.tesseras_under(side, &prefix, after, 1).await.unwrap();
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        assert_eq!(found, expected, "{side:?} {prefix:?}");
    }
    let all: Vec<_> = digests.iter().map(|(tessera, digest)| (*tessera, *digest)).collect();
    assert_eq!(door.tesseras_under(side, &[], None, 100).await.unwrap(), all, "{side:?}");
    let behind = all.first().map(|(tessera, _)| *tessera);
    assert_eq!(door.tesseras_under(side, &[], behind, 100).await.unwrap(), all.get(1..).unwrap_or_default());
    for tessera in tesserae() {
        let of_it = fragments.iter().filter(|(id, _)| id.tessera == tessera);
        let expected: Vec<_> = of_it.map(|(id, sum)| (id.stripe, id.index, *sum)).collect();
        let mut found = Vec::new();
        loop {
            let from = found.last().map_or((0, 0), |(stripe, index, _)| (*stripe, index + 1));
            let page = door.fragments_of(side, tessera, from, 2).await.unwrap();
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        assert_eq!(found, expected, "{side:?} {tessera}");
    }
}

/// What two accounts hold and two holders have signed, after this much of chance.
#[derive(Default)]
struct Known {
    held: [Fragments; 2],
    placed: [Fragments; 2],
}

impl Known {
    async fn check(&self, node: &Node) {
        for (side, of_side) in (1..).zip(&self.held) {
            check(node, Side::Held(account(side)), of_side).await;
        }
        for (side, of_side) in (1..).zip(&self.placed) {
            check(node, Side::Placed(peer(side)), of_side).await;
        }
        check(node, Side::Held(account(7)), &Fragments::new()).await;
    }

    async fn change(&mut self, node: &Node, chance: &mut Chance) {
        let mut pick = |of: u64| usize::try_from(chance.below(of)).unwrap();
        for _ in 0..20 {
            let side = pick(2);
            let (stripe, index) = (u32::try_from(pick(3)).unwrap(), u16::try_from(pick(2)).unwrap());
            let id = FragmentId { tessera: tesserae()[pick(5)], stripe, index };
            let (account, held) = (account(u8::try_from(side + 1).unwrap()), &mut self.held[side]);
            let bytes = fragment(u64::from(stripe), 300);
            if pick(2) == 0 {
                held.insert(id, bytes.checksum());
                node.storage().put(account, id, bytes).await.unwrap();
            } else if held.remove(&id).is_some() {
                node.storage().drop_fragment(account, id).await.unwrap();
            }
        }
        let mut notes = Vec::new();
        for _ in 0..40 {
            let (side, content) = (pick(2), u8::try_from(pick(3)).unwrap());
            let (stripe, index) = (u32::try_from(pick(3)).unwrap(), u16::try_from(pick(2)).unwrap());
            let tessera = tesserae()[pick(5)];
            let id = FragmentId { tessera, stripe, index };
            let (number, checksum) = (u8::try_from(side + 1).unwrap(), Checksum::of(&[content]));
            match pick(12) {
                0 => {
                    notes.push(Note::Forget { tessera });
                    self.placed.iter_mut().for_each(|placed| placed.retain(|id, _| id.tessera != tessera));
                }
                1..=4 => {
                    let fragments = vec![(stripe, index)];
                    notes.push(Note::Dropped { holder: peer(number), tessera, fragments });
                    self.placed[side].remove(&id);
                }
                _ => {
                    notes.push(receipt(number, id, checksum));
                    self.placed[side].insert(id, checksum);
                }
            }
        }
        assert_eq!(node.storage().records().note(notes).await.unwrap(), Noted::All);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_are_what_all_fragments_come_to_whatever_has_happened() {
    let (mut node, mut chance, mut known) = (Node::started(1).await, Chance::new(5), Known::default());
    for round in 0..6 {
        known.change(&node, &mut chance).await;
        known.check(&node).await;
        match round {
            1 | 3 => node.end_and_start(End::Killed).await,
            2 | 4 => {
                node.storage().snapshot().await.unwrap();
                node.rebuild().await;
            }
            _ => {}
        }
        known.check(&node).await;
    }
    node.stop().await;
    node.start().await.unwrap();
    scrub(&node).await;
    assert!(!usage(&node).await.recovery.rebuilt, "nothing that is right is taken for damage");
    node.stop().await;
    // As an index of before has them.
    for sql in [
        "UPDATE holding_sums SET sum = 7",
        "DELETE FROM placed_sums",
        "UPDATE placed SET fragments = 99",
        "UPDATE records SET sums_due = 1",
    ] {
        execute(&node, sql).await;
    }
    node.start().await.unwrap();
    known.check(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sum_that_is_wrong_has_the_index_made_anew() {
    for change in [
        "UPDATE holding_sums SET sum = sum + 1",
        "DELETE FROM holding_sums",
        "UPDATE placed_sums SET sum = sum - 1",
        "UPDATE placed SET digest = zeroblob(32)",
        "INSERT INTO placed SELECT zeroblob(32), tessera, fragments, digest FROM placed LIMIT 1",
        "DELETE FROM placed",
    ] {
        let (mut node, mut chance, mut known) = (Node::started(2).await, Chance::new(6), Known::default());
        known.change(&node, &mut chance).await;
        node.storage().snapshot().await.unwrap();
        node.stop().await;
        execute(&node, change).await;
        node.start().await.unwrap();
        node.system().scrub.start().await.unwrap();
        tokio::time::timeout(DEADLINE, async {
            while !node.storage().usage().await.is_ok_and(|usage| usage.recovery.rebuilt) {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        })
        .await
        .expect(change);
        known.check(&node).await;
        node.stop().await;
    }
}

//! Damage of every kind, at random places of segments and index: found by the start or by one scrub, no wrong byte served,
//! and whatever is intact is served.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    time::Duration,
};

use actors::{ActorError, FragmentStore, scrub::Mode};
use proto::{Checksum, record::Record};

use super::{
    damage::with_manifest,
    support::{
        LOCAL, account, audit,
        chance::Chance,
        fragment, id, index,
        log::{Log, Placed},
        node::{DEADLINE, Node},
    },
};

/// Stripes of the second and third tessera; of different lengths.
const STRIPES: u32 = 40;
/// What a disk gives or loses as a whole.
const PAGE: usize = 4096;

/// What is done to a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Flip,
    Truncate,
    /// Two records change places.
    Swap,
    ZeroPage,
    /// The file as it was before.
    Stale,
}

const DAMAGES: [Damage; 5] = [Damage::Flip, Damage::Truncate, Damage::Swap, Damage::ZeroPage, Damage::Stale];

fn length(stripe: u32) -> usize {
    100 + usize::try_from(stripe).unwrap() * 97 % 3000
}

/// A store with documents, fragments of two accounts, drops, and repeated bytes.
async fn filled(node: &Node) {
    with_manifest(node).await;
    for stripe in 0..STRIPES {
        for number in [2, 3] {
            node.storage()
                .put(LOCAL, id(number, stripe), fragment(stripe.into(), length(stripe)))
                .await
                .unwrap();
        }
        node.storage().put(account(7), id(2, stripe), fragment(stripe.into(), length(stripe))).await.unwrap();
    }
    for stripe in (0..STRIPES).step_by(5) {
        node.storage().drop_fragment(LOCAL, id(3, stripe)).await.unwrap();
    }
}

/// The files of a store that is stopped.
struct Files(Vec<(PathBuf, Vec<u8>)>);

impl Files {
    fn of(node: &Node) -> Self {
        let mut paths: Vec<_> =
            std::fs::read_dir(node.segments()).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.push(index::path(node.path(), ""));
        Self(paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect())
    }

    /// Everything is as it was.
    fn put_back(&self, node: &Node) {
        std::fs::remove_dir_all(node.segments()).unwrap();
        std::fs::create_dir(node.segments()).unwrap();
        for file in std::fs::read_dir(node.path()).unwrap() {
            let path = file.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with("index.") {
                std::fs::remove_file(path).unwrap();
            }
        }
        for (path, bytes) in &self.0 {
            std::fs::write(path, bytes).unwrap();
        }
    }
}

fn apply(damage: Damage, path: &Path, before: &Files, log: &Log, chance: &mut Chance) {
    let mut bytes = std::fs::read(path).unwrap();
    if bytes.is_empty() {
        return;
    }
    let at = usize::try_from(chance.below(bytes.len() as u64)).unwrap();
    match damage {
        Damage::Flip => bytes[at] ^= 1 << (at % 8),
        Damage::Truncate => bytes.truncate(at),
        Damage::ZeroPage => {
            let start = at / PAGE * PAGE;
            let end = (start + PAGE).min(bytes.len());
            bytes[start..end].fill(0);
        }
        Damage::Swap => swap(path, &mut bytes, log, chance),
        Damage::Stale => {
            if let Some((_, old)) = before.0.iter().find(|(old, _)| old == path) {
                bytes.clone_from(old);
            }
        }
    }
    std::fs::write(path, bytes).unwrap();
}

/// Two records of a segment, or two pages of the index, change places.
fn swap(path: &Path, bytes: &mut Vec<u8>, log: &Log, chance: &mut Chance) {
    let segment = path.file_stem().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let places: Vec<(usize, usize)> = match segment {
        Some(segment) => {
            let records = log.records.iter().filter(|placed| placed.segment == segment);
            let place = |placed: &Placed| {
                let start = usize::try_from(placed.position).unwrap();
                (start, start + usize::try_from(placed.header.record_len()).unwrap())
            };
            records.map(place).collect()
        }
        None => (0..bytes.len() / 1024).map(|page| (page * 1024, page * 1024 + 1024)).collect(),
    };
    if places.len() < 2 {
        return;
    }
    let mut pick = || usize::try_from(chance.below(places.len() as u64)).unwrap();
    let (one, two) = (pick(), pick());
    let (first, second) = (places[one.min(two)], places[one.max(two)]);
    if one != two {
        let parts = [
            &bytes[..first.0],
            &bytes[second.0..second.1],
            &bytes[first.1..second.0],
            &bytes[first.0..first.1],
            &bytes[second.1..],
        ];
        *bytes = parts.concat();
    }
}

/// Blobs that some segment still holds in order.
fn intact(node: &Node) -> HashSet<Checksum> {
    let blob = |placed: &Placed| match placed.record {
        Record::Blob(_) => Some(placed.header.payload_hash),
        _ => None,
    };
    Log::read(&node.segments()).records.iter().filter_map(blob).collect()
}

async fn scrub(node: &Node, case: &str) {
    let scrub = &node.system().scrub;
    let wait = async {
        let mut asked = false;
        loop {
            match if asked { scrub.status().await } else { scrub.start().await } {
                Ok(status) if asked && status.asked_bytes == 0 && status.mode == Mode::Idle => return,
                // What was asked for is forgotten when the index is made anew.
                Ok(_) => asked = true,
                Err(_) => asked = false,
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{case}: it does not end"));
}

/// What is served is right, and whatever is intact is served.
async fn check(node: &Node, intact: &HashSet<Checksum>, case: &str) {
    for (number, stripe) in
        [2, 3].into_iter().flat_map(|number| (0..STRIPES).map(move |stripe| (number, stripe)))
    {
        let dropped = number == 3 && stripe % 5 == 0;
        let good = fragment(stripe.into(), length(stripe));
        match node.storage().get(id(number, stripe)).await {
            Ok(got) => assert_eq!(got, good, "{case}: wrong bytes of {number}/{stripe}"),
            Err(ActorError::NotFound { .. }) if dropped => {}
            Err(ActorError::Corrupt { .. }) => {
                assert!(
                    !intact.contains(&good.checksum()),
                    "{case}: {number}/{stripe} is intact and not served"
                );
            }
            Err(other) => panic!("{case}: {number}/{stripe}: {other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_at_any_place_is_found_by_the_start_or_by_one_scrub() {
    let seed = std::env::var("TESSERAS_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let rounds = if std::env::var_os("TESSERAS_TEST_TORTURE").is_some() { 10_000 } else { 150 };
    let mut node = Node::started(1).await;
    with_manifest(&node).await;
    node.stop().await;
    let before = Files::of(&node);
    node = Node::started(1).await;
    filled(&node).await;
    node.stop().await;
    let (good, log) = (Files::of(&node), Log::read(&node.segments()));
    let before = Files(before.0.into_iter().map(|(path, bytes)| (moved(&node, &path), bytes)).collect());
    let mut chance = Chance::new(seed);
    for round in 0..rounds {
        good.put_back(&node);
        let (path, _) =
            &good.0[usize::try_from(chance.below(good.0.len() as u64 + 2)).unwrap().min(good.0.len() - 1)];
        let damage = DAMAGES[usize::try_from(chance.below(5)).unwrap()];
        apply(damage, path, &before, &log, &mut chance);
        let case =
            format!("seed {seed}, round {round}: {damage:?} of {}", path.file_name().unwrap().display());
        let intact = intact(&node);
        match node.start().await {
            Err(ActorError::Version { .. }) => continue,
            started => started.unwrap_or_else(|error| panic!("{case}: {error}")),
        }
        scrub(&node, &case).await;
        check(&node, &intact, &case).await;
        if path.extension().is_some_and(|end| end == "db") {
            // Nothing is wrong with the log, so nothing may be left wrong with the index.
            let (rows, _) = audit::check(&node).await;
            assert!(rows.jobs.is_empty(), "{case}: {:?}", rows.jobs);
            assert_eq!(node.storage().usage().await.unwrap().totals.jobs, 0, "{case}");
        }
        node.stop().await;
    }
}

/// The same file in the folder of another node.
fn moved(node: &Node, path: &Path) -> PathBuf {
    let name = path.file_name().unwrap();
    if path.extension().is_some_and(|end| end == "db") {
        node.path().join(name)
    } else {
        node.segments().join(name)
    }
}

/// What SQLite takes for a part of a column's type then is not even text.
#[tokio::test(flavor = "multi_thread")]
async fn flipped_bit_in_the_schema_is_found() {
    let mut node = Node::started(1).await;
    filled(&node).await;
    node.stop().await;
    let good = Files::of(&node);
    let (path, bytes) = good.0.last().unwrap();
    let wrong = |at: &usize| bytes[*at..].starts_with(b" NOT NULL");
    for at in (0..bytes.len()).filter(wrong) {
        good.put_back(&node);
        let mut bytes = bytes.clone();
        bytes[at + 2] ^= 0x80;
        let case = String::from_utf8_lossy(&bytes[at.saturating_sub(40)..at + 9]).into_owned();
        std::fs::write(path, bytes).unwrap();
        let intact = intact(&node);
        let started = tokio::time::timeout(DEADLINE, node.start()).await;
        started.unwrap_or_else(|_| panic!("{case}: it does not start")).unwrap();
        scrub(&node, &case).await;
        check(&node, &intact, &case).await;
        audit::check(&node).await;
        node.stop().await;
    }
}

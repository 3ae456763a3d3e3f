//! One bit flips, or a file goes: it is noticed and named, never served, and everything else stays.

use std::path::{Path, PathBuf};

use actors::{
    ActorError, FragmentStore, PutOutcome,
    storage::{BlobState, INDEX_FILE, Usage},
};
use bytes::Bytes;
use proto::record::{DocumentKind, Record};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use super::support::{
    LOCAL, audit, fragment, id, index,
    index::Wal,
    node::{DEADLINE, End, Node},
    tessera,
};

pub(crate) const LENGTH: usize = 3000;
pub(crate) const COUNT: u32 = 12;
pub(crate) const MANIFEST: &[u8] = b"manifest";
/// A flipped bit in a key hides a row; so does this.
pub(crate) const ASTRAY: &str = "DELETE FROM fragments WHERE stripe = 3";
/// Prime, so that over the pages all places in a row come up.
const FLIPS_APART: usize = 131;
/// Bytes of a header, and of the record of a blob of [`LENGTH`] bytes.
const HEADER: u64 = 64;
const RECORD: u64 = HEADER + 3008;

/// A node with some fragments in a few segments.
pub(crate) async fn filled() -> Node {
    let node = Node::started(1).await;
    for stripe in 0..COUNT {
        node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), LENGTH)).await.unwrap();
    }
    node
}

pub(crate) fn flip(path: &Path, position: u64) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[usize::try_from(position).unwrap()] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

/// Makes these bytes 0.
pub(crate) fn zero(path: &Path, position: u64, length: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[usize::try_from(position).unwrap()..][..length].fill(0);
    std::fs::write(path, bytes).unwrap();
}

/// A tessera of one fragment that has a manifest.
pub(crate) async fn with_manifest(node: &Node) {
    with_manifest_of(node, 1).await;
}

async fn with_manifest_of(node: &Node, number: u8) {
    let one = fragment(number.into(), LENGTH);
    let mut session = node.storage().open_session().await.unwrap();
    session.put_blob(one.clone()).await.unwrap();
    session
        .put_document(tessera(number), DocumentKind::Manifest, Bytes::from_static(MANIFEST))
        .await
        .unwrap();
    session.put_refs(tessera(number), &[(0, 0, one.checksum())]).await.unwrap();
    session.commit(tessera(number)).await.unwrap();
}

/// Which of the fragments are served; what is served must be right.
pub(crate) async fn served(node: &Node) -> Vec<u32> {
    let mut served = Vec::new();
    for stripe in 0..COUNT {
        match node.storage().get(id(1, stripe)).await {
            Ok(got) => {
                assert_eq!(got, fragment(stripe.into(), LENGTH));
                served.push(stripe);
            }
            Err(ActorError::Corrupt { fragment, checksum }) => {
                assert_eq!(fragment, id(1, stripe), "it is named");
                assert_eq!(checksum, self::fragment(stripe.into(), LENGTH).checksum());
            }
            Err(other) => panic!("fragment {stripe}: {other}"),
        }
    }
    served
}

pub(crate) fn all_but(lost: &[u32]) -> Vec<u32> {
    (0..COUNT).filter(|stripe| !lost.contains(stripe)).collect()
}

pub(crate) async fn usage(node: &Node) -> Usage {
    node.storage().usage().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_payload_is_never_served_and_healed_by_a_put() {
    let mut node = filled().await;
    let mut alarms = node.storage().records().alarms();
    flip(&node.segment(1), HEADER + 100);
    assert_eq!(served(&node).await, all_but(&[0]));
    assert_eq!(usage(&node).await.totals.jobs, 1, "its repair is queued");
    tokio::time::timeout(DEADLINE, alarms.changed()).await.expect("whoever may mend it is told").unwrap();
    let rows = node.storage().checksums(tessera(1), (0, 0), 1).await.unwrap();
    assert_eq!(rows.first().unwrap().state, BlobState::Suspect);
    let put = node.storage().put(LOCAL, id(1, 0), fragment(0, LENGTH)).await;
    assert_eq!(put.unwrap(), PutOutcome::Stored);
    assert_eq!(served(&node).await, all_but(&[]));
    assert_eq!(usage(&node).await.totals.jobs, 0);
    node.rebuild().await;
    assert_eq!(served(&node).await, all_but(&[]));
    node.stop().await;
}

/// What is open and in the page cache is read in another way than what is not.
#[tokio::test(flavor = "multi_thread")]
async fn payload_flipped_after_it_was_served_is_not_served_again() {
    let mut node = filled().await;
    assert_eq!(served(&node).await, all_but(&[]));
    flip(&node.segment(1), HEADER + 100);
    assert_eq!(served(&node).await, all_but(&[0]));
    assert_eq!(usage(&node).await.totals.jobs, 1, "its repair is queued");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_document_is_named_and_not_served() {
    let mut node = Node::started(1).await;
    with_manifest(&node).await;
    let (_, log) = audit::check(&node).await;
    let is_it = |record: &Record| matches!(record, Record::Document { .. });
    let placed = log.records.iter().find(|placed| is_it(&placed.record)).unwrap();
    let last = placed.position + HEADER + u64::from(placed.header.payload_len) - 1;
    flip(&node.segment(placed.segment), last);
    let refused = node.storage().document(tessera(1), DocumentKind::Manifest, None).await;
    let Err(ActorError::CorruptDocument { tessera: named }) = refused else { panic!("{refused:?}") };
    assert_eq!(named, tessera(1));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_header_does_not_matter_until_the_index_is_made_anew_and_is_named_then() {
    let mut node = filled().await;
    let second = RECORD + 192;
    flip(&node.segment(1), second + 10);
    assert_eq!(served(&node).await, all_but(&[]), "the bytes themselves are right");
    node.rebuild().await;
    let usage = usage(&node).await;
    assert!(usage.recovery.rebuilt);
    let places: Vec<_> = usage.recovery.damage.iter().map(|place| (place.segment, place.position)).collect();
    assert_eq!(places, [(1, second)]);
    assert_eq!(served(&node).await, all_but(&[1]));
    node.storage().put(LOCAL, id(1, 1), fragment(1, LENGTH)).await.unwrap();
    assert_eq!(served(&node).await, all_but(&[]));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_header_at_the_end_loses_no_more_than_its_record() {
    let mut node = filled().await;
    node.stop().await;
    let last = newest_segment(&node);
    let length = std::fs::metadata(&last).unwrap().len();
    // The last record is a ref of 192 bytes: without it the bytes are there, and nobody wants them.
    flip(&last, length - 192 + 10);
    index::remove(node.path());
    node.start().await.unwrap();
    let gone = node.storage().get(id(1, COUNT - 1)).await;
    assert!(matches!(gone, Err(ActorError::NotFound { .. })), "{gone:?}");
    for stripe in 0..COUNT - 1 {
        assert_eq!(node.storage().get(id(1, stripe)).await.unwrap(), fragment(stripe.into(), LENGTH));
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_row_of_the_index_is_noticed_and_the_index_made_anew() {
    for change in [
        "UPDATE blobs SET position = position + 64 WHERE segment = 1",
        "UPDATE blobs SET segment = segment + 1",
        "UPDATE fragments SET checksum = zeroblob(32) WHERE stripe = 3",
        "UPDATE blobs SET len = len - 1",
        // As if a session had left it, or nobody wanted it any more.
        "UPDATE tesseras SET session = 8",
        "UPDATE tesseras SET holdings = 0",
        "UPDATE tesseras SET tessera = zeroblob(32)",
        "UPDATE _sqlx_migrations SET checksum = x'00'",
    ] {
        let mut node = filled().await;
        node.stop().await;
        execute(&node, change).await;
        node.start().await.unwrap();
        let deadline = std::time::Instant::now() + DEADLINE;
        while !is_whole(&node).await {
            assert!(std::time::Instant::now() < deadline, "{change}: it is not made anew");
        }
        assert!(usage(&node).await.recovery.rebuilt, "{change}");
        audit::check(&node).await;
        node.stop().await;
    }
}

/// The bytes are good, but they are another fragment's: their own hash does not show it.
#[tokio::test(flavor = "multi_thread")]
async fn row_that_names_the_bytes_of_another_fragment_is_not_believed() {
    let change =
        "UPDATE fragments SET checksum = (SELECT checksum FROM fragments WHERE stripe = 4) WHERE stripe = 3";
    for question in ["get", "list", "put"] {
        let mut node = filled().await;
        node.stop().await;
        execute(&node, change).await;
        node.start().await.unwrap();
        let storage = node.storage();
        match question {
            "get" => assert!(storage.get(id(1, 3)).await.is_err()),
            "list" => assert!(storage.checksums(id(1, 0).tessera, (0, 0), 100).await.is_err()),
            _ => assert!(storage.put(LOCAL, id(1, 3), fragment(4, LENGTH)).await.is_err()),
        }
        rebuilt(&node, question).await;
        assert_eq!(served(&node).await, all_but(&[]), "{question}");
        audit::check(&node).await;
        node.stop().await;
    }
}

/// What SQLite's own check does not see: rows that lack those they are about. One changed bit of a key is enough, and
/// a fragment is not here any more, or is served under another's name.
#[tokio::test(flavor = "multi_thread")]
async fn row_that_lacks_its_other_half_is_found_after_an_unclean_end() {
    for change in [
        "UPDATE fragments SET stripe = stripe + 256 WHERE stripe = 3",
        ASTRAY,
        "UPDATE deposits SET idx = 1 WHERE stripe = 3",
    ] {
        let mut node = filled().await;
        node.stop().await;
        execute(&node, change).await;
        execute(&node, "UPDATE log SET clean = 0").await;
        node.start().await.unwrap();
        rebuilt(&node, change).await;
        assert_eq!(served(&node).await, all_but(&[]), "{change}");
        audit::check(&node).await;
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn index_that_contradicts_what_is_written_is_made_anew() {
    // It looks like the last one, and what is forgotten with that would not come back.
    for change in ["UPDATE holdings SET fragments = 1", "DELETE FROM holdings"] {
        let mut node = filled().await;
        node.stop().await;
        execute(&node, change).await;
        node.start().await.unwrap();
        let dropped = node.storage().drop_fragment(LOCAL, id(1, 0)).await;
        assert!(matches!(dropped, Err(ActorError::Sqlite(_))), "{change}: {dropped:?}");
        rebuilt(&node, change).await;
        assert_eq!(served(&node).await, all_but(&[]), "{change}");
        node.rebuild().await;
        assert_eq!(served(&node).await, all_but(&[]), "{change}: nothing of the drop is in the log");
        audit::check(&node).await;
        node.stop().await;
    }
}

/// The names and types of the tables' columns are text in the file, too.
#[tokio::test(flavor = "multi_thread")]
async fn flipped_bit_in_the_schema_is_noticed_and_the_index_made_anew() {
    for (text, bit) in [("live_bytes  INTEGER", 0x10), ("deposits    INTEGER", 0x10), ("fragments (\n", 0x10)]
    {
        let mut node = filled().await;
        node.stop().await;
        let path = node.path().join(INDEX_FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        // Pages that are free by now may hold it, too.
        let places: Vec<_> =
            (0..bytes.len()).filter(|at| bytes[*at..].starts_with(text.as_bytes())).collect();
        assert!(!places.is_empty(), "{text}");
        places.iter().for_each(|at| bytes[*at] ^= bit);
        std::fs::write(&path, bytes).unwrap();
        node.start().await.unwrap();
        rebuilt(&node, text).await;
        assert_eq!(served(&node).await, all_but(&[]), "{text}");
        audit::check(&node).await;
        node.stop().await;
    }
}

/// One bit in every so many bytes of the index, in turn. Where it changes what is answered, that is noticed.
#[tokio::test(flavor = "multi_thread")]
async fn bit_that_flips_anywhere_in_the_index_costs_no_fragment() {
    let mut node = filled().await;
    node.stop().await;
    let good = std::fs::read(node.path().join(INDEX_FILE)).unwrap();
    for at in (0..good.len()).step_by(FLIPS_APART) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        index::remove(node.path());
        std::fs::write(node.path().join(INDEX_FILE), &bytes).unwrap();
        match node.start().await {
            Err(ActorError::Version { what }) => {
                assert!(what.contains("newer version of this program"), "{at}: {what}");
                continue;
            }
            started => started.unwrap(),
        }
        let deadline = std::time::Instant::now() + DEADLINE;
        while !is_whole(&node).await {
            assert!(std::time::Instant::now() < deadline, "byte {at}: not everything is served any more");
            for stripe in 0..COUNT {
                // Heals what is only said to be damaged.
                let _ = node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), LENGTH)).await;
            }
        }
        node.stop().await;
    }
}

/// Changes the index of a node that is stopped, whatever SQLite thinks of it.
pub(crate) async fn execute(node: &Node, change: &'static str) {
    let options = SqliteConnectOptions::new().filename(node.path().join(INDEX_FILE)).foreign_keys(false);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query(change).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Asks and puts until the index was made anew.
pub(crate) async fn rebuilt(node: &Node, case: &str) {
    let deadline = std::time::Instant::now() + DEADLINE;
    while !node.storage().usage().await.is_ok_and(|usage| usage.recovery.rebuilt) {
        assert!(std::time::Instant::now() < deadline, "{case}: it is not made anew");
        // Whatever comes of these.
        let _ = node.storage().get(id(1, 5)).await;
        let _ = node.storage().put(LOCAL, id(1, 5), fragment(5, LENGTH)).await;
    }
}

/// Whether every fragment is served. A wrong byte fails the test; damage and restarts do not.
async fn is_whole(node: &Node) -> bool {
    let mut whole = true;
    for stripe in 0..COUNT {
        match node.storage().get(id(1, stripe)).await {
            Ok(got) => assert_eq!(got, fragment(stripe.into(), LENGTH)),
            Err(ActorError::Corrupt { .. } | ActorError::Restarting { .. } | ActorError::Sqlite(_)) => {
                whole = false;
            }
            Err(other) => panic!("fragment {stripe}: {other}"),
        }
    }
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_or_missing_index_is_made_anew_and_the_old_one_kept() {
    let damages: [fn(&Path); 4] = [
        |index| flip(index, 3),
        |index| std::fs::write(index, b"not a database, by far").unwrap(),
        |index| flip(index, 100),
        |index| std::fs::remove_file(index).unwrap(),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let mut node = filled().await;
        node.stop().await;
        let path = node.path().join(INDEX_FILE);
        damage(&path);
        let was_there = path.exists();
        node.start().await.unwrap();
        assert!(usage(&node).await.recovery.rebuilt, "damage {number}");
        assert_eq!(
            node.path().join(format!("{INDEX_FILE}.damaged-1")).exists(),
            was_there,
            "damage {number}"
        );
        assert_eq!(served(&node).await, all_but(&[]), "damage {number}");
        audit::check(&node).await;
        node.stop().await;
    }
}

/// Each may be as large as the index in use.
#[tokio::test(flavor = "multi_thread")]
async fn few_old_indexes_are_kept_and_the_first_is_the_newest() {
    let mut node = filled().await;
    for number in 0..4 {
        node.stop().await;
        std::fs::write(node.path().join(INDEX_FILE), format!("not a database: {number}")).unwrap();
        node.start().await.unwrap();
        let kept = |aside| std::fs::read_to_string(node.path().join(format!("{INDEX_FILE}.damaged-{aside}")));
        assert_eq!(kept(1).unwrap(), format!("not a database: {number}"));
        assert_eq!(kept(2).ok(), (number > 0).then(|| format!("not a database: {}", number - 1)));
        assert!(kept(3).is_err());
    }
    assert_eq!(served(&node).await, all_but(&[]));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bit_in_the_wal_loses_nothing() {
    let mut node = filled().await;
    node.end(End::Killed).await;
    let wal = index::path(node.path(), "-wal");
    let length = std::fs::metadata(&wal).unwrap().len();
    assert!(length > 1000);
    flip(&wal, length / 3);
    node.start().await.unwrap();
    assert_eq!(served(&node).await, all_but(&[]));
    audit::check(&node).await;
    node.end_and_start(End::PowerCut(Wal::Least)).await;
    assert_eq!(served(&node).await, all_but(&[]));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn segment_that_is_gone_or_cut_short_is_named_and_the_rest_is_served() {
    let count = segments(&filled().await).len();
    assert!(count >= 3);
    for (lost, cut) in (0..count).flat_map(|lost| [(lost, None), (lost, Some(2000))]) {
        let mut node = filled().await;
        node.stop().await;
        let path = segments(&node).swap_remove(lost);
        match cut {
            None => std::fs::remove_file(&path).unwrap(),
            Some(length) => {
                std::fs::File::options().write(true).open(&path).unwrap().set_len(length).unwrap()
            }
        }
        node.start().await.unwrap();
        let number: u32 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        assert_eq!(usage(&node).await.recovery.lost_segments, [number]);
        let left = served(&node).await;
        assert!(!left.is_empty() && left.len() < COUNT as usize, "segment {number}: {left:?}");
        for stripe in all_but(&left) {
            node.storage().put(LOCAL, id(1, stripe), fragment(stripe.into(), LENGTH)).await.unwrap();
        }
        assert_eq!(served(&node).await, all_but(&[]), "segment {number}: healed by puts");
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn segment_that_is_put_back_heals_what_was_in_it() {
    let mut node = filled().await;
    with_manifest_of(&node, 3).await;
    node.stop().await;
    let path = newest_segment(&node);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    node.start().await.unwrap();
    let before = usage(&node).await;
    assert!(before.totals.jobs > 1 && before.health.damaged > 0, "{:?}", before.totals);
    let refused = node.storage().document(tessera(3), DocumentKind::Manifest, None).await;
    assert!(matches!(refused, Err(ActorError::CorruptDocument { .. })), "{refused:?}");
    node.stop().await;
    std::fs::write(&path, bytes).unwrap();
    node.start().await.unwrap();
    let oldest_age_ms = node.system().scrub.status().await.unwrap().outlook.oldest_age_ms;
    assert!(oldest_age_ms < 3_600_000, "what is new here is not of 1970: {oldest_age_ms}");
    let deadline = std::time::Instant::now() + DEADLINE;
    while usage(&node).await.totals.jobs > 0 {
        assert!(std::time::Instant::now() < deadline, "it is not healed");
        node.storage().compact().await.unwrap();
    }
    assert_eq!(served(&node).await, all_but(&[]));
    let read = node.storage().document(tessera(3), DocumentKind::Manifest, None).await.unwrap();
    assert_eq!(read[..], *MANIFEST);
    audit::check(&node).await;
    node.rebuild().await;
    assert_eq!(
        node.storage().document(tessera(3), DocumentKind::Manifest, None).await.unwrap()[..],
        *MANIFEST
    );
    node.stop().await;
}

fn segments(node: &Node) -> Vec<PathBuf> {
    let files = std::fs::read_dir(node.segments()).unwrap();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths
}

fn newest_segment(node: &Node) -> PathBuf {
    let filled = |path: &PathBuf| std::fs::metadata(path).unwrap().len() > 0;
    segments(node).into_iter().rfind(filled).unwrap()
}

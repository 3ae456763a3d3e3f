//! A disk that is filled and emptied while a node works on it, as a process, with clients on its socket.

use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;
use tests::{
    chain::scaled,
    http::Answer,
    ledger::{Deed, Ledger},
    load::{Load, Tally},
    node::{Setting, TestNode},
};

use crate::image::{FileSystem, Image};

/// Reads go on, and drops as long as the node has what it keeps free for itself; what needs room is refused clearly, and
/// goes on as soon as there is some. Nothing is damaged, and nothing falls.
pub(crate) fn survived(system: FileSystem, seed: u64) {
    let (image, mut rng) = (Image::new(system), Rng::with_seed(seed));
    let keeps = |bytes: u64| ("TESSERAS_STORAGE__MIN_FREE", format!("{bytes} B").into());
    let data_dir = Some(image.store().join("data"));
    let mut node = TestNode::start_with(Setting {
        data_dir,
        environment: vec![keeps(FLOOR_BYTES)],
        ..Setting::default()
    });
    let load = Load::begin(&node, Ledger::default(), CLIENTS, seed);
    for _ in 0..scaled(15, 150) {
        round(&image, &load, true, || fill(&image, &load, FLOOR_BYTES - (1 << 20), false));
        // Without what it keeps free for itself there is still what it has set aside for drops...
        image.fill(0);
        round(&image, &load, true, || {});
        // ... unless that is taken as well.
        round(&image, &load, false, || fill(&image, &load, rng.u64(..LEFT_BYTES), true));
    }
    let (ledger, _) = load.end(&node);
    // One that keeps next to nothing free meets the end of the disk wherever it writes.
    node.restart_with(&[keeps(1)]);
    let load = Load::begin(&node, ledger, CLIENTS, seed);
    for _ in 0..scaled(20, 200) {
        round(&image, &load, false, || fill(&image, &load, rng.u64(..LEFT_BYTES), true));
    }
    load.end(&node);
    scrub(&node);
    let log = node.log();
    assert!(node.is_running() && node.restarts() == 0, "{log}");
    assert!(!log.contains("panicked") && !log.contains(" fell"), "{log}");
    assert!(node.stop().success(), "{log}");
}

/// Has the disk filled, and empties it again.
fn round(image: &Image, load: &Load, drops_go_on: bool, fill: impl FnOnce()) {
    // What was being written when the disk became full may have failed.
    load.until_all_are_answered();
    let earlier = load.tally().refused.len();
    fill();
    let before = load.tally();
    let drops = if drops_go_on { SOME } else { 0 };
    load.until(|now| now.reads >= before.reads + SOME && now.drops >= before.drops + drops);
    image.clear();
    load.until(|now| now.puts >= before.puts + SOME);
    load.until_all_are_answered();
    for (deed, answer) in load.tally().refused.get(earlier..).into_iter().flatten() {
        assert!(says_full(answer), "{deed:?}: {answer:?} {}", answer.json());
        assert!(!drops_go_on || matches!(deed, Deed::Put(..)), "{deed:?} needs no room: {}", answer.json());
    }
}

/// Leaves so many bytes of the disk free until puts are refused, again and again: the node makes room by itself. Where all
/// is to be taken, ever less is left.
fn fill(image: &Image, load: &Load, mut left_bytes: u64, takes_all: bool) {
    let (refused, deadline) = (puts_refused(&load.tally()) + SOME, Instant::now() + DEADLINE);
    while puts_refused(&load.tally()) < refused {
        assert!(Instant::now() < deadline, "puts are not refused: {:?}", load.tally());
        image.fill(left_bytes);
        let puts = load.tally().puts + PUTS_BETWEEN;
        load.until(|now| puts_refused(now) >= refused || now.puts >= puts);
        left_bytes = if takes_all { left_bytes / 2 } else { left_bytes };
    }
}

fn puts_refused(tally: &Tally) -> u64 {
    tally.refused.iter().filter(|(deed, _)| matches!(deed, Deed::Put(..))).count() as u64
}

fn says_full(answer: &Answer) -> bool {
    let problem = answer.json();
    answer.status == 507
        && answer.field("content-type") == Some("application/problem+json")
        && problem.get("type").and_then(Value::as_str) == Some("urn:tesseras:problem:insufficient-storage")
}

/// Everything that is stored is read back from the disk, and is right.
fn scrub(node: &TestNode) {
    assert_eq!(node.post("/v1/scrub/start").status, 200);
    let deadline = Instant::now() + DEADLINE;
    loop {
        let scrub = node.get("/v1/scrub").json();
        let number = |name| scrub.get(name).and_then(Value::as_u64);
        if number("asked_bytes") == Some(0) {
            let damaged = ["damaged_fragments", "damaged_documents", "mended_records"].map(number);
            assert_eq!(damaged, [Some(0); 3], "{scrub}");
            if number("verified_bytes") > Some(0) {
                return;
            }
            // A compaction has copied forward all that was asked for, before it was its turn.
            assert_eq!(node.post("/v1/scrub/start").status, 200);
        }
        assert!(Instant::now() < deadline, "verifying does not end: {scrub}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

const CLIENTS: u32 = 8;
const SOME: u64 = 3;
/// The disk is filled again after so many.
const PUTS_BETWEEN: u64 = 30;
const FLOOR_BYTES: u64 = 12 << 20;
/// Left free at most when all is taken.
const LEFT_BYTES: u64 = 512 << 10;
const DEADLINE: Duration = Duration::from_secs(120);

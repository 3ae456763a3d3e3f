//! Hostile callers on the node's own machine: requests that are wrong in every way, callers that are slow, silent, or
//! many. All get clear answers or none, the node neither restarts nor swells, and an honest caller is served meanwhile.

#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests fail and tell as tests do"
)]

mod document;
mod honest;
mod raw;
mod slow;
mod verdict;

use std::time::{Duration, Instant};

use tests::{
    chain::{scaled, seed},
    node::{TestNode, Vitals},
};

#[test]
fn requests_made_from_the_document_are_answered_clearly() {
    // Each example stands for about 20 requests, and there are some in any case.
    under_attack(|node, share, seed| document::attack(node, scaled(8, 600) / share, seed));
}

#[test]
fn bytes_that_are_nearly_requests_are_answered_clearly() {
    under_attack(|node, share, seed| raw::attack(node, scaled(2500, 90_000) / share, seed));
}

#[test]
fn slow_and_silent_callers_hurt_nobody() {
    let duration = Duration::from_secs(scaled(12, 120));
    under_attack(|node, share, _| slow::attack(node, (duration / share).max(RAMP)));
}

/// Attacks a node, with a small share first: what it allocates once is not what it gathers.
fn under_attack(attack: impl Fn(&TestNode, u32, u64)) {
    let seed = seed();
    println!("TESSERAS_TEST_SEED={seed}");
    let mut node = TestNode::start();
    let honest = honest::Honest::arrive(&node);
    attack(&node, WARM_UP_SHARE, seed);
    let before = settled(&node, None);
    let visits = honest.during(|| attack(&node, 1, seed));
    let after = settled(&node, Some(before));
    println!("{visits}; {before:?} before, {after:?} after");
    let log = node.log();
    assert!(node.is_running(), "{log}");
    assert_eq!(node.restarts(), 0, "{log}");
    assert!(!log.contains("panicked"), "{log}");
    assert!(after.memory_bytes < before.memory_bytes + MEMORY_GROWTH_BYTES_MAX, "{before:?} {after:?}");
    assert!(after.peak_bytes <= MEMORY_PEAK_BYTES_MAX, "{after:?}");
    assert!(after.descriptors <= before.descriptors + DESCRIPTORS_GROWTH_MAX, "{before:?} {after:?}");
}

/// What the node holds when it has noticed that its callers are gone.
fn settled(node: &TestNode, before: Option<Vitals>) -> Vitals {
    let deadline = Instant::now() + SETTLING_DEADLINE;
    let limit = before.map_or(QUIET_DESCRIPTORS, |before| before.descriptors + DESCRIPTORS_GROWTH_MAX);
    loop {
        let vitals = node.vitals();
        if vitals.descriptors <= limit || Instant::now() > deadline {
            return vitals;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The first attack is this part of the second.
const WARM_UP_SHARE: u32 = 5;
/// So long it takes until slow callers hold all that they can.
const RAMP: Duration = Duration::from_secs(8);
/// Nothing that a caller causes stays, but an allocator keeps a little of what it was given back.
const MEMORY_GROWTH_BYTES_MAX: u64 = 48 << 20;
/// The memory budget of a node without any configuration, and a tenth.
const MEMORY_PEAK_BYTES_MAX: u64 = (256 << 20) / 10 * 11;
/// Segments and connections of the index open and close by themselves.
const DESCRIPTORS_GROWTH_MAX: usize = 16;
/// Fewer than a node has open while callers are there.
const QUIET_DESCRIPTORS: usize = 64;
const SETTLING_DEADLINE: Duration = Duration::from_secs(20);

//! Peers that do everything wrong, and what that does to a node: it answers, refuses or hangs up, keeps nothing of it, and
//! serves the others meanwhile.

mod attack;
mod attackers;
mod churn;
mod flood;
mod frames;
mod greetings;
mod kills;
mod models;
mod moving;
mod parked;
mod stalled;
mod twist;
mod verdict;
mod vitals;

pub(crate) use vitals::{Honest, Vitals};

/// The seed given, or a new one.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("TESSERAS_TEST_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    tell(&format!("TESSERAS_TEST_SEED={seed}"));
    seed
}

/// A count for `make test`, or the one for `make torture`.
pub(crate) fn scaled<T>(test: T, torture: T) -> T {
    if std::env::var_os("TESSERAS_TEST_TORTURE").is_some() { torture } else { test }
}

/// Shown when the test fails, or with `--no-capture`.
#[expect(clippy::print_stdout, reason = "what a test has seen")]
pub(crate) fn tell(line: &str) {
    println!("{line}");
}

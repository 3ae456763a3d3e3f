//! Power cuts and full disks, under the actors alone and under a node, on file systems of our own: loop images with ext4
//! and with XFS.
//!
//! This needs root and loop devices, so it has a runner of its own that says SKIPPED where they are missing; a skip
//! that a test harness reports as passed would go unnoticed. It runs as `cargo test -p tests --test power_cut`; to
//! nextest it shows no tests.

mod cuts;
mod filled;
mod full;
mod image;

use std::{
    io::Write,
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

use image::FileSystem;
use tests::chain::seed;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    if let Some(missing) = missing() {
        say(&format!("power_cut: SKIPPED: {missing}"));
        return ExitCode::SUCCESS;
    }
    if std::env::var_os(UNSHARED).is_none() {
        return run_unshared(&arguments);
    }
    let filters: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let seed = seed();
    say(&format!("TESSERAS_TEST_SEED={seed}"));
    for (name, test) in TESTS.iter().copied() {
        for system in [FileSystem::Ext4, FileSystem::Xfs] {
            let name = format!("{name} on {system:?}");
            if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
                let start = Instant::now();
                // A panic ends the run, and with it the file system.
                test(system, seed);
                say(&format!("test {name} ... ok ({:.1} s)", start.elapsed().as_secs_f32()));
            }
        }
    }
    ExitCode::SUCCESS
}

/// What a run needs and this machine does not have. Whatever else fails is a failure.
fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        Some("only root can make file systems")
    } else if !Path::new("/dev/loop-control").exists() {
        Some("there are no loop devices")
    } else {
        None
    }
}

/// Runs this program again with mounts of its own: they are gone with its last process, whichever way that ends.
fn run_unshared(arguments: &[String]) -> ExitCode {
    let program = std::env::current_exe().expect("this program has a path");
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(program)
        .args(arguments)
        .env(UNSHARED, "1")
        .status()
        .expect("unshare is there (tests/setup installs it)");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(line: &str) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stdout(), "{line}");
}

type Test = fn(FileSystem, u64);
const TESTS: &[(&str, Test)] = &[
    ("power cut with synchronous NORMAL", |system, seed| cuts::survived(system, seed, false)),
    ("power cut with synchronous FULL", |system, seed| cuts::survived(system, seed, true)),
    ("full disk", full::survived),
    ("disk of a running node filled and emptied", filled::survived),
];
const UNSHARED: &str = "TESSERAS_TEST_UNSHARED";

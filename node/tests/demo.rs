//! `make demo`, with the program of these tests.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::process::{Command, Output};

/// Tells the story with this program.
fn told_by(program: &str) -> Output {
    let mut story = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/demo/run"));
    story.env("DEMO_NODE", program).output().unwrap()
}

fn last_line(output: &Output) -> String {
    let all = String::from_utf8_lossy(&output.stdout);
    all.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn story_ends_well() {
    let output = told_by(env!("CARGO_BIN_EXE_node"));
    let last = last_line(&output);
    assert!(last.starts_with("IT WORKED, in "), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(last.ends_with("of 8 machines 3 burned down, and every photo came back as it was."), "{last}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn story_that_ends_otherwise_says_so() {
    let output = told_by("/bin/false");
    assert!(last_line(&output).starts_with("IT DID NOT WORK, after "), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
}

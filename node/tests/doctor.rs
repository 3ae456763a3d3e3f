//! `doctor` as a person calls it: with and without a daemon, on a data directory that is well and on ones that are not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    process::Output,
    time::{Duration, SystemTime},
};

use common::{Daemon, Place, json, stderr, stdout};
use serde_json::Value;

/// What it says of one thing.
#[track_caller]
fn finding(output: &Output, check: &str) -> Value {
    let all = json(output);
    let found = all.as_array().unwrap().iter().find(|found| found["check"] == check);
    found.unwrap_or_else(|| panic!("{check} is not in {all}")).clone()
}

#[track_caller]
fn check(output: &Output, check: &str, outcome: &str, says: &str) {
    let found = finding(output, check);
    assert_eq!(found["outcome"], outcome, "{found}");
    assert!(found.to_string().contains(says), "{says:?} is not in {found}");
}

/// The exit code says whether anything failed. Where the tests run, something may: a `/tmp` in memory does.
#[track_caller]
fn exit_tells(output: &Output) {
    let failed = json(output).as_array().unwrap().iter().any(|found| found["outcome"] == "failed");
    assert_eq!(output.status.code(), Some(i32::from(failed)), "{}{}", stdout(output), stderr(output));
}

/// Every file below the data directory with its length and its time of change.
fn traces(place: &Place) -> Vec<(String, u64, SystemTime)> {
    let mut folders = vec![place.data_dir()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            let about = entry.metadata().unwrap();
            if about.is_dir() {
                folders.push(entry.path());
            } else {
                found.push((entry.path().display().to_string(), about.len(), about.modified().unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn machine_without_a_daemon_is_looked_at_and_left_as_it_was() {
    let place = Place::new();
    assert_eq!(Daemon::start(&place).stop(), Some(0));
    let before = traces(&place);
    let output = place.node(["doctor", "--json"]);
    exit_tells(&output);
    assert_eq!(traces(&place), before);
    check(&output, "daemon", "unknown", "were not checked");
    check(&output, "configuration", "ok", "node.toml is right");
    check(&output, "keys", "ok", "keep a copy of");
    check(&output, "permissions", "ok", "");
    assert!(finding(&output, "flush")["finding"].as_str().unwrap().contains("(p99) of"), "{output:?}");
}

#[test]
fn daemon_that_runs_is_asked_and_goes_on() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let id = place.keep("photo.jpg", b"bytes");
    let output = place.node(["doctor", "--json"]);
    exit_tells(&output);
    for name in ["daemon", "actors", "storage", "recovery", "socket", "permissions"] {
        check(&output, name, "ok", "");
    }
    check(&output, "descriptors", "ok", "the daemon may have");
    assert_eq!(place.node(["cat", &id, "photo.jpg"]).stdout, b"bytes");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn descriptors_are_those_of_the_daemon_and_not_of_whoever_asks() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let pid = rustix::process::Pid::from_raw(daemon.pid().try_into().unwrap());
    let few = rustix::process::Rlimit { current: Some(200), maximum: Some(20_000) };
    rustix::process::prlimit(pid, rustix::process::Resource::Nofile, few).unwrap();
    let output = place.node(["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    check(&output, "descriptors", "failed", "the daemon may have 200");
}

#[test]
fn text_has_a_line_for_each_check_and_ends_with_a_sentence() {
    let place = Place::new();
    place.node(["init"]);
    fs::set_permissions(place.data_dir().join("node.key"), Permissions::from_mode(0o644)).unwrap();
    let output = place.node(["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains("\nfailed   permissions "), "{text}");
    assert!(text.contains("            chmod 600 /"), "{text}");
    assert!(text.lines().last().unwrap().contains(" failed: do what stands below "), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let coloured = place.node(["doctor", "--color", "always"]);
    assert!(stdout(&coloured).contains("\u{1b}[1;31mfailed "), "{}", stdout(&coloured));
}

#[test]
fn nothing_there_yet_is_a_warning_and_nothing_is_made() {
    let place = Place::new();
    let output = place.node(["doctor", "--json"]);
    exit_tells(&output);
    check(&output, "data-directory", "warning", "init");
    check(&output, "flush", "unknown", "not measured");
    assert!(!place.data_dir().exists());
}

#[test]
fn settings_that_are_wrong_are_a_finding_and_the_rest_is_looked_at() {
    let place = Place::new();
    let file = place.path().join("wrong.toml");
    fs::write(&file, "[node]\ncapacit = 1\n[storage]\nmin_free = 7\n").unwrap();
    let output = place.node(["doctor", "--json", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    check(&output, "configuration", "failed", "wrong.toml:2");
    check(&output, "configuration", "failed", "wrong.toml:4");
    check(&output, "sqlite", "ok", "version 3.");
    check(&output, "data-directory", "unknown", "put the settings right");
}

#[test]
fn data_directory_in_memory_fails() {
    let place = Place::new();
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let output = place.bare(["--data-dir"]).arg(memory.path()).args(["doctor", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    check(&output, "file-system", "failed", "everything is lost at reboot");
}

#[test]
fn clock_behind_the_data_fails() {
    let place = Place::new();
    assert_eq!(Daemon::start(&place).stop(), Some(0));
    let index = fs::File::options().append(true).open(place.data_dir().join("index.db")).unwrap();
    index.set_modified(SystemTime::now() + Duration::from_secs(86_400 * 40)).unwrap();
    let output = place.node(["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    check(&output, "clock", "failed", "something was stored on");
}

#[test]
fn segment_that_is_gone_is_told_by_the_daemon() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    place.keep("photo.jpg", b"bytes");
    assert_eq!(daemon.stop(), Some(0));
    for entry in fs::read_dir(place.data_dir().join("segments")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let _daemon = Daemon::start(&place);
    let output = place.node(["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    check(&output, "recovery", "failed", "gone or shorter");
}

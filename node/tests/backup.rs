//! `backup` and `restore`, on the command line of a real daemon.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use common::{Daemon, Place, failed, json, stderr, stdout};

fn kept(place: &Place) -> PathBuf {
    place.path().join("kept.tar")
}

fn copy_segments(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("segments")).unwrap();
    for entry in fs::read_dir(from.join("segments")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join("segments").join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn restored_keys_and_copied_segments_are_the_same_node_with_the_same_bytes() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let letter: Vec<u8> = (0..300_000_u32).flat_map(|at| at.wrapping_mul(at).to_le_bytes()).collect();
    let id = place.keep("letter", &letter);
    let who = json(&place.node(["id", "--json"]));
    let output = place.node(["backup", "kept.tar"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("not in it") && stderr(&output).contains("rsync -a --delete-after "),
        "{}",
        stderr(&output)
    );
    // The daemon kept aside what its index knows as it is now.
    assert!(stdout(&output).contains("snapshots/"), "{}", stdout(&output));
    assert_eq!(fs::metadata(kept(&place)).unwrap().permissions().mode() & 0o777, 0o600);
    failed(&place.node(["backup", "kept.tar"]), 73, "there already");
    assert_eq!(daemon.stop(), Some(0));

    let other = Place::new();
    copy_segments(&place.data_dir(), &other.data_dir());
    failed(&other.node(["run"]), 73, "no file named TESSERAS");
    let output = other.node(["restore", kept(&place).to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("makes its index of the segments"), "{}", stderr(&output));
    let daemon = Daemon::start(&other);
    assert_eq!(json(&other.node(["id", "--json"])), who);
    assert_eq!(other.node(["cat", &id, "letter"]).stdout, letter);
    let status = json(&other.node(["status", "--json"]));
    assert_eq!(status["storage"]["recovery"]["rebuilt"], true, "{status}");
    let output = other.node(["restore", kept(&place).to_str().unwrap()]);
    failed(&output, 75, "in use by the daemon");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn backup_without_a_daemon_is_a_tar_that_any_tool_unpacks() {
    let place = Place::new();
    for command in [&["backup", "kept.tar"][..], &["key", "card", "card.txt"]] {
        failed(&place.node(command), 73, "Name the node's folder with --data-dir");
    }
    place.node(["init"]);
    let made = json(&place.node(["backup", "kept.tar", "--json"]));
    assert_eq!(made["backup"]["files"].as_array().unwrap().len(), 4, "{made}");
    assert_eq!(made["snapshot_ms"], serde_json::Value::Null);
    let mut tar = Command::new("tar");
    assert!(tar.args(["-xf", "kept.tar"]).current_dir(place.path()).status().unwrap().success());
    for name in ["author.key", "node.key", "node.toml", "TESSERAS"] {
        let unpacked = fs::read(place.path().join(name)).unwrap();
        assert_eq!(unpacked, fs::read(place.data_dir().join(name)).unwrap(), "{name}");
    }
    fs::remove_dir_all(place.data_dir()).unwrap();
    let output = place.bare(["restore", "kept.tar", "--data-dir", "it's here"]).output().unwrap();
    assert!(stderr(&output).contains(r"--data-dir 'it'\''s here' run"), "{}", stderr(&output));
    let output = place.node(["restore", "kept.tar"]);
    assert!(stderr(&output).contains("The memories are not in a backup"), "{}", stderr(&output));
    assert_eq!(json(&place.node(["init", "--json"]))["node"], made["backup"]["node"]);
}

#[test]
fn restore_by_root_into_a_folder_of_somebody_else_advises_to_start_as_them() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    place.node(["init"]);
    place.node(["backup", "kept.tar"]);
    let other = place.path().join("other");
    fs::create_dir(&other).unwrap();
    std::os::unix::fs::chown(&other, Some(65_534), None).unwrap();
    let output = place.bare(["restore", "kept.tar", "--data-dir", "other"]).output().unwrap();
    let told = stderr(&output);
    assert!(told.contains("sudo -u '#65534' ") && told.contains(" --data-dir other run"), "{told}");
    assert_eq!(fs::metadata(other.join("node.key")).unwrap().uid(), 65_534);
}

#[test]
fn backup_says_that_settings_from_elsewhere_are_not_in_it() {
    let place = Place::new();
    place.node(["init"]);
    let told = stderr(&place.node(["backup", "kept.tar"])).to_owned();
    assert!(!told.contains("settings"), "{told}");
    fs::write(place.path().join("settings.toml"), "").unwrap();
    let output = place.node(["backup", "other.tar", "--config", "settings.toml"]);
    assert!(stderr(&output).contains("settings.toml, copy that file as well"), "{}", stderr(&output));
    assert!(stdout(&output).contains("nothing of it was kept aside yet"), "{}", stdout(&output));
}

#[test]
fn restore_over_other_keys_or_of_something_else_changes_nothing() {
    let place = Place::new();
    place.node(["init"]);
    place.node(["backup", "kept.tar"]);
    let other = Place::new();
    other.node(["init"]);
    let before = fs::read(other.data_dir().join("author.key")).unwrap();
    failed(&other.node(["restore", kept(&place).to_str().unwrap()]), 73, "is never replaced");
    assert_eq!(fs::read(other.data_dir().join("author.key")).unwrap(), before);

    let fresh = Place::new();
    fs::write(fresh.path().join("letter"), "We went to the sea.").unwrap();
    failed(&fresh.node(["restore", "letter"]), 65, "nothing was changed");
    assert!(!fresh.data_dir().exists());
}

//! `rebuild-index`, with and without a daemon.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
};

use common::{Daemon, Place, failed, json, stderr, stdout};

#[test]
fn running_daemon_makes_its_index_anew_and_loses_nothing() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let id = place.keep("letter.txt", b"We went to the sea.");
    let scrubbed = place.node(["scrub", "start", "--wait"]);
    assert_eq!(scrubbed.status.code(), Some(0), "{}", stderr(&scrubbed));
    let known = || json(&place.node(["fragment", "list", &id, "--json"]));
    let before = known();
    assert!(before[0]["verified_at_ms"].is_i64(), "{before}");
    let output = place.node(["rebuild-index"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("made anew from"), "{}", stdout(&output));
    assert_eq!(known(), before, "a healthy index knew it a moment before");
    assert!(stdout(&output).contains("index.db.damaged-1"), "{}", stdout(&output));
    assert!(place.data_dir().join("index.db.damaged-1").exists());
    assert_eq!(place.node(["cat", &id, "letter.txt"]).stdout, b"We went to the sea.");
    failed(&place.node(["rebuild-index"]), 1, "s ago, and nothing was done now");
    let actors = json(&place.node(["actors", "--json"]));
    let storage = actors.as_array().unwrap().iter().find(|actor| actor["name"] == "storage").unwrap();
    assert_eq!((&storage["running"], &storage["restarts"]), (&true.into(), &1.into()));
    assert_eq!(storage["last_fall"], serde_json::Value::Null, "it was asked to stop");
    assert!(!daemon.log().contains("an actor fell"), "{}", daemon.log());
    let doctor = json(&place.node(["doctor", "--json"]));
    let actors = doctor.as_array().unwrap().iter().find(|check| check["check"] == "actors").unwrap();
    assert_eq!(actors["outcome"], "ok", "{actors}");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn index_that_is_too_damaged_to_be_kept_aside_is_made_anew_all_the_same() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let id = place.keep("letter.txt", b"We went to the sea.");
    // All but the header, so that it is still the file that is open.
    let index = OpenOptions::new().write(true).open(place.data_dir().join("index.db")).unwrap();
    let wal = OpenOptions::new().write(true).open(place.data_dir().join("index.db-wal")).unwrap();
    for (file, head) in [(index, 100), (wal, 32)] {
        let length = file.metadata().unwrap().len().saturating_sub(head);
        file.write_all_at(&vec![0xA5; usize::try_from(length).unwrap()], head).unwrap();
    }
    let output = place.node(["rebuild-index"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stderr(&output), daemon.log());
    assert!(stderr(&output).contains("could not be kept aside"), "{}", stderr(&output));
    assert_eq!(place.node(["cat", &id, "letter.txt"]).stdout, b"We went to the sea.");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn without_a_daemon_the_next_start_makes_the_index_anew() {
    let place = Place::new();
    failed(&place.node(["rebuild-index"]), 73, "nothing is stored");
    assert!(!place.data_dir().exists());
    let daemon = Daemon::start(&place);
    let id = place.keep("letter.txt", b"We went to the sea.");
    assert_eq!(daemon.stop(), Some(0));
    fs::write(place.data_dir().join("index.db"), b"not what it was").unwrap();
    failed(&place.node(["rebuild-index", "--socket", "nowhere.sock"]), 69, "no daemon answers");
    let output = place.node(["rebuild-index", "--json"]);
    assert!(stderr(&output).contains("could not be kept aside"), "{}", stderr(&output));
    let asked = json(&output);
    let old = place.data_dir().join("index.db.damaged-1");
    assert_eq!(asked["old_index"], old.to_str().unwrap());
    assert!(!old.exists());
    let daemon = Daemon::start(&place);
    assert_eq!(fs::read(&old).unwrap(), b"not what it was");
    assert_eq!(place.node(["cat", &id, "letter.txt"]).stdout, b"We went to the sea.");
    assert_eq!(json(&place.node(["status", "--json"]))["storage"]["recovery"]["rebuilt"], true);
    assert_eq!(daemon.stop(), Some(0));
    // What only an index in order knows is kept aside first.
    let asked = json(&place.node(["rebuild-index", "--json"]));
    assert!(fs::exists(asked["snapshot"].as_str().unwrap()).unwrap(), "{asked}");
    let daemon = Daemon::start(&place);
    let recovery = &json(&place.node(["status", "--json"]))["storage"]["recovery"];
    assert!(recovery["rebuilt"] == true && recovery["restored_from_ms"].is_u64(), "{recovery}");
    assert_eq!(daemon.stop(), Some(0));
}

/// What it held was known to a snapshot of the index only.
#[test]
fn tessera_that_the_segments_lost_is_told_of_after_restarts_too() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let (kept, lost) = (place.keep("kept", b"kept"), place.keep("lost", b"lost"));
    let taken = daemon.say("POST /v1/index/snapshot HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    assert!(taken.starts_with("HTTP/1.1 200"), "{taken}");
    assert_eq!(daemon.stop(), Some(0));
    let segment =
        fs::File::options().write(true).open(place.data_dir().join("segments/00000001.seg")).unwrap();
    segment.set_len(segment.metadata().unwrap().len() - 100).unwrap();
    fs::remove_file(place.data_dir().join("index.db")).unwrap();
    for restarts in [false, true] {
        let daemon = Daemon::start(&place);
        let status = stdout(&place.node(["status"])).to_owned();
        assert_eq!(status.contains("1 tessera that a snapshot"), !restarts, "{status}");
        let doctor = place.node(["doctor"]);
        let warning = stdout(&doctor).lines().find(|line| line.contains("losses")).unwrap();
        assert!(warning.contains("warning") && warning.contains("1 tessera known on"), "{warning}");
        assert!(stdout(&doctor).contains("losses.jsonl has the names"), "{}", stdout(&doctor));
        failed(&place.node(["explain", &lost]), 1, "forgotten in between");
        assert_eq!(place.node(["verify", &kept]).status.code(), Some(0));
        assert_eq!(daemon.stop(), Some(0));
    }
    fs::remove_file(place.data_dir().join("losses.jsonl")).unwrap();
    assert!(!stdout(&place.node(["doctor"])).contains("losses"));
}

#[test]
fn damage_that_a_rebuild_finds_is_told_and_the_old_index_is_kept() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let letter: Vec<u8> = (0..40_000_u32).flat_map(|at| (at * at).to_le_bytes()).collect();
    let file = place.path().join("letter");
    fs::write(&file, &letter).unwrap();
    place.create(&file, &["--public"]);
    place.damage(&letter[1000..1100]);
    let output = place.node(["rebuild-index"]);
    assert_eq!(output.status.code(), Some(65), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("damaged places"), "{}", stdout(&output));
    assert!(stderr(&output).contains("keep ") && !stderr(&output).contains("may be removed"));
    assert_eq!(daemon.stop(), Some(0));
}

//! Reading back what is stored, on the command line of a real daemon.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use std::{
    io::Write,
    os::unix::net::UnixStream,
    process::Stdio,
    sync::Barrier,
    time::{SystemTime, UNIX_EPOCH},
};

use common::{Daemon, Place, failed, json, stderr, stdout};

/// Bytes that are stored as they are, in a public tessera.
fn letter() -> Vec<u8> {
    (0..40_000_u32).flat_map(|at| (at * at).to_le_bytes()).collect()
}

fn keep(place: &Place) -> String {
    let file = place.path().join("letter");
    std::fs::write(&file, letter()).unwrap();
    place.create(&file, &["--public"])
}

#[test]
fn scrub_of_an_intact_store_says_so() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let id = keep(&place);
    let output = place.node(["scrub", "start", "--wait"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("everything verified or written within the last"),
        "{}",
        stdout(&output)
    );
    let explained = place.node(["explain", &id]);
    assert!(stdout(&explained).starts_with("whole "), "{}", stdout(&explained));
    assert!(stdout(&explained).contains("read back from the disk within the last"), "{}", stdout(&explained));
    assert_eq!(json(&place.node(["jobs", "--json"])), serde_json::json!([]));
    assert!(json(&place.node(["cache", "--json"]))["bytes_max"].as_u64() > Some(0));
    let status = json(&place.node(["scrub", "status", "--json"]));
    assert!(status["verified_bytes"].as_u64() > Some(160_000), "{status}");
    assert_eq!((&status["damaged_fragments"], &status["mode"]), (&0.into(), &"idle".into()));
    assert!(stdout(&place.node(["status"])).contains("verified "));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn scrub_that_is_waited_for_verifies_everything_though_the_index_is_made_anew_meanwhile() {
    let place = Place::new();
    let file = place.path().join("settings.toml");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 3600;
    let (before, after) = ((now + 23) % 24, (now + 2) % 24);
    std::fs::write(&file, format!("integrity.quiet_hours = ['{before:02}:00-{after:02}:00']")).unwrap();
    let mut command = place.command(["run", "--config"]);
    command.arg(&file).env("TZ", "UTC0");
    let daemon = Daemon::started(&place, command);
    keep(&place);
    let mut waiting = place.command(["scrub", "start", "--wait"]);
    let mut waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let asked = || json(&place.node(["scrub", "status", "--json"]))["asked_bytes"].as_u64() > Some(0);
    daemon.until(asked);
    assert_eq!(place.node(["rebuild-index"]).status.code(), Some(0));
    daemon.until(|| waiting.try_wait().unwrap().is_some() || asked());
    std::fs::write(&file, "").unwrap();
    assert_eq!(place.node(["config", "reload"]).status.code(), Some(0));
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("everything verified"), "{}", stdout(&output));
    let told = stderr(&output);
    assert!(told.contains(": waiting for the end of the quiet hours in "), "{told}");
    assert!(json(&place.node(["scrub", "status", "--json"]))["verified_bytes"].as_u64() > Some(160_000));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn scrub_that_finds_damage_names_it_and_ends_with_65() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let id = keep(&place);
    place.damage(letter().get(1000..1100).unwrap());
    let output = place.node(["scrub", "start", "--wait"]);
    assert_eq!(output.status.code(), Some(65), "{}", stderr(&output));
    assert!(stdout(&output).contains("1 fragment and 0 documents"), "{}", stdout(&output));
    assert!(stderr(&output).contains("not served"), "{}", stderr(&output));
    let again = place.node(["scrub", "start", "--wait"]);
    assert_eq!(again.status.code(), Some(65), "{}", stderr(&again));
    assert!(stderr(&again).contains("1 damaged fragment or document waits"), "{}", stderr(&again));
    assert!(stdout(&place.node(["status"])).contains("damaged "));
    let jobs = json(&place.node(["jobs", "--json"]));
    let place_of = &jobs[0]["fragments"][0];
    assert_eq!((&jobs[0]["state"], &place_of["tessera"]), (&"suspect".into(), &id.as_str().into()), "{jobs}");
    let explained = place.node(["explain", &id]);
    assert!(stdout(&explained).starts_with("hurt  1 of "), "{}", stdout(&explained));
    assert_eq!(json(&place.node(["explain", &id, "--json"]))["whole"], false);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn damaged_manifest_is_found_and_its_job_says_whose_it_is() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let file = place.path().join("letter");
    std::fs::write(&file, letter()).unwrap();
    let id = place.create(&file, &["--public", "--title", "A letter of my grandmother"]);
    // The files themselves tell it too, and come before the manifest.
    flip_the_last(&place, b"A letter of my grandmother");
    let output = place.node(["scrub", "start", "--wait"]);
    assert_eq!(output.status.code(), Some(65), "{}", stderr(&output));
    assert!(stdout(&output).contains("0 fragments and 1 document"), "{}", stdout(&output));
    let listed = place.node(["jobs"]);
    let listed = stdout(&listed);
    assert!(listed.contains(&id) && listed.contains("manifest") && listed.contains("suspect"), "{listed}");
    let jobs = json(&place.node(["jobs", "--json"]));
    assert_eq!(jobs[0]["documents"], serde_json::json!([{"tessera": id, "kind": "manifest"}]), "{jobs}");
    let checksum = jobs[0]["checksum"].as_str().unwrap();
    let answer = daemon.get(&format!("/v1/jobs/{checksum}"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap(), jobs[0]);
    for (id, status) in [("0".repeat(64).as_str(), "404"), ("letter", "400")] {
        let answer = daemon.get(&format!("/v1/jobs/{id}"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    let explained = place.node(["explain", &id]);
    assert!(stdout(&explained).contains("signed is damaged here"), "{}", stdout(&explained));
    assert_eq!(place.node(["forget", &id]).status.code(), Some(0));
    assert_eq!(json(&place.node(["jobs", "--json"])), serde_json::json!([]));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn damage_that_many_meet_at_once_is_logged_once() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let file = place.path().join("letter");
    std::fs::write(&file, "We went to the sea.").unwrap();
    let id = place.create(&file, &["--public", "--title", "A letter of my grandmother"]);
    flip_the_last(&place, b"A letter of my grandmother");
    let start = Barrier::new(6);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut stream = UnixStream::connect(place.data_dir().join("node.sock")).unwrap();
                start.wait();
                write!(stream, "GET /v1/tesseras/{id} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n")
                    .unwrap();
                std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
            });
        }
    });
    let log = daemon.log();
    assert_eq!(log.matches("a document is damaged").count(), 1, "{log}");
    assert_eq!(daemon.stop(), Some(0));
}

/// Changes a bit of these bytes where they stand last in the only segment.
fn flip_the_last(place: &Place, bytes: &[u8]) {
    let segment = place.data_dir().join("segments").read_dir().unwrap().next().unwrap().unwrap().path();
    let mut stored = std::fs::read(&segment).unwrap();
    let at = stored.windows(bytes.len()).rposition(|window| window == bytes).unwrap();
    stored[at] ^= 1;
    std::fs::write(&segment, stored).unwrap();
}

#[test]
fn pause_is_shown_and_a_span_that_is_none_is_refused() {
    let place = Place::new();
    failed(&place.node(["scrub", "pause", "--for", "a while"]), 2, "no span of time");
    let daemon = Daemon::start(&place);
    let output = place.node(["scrub", "pause", "--for", "2 days"]);
    assert!(stdout(&output).contains("paused for 2 days"), "{}", stdout(&output));
    failed(&place.node(["scrub", "pause", "--for", "32 days"]), 1, "at most 31 days");
    for _ in 0..10 {
        assert_eq!(place.node(["scrub", "pause"]).status.code(), Some(0));
        let output = place.node(["scrub", "start", "--wait"]);
        assert_eq!(output.status.code(), Some(0), "a start ends a pause: {}", stderr(&output));
    }
    assert_eq!(json(&place.node(["scrub", "start", "--json"]))["paused_for_ms"], serde_json::Value::Null);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn settings_of_verifying_change_while_it_runs() {
    let place = Place::new();
    let file = place.path().join("settings.toml");
    std::fs::write(&file, "").unwrap();
    let mut command = place.command(["run", "--config"]);
    command.arg(&file);
    let daemon = Daemon::started(&place, command);
    std::fs::write(&file, "integrity.scrub_rate = '7 MiB/s'\nintegrity.verify_within = '3 days'").unwrap();
    let reloaded = json(&place.node(["config", "reload", "--json"]));
    let outcomes: Vec<_> =
        reloaded["changes"].as_array().unwrap().iter().map(|change| &change["outcome"]).collect();
    assert_eq!(outcomes, ["applied", "applied"]);
    let status = json(&place.node(["scrub", "status", "--json"]));
    assert_eq!((&status["rate"], &status["within_ms"]), (&(7 << 20).into(), &(3 * 86_400_000).into()));
    assert_eq!(daemon.stop(), Some(0));
}

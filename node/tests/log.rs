//! The log of a daemon that is driven through everything: nothing secret is in it, at any level.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use std::fs;

use common::{Daemon, Place};
use rustix::process::Signal;

/// What a daemon logs that logs everything there is, and is told things that are nobody's business.
fn driven(format: &str) -> String {
    let place = Place::new();
    let daemon = talkative(&place, format);
    let album = place.path().join("hush-album");
    fs::create_dir(&album).unwrap();
    fs::write(album.join("hush-name.txt"), "hush-content").unwrap();
    let described = ["--title", "hush-title", "--tags", "hush-tag", "--place", "hush-place"];
    let private = place.create(&album, &described);
    let public = place.create(&album, &[&described[..], &["--public"]].concat());
    for id in [&private, &public] {
        let folder = place.path().join(id);
        place.node(["cat", id, "hush-album/hush-missing.txt"]);
        for command in [
            ["show", id].as_slice(),
            &["verify", id],
            &["attest", id],
            &["cat", id, "hush-album/hush-name.txt"],
            &["export", id, folder.to_str().unwrap()],
        ] {
            assert_eq!(place.node(command).status.code(), Some(0), "{command:?}");
        }
    }
    assert_eq!(place.node(["forget", &private]).status.code(), Some(0));
    daemon.get("/v1/tesseras/hush-id/files/hush-path");
    place.node(["config", "reload"]);
    let mut log = ended(daemon);
    place.damage(b"hush-content");
    let daemon = talkative(&place, format);
    for command in [["cat", &public, "hush-album/hush-name.txt"].as_slice(), &["verify", &public]] {
        assert_ne!(place.node(command).status.code(), Some(0), "{command:?}");
    }
    log += &ended(daemon);
    assert!(log.contains("made a tessera") && log.contains("is damaged here"), "{log}");
    let keys = ["node.key", "author.key"].map(|key| fs::read_to_string(place.data_dir().join(key)).unwrap());
    for secret in keys.iter().flat_map(|key| key.lines()).filter(|line| is_secret(line)) {
        assert!(!log.contains(secret), "a line of a key is in the log");
    }
    log
}

fn talkative<'a>(place: &'a Place, format: &str) -> Daemon<'a> {
    let mut command = place.command(["run"]);
    command.env("TESSERAS_OBSERVABILITY__LOG_FORMAT", format);
    command.env("TESSERAS_OBSERVABILITY__LOG_LEVEL", "trace");
    Daemon::started(place, command)
}

/// All that it has logged.
fn ended(daemon: Daemon<'_>) -> String {
    daemon.signal(Signal::TERM);
    daemon.until(|| daemon.has_left());
    let log = daemon.log();
    // Others trace what they do now and then; their lines for debugging are there only when everything is asked for.
    assert!(log.contains("DEBUG"), "it logs everything: {log}");
    log
}

/// Of a key's file, all but its comments and frame.
fn is_secret(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#') && !line.starts_with("-----")
}

#[test]
fn log_holds_no_keys_titles_names_or_content_at_any_level() {
    for format in ["text", "json"] {
        let log = driven(format);
        let told: Vec<_> = log.lines().filter(|line| line.contains("hush-")).collect();
        assert_eq!(told, Vec::<&str>::new());
        if format == "json" {
            assert!(log.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{log}");
        }
    }
}

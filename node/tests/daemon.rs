//! The daemon as a process: its data directory, lock, socket, signals.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::{
    fs,
    io::Write,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    path::Path,
};

use common::{Daemon, Place, failed, problem, stderr, stdout};
use rustix::process::Signal;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn init_twice_changes_nothing() {
    let place = Place::new();
    let first = place.node(["init", "--json"]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let files = ["TESSERAS", "node.key", "author.key", "node.toml"].map(|name| place.data_dir().join(name));
    let before = files.each_ref().map(|file| fs::read(file).unwrap());
    let second = place.node(["init", "--json"]);
    assert_eq!(stdout(&first), stdout(&second));
    assert_eq!(files.each_ref().map(|file| fs::read(file).unwrap()), before);
    assert_eq!(mode(&place.data_dir()), 0o700);
    assert!(files.iter().all(|file| mode(file) == 0o600));
}

#[test]
fn everything_a_daemon_makes_is_its_users_alone() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    place.keep("photo.jpg", b"bytes");
    let mut folders = vec![place.data_dir()];
    while let Some(folder) = folders.pop() {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                assert_eq!(mode(&entry.path()), 0o600, "{}", entry.path().display());
            }
        }
    }
    assert!(fs::metadata(daemon.socket()).unwrap().file_type().is_socket());
}

#[test]
fn folder_of_another_kind_is_exit_73() {
    let place = Place::new();
    fs::create_dir(place.data_dir()).unwrap();
    fs::write(place.data_dir().join("photo.jpg"), "").unwrap();
    for command in ["run", "init"] {
        failed(&place.node([command]), 73, "is not a data directory: it holds \"photo.jpg\"");
    }
    assert_eq!(fs::read_dir(place.data_dir()).unwrap().count(), 1);
}

#[test]
fn data_dir_without_its_marker_is_exit_73() {
    let place = Place::new();
    assert_eq!(Daemon::start(&place).stop(), Some(0));
    fs::remove_file(place.data_dir().join("TESSERAS")).unwrap();
    failed(&place.node(["run"]), 73, "no file named TESSERAS");
}

#[test]
fn data_dir_named_in_a_file_that_is_empty_is_exit_73_until_init() {
    let place = Place::new();
    let file = place.path().join("node.toml");
    fs::write(&file, format!("[node]\ndata_dir = {:?}\n", place.path().join("disk"))).unwrap();
    let run = |command| place.bare(["--config", file.to_str().unwrap(), command]).output().unwrap();
    failed(&run("run"), 73, "if its disk is not mounted, mount it");
    assert_eq!(run("init").status.code(), Some(0));
    assert!(place.path().join("disk/TESSERAS").exists());
}

#[test]
fn second_daemon_is_exit_75_and_names_the_first() {
    let place = Place::new();
    let first = Daemon::start(&place);
    let output = place.node(["run", "--json"]);
    assert_eq!(output.status.code(), Some(75), "{}", stderr(&output));
    let problem = problem(&output);
    assert_eq!(problem["type"], "urn:tesseras:problem:locked");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(&format!("process id {}", first.pid())), "{detail}");
    assert_eq!(place.node(["status"]).status.code(), Some(0), "the first goes on");
}

#[test]
fn command_without_a_daemon_is_exit_69_and_names_the_socket() {
    let place = Place::new();
    let socket = place.data_dir().join("node.sock");
    for arguments in [["list"].as_slice(), &["status"], &["show", "tess1qq"], &["create", "/etc/hostname"]] {
        failed(&place.node(arguments), 69, &format!("no daemon answers on {}", socket.display()));
    }
    failed(&place.node(["list", "--socket", "elsewhere.sock"]), 69, "no daemon answers on elsewhere.sock");
}

#[test]
fn daemon_that_was_killed_leaves_nothing_in_the_way() {
    let place = Place::new();
    let first = Daemon::start(&place);
    let id = place.keep("photo.jpg", b"bytes");
    first.signal(Signal::KILL);
    assert_eq!(first.wait(), None);
    assert!(place.data_dir().join("node.sock").exists(), "nobody was left to remove it");
    let _second = Daemon::start(&place);
    assert_eq!(place.node(["cat", &id, "photo.jpg"]).stdout, b"bytes");
}

#[test]
fn signal_or_request_ends_the_daemon_in_order() {
    let place = Place::new();
    for signal in [Signal::TERM, Signal::INT] {
        let daemon = Daemon::start(&place);
        daemon.signal(signal);
        assert_eq!(daemon.wait(), Some(0));
    }
    let daemon = Daemon::start(&place);
    let answer = daemon.say("POST /v1/shutdown HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(daemon.wait(), Some(0));
    assert!(!place.data_dir().join("node.sock").exists());
}

#[test]
fn second_signal_ends_the_drain_at_once() {
    let place = Place::new();
    let mut command = place.command(["run"]);
    command.env("TESSERAS_OBSERVABILITY__METRICS_ADDR", "127.0.0.1:0");
    let daemon = Daemon::started(&place, command);
    let address = daemon.metrics_address();
    let ready = || common::get_over_tcp(&address, "/readyz", &address);
    assert!(ready().starts_with("HTTP/1.1 200"));
    // An upload that goes nowhere keeps the drain waiting.
    let mut upload = UnixStream::connect(daemon.socket()).unwrap();
    upload
        .write_all(b"POST /v1/tesseras HTTP/1.1\r\nhost: node\r\ncontent-length: 1048576\r\n\r\nx")
        .unwrap();
    daemon.until(|| daemon.get("/metrics").contains("tesseras_storage"));
    daemon.signal(Signal::TERM);
    daemon.until(|| ready().starts_with("HTTP/1.1 503"));
    assert!(common::get_over_tcp(&address, "/livez", &address).starts_with("HTTP/1.1 200"));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(), Some(1));
}

#[test]
fn health_is_served_over_tcp_and_nothing_else_is() {
    let place = Place::new();
    let mut command = place.command(["run"]);
    command.env("TESSERAS_OBSERVABILITY__METRICS_ADDR", "127.0.0.1:0");
    let daemon = Daemon::started(&place, command);
    let address = daemon.metrics_address();
    let get = |path: &str, host: &str| common::get_over_tcp(&address, path, host);
    assert!(get("/livez", &address).starts_with("HTTP/1.1 200"));
    assert!(get("/readyz", "localhost").starts_with("HTTP/1.1 200"));
    assert!(get("/metrics", &address).contains("tesseras_build_info"));
    assert!(get("/v1/status", &address).starts_with("HTTP/1.1 404"));
    let rebound = get("/metrics", "evil.example");
    assert!(rebound.starts_with("HTTP/1.1 421") && !rebound.contains("tesseras_build_info"), "{rebound}");
}

#[test]
fn key_that_others_can_read_is_exit_77() {
    let place = Place::new();
    assert_eq!(place.node(["init"]).status.code(), Some(0));
    let key = place.data_dir().join("node.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    failed(&place.node(["run"]), 77, "node.key can be read by others");
}

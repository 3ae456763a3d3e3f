//! The daemon as a process: its data directory, lock, socket, signals.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use std::{
    cell::Cell,
    fs::{self, File},
    io::Write,
    net::TcpStream,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    path::Path,
    time::{Duration, Instant},
};

use common::{Daemon, Place, failed, get_over_tcp, json, problem, stderr, stdout};
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
fn log_is_coloured_as_the_command_line_says() {
    let place = Place::new();
    for (color, colored) in [("always", true), ("never", false), ("auto", false)] {
        let daemon = Daemon::started(&place, place.command(["--color", color, "run"]));
        // The socket answers a moment before that is logged.
        daemon.until(|| daemon.log().contains("ready"));
        assert_eq!(daemon.log().contains("\u{1b}["), colored, "{color}: {}", daemon.log());
        assert_eq!(daemon.stop(), Some(0));
    }
}

#[test]
fn status_says_where_the_data_lie_to_whoever_asks_from_elsewhere() {
    let place = Place::new();
    let _daemon = Daemon::started(&place, place.bare(["--data-dir", "data", "run"]));
    let status = json(&place.node(["status", "--json"]));
    assert_eq!(status["data_dir"], place.data_dir().canonicalize().unwrap().to_str().unwrap());
}

#[test]
fn group_that_is_none_is_found_before_the_storage_is_opened() {
    let place = Place::new();
    let output = place.command(["run"]).env("TESSERAS_ADMIN__SOCKET_GROUP", "nobody here").output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
    assert!(stderr(&output).contains("admin.socket_group"), "{}", stderr(&output));
    assert!(place.data_dir().join("node.key").exists() && !place.data_dir().join("segments").exists());
    assert!(!place.data_dir().join("node.sock").exists());
}

#[test]
fn mistake_in_the_settings_is_not_in_the_way_of_who_asks_a_daemon_that_runs() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    for mistake in ["[node]\ncapacit = 1\n", "[node\n"] {
        fs::write(place.data_dir().join("node.toml"), mistake).unwrap();
        let output = place.node(["status"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).starts_with("node "), "{}", stdout(&output));
        let told = stderr(&output);
        assert!(told.starts_with("warning: ") && told.contains("/node.toml:"), "{told}");
        assert_eq!(told.matches("is looked for on").count(), 1, "{told}");
    }
    assert_eq!(daemon.stop(), Some(0));
    let output = place.node(["jobs"]);
    failed(&output, 69, "node.toml:1");
    assert!(
        stderr(&output).contains("if it listens elsewhere, name that with --socket"),
        "{}",
        stderr(&output)
    );
    failed(&place.node(["run"]), 78, "node.toml:1");
    failed(&place.node(["jobs", "--config", "not-there.toml"]), 78, "not-there.toml");
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
        let output = place.node(arguments);
        failed(&output, 69, &format!("no daemon answers on {}", socket.display()));
        // What is advised is about the node that was named.
        let advice = format!(" --data-dir {} run`", place.data_dir().display());
        assert!(stderr(&output).contains(&advice), "{}", stderr(&output));
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
fn clean_stop_leaves_nothing_in_the_write_ahead_log_and_nothing_to_recover() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let id = place.keep("photo.jpg", b"bytes");
    let wal = place.data_dir().join("index.db-wal");
    let length = || fs::metadata(&wal).map_or(0, |wal| wal.len());
    assert_ne!(length(), 0, "nothing was in it, so its end shows nothing");
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(length(), 0);
    let _daemon = Daemon::start(&place);
    assert_eq!(json(&place.node(["status", "--json"]))["storage"]["recovery"]["records"], 0);
    assert_eq!(place.node(["cat", &id, "photo.jpg"]).stdout, b"bytes");
}

/// Overwrites the index where it lies, as a disk does that forgets what it was given. With what connections share of it
/// in memory, or they would go on with the pages that they know.
fn damage_index(place: &Place) {
    for name in ["index.db", "index.db-wal", "index.db-shm"] {
        // Only the first is there while the index is not in use.
        let Ok(mut file) = File::options().write(true).open(place.data_dir().join(name)) else { continue };
        let length = file.metadata().unwrap().len();
        file.write_all(&vec![0xa5; length.try_into().unwrap()]).unwrap();
    }
}

#[test]
fn actor_that_falls_again_and_again_ends_the_daemon_with_exit_70() {
    let place = Place::new();
    let id = {
        let daemon = Daemon::start(&place);
        let id = place.keep("photo.jpg", b"bytes");
        assert_eq!(daemon.stop(), Some(0));
        id
    };
    let daemon = Daemon::start(&place);
    let damaged = Cell::new(0);
    daemon.until(|| {
        let actors: serde_json::Value =
            serde_json::from_slice(&place.node(["actors", "--json"]).stdout).unwrap_or_default();
        // Damaged once after each start, and only while it runs: one that can't start at all ends the daemon, too.
        if actors[0]["running"] == true && actors[0]["restarts"] == damaged.get() {
            damage_index(&place);
            damaged.set(damaged.get() + 1);
        }
        place.node(["list"]);
        daemon.has_left()
    });
    let log = daemon.log();
    assert_eq!(daemon.wait(), Some(70), "{log}");
    assert!(log.contains("error: storage fell more than 5 times within 60 s"), "{log}");
    let _daemon = Daemon::start(&place);
    assert_eq!(place.node(["cat", &id, "photo.jpg"]).stdout, b"bytes", "the segments are the truth");
}

#[test]
fn second_signal_ends_the_drain_at_once() {
    let place = Place::new();
    let mut command = place.command(["run"]);
    command.env("TESSERAS_OBSERVABILITY__METRICS_ADDR", "127.0.0.1:0");
    let daemon = Daemon::started(&place, command);
    let address = daemon.metrics_address();
    let ready = || get_over_tcp(&address, "/readyz", &address);
    assert!(ready().starts_with("HTTP/1.1 200"));
    // An upload that goes nowhere keeps the drain waiting.
    let mut upload = UnixStream::connect(daemon.socket()).unwrap();
    upload
        .write_all(b"POST /v1/tesseras HTTP/1.1\r\nhost: node\r\ncontent-length: 1048576\r\n\r\nx")
        .unwrap();
    daemon.until(|| daemon.get("/metrics").contains("tesseras_storage"));
    daemon.signal(Signal::TERM);
    daemon.until(|| ready().starts_with("HTTP/1.1 503"));
    assert!(get_over_tcp(&address, "/livez", &address).starts_with("HTTP/1.1 200"));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(), Some(1));
}

#[test]
fn health_is_served_over_tcp_and_nothing_else_is() {
    let place = Place::new();
    let (_daemon, address) = Daemon::with_metrics(&place);
    let get = |path: &str, host: &str| get_over_tcp(&address, path, host);
    assert!(get("/livez", &address).starts_with("HTTP/1.1 200"));
    assert!(get("/readyz", "localhost").starts_with("HTTP/1.1 200"));
    assert!(get("/metrics", &address).contains("tesseras_build_info"));
    assert!(get("/v1/status", &address).starts_with("HTTP/1.1 404"));
    let rebound = get("/metrics", "evil.example");
    assert!(rebound.starts_with("HTTP/1.1 421") && !rebound.contains("tesseras_build_info"), "{rebound}");
}

#[test]
fn connections_that_ask_nothing_do_not_hold_up_those_who_watch() {
    let place = Place::new();
    let mut command = place.command(["run"]);
    command.env("TESSERAS_OBSERVABILITY__METRICS_ADDR", "127.0.0.1:0");
    let daemon = Daemon::started(&place, command);
    let address = daemon.metrics_address();
    let idle: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let start = Instant::now();
    assert!(get_over_tcp(&address, "/livez", &address).starts_with("HTTP/1.1 200"));
    // Without giving way they would be there for as long as a caller may take for its head, 30 s.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    drop(idle);
}

#[test]
fn key_that_others_can_read_is_exit_77() {
    let place = Place::new();
    assert_eq!(place.node(["init"]).status.code(), Some(0));
    let key = place.data_dir().join("node.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    failed(&place.node(["run"]), 77, "node.key can be read by others");
}

#[test]
fn port_for_other_nodes_that_is_taken_is_exit_74_and_says_what_to_set() {
    let place = Place::new();
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut command = place.command(["run"]);
    command.env("TESSERAS_NODE__LISTEN_ADDR", taken.local_addr().unwrap().to_string());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(74), "{}", stderr(&output));
    let port = taken.local_addr().unwrap().port();
    assert!(stderr(&output).contains(&format!("UDP port {port} is in use")), "{}", stderr(&output));
    assert!(stderr(&output).contains("node.listen_addr"), "{}", stderr(&output));
}

#[test]
fn metrics_port_that_is_taken_keeps_no_memory_from_anyone_and_is_served_once_it_is_free() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = place.command(["run"]);
    command.env("TESSERAS_OBSERVABILITY__METRICS_ADDR", &address);
    let daemon = Daemon::started(&place, command);
    let trouble = || json(&place.node(["status", "--json"]))["metrics_trouble"].clone();
    let told = trouble();
    assert!(told.as_str().unwrap().contains(&format!("not served on {address}")), "{told}");
    assert!(stdout(&place.node(["status"])).contains("observability.metrics_addr"));
    assert!(daemon.log().contains("ERROR health and metrics are not served"), "{}", daemon.log());
    drop(taken);
    assert_eq!(daemon.metrics_address(), address);
    assert!(get_over_tcp(&address, "/livez", &address).starts_with("HTTP/1.1 200"));
    assert!(trouble().is_null());
    assert_eq!(daemon.stop(), Some(0));
}

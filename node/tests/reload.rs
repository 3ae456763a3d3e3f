//! Settings that are read again while the daemon runs: by SIGHUP, by `config reload`, by many at once.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use std::{
    fs,
    io::Read,
    path::PathBuf,
    process::{Output, Stdio},
    thread,
};

use common::{Daemon, Place, failed, json, problem, stderr, stdout, terminal};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A daemon whose settings lie in a file beside its data directory.
struct Node<'a> {
    place: &'a Place,
    daemon: Daemon<'a>,
}

impl<'a> Node<'a> {
    fn start(place: &'a Place, text: &str) -> Self {
        write(place, text);
        let mut command = place.command(["run", "--config"]);
        command.arg(file(place));
        Self { place, daemon: Daemon::started(place, command) }
    }

    fn reload(&self, text: &str) -> Output {
        write(self.place, text);
        self.place.node(["config", "reload", "--json"])
    }

    /// Sends a SIGHUP and waits until the log says this once more.
    #[track_caller]
    fn hang_up(&self, says: &str) {
        let times = || self.daemon.log().matches(says).count();
        let before = times();
        self.daemon.signal(Signal::HUP);
        self.daemon.until(|| times() > before);
    }

    /// What the daemon says of a setting.
    fn setting(&self, key: &str) -> Value {
        let answer = self.daemon.get("/v1/config");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let settings: Vec<Value> = serde_json::from_str(body).unwrap();
        settings.into_iter().find(|setting| setting["key"] == key).unwrap()
    }

    /// Waits until a request that is none is logged, which is a line for debugging.
    #[track_caller]
    fn logs_nonsense(&self) {
        self.daemon.say("nonsense\r\n\r\n");
        self.daemon.until(|| self.daemon.log().contains("a connection ended early"));
    }

    /// How many lines for debugging a reload has left.
    fn reloads_debugged(&self) -> usize {
        self.daemon.log().matches("these are known now").count()
    }
}

fn file(place: &Place) -> PathBuf {
    place.path().join("settings.toml")
}

/// Writes the file whole or not at all, as an editor does.
fn write(place: &Place, text: &str) {
    let unfinished = place.path().join(format!("settings.{:?}", thread::current().id()));
    fs::write(&unfinished, text).unwrap();
    fs::rename(unfinished, file(place)).unwrap();
}

const READ: &str = "the settings have been read again";

#[test]
fn log_level_changes_at_a_signal() {
    let place = Place::new();
    let node = Node::start(&place, "");
    node.hang_up(READ);
    assert_eq!(node.reloads_debugged(), 0);
    write(&place, "observability.log_level = 'debug'");
    node.hang_up(READ);
    assert_eq!(node.reloads_debugged(), 1);
    node.logs_nonsense();
    let log = node.daemon.log();
    assert!(log.contains("observability.log_level") && log.contains("outcome=applied"), "{log}");
    write(&place, "");
    node.hang_up(READ);
    assert_eq!(node.reloads_debugged(), 1, "it is quiet again");
    assert_eq!(node.daemon.stop(), Some(0));
}

#[test]
fn file_with_mistakes_changes_nothing_and_every_mistake_is_named() {
    let place = Place::new();
    let node = Node::start(&place, "storage.min_free = '2 GiB'");
    let wrong = "observability.log_level = 'debug'\nnode.capacit = '1 GiB'\nstorage.min_free = 7\n";
    write(&place, wrong);
    node.hang_up("settings.toml:3: `storage.min_free`");
    let log = node.daemon.log();
    assert!(log.contains("settings.toml:2: there is no setting `node.capacit`"), "{log}");
    assert_eq!(node.setting("observability.log_level")["value"], "info");
    assert_eq!(node.setting("storage.min_free")["value"], "2 GiB");

    let output = node.reload(wrong);
    assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
    let problem = problem(&output);
    assert_eq!(problem["type"], "urn:tesseras:problem:bad-config");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("node.capacit") && detail.contains("storage.min_free"), "{detail}");

    // The next start would fail.
    let output = node.reload("storage.min_free = '2 GiB'\nadmin.socket_group = 'no-such-group'");
    assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
    assert!(stderr(&output).contains("settings.toml:2: admin.socket_group"), "{}", stderr(&output));

    write(&place, "storage.min_free = '2 GiB'");
    node.hang_up(READ);
    assert_eq!(node.reloads_debugged(), 0, "the level has been what it was");
    write(&place, "observability.log_level = 'debug'");
    node.hang_up(READ);
    assert_eq!(node.reloads_debugged(), 1, "put right, the same signal does what it should");
}

#[test]
fn setting_that_needs_a_restart_says_so_and_waits() {
    let place = Place::new();
    let node = Node::start(&place, "storage.min_free = '2 GiB'");
    let answer = json(&node.reload("storage.min_free = '3 GiB'\nobservability.log_level = 'warn'"));
    let change = |key, old, new, line, outcome| {
        let origin = format!("{}:{line}", file(&place).display());
        json!({ "key": key, "old": old, "new": new, "origin": origin, "outcome": outcome })
    };
    let changes = [
        change("storage.min_free", "2 GiB", "3 GiB", 1, "needs restart"),
        change("observability.log_level", "info", "warn", 2, "applied"),
    ];
    assert_eq!(answer["changes"], json!(changes));
    assert_eq!(node.setting("storage.min_free")["value"], "2 GiB");
    assert_eq!(node.setting("storage.min_free")["after_restart"]["value"], "3 GiB");
    assert_eq!(node.setting("observability.log_level")["value"], "warn");
    let status = json(&place.node(["status", "--json"]));
    assert_eq!(status["storage"]["min_free_bytes"], 2_u64 << 30);

    let text = place.node(["config", "reload"]);
    assert_eq!(stdout(&text), "storage.min_free = \"3 GiB\"  # was \"2 GiB\"; needs restart\n");
    assert!(stderr(&text).contains("Restart the daemon"), "{}", stderr(&text));

    let back = json(&node.reload("storage.min_free = '2 GiB'\nobservability.log_level = 'warn'"));
    assert_eq!(back["changes"], json!([]));
    assert_eq!(node.setting("storage.min_free")["after_restart"], Value::Null);
    assert_eq!(stdout(&place.node(["config", "reload"])), "The settings are right, and none has changed.\n");
}

#[test]
fn flags_and_environment_of_the_start_still_win() {
    let place = Place::new();
    write(&place, "");
    let mut command = place.command(["run", "-v", "--config"]);
    command.arg(file(&place)).env("TESSERAS_STORAGE__MIN_FREE", "2 GiB");
    let node = Node { daemon: Daemon::started(&place, command), place: &place };
    let answer = json(&node.reload("storage.min_free = '3 GiB'\nobservability.log_level = 'warn'"));
    assert_eq!(answer["changes"], json!([]));
    assert_eq!(node.setting("observability.log_level")["origin"], "-v");
}

#[test]
fn reloads_at_once_are_done_one_after_the_other() {
    let place = Place::new();
    let node = Node::start(&place, "");
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let place = &place;
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let level = if caller % 2 == 0 { "debug" } else { "info" };
                    write(place, &format!("observability.log_level = '{level}'"));
                    let output = place.node(["config", "reload"]);
                    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
                }
            });
        }
    });
    let log = node.daemon.log();
    let steps: Vec<bool> = log
        .lines()
        .filter_map(|line| match line {
            _ if line.contains("reading the settings again") => Some(true),
            _ if line.contains(READ) => Some(false),
            _ => None,
        })
        .collect();
    assert_eq!(steps.len(), 2 * CALLERS * ROUNDS);
    assert!(steps.chunks(2).all(|pair| pair == [true, false]), "{log}");
}

const CALLERS: usize = 8;
const ROUNDS: usize = 5;

#[test]
fn daemon_in_a_terminal_that_is_closed_stops_in_order() {
    let place = Place::new();
    let (mut ours, theirs) = terminal();
    let mut command = place.command(["run"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(theirs);
    let daemon = Daemon::adopted(&place, command.spawn().unwrap());
    // While the terminal is there it is a reload like any other.
    daemon.signal(Signal::HUP);
    let mut seen = String::new();
    while !seen.contains(READ) {
        let mut piece = [0; 4096];
        let length = ours.read(&mut piece).unwrap();
        seen.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
    drop(ours);
    drop(command);
    daemon.signal(Signal::HUP);
    assert_eq!(daemon.wait(), Some(0));
    assert!(!place.data_dir().join("node.sock").exists());
}

#[test]
fn reload_without_a_daemon_is_exit_69() {
    let place = Place::new();
    failed(&place.node(["config", "reload"]), 69, "no daemon answers");
}

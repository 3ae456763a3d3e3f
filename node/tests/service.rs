//! The daemon as a service: what it tells its manager, and where it lies under the environment of its unit. The real
//! binary, and a real socket in place of systemd's.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc::{Receiver, channel},
    thread,
    time::Instant,
};

use common::{Daemon, PATIENCE, Place};
use rustix::process::Signal;

/// Stands in for systemd, and listens.
struct Manager {
    socket: PathBuf,
    messages: Receiver<String>,
}

impl Manager {
    fn listen(place: &Place) -> Self {
        let socket = place.path().join("notify");
        let listener = UnixDatagram::bind(&socket).unwrap();
        let (to, messages) = channel();
        // In a thread of its own: the kernel keeps a few messages only, and then makes their sender wait.
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = listener.recv(&mut buffer) {
                let message = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
                if to.send(message).is_err() {
                    return;
                }
            }
        });
        Self { socket, messages }
    }

    /// The command with what systemd puts into its environment.
    fn starts(&self, mut command: Command) -> Command {
        command.env("NOTIFY_SOCKET", &self.socket);
        command
    }

    /// Waits for a message with this line, and returns it and those before it.
    #[track_caller]
    fn hears(&self, line: &str) -> Vec<String> {
        let (mut heard, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(message) = self.messages.recv_timeout(left) else { panic!("no {line:?} in {heard:?}") };
            let is_it = message.lines().any(|said| said == line);
            heard.push(message);
            if is_it {
                return heard;
            }
        }
    }
}

#[test]
fn manager_hears_of_readiness_when_the_node_answers_and_of_its_end() {
    let place = Place::new();
    let manager = Manager::listen(&place);
    let daemon = Daemon::spawned(&place, manager.starts(place.command(["run"])));
    let heard = manager.hears("READY=1");
    // It is ready now, without any patience.
    assert!(daemon.get("/readyz").starts_with("HTTP/1.1 200"), "{heard:?}");
    assert_eq!(heard, ["STATUS=opening the storage\n", "READY=1\nSTATUS=ready\n"]);
    daemon.signal(Signal::TERM);
    assert_eq!(manager.hears("STOPPING=1"), ["STOPPING=1\nSTATUS=stopping\n"], "nobody keeps a watchdog");
    assert_eq!(daemon.wait(), Some(0));
}

#[test]
fn watchdog_is_fed_again_and_again_from_readiness_to_the_drain() {
    let place = Place::new();
    let manager = Manager::listen(&place);
    let mut command = manager.starts(place.command(["run"]));
    command.env("WATCHDOG_USEC", "100000");
    let daemon = Daemon::spawned(&place, command);
    let before = manager.hears("READY=1");
    assert!(before.iter().all(|message| !message.contains("WATCHDOG")), "{before:?}");
    for _ in 0..3 {
        // On a busy machine an actor may answer too late for once, and that is said in between.
        manager.hears("WATCHDOG=1");
    }
    assert_eq!(daemon.stop(), Some(0));
    manager.hears("STOPPING=1");
}

#[test]
fn manager_hears_of_a_reload_and_of_its_end_also_when_nothing_came_of_it() {
    let place = Place::new();
    let manager = Manager::listen(&place);
    let file = place.path().join("settings.toml");
    fs::write(&file, "").unwrap();
    let mut command = manager.starts(place.command(["run", "--config"]));
    command.arg(&file);
    let daemon = Daemon::spawned(&place, command);
    manager.hears("READY=1");
    for text in ["observability.log_level = 'debug'", "observability.log_level = 7"] {
        fs::write(&file, text).unwrap();
        daemon.signal(Signal::HUP);
        let heard = manager.hears("RELOADING=1").concat();
        assert!(heard.contains("MONOTONIC_USEC="), "{heard}");
        manager.hears("READY=1");
    }
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn watchdog_of_another_process_is_left_to_it() {
    let place = Place::new();
    let manager = Manager::listen(&place);
    let mut command = manager.starts(place.command(["run"]));
    command.env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", std::process::id().to_string());
    let daemon = Daemon::spawned(&place, command);
    manager.hears("READY=1");
    assert!(daemon.get("/v1/actors").starts_with("HTTP/1.1 200"));
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(manager.hears("STOPPING=1"), ["STOPPING=1\nSTATUS=stopping\n"]);
}

/// The variables that the unit sets, with these folders for those of the system.
fn unit_environment(state: &Path, runtime: &Path) -> Vec<(String, String)> {
    let lines = UNIT.lines().filter_map(|line| line.strip_prefix("Environment="));
    let placed =
        |text: &str| text.replace("%S", state.to_str().unwrap()).replace("%t", runtime.to_str().unwrap());
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), placed(value)));
    lines.map(|line| pair(line).unwrap()).collect()
}

#[test]
fn unit_has_the_socket_where_root_and_users_without_a_node_look() {
    let set = unit_environment(Path::new("/var/lib"), Path::new("/run"));
    let value =
        |name: &str| set.iter().find(|(set, _)| set == name).map(|(_, value)| value.as_str()).unwrap();
    assert_eq!(value("TESSERAS_ADMIN__SOCKET"), config::MACHINE_SOCKET);
    let root = config::Machine { memory_bytes: None, is_root: true };
    let roots = config::load_on(root, &config::Sources::default()).unwrap().config;
    assert_eq!(Path::new(value("TESSERAS_NODE__DATA_DIR")), roots.node.data_dir);
}

#[test]
fn daemon_under_the_units_environment_keeps_its_data_to_itself_and_lets_the_group_in() {
    let place = Place::new();
    let (state, runtime) = (place.path().join("state"), place.path().join("run"));
    let mut command = place.bare(["run"]);
    command.envs(unit_environment(&state, &runtime));
    // A group that every machine has.
    let own = rustix::process::getegid().as_raw();
    command.env("TESSERAS_ADMIN__SOCKET_GROUP", own.to_string());
    let manager = Manager::listen(&place);
    let daemon = Daemon::spawned(&place, manager.starts(command));
    manager.hears("READY=1");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&state.join("tesseras")), 0o700);
    assert_eq!(mode(&state.join("tesseras/author.key")), 0o600);
    let socket = runtime.join("tesseras/node.sock");
    assert_eq!((mode(&socket), mode(&runtime.join("tesseras"))), (0o660, 0o750));
    let status = place.bare(["status", "--socket", socket.to_str().unwrap()]).output().unwrap();
    assert_eq!(status.status.code(), Some(0), "{}", common::stderr(&status));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn manager_that_cannot_be_told_keeps_nothing_from_working() {
    let place = Place::new();
    let mut command = place.command(["run"]);
    command.env("NOTIFY_SOCKET", place.path().join("nobody"));
    let daemon = Daemon::started(&place, command);
    daemon.until(|| daemon.log().contains("the service manager cannot be told"));
    assert_eq!(daemon.stop(), Some(0));
}

/// The unit that the package installs.
const UNIT: &str = include_str!("../packaging/tesseras.service");

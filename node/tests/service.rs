//! What the daemon tells a service manager: the real binary, and a real socket in place of systemd's.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::{
    os::unix::net::UnixDatagram,
    path::PathBuf,
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
        assert_eq!(manager.hears("WATCHDOG=1"), ["WATCHDOG=1\n"]);
    }
    assert_eq!(daemon.stop(), Some(0));
    manager.hears("STOPPING=1");
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

#[test]
fn manager_that_cannot_be_told_keeps_nothing_from_working() {
    let place = Place::new();
    let mut command = place.command(["run"]);
    command.env("NOTIFY_SOCKET", place.path().join("nobody"));
    let daemon = Daemon::started(&place, command);
    daemon.until(|| daemon.log().contains("the service manager cannot be told"));
    assert_eq!(daemon.stop(), Some(0));
}

//! Runs the `node` binary in a folder of its own.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

/// A place for a data directory that goes away with it.
pub struct Place {
    dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// The folder around the data directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The binary, with an environment that holds nothing but what is needed.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
        command.arg("--data-dir").arg(self.data_dir()).args(arguments);
        command.current_dir(self.path()).env_clear().env("TESSERAS_OBSERVABILITY__METRICS_ADDR", "off");
        command
    }

    pub fn node<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        self.command(arguments).output().unwrap()
    }
}

/// Standard output as text.
pub fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

/// Standard error as text.
pub fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Checks the exit code, and that standard error says what it should.
#[track_caller]
pub fn failed(output: &Output, code: i32, message: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
    assert!(stderr(output).contains(message), "{message:?} is not in {}", stderr(output));
    assert_eq!(stdout(output), "");
}

/// The problem document on standard error.
#[track_caller]
pub fn problem(output: &Output) -> Value {
    serde_json::from_str(stderr(output)).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

/// A daemon of a [`Place`], ended when it is dropped.
pub struct Daemon<'a> {
    place: &'a Place,
    child: Child,
}

impl<'a> Daemon<'a> {
    /// Starts one and waits until it takes requests.
    #[track_caller]
    pub fn start(place: &'a Place) -> Self {
        Self::started(place, place.command(["run"]))
    }

    /// Starts one with this command line and waits until it takes requests.
    #[track_caller]
    pub fn started(place: &'a Place, mut command: Command) -> Self {
        let log = File::create(place.path().join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut daemon = Self { place, child };
        let deadline = Instant::now() + PATIENCE;
        while !daemon.is_ready() {
            if let Some(status) = daemon.child.try_wait().unwrap() {
                panic!("the daemon left with {status}: {}", daemon.log());
            }
            assert!(Instant::now() < deadline, "the daemon is not ready: {}", daemon.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        daemon
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn socket(&self) -> PathBuf {
        self.place.data_dir().join("node.sock")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.place.path().join("log")).unwrap_or_default()
    }

    /// Sends bytes to the socket and reads the answer to its end.
    pub fn say(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Asks for a path.
    pub fn get(&self, path: &str) -> String {
        self.say(&format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n"))
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits until it has left, and returns its exit code.
    #[track_caller]
    pub fn wait(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the daemon does not leave: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn is_ready(&self) -> bool {
        UnixStream::connect(self.socket()).is_ok()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // It may have left already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

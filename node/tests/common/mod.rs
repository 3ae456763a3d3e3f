//! Runs the `node` binary in a folder of its own.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file is a crate of its own and uses a part of this"
)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

use std::{
    cell::RefCell,
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    net::TcpStream,
    os::unix::{fs::OpenOptionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    process::{Pid, Signal},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
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
        let mut command = self.bare(["--data-dir"]);
        command.arg(self.data_dir()).args(arguments);
        command
    }

    /// The binary without a data directory named.
    pub fn bare<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
        command.args(arguments).current_dir(self.path()).env_clear().env("HOME", self.path());
        command.env("TESSERAS_OBSERVABILITY__METRICS_ADDR", "off");
        command.env("TESSERAS_NODE__LISTEN_ADDR", "127.0.0.1:0");
        command
    }

    /// Makes a tessera of a file with this name and these bytes, and returns its id.
    #[track_caller]
    pub fn keep(&self, name: &str, bytes: &[u8]) -> String {
        let file = self.path().join(name);
        fs::write(&file, bytes).unwrap();
        self.create(&file, &[])
    }

    /// Makes a tessera and returns its id.
    #[track_caller]
    pub fn create(&self, path: &Path, options: &[&str]) -> String {
        let mut command = self.command(["create"]);
        let output = command.args(options).arg(path).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output).trim().to_owned()
    }

    /// Changes a bit of these bytes wherever they stand in a segment.
    #[track_caller]
    pub fn damage(&self, bytes: &[u8]) {
        let mut found = 0;
        for entry in fs::read_dir(self.data_dir().join("segments")).unwrap() {
            let path = entry.unwrap().path();
            let mut content = fs::read(&path).unwrap();
            if let Some(at) = content.windows(bytes.len()).position(|window| window == bytes) {
                content[at] ^= 1;
                fs::write(&path, content).unwrap();
                found += 1;
            }
        }
        assert_eq!(found, 1, "these bytes are not stored as they are");
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

/// Standard output as JSON.
#[track_caller]
pub fn json(output: &Output) -> Value {
    serde_json::from_str(stdout(output))
        .unwrap_or_else(|error| panic!("{error}: {}{}", stdout(output), stderr(output)))
}

/// Asks for a path over TCP.
pub fn get_over_tcp(address: &str, path: &str, host: &str) -> String {
    over_tcp(address, &format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"))
}

/// Sends a request over TCP and reads the answer to its end.
pub fn over_tcp(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A terminal: the end of whoever watches, and the other one. No program that is started gets the first.
pub fn terminal() -> (File, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let other = OpenOptions::new().read(true).write(true).custom_flags(NOCTTY).open(name).unwrap();
    (File::from(master), other)
}

/// A terminal that is opened does not become that of the test.
const NOCTTY: i32 = 0o400;

/// The problem document on standard error.
#[track_caller]
pub fn problem(output: &Output) -> Value {
    serde_json::from_str(stderr(output)).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

/// A daemon of a [`Place`], ended when it is dropped.
pub struct Daemon<'a> {
    place: &'a Place,
    child: RefCell<Child>,
}

impl<'a> Daemon<'a> {
    /// Starts one and waits until it takes requests.
    #[track_caller]
    pub fn start(place: &'a Place) -> Self {
        Self::started(place, place.command(["run"]))
    }

    /// Starts one with this command line and waits until it takes requests.
    #[track_caller]
    pub fn started(place: &'a Place, command: Command) -> Self {
        Self::spawned(place, command).ready()
    }

    /// Starts one that serves health, metrics and its page over TCP, and says where.
    #[track_caller]
    pub fn with_metrics(place: &'a Place) -> (Self, String) {
        let mut command = place.command(["run"]);
        command.env("TESSERAS_OBSERVABILITY__METRICS_ADDR", "127.0.0.1:0");
        let daemon = Self::started(place, command);
        let address = daemon.metrics_address();
        (daemon, address)
    }

    /// Waits until one that is started already takes requests.
    #[track_caller]
    pub fn adopted(place: &'a Place, child: Child) -> Self {
        Self { place, child: RefCell::new(child) }.ready()
    }

    #[track_caller]
    fn ready(self) -> Self {
        self.until(|| {
            let left = self.child.borrow_mut().try_wait().unwrap();
            assert!(left.is_none(), "the daemon left with {left:?}: {}", self.log());
            UnixStream::connect(self.socket()).is_ok()
        });
        // It listens before it serves.
        assert!(self.get("/livez").starts_with("HTTP/1.1 200"), "{}", self.log());
        self
    }

    /// Starts one with this command line and waits for nothing.
    pub fn spawned(place: &'a Place, mut command: Command) -> Self {
        let log = File::create(place.path().join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { place, child: RefCell::new(child) }
    }

    /// Waits until something is so.
    #[track_caller]
    pub fn until(&self, mut so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so() {
            assert!(Instant::now() < deadline, "it never was so: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.borrow().id()
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

    /// Whether its process has ended.
    pub fn has_left(&self) -> bool {
        self.child.borrow_mut().try_wait().unwrap().is_some()
    }

    /// Waits until it has left, and returns its exit code, if a signal did not end it.
    #[track_caller]
    pub fn wait(self) -> Option<i32> {
        self.until(|| self.has_left());
        self.child.borrow_mut().wait().unwrap().code()
    }

    /// Tells it to stop, and returns its exit code.
    #[track_caller]
    pub fn stop(self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Where it serves its metrics over TCP.
    pub fn metrics_address(&self) -> String {
        // It is logged when it is served, which may be a moment after the socket answers.
        self.until(|| self.log().contains("metrics="));
        let log = self.log();
        let (_, rest) = log.split_once("metrics=").unwrap();
        rest.split_whitespace().next().unwrap().to_owned()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // It may have left already.
        let child = self.child.get_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}

pub const PATIENCE: Duration = Duration::from_secs(60);

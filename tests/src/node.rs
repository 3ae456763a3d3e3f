//! The `node` binary as a process, its data in a folder that goes away with it.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::http::{self, Answer};

/// A daemon that runs until it is dropped.
#[derive(Debug)]
pub struct TestNode {
    folder: TempDir,
    child: Child,
}

/// What a process must not lose or gather, however it is treated.
#[derive(Debug, Clone, Copy)]
pub struct Vitals {
    /// Its resident memory, in bytes.
    pub memory_bytes: u64,
    /// The most that it was, in bytes.
    pub peak_bytes: u64,
    /// Its open files and sockets.
    pub descriptors: usize,
}

impl TestNode {
    /// Starts one in an empty folder, and waits until it takes requests.
    pub fn start() -> Self {
        Self::start_through::<&str>(&[])
    }

    /// The same, by way of a program that runs what follows its own words: those are given.
    pub fn start_through<S: AsRef<OsStr>>(words: &[S]) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let log = File::create(folder.path().join("log")).expect("it is ours");
        let mut command = command(words, folder.path());
        command.arg("run").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut node = Self { child: command.spawn().expect("the node can be started"), folder };
        let deadline = Instant::now() + START_DEADLINE;
        while UnixStream::connect(node.socket()).is_err() {
            assert!(node.is_running() && Instant::now() < deadline, "it does not start: {}", node.log());
            std::thread::sleep(POLL_INTERVAL);
        }
        node
    }

    /// A folder for whatever the test needs beside the data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("data/node.sock")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Whether the process that was started still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Runs a command of the node's command line, which must succeed, and returns what it printed.
    pub fn cli<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        let output = command::<&str>(&[], self.folder.path())
            .args(arguments)
            .output()
            .expect("the node can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Keeps a file with these bytes and returns the tessera's id.
    pub fn keep(&self, name: &str, bytes: &[u8], options: &[&str]) -> String {
        let path = self.folder.path().join(name);
        File::create(&path).and_then(|mut file| file.write_all(bytes)).expect("it is ours");
        self.cli(["create".as_ref(), path.as_os_str()].into_iter().chain(options.iter().map(OsStr::new)))
    }

    /// Asks for a path.
    pub fn get(&self, path: &str) -> Answer {
        http::ask(&self.socket(), "GET", path, b"").expect("it answers")
    }

    /// How often its actors were started again, all together.
    pub fn restarts(&self) -> u64 {
        let actors = self.get("/v1/actors").json();
        let restarts = |actor: &Value| actor.get("restarts").and_then(Value::as_u64);
        actors.as_array().into_iter().flatten().filter_map(restarts).sum()
    }

    /// What it holds at the moment.
    pub fn vitals(&self) -> Vitals {
        let process = PathBuf::from(format!("/proc/{}", self.child.id()));
        let status = fs::read_to_string(process.join("status")).expect("it runs");
        let bytes = |name: &str| {
            let kib = status.lines().find_map(|line| line.strip_prefix(name)?.strip_suffix("kB"));
            kib.and_then(|kib| kib.trim().parse::<u64>().ok()).expect("Linux says so") << 10
        };
        let descriptors = fs::read_dir(process.join("fd")).expect("it runs").count();
        Vitals { memory_bytes: bytes("VmRSS:"), peak_bytes: bytes("VmHWM:"), descriptors }
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        // It has ended already, unless a test fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary, behind these words, with a data directory in this folder, and an environment that holds nothing but what
/// is needed.
fn command<S: AsRef<OsStr>>(words: &[S], folder: &Path) -> Command {
    let mut words = words.iter().map(AsRef::as_ref).chain([BINARY.as_os_str()]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command.current_dir(folder).env_clear().env("HOME", folder).arg("--data-dir").arg(folder.join("data"));
    command.env("TESSERAS_OBSERVABILITY__METRICS_ADDR", "off");
    command
}

/// The binary of the same build. Cargo builds it for tests of its own crate only.
static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "-p", "node"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo can be started").success(), "the node does not build");
    let test = std::env::current_exe().expect("it runs");
    test.ancestors().nth(2).expect("target/…/deps/test").join("node")
});

const START_DEADLINE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

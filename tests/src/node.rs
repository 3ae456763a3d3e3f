//! The `node` binary as a process, its data in a folder that goes away with it.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::Write,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::LazyLock,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::http::{self, Answer};

/// A daemon that runs until it is dropped.
#[derive(Debug)]
pub struct TestNode {
    folder: TempDir,
    setting: Setting,
    child: Child,
}

/// What a node is started with.
#[derive(Debug, Clone, Default)]
pub struct Setting {
    /// Where it keeps its data; in its own folder where this is not given.
    pub data_dir: Option<PathBuf>,
    /// Variables of its environment, and of that of its command line.
    pub environment: Vec<(&'static str, OsString)>,
    /// A program, and its words, that runs what follows them: the node.
    pub through: Vec<OsString>,
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
        Self::start_with(Setting::default())
    }

    /// The same with a setting.
    pub fn start_with(setting: Setting) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let child = spawn(folder.path(), &setting);
        let mut node = Self { folder, setting, child };
        node.until_it_answers();
        node
    }

    /// Stops it in order and starts it again on what it keeps, with these variables instead of those before.
    pub fn restart_with(&mut self, environment: &[(&'static str, OsString)]) {
        let status = self.stop();
        assert!(status.success(), "{status}: {}", self.log());
        for (name, value) in environment {
            self.setting.environment.retain(|(other, _)| other != name);
            self.setting.environment.push((*name, value.clone()));
        }
        self.child = spawn(self.folder.path(), &self.setting);
        self.until_it_answers();
    }

    /// Sends it SIGTERM, and waits until it has ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + STOP_DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not stop: {}", self.log());
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is ours");
    }

    fn until_it_answers(&mut self) {
        let deadline = Instant::now() + START_DEADLINE;
        while UnixStream::connect(self.socket()).is_err() {
            assert!(self.is_running() && Instant::now() < deadline, "it does not start: {}", self.log());
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// A folder for whatever the test needs beside the data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
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
        let output = command(self.folder.path(), &self.setting)
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

    /// Sends a request without a body.
    pub fn post(&self, path: &str) -> Answer {
        http::ask(&self.socket(), "POST", path, b"").expect("it answers")
    }

    /// What it counts under this name, labels or not, all together.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let text = String::from_utf8_lossy(&text);
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        let values: Vec<_> = values.collect();
        assert!(!values.is_empty(), "there is no {name}: {text}");
        values.iter().sum()
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

fn spawn(folder: &Path, setting: &Setting) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("log")).expect("it is ours");
    let mut command = command_through(&setting.through, folder, setting);
    command.arg("run").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().expect("the node can be started")
}

/// The binary with a data directory of its own, and an environment that holds nothing but what is needed.
fn command(folder: &Path, setting: &Setting) -> Command {
    command_through(&[], folder, setting)
}

fn command_through(words: &[OsString], folder: &Path, setting: &Setting) -> Command {
    let mut words = words.iter().map(OsString::as_os_str).chain([BINARY.as_os_str()]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    let data_dir = setting.data_dir.clone().unwrap_or_else(|| folder.join("data"));
    command.current_dir(folder).env_clear().env("HOME", folder);
    command.arg("--data-dir").arg(data_dir).arg("--socket").arg(folder.join(SOCKET));
    command.env("TESSERAS_OBSERVABILITY__METRICS_ADDR", "off");
    command.env("TESSERAS_NODE__LISTEN_ADDR", "127.0.0.1:0");
    command.envs(setting.environment.iter().map(|(name, value)| (name, value)));
    command
}

/// The binary of the same build. Cargo builds it for tests of its own crate only: whoever runs those as well says that it is there.
static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
    if std::env::var_os("TESSERAS_TEST_NODE_IS_BUILT").is_none() {
        build();
    }
    let test = std::env::current_exe().expect("it runs");
    test.ancestors().nth(2).expect("target/…/deps/test").join("node")
});

fn build() {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "-p", "node"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo can be started").success(), "the node does not build");
}

/// What the binary prints for `--help`.
pub fn help() -> String {
    let help = Command::new(BINARY.as_path()).arg("--help").output().expect("the node can be started");
    String::from_utf8_lossy(&help.stdout).into_owned()
}

/// Beside the data directory, which may be on a disk that fills up.
const SOCKET: &str = "node.sock";
const START_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

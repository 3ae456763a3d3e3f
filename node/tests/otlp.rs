//! Metrics, traces and logs sent to a real collector: rotel, a program that its package on PyPI ships. And to none.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use common::{Daemon, PATIENCE, Place, failed};
use rustix::process::Signal;

/// A collector that writes what it takes into a file, ended when it is dropped.
struct Collector {
    child: Child,
    port: u16,
    taken: PathBuf,
}

impl Collector {
    fn start(folder: &Path) -> Self {
        let taken = folder.join("taken");
        let log = File::create(&taken).unwrap();
        // It cannot be told to choose a port itself.
        let [http, grpc] = free_ports();
        let child = Command::new(rotel())
            .arg("start")
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
            .args(["--debug-log", "traces", "--debug-log", "metrics", "--debug-log", "logs"])
            .args(["--debug-log-verbosity", "detailed", "--exporter", "blackhole"])
            .env_clear()
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let collector = Self { child, port: http, taken };
        collector.until("it listens", || std::net::TcpStream::connect(("127.0.0.1", http)).is_ok());
        collector
    }

    fn taken(&self) -> String {
        fs::read_to_string(&self.taken).unwrap()
    }

    #[track_caller]
    fn until(&self, what: &str, so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so() {
            assert!(Instant::now() < deadline, "in vain: {what}: {}", self.taken());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It may have left already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rotel() -> PathBuf {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/lib");
    let pythons = fs::read_dir(lib).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut agents = pythons.map(|python| python.join("site-packages/rotel/rotel-agent"));
    agents.find(|agent| agent.exists()).expect("rotel is not there: run tests/setup")
}

fn free_ports() -> [u16; 2] {
    [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap()).map(|held| held.local_addr().unwrap().port())
}

fn start<'a>(place: &'a Place, collector: &str) -> Daemon<'a> {
    let mut command = place.command(["run"]);
    command.env("TESSERAS_OBSERVABILITY__OTLP_ENDPOINT", collector);
    command.env("TESSERAS_OBSERVABILITY__OTLP_TRACE_RATIO", "1");
    Daemon::started(place, command)
}

/// Makes and reads a tessera, and asks for what is not there.
fn drive(place: &Place, daemon: &Daemon<'_>) -> String {
    let id = place.keep("hush-name.txt", b"We went to the sea.");
    for command in [["cat", &id, "hush-name.txt"].as_slice(), &["attest", &id], &["scrub", "start"]] {
        assert_eq!(place.node(command).status.code(), Some(0), "{command:?}");
    }
    daemon.get("/v1/nothing/hush-path");
    id
}

#[test]
fn collector_takes_metrics_traces_and_logs() {
    let place = Place::new();
    let collector = Collector::start(place.path());
    let daemon = start(&place, &format!("http://127.0.0.1:{}", collector.port));
    let id = drive(&place, &daemon);
    daemon.until(|| !daemon.get("/metrics").contains("tesseras_scrub_bytes_total 0\n"));
    assert_eq!(daemon.stop(), Some(0));
    let expected = [
        // Metrics, under the names that Prometheus knows.
        "tesseras_storage_syncs",
        "tesseras_storage_used",
        "tesseras_actor_restarts",
        "tesseras_process_cpu",
        // Spans.
        "request",
        "/v1/tesseras/{id}/files/{*path}",
        "storage_batch",
        "storage_sync",
        "index_commit",
        "scrub_piece",
        "recovery",
        // Logs, to the last line.
        "made a tessera",
        "stopped",
        // Who says so.
        "service.name",
        "host.name",
    ];
    collector.until("all of it is taken", || {
        let taken = collector.taken();
        expected.iter().all(|word| taken.contains(word))
    });
    let taken = collector.taken();
    assert!(!taken.contains("hush-"), "{taken}");
    let spans = taken.split("Span #").skip(1).map(|span| span.split("Resource").next().unwrap());
    let spans: Vec<_> = spans.collect();
    assert!(spans.iter().any(|span| span.contains("requests: Int(")), "{taken}");
    assert!(spans.iter().all(|span| !span.contains(&id)), "a span names a tessera: {taken}");
}

#[test]
fn collector_that_is_away_is_said_once_and_what_is_for_it_is_counted() {
    let place = Place::new();
    let [nobody, _] = free_ports();
    let daemon = start(&place, &format!("http://127.0.0.1:{nobody}"));
    drive(&place, &daemon);
    let dropped = |signal: &str| {
        let metrics = daemon.get("/metrics");
        let name = format!(r#"tesseras_telemetry_dropped_total{{signal="{signal}"}} "#);
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse::<u64>();
        value.unwrap()
    };
    daemon.until(|| dropped("logs") > 0 && dropped("traces") > 0);
    assert_eq!(daemon.log().matches("the collector does not take").count(), 1, "{}", daemon.log());
    let began = Instant::now();
    daemon.signal(Signal::TERM);
    daemon.until(|| daemon.has_left());
    assert!(began.elapsed() < FINISH_MAX, "it took {:?}", began.elapsed());
    let log = daemon.log();
    assert_eq!(log.matches("collector").count(), 2, "only once, with its address: {log}");
    assert_eq!(log.lines().count(), log.matches(" INFO ").count() + 1, "{log}");
}

#[test]
fn collector_that_never_answers_holds_nothing_up() {
    let place = Place::new();
    // Connections wait in the queue of the system for ever.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let daemon = start(&place, &format!("http://{}", deaf.local_addr().unwrap()));
    let began = Instant::now();
    for _ in 0..3 {
        drive(&place, &daemon);
    }
    assert!(began.elapsed() < PATIENCE / 2);
    let began = Instant::now();
    assert_eq!(daemon.stop(), Some(0));
    assert!(began.elapsed() < FINISH_MAX, "it took {:?}", began.elapsed());
}

#[test]
fn collector_behind_tls_is_exit_78_and_says_what_to_do() {
    let place = Place::new();
    let mut command = place.command(["run"]);
    command.env("TESSERAS_OBSERVABILITY__OTLP_ENDPOINT", "https://collector:4318");
    failed(&command.output().unwrap(), 78, "https is not built in: send to a collector on this machine");
}

/// What the end of the process waits for the collector, and a little.
const FINISH_MAX: Duration = Duration::from_secs(8);

//! The dashboard and the alert rules, each expression tried on a live node by a real Prometheus.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use std::{
    collections::BTreeSet,
    env, fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use common::{Daemon, PATIENCE, Place};
use serde_json::Value;

/// A Prometheus that scrapes one node, ended when it is dropped.
struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    fn start(folder: &Path, node: &str) -> Self {
        let config = format!(
            "global: {{ scrape_interval: 200ms, evaluation_interval: 200ms }}\n\
             rule_files: [{:?}]\n\
             scrape_configs: [{{ job_name: tesseras, static_configs: [{{ targets: [{node:?}] }}] }}]\n",
            dashboards().join("alerts.yml")
        );
        fs::write(folder.join("prometheus.yml"), config).unwrap();
        let log = fs::File::create(folder.join("prometheus.log")).unwrap();
        let child = tool("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb"])
            .args(["--web.listen-address=127.0.0.1:0", "--storage.tsdb.retention.time=1h"])
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus: {error}; run tests/setup"));
        // Made first: it is ended whatever comes.
        let mut prometheus = Self { child, address: String::new() };
        prometheus.address = eventually("it listens", || {
            let log = fs::read_to_string(folder.join("prometheus.log")).unwrap();
            let (_, listening) = log.split_once(r#"msg="Listening on" address="#)?;
            Some(listening.lines().next()?.to_owned())
        });
        eventually("it is ready", || prometheus.get("/-/ready").starts_with("HTTP/1.0 200").then_some(()));
        prometheus
    }

    /// The whole answer. In HTTP/1.0 it is not sent in chunks.
    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nhost: {}\r\n\r\n", self.address).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn data(&self, path: &str) -> Value {
        let answer = self.get(path);
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let answer: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// How many series an expression yields. One that is wrong fails.
    fn series(&self, expression: &str) -> usize {
        let escaped: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let result = &self.data(&format!("/api/v1/query?query={escaped}"))["result"];
        result.as_array().unwrap().len()
    }

    /// Waits until an expression yields something, and so does every metric that it names.
    fn until_it_yields(&self, expression: &str) {
        let metrics = metrics_in(expression);
        assert!(!metrics.is_empty(), "{expression} is about no metric");
        for expression in metrics.into_iter().chain([expression]) {
            eventually(expression, || (self.series(expression) > 0).then_some(()));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have left already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_expression_of_dashboard_and_alerts_yields_something_on_a_live_node() {
    let place = Place::new();
    let mut command = place.command(["run"]);
    command.env("TESSERAS_OBSERVABILITY__METRICS_ADDR", "127.0.0.1:0");
    let daemon = Daemon::started(&place, command);
    let prometheus = Prometheus::start(place.path(), &daemon.metrics_address());
    let id = place.keep("letter.txt", b"We went to the sea.");
    for command in [["cat", &id, "letter.txt"].as_slice(), &["verify", &id], &["attest", &id]] {
        assert_eq!(place.node(command).status.code(), Some(0));
    }
    daemon.get("/v1/nothing");
    let dashboard: Value =
        serde_json::from_slice(&fs::read(dashboards().join("tesseras.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let shown: Vec<String> = targets.map(|target| filled_in(&target["expr"])).collect();
    assert!(shown.len() > 30, "the panels are where they are looked for");
    for expression in &shown {
        prometheus.until_it_yields(expression);
    }
    for mark in dashboard["annotations"]["list"].as_array().unwrap() {
        // It marks what has not happened here.
        prometheus.series(&filled_in(&mark["expr"]));
    }
    look_at_the_rules(&prometheus);
}

/// Every rule is evaluated, is about metrics that there are, says what to do, and does not fire for a node that fares
/// well.
fn look_at_the_rules(prometheus: &Prometheus) {
    let rules = eventually("all rules are evaluated", || {
        let data = prometheus.data("/api/v1/rules");
        let rules: Vec<Value> = data["groups"][0]["rules"].as_array().unwrap().clone();
        (!rules.is_empty() && rules.iter().all(|rule| rule["health"] != "unknown")).then_some(rules)
    });
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert_ne!(rule["state"], "firing", "{rule}");
        let summary = rule["annotations"]["summary"].as_str().unwrap_or_default();
        assert!(summary.contains("{{ $labels.instance }}") && summary.ends_with('.'), "{rule}");
        for metric in metrics_in(rule["query"].as_str().unwrap()) {
            prometheus.until_it_yields(metric);
        }
    }
}

#[test]
fn alerts_fire_when_they_should() {
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
        let output = tool("promtool").args(arguments).current_dir(dashboards()).output();
        let output = output.unwrap_or_else(|error| panic!("promtool: {error}; run tests/setup"));
        assert!(output.status.success(), "{}{}", common::stdout(&output), common::stderr(&output));
    }
}

/// An expression as Grafana would ask it.
fn filled_in(expression: &Value) -> String {
    let expression = expression.as_str().unwrap();
    expression.replace("$job", ".*").replace("$instance", ".*").replace("$__rate_interval", "10s")
}

/// The names of metrics in an expression. `up` is Prometheus' own.
fn metrics_in(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("tesseras_") || *word == "up").collect()
}

fn dashboards() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

/// One of the tools that tests/setup brings, wherever it was found.
fn tool(name: &str) -> Command {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/bin").join(name);
    Command::new(if own.exists() { own } else { name.into() })
}

#[track_caller]
fn eventually<T>(what: &str, mut so: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(so) = so() {
            return so;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

//! The clock on the wall is set by years while the node runs: nothing but the wall clock.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use serde_json::Value;
use tests::{
    chain::scaled,
    content::tessera_id,
    http,
    node::{Setting, TestNode},
};

use crate::wall::{WallClock, YEAR_HOURS, true_secs};

/// A node, and the clock that it goes by.
struct Clocked {
    node: TestNode,
    clock: WallClock,
}

impl Clocked {
    fn start() -> Self {
        let clock = WallClock::new(0);
        let mut environment = clock.environment();
        environment.push((METRICS, "127.0.0.1:0".into()));
        let node = TestNode::start_with(Setting { environment, ..Setting::default() });
        Self { node, clock }
    }

    fn end(mut self) {
        assert!(self.node.stop().success(), "{}", self.node.log());
    }

    /// Sets its clock to so many hours from the true time, and has verifying notice at once.
    fn set(&self, hours: i64) {
        self.clock.set(hours);
        self.look();
    }

    /// Has verifying look at once what is due; else it does so every ten minutes.
    fn look(&self) {
        assert_eq!(self.node.post("/v1/scrub/pause?secs=0").status, 200);
    }

    /// Bytes verified by the time when nothing more is due for weeks.
    fn settled(&self) -> u64 {
        self.look();
        self.until(|scrub| scrub["mode"] == "idle" && scrub["begins_in_ms"].as_u64() > Some(QUIET_MS));
        let verified = self.node.get("/v1/scrub").json()["verified_bytes"].as_u64().unwrap();
        assert_eq!(verified as f64, self.node.metric("tesseras_scrub_bytes_total"));
        verified
    }

    /// Until verifying has come so far.
    fn until(&self, so: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let scrub = self.node.get("/v1/scrub").json();
            if so(&scrub) {
                return;
            }
            assert!(Instant::now() < deadline, "verifying does not come so far: {scrub}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn stored(&self) -> u64 {
        self.node.get("/v1/scrub").json()["bytes"].as_u64().unwrap()
    }

    /// Nothing that it says of itself has become impossible by a clock that was set by up to so many hours.
    fn says_nothing_absurd(&self, hours: u64) {
        let age_ms_max = hours * 3_600_000 + VERIFY_WITHIN_MS;
        for command in
            [["scrub", "status"].as_slice(), &["jobs"], &["status"], &["list"], &["cache"], &["actors"]]
        {
            let said = self.node.cli(command.iter().chain(&["--json"]));
            for value in serde_json::Deserializer::from_str(&said).into_iter::<Value>() {
                check_numbers(&value.unwrap(), age_ms_max);
            }
            let prose = self.node.cli(command);
            assert!(!prose.contains(" -"), "{prose}");
        }
        let metrics = self.node.get("/metrics").body;
        for line in String::from_utf8(metrics).unwrap().lines().filter(|line| !line.starts_with('#')) {
            let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            let is_possible = match line.split([' ', '{']).next().unwrap() {
                name if name.ends_with("_age_seconds") => value * 1000.0 <= age_ms_max as f64,
                _ => value.is_finite(),
            };
            assert!(value >= 0.0 && is_possible, "{line}");
        }
        let log = self.node.log();
        let address = log.rsplit("metrics=").next().unwrap().split_whitespace().next().unwrap();
        let page = http::ask_over_tcp(address, "/").unwrap();
        let page = String::from_utf8(page.body).unwrap();
        assert!(page.contains("Overdue") && page.contains("1 damaged fragment"), "{page}");
        let (_, main) = page.split_once("<main>").unwrap();
        for (_, text) in main.split('<').filter_map(|part| part.split_once('>')) {
            let is_negative = text.split(' ').any(|word| word.starts_with('-') && word != "-a");
            assert!(!is_negative && !text.contains("NaN"), "{text}");
        }
    }

    /// A memory is kept, read back and forgotten, and is dated as the clock says.
    fn works(&self, hours: i64) {
        let id = self.node.keep("letter.txt", b"dear", &[]);
        assert_eq!(self.node.cli(["cat", &id, "letter.txt"]), "dear");
        let row = self.node.get(&format!("/v1/tesseras/{id}")).json();
        let (now, at) = (true_secs() + hours * 3600, row["received_at_ms"].as_i64().unwrap() / 1000);
        assert!((at - now).abs() < 600, "the clock was not set: {at} instead of {now}");
        self.node.cli(["forget", &id]);
    }

    /// One fragment is damaged on the disk, and found to be, so that it waits for its repair.
    fn damage_something(&self) {
        let path = format!("/v1/tesseras/{}/fragments/0/0", tessera_id(1));
        let bytes = blake3::hash(b"damaged").to_hex().to_string();
        let put = http::ask(&self.node.socket(), "PUT", &path, bytes.as_bytes()).unwrap();
        assert_eq!(put.status, 201);
        let segments = fs::read_dir(self.node.folder().join("data/segments")).unwrap();
        for path in segments.map(|entry| entry.unwrap().path()) {
            let segment = fs::read(&path).unwrap();
            let at = segment.windows(bytes.len()).position(|window| window == bytes.as_bytes());
            if let Some(at) = at {
                let file = File::options().write(true).open(&path).unwrap();
                file.write_all_at(b"?", at as u64).unwrap();
            }
        }
        assert_ne!(self.node.get(&path).status, 200);
        // What is around it is verified now, for that reason.
        self.until(|scrub| scrub["verified_bytes"].as_u64() > Some(FILM_BYTES as u64));
    }
}

#[test]
fn clock_set_by_years_makes_nothing_absurd_and_verifies_everything_once() {
    let mut clocked = Clocked::start();
    clocked.node.keep("film", &film(), &[]);
    clocked.damage_something();
    let years = 10 * YEAR_HOURS;
    let since_1970 = true_secs() / 3600;
    let (mut verified, mut before) = (clocked.settled(), 0_i64);
    // By the hour: summer time, a server that corrects. By years: a battery that is empty, a typing error.
    for hours in [1, -1, years, years + 1, 0, -years, -since_1970, -since_1970 + years, 0] {
        let (is_small, start) = ((hours - before).abs() <= 2, verified);
        clocked.set(hours);
        let jump = (hours - before).unsigned_abs();
        clocked.says_nothing_absurd(jump);
        clocked.works(hours);
        verified = clocked.settled();
        let expected = if is_small { 0..=0 } else { FILM_BYTES as u64..=clocked.stored() };
        assert!(expected.contains(&(verified - start)), "{verified} - {start}, not {expected:?}: {hours} h");
        before = hours;
    }
    // A machine without a clock of its own starts in another year each time.
    for hours in [years, -since_1970, 0] {
        clocked.clock.set(hours);
        clocked.node.restart_with(&[]);
        let jump = (hours - before).unsigned_abs();
        clocked.says_nothing_absurd(jump);
        clocked.works(hours);
        let (verified, expected) = (clocked.settled(), FILM_BYTES as u64..=clocked.stored());
        assert!(expected.contains(&verified), "{verified}, not {expected:?} after a start at {hours} h");
        before = hours;
    }
    clocked.end();
}

#[test]
fn clock_set_again_and_again_makes_verifying_no_faster_than_it_may_be() {
    let mut clocked = Clocked::start();
    clocked.node.keep("film", &film(), &[]);
    clocked.node.restart_with(&[("TESSERAS_INTEGRITY__SCRUB_RATE", "64 KiB/s".into())]);
    let began = Instant::now();
    let years = 10 * YEAR_HOURS;
    for round in 1..=scaled(30, 300) {
        clocked.set(if round % 2 == 0 { -years } else { years * (1 + round % 3) });
        clocked.until(|scrub| matches!(scrub["mode"].as_str(), Some("resting" | "idle")));
    }
    let verified = clocked.node.get("/v1/scrub").json()["verified_bytes"].as_u64().unwrap();
    // In bursts of a minute each, the last of which may go beyond by a record.
    let most = (began.elapsed().as_secs() / 60 + 1) * 60 * (64 << 10) + (2 << 20);
    println!("{verified} of at most {most} bytes verified");
    assert!((1 << 20..=most).contains(&verified), "{verified} bytes, at most {most}");
    clocked.end();
}

/// Every number is from 0 up, and no age is above this.
fn check_numbers(value: &Value, age_ms_max: u64) {
    match value {
        Value::Number(number) => assert!(number.as_f64().is_some_and(|number| number >= 0.0), "{number}"),
        Value::Array(values) => values.iter().for_each(|value| check_numbers(value, age_ms_max)),
        Value::Object(fields) => {
            for (name, value) in fields {
                let is_age = name.ends_with("age_ms") || name.ends_with("in_ms") || name.ends_with("for_ms");
                assert!(!is_age || value.as_u64().is_none_or(|age| age <= age_ms_max), "{name}: {value}");
                check_numbers(value, age_ms_max);
            }
        }
        _ => {}
    }
}

/// Several pieces, and more than a burst at the lowest rate.
fn film() -> Vec<u8> {
    let mut bytes = vec![0; FILM_BYTES];
    fastrand::Rng::with_seed(7).fill(&mut bytes);
    bytes
}

const METRICS: &str = "TESSERAS_OBSERVABILITY__METRICS_ADDR";
const FILM_BYTES: usize = 10 << 20;
const VERIFY_WITHIN_MS: u64 = 30 * 86_400_000;
/// What was just verified is due in 27 days.
const QUIET_MS: u64 = 20 * 86_400_000;
const DEADLINE: Duration = Duration::from_secs(60);

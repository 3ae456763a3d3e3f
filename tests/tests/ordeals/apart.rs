//! Nodes whose clocks are years apart keep a tessera for one another: neither is anything lost, nor mended that is not.

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::node::{Setting, TestNode};

use crate::wall::{WallClock, YEAR_HOURS};

/// A node, and the clock that it goes by.
struct Machine {
    node: TestNode,
    clock: WallClock,
}

impl Machine {
    fn start(hours: i64) -> Self {
        let clock = WallClock::new(hours);
        let mut environment = clock.environment();
        environment.extend(SOON.map(|(name, value)| (name, value.into())));
        Self { node: TestNode::start_with(Setting { environment, ..Setting::default() }), clock }
    }

    /// Each gets to know where the other is.
    fn meets(&self, other: &Self) {
        for (one, other) in [(self, other), (other, self)] {
            let invite = other.node.cli(["invite"]);
            one.node.cli(["join", &invite]);
        }
    }

    fn explains(&self, id: &str) -> Value {
        self.node.get(&format!("/v1/tesseras/{id}/explain")).json()
    }

    /// How many machines may be lost, as far as it knows.
    fn survives(&self, id: &str) -> Option<u64> {
        self.explains(id)["guarantee"]["survives"].as_u64()
    }

    fn id(&self) -> String {
        let said: Value = serde_json::from_str(&self.node.cli(["id", "--json"])).unwrap();
        said["node"].as_str().unwrap().to_owned()
    }

    /// In order: a process that is killed leaves what libfaketime shares in memory.
    fn end(mut self) {
        assert!(self.node.stop().success(), "{}", self.node.log());
        let log = self.node.log();
        assert!(!log.contains("panicked") && !log.contains(" fell"), "{log}");
    }
}

/// All of a metric, of all of these.
fn sum(machines: &[Machine], name: &str) -> f64 {
    machines.iter().map(|machine| machine.node.metric(name)).sum()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "it never came to {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Until all of these have looked after what they keep, and for so long that what would be mended had been.
fn all_have_looked(machines: &[Machine]) {
    let asked = "tesseras_attestations_total";
    let before: Vec<_> = machines[1..].iter().map(|machine| machine.node.metric(asked)).collect();
    // Each holder is asked once in a look of each other.
    let most = LOOKS * machines.len() as f64;
    until("looking", || {
        machines[1..].iter().zip(&before).all(|(machine, before)| machine.node.metric(asked) - before >= most)
    });
}

#[test]
fn clocks_that_are_years_apart_lose_nothing_and_mend_only_what_is_lost() {
    let years = [0, 20, -20, 0, 1, -1];
    let mut machines: Vec<_> = years.map(|years| Machine::start(years * YEAR_HOURS)).into();
    for (at, one) in machines.iter().enumerate() {
        machines[at + 1..].iter().for_each(|other| other.meets(one));
    }
    let author = &machines[0];
    let photo = photo();
    author.node.keep("photo.jpg", &photo, &["--public"]);
    let listed: Value = serde_json::from_str(&author.node.cli(["list", "--json"])).unwrap();
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    let said = author.node.cli(["publish", &id]);
    assert_eq!(said, "Safe: survives the loss of any 2 of 5 machines.");
    // Each has heard of it, and is asked what it has. Then some of the clocks are set, some by decades.
    all_have_looked(&machines);
    let set = [30, -20, 20, 0, 0, 5];
    for (machine, years) in machines.iter().zip(set) {
        machine.clock.set(years * YEAR_HOURS);
    }
    all_have_looked(&machines);
    until("all saying that it is safe", || machines.iter().all(|machine| machine.survives(&id) == Some(2)));
    assert_eq!(sum(&machines, "tesseras_repair_jobs_total"), 0.0);
    // One is lost for good, and there is another.
    let newcomer = Machine::start(-10 * YEAR_HOURS);
    machines.iter().for_each(|machine| newcomer.meets(machine));
    let lost = machines.remove(3);
    let lost_id = lost.id();
    lost.end();
    machines.push(newcomer);
    until("its being mended", || machines.iter().all(|machine| machine.survives(&id) == Some(2)));
    all_have_looked(&machines);
    // Only what was lost has moved, from the copy that its author has, and nobody keeps what another has.
    let moved = sum(&machines, "tesseras_repair_bytes_total");
    let share = photo.len() as f64 / 3.0;
    assert!((share * 0.8..share * 1.2).contains(&moved), "{moved} bytes moved, of about {share}");
    let explained = machines[0].explains(&id);
    let holders = explained["holders"].as_array().unwrap().iter();
    let mut indices: Vec<_> = holders
        .filter(|holder| holder["node"] != lost_id.as_str())
        .flat_map(|holder| holder["indices"].as_array().unwrap().clone())
        .map(|index| index.as_u64().unwrap())
        .collect();
    indices.sort_unstable();
    assert_eq!(indices, [0, 1, 2, 3, 4], "{explained}");
    // It comes back on a machine whose clock has another opinion; and goes when its author says so.
    let reader = Machine::start(-15 * YEAR_HOURS);
    reader.meets(&machines[1]);
    reader.node.cli(["fetch", &id]);
    let copy = reader.node.folder().join("copy");
    reader.node.cli(["export".as_ref(), id.as_ref(), copy.as_os_str()]);
    assert_eq!(std::fs::read(copy.join("tessera/data/photo.jpg")).unwrap(), photo);
    // Who is lost cannot be told.
    assert_eq!(machines[0].node.post(&format!("/v1/tesseras/{id}/retract")).status, 202);
    let kept =
        |machine: &Machine| machine.node.get("/v1/status").json()["storage"]["fragments"].as_u64().unwrap();
    until("its having gone", || machines[1..].iter().all(|machine| kept(machine) == 0));
    machines.into_iter().chain([reader]).for_each(Machine::end);
}

fn photo() -> Vec<u8> {
    let mut bytes = vec![0; 3_000_000];
    fastrand::Rng::with_seed(7).fill(&mut bytes);
    bytes
}

/// What is looked after often, and mended soon.
const SOON: [(&str, &str); 3] = [
    ("TESSERAS_REPLICATION__REPAIR_INTERVAL", "1s"),
    ("TESSERAS_REPLICATION__REPAIR_JITTER", "100ms"),
    // Longer than it takes to see that somebody is gone: the next repairer begins after as long again.
    ("TESSERAS_REPLICATION__REPAIR_GRACE", "8s"),
];
const LOOKS: f64 = 4.0;
const DEADLINE: Duration = Duration::from_secs(60);

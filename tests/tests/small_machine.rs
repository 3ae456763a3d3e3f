//! A node on a small machine: 400 MiB of memory, its page cache among them, one core, and 2 GiB to keep.
//!
//! This needs root and control groups, so it has a runner of its own that says SKIPPED where they are missing, as
//! `power_cut` does. To nextest it shows no tests.

use std::{
    ffi::OsString,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use proto::{Checksum, TesseraId};
use tests::{
    http,
    node::{Setting, TestNode},
};

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    match Group::with_memory(MACHINE_BYTES) {
        Ok(group) => small_machine(&group),
        Err(missing) => say(&format!("small_machine: SKIPPED: no control group can be made: {missing}")),
    }
    ExitCode::SUCCESS
}

fn small_machine(group: &Group) {
    let start = Instant::now();
    let mut node = TestNode::start_with(Setting { through: group.entry(), ..Setting::default() });
    let film: Vec<u8> = bytes(u32::MAX).repeat(FILM_MIB);
    let id = node.keep("film", &film, &[]);
    all_clients(|number| {
        let put = http::ask(&node.socket(), "PUT", &path(number), &bytes(number)).expect("it answers");
        assert_eq!(put.status, 201, "{}", put.head);
    });
    told(&node, "kept 2 GiB", start);
    all_clients(|number| {
        let got = node.get(&path(number));
        assert!(got.status == 200 && got.body == bytes(number), "{number}: {}", got.head);
    });
    told(&node, "read all of it", start);
    node.cli(["verify", &id]);
    node.cli(["scrub", "start", "--wait"]);
    told(&node, "verified it", start);
    node.cli(["rebuild-index"]);
    told(&node, "made the index anew", start);
    let read = node.get(&format!("/v1/tesseras/{id}/files/film"));
    assert!(read.whole && read.body == film, "{}", read.head);
    assert!(node.is_running() && node.restarts() <= 1, "it fell: {}", node.log());
    let peak = node.vitals().peak_bytes;
    assert!(peak <= PEAK_BYTES_MAX, "it took {} MiB", peak >> 20);
    say(&format!("test small machine ... ok ({:.1} s)", start.elapsed().as_secs_f32()));
}

/// Does this for each fragment, from several threads.
fn all_clients(ask: impl Fn(u32) + Sync) {
    let next = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= FRAGMENTS {
                        return;
                    }
                    ask(number);
                }
            });
        }
    });
}

fn path(number: u32) -> String {
    let tessera = TesseraId::from_bytes(*Checksum::of(b"small machine").as_bytes());
    format!("/v1/tesseras/{tessera}/fragments/{number}/0")
}

/// 1 MiB unlike any other.
fn bytes(number: u32) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn told(node: &TestNode, what: &str, since: Instant) {
    let (seconds, vitals) = (since.elapsed().as_secs_f32(), node.vitals());
    say(&format!("  {what}: {seconds:.1} s, {} MiB", vitals.memory_bytes >> 20));
}

fn say(line: &str) {
    // Nobody may be listening.
    let _ = writeln!(io::stdout(), "{line}");
}

/// A control group that is gone when it is dropped. Whatever ran in it must have ended by then.
struct Group(PathBuf);

impl Group {
    fn with_memory(bytes: u64) -> io::Result<Self> {
        let name = format!("tesseras-test-{}", std::process::id());
        let old = Path::new("/sys/fs/cgroup/memory");
        let (folder, limit) = match old.is_dir() {
            true => (old.join(name), "memory.limit_in_bytes"),
            false => (Path::new("/sys/fs/cgroup").join(name), "memory.max"),
        };
        fs::create_dir(&folder)?;
        let group = Self(folder);
        fs::write(group.0.join(limit), bytes.to_string())?;
        Ok(group)
    }

    /// The words that run what follows in this group, and on one core.
    fn entry(&self) -> Vec<OsString> {
        let processes = self.0.join("cgroup.procs").into_os_string();
        let enter = r#"echo $$ > "$0" && exec "$@""#.into();
        vec![
            "sh".into(),
            "-c".into(),
            enter,
            processes,
            "taskset".into(),
            "-c".into(),
            "0".into(),
            "env".into(),
            QUICK_SCRUB.into(),
        ]
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It is empty: the node was killed and waited for.
        let _ = fs::remove_dir(&self.0);
    }
}

const MACHINE_BYTES: u64 = 400 << 20;
/// With the film, 2 GiB.
const FRAGMENTS: u32 = 2048 - 256;
const FILM_MIB: usize = 256;
const CLIENTS: usize = 16;
/// By itself it takes its time.
const QUICK_SCRUB: &str = "TESSERAS_INTEGRITY__SCRUB_RATE=none";
/// The budget of a small machine, a tenth more, and what SQLite has beside it.
const PEAK_BYTES_MAX: u64 = (192 << 20) / 10 * 11 + (16 << 20);

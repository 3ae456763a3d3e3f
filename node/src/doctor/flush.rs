//! How long the disk takes to flush, and whether that can be true.
//!
//! A disk that says "flushed" before it has flushed loses acknowledged data in a power cut, and nothing shows it before.
//! What can be seen is time: no platter turns, and no card programs a page, faster than its kind can. The bounds are far
//! below what honest disks of a kind take, so that only what cannot be true is called so.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    Check,
    device::{Disk, Medium},
    filesystem,
};
use crate::data_dir::{Found, inspect};

/// The longest that the measuring begins another flush.
pub(super) const TIME_MAX: Duration = Duration::from_millis(1500);

/// How long flushes took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Latency {
    p50: Duration,
    p99: Duration,
    rounds: usize,
}

/// Flushes a few kilobytes again and again, in a file of its own.
pub(super) fn examine(data_dir: &Path) -> Check {
    if !matches!(inspect(data_dir), Ok(Found::Marked)) {
        return Check::unknown(
            CHECK,
            "not measured: there is no data directory to measure in",
            "make one with `init` or `run`, then run this again",
        );
    }
    match measure(data_dir, ROUNDS_MAX, TIME_MAX) {
        Ok(latency) => decide(latency, &filesystem::disks_below(data_dir)),
        Err(error) => not_measured(data_dir, &error),
    }
}

fn not_measured(data_dir: &Path, error: &io::Error) -> Check {
    let finding = format!("not measured: writing a file into {} failed: {error}", data_dir.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Check::unknown(CHECK, finding, "run this as the user that the daemon runs as, or as root")
        }
        _ => Check::failed(CHECK, finding, "see what the other checks say of the disk"),
    }
}

/// What the latency means on these disks.
fn decide(latency: Latency, disks: &[Disk]) -> Check {
    let Latency { p50, p99, rounds } = latency;
    let names: Vec<String> =
        disks.iter().map(|disk| format!("{}, {}", disk.name, disk.medium.words())).collect();
    let on = if names.is_empty() { "this file system".to_owned() } else { names.join("; ") };
    let finding = format!("a flush takes {} (p50), {} (p99) of {rounds} on {on}", ms(p50), ms(p99));
    let too_fast = disks.iter().find(|disk| p50 < fastest(disk));
    match too_fast {
        Some(Disk { name, medium: Medium::Memory, .. }) => Check::failed(
            CHECK,
            format!("{finding}: {name} is memory, so everything is lost at reboot"),
            "put the data directory on a real disk, with --data-dir or node.data_dir",
        ),
        Some(disk) => Check::warning(
            CHECK,
            format!("{finding}: that is too fast to be true, so a power cut may lose what was acknowledged"),
            remedy(disk),
        ),
        None if p50 > SLOW => Check::warning(
            CHECK,
            format!("{finding}: every put waits that long"),
            "look for what else keeps the disk busy; an SD card that has grown slow is near its end: replace it",
        ),
        None if disks.is_empty() || disks.iter().any(|disk| hides_its_making(disk.medium)) => Check::unknown(
            CHECK,
            format!("{finding}; whether that reaches something lasting cannot be seen from here"),
            "ask whoever provides the disk whether a flush survives a power cut (not with `cache=unsafe`)",
        ),
        None => Check::ok(CHECK, finding),
    }
}

/// Below this no disk of the kind can have written anything for good.
fn fastest(disk: &Disk) -> Duration {
    let micros = match (disk.medium, disk.volatile_cache) {
        // 7,200 turns a minute are 8 ms each; even a short write waits for the place to come by.
        (Medium::Rotating, _) => 1000,
        // Programming a page of flash takes a few hundred microseconds, and these have no memory that outlives a cut.
        (Medium::Card | Medium::Usb, _) => 200,
        // Without a flush to wait for, an honest one writes the page or has capacitors.
        (Medium::Flash, Some(false)) => 100,
        // A write and a flush are two trips over the cable.
        (Medium::Flash, _) => 30,
        (Medium::Nvme, _) => 5,
        // Through the host and to its disk.
        (Medium::Virtual, _) => 30,
        (Medium::Memory, _) => return Duration::MAX,
        (Medium::Other, _) => 0,
    };
    Duration::from_micros(micros)
}

const fn hides_its_making(medium: Medium) -> bool {
    matches!(medium, Medium::Virtual | Medium::Other)
}

fn remedy(disk: &Disk) -> String {
    let Disk { name, medium, volatile_cache } = disk;
    let cache = match volatile_cache {
        Some(false) => "it says that it has no cache to flush, so it is never asked to",
        Some(true) => "it says that it has a cache, and may ignore that it is asked to flush it",
        None => "it does not say whether it has a cache",
    };
    match medium {
        Medium::Virtual => {
            format!("{name}: {cache}; its host must not run it with `cache=unsafe`: ask whoever provides it")
        }
        Medium::Rotating | Medium::Flash => format!(
            "{name}: {cache}; if neither it nor its controller has a battery or capacitors, \
             switch its cache off (`hdparm -W 0 /dev/{name}`) or use another disk"
        ),
        _ => format!("{name}: {cache}; keep the data on another disk, or put the machine behind a battery"),
    }
}

/// Appends [`BLOCK_BYTES`] and flushes, so many times or for so long, whichever ends first.
fn measure(data_dir: &Path, rounds_max: usize, time_max: Duration) -> io::Result<Latency> {
    let mut probe = Probe::create(data_dir)?;
    let started = Instant::now();
    let mut took = Vec::new();
    while took.len() < rounds_max && (took.is_empty() || started.elapsed() < time_max) {
        let began = Instant::now();
        probe.file.write_all(&[0xA5; BLOCK_BYTES])?;
        probe.file.sync_data()?;
        took.push(began.elapsed());
    }
    Ok(latency(took))
}

/// The percentiles, by nearest rank.
fn latency(mut took: Vec<Duration>) -> Latency {
    took.sort_unstable();
    let rank = |percent: usize| (took.len() * percent).div_ceil(100).saturating_sub(1);
    let at = |percent| took.get(rank(percent)).copied().unwrap_or_default();
    Latency { p50: at(50), p99: at(99), rounds: took.len() }
}

/// The file that is written to; its name goes when this does. It has a name at all because some file systems do not
/// flush a file that none leads to.
struct Probe {
    file: File,
    path: PathBuf,
}

impl Probe {
    fn create(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(PROBE_FILE);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = match options.open(&path) {
            // Left by one that was killed. Removed, never written over: it might be a link to something else.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&path)?;
                options.open(&path)?
            }
            opened => opened?,
        };
        Ok(Self { file, path })
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // Nobody is there to tell; the next one removes it.
        let _ = fs::remove_file(&self.path);
    }
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

const CHECK: &str = "flush";
const PROBE_FILE: &str = "doctor.probe";
const BLOCK_BYTES: usize = 4096;
/// Enough for a 99th percentile that is not the worst.
const ROUNDS_MAX: usize = 200;
/// A put waits for at least one flush; beyond this people notice.
const SLOW: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Outcome, tests::check};

    fn judged(micros: u64, medium: Medium, volatile_cache: Option<bool>) -> Check {
        let p50 = Duration::from_micros(micros);
        let disk = Disk { name: "sda".to_owned(), medium, volatile_cache };
        decide(Latency { p50, p99: p50 * 2, rounds: 200 }, &[disk])
    }

    #[test]
    fn flush_faster_than_the_disk_can_be_is_not_believed() {
        let (back, through) = (Some(true), Some(false));
        for (micros, medium, cache, outcome) in [
            (999, Medium::Rotating, back, Outcome::Warning),
            (4_000, Medium::Rotating, back, Outcome::Ok),
            (60, Medium::Card, through, Outcome::Warning),
            (2_000, Medium::Card, through, Outcome::Ok),
            (80, Medium::Usb, through, Outcome::Warning),
            (800, Medium::Usb, None, Outcome::Ok),
            (60, Medium::Flash, through, Outcome::Warning),
            (60, Medium::Flash, back, Outcome::Ok),
            (10, Medium::Flash, back, Outcome::Warning),
            (20, Medium::Nvme, back, Outcome::Ok),
            (2, Medium::Nvme, through, Outcome::Warning),
            (10, Medium::Virtual, back, Outcome::Warning),
        ] {
            let found = judged(micros, medium, cache);
            assert_eq!(found.outcome, outcome, "{micros} µs on {medium:?}: {found:?}");
        }
    }

    #[test]
    fn flush_that_is_not_believed_says_what_may_be_lost_and_what_to_do() {
        check(&judged(100, Medium::Rotating, Some(true)), Outcome::Warning, "may lose what was acknowledged");
        check(&judged(100, Medium::Rotating, Some(true)), Outcome::Warning, "hdparm -W 0 /dev/sda");
        check(&judged(10, Medium::Virtual, Some(false)), Outcome::Warning, "never asked to");
    }

    #[test]
    fn flush_to_memory_fails_and_one_to_the_unseen_is_unknown() {
        check(&judged(50_000, Medium::Memory, None), Outcome::Failed, "lost at reboot");
        check(&judged(800, Medium::Virtual, Some(true)), Outcome::Unknown, "0.80 ms (p50)");
        check(&judged(800, Medium::Other, None), Outcome::Unknown, "ask whoever provides the disk");
        let time = Duration::from_millis(1);
        let found = decide(Latency { p50: time, p99: time, rounds: 1 }, &[]);
        check(&found, Outcome::Unknown, "this file system");
    }

    #[test]
    fn flush_that_takes_long_is_a_warning() {
        check(&judged(150_000, Medium::Card, None), Outcome::Warning, "every put waits that long");
    }

    #[test]
    fn weakest_disk_of_several_decides() {
        let disk = |name: &str, medium| Disk { name: name.to_owned(), medium, volatile_cache: Some(true) };
        let time = Duration::from_micros(300);
        let latency = Latency { p50: time, p99: time, rounds: 9 };
        let found = decide(latency, &[disk("nvme0n1", Medium::Nvme), disk("sdb", Medium::Rotating)]);
        check(&found, Outcome::Warning, "sdb: it says that it has a cache");
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let took = |count: u64| (1..=count).rev().map(Duration::from_millis).collect();
        let check = |count, p50, p99| {
            let found = latency(took(count));
            assert_eq!((found.p50.as_millis(), found.p99.as_millis()), (p50, p99), "{count}");
        };
        check(200, 100, 198);
        check(100, 50, 99);
        check(1, 1, 1);
        check(0, 0, 0);
    }

    #[test]
    fn measuring_stops_in_time_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(PROBE_FILE), "left by one that was killed").unwrap();
        assert_eq!(measure(dir.path(), 3, Duration::from_secs(60)).unwrap().rounds, 3);
        assert_eq!(measure(dir.path(), 1000, Duration::ZERO).unwrap().rounds, 1);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn probe_is_never_written_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let photo = dir.path().join("photo.jpg");
        fs::write(&photo, "bytes").unwrap();
        std::os::unix::fs::symlink(&photo, dir.path().join(PROBE_FILE)).unwrap();
        measure(dir.path(), 1, Duration::ZERO).unwrap();
        assert_eq!(fs::read(&photo).unwrap(), b"bytes");
    }
}

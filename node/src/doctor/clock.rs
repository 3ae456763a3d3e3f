//! The clock: whether its time can be true, and whether something keeps it so.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actors::storage::{INDEX_FILE, SEGMENTS_FOLDER};

use super::Check;
use crate::human;

/// Holds the clock against what was written before now: this program, and the data.
pub(super) fn examine(data_dir: &Path) -> Check {
    let now = since_1970(SystemTime::now());
    let program = std::env::current_exe().ok().and_then(|path| modified(&path));
    decide(now, program, newest(data_dir))
}

/// Looks for signs of whatever keeps the clock.
pub(super) fn time_service() -> Check {
    let exists = |path: &str| Path::new(path).exists();
    keeper(&Signs {
        timesyncd: exists(TIMESYNCD),
        synchronized: exists(SYNCHRONIZED),
        other: OTHERS.iter().find(|(_, path)| exists(path)).map(|(name, _)| *name),
    })
}

/// The newest time that the data directory has recorded, since 1970.
fn newest(data_dir: &Path) -> Option<Duration> {
    let segments = fs::read_dir(data_dir.join(SEGMENTS_FOLDER)).into_iter().flatten().flatten();
    let files: Vec<PathBuf> = segments.map(|entry| entry.path()).chain([data_dir.join(INDEX_FILE)]).collect();
    files.iter().filter_map(|path| modified(path)).max()
}

fn modified(path: &Path) -> Option<Duration> {
    fs::metadata(path).ok()?.modified().ok().map(since_1970)
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Whether the clock can be right. All times since 1970.
fn decide(now: Duration, program: Option<Duration>, data: Option<Duration>) -> Check {
    let today = date(now);
    let behind = |then: Option<Duration>| then.filter(|then| *then > now + TOLERANCE);
    let wrong = if now < EARLIEST || now > LATEST {
        Some("which cannot be".to_owned())
    } else if let Some(then) = behind(data) {
        Some(format!(
            "but something was stored on {}, {} later",
            date(then),
            human::span((then - now).as_secs())
        ))
    } else {
        behind(program).map(|then| format!("but this program was made on {}", date(then)))
    };
    match wrong {
        None => Check::ok(CLOCK, format!("it is {today} (UTC)")),
        Some(wrong) => Check::failed(
            CLOCK,
            format!("it says {today} (UTC), {wrong}: what is made now gets a wrong date"),
            "set it: `timedatectl set-ntp true` lets the network do it; a machine without a battery for its clock needs that",
        ),
    }
}

fn date(time: Duration) -> String {
    human::date(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// What shows that something keeps the clock.
struct Signs {
    timesyncd: bool,
    synchronized: bool,
    other: Option<&'static str>,
}

/// What the signs mean. The kernel's own word on it takes a call that is not safe to make from here.
fn keeper(signs: &Signs) -> Check {
    match signs {
        Signs { synchronized: true, .. } => Check::ok(SERVICE, "systemd-timesyncd has set the clock"),
        Signs { other: Some(name), .. } => Check::ok(SERVICE, format!("{name} keeps the clock")),
        Signs { timesyncd: true, .. } => Check::warning(
            SERVICE,
            "systemd-timesyncd runs, but has not been able to set the clock since the machine started",
            "see `timedatectl timesync-status`: its server cannot be reached, or it waits for the network",
        ),
        _ => Check::unknown(
            SERVICE,
            "no service that keeps the clock shows itself",
            "unless a host keeps it for this machine: `timedatectl set-ntp true`, or install chrony",
        ),
    }
}

const CLOCK: &str = "clock";
const SERVICE: &str = "time-service";
const TIMESYNCD: &str = "/run/systemd/timesync";
const SYNCHRONIZED: &str = "/run/systemd/timesync/synchronized";
/// The services that keep clocks, and what each leaves while it runs.
const OTHERS: [(&str, &str); 5] = [
    ("chrony", "/run/chrony/chronyd.pid"),
    ("chrony", "/run/chronyd.pid"),
    ("ntpd", "/run/ntpd.pid"),
    ("OpenNTPD", "/run/ntpd.sock"),
    ("ntpd-rs", "/run/ntpd-rs/observe"),
];
/// Before 2026 there was no such software.
const EARLIEST: Duration = Duration::from_secs(1_767_225_600);
/// The year 2200: whoever still runs this then will have changed it.
const LATEST: Duration = Duration::from_secs(7_258_118_400);
/// A clock that is set while something is written jumps a little.
const TOLERANCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Outcome, tests::check};

    #[test]
    fn clock_that_contradicts_what_was_written_fails() {
        let day = |day: u64| Duration::from_secs(1_790_000_000 + day * 86_400);
        check(&decide(day(9), Some(day(1)), Some(day(8))), Outcome::Ok, "it is 2026-");
        check(&decide(day(9), None, None), Outcome::Ok, "it is 2026-");
        check(&decide(day(9), None, Some(day(9) + TOLERANCE)), Outcome::Ok, "it is 2026-");
        check(&decide(day(8), None, Some(day(9))), Outcome::Failed, "something was stored on");
        check(&decide(day(8), Some(day(9)), None), Outcome::Failed, "this program was made on");
        check(
            &decide(Duration::from_secs(5), None, None),
            Outcome::Failed,
            "it says 1970-01-01 (UTC), which cannot",
        );
        check(&decide(LATEST * 2, None, None), Outcome::Failed, "timedatectl set-ntp true");
    }

    #[test]
    fn newest_time_is_that_of_the_newest_file() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(newest(dir.path()), None);
        fs::create_dir(dir.path().join(SEGMENTS_FOLDER)).unwrap();
        let write = |name: &str, seconds: u64| {
            let file = fs::File::create(dir.path().join(name)).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        };
        write(INDEX_FILE, 5);
        write("segments/00000001.seg", 9);
        write("segments/00000002.seg", 7);
        assert_eq!(newest(dir.path()), Some(Duration::from_secs(9)));
    }

    #[test]
    fn service_that_keeps_the_clock_is_told_by_its_signs() {
        let signs = |timesyncd, synchronized, other| keeper(&Signs { timesyncd, synchronized, other });
        check(&signs(true, true, None), Outcome::Ok, "has set the clock");
        check(&signs(false, false, Some("chrony")), Outcome::Ok, "chrony keeps the clock");
        check(&signs(true, false, Some("chrony")), Outcome::Ok, "chrony keeps the clock");
        check(&signs(true, false, None), Outcome::Warning, "has not been able to set");
        check(&signs(false, false, None), Outcome::Unknown, "install chrony");
    }
}

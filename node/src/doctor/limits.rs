//! What the system lets a node have: descriptors, memory, UDP buffers.

use std::{fs, path::Path};

use actors::storage::OPEN_SEGMENTS_MAX;
use config::Config;
use rustix::process::{Resource, getrlimit};

use super::Check;
use crate::{daemon::CALLERS, human, lock};

/// Descriptors of the daemon in this data directory; where none runs, those of one that were started from here.
pub(super) fn descriptors(data_dir: &Path) -> Check {
    let of_daemon = daemon_limits(data_dir).and_then(|limits| open_files(&limits));
    match of_daemon {
        Some(limit) => enough_descriptors(limit, "the daemon"),
        None => enough_descriptors(getrlimit(Resource::Nofile).current, "a daemon started from here"),
    }
}

/// What a daemon should say at its start: with too few, whatever fails later does not say why.
pub(crate) fn too_few_descriptors() -> Option<String> {
    let check = enough_descriptors(getrlimit(Resource::Nofile).current, "this process");
    let remedy = check.remedy?;
    Some(format!("{}: {remedy}", check.finding))
}

/// The limits of the process that has the data directory; none where it is gone and left only its number behind.
fn daemon_limits(data_dir: &Path) -> Option<String> {
    let pid: u32 = fs::read_to_string(data_dir.join(lock::FILE)).ok()?.trim().parse().ok()?;
    let process = Path::new("/proc").join(pid.to_string());
    let other = fs::canonicalize(process.join("exe")).ok()?;
    // A number is given to other programs in time.
    (other.file_name() == std::env::current_exe().ok()?.file_name())
        .then(|| fs::read_to_string(process.join("limits")).ok())?
}

/// The soft limit of open files in `/proc/…/limits`; `Some(None)` where there is none.
fn open_files(limits: &str) -> Option<Option<u64>> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" { Some(None) } else { soft.parse().ok().map(Some) }
}

fn enough_descriptors(limit: Option<u64>, whose: &str) -> Check {
    let Some(limit) = limit else {
        return Check::ok(DESCRIPTORS, format!("{whose} may have any number"));
    };
    let finding = format!("{whose} may have {limit}, and needs up to {DESCRIPTORS_MIN}");
    if limit >= DESCRIPTORS_MIN {
        return Check::ok(DESCRIPTORS, finding);
    }
    let remedy = format!(
        "`ulimit -n {DESCRIPTORS_WANTED}` before `run`, or LimitNOFILE={DESCRIPTORS_WANTED} in the unit of a service"
    );
    Check::failed(DESCRIPTORS, format!("{finding}: under load requests fail"), remedy)
}

/// Whether what the node may take of the memory leaves enough for others.
pub(super) fn memory(config: &Config, machine_bytes: Option<u64>) -> Check {
    let sqlite = u64::from(config.storage.sqlite_cache_kib) << 10;
    let wanted = config.memory.budget_bytes + sqlite;
    let Some(all) = machine_bytes else {
        return Check::unknown(MEMORY, "the system does not tell how much there is", "see `free -h`");
    };
    let finding = format!(
        "the node takes up to {} ({} and SQLite's cache of {}), of {} on this machine",
        human::bytes(wanted),
        human::bytes(config.memory.budget_bytes),
        human::bytes(sqlite),
        human::bytes(all)
    );
    let remedy = "lower performance.memory_budget_mb and performance.sqlite_cache_size_kb, \
                  or set node.profile to \"small\"";
    if wanted > all {
        return Check::failed(MEMORY, format!("{finding}: the system will end it under load"), remedy);
    }
    if wanted > all / 4 * 3 {
        return Check::warning(MEMORY, format!("{finding}: that leaves little for everything else"), remedy);
    }
    Check::ok(MEMORY, finding)
}

/// The largest buffers that a UDP socket may ask for.
pub(super) fn udp_buffers() -> Check {
    let read =
        |name: &str| fs::read_to_string(format!("/proc/sys/net/core/{name}")).ok()?.trim().parse().ok();
    large_enough(read("rmem_max"), read("wmem_max"))
}

fn large_enough(receive: Option<u64>, send: Option<u64>) -> Check {
    let (Some(receive), Some(send)) = (receive, send) else {
        return Check::unknown(
            UDP_BUFFERS,
            "net.core.rmem_max and net.core.wmem_max are not to be seen from here",
            "in a container: look at the host",
        );
    };
    let finding = format!("up to {} to receive and {} to send", human::bytes(receive), human::bytes(send));
    if receive.min(send) >= UDP_BUFFER_BYTES {
        return Check::ok(UDP_BUFFERS, finding);
    }
    Check::warning(
        UDP_BUFFERS,
        format!("{finding}: with {} other machines are served without loss", human::bytes(UDP_BUFFER_BYTES)),
        format!(
            "`sysctl -w net.core.rmem_max={UDP_BUFFER_BYTES} net.core.wmem_max={UDP_BUFFER_BYTES}`; \
             in a file below /etc/sysctl.d it lasts"
        ),
    )
}

const DESCRIPTORS: &str = "descriptors";
const MEMORY: &str = "memory";
const UDP_BUFFERS: &str = "udp-buffers";
/// For the index, the log, the listeners, files on their way in or out, and whatever the libraries open.
const DESCRIPTORS_BESIDE: u64 = 128;
/// Every segment that is kept open, every caller with what watches it, and the rest.
pub(crate) const DESCRIPTORS_MIN: u64 =
    (OPEN_SEGMENTS_MAX.get() + 2 * CALLERS.connections) as u64 + DESCRIPTORS_BESIDE;
/// What is advised where there are too few.
pub(crate) const DESCRIPTORS_WANTED: u64 = 4096;
/// What a busy socket wants, in bytes.
const UDP_BUFFER_BYTES: u64 = 8 << 20;

const _: () = assert!(DESCRIPTORS_MIN <= 1024, "what most systems give is enough");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Outcome, tests::check};

    #[test]
    fn descriptors_for_segments_and_callers_are_asked_for() {
        check(&enough_descriptors(Some(1024), "it"), Outcome::Ok, "it may have 1024");
        check(&enough_descriptors(Some(DESCRIPTORS_MIN), "it"), Outcome::Ok, "needs up to 640");
        check(&enough_descriptors(Some(639), "it"), Outcome::Failed, "ulimit -n 4096");
        check(&enough_descriptors(None, "it"), Outcome::Ok, "any number");
    }

    #[test]
    fn limit_of_a_process_is_the_soft_one() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             96136                96136                processes \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(open_files(limits), Some(Some(1024)));
        assert_eq!(
            open_files("Max open files            unlimited            unlimited            files\n"),
            Some(None)
        );
        assert_eq!(open_files(""), None);
    }

    #[test]
    fn memory_must_hold_the_budget_and_sqlite() {
        let sources = config::Sources {
            env: vec![("TESSERAS_NODE__DATA_DIR".to_owned(), "/d".to_owned())],
            ..config::Sources::default()
        };
        let machine = config::Machine { memory_bytes: Some(8 << 30), is_root: true };
        let config = config::load_on(machine, &sources).unwrap().config;
        check(&memory(&config, Some(8 << 30)), Outcome::Ok, "up to 318.50 MiB");
        check(&memory(&config, Some(400 << 20)), Outcome::Warning, "leaves little");
        check(&memory(&config, Some(300 << 20)), Outcome::Failed, "node.profile");
        check(&memory(&config, None), Outcome::Unknown, "free -h");
    }

    #[test]
    fn udp_buffers_below_eight_mebibytes_are_a_warning() {
        check(&large_enough(Some(8 << 20), Some(16 << 20)), Outcome::Ok, "8.00 MiB to receive");
        check(&large_enough(Some(8 << 20), Some(212_992)), Outcome::Warning, "net.core.wmem_max=8388608");
        check(&large_enough(None, Some(8 << 20)), Outcome::Unknown, "look at the host");
    }
}

//! Room on the disk: bytes, the configured capacity, and inodes.

use std::{fs, path::Path};

use actors::storage::{
    SEGMENTS_FOLDER,
    disk::{Disk, RealDisk, Space},
    space::{floor, refusal},
};
use config::StorageConfig;

use super::{Check, nearest_existing};
use crate::{api::Storage, human};

/// Looks at the file system of the data directory, and adds up the segments in it. What is in force in a daemon that runs
/// counts; what is written counts where none does.
pub(super) fn examine(config: &StorageConfig, in_force: Option<&Storage>) -> Vec<Check> {
    let Some(folder) = nearest_existing(&config.data_dir) else { return Vec::new() };
    let bytes = match RealDisk.space(folder) {
        Ok(space) => {
            let used = segment_bytes(&config.data_dir);
            match in_force {
                Some(in_force) => running(config, in_force, space, used),
                None => room(config, space, used),
            }
        }
        Err(error) => Check::unknown(SPACE, format!("the system does not tell: {error}"), "see `df -h`"),
    };
    let inodes = match rustix::fs::statvfs(folder) {
        Ok(stat) => inodes(stat.f_files, stat.f_favail),
        Err(error) => Check::unknown(INODES, format!("the system does not tell: {error}"), "see `df -i`"),
    };
    vec![bytes, inodes]
}

/// What the segments take; what cannot be read does not count.
fn segment_bytes(data_dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(data_dir.join(SEGMENTS_FOLDER)) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum()
}

/// Whether a daemon that runs has room for more, and whether what is written since waits for its restart.
fn running(written: &StorageConfig, in_force: &Storage, space: Space, used: u64) -> Check {
    let config = StorageConfig {
        capacity_bytes: in_force.capacity_bytes,
        min_free_bytes: in_force.min_free_bytes.unwrap_or(written.min_free_bytes),
        ..written.clone()
    };
    let mut check = room(&config, space, used);
    let kept = floor(written, space);
    if written.capacity_bytes != config.capacity_bytes || kept != floor(&config, space) {
        let capacity = written.capacity_bytes.map_or_else(|| "none".to_owned(), human::bytes);
        check.finding.push_str(&format!(
            "; from its next start on the capacity is {capacity} and {} are kept free: restart the daemon for that",
            human::bytes(kept)
        ));
    }
    check
}

/// Whether there is room for more.
fn room(config: &StorageConfig, space: Space, used: u64) -> Check {
    let kept = floor(config, space);
    let free = human::bytes(space.free);
    let finding = format!(
        "{free} are free, of which {} are kept free; segments take {}",
        human::bytes(kept),
        human::bytes(used)
    );
    if space.free < kept {
        return full(&format!("{finding}: nothing new is stored"));
    }
    let capacity = config.capacity_bytes;
    if refusal(config, Some(space), used, 1).is_some() {
        return used_up(&format!("{finding}: the configured capacity is used up, so nothing new is stored"));
    }
    if let Some(capacity) = capacity.filter(|capacity| *capacity > space.total) {
        return Check::warning(
            SPACE,
            format!(
                "{finding}: the configured capacity of {} is more than the disk has in all, {}",
                human::bytes(capacity),
                human::bytes(space.total)
            ),
            "lower node.capacity, or use a larger disk",
        );
    }
    let left = capacity.map_or(u64::MAX, |capacity| capacity - used).min(space.free - kept);
    if left < used / NEARLY_FULL_SHARE {
        return Check::warning(
            SPACE,
            format!("{finding}: it is nearly full, {} more can be stored", human::bytes(left)),
            "make room, raise node.capacity, or use a larger disk",
        );
    }
    Check::ok(SPACE, finding)
}

/// The disk has no room for more.
pub(crate) fn full(finding: &str) -> Check {
    Check::failed(SPACE, finding, "make room on the disk, or lower storage.min_free")
}

/// The disk has room, and what this node may have of it is used up.
pub(crate) fn used_up(finding: &str) -> Check {
    Check::warning(SPACE, finding, "raise node.capacity, or forget something")
}

/// Whether more files can be made. A file system without a fixed number of them says that it has none.
fn inodes(all: u64, free: u64) -> Check {
    if all == 0 {
        return Check::ok(INODES, "this file system makes as many as are needed");
    }
    let finding = format!("{free} of {all} are free");
    if free >= INODES_MIN {
        return Check::ok(INODES, finding);
    }
    let remedy =
        "remove small files from this disk: `du --inodes -x -d 3 / | sort -n | tail` finds where they are";
    if free == 0 {
        return Check::failed(INODES, format!("{finding}: no file can be made"), remedy);
    }
    Check::warning(INODES, format!("{finding}: soon no file can be made"), remedy)
}

const SPACE: &str = "free-space";
const INODES: &str = "inodes";
/// A segment is one file, and there are few of them beside it.
const INODES_MIN: u64 = 1000;
/// Nearly full: what can still be stored is less than this part of what is.
const NEARLY_FULL_SHARE: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Outcome, tests::check};

    const MIB: u64 = 1 << 20;

    /// On a disk of 10 GiB, of which 512 MiB are kept free.
    fn found(capacity: Option<u64>, free_mib: u64, used_mib: u64) -> Check {
        let config = StorageConfig {
            capacity_bytes: capacity.map(|mib| mib * MIB),
            ..StorageConfig::with_defaults("unused")
        };
        room(&config, Space { free: free_mib * MIB, total: 10 << 30 }, used_mib * MIB)
    }

    #[test]
    fn room_that_is_left_decides() {
        check(&found(None, 5000, 100), Outcome::Ok, "4.88 GiB are free, of which 512.00 MiB are kept free");
        check(&found(None, 511, 100), Outcome::Failed, "nothing new is stored");
        check(&found(None, 520, 1000), Outcome::Warning, "nearly full, 8.00 MiB more");
        check(&found(Some(1000), 5000, 100), Outcome::Ok, "segments take 100.00 MiB");
        check(&found(Some(1000), 5000, 960), Outcome::Warning, "nearly full, 40.00 MiB more");
        check(&found(Some(1000), 5000, 1000), Outcome::Warning, "raise node.capacity");
        check(&found(Some(20_000), 5000, 100), Outcome::Warning, "more than the disk has in all");
    }

    #[test]
    fn room_of_a_daemon_that_runs_is_by_what_is_in_force() {
        let written =
            StorageConfig { capacity_bytes: Some(2000 * MIB), ..StorageConfig::with_defaults("unused") };
        let space = Space { free: 5000 * MIB, total: 10 << 30 };
        let in_force = |capacity: u64, min_free: u64| -> Storage {
            let json = serde_json::json!({
                "tesseras": 0, "fragments": 0, "fragment_bytes": 0, "segment_bytes": 0, "live_bytes": 0,
                "drop_bytes": 0, "capacity_bytes": capacity * MIB, "min_free_bytes": min_free * MIB, "repairs_queued": 0,
                "recovery": {
                    "records": 0, "damaged_places": 0, "lost_segments": [], "lost_documents": 0, "missing_tesseras": 0,
                    "rebuilt": false,
                },
            });
            serde_json::from_value(json).unwrap()
        };
        let found = |capacity, min_free| running(&written, &in_force(capacity, min_free), space, 1000 * MIB);
        check(&found(1000, 512), Outcome::Warning, "capacity is used up");
        check(&found(1000, 512), Outcome::Warning, "from its next start on the capacity is 1.95 GiB");
        check(&found(2000, 100), Outcome::Ok, "and 512.00 MiB are kept free: restart the daemon");
        assert!(!found(2000, 512).finding.contains("start"), "{:?}", found(2000, 512));
    }

    #[test]
    fn inodes_that_run_out_are_found_before() {
        check(&inodes(0, 0), Outcome::Ok, "as many as are needed");
        check(&inodes(100_000, 5000), Outcome::Ok, "5000 of 100000");
        check(&inodes(100_000, 999), Outcome::Warning, "soon");
        check(&inodes(100_000, 0), Outcome::Failed, "no file can be made");
    }
}

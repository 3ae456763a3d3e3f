//! What the defaults need to know about the machine: the only file here that asks the system anything.

use std::{fs, path::Path};

/// The machine and the user a node runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Memory that this process may use, in bytes; `None` where the system does not tell.
    pub memory_bytes: Option<u64>,
    /// Whether the effective user is root.
    pub is_root: bool,
}

impl Machine {
    /// This machine, now.
    pub fn here() -> Self {
        Self { memory_bytes: memory_bytes(Path::new("/")), is_root: rustix::process::geteuid().is_root() }
    }
}

/// The environment of this process. Text that is not UTF-8 has its bad bytes replaced, so that a variable of ours
/// is refused by what reads it instead of being passed over.
pub fn environment() -> Vec<(String, String)> {
    let text = |s: std::ffi::OsString| s.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

/// The least of the machine's memory and the limits of the control groups this process is in.
fn memory_bytes(root: &Path) -> Option<u64> {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok().as_deref().and_then(meminfo_total);
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    groups.lines().flat_map(|line| group_limits(root, line)).chain(machine).min()
}

fn meminfo_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The limits that a line of `/proc/self/cgroup` leads to: those of the group and of all above it. A container
/// sees its own group as the topmost one, whatever the line says.
fn group_limits(root: &Path, line: &str) -> Vec<u64> {
    let mut fields = line.splitn(3, ':');
    let (hierarchy, controllers) = (fields.next(), fields.next());
    let group = Path::new(fields.next().unwrap_or_default().trim_start_matches('/'));
    let (base, file) = match (hierarchy, controllers) {
        (Some("0"), Some("")) => ("sys/fs/cgroup", "memory.max"),
        (_, Some(names)) if names.split(',').any(|name| name == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let limit = |above: &Path| fs::read_to_string(root.join(base).join(above).join(file)).ok();
    // `max`, for no limit, is not a number and falls out here.
    group.ancestors().filter_map(limit).filter_map(|text| text.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory as seen below a root with these files.
    #[track_caller]
    fn check(files: &[(&str, &str)], expected: Option<u64>) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(memory_bytes(root.path()), expected);
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:        2048 kB\nMemFree:         1024 kB\n");

    #[test]
    fn memory_without_groups_is_the_machines() {
        check(&[MEMINFO], Some(2 << 20));
        check(
            &[MEMINFO, ("proc/self/cgroup", "0::/a\n"), ("sys/fs/cgroup/a/memory.max", "max\n")],
            Some(2 << 20),
        );
        check(&[], None);
        check(&[("proc/meminfo", "MemTotal: many\n")], None);
    }

    #[test]
    fn memory_under_a_group_is_the_least_limit_above() {
        let group = ("proc/self/cgroup", "0::/a/b\n");
        check(&[MEMINFO, group, ("sys/fs/cgroup/a/b/memory.max", "1000\n")], Some(1000));
        check(&[MEMINFO, group, ("sys/fs/cgroup/a/memory.max", "900\n")], Some(900));
        check(&[MEMINFO, group, ("sys/fs/cgroup/memory.max", "800\n")], Some(800));
        check(&[MEMINFO, group, ("sys/fs/cgroup/a/memory.max", "9000000\n")], Some(2 << 20));
    }

    #[test]
    fn memory_under_an_old_group_is_its_limit() {
        let group = ("proc/self/cgroup", "5:cpu,memory:/a\n1:name=systemd:/\n");
        check(&[MEMINFO, group, ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "700\n")], Some(700));
        check(&[MEMINFO, group, ("sys/fs/cgroup/a/memory.max", "1\n")], Some(2 << 20));
    }
}

//! The file system of the data directory: whether it keeps what it is given, and what it lies on.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::{
    Check, Outcome,
    device::{self, Disk},
    nearest_existing,
};

/// A line of `/proc/self/mountinfo`, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    device: (u32, u32),
    at: PathBuf,
    kind: String,
    source: String,
    options: Vec<String>,
}

/// What kind of file system it is, and whether that will do.
pub(super) fn examine(data_dir: &Path) -> Vec<Check> {
    let Some(mount) = mount_of(data_dir) else {
        let finding = format!("the file system of {} is not to be found in {MOUNTS}", data_dir.display());
        return vec![Check::unknown(CHECK, finding, "see `df -T` for what it is")];
    };
    let mut checks = vec![kind(&mount)];
    checks.extend(options(&mount));
    checks
}

/// The disks that the file system of a folder lies on; none where that cannot be told.
pub(super) fn disks_below(data_dir: &Path) -> Vec<Disk> {
    let Some(mount) = mount_of(data_dir) else { return Vec::new() };
    let (major, minor) = match mount.device {
        // Such a file system has no single disk, and says only by name where it was mounted from.
        (0, _) => match device_of(Path::new(&mount.source)) {
            Some(device) => device,
            None => return Vec::new(),
        },
        device => device,
    };
    device::disks(Path::new("/"), major, minor)
}

fn device_of(file: &Path) -> Option<(u32, u32)> {
    let found = fs::metadata(file).ok().filter(|found| found.file_type().is_block_device())?;
    Some((rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev())))
}

fn mount_of(folder: &Path) -> Option<Mount> {
    let folder = fs::canonicalize(nearest_existing(folder)?).ok()?;
    covering(&fs::read_to_string(MOUNTS).ok()?, &folder)
}

/// The mount that a path lies in: the deepest one, and of two at the same place the later, which hides the other.
fn covering(mounts: &str, path: &Path) -> Option<Mount> {
    let around = mounts.lines().filter_map(parse).filter(|mount| path.starts_with(&mount.at));
    around.max_by_key(|mount| mount.at.components().count())
}

/// `36 35 98:0 /root /at rw,noatime shared:1 - ext4 /dev/sda1 rw,errors=continue`, as in `proc(5)`.
fn parse(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let (major, minor) = left.nth(2)?.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    let at = PathBuf::from(unescaped(left.nth(1)?));
    let own_options = left.next()?;
    let mut right = right.split(' ');
    let (kind, source) = (right.next()?.to_owned(), unescaped(right.next()?));
    let options = own_options.split(',').chain(right.next().unwrap_or_default().split(','));
    Some(Mount { device, at, kind, source, options: options.map(str::to_owned).collect() })
}

/// Spaces and the like are written as `\040`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_at_checked(3).map(|(code, rest)| (u8::from_str_radix(code, 8), rest)) {
            Some((Ok(code), rest)) => plain.extend([char::from(code).to_string().as_str(), rest]),
            _ => plain.extend(["\\", part]),
        }
    }
    plain
}

fn kind(mount: &Mount) -> Check {
    let Mount { kind, source, at, .. } = mount;
    let finding = format!("{kind} from {source} at {}", at.display());
    match trouble(kind) {
        None => Check::ok(CHECK, finding),
        Some((outcome, what, remedy)) => Check::not_ok(CHECK, outcome, format!("{finding}: {what}"), remedy),
    }
}

/// What is wrong with keeping memories on a file system of this kind, if anything is.
fn trouble(kind: &str) -> Option<(Outcome, &'static str, &'static str)> {
    match kind {
        "tmpfs" | "ramfs" | "devtmpfs" => Some((
            Outcome::Failed,
            "it is in memory, so everything is lost at reboot",
            "put the data directory on a disk, with --data-dir or node.data_dir",
        )),
        "overlay" | "aufs" => Some((
            Outcome::Warning,
            "it is a container's own layer, so everything goes when the container is made anew",
            "mount a volume of the host at the data directory",
        )),
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "ceph" | "afs" | "glusterfs" | "fuse.glusterfs"
        | "fuse.sshfs" => Some((
            Outcome::Warning,
            "it is another machine's: its locks and flushes are only as good as the network, and SQLite warns of it",
            "put the data directory on a disk of this machine, with --data-dir or node.data_dir",
        )),
        "vfat" | "exfat" | "msdos" => Some((
            Outcome::Warning,
            "it keeps no permissions and no journal: others can read the keys, and a power cut may damage all of it",
            "use a disk with ext4, XFS or Btrfs",
        )),
        _ => None,
    }
}

/// What is wrong with how it is mounted.
fn options(mount: &Mount) -> Option<Check> {
    let has = |names: &[&str]| mount.options.iter().find(|option| names.contains(&option.as_str()));
    let at = mount.at.display();
    if let Some(option) = has(&["ro"]) {
        let finding = format!("{at} is mounted read-only ({option})");
        let remedy = format!(
            "see `dmesg` for whether the disk failed; then check it with fsck, or `mount -o remount,rw {at}`"
        );
        return Some(Check::failed(MOUNTED, finding, remedy));
    }
    let option = has(&["nobarrier", "barrier=0", "fsync_mode=nobarrier"])?;
    Some(Check::failed(
        MOUNTED,
        format!(
            "{at} is mounted with `{option}`: nothing is flushed, so a power cut loses what was acknowledged"
        ),
        format!("take `{option}` out of /etc/fstab and mount it again"),
    ))
}

const CHECK: &str = "file-system";
const MOUNTED: &str = "mount-options";
const MOUNTS: &str = "/proc/self/mountinfo";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::tests::check;

    const TABLE: &str = "\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
28 27 0:21 / /proc rw,relatime shared:5 - proc proc rw
29 27 8:1 / /mnt/a\\040disk rw,noatime shared:7 master:2 - xfs /dev/sda1 rw,attr2
30 27 0:30 / /mnt/pool rw - btrfs /dev/sdb rw,nobarrier
31 27 8:17 / /mnt/pool rw - ext4 /dev/sdb1 rw
32 27 0:31 / /mnt/memory rw - tmpfs tmpfs rw,size=4k
";

    #[test]
    fn mount_of_a_path_is_the_deepest_and_the_last() {
        let check = |path: &str, kind: &str, source: &str, device| {
            let mount = covering(TABLE, Path::new(path)).unwrap();
            assert_eq!(
                (mount.kind.as_str(), mount.source.as_str(), mount.device),
                (kind, source, device),
                "{path}"
            );
        };
        check("/var/lib/tesseras", "ext4", "/dev/vda", (254, 0));
        check("/mnt/a disk/data", "xfs", "/dev/sda1", (8, 1));
        check("/mnt/a disk", "xfs", "/dev/sda1", (8, 1));
        check("/mnt/a diskette", "ext4", "/dev/vda", (254, 0));
        check("/mnt/pool/data", "ext4", "/dev/sdb1", (8, 17));
        assert_eq!(covering("no table", Path::new("/")), None);
    }

    #[test]
    fn escapes_in_the_table_are_undone() {
        assert_eq!(unescaped(r"/a\040b\011c\134"), "/a b\tc\\");
        assert_eq!(unescaped(r"/a\9b\04"), r"/a\9b\04");
    }

    fn mounted(kind: &str, options: &str) -> Mount {
        parse(&format!("1 2 8:1 / /data rw,{options} - {kind} source rw")).unwrap()
    }

    #[test]
    fn file_system_that_does_not_keep_things_is_named() {
        check(&kind(&mounted("ext4", "noatime")), Outcome::Ok, "ext4 from source at /data");
        check(&kind(&mounted("btrfs", "noatime")), Outcome::Ok, "btrfs");
        check(&kind(&mounted("tmpfs", "noatime")), Outcome::Failed, "everything is lost at reboot");
        check(&kind(&mounted("overlay", "noatime")), Outcome::Warning, "mount a volume");
        check(&kind(&mounted("nfs4", "noatime")), Outcome::Warning, "another machine's");
        check(&kind(&mounted("exfat", "noatime")), Outcome::Warning, "keeps no permissions");
    }

    #[test]
    fn mount_option_that_ends_safety_fails() {
        assert_eq!(options(&mounted("ext4", "noatime,barrier=1")), None);
        check(&options(&mounted("ext4", "nobarrier")).unwrap(), Outcome::Failed, "nothing is flushed");
        check(&options(&mounted("ext4", "barrier=0")).unwrap(), Outcome::Failed, "take `barrier=0` out");
        let read_only = parse("1 2 8:1 / /data rw - ext4 source ro").unwrap();
        check(&options(&read_only).unwrap(), Outcome::Failed, "remount,rw /data");
    }
}

//! The disks below a file system, as the kernel tells about them in `/sys`.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disk {
    /// Its name: `sda`.
    pub(super) name: String,
    /// What it is.
    pub(super) medium: Medium,
    /// Whether it says that it keeps what it was given in a memory that a power cut empties, so that the kernel asks it
    /// to flush; `None` where the kernel does not tell.
    pub(super) volatile_cache: Option<bool>,
}

/// What a disk is made of, as far as it can be told from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    /// Platters that turn.
    Rotating,
    /// An SD card, or a chip that speaks as one.
    Card,
    /// Something behind USB, which hides what it is.
    Usb,
    /// Flash behind SATA or SAS.
    Flash,
    /// Flash behind NVMe.
    Nvme,
    /// A disk that a host makes up for a virtual machine.
    Virtual,
    /// Memory.
    Memory,
    /// None of these.
    Other,
}

impl Medium {
    /// In words.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Rotating => "a rotating disk",
            Self::Card => "an SD card or eMMC chip",
            Self::Usb => "a USB disk",
            Self::Flash => "a solid-state disk",
            Self::Nvme => "an NVMe disk",
            Self::Virtual => "a virtual disk",
            Self::Memory => "a disk in memory",
            Self::Other => "a device of another kind",
        }
    }
}

/// The disks that a block device lies on, as seen below `root`: one for a partition, several for a RAID, none where the
/// kernel does not tell.
pub(super) fn disks(root: &Path, major: u32, minor: u32) -> Vec<Disk> {
    let device = root.join(format!("sys/dev/block/{major}:{minor}"));
    let mut found = Vec::new();
    if let Ok(device) = fs::canonicalize(device) {
        collect(device, 0, &mut found);
    }
    found
}

fn collect(device: PathBuf, depth: usize, found: &mut Vec<Disk>) {
    let disk = match device.parent() {
        Some(whole) if device.join("partition").exists() => whole.to_owned(),
        _ => device,
    };
    let below: Vec<PathBuf> = fs::read_dir(disk.join("slaves")).map_or_else(
        |_| Vec::new(),
        |entries| entries.flatten().filter_map(|entry| fs::canonicalize(entry.path()).ok()).collect(),
    );
    if below.is_empty() || depth == LAYERS_MAX {
        found.push(describe(&disk));
        return;
    }
    for device in below {
        collect(device, depth + 1, found);
    }
}

fn describe(device: &Path) -> Disk {
    let text = |file: &str| fs::read_to_string(device.join(file)).ok().map(|text| text.trim().to_owned());
    let name = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let medium = medium(&Traits {
        name: &name,
        is_usb: device.components().any(|part| part.as_os_str().to_string_lossy().starts_with("usb")),
        vendor: &text("device/vendor").unwrap_or_default(),
        rotates: text("queue/rotational").as_deref() == Some("1"),
    });
    let volatile_cache = match text("queue/write_cache").as_deref() {
        Some("write back") => Some(true),
        Some("write through") => Some(false),
        _ => None,
    };
    Disk { name, medium, volatile_cache }
}

/// What a disk's kind is told from.
struct Traits<'a> {
    name: &'a str,
    is_usb: bool,
    vendor: &'a str,
    rotates: bool,
}

/// What virtual machines and USB bridges say about rotation is not true: it is asked last.
fn medium(disk: &Traits<'_>) -> Medium {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| disk.name.starts_with(prefix));
    match disk {
        _ if begins(&["mmcblk"]) => Medium::Card,
        _ if begins(&["zram", "ram"]) => Medium::Memory,
        _ if begins(&["vd", "xvd"]) || VIRTUAL_VENDORS.contains(&disk.vendor) => Medium::Virtual,
        _ if begins(&["nvme"]) => Medium::Nvme,
        _ if !begins(&["sd"]) => Medium::Other,
        Traits { is_usb: true, .. } => Medium::Usb,
        Traits { rotates: true, .. } => Medium::Rotating,
        _ => Medium::Flash,
    }
}

/// How virtual machines name the maker of their SCSI disks.
const VIRTUAL_VENDORS: [&str; 5] = ["QEMU", "VMware", "VBOX", "Msft", "Google"];
/// Encryption on volumes on RAID on partitions: nobody stacks more.
const LAYERS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A `/sys` with these files, and these links.
    fn sys(files: &[(&str, &str)], links: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join("sys").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        for (path, target) in links {
            let path = root.path().join("sys").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(root.path().join("sys").join(target), path).unwrap();
        }
        root
    }

    fn disk(name: &str, medium: Medium, volatile_cache: Option<bool>) -> Disk {
        Disk { name: name.to_owned(), medium, volatile_cache }
    }

    #[test]
    fn partition_leads_to_its_disk() {
        let root = sys(
            &[
                ("devices/pci/ata1/block/sda/queue/rotational", "1\n"),
                ("devices/pci/ata1/block/sda/queue/write_cache", "write back\n"),
                ("devices/pci/ata1/block/sda/sda1/partition", "1\n"),
            ],
            &[("dev/block/8:1", "devices/pci/ata1/block/sda/sda1")],
        );
        assert_eq!(disks(root.path(), 8, 1), [disk("sda", Medium::Rotating, Some(true))]);
        assert_eq!(disks(root.path(), 8, 2), []);
    }

    #[test]
    fn encrypted_raid_leads_to_all_its_disks() {
        let root = sys(
            &[
                ("devices/virtual/block/dm-0/size", "1\n"),
                ("devices/virtual/block/md0/size", "1\n"),
                ("devices/pci/block/sda/sda1/partition", "1\n"),
                ("devices/pci/block/sda/queue/write_cache", "write through\n"),
                ("devices/pci/usb2/block/sdb/queue/rotational", "1\n"),
            ],
            &[
                ("dev/block/253:0", "devices/virtual/block/dm-0"),
                ("devices/virtual/block/dm-0/slaves/md0", "devices/virtual/block/md0"),
                ("devices/virtual/block/md0/slaves/sda1", "devices/pci/block/sda/sda1"),
                ("devices/virtual/block/md0/slaves/sdb", "devices/pci/usb2/block/sdb"),
            ],
        );
        let mut found = disks(root.path(), 253, 0);
        found.sort_by(|one, other| one.name.cmp(&other.name));
        assert_eq!(found, [disk("sda", Medium::Flash, Some(false)), disk("sdb", Medium::Usb, None)],);
    }

    #[test]
    fn medium_is_told_by_name_bus_and_maker_before_rotation() {
        let check = |name, is_usb, vendor, rotates, expected| {
            assert_eq!(medium(&Traits { name, is_usb, vendor, rotates }), expected, "{name} {vendor}");
        };
        check("sda", false, "ATA", true, Medium::Rotating);
        check("sda", false, "ATA", false, Medium::Flash);
        check("sda", true, "ATA", true, Medium::Usb);
        check("sda", false, "QEMU", true, Medium::Virtual);
        check("vda", false, "0x1af4", true, Medium::Virtual);
        check("xvda", false, "", true, Medium::Virtual);
        check("mmcblk0", false, "", false, Medium::Card);
        check("nvme0n1", false, "", false, Medium::Nvme);
        check("zram0", false, "", false, Medium::Memory);
        check("ram1", false, "", true, Medium::Memory);
        check("loop0", false, "", true, Medium::Other);
        check("pmem0", false, "", false, Medium::Other);
    }
}

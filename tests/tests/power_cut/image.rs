//! A file system in a file, that can be cut off from its device.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    process::Command,
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Which file system.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FileSystem {
    Ext4,
    Xfs,
}

/// A mounted file system. Unmounted, and its loop device given back, on drop.
#[derive(Debug)]
pub(crate) struct Image {
    file: PathBuf,
    mount: PathBuf,
    _folder: tempfile::TempDir,
}

impl Image {
    /// Makes and mounts an empty file system.
    pub(crate) fn new(system: FileSystem) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("target/tmp is there");
        let (file, mount) = (folder.path().join("image"), folder.path().join("mount"));
        fs::create_dir(&mount).expect("a folder can be made");
        File::create(&file).and_then(|file| file.set_len(IMAGE_BYTES)).expect("a sparse file can be made");
        match system {
            // Nothing reserved for root: what is free is free for all. Blocks as on any larger disk: with smaller ones
            // than a page, a full disk ends SQLite with SIGBUS in its shared memory.
            FileSystem::Ext4 => {
                run(Command::new("mkfs.ext4").args(["-q", "-m", "0", "-b", "4096"]).arg(&file))
            }
            FileSystem::Xfs => run(Command::new("mkfs.xfs").arg("-q").arg(&file)),
        }
        let image = Self { file, mount, _folder: folder };
        image.mount();
        image
    }

    /// A folder on it for the store.
    pub(crate) fn store(&self) -> PathBuf {
        let store = self.mount.join("store");
        if !store.exists() {
            fs::create_dir(&store).expect("a folder can be made");
            rustix::fs::syncfs(File::open(&self.mount).expect("it is mounted")).expect("it can be synced");
        }
        store
    }

    /// Nothing reaches the device from here on. What was in memory only is gone.
    pub(crate) fn cut_power(&self) {
        run(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(&self.mount));
        assert!(fs::write(self.mount.join("probe"), "").is_err(), "the file system works without power");
    }

    /// Mounts it again, which recovers its journal.
    pub(crate) fn restore_power(&self) {
        run(Command::new("umount").arg(&self.mount));
        self.mount();
    }

    /// Takes away all free space but so many bytes.
    pub(crate) fn fill(&self, but_bytes: u64) {
        let ballast = match File::create(self.ballast()) {
            // There is not even room for its name.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return,
            made => made.expect("a file can be made"),
        };
        let stat = statvfs(&self.mount).expect("it is mounted");
        // XFS says that fewer than none are free when its own reserve is gone: a very large number.
        let free = if stat.f_bavail > stat.f_blocks { 0 } else { stat.f_bavail * stat.f_frsize };
        let mut length = free.saturating_sub(but_bytes);
        // What the file system needs for the file itself may make it too much.
        while length > 0 && fallocate(&ballast, FallocateFlags::empty(), 0, length).is_err() {
            length = length.saturating_sub(FILL_STEP_BYTES);
        }
    }

    /// Gives the space back.
    pub(crate) fn clear(&self) {
        match fs::remove_file(self.ballast()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.expect("the ballast can be removed"),
        }
    }

    fn ballast(&self) -> PathBuf {
        self.mount.join("ballast")
    }

    /// With a loop device that goes when it is unmounted.
    fn mount(&self) {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.file).arg(&self.mount));
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // Whoever still works on it may go on; the mount goes with the last of them.
        let _ = Command::new("umount").arg("--lazy").arg(&self.mount).status();
    }
}

fn run(command: &mut Command) {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; tests/setup installs it"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{command:?}: {} {said}", output.status);
}

/// XFS takes no less than 300 MiB. The file is sparse.
const IMAGE_BYTES: u64 = 320 << 20;
const FILL_STEP_BYTES: u64 = 64 << 10;

//! The clock on a machine's wall, as `libfaketime` gives it to a node, and to nothing else.

use std::{
    ffi::OsString,
    fs,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use tempfile::TempDir;

/// A clock that is set while the node runs.
pub(crate) struct WallClock {
    _folder: TempDir,
    offset: PathBuf,
}

impl WallClock {
    /// One that is so many hours from the true time.
    pub(crate) fn new(hours: i64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Self { offset: folder.path().join("offset"), _folder: folder };
        clock.set(hours);
        clock
    }

    /// What a process has in its environment to go by it. One that is killed leaves what libfaketime shares in memory, under its
    /// process id.
    pub(crate) fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("LD_PRELOAD", libfaketime().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.offset.clone().into()),
            ("FAKETIME_NO_CACHE", "1".into()),
            // Time goes on as before; only what it is called changes.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ]
    }

    /// Sets it to so many hours from the true time.
    pub(crate) fn set(&self, hours: i64) {
        let next = self.offset.with_extension("next");
        fs::write(&next, format!("{hours:+}h\n")).unwrap();
        fs::rename(next, &self.offset).unwrap();
    }
}

pub(crate) fn true_secs() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

fn libfaketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut found =
        folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).filter(|path| path.exists());
    found.next().expect("libfaketime is there: tests/setup installs it")
}

pub(crate) const YEAR_HOURS: i64 = 365 * 24;

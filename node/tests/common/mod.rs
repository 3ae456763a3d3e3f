//! Runs the `node` binary in a folder of its own.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

/// A place for a data directory that goes away with it.
pub struct Place {
    dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// The folder around the data directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The binary, with an environment that holds nothing but what is needed.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
        command.arg("--data-dir").arg(self.data_dir()).args(arguments);
        command.current_dir(self.path()).env_clear().env("TESSERAS_OBSERVABILITY__METRICS_ADDR", "off");
        command
    }

    pub fn node<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        self.command(arguments).output().unwrap()
    }
}

/// Standard output as text.
pub fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

/// Standard error as text.
pub fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Checks the exit code, and that standard error says what it should.
#[track_caller]
pub fn failed(output: &Output, code: i32, message: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
    assert!(stderr(output).contains(message), "{message:?} is not in {}", stderr(output));
    assert_eq!(stdout(output), "");
}

/// The problem document on standard error.
#[track_caller]
pub fn problem(output: &Output) -> Value {
    serde_json::from_str(stderr(output)).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

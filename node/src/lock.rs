//! The lock of a data directory: one daemon at a time.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::{data_dir::give, failure::Failure, problem::Kind};

/// Held for as long as it lives; the kernel frees it when the process ends, however that happens.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock and writes this process's id into it. Fails with [`Kind::Locked`] while another process has it,
    /// naming that process.
    pub(crate) fn take(data_dir: &Path) -> Result<Self, Failure> {
        let path = data_dir.join(FILE);
        let io = |error: io::Error| Failure::io("locking", &path, &error);
        let mut file = options().open(&path).map_err(io)?;
        give(&path, data_dir).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(data_dir, &mut file)),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { _file: file })
    }

    /// Keeps it until the kernel frees it. Whoever gave up waiting for the writers can't say that none of them writes
    /// any more; only the end of the process can.
    pub(crate) fn keep_until_exit(self) {
        std::mem::forget(self);
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

fn held(data_dir: &Path, file: &mut File) -> Failure {
    let mut pid = String::new();
    // A holder that has only just started may not have written its id yet.
    let holder = match file.read_to_string(&mut pid).map(|_| pid.trim()) {
        Ok(pid) if !pid.is_empty() => format!("the daemon with process id {pid}"),
        _ => "another daemon".to_owned(),
    };
    let path = data_dir.display();
    Failure::new(
        Kind::Locked,
        format!("{path} is in use by {holder}: stop it first, or choose another --data-dir"),
    )
}

/// The file's name in the data directory.
pub(crate) const FILE: &str = "lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_kept_until_exit_is_not_freed_before() {
        let dir = tempfile::tempdir().unwrap();
        Lock::take(dir.path()).unwrap().keep_until_exit();
        assert!(Lock::take(dir.path()).is_err());
    }

    #[test]
    fn lock_taken_twice_names_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).unwrap();
        let error = Lock::take(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process id {}", std::process::id())), "{error}");
        drop(first);
        Lock::take(dir.path()).unwrap();
    }
}

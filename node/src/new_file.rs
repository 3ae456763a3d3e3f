//! A file that is written whole or not at all, and never over another.
//!
//! It is written without a name, made durable, and then gets its name: a process that is killed leaves nothing behind. Where
//! the file system has no such files, it is written beside its place. Only its owner may read it.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, RenameFlags},
    io::Errno,
};

use crate::{failure::Failure, problem::Kind};

/// Fails with [`Kind::CannotCreate`] when something has this name.
pub(crate) fn must_be_free(path: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(taken(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::io("looking at", path, &error)),
    }
}

/// Makes a file of what `write` writes. Fails with [`Kind::CannotCreate`] when something has its name, and with what
/// `write` fails with; then nothing is left behind.
pub(crate) fn write(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
) -> Result<(), Failure> {
    must_be_free(path)?;
    let unfinished = Unfinished(beside(path)?);
    let failed = |error: io::Error| Failure::io("writing", path, &error);
    let fill = |file: File| {
        let mut writer = BufWriter::new(file);
        write(&mut writer)?;
        let file = writer.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed).map(|()| file)
    };
    match nameless(path) {
        Some(file) => name(&fill(file)?, path)?,
        None => {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(OWNER_ONLY);
            fill(options.open(&unfinished.0).map_err(|error| cannot_make(path, &error))?)?;
            rename_new(&unfinished.0, path)?;
        }
    }
    sync_folder(path).map_err(failed)
}

/// A file without a name that can be given one in the folder of this path, if the file system has such files.
fn nameless(path: &Path) -> Option<File> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(folder(path), flags, Mode::from_raw_mode(OWNER_ONLY)).ok()?;
    // Through /proc it gets its name, which may not be there.
    opened(&file).exists().then(|| file.into())
}

fn name(file: &File, path: &Path) -> Result<(), Failure> {
    match rustix::fs::linkat(CWD, opened(file), CWD, path, AtFlags::SYMLINK_FOLLOW) {
        Err(Errno::EXIST) => Err(taken(path)),
        named => named.map_err(|error| Failure::io("naming", path, &error.into())),
    }
}

fn opened(file: impl AsFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()).into()
}

/// Removed when it goes out of scope; by then it may have its name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It is gone when all went well.
        let _ = fs::remove_file(&self.0);
    }
}

fn beside(path: &Path) -> Result<PathBuf, Failure> {
    let Some(name) = path.file_name() else {
        return Err(Failure::new(Kind::Usage, format!("{} is no name for a file", path.display())));
    };
    let mut unfinished = OsString::from(".");
    unfinished.push(name);
    unfinished.push(format!(".{}.new", std::process::id()));
    Ok(path.with_file_name(unfinished))
}

fn rename_new(from: &Path, to: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io("naming", to, &error);
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => Err(taken(to)),
        // Some network file systems do not know it: the name was free a moment ago.
        Err(Errno::INVAL | Errno::NOSYS) => {
            must_be_free(to)?;
            fs::rename(from, to).map_err(failed)
        }
        renamed => renamed.map_err(|error| failed(error.into())),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn taken(path: &Path) -> Failure {
    let path = path.display();
    Failure::new(
        Kind::CannotCreate,
        format!("{path} is there already and stays as it is: choose another name"),
    )
}

fn cannot_make(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Kind::CannotCreate, format!("{} cannot be made: {error}", path.display()))
}

const OWNER_ONLY: u32 = 0o600;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn new_file_is_for_its_owner_only_and_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("card");
        write(&path, |file| file.write_all(b"all of it").map_err(|error| cannot_make(&path, &error)))
            .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"all of it");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(dir.path()), ["card"]);
    }

    #[test]
    fn file_that_is_there_is_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("card");
        fs::write(&path, "mine").unwrap();
        let failure = write(&path, |_| Ok(())).unwrap_err().to_string();
        assert!(failure.contains("there already"), "{failure}");
        // One that comes while it is written, too.
        let (from, to) = (dir.path().join("new"), &path);
        fs::write(&from, "other").unwrap();
        assert!(rename_new(&from, to).is_err());
        if let Some(file) = nameless(to) {
            assert!(name(&file, to).unwrap_err().to_string().contains("there already"));
        }
        // And a link that leads nowhere.
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &link).unwrap();
        assert!(write(&link, |_| Ok(())).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn file_that_is_being_written_has_no_name_to_be_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("card");
        let has_nameless = nameless(&path).is_some();
        write(&path, |file| {
            assert_eq!(names(dir.path()).is_empty(), has_nameless);
            file.write_all(b"all of it").map_err(|error| cannot_make(&path, &error))
        })
        .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"all of it");
    }

    #[test]
    fn file_that_could_not_be_written_to_its_end_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let failing = |file: &mut dyn Write| {
            file.write_all(&[7; 100_000]).map_err(|error| cannot_make(dir.path(), &error))?;
            Err(Failure::new(Kind::Io, "the disk is full"))
        };
        assert!(write(&dir.path().join("card"), failing).is_err());
        assert!(names(dir.path()).is_empty());
    }
}

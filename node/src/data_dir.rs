//! The data directory: where everything a node keeps lies, and how it is told from any other folder.
//!
//! # Invariants
//! 1. A folder that holds something but no marker is never written to: it may be someone's photographs, or the mount
//!    point of a disk that is not there.
//! 2. Making one is idempotent and replaces nothing.
//! 3. Whoever changes it holds its lock.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown},
    path::{Path, PathBuf},
};

use actors::{
    keys::{AUTHOR_KEY_NAME, NODE_KEY_NAME},
    storage::{INDEX_FILE, LOSSES_FILE, RESERVE_FILE, SALT_FILE, SEGMENTS_FOLDER, SNAPSHOTS_FOLDER},
};
use config::{FILE_NAME, Loaded, Origin, Place};

use crate::{
    failure::Failure,
    lock::{self, Lock},
    problem::Kind,
};

/// What lies at the path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    Missing,
    /// An empty folder.
    Empty,
    /// A data directory of a version this software knows.
    Marked,
    /// A folder without the marker, holding among others this.
    Unmarked(String),
}

/// A data directory, held by this process.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    lock: Lock,
}

impl DataDir {
    /// Takes hold of the data directory at `path`, making it first if nothing is there. Fails with
    /// [`Kind::WrongDataDir`] for a folder of another kind and with [`Kind::Locked`] if a daemon has it.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        match inspect(path)? {
            Found::Missing => make_folder(path)?,
            Found::Empty | Found::Marked => {}
            Found::Unmarked(name) => return Err(unmarked(path, &name)),
        }
        let held = Self { path: path.to_owned(), lock: Lock::take(path)? };
        // Looked at again under the lock: two that start at once both saw an empty folder.
        match inspect(path)? {
            Found::Unmarked(name) => return Err(unmarked(path, &name)),
            Found::Missing | Found::Empty => {
                make_private(path)?;
                held.mark()?;
            }
            Found::Marked => {}
        }
        Ok(held)
    }

    /// Takes hold of a folder in which a data directory is to be put together again: like [`DataDir::open`], but its parts
    /// may lie there without the marker, which whoever calls this writes last.
    pub(crate) fn adopt(path: &Path) -> Result<Self, Failure> {
        let check = |found| match found {
            Found::Unmarked(_) => only_parts(path),
            _ => Ok(()),
        };
        match inspect(path)? {
            Found::Missing => {
                make_folder(path)?;
                let above = path.parent().filter(|above| !above.as_os_str().is_empty());
                let synced = File::open(above.unwrap_or(Path::new("."))).and_then(|above| above.sync_all());
                synced.map_err(|error| unusable(path, &error))?;
            }
            found => check(found)?,
        }
        let held = Self { path: path.to_owned(), lock: Lock::take(path)? };
        let found = inspect(path)?;
        if found != Found::Marked {
            check(found)?;
            make_private(path)?;
        }
        Ok(held)
    }

    /// Marks what was put together, which is a data directory from then on.
    pub(crate) fn mark(&self) -> Result<(), Failure> {
        self.write_new(MARKER, MARKER_TEXT.as_bytes()).map(drop)
    }

    /// Whether something was stored here already.
    pub(crate) fn holds_data(&self) -> bool {
        holds_data(&self.path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The lock alone, for whoever outlives everything else.
    pub(crate) fn into_lock(self) -> Lock {
        self.lock
    }

    /// Makes a folder in it that is for its owner only, unless it is there.
    pub(crate) fn make_folder(&self, name: &str) -> Result<(), Failure> {
        let path = self.path.join(name);
        let made = DirBuilder::new().mode(OWNER_ONLY).create(&path);
        let made = made.and_then(|()| give(&path, &self.path));
        let made = made.and_then(|()| File::open(&self.path)?.sync_all());
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.map_err(|error| Failure::io("making", &path, &error)),
        }
    }

    /// Writes a file whole or not at all, unless there is one of this name: then nothing is done. Whether it was written.
    pub(crate) fn write_new(&self, name: &str, bytes: &[u8]) -> Result<bool, Failure> {
        self.write_new_with(name, |file| file.write_all(bytes))
    }

    /// The same with what `write` writes.
    pub(crate) fn write_new_with(
        &self,
        name: &str,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<bool, Failure> {
        let path = self.path.join(name);
        if path.try_exists().map_err(|error| Failure::io("reading", &path, &error))? {
            return Ok(false);
        }
        let unfinished = self.path.join(format!("{name}{UNFINISHED}"));
        write_synced(&unfinished, write)
            .and_then(|()| give(&unfinished, &self.path))
            .and_then(|()| fs::rename(&unfinished, &path))
            .and_then(|()| File::open(path.parent().unwrap_or(&self.path))?.sync_all())
            .map_err(|error| Failure::io("writing", &path, &error))?;
        Ok(true)
    }
}

/// Looks at a path without changing anything. Fails with [`Kind::WrongDataDir`] if it is not a folder or its marker
/// cannot be read, and with [`Kind::NewerVersion`] if a later version of this software made it.
pub(crate) fn inspect(path: &Path) -> Result<Found, Failure> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
        Err(error) => return Err(unusable(path, &error)),
    };
    match fs::read_to_string(path.join(MARKER)) {
        Ok(text) => return check_marker(path, &text).map(|()| Found::Marked),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unusable(&path.join(MARKER), &error)),
    }
    for entry in entries {
        let name = entry.map_err(|error| unusable(path, &error))?.file_name().to_string_lossy().into_owned();
        if !HARMLESS.contains(&name.as_str()) {
            return Ok(Found::Unmarked(name));
        }
    }
    Ok(Found::Empty)
}

/// Fails with [`Kind::WrongDataDir`] unless a data directory is there, and says where else one may be: for whoever asks
/// for the keys of a node and did not say of which.
pub(crate) fn must_be_one(path: &Path) -> Result<(), Failure> {
    let why = match inspect(path) {
        Ok(Found::Marked) => return Ok(()),
        Ok(Found::Missing | Found::Empty) => format!("nothing is kept in {}", path.display()),
        Ok(Found::Unmarked(_)) => format!("{} is not a data directory", path.display()),
        Err(Failure::Problem(problem)) if problem.kind() == Kind::WrongDataDir => problem.detail.clone(),
        Err(failure) => return Err(failure),
    };
    let detail = format!("{why}. Name the node's folder with --data-dir; for that of the service use `sudo`");
    Err(Failure::new(Kind::WrongDataDir, detail))
}

/// What root makes in a folder belongs to whom the folder does: a service could not use what is root's.
pub(crate) fn give(path: &Path, folder: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (folder, made) = (fs::metadata(folder)?, fs::symlink_metadata(path)?);
    if (folder.uid(), folder.gid()) == (made.uid(), made.gid()) {
        return Ok(());
    }
    lchown(path, Some(folder.uid()), Some(folder.gid()))
}

/// Whether something was stored in this data directory already.
pub(crate) fn holds_data(path: &Path) -> bool {
    [INDEX_FILE, SEGMENTS_FOLDER].iter().any(|name| path.join(name).exists())
}

/// Where a configuration file names the data directory, if one does.
pub(crate) fn named_in_a_file(loaded: &Loaded) -> Option<String> {
    let setting = loaded.show().find(|setting| setting.key == "node.data_dir")?;
    match &setting.origin {
        Origin::Written(place @ Place::File { .. }) => Some(place.to_string()),
        _ => None,
    }
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(OWNER_ONLY).create(path).map_err(|error| unusable(path, &error))
}

/// What others may do in a folder that was there, and empty, ends when it becomes a data directory.
fn make_private(path: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| unusable(path, &error);
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(OWNER_ONLY)).map_err(failed)
}

fn write_synced(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    write(&mut file)?;
    file.sync_all()
}

/// Fails for a folder that holds anything but parts of a data directory.
fn only_parts(path: &Path) -> Result<(), Failure> {
    for entry in fs::read_dir(path).map_err(|error| unusable(path, &error))? {
        let name = entry.map_err(|error| unusable(path, &error))?.file_name().to_string_lossy().into_owned();
        let whole = name.strip_suffix(UNFINISHED).unwrap_or(&name);
        if !HARMLESS.contains(&name.as_str()) && !PARTS.contains(&whole) && !whole.starts_with(INDEX_FILE) {
            return Err(unmarked(path, &name));
        }
    }
    Ok(())
}

/// Fails when a marker with this text, of what is at `path`, names a format that this software does not know.
pub(crate) fn check_marker(path: &Path, text: &str) -> Result<(), Failure> {
    let format =
        text.lines().find_map(|line| line.strip_prefix(FORMAT_KEY)).map(|value| value.trim().parse());
    let path = path.display();
    match format {
        Some(Ok(FORMAT)) => Ok(()),
        Some(Ok(newer)) if newer > FORMAT => Err(Failure::new(
            Kind::NewerVersion,
            format!("{path} has format {newer}; this software knows formats up to {FORMAT}: update it"),
        )),
        _ => Err(Failure::new(
            Kind::WrongDataDir,
            format!("{path}/{MARKER} names no format: the folder is damaged, or it is not a data directory"),
        )),
    }
}

fn unmarked(path: &Path, name: &str) -> Failure {
    let path = path.display();
    Failure::new(
        Kind::WrongDataDir,
        format!(
            "{path} is not a data directory: it holds {name:?}, but no file named {MARKER}. \
             If its disk is not mounted, mount it; else choose an empty folder with --data-dir"
        ),
    )
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Kind::WrongDataDir,
        format!(
            "{} cannot be used as data directory: {error}; choose another with --data-dir",
            path.display()
        ),
    )
}

/// The file that tells a data directory from any other folder.
pub(crate) const MARKER: &str = "TESSERAS";
const FORMAT_KEY: &str = "format = ";
const FORMAT: u32 = 1;
const MARKER_TEXT: &str = "\
This folder belongs to a Tesseras node. It holds fragments of people's memories, some of them the last copy:
do not delete it, and change nothing in it by hand.
format = 1
";
const UNFINISHED: &str = ".new";
const OWNER_ONLY: u32 = 0o700;
const OTHERS: u32 = 0o077;

/// What a data directory is made of, beside the index.
const PARTS: [&str; 8] = [
    SEGMENTS_FOLDER,
    SALT_FILE,
    LOSSES_FILE,
    RESERVE_FILE,
    SNAPSHOTS_FOLDER,
    NODE_KEY_NAME,
    AUTHOR_KEY_NAME,
    FILE_NAME,
];

/// What an empty folder may hold: traces of a start that was cut off, and what a file system puts into its root.
const HARMLESS: [&str; 3] = [lock::FILE, "TESSERAS.new", "lost+found"];

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(failure: &Failure) -> Option<Kind> {
        match failure {
            Failure::Problem(problem) => Some(problem.kind()),
            Failure::ClosedPipe => None,
        }
    }

    #[test]
    fn missing_data_dir_is_made_private_and_marked() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        drop(DataDir::open(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(inspect(&path).unwrap(), Found::Marked);
    }

    #[test]
    fn empty_folder_that_others_could_open_becomes_private() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        drop(DataDir::open(dir.path()).unwrap());
        assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn mode_of_a_data_dir_stays_as_it_was_set() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::open(dir.path()).unwrap());
        // As it is where a group may use the socket in it.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o750)).unwrap();
        drop(DataDir::open(dir.path()).unwrap());
        assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o750);
    }

    #[test]
    fn what_root_makes_in_a_folder_is_its_owners() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(4711), Some(4712)).unwrap();
        let held = DataDir::open(dir.path()).unwrap();
        crate::keys::Keys::make(&held).unwrap();
        held.write_new(FILE_NAME, b"").unwrap();
        held.make_folder(SNAPSHOTS_FOLDER).unwrap();
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(names.len(), 6, "{names:?}");
        for path in names {
            let found = fs::metadata(&path).unwrap();
            assert_eq!((found.uid(), found.gid()), (4711, 4712), "{}", path.display());
        }
    }

    #[test]
    fn start_that_was_cut_off_before_the_marker_is_taken_up_again() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("lock"), "").unwrap();
        fs::write(dir.path().join("TESSERAS.new"), "This fol").unwrap();
        drop(DataDir::open(dir.path()).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join(MARKER)).unwrap(), MARKER_TEXT);
    }

    #[test]
    fn folder_of_another_kind_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("photo.jpg"), "").unwrap();
        let failure = DataDir::open(dir.path()).unwrap_err();
        assert_eq!(kind(&failure), Some(Kind::WrongDataDir));
        assert!(failure.to_string().contains("photo.jpg"), "{failure}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn data_dir_that_lost_its_marker_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::open(dir.path()).unwrap());
        fs::write(dir.path().join("index.db"), "").unwrap();
        fs::remove_file(dir.path().join(MARKER)).unwrap();
        assert_eq!(kind(&DataDir::open(dir.path()).unwrap_err()), Some(Kind::WrongDataDir));
    }

    #[test]
    fn data_dir_of_a_later_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(MARKER), "format = 2\n").unwrap();
        assert_eq!(kind(&DataDir::open(dir.path()).unwrap_err()), Some(Kind::NewerVersion));
    }

    #[test]
    fn file_in_place_of_the_data_dir_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(kind(&DataDir::open(file.path()).unwrap_err()), Some(Kind::WrongDataDir));
    }

    #[test]
    fn existing_file_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(dir.path()).unwrap();
        held.write_new("node.toml", b"first").unwrap();
        held.write_new("node.toml", b"second").unwrap();
        assert_eq!(fs::read(dir.path().join("node.toml")).unwrap(), b"first");
    }
}

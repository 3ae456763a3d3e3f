//! The client's side of `create`: lists files and folders, then sends them as a tar.
//!
//! # What is listed
//! Each path given and everything below it, under the path's own last name, as `cp -r` would place it. Folders come
//! right before what they hold, siblings in the order of their names' bytes (NFC): the same files give the same tar.
//!
//! Symbolic links and special files are never followed nor opened: all of them are named in one error, or left out
//! and told with [`Special::Skip`]. The same goes for names that can't be kept (see [`names`](super::names)), which
//! are always an error.
//!
//! # What may change meanwhile
//! A file whose length or modification time differs from what was listed, before, while or after it is read, fails
//! the whole: half of an old and half of a new photograph is worse than none. A file that appears later is not part of it.

use std::{
    fs::{self, File, Metadata as Stat},
    io::Write,
    os::unix::{ffi::OsStrExt, fs::FileTypeExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use super::{
    error::{ArchiveError, Refusal},
    metadata::{METADATA_NAME, Metadata},
    mtime::Mtime,
    names::{Kind, NAMES_BYTES_MAX, Names, nfc},
    pieces::{Pieces, read_some},
    tarball::Tarball,
};

/// What to do with symbolic links, devices, pipes and sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Special {
    /// Make nothing, and name each of them.
    #[default]
    Refuse,
    /// Leave them out; [`Walk::skipped`] names them.
    Skip,
}

/// Files and folders in the order they are sent.
#[derive(Debug, Default)]
pub struct Walk {
    items: Vec<Item>,
    skipped: Vec<Refusal>,
    totals: Progress,
}

#[derive(Debug)]
struct Item {
    source: PathBuf,
    name: String,
    kind: Kind,
    size: u64,
    mtime: Mtime,
}

/// How much was sent, or is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Progress {
    /// Files.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Bytes of files.
    pub bytes: u64,
}

/// Lists these paths and everything below them. Nothing but names, lengths and times is read.
///
/// Errors with [`ArchiveError::Refused`], [`ArchiveError::Empty`] and [`ArchiveError::Io`].
pub fn walk(paths: &[PathBuf], special: Special) -> Result<Walk, ArchiveError> {
    let mut roots = Vec::new();
    for path in paths {
        roots.push((own_name(path)?, path.clone()));
    }
    roots.sort_by_cached_key(|(name, _)| nfc(name));
    let mut lister = Lister { special, ..Lister::default() };
    for (name, path) in roots {
        lister.visit(path, name)?;
    }
    let Lister { walk, refused, .. } = lister;
    if !refused.is_empty() {
        return Err(ArchiveError::Refused(refused));
    }
    if walk.items.is_empty() {
        return Err(ArchiveError::Empty);
    }
    Ok(walk)
}

impl Walk {
    /// What there is to send.
    pub fn totals(&self) -> Progress {
        self.totals
    }

    /// What was left out, and why.
    pub fn skipped(&self) -> &[Refusal] {
        &self.skipped
    }

    /// Writes the tar: `tessera.json` first, then all that was listed. `progress` hears what was sent so far, at least
    /// once per file and 64 KiB. Errors with [`ArchiveError::Changed`] naming the file, with
    /// [`ArchiveError::Io`], and with [`ArchiveError::Stream`] when `output` fails.
    pub fn write_tar<W: Write>(
        &self,
        metadata: &Metadata,
        output: W,
        mut progress: impl FnMut(Progress),
    ) -> Result<W, ArchiveError> {
        metadata.check()?;
        let json = serde_json::to_vec(metadata)
            .map_err(|error| ArchiveError::Metadata { reason: error.to_string() })?;
        let mut tar = Tarball::new(output);
        tar.whole_file(METADATA_NAME, &json, Mtime::default()).map_err(broken)?;
        let mut sent = Progress::default();
        let mut pieces = Pieces::new();
        for item in &self.items {
            match item.kind {
                Kind::Folder => {
                    tar.folder(&item.name, item.mtime).map_err(broken)?;
                    sent.folders += 1;
                }
                Kind::File => {
                    item.send(&mut tar, &mut pieces, |bytes| {
                        sent.bytes += bytes;
                        progress(sent);
                    })?;
                    sent.files += 1;
                }
            }
            progress(sent);
        }
        tar.finish().map_err(broken)
    }
}

/// A walk under way.
#[derive(Default)]
struct Lister {
    walk: Walk,
    special: Special,
    names: Names,
    refused: Vec<Refusal>,
}

impl Lister {
    /// Lists a path and all below it, without recursion: how deep it goes is for its owner to choose.
    fn visit(&mut self, source: PathBuf, name: Vec<u8>) -> Result<(), ArchiveError> {
        let mut waiting = vec![(source, name)];
        while let Some((source, name)) = waiting.pop() {
            if self.enter(&source, &name)? {
                let inside = children(&source)?.into_iter().rev();
                waiting.extend(inside.map(|(child, source)| (source, [&name, &b"/"[..], &child].concat())));
            }
        }
        Ok(())
    }

    /// Lists one path; whether it is a folder to look into.
    fn enter(&mut self, source: &Path, name: &[u8]) -> Result<bool, ArchiveError> {
        let stat = fs::symlink_metadata(source).map_err(ArchiveError::io("read", source))?;
        let kind = match kind_of(&stat) {
            Ok(kind) => kind,
            Err(kind) => {
                self.pass_over(Refusal::Special { name: source.display().to_string(), kind });
                return Ok(false);
            }
        };
        match self.names.admit(name, kind) {
            Ok(name) => self.list(source, name, kind, &stat),
            Err(refusal) => {
                // What is inside would only break the same rule again.
                self.refused.push(refusal);
                return Ok(false);
            }
        }
        self.names.fit(NAMES_BYTES_MAX)?;
        Ok(kind == Kind::Folder)
    }

    fn pass_over(&mut self, refusal: Refusal) {
        match self.special {
            Special::Refuse => self.refused.push(refusal),
            Special::Skip => self.walk.skipped.push(refusal),
        }
    }

    fn list(&mut self, source: &Path, name: String, kind: Kind, stat: &Stat) {
        let walk = &mut self.walk;
        let size = match kind {
            Kind::File => stat.len(),
            Kind::Folder => 0,
        };
        match kind {
            Kind::File => walk.totals.files += 1,
            Kind::Folder => walk.totals.folders += 1,
        }
        walk.totals.bytes += size;
        walk.items.push(Item { source: source.to_owned(), name, kind, size, mtime: stat.into() });
    }
}

impl Item {
    /// Copies exactly what was listed, or fails naming the file.
    fn send<W: Write>(
        &self,
        tar: &mut Tarball<W>,
        pieces: &mut Pieces,
        mut sent: impl FnMut(u64),
    ) -> Result<(), ArchiveError> {
        let mut file = self.open()?;
        self.unchanged(&file)?;
        tar.file(&self.name, self.size, self.mtime).map_err(broken)?;
        let mut left = self.size;
        pieces.copy(
            |buffer| read_some(&mut file, buffer).map_err(ArchiveError::io("read", &self.source)),
            |bytes| {
                left = left.checked_sub(bytes.len() as u64).ok_or_else(|| self.changed())?;
                tar.write_all(bytes).map_err(broken)?;
                sent(bytes.len() as u64);
                Ok(())
            },
        )?;
        if left > 0 {
            return Err(self.changed());
        }
        self.unchanged(&file)
    }

    /// Never follows a link nor waits for a pipe that took the file's place.
    fn open(&self) -> Result<File, ArchiveError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::open(&self.source, flags, Mode::empty()) {
            Ok(file) => Ok(file.into()),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
                Err(self.changed())
            }
            Err(error) => Err(ArchiveError::io("read", &self.source)(error.into())),
        }
    }

    fn unchanged(&self, file: &File) -> Result<(), ArchiveError> {
        let stat = file.metadata().map_err(ArchiveError::io("read", &self.source))?;
        if stat.is_file() && stat.len() == self.size && Mtime::from(&stat) == self.mtime {
            Ok(())
        } else {
            Err(self.changed())
        }
    }

    fn changed(&self) -> ArchiveError {
        ArchiveError::Changed { path: self.source.clone() }
    }
}

/// The name a path given has in the tessera: its last part, also for `.` and `photos/..`.
fn own_name(path: &Path) -> Result<Vec<u8>, ArchiveError> {
    if let Some(name) = path.file_name() {
        return Ok(name.as_bytes().to_vec());
    }
    let absolute = path.canonicalize().map_err(ArchiveError::io("read", path))?;
    // The root of the file system has no name; that it is empty is told as a rule of names.
    Ok(absolute.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default())
}

/// The names and paths in a folder, in the order of their names.
fn children(folder: &Path) -> Result<Vec<(Vec<u8>, PathBuf)>, ArchiveError> {
    let mut children = Vec::new();
    for child in fs::read_dir(folder).map_err(ArchiveError::io("read", folder))? {
        let child = child.map_err(ArchiveError::io("read", folder))?;
        children.push((child.file_name().as_bytes().to_vec(), child.path()));
    }
    children.sort_by_cached_key(|(name, _)| nfc(name));
    Ok(children)
}

fn kind_of(stat: &Stat) -> Result<Kind, &'static str> {
    let kind = stat.file_type();
    match () {
        () if kind.is_file() => Ok(Kind::File),
        () if kind.is_dir() => Ok(Kind::Folder),
        () if kind.is_symlink() => Err("symbolic link"),
        () if kind.is_fifo() => Err("named pipe"),
        () if kind.is_socket() => Err("socket"),
        () => Err("device"),
    }
}

fn broken(error: std::io::Error) -> ArchiveError {
    ArchiveError::from_stream("upload", error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::{ffi::OsStrExt, fs::symlink};

    use tempfile::TempDir;

    use super::{
        super::{entries::Entries, pieces::PIECE_BYTES},
        *,
    };

    fn tree() -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("photos");
        fs::create_dir_all(top.join("a")).unwrap();
        fs::create_dir_all(top.join("empty")).unwrap();
        fs::write(top.join("a.jpg"), b"dot").unwrap();
        fs::write(top.join("a-b.jpg"), b"dash").unwrap();
        fs::write(top.join("a/x"), b"").unwrap();
        fs::write(dir.path().join("letter.txt"), b"letter").unwrap();
        dir
    }

    fn names(tar: &[u8]) -> Vec<String> {
        let mut entries = Entries::new("upload", tar);
        let mut names = Vec::new();
        while let Some(entry) = entries.next_entry().unwrap() {
            names.push(String::from_utf8(entry.name).unwrap());
        }
        names
    }

    fn sent(walk: &Walk) -> Result<Vec<u8>, ArchiveError> {
        walk.write_tar(&Metadata::default(), Vec::new(), |_| {})
    }

    #[test]
    fn walk_lists_folders_before_what_they_hold_in_order_of_names() {
        let dir = tree();
        let paths = [dir.path().join("photos/"), dir.path().join("letter.txt")];
        let walk = walk(&paths, Special::Refuse).unwrap();
        let expected = [
            "tessera.json",
            "letter.txt",
            "photos",
            "photos/a",
            "photos/a/x",
            "photos/a-b.jpg",
            "photos/a.jpg",
            "photos/empty",
        ];
        assert_eq!(names(&sent(&walk).unwrap()), expected);
        assert_eq!(walk.totals(), Progress { files: 4, folders: 3, bytes: 13 });
    }

    #[test]
    fn folders_inside_each_other_need_no_deep_stack() {
        let dir = tempfile::tempdir().unwrap();
        let deepest = "d/".repeat(1000);
        fs::create_dir_all(dir.path().join(&deepest)).unwrap();
        fs::write(dir.path().join(&deepest).join("x"), b"").unwrap();
        let path = dir.path().join("d");
        let listing = move || walk(&[path], Special::Refuse).unwrap().totals();
        let thread = std::thread::Builder::new().stack_size(64 << 10).spawn(listing).unwrap();
        assert_eq!(thread.join().unwrap(), Progress { files: 1, folders: 1000, bytes: 0 });
    }

    #[test]
    fn walk_tells_its_progress_up_to_the_totals() {
        let dir = tree();
        let walk = walk(&[dir.path().join("photos")], Special::Refuse).unwrap();
        let mut last = Progress::default();
        walk.write_tar(&Metadata::default(), Vec::new(), |progress| last = progress).unwrap();
        assert_eq!(last, walk.totals());
    }

    #[test]
    fn folder_named_by_a_dot_keeps_its_own_name() {
        let dir = tree();
        let dots = dir.path().join("photos/a/..");
        let listed = walk(&[dots], Special::Refuse).unwrap();
        assert_eq!(listed.items[0].name, "photos");
        assert!(matches!(walk(&["/".into()], Special::Refuse), Err(ArchiveError::Refused(_))));
    }

    #[test]
    fn link_pipe_and_bad_name_are_refused_naming_each() {
        let dir = tree();
        let top = dir.path().join("photos");
        symlink("a.jpg", top.join("link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, top.join("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0)
            .unwrap();
        fs::write(top.join(std::ffi::OsStr::from_bytes(b"bad\xff")), b"").unwrap();
        let error = walk(&[top], Special::Refuse).unwrap_err().to_string();
        for part in
            ["3 names", "photos/link", "symbolic link", "photos/pipe", "named pipe", "bad", "--skip-special"]
        {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn link_and_pipe_are_left_out_when_told_so() {
        let dir = tree();
        symlink("a.jpg", dir.path().join("photos/link")).unwrap();
        let walk = walk(&[dir.path().join("photos")], Special::Skip).unwrap();
        assert_eq!(walk.skipped().len(), 1);
        assert!(!names(&sent(&walk).unwrap()).contains(&"photos/link".to_owned()));
    }

    #[test]
    fn two_paths_with_one_name_are_refused() {
        let dir = tree();
        let paths = [dir.path().join("letter.txt"), dir.path().join("letter.txt")];
        assert!(matches!(walk(&paths, Special::Refuse), Err(ArchiveError::Refused(_))));
    }

    #[test]
    fn nothing_to_send_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        symlink("x", dir.path().join("link")).unwrap();
        assert!(matches!(walk(&[], Special::Refuse), Err(ArchiveError::Empty)));
        assert!(matches!(walk(&[dir.path().join("link")], Special::Skip), Err(ArchiveError::Empty)));
    }

    #[test]
    fn missing_path_is_an_error_naming_it() {
        let error = walk(&["/nowhere/photos".into()], Special::Refuse).unwrap_err().to_string();
        assert!(error.contains("cannot read /nowhere/photos"), "{error}");
    }

    #[test]
    fn file_that_changed_since_it_was_listed_is_an_error_naming_it() {
        let change: [fn(&Path); 5] = [
            |path| fs::write(path, b"longer than before").unwrap(),
            |path| fs::write(path, b"").unwrap(),
            |path| File::open(path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap(),
            |path| fs::remove_file(path).unwrap(),
            |path| {
                fs::remove_file(path).unwrap();
                symlink("/dev/zero", path).unwrap();
            },
        ];
        for change in change {
            let dir = tree();
            let path = dir.path().join("letter.txt");
            let walk = walk(std::slice::from_ref(&path), Special::Refuse).unwrap();
            change(&path);
            assert!(matches!(sent(&walk), Err(ArchiveError::Changed { path: named }) if named == path));
        }
    }

    #[test]
    fn file_that_changes_while_it_is_sent_is_an_error_naming_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("video");
        fs::write(&path, vec![1; 4 * PIECE_BYTES]).unwrap();
        let walk = walk(std::slice::from_ref(&path), Special::Refuse).unwrap();
        for length in [2 * PIECE_BYTES, 8 * PIECE_BYTES] {
            let file = File::options().write(true).open(&path).unwrap();
            let sent = walk.write_tar(&Metadata::default(), Vec::new(), |_| {
                file.set_len(length as u64).unwrap();
            });
            assert!(matches!(sent, Err(ArchiveError::Changed { path: named }) if named == path), "{length}");
        }
    }
}

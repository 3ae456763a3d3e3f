//! `verify FOLDER`: is an exported folder still what its author signed? No daemon is needed, and nothing is changed.
//!
//! One pass over the files checks them against the bag's own checksums (RFC 8493) and, of a public tessera, builds
//! the very tar its manifest speaks about, so that its BLAKE3 can be compared with the signed one. That works also
//! where modification times or empty folders were lost on the way, since `entries.txt` remembers them.
//!
//! What it can't show: of a private tessera the author signed the encrypted content, which an unpacked bag does not
//! hold. Its bag is checked against itself only; `export --raw` gives what the signature covers.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use proto::{
    AuthorId, TesseraId,
    manifest::{Manifest, SignedManifest, Visibility},
};
use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha512};

use super::{
    bag::{DATA, ENTRIES, SUMS, TAG_SUMS, TAGS_BEFORE, TAGS_BEHIND, TOP},
    error::ArchiveError,
    listing::{LISTING_BYTES_MAX, Sum, parse_entries, parse_sums},
    mtime::Mtime,
    names::{Kind, NAMES_BYTES_MAX, Names, nfc},
    pieces::{Pieces, read_some},
    rebuilt::{Content, Rebuilt, Tags},
    unpack::{MANIFEST_NAME, raw_name},
};

/// What an exported folder holds, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FolderReport {
    /// The tessera.
    pub tessera: TesseraId,
    /// Who signed it; the signature is valid.
    pub author: AuthorId,
    /// Who may read it.
    pub visibility: Visibility,
    /// Files of the bag that were read, its own included.
    pub files: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// How the content compares with the signed manifest.
    pub content: ContentState,
    /// What is wrong with the files; of very many, the first.
    pub problems: Vec<Problem>,
}

impl FolderReport {
    /// Nothing was found to be wrong.
    pub fn is_intact(&self) -> bool {
        self.problems.is_empty() && !matches!(self.content, ContentState::Differs | ContentState::Incomplete)
    }
}

/// How content compares with the signed manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentState {
    /// It is what the author signed.
    Signed,
    /// It is not what the author signed, even where the bag's own checksums fit.
    Differs,
    /// Files are missing, so there is nothing to compare.
    Incomplete,
    /// The bag of a private tessera, unpacked: the author signed the encrypted content.
    Unpacked,
}

/// Something wrong with one file of a bag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[serde(tag = "problem", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Problem {
    /// A file or folder of the bag is not there, or is something else.
    #[error("{path:?} is missing")]
    Missing {
        /// Its path in the bag.
        path: String,
    },
    /// A file's bytes are not what the bag says.
    #[error("{path:?} is damaged or was changed")]
    Damaged {
        /// Its path in the bag.
        path: String,
    },
    /// Something that the bag does not speak about.
    #[error("{path:?} does not belong to the bag")]
    Extra {
        /// Its path in the bag.
        path: String,
    },
    /// The operating system does not give it.
    #[error("{path:?} can't be read: {reason}")]
    Unreadable {
        /// Its path in the bag.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A list of the bag can't be used.
    #[error("{path:?} is not usable: {reason}")]
    Listing {
        /// Its path in the bag.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Checks a folder that [`unpack`](super::unpack::unpack) or [`unpack_raw`](super::unpack::unpack_raw) wrote.
/// `progress` hears the bytes read so far.
///
/// What is wrong with files is told in the report. Errors with [`ArchiveError::Proto`] when the manifest or its
/// signature is not valid, and with [`ArchiveError::Io`], also when there is no manifest or no content.
pub fn check_folder(folder: &Path, progress: impl FnMut(u64)) -> Result<FolderReport, ArchiveError> {
    let manifest = read_manifest(folder)?;
    let said = manifest.manifest();
    let raw = folder.join(raw_name(said.visibility));
    let mut check = Check {
        bag: folder.join(TOP),
        progress,
        files: 0,
        bytes: 0,
        problems: Vec::new(),
        pieces: Pieces::new(),
    };
    let content = if raw.exists() { check.raw(&raw, said)? } else { check.bag(said)? };
    Ok(FolderReport {
        tessera: manifest.id(),
        author: said.author,
        visibility: said.visibility,
        files: check.files,
        bytes: check.bytes,
        content,
        problems: check.problems,
    })
}

fn read_manifest(folder: &Path) -> Result<SignedManifest, ArchiveError> {
    let path = folder.join(MANIFEST_NAME);
    let bytes = read_bounded(&path, proto::limits::MANIFEST_BYTES_MAX)
        .map_err(ArchiveError::io("read (is this a finished export?)", &path))?;
    Ok(SignedManifest::parse(bytes.into())?)
}

/// A check under way.
struct Check<P> {
    bag: PathBuf,
    progress: P,
    files: u64,
    bytes: u64,
    problems: Vec<Problem>,
    pieces: Pieces,
}

/// A file or folder of the data, as the bag's lists describe it.
struct Line {
    /// Its path in the bag, `data/…`.
    path: String,
    mtime: Mtime,
    /// None for a folder.
    sum: Option<Sum>,
}

impl<P: FnMut(u64)> Check<P> {
    fn raw(&mut self, path: &Path, said: &Manifest) -> Result<ContentState, ArchiveError> {
        let mut content = Content::default();
        let mut file = open(path).map_err(ArchiveError::io("read", path))?;
        self.copy(&mut file, |bytes| content.write_all(bytes)).map_err(ArchiveError::io("read", path))?;
        Ok(content.compare(said))
    }

    fn bag(&mut self, said: &Manifest) -> Result<ContentState, ArchiveError> {
        fs::symlink_metadata(&self.bag).map_err(ArchiveError::io("read", &self.bag))?;
        let mut rebuilt = Rebuilt::new(said);
        let tags = self.tags();
        let (lines, names) = self.lines(&tags)?;
        rebuilt.before(&tags);
        for line in &lines {
            self.line(line, &mut rebuilt);
        }
        rebuilt.behind(&tags);
        self.extras(&names);
        Ok(match rebuilt.finish() {
            _ if said.visibility == Visibility::Private => ContentState::Unpacked,
            Some(content) => content.compare(said),
            None => ContentState::Incomplete,
        })
    }

    /// The bag's own files, checked against `tagmanifest-sha512.txt`.
    fn tags(&mut self) -> Tags {
        let mut tags = Tags::new();
        for name in TAGS_BEFORE.into_iter().chain(TAGS_BEHIND) {
            match read_bounded(&self.bag.join(name), TAG_BYTES_MAX) {
                Ok(bytes) => drop(tags.insert(name, bytes)),
                Err(error) => self.note(Problem::of(name, &error)),
            }
        }
        let sums: HashMap<String, Sum> = self.sums(TAG_SUMS, &tags).collect();
        for name in TAGS_BEFORE.into_iter().chain([ENTRIES, SUMS]) {
            let Some(bytes) = tags.get(name) else { continue };
            self.files += 1;
            if sums.get(name) != Some(&Sum::of(bytes)) {
                self.note(Problem::Damaged { path: name.to_owned() });
            }
        }
        tags
    }

    /// What the lists say that there must be, in the order of the tar, and its names. They are bound to the rules that
    /// they were made by, so that lists which nobody made so take no more memory than others.
    fn lines(&mut self, tags: &Tags) -> Result<(Vec<Line>, Names), ArchiveError> {
        let mut sums: HashMap<String, Sum> = self.sums(SUMS, tags).collect();
        let (mut lines, mut names) = (Vec::new(), Names::default());
        for line in parse_entries(&text(tags, ENTRIES)) {
            match line {
                Ok((path, kind, mtime)) if kind == Kind::Folder || sums.contains_key(&path) => {
                    let sum = if kind == Kind::File { sums.remove(&path) } else { None };
                    self.admit(ENTRIES, Line { path, mtime, sum }, &mut names, &mut lines)?;
                }
                Ok((path, ..)) => {
                    self.unusable(ENTRIES, format!("{path:?} does not stand in the other list"))
                }
                Err(line) => self.unusable(ENTRIES, format!("a wrong line, {line:?}")),
            }
        }
        for (path, sum) in sums {
            self.unusable(SUMS, format!("{path:?} does not stand in the other list"));
            let line = Line { path, mtime: Mtime::default(), sum: Some(sum) };
            self.admit(SUMS, line, &mut names, &mut lines)?;
        }
        Ok((lines, names))
    }

    /// Adds a line if its path leads nowhere but into the data.
    fn admit(
        &mut self,
        list: &str,
        line: Line,
        names: &mut Names,
        lines: &mut Vec<Line>,
    ) -> Result<(), ArchiveError> {
        let Some(inside) = in_data(line.path.as_bytes()) else {
            self.unusable(list, format!("{:?} is not in the folder {DATA}", line.path));
            return Ok(());
        };
        let kind = if line.sum.is_some() { Kind::File } else { Kind::Folder };
        match names.admit(inside, kind) {
            Ok(_) => lines.push(line),
            Err(refusal) => self.unusable(list, refusal.to_string()),
        }
        names.fit(NAMES_BYTES_MAX)
    }

    fn sums(&mut self, name: &str, tags: &Tags) -> impl Iterator<Item = (String, Sum)> + use<P> {
        let mut sums = Vec::new();
        for line in parse_sums(&text(tags, name)) {
            match line {
                Ok((sum, path)) => sums.push((path, sum)),
                Err(line) => self.unusable(name, format!("a wrong line, {line:?}")),
            }
        }
        sums.into_iter()
    }

    fn line(&mut self, line: &Line, rebuilt: &mut Rebuilt) {
        let path = self.bag.join(&line.path);
        let checked = match &line.sum {
            Some(sum) => self.file(&path, line, sum, rebuilt).inspect_err(|_| rebuilt.give_up()),
            None => {
                rebuilt.folder(&line.path, line.mtime);
                check_folder_at(&path)
            }
        };
        if let Err(error) = checked {
            self.note(Problem::of(&line.path, &error));
        }
    }

    fn file(&mut self, path: &Path, line: &Line, sum: &Sum, rebuilt: &mut Rebuilt) -> io::Result<()> {
        let mut file = open(path)?;
        rebuilt.file(&line.path, file.metadata()?.len(), line.mtime);
        let mut hasher = Sha512::new();
        self.copy(&mut file, |bytes| {
            hasher.update(bytes);
            rebuilt.bytes(bytes);
            Ok(())
        })?;
        if Sum::finish(hasher) != *sum {
            self.note(Problem::Damaged { path: line.path.clone() });
        }
        Ok(())
    }

    /// Whatever lies in the bag and isn't known to it.
    fn extras(&mut self, names: &Names) {
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            // A folder that can't be listed is one whose files were told to be missing.
            let Ok(children) = fs::read_dir(self.bag.join(&folder)) else { continue };
            for child in children.flatten() {
                let path = folder.join(child.file_name());
                if !is_known(&nfc(path.as_os_str().as_bytes()), names) {
                    self.note(Problem::Extra { path: path.display().to_string() });
                } else if child.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                }
            }
        }
    }

    fn copy(&mut self, file: &mut File, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        self.files += 1;
        self.pieces.copy(
            |buffer| read_some(file, buffer),
            |bytes| {
                to(bytes)?;
                self.bytes += bytes.len() as u64;
                (self.progress)(self.bytes);
                Ok(())
            },
        )
    }

    fn unusable(&mut self, name: &str, reason: String) {
        let reason = reason.chars().take(REASON_CHARS_MAX).collect();
        self.note(Problem::Listing { path: name.to_owned(), reason });
    }

    fn note(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}

impl Problem {
    fn of(path: &str, error: &io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing { path },
            _ => Self::Unreadable { path, reason: error.to_string() },
        }
    }
}

fn text<'a>(tags: &'a Tags, name: &str) -> std::borrow::Cow<'a, str> {
    String::from_utf8_lossy(tags.get(name).map(Vec::as_slice).unwrap_or_default())
}

/// What of a path is inside the data.
fn in_data(path: &[u8]) -> Option<&[u8]> {
    path.strip_prefix(DATA.as_bytes())?.strip_prefix(b"/")
}

/// May something with this path lie in the bag?
fn is_known(path: &[u8], names: &Names) -> bool {
    let mut own = TAGS_BEFORE.into_iter().chain(TAGS_BEHIND).chain([DATA]);
    own.any(|name| name.as_bytes() == path) || in_data(path).is_some_and(|inside| names.knows(inside))
}

fn check_folder_at(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

/// Opens a file, and nothing but a file.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a file")) }
}

fn read_bounded(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        Err(io::Error::other(format!("it is longer than {limit} bytes")))
    } else {
        Ok(bytes)
    }
}

/// The longest of the bag's own files: the lists, bounded together, and a description.
const TAG_BYTES_MAX: usize = LISTING_BYTES_MAX + (1 << 20);
/// Problems that are told.
const PROBLEMS_MAX: usize = 10_000;
/// Of a line that is not understood, so much is told.
const REASON_CHARS_MAX: usize = 4096;

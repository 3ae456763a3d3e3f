//! Reading a backup, which may come from anywhere: all of it is checked before any of it is used.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use actors::keys::{AUTHOR_KEY_NAME, Author, NODE_KEY_NAME};
use proto::keys::{NodeKey, Zeroizing};
use serde::Deserialize;
use tar::{Archive, Entry, EntryType};

use super::{
    BLOCK_BYTES, END_BYTES, FORMAT, Listed, MANIFEST_BYTES_MAX, MANIFEST_NAME, Manifest, Member, NEEDED,
    SMALL_FILE_BYTES_MAX, kind, pack::Hashed, padded,
};
use crate::{
    data_dir::{MARKER, check_marker},
    failure::Failure,
    problem::Kind,
};

/// A backup, all of which is as it was made.
pub(crate) struct Backup {
    path: PathBuf,
    file: File,
    /// What is in it.
    pub(crate) manifest: Manifest,
    /// The bytes of what is no snapshot, in the manifest's order.
    small: Vec<Option<Zeroizing<Vec<u8>>>>,
    /// Where the bytes of each file begin in the tar.
    positions: Vec<u64>,
}

impl Backup {
    /// Reads and checks all of it. Fails with [`Kind::Damaged`] and the name of what is wrong, and with
    /// [`Kind::NewerVersion`] when a later version of this software made it.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let unreadable = |error: io::Error| Failure::io("reading", path, &error);
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let mut archive = Archive::new(BufReader::new(&file));
        let check = |reason: String| {
            Failure::new(
                Kind::Damaged,
                format!("{} is not used, nothing was changed: {reason}", path.display()),
            )
        };
        let mut entries = archive.entries().map_err(unreadable)?.raw(true);
        let mut next = |name: &str, bytes: Option<u64>| -> Result<_, Failure> {
            let entry = entries.next().ok_or_else(|| check(format!("it ends before {name}")))?;
            let entry =
                entry.map_err(|error| check(format!("it is no tar where {name} should be: {error}")))?;
            plain(&entry, name, bytes).map_err(&check)?;
            Ok(entry)
        };
        let manifest =
            read_manifest(next(MANIFEST_NAME, None)?, length).map_err(|error| error.with(path, &check))?;
        let (mut small, mut positions) = (Vec::new(), Vec::new());
        for listed in &manifest.files {
            let entry = next(&listed.name, Some(listed.bytes))?;
            positions.push(entry.raw_file_position());
            small.push(read_file(entry, listed).map_err(&check)?);
        }
        let backup = Self {
            path: path.to_owned(),
            file: file.try_clone().map_err(unreadable)?,
            manifest,
            small,
            positions,
        };
        backup.check_end(length).map_err(&check)?;
        backup.check_content(&check)?;
        Ok(backup)
    }

    /// Its files. The bytes of those that are no snapshots are at hand.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Listed, Option<&[u8]>)> {
        self.manifest
            .files
            .iter()
            .zip(&self.small)
            .map(|(listed, small)| (listed, small.as_deref().map(Vec::as_slice)))
    }

    /// Writes the bytes of one of its files, and hashes them once more: the backup may have changed since.
    pub(crate) fn copy(&self, listed: &Listed, to: &mut dyn Write) -> io::Result<()> {
        let at = self.manifest.files.iter().position(|one| one == listed);
        let position = at.and_then(|at| self.positions.get(at)).copied();
        let mut file = &self.file;
        file.seek(SeekFrom::Start(position.ok_or(io::ErrorKind::NotFound)?))?;
        let mut hashed = Hashed { from: file.take(listed.bytes), hasher: blake3::Hasher::new() };
        io::copy(&mut hashed, to)?;
        if hashed.checksum() == listed.blake3 {
            return Ok(());
        }
        let reason = format!("{} changed in {} meanwhile", listed.name, self.path.display());
        Err(io::Error::new(io::ErrorKind::InvalidData, reason))
    }

    /// Whose keys are in it; always there.
    pub(crate) fn author(&self) -> Option<Author> {
        let (_, bytes) = self.files().find(|(listed, _)| listed.name == AUTHOR_KEY_NAME)?;
        Author::parse(std::str::from_utf8(bytes?).ok()?).ok()
    }

    /// Nothing stands behind the files but the end of the tar.
    fn check_end(&self, length: u64) -> Result<(), String> {
        let mut end = [0; 2 * BLOCK_BYTES];
        let mut file = &self.file;
        let read = file
            .seek(SeekFrom::Start(length.saturating_sub(END_BYTES)))
            .and_then(|_| file.read_exact(&mut end));
        match read {
            Ok(()) if end.iter().all(|byte| *byte == 0) => Ok(()),
            _ => Err("it does not end as a tar does".to_owned()),
        }
    }

    /// The keys are those that the manifest names, and the data directory is of a version this software knows.
    fn check_content(&self, check: &impl Fn(String) -> Failure) -> Result<(), Failure> {
        let text = |name: &str| {
            let found = self.files().find(|(listed, _)| listed.name == name).and_then(|(_, bytes)| bytes);
            std::str::from_utf8(found.unwrap_or_default())
                .map_err(|_| check(format!("its {name} is no text")))
        };
        check_marker(&self.path, text(MARKER)?)?;
        let author = Author::parse(text(AUTHOR_KEY_NAME)?)
            .map_err(|reason| check(format!("its {AUTHOR_KEY_NAME}: {reason}")))?;
        let node = NodeKey::from_pem(text(NODE_KEY_NAME)?)
            .map_err(|reason| check(format!("its {NODE_KEY_NAME}: {reason}")))?;
        if (author.id(), node.id()) == (self.manifest.author, self.manifest.node) {
            return Ok(());
        }
        Err(check(format!("its keys are not those that its {MANIFEST_NAME} names")))
    }
}

/// Why a manifest is not used.
enum Refusal {
    Damaged(String),
    Newer(u32),
}

impl Refusal {
    fn with(self, path: &Path, check: &impl Fn(String) -> Failure) -> Failure {
        match self {
            Self::Damaged(reason) => check(reason),
            Self::Newer(format) => {
                let detail = format!(
                    "{} has format {format}; this software knows formats up to {FORMAT}: update it",
                    path.display()
                );
                Failure::new(Kind::NewerVersion, detail)
            }
        }
    }
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Damaged(reason)
    }
}

/// An entry is a plain file of this name, and of this length where it is known.
fn plain<R: Read>(entry: &Entry<'_, R>, name: &str, bytes: Option<u64>) -> Result<(), String> {
    let found = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let shown = || found.escape_debug().take(NAME_SHOWN_CHARS).collect::<String>();
    if entry.header().entry_type() != EntryType::Regular {
        return Err(format!("{} in it is not a plain file", shown()));
    }
    if found != name {
        return Err(format!("{} stands in it where {name} should be", shown()));
    }
    let size = entry.size();
    match bytes {
        Some(bytes) if size != bytes => Err(format!("{name} in it has {size} bytes, not {bytes}")),
        None if size > MANIFEST_BYTES_MAX => Err(format!("{name} in it is too long: {size} bytes")),
        _ => Ok(()),
    }
}

fn read_manifest<R: Read>(mut entry: Entry<'_, R>, length: u64) -> Result<Manifest, Refusal> {
    let mut json = Vec::new();
    let size = entry.size();
    let damaged = |error: &dyn std::fmt::Display| format!("its {MANIFEST_NAME} cannot be read: {error}");
    entry.read_to_end(&mut json).map_err(|error| damaged(&error))?;
    // A later version may have changed everything but this.
    let Versioned { format } = serde_json::from_slice(&json).map_err(|error| damaged(&error))?;
    if format > FORMAT {
        return Err(Refusal::Newer(format));
    }
    let manifest: Manifest = serde_json::from_slice(&json).map_err(|error| damaged(&error))?;
    if format != FORMAT {
        return Err(format!("its {MANIFEST_NAME} names the format {format}, which never was").into());
    }
    check_list(&manifest.files)?;
    let files = manifest.files.iter().map(|listed| listed.bytes);
    let whole = files.chain([size]).try_fold(END_BYTES, |sum, bytes| sum.checked_add(padded(bytes)?));
    if whole != Some(length) {
        let whole = whole.map_or_else(|| "more than there can be".to_owned(), |whole| whole.to_string());
        return Err(format!(
            "it has {length} bytes, but what it lists needs {whole}: it is cut short or changed"
        )
        .into());
    }
    Ok(manifest)
}

#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

/// All that is needed is listed, and nothing that has no place in a backup, and each once.
fn check_list(files: &[Listed]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for Listed { name, bytes, .. } in files {
        let shown = || name.escape_debug().take(NAME_SHOWN_CHARS).collect::<String>();
        let member =
            kind(name).ok_or_else(|| format!("it lists {}, which has no place in a backup", shown()))?;
        if !names.insert(name.as_str()) {
            return Err(format!("it lists {name} twice"));
        }
        if member != Member::Snapshot && *bytes > SMALL_FILE_BYTES_MAX {
            return Err(format!("it lists {name} with {bytes} bytes, which is more than it can have"));
        }
    }
    match NEEDED.into_iter().find(|name| !names.contains(name)) {
        Some(missing) => Err(format!("{missing} is not in it")),
        None => Ok(()),
    }
}

/// Reads a file and checks its hash; of a snapshot nothing is held.
fn read_file<R: Read>(entry: Entry<'_, R>, listed: &Listed) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    let mut hashed = Hashed { from: entry, hasher: blake3::Hasher::new() };
    let unreadable = |error: io::Error| format!("its {} cannot be read: {error}", listed.name);
    let small = if listed.is_snapshot() {
        io::copy(&mut hashed, &mut io::sink()).map_err(unreadable)?;
        None
    } else {
        let capacity = usize::try_from(listed.bytes + 1).unwrap_or_default();
        let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
        hashed.read_to_end(&mut bytes).map_err(unreadable)?;
        Some(bytes)
    };
    if hashed.checksum() == listed.blake3 {
        return Ok(small);
    }
    Err(format!("its {} is damaged: the checksum is another", listed.name))
}

/// Of a name that somebody else chose.
const NAME_SHOWN_CHARS: usize = 100;

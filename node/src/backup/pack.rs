//! Making a backup. Only reads the data directory, whether a daemon runs or not.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use actors::{
    keys::{AUTHOR_KEY_NAME, Author, NODE_KEY_NAME, read_node_key},
    storage::{SALT_FILE, SNAPSHOTS_FOLDER, newest_snapshot},
};
use config::{FILE_NAME, StorageConfig};
use proto::{Checksum, keys::Zeroizing};
use tar::{Builder, EntryType, Header};

use super::{FORMAT, Listed, MANIFEST_NAME, Manifest, NEEDED, SMALL_FILE_BYTES_MAX};
use crate::{failure::Failure, keys, problem::Kind};

/// A backup that is about to be written.
pub(crate) struct Pack {
    /// What will be in it.
    pub(crate) manifest: Manifest,
    /// In the manifest's order.
    sources: Vec<Source>,
}

struct Source {
    path: PathBuf,
    content: Content,
}

enum Content {
    Small(Zeroizing<Vec<u8>>),
    /// It may be removed meanwhile, for a newer one; what is open stays.
    Snapshot(File),
}

impl Pack {
    /// Gathers it. Fails as reading the keys does.
    pub(crate) fn gather(config: &StorageConfig, now_ms: u64) -> Result<Self, Failure> {
        let folder = &config.data_dir;
        let node = read_node_key(&folder.join(NODE_KEY_NAME)).map_err(keys::failed)?;
        let author = Author::read(&folder.join(AUTHOR_KEY_NAME)).map_err(keys::failed)?;
        let manifest = Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: node.id(),
            author: author.id(),
            created_ms: now_ms,
            files: Vec::new(),
        };
        let mut pack = Self { manifest, sources: Vec::new() };
        for name in NEEDED {
            pack.small(folder, name)?;
        }
        for name in [FILE_NAME, SALT_FILE] {
            if folder.join(name).exists() {
                pack.small(folder, name)?;
            }
        }
        pack.snapshot(config)?;
        Ok(pack)
    }

    /// Writes it.
    pub(crate) fn write(self, to: &mut dyn Write) -> Result<(), Failure> {
        let Self { manifest, sources } = self;
        let json = serde_json::to_vec_pretty(&manifest).map_err(io::Error::from);
        let json = json.map_err(|error| Failure::new(Kind::Internal, error.to_string()))?;
        let mut tar = Builder::new(to);
        let failed = |error: io::Error| Failure::new(Kind::Io, format!("writing the backup failed: {error}"));
        let header = |name: &str, bytes| header(name, bytes, manifest.created_ms).map_err(failed);
        tar.append(&header(MANIFEST_NAME, json.len() as u64)?, json.as_slice()).map_err(failed)?;
        for (listed, source) in manifest.files.iter().zip(sources) {
            let header = header(&listed.name, listed.bytes)?;
            match source.content {
                Content::Small(bytes) => tar.append(&header, bytes.as_slice()).map_err(failed)?,
                Content::Snapshot(file) => {
                    let mut hashed = Hashed { from: file.take(listed.bytes), hasher: blake3::Hasher::new() };
                    tar.append(&header, &mut hashed).map_err(failed)?;
                    if hashed.checksum() != listed.blake3 {
                        let detail =
                            format!("{} changed while it was read: try again", source.path.display());
                        return Err(Failure::new(Kind::Conflict, detail));
                    }
                }
            }
        }
        tar.finish().map_err(failed)
    }

    fn small(&mut self, folder: &Path, name: &str) -> Result<(), Failure> {
        let path = folder.join(name);
        let failed = |error: io::Error| Failure::io("reading", &path, &error);
        let file = File::open(&path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if length > SMALL_FILE_BYTES_MAX {
            let detail = format!("{} is longer than any such file: {length} bytes", path.display());
            return Err(Failure::new(Kind::Refused, detail));
        }
        let capacity = usize::try_from(length + 1).unwrap_or_default();
        let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
        file.take(SMALL_FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
        self.list(name.to_owned(), bytes.len() as u64, Checksum::of(&bytes));
        self.sources.push(Source { path, content: Content::Small(bytes) });
        Ok(())
    }

    fn snapshot(&mut self, config: &StorageConfig) -> Result<(), Failure> {
        let folder = config.data_dir.join(SNAPSHOTS_FOLDER);
        let newest = newest_snapshot(config).map_err(|error| Failure::io("reading", &folder, &error))?;
        let Some((path, mut file)) = newest else { return Ok(()) };
        let failed = |error: io::Error| Failure::io("reading", &path, &error);
        let length = file.metadata().map_err(failed)?.len();
        file.rewind().map_err(failed)?;
        let mut hashed = Hashed { from: &file, hasher: blake3::Hasher::new() };
        io::copy(&mut hashed, &mut io::sink()).map_err(failed)?;
        let checksum = hashed.checksum();
        file.rewind().map_err(failed)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.list(format!("{SNAPSHOTS_FOLDER}/{name}"), length, checksum);
        self.sources.push(Source { path, content: Content::Snapshot(file) });
        Ok(())
    }

    fn list(&mut self, name: String, bytes: u64, blake3: Checksum) {
        self.manifest.files.push(Listed { name, bytes, blake3 });
    }
}

/// Hashes what is read through it.
pub(super) struct Hashed<R> {
    pub(super) from: R,
    pub(super) hasher: blake3::Hasher,
}

impl<R> Hashed<R> {
    pub(super) fn checksum(&self) -> Checksum {
        Checksum::from_bytes(*self.hasher.finalize().as_bytes())
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(bytes)?;
        self.hasher.update(bytes.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// Of a plain file for its owner only.
fn header(name: &str, bytes: u64, created_ms: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(OWNER_ONLY);
    header.set_size(bytes);
    header.set_mtime(created_ms / 1000);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    Ok(header)
}

const OWNER_ONLY: u32 = 0o600;

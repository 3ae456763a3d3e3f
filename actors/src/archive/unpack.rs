//! `export`: writes what is stored to a folder that ordinary tools understand.
//!
//! | written to the folder | holds |
//! |---|---|
//! | `tessera/` | the bag; or, of a raw export, `content.tar` or `content.tar.age`: the content as it is stored |
//! | `manifest.cbor` | the signed manifest, as stored |
//! | `README.txt` | how to read all that without this program |
//!
//! # Invariants
//! 1. Nothing is written outside the folder, which did not exist before or was empty: names are checked as they are
//!    on the way in, and there are no links to follow.
//! 2. Modification times are restored, to the nanosecond where the file system keeps them.
//! 3. All of it is on the disk when the call returns (one `syncfs`, since a sync per file takes minutes for thousands).
//!    The manifest comes last: a folder without `manifest.cbor` is an export that did not finish.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use proto::manifest::{SignedManifest, Visibility};

use super::{
    bag::TOP,
    entries::{Entries, Entry},
    error::{ArchiveError, Refusal},
    metadata::date,
    mtime::Mtime,
    names::{Kind, NAMES_BYTES_MAX, Names},
    pieces::{Pieces, read_some},
    walk::Progress,
};

/// The manifest in an exported folder.
pub const MANIFEST_NAME: &str = "manifest.cbor";

/// The name of the stored content in a raw export.
pub fn raw_name(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Public => "content.tar",
        Visibility::Private => "content.tar.age",
    }
}

/// Writes the bag that this tar holds, the manifest and a README to `folder`.
///
/// Returns what was written, the bag's own files included. Errors with [`ArchiveError::Destination`] when the folder holds something already, with
/// [`ArchiveError::Truncated`], [`ArchiveError::Tar`] and [`ArchiveError::Refused`] when the tar is not a bag of ours,
/// and with [`ArchiveError::Io`]. What was written until then stays.
pub fn unpack(
    bag: impl Read,
    manifest: &SignedManifest,
    folder: &Path,
    mut progress: impl FnMut(Progress),
) -> Result<Progress, ArchiveError> {
    let disk = prepare(folder)?;
    let mut unpacking =
        Unpacking { folder, folders: Vec::new(), names: Names::default(), done: Progress::default() };
    let mut entries = Entries::new(CONTENT, bag);
    let mut pieces = Pieces::new();
    while let Some(entry) = entries.next_entry()? {
        unpacking.write(&entry, &mut entries, &mut pieces, &mut progress)?;
    }
    let done = unpacking.date_folders()?;
    finish(folder, &disk, manifest, BAG_README)?;
    Ok(done)
}

/// Writes the content as it is stored, the manifest and a README to `folder`. Returns the length of the content in
/// bytes. Errors like [`unpack`].
pub fn unpack_raw(
    mut content: impl Read,
    manifest: &SignedManifest,
    folder: &Path,
    mut progress: impl FnMut(Progress),
) -> Result<u64, ArchiveError> {
    let disk = prepare(folder)?;
    let visibility = manifest.manifest().visibility;
    let path = folder.join(raw_name(visibility));
    let mut file = create(&path)?;
    let mut done = Progress { files: 1, ..Progress::default() };
    Pieces::new().copy(
        |buffer| read_some(&mut content, buffer).map_err(|error| ArchiveError::from_stream(CONTENT, error)),
        |bytes| {
            file.write_all(bytes).map_err(ArchiveError::io("write", &path))?;
            done.bytes += bytes.len() as u64;
            progress(done);
            Ok(())
        },
    )?;
    if done.bytes != manifest.manifest().content_len {
        return Err(ArchiveError::Truncated {
            what: CONTENT,
            missing: "before the length its manifest names",
        });
    }
    let readme = match visibility {
        Visibility::Public => RAW_README,
        Visibility::Private => SEALED_README,
    };
    finish(folder, &disk, manifest, readme)?;
    Ok(done.bytes)
}

/// A bag being written.
struct Unpacking<'a> {
    folder: &'a Path,
    /// Dated at the end, since writing into a folder changes its time.
    folders: Vec<(PathBuf, Mtime)>,
    names: Names,
    done: Progress,
}

impl Unpacking<'_> {
    fn write<R: Read>(
        &mut self,
        entry: &Entry,
        bytes: &mut Entries<R>,
        pieces: &mut Pieces,
        progress: &mut impl FnMut(Progress),
    ) -> Result<(), ArchiveError> {
        let name = self.names.admit(&entry.name, entry.kind)?;
        // Here each begins with the folders of the bag: what fitted when it was made must fit.
        self.names.fit(2 * NAMES_BYTES_MAX)?;
        if name.split('/').next() != Some(TOP) {
            return Err(Refusal::Name { name, reason: "it is outside the folder of the bag" }.into());
        }
        let path = self.folder.join(&name);
        let mut done = self.done;
        match entry.kind {
            Kind::Folder => {
                fs::create_dir_all(&path).map_err(ArchiveError::io("make", &path))?;
                self.folders.push((path, entry.mtime));
                done.folders += 1;
            }
            Kind::File => {
                write_file(&path, entry.mtime, bytes, pieces, |read| {
                    done.bytes += read;
                    progress(done);
                })?;
                done.files += 1;
            }
        }
        self.done = done;
        progress(done);
        Ok(())
    }

    /// Sets the folders' modification times, and tells what was written.
    fn date_folders(self) -> Result<Progress, ArchiveError> {
        for (path, mtime) in self.folders.into_iter().rev() {
            File::open(&path)
                .and_then(|folder| folder.set_modified(mtime.to_system()))
                .map_err(ArchiveError::io("set the modification time of", path))?;
        }
        Ok(self.done)
    }
}

/// Makes the folder, and opens it: what its disk fails to write from now on is told by [`finish`].
fn prepare(folder: &Path) -> Result<File, ArchiveError> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        result => result.map_err(ArchiveError::io("make", folder))?,
    }
    let refused = || ArchiveError::Destination { path: folder.to_owned() };
    if !folder.is_dir() {
        return Err(refused());
    }
    if fs::read_dir(folder).map_err(ArchiveError::io("read", folder))?.next().is_some() {
        return Err(refused());
    }
    File::open(folder).map_err(ArchiveError::io("read", folder))
}

fn finish(folder: &Path, disk: &File, manifest: &SignedManifest, how: &str) -> Result<(), ArchiveError> {
    let readme = folder.join("README.txt");
    fs::write(&readme, readme_text(manifest, how)).map_err(ArchiveError::io("write", &readme))?;
    let path = folder.join(MANIFEST_NAME);
    sync(disk, folder)?;
    create(&path)?
        .write_all(manifest.bytes())
        .and_then(|()| rustix::fs::syncfs(disk).map_err(io::Error::from))
        .map_err(ArchiveError::io("write", &path))
}

fn sync(disk: &File, folder: &Path) -> Result<(), ArchiveError> {
    rustix::fs::syncfs(disk)
        .map_err(io::Error::from)
        .map_err(ArchiveError::io("write to the disk of", folder))
}

/// Never writes over or through what is there.
fn create(path: &Path) -> Result<File, ArchiveError> {
    File::options().write(true).create_new(true).open(path).map_err(ArchiveError::io("write", path))
}

fn write_file<R: Read>(
    path: &Path,
    mtime: Mtime,
    bytes: &mut Entries<R>,
    pieces: &mut Pieces,
    mut written: impl FnMut(u64),
) -> Result<(), ArchiveError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(ArchiveError::io("make", parent))?;
    }
    let mut file = create(path)?;
    bytes.copy_data(pieces, |bytes| {
        file.write_all(bytes).map_err(ArchiveError::io("write", path))?;
        written(bytes.len() as u64);
        Ok(())
    })?;
    file.set_modified(mtime.to_system()).map_err(ArchiveError::io("set the modification time of", path))
}

fn readme_text(manifest: &SignedManifest, how: &str) -> String {
    let said = manifest.manifest();
    let title = said.description.title.as_deref().map(|title| format!("{title}\n\n")).unwrap_or_default();
    format!(
        "{title}This folder is an export of a tessera, a memory kept by several machines.\n\n\
         id       {}\nauthor   {}\ncreated  {}\ncontent  BLAKE3 {} ({} bytes)\n\n{how}\n{MANIFEST_README}",
        manifest.id(),
        said.author,
        date(said.created_at_ms),
        said.content_hash,
        said.content_len,
    )
}

const BAG_README: &str = "\
tessera/ is a BagIt bag (RFC 8493). Your files are in tessera/data/, what was said about them in
tessera/bag-info.txt. They need no program of ours: copy them. Any BagIt validator checks that none is damaged;
so does, in the folder tessera/:

    sha512sum -c manifest-sha512.txt
";

const RAW_README: &str = "\
content.tar is the content as it is stored: a BagIt bag (RFC 8493) as a tar. No program of ours is needed:

    tar -xf content.tar
    b3sum content.tar        (prints the BLAKE3 above)
";

const SEALED_README: &str = "\
content.tar.age is the content as it is stored: a BagIt bag (RFC 8493) as a tar, encrypted with age
(https://age-encryption.org). With the key of its author or of a recipient, no program of ours is needed:

    age -d -i author.key content.tar.age | tar -x
    b3sum content.tar.age    (prints the BLAKE3 above)
";

const MANIFEST_README: &str = "\
manifest.cbor is what the author signed: a CBOR map with numbered fields, then 64 bytes of Ed25519 signature.
The id above is its BLAKE3. The command `verify` of Tesseras checks all of it.
";

const CONTENT: &str = "content";

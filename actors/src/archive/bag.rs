//! The bag: a BagIt 1.0 folder (RFC 8493) called `tessera`, written as one tar in one pass.
//!
//! | in the tar, in this order | holds |
//! |---|---|
//! | `tessera/` | |
//! | `tessera/bag-info.txt` | what people say about it ([`Metadata`]); no totals, since it comes first |
//! | `tessera/bagit.txt` | the version of BagIt |
//! | `tessera/data/` | the files and folders, in the order they were given |
//! | `tessera/entries.txt` | modification times, folders and order ([`listing`](super::listing)) |
//! | `tessera/manifest-sha512.txt` | a SHA-512 per file |
//! | `tessera/tagmanifest-sha512.txt` | a SHA-512 of each of the other files |
//!
//! That is sorted order when the files are given sorted, as the command line does. The bag's own files are dated with
//! its creation, in whole seconds. The same files, in the same order, at the same moment, give the same bytes.

use std::io::{Read, Write};

use sha2::{Digest, Sha512};

use super::{
    entries::{Entries, Entry},
    error::ArchiveError,
    listing::{Listing, Sum, sum_line},
    metadata::Metadata,
    mtime::Mtime,
    names::{Kind, NAMES_BYTES_MAX, Names},
    pieces::Pieces,
    tarball::Tarball,
};

/// The folder that everything is in.
pub(crate) const TOP: &str = "tessera";
/// The folder of the files, inside [`TOP`].
pub(crate) const DATA: &str = "data";
/// The bag's own files before and behind the data, in order.
pub(crate) const TAGS_BEFORE: [&str; 2] = [BAG_INFO, BAGIT];
pub(crate) const TAGS_BEHIND: [&str; 3] = [ENTRIES, SUMS, TAG_SUMS];
pub(crate) const BAG_INFO: &str = "bag-info.txt";
pub(crate) const BAGIT: &str = "bagit.txt";
pub(crate) const ENTRIES: &str = "entries.txt";
pub(crate) const SUMS: &str = "manifest-sha512.txt";
pub(crate) const TAG_SUMS: &str = "tagmanifest-sha512.txt";
/// The text of [`BAGIT`].
pub(crate) const BAGIT_TEXT: &str = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n";

/// What went into a bag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    pub(crate) files: u64,
    pub(crate) folders: u64,
    /// Bytes of the files.
    pub(crate) bytes: u64,
}

/// A bag being written.
pub(crate) struct Bag<W> {
    tar: Tarball<W>,
    names: Names,
    listing: Listing,
    /// The text of [`TAG_SUMS`].
    tag_sums: String,
    created: Mtime,
    totals: Totals,
    pieces: Pieces,
}

impl<W: Write> Bag<W> {
    /// Writes what comes before the data.
    pub(crate) fn start(output: W, metadata: &Metadata, created_at_ms: u64) -> Result<Self, ArchiveError> {
        let mut bag = Self {
            tar: Tarball::new(output),
            names: Names::default(),
            listing: Listing::default(),
            tag_sums: String::new(),
            created: Mtime::from_ms(created_at_ms),
            totals: Totals::default(),
            pieces: Pieces::new(),
        };
        bag.tar.folder(TOP, bag.created).map_err(broken)?;
        bag.tag_file(BAG_INFO, &metadata.bag_info(created_at_ms))?;
        bag.tag_file(BAGIT, BAGIT_TEXT)?;
        bag.tar.folder(&format!("{TOP}/{DATA}"), bag.created).map_err(broken)?;
        Ok(bag)
    }

    /// Copies one entry, whose bytes `upload` is about to read.
    pub(crate) fn add<R: Read>(
        &mut self,
        entry: &Entry,
        upload: &mut Entries<R>,
    ) -> Result<(), ArchiveError> {
        let path = format!("{DATA}/{}", self.names.admit(&entry.name, entry.kind)?);
        self.names.fit(NAMES_BYTES_MAX)?;
        match entry.kind {
            Kind::File => {
                self.tar.file(&format!("{TOP}/{path}"), entry.size, entry.mtime).map_err(broken)?;
                let sum = self.copy(upload)?;
                self.listing.file(&path, &sum, entry.mtime)?;
                self.totals.files += 1;
                self.totals.bytes += entry.size;
            }
            Kind::Folder => {
                self.tar.folder(&format!("{TOP}/{path}"), entry.mtime).map_err(broken)?;
                self.listing.folder(&path, entry.mtime)?;
                self.totals.folders += 1;
            }
        }
        Ok(())
    }

    /// Writes what comes behind the data. Errors with [`ArchiveError::Empty`] when there is none.
    pub(crate) fn finish(mut self) -> Result<(W, Totals), ArchiveError> {
        if self.totals.files + self.totals.folders == 0 {
            return Err(ArchiveError::Empty);
        }
        let Listing { sums, entries } = std::mem::take(&mut self.listing);
        self.tag_file(ENTRIES, &entries)?;
        self.tag_file(SUMS, &sums)?;
        let tag_sums = std::mem::take(&mut self.tag_sums);
        self.tag_file(TAG_SUMS, &tag_sums)?;
        let output = self.tar.finish().map_err(broken)?;
        Ok((output, self.totals))
    }

    fn copy<R: Read>(&mut self, upload: &mut Entries<R>) -> Result<Sum, ArchiveError> {
        let mut hasher = Sha512::new();
        upload.copy_data(&mut self.pieces, |bytes| {
            hasher.update(bytes);
            self.tar.write_all(bytes).map_err(broken)
        })?;
        Ok(Sum::finish(hasher))
    }

    fn tag_file(&mut self, name: &str, text: &str) -> Result<(), ArchiveError> {
        self.tag_sums.push_str(&sum_line(&Sum::of(text.as_bytes()), name));
        self.tar.whole_file(&format!("{TOP}/{name}"), text.as_bytes(), self.created).map_err(broken)
    }
}

fn broken(error: std::io::Error) -> ArchiveError {
    ArchiveError::from_stream("content", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bag of a few fixed files, made at a fixed moment.
    fn bag() -> Vec<u8> {
        let mut tar = Tarball::new(Vec::new());
        let mtime = |text| Mtime::parse(text).unwrap();
        tar.folder("a", mtime("1000000000.5")).unwrap();
        tar.whole_file("a/caf\u{e9}", b"coffee", mtime("-1")).unwrap();
        tar.whole_file("a/100%\n%0A", b"", mtime("5")).unwrap();
        let tar = tar.finish().unwrap();
        let mut upload = Entries::new("upload", tar.as_slice());
        let metadata = Metadata { title: Some("Kitchen".into()), ..Metadata::default() };
        let mut bag = Bag::start(Vec::new(), &metadata, 1_750_000_000_999).unwrap();
        while let Some(entry) = upload.next_entry().unwrap() {
            bag.add(&entry, &mut upload).unwrap();
        }
        let (bytes, totals) = bag.finish().unwrap();
        assert_eq!(totals, Totals { files: 2, folders: 1, bytes: 6 });
        bytes
    }

    #[test]
    fn bag_of_fixed_files_never_changes() {
        // Exports are checked by building this tar again, in every later release too.
        let hash = blake3::hash(&bag()).to_hex();
        assert_eq!(hash.as_str(), "95cdf4281fc3f3134591e92e35a7eeb5fbabd5d84500f20de984c0c781a9b946");
    }

    #[test]
    fn bag_holds_its_files_in_sorted_order() {
        let bag = bag();
        let mut entries = Entries::new("content", bag.as_slice());
        let mut names = Vec::new();
        let mut texts = Vec::new();
        while let Some(entry) = entries.next_entry().unwrap() {
            names.push(String::from_utf8(entry.name).unwrap());
            texts.push(String::from_utf8(entries.read_all().unwrap()).unwrap());
        }
        let expected = [
            "tessera",
            "tessera/bag-info.txt",
            "tessera/bagit.txt",
            "tessera/data",
            "tessera/data/a",
            "tessera/data/a/caf\u{e9}",
            "tessera/data/a/100%\n%0A",
            "tessera/entries.txt",
            "tessera/manifest-sha512.txt",
            "tessera/tagmanifest-sha512.txt",
        ];
        assert_eq!(names, expected);
        assert_eq!(texts[7], "1000000000.5 data/a/\n-1 data/a/caf\u{e9}\n5 data/a/100%%0A%250A\n");
        assert_eq!(
            texts[8].lines().nth(1),
            Some(format!("{}  data/a/100%%0A%250A", Sum::of(b"").0).as_str())
        );
        assert_eq!(texts[9].lines().count(), 4);
    }
}

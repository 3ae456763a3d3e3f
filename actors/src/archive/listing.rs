//! The two lists in a bag: `manifest-sha512.txt` (RFC 8493, section 2.1.3) and `entries.txt`, a tag file of ours.
//!
//! `entries.txt` has a line per file and folder, in the order of the tar: `<mtime> <path>`, a folder's path ending
//! with `/`. So a bag that lost its modification times, its empty folders or the order of its files on the way through
//! some other file system still says what they were, and the very tar its author signed can be built again from it.
//!
//! # Names in lists
//! CR and LF are written `%0D` and `%0A`; `%` is written `%25` only where it would otherwise read as one of these
//! three. RFC 8493 asks for `%25` always, but the validators in use (bagit-python 1.9, bagit-java) never decode it and
//! would report each `My%20File.pdf` as missing; a reader that decodes the RFC's three escapes reads both alike.

use std::{borrow::Cow, fmt::Write as _};

use sha2::{Digest, Sha512};

use super::{error::ArchiveError, mtime::Mtime, names::Kind};

/// The most bytes of both lists together: about 300,000 files. They are held in memory until the bag ends.
pub const LISTING_BYTES_MAX: usize = 64 << 20;

/// Both lists, growing.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// The text of `manifest-sha512.txt`.
    pub(crate) sums: String,
    /// The text of `entries.txt`.
    pub(crate) entries: String,
}

impl Listing {
    pub(crate) fn file(&mut self, path: &str, sum: &Sum, mtime: Mtime) -> Result<(), ArchiveError> {
        let path = encode(path);
        self.sums.push_str(&sum_line(sum, &path));
        self.entry(&path, mtime)
    }

    pub(crate) fn folder(&mut self, path: &str, mtime: Mtime) -> Result<(), ArchiveError> {
        self.entry(&format!("{}/", encode(path)), mtime)
    }

    fn entry(&mut self, path: &str, mtime: Mtime) -> Result<(), ArchiveError> {
        // Writing to a String cannot fail.
        let _ = writeln!(self.entries, "{mtime} {path}");
        if self.sums.len() + self.entries.len() > LISTING_BYTES_MAX {
            return Err(ArchiveError::TooMany { limit: LISTING_BYTES_MAX });
        }
        Ok(())
    }
}

/// A SHA-512, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sum(pub(crate) String);

impl Sum {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::finish(Sha512::new().chain_update(bytes))
    }

    pub(crate) fn finish(hasher: Sha512) -> Self {
        let mut text = String::with_capacity(128);
        for byte in hasher.finalize() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }
}

/// A line of `manifest-sha512.txt` or `tagmanifest-sha512.txt`, as `sha512sum` writes it.
pub(crate) fn sum_line(sum: &Sum, encoded_path: &str) -> String {
    format!("{}  {encoded_path}\n", sum.0)
}

/// The lines of a list of checksums: checksum and path.
pub(crate) fn parse_sums(text: &str) -> impl Iterator<Item = Result<(Sum, String), String>> {
    text.lines().map(|line| {
        let (sum, path) = line.split_once("  ").ok_or_else(|| line.to_owned())?;
        Ok((Sum(sum.to_ascii_lowercase()), decode(path)))
    })
}

/// The lines of `entries.txt`.
pub(crate) fn parse_entries(text: &str) -> impl Iterator<Item = Result<(String, Kind, Mtime), String>> {
    text.lines().map(|line| {
        let (mtime, path) = line.split_once(' ').ok_or_else(|| line.to_owned())?;
        let mtime = Mtime::parse(mtime).ok_or_else(|| line.to_owned())?;
        Ok(match path.strip_suffix('/') {
            Some(folder) => (decode(folder), Kind::Folder, mtime),
            None => (decode(path), Kind::File, mtime),
        })
    })
}

/// A path as a list writes it; see the module's documentation.
pub(crate) fn encode(path: &str) -> Cow<'_, str> {
    if !path.contains(['%', '\r', '\n']) {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len() + 8);
    for (at, letter) in path.char_indices() {
        match letter {
            '\r' => out.push_str("%0D"),
            '\n' => out.push_str("%0A"),
            '%' if escape_at(path, at).is_some() => out.push_str("%25"),
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

/// The path that [`encode`] wrote.
fn decode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match escape_at(text, at) {
            Some(meant) => {
                out.push(meant);
                letters.nth(1);
            }
            None => out.push(letter),
        }
    }
    out
}

/// What the escape that begins here stands for, if one does.
fn escape_at(text: &str, at: usize) -> Option<char> {
    match text.get(at..at + 3)?.to_ascii_uppercase().as_str() {
        "%0D" => Some('\r'),
        "%0A" => Some('\n'),
        "%25" => Some('%'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn name_in_a_list_is_escaped_only_where_it_must_be() {
        for (path, expected) in [
            ("data/a b.jpg", "data/a b.jpg"),
            ("data/100%.txt", "data/100%.txt"),
            ("data/My%20File.pdf", "data/My%20File.pdf"),
            ("data/Icon\r", "data/Icon%0D"),
            ("data/a\nb", "data/a%0Ab"),
            ("data/%0A", "data/%250A"),
            ("data/%0d", "data/%250d"),
            ("data/%25", "data/%2525"),
            ("data/é%", "data/é%"),
        ] {
            assert_eq!(encode(path), expected);
            assert_eq!(decode(expected), path);
        }
    }

    #[test]
    fn listing_written_and_read_is_the_same() {
        let mut listing = Listing::default();
        let mtime = Mtime::parse("-1.5").unwrap();
        listing.folder("data/a", mtime).unwrap();
        listing.file("data/a/ x\n ", &Sum::of(b"x"), mtime).unwrap();
        let sums: Vec<_> = parse_sums(&listing.sums).collect();
        assert_eq!(sums, [Ok((Sum::of(b"x"), "data/a/ x\n ".to_owned()))]);
        let entries: Vec<_> = parse_entries(&listing.entries).collect();
        assert_eq!(
            entries,
            [
                Ok(("data/a".to_owned(), Kind::Folder, mtime)),
                Ok(("data/a/ x\n ".to_owned(), Kind::File, mtime))
            ]
        );
    }

    #[test]
    fn list_that_outgrows_memory_is_refused() {
        let mut listing = Listing { sums: "x".repeat(LISTING_BYTES_MAX - 100), ..Listing::default() };
        let result = listing.file("data/a", &Sum::of(b""), Mtime::default());
        assert!(matches!(result, Err(ArchiveError::TooMany { .. })));
    }

    proptest! {
        #[test]
        fn any_name_survives_a_list(path in "([%025aAdD\r\n]|\\PC){0,20}") {
            prop_assert_eq!(decode(&encode(&path)), path);
        }
    }
}

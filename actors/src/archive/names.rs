//! Names of files and folders: which are kept, and which two are the same.
//!
//! # Rules
//! 1. UTF-8, and normalised to NFC: the same name typed on a Mac and on Linux is the same name here.
//! 2. Relative, with `/` between parts; no part is empty, `.` or `..`.
//! 3. No NUL and no backslash: what is one name here would be two, or another one, on some other system. Every other
//!    character is kept, line breaks too (a Mac's `Icon\r` is one).
//! 4. A part has at most [`PART_BYTES_MAX`] bytes, a path at most [`PATH_BYTES_MAX`], counted after NFC: what is made
//!    here can be unpacked on any common file system.
//! 5. No name comes twice; two names that are equal after NFC are refused, also as folders on the way to other files;
//!    nothing is both a file and a folder.

use std::collections::HashMap;

use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::{
    error::{ArchiveError, Refusal},
    listing::LISTING_BYTES_MAX,
};

/// The longest part of a path, in bytes: what ext4, XFS, APFS and NTFS all take.
pub const PART_BYTES_MAX: usize = 255;
/// The longest path, in bytes: leaves a quarter of Linux' 4,096 for the folder it is unpacked to.
pub const PATH_BYTES_MAX: usize = 3072;
/// The most memory that the names of one tessera may take while it is made, in bytes.
pub const NAMES_BYTES_MAX: usize = LISTING_BYTES_MAX;
/// What a name takes beside its letters, in bytes: its places in the map and on the heap.
const NAME_OVERHEAD_BYTES: usize = 128;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
}

/// The name in its one form, if it keeps rules 1 to 4.
pub(crate) fn normalise(name: &[u8]) -> Result<String, Refusal> {
    let refused = |reason| Refusal::Name { name: String::from_utf8_lossy(name).into_owned(), reason };
    let text = std::str::from_utf8(name).map_err(|_| refused("the name is not UTF-8; rename it"))?;
    let path = if is_nfc(text) { text.to_owned() } else { text.nfc().collect() };
    match fault(&path) {
        Some(reason) => Err(refused(reason)),
        None => Ok(path),
    }
}

/// The bytes of a name in NFC; one that is not UTF-8 as it is.
pub(crate) fn nfc(name: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(name) {
        Ok(text) => text.nfc().collect::<String>().into_bytes(),
        Err(_) => name.to_vec(),
    }
}

fn fault(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("the name is empty");
    }
    if path.len() > PATH_BYTES_MAX {
        return Some("the path is longer than 3,072 bytes; move it nearer to the top");
    }
    if path.contains('\0') {
        return Some("the name holds a NUL character");
    }
    if path.contains('\\') {
        return Some("the name holds a backslash, which separates folders on other systems; rename it");
    }
    path.split('/').find_map(part_fault)
}

fn part_fault(part: &str) -> Option<&'static str> {
    match part {
        "" => Some(
            "the path starts with, ends with or doubles a slash; paths are relative, like `photos/a.jpg`",
        ),
        "." | ".." => Some("the path holds `.` or `..`; paths are relative, like `photos/a.jpg`"),
        _ if part.len() > PART_BYTES_MAX => Some("the name is longer than 255 bytes; shorten it"),
        _ => None,
    }
}

/// All names of one tessera so far.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: HashMap<Box<str>, Known>,
    /// What they take in memory, in bytes.
    bytes: usize,
}

#[derive(Debug)]
struct Known {
    /// The name as it was given, where that is not NFC.
    given: Option<Box<str>>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    File,
    Folder,
    /// A folder that was only passed on the way to something else.
    Passed,
}

impl Names {
    /// Adds a name and returns it in its one form, or says which rule it breaks.
    pub(crate) fn admit(&mut self, name: &[u8], kind: Kind) -> Result<String, Refusal> {
        let path = normalise(name)?;
        // `normalise` has checked that it is UTF-8; NFC neither adds nor removes a slash.
        let given = String::from_utf8_lossy(name);
        for (end, given_end) in path.match_indices('/').zip(given.match_indices('/')).map(|(a, b)| (a.0, b.0))
        {
            self.note(&path[..end], &given[..given_end], State::Passed)?;
        }
        let state = match kind {
            Kind::File => State::File,
            Kind::Folder => State::Folder,
        };
        self.note(&path, &given, state)?;
        Ok(path)
    }

    /// Whether this path, in its one form, was admitted or passed on the way to another.
    pub(crate) fn knows(&self, path: &[u8]) -> bool {
        std::str::from_utf8(path).is_ok_and(|path| self.known.contains_key(path))
    }

    /// Refuses names that take more memory than this. One path may stand for as many folders as it has letters, each
    /// remembered with all that is above it. Errors with [`ArchiveError::TooMany`].
    pub(crate) fn fit(&self, limit: usize) -> Result<(), ArchiveError> {
        if self.bytes > limit { Err(ArchiveError::TooMany { limit }) } else { Ok(()) }
    }

    fn note(&mut self, path: &str, given: &str, state: State) -> Result<(), Refusal> {
        let Some(known) = self.known.get_mut(path) else {
            let given: Option<Box<str>> = (given != path).then(|| given.into());
            self.bytes += path.len() + given.as_deref().map_or(0, str::len) + NAME_OVERHEAD_BYTES;
            self.known.insert(path.into(), Known { given, state });
            return Ok(());
        };
        let first = known.given.as_deref().unwrap_or(path);
        if first != given {
            return Err(Refusal::Collision { first: first.to_owned(), second: given.to_owned() });
        }
        match (known.state, state) {
            (State::Folder | State::Passed, State::Passed) => Ok(()),
            (State::Passed, State::Folder) => {
                known.state = State::Folder;
                Ok(())
            }
            (State::File, State::File) | (State::Folder, State::Folder) => {
                Err(Refusal::Twice { name: path.to_owned() })
            }
            _ => Err(Refusal::FileAndFolder { name: path.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPOSED: &str = "caf\u{e9}";
    const DECOMPOSED: &str = "cafe\u{301}";

    fn admit_all(names: &[(&str, Kind)]) -> Result<Vec<String>, Refusal> {
        let mut known = Names::default();
        names.iter().map(|(name, kind)| known.admit(name.as_bytes(), *kind)).collect()
    }

    #[test]
    fn name_with_spaces_accents_and_line_breaks_is_kept() {
        for name in
            ["a", "a b/c d.jpg", "Icon\r", "日本/写真.jpg", " lead", "trail ", "100%.txt", "...", "-rf"]
        {
            assert_eq!(normalise(name.as_bytes()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn name_that_breaks_a_rule_is_refused_by_name() {
        let long_part = "x".repeat(PART_BYTES_MAX + 1);
        let long_path = "abcdefg/".repeat(PATH_BYTES_MAX / 8) + "h";
        let bad = [
            "", "/a", "a/", "a//b", ".", "..", "./a", "a/..", "a/./b", "a\0b", "a\\b", &long_part, &long_path,
        ];
        for name in bad {
            assert!(
                matches!(normalise(name.as_bytes()), Err(Refusal::Name { name: told, .. }) if told == name),
                "{name:?}"
            );
        }
        assert!(matches!(normalise(b"a\xff"), Err(Refusal::Name { .. })));
    }

    #[test]
    fn name_as_long_as_allowed_is_kept() {
        let part = "x".repeat(PART_BYTES_MAX);
        let path = [part.as_str(); 12].join("/");
        assert_eq!(path.len(), PATH_BYTES_MAX - 1);
        assert_eq!(normalise(path.as_bytes()), Ok(path));
    }

    #[test]
    fn name_is_normalised_to_nfc() {
        assert_eq!(normalise(DECOMPOSED.as_bytes()), Ok(COMPOSED.to_owned()));
    }

    #[test]
    fn names_equal_after_nfc_are_refused_naming_both() {
        let collision = Err(Refusal::Collision { first: COMPOSED.into(), second: DECOMPOSED.into() });
        assert_eq!(admit_all(&[(COMPOSED, Kind::File), (DECOMPOSED, Kind::File)]), collision);
        let inside = [(format!("{COMPOSED}/a"), Kind::File), (format!("{DECOMPOSED}/b"), Kind::File)];
        let inside: Vec<_> = inside.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
        assert_eq!(admit_all(&inside), collision);
    }

    #[test]
    fn name_twice_is_refused() {
        let twice = Err(Refusal::Twice { name: "a".into() });
        assert_eq!(admit_all(&[("a", Kind::File), ("a", Kind::File)]), twice);
        assert_eq!(admit_all(&[("a", Kind::Folder), ("a", Kind::Folder)]), twice);
    }

    #[test]
    fn name_of_both_a_file_and_a_folder_is_refused() {
        let both = Err(Refusal::FileAndFolder { name: "a".into() });
        assert_eq!(admit_all(&[("a", Kind::File), ("a/b", Kind::File)]), both);
        assert_eq!(admit_all(&[("a/b", Kind::File), ("a", Kind::File)]), both);
        assert_eq!(admit_all(&[("a", Kind::Folder), ("a", Kind::File)]), both);
        assert_eq!(admit_all(&[("a", Kind::File), ("a", Kind::Folder)]), both);
    }

    #[test]
    fn folder_named_after_what_it_holds_is_kept() {
        assert!(admit_all(&[("a/b", Kind::File), ("a", Kind::Folder), ("a/c", Kind::File)]).is_ok());
    }
}

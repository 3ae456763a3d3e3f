//! Writes tar, deterministically: the same entries give the same bytes, whoever writes them, wherever.
//!
//! # Format
//! POSIX.1-2001 (`pax`), which GNU tar, bsdtar and Python's `tarfile` read. Each entry has a ustar header: type `0` or
//! `5`, mode 0644 or 0755, owner 0 without a name, a folder's name ends with `/`. What that header can't hold goes
//! into a pax header before it, with only these records and in this order:
//!
//! | record | when |
//! |---|---|
//! | `path` | the name is longer than 100 bytes or not ASCII (the header then has as much of it as fits) |
//! | `size` | 8 GiB or more (the header then says 0) |
//! | `mtime` | not whole seconds, before 1970, or after 2242 (the header then says 0) |
//!
//! The end is two blocks of zeros and nothing more.

use std::io::{self, Write};

use tar::{EntryType, Header};

use super::{mtime::Mtime, names::Kind};

/// Everything in a tar is padded to a multiple of this.
pub(crate) const BLOCK_BYTES: usize = 512;

/// A tar being written. Dropped without [`Tarball::finish`] it has no end, and readers of this project refuse it.
pub(crate) struct Tarball<W> {
    output: W,
    /// Bytes of the current file still to come.
    left: u64,
    /// Zeros that follow them.
    padding: usize,
}

impl<W: Write> Tarball<W> {
    pub(crate) fn new(output: W) -> Self {
        Self { output, left: 0, padding: 0 }
    }

    /// Adds a folder; `path` without a slash at its end.
    pub(crate) fn folder(&mut self, path: &str, mtime: Mtime) -> io::Result<()> {
        self.entry(&format!("{path}/"), Kind::Folder, 0, mtime)
    }

    /// Starts a file, whose `size` bytes must be written to this writer next.
    pub(crate) fn file(&mut self, path: &str, size: u64, mtime: Mtime) -> io::Result<()> {
        self.entry(path, Kind::File, size, mtime)?;
        self.left = size;
        self.padding = padding_of(size);
        if size == 0 { Ok(()) } else { self.pad_if_complete() }
    }

    /// Adds a file whose bytes are at hand.
    pub(crate) fn whole_file(&mut self, path: &str, bytes: &[u8], mtime: Mtime) -> io::Result<()> {
        self.file(path, bytes.len() as u64, mtime)?;
        self.write_all(bytes)
    }

    /// Writes the end and returns the writer below.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.at_rest()?;
        self.output.write_all(&[0; 2 * BLOCK_BYTES])?;
        Ok(self.output)
    }

    /// What was written so far, for tests that need a beginning.
    #[cfg(test)]
    pub(crate) fn into_inner(self) -> W {
        self.output
    }

    fn entry(&mut self, name: &str, kind: Kind, size: u64, mtime: Mtime) -> io::Result<()> {
        self.at_rest()?;
        let mut records = Vec::new();
        if name.len() > NAME_BYTES_MAX || !name.is_ascii() {
            push_record(&mut records, "path", name);
        }
        if size > SIZE_MAX {
            push_record(&mut records, "size", &size.to_string());
        }
        let seconds = mtime.whole_seconds().and_then(|s| u64::try_from(s).ok()).filter(|s| *s <= SIZE_MAX);
        if seconds.is_none() {
            push_record(&mut records, "mtime", &mtime.to_string());
        }
        if !records.is_empty() {
            self.output.write_all(
                header("././@PaxHeader", EntryType::XHeader, records.len() as u64, 0).as_bytes(),
            )?;
            self.output.write_all(&records)?;
            self.output.write_all(zeros(padding_of(records.len() as u64)))?;
        }
        let size = if size > SIZE_MAX { 0 } else { size };
        let kind = match kind {
            Kind::File => EntryType::Regular,
            Kind::Folder => EntryType::Directory,
        };
        self.output.write_all(header(name, kind, size, seconds.unwrap_or(0)).as_bytes())
    }

    fn at_rest(&self) -> io::Result<()> {
        if self.left == 0 { Ok(()) } else { Err(io::Error::other("the file before is not complete")) }
    }

    fn pad_if_complete(&mut self) -> io::Result<()> {
        if self.left == 0 {
            self.output.write_all(zeros(self.padding))?;
        }
        Ok(())
    }
}

impl<W: Write> Write for Tarball<W> {
    /// Bytes of the current file; more than it has is an error.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| io::Error::other("more bytes than the file has"))?;
        self.output.write_all(bytes)?;
        self.pad_if_complete()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// How many zeros follow `size` bytes.
pub(crate) fn padding_of(size: u64) -> usize {
    let block = BLOCK_BYTES as u64;
    usize::try_from((block - size % block) % block).unwrap_or(0)
}

fn zeros(length: usize) -> &'static [u8] {
    static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
    ZEROS.get(..length).unwrap_or(&ZEROS)
}

fn header(name: &str, kind: EntryType, size: u64, mtime: u64) -> Header {
    let mut header = Header::new_ustar();
    let end = name.floor_char_boundary(NAME_BYTES_MAX);
    if let Some(ustar) = header.as_ustar_mut() {
        for (to, from) in ustar.name.iter_mut().zip(name.bytes().take(end)) {
            *to = from;
        }
    }
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_mtime(mtime);
    header.set_cksum();
    header
}

/// Appends `<length> <key>=<value>\n`, where the length counts itself.
pub(crate) fn push_record(records: &mut Vec<u8>, key: &str, value: &str) {
    let rest = key.len() + value.len() + " =\n".len();
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
}

/// The bytes of a ustar header's name field.
const NAME_BYTES_MAX: usize = 100;
/// The largest number that eleven octal digits write.
const SIZE_MAX: u64 = 0o777_7777_7777;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &str) -> String {
        let mut records = Vec::new();
        push_record(&mut records, key, value);
        String::from_utf8(records).unwrap()
    }

    #[test]
    fn record_counts_its_own_length() {
        assert_eq!(record("path", "a"), "9 path=a\n");
        assert_eq!(record("mtime", "1.5"), "13 mtime=1.5\n");
        for length in 0..2000 {
            let record = record("path", &"x".repeat(length));
            assert_eq!(record.split(' ').next().unwrap(), record.len().to_string());
        }
    }

    #[test]
    fn tarball_of_plain_entries_has_no_pax_headers() {
        let mut tar = Tarball::new(Vec::new());
        tar.folder("a", Mtime::from_ms(1000)).unwrap();
        tar.whole_file("a/b", b"hello", Mtime::from_ms(2000)).unwrap();
        tar.whole_file("a/c", b"", Mtime::from_ms(2000)).unwrap();
        assert_eq!(tar.finish().unwrap().len(), BLOCK_BYTES * (1 + 2 + 1 + 2));
    }

    #[test]
    fn tarball_with_a_file_of_another_length_than_announced_is_an_error() {
        let mut tar = Tarball::new(Vec::new());
        tar.file("a", 3, Mtime::default()).unwrap();
        assert!(tar.write_all(b"abcd").is_err());
        let mut tar = Tarball::new(Vec::new());
        tar.file("a", 3, Mtime::default()).unwrap();
        tar.write_all(b"ab").unwrap();
        assert!(tar.folder("b", Mtime::default()).is_err());
        assert!(tar.finish().is_err());
    }
}

//! Reads tar as a sequence of files and folders, strictly and with bounded memory.
//!
//! What `tar`, bsdtar, Python and Go write is understood: ustar, pax headers, GNU long names and large numbers, and
//! V7's folders that are files with a `/` at the end. Links, devices and sparse files are refused by name.
//!
//! A tar has ended only behind two blocks of zeros; whatever ends earlier is an error ([`ArchiveError::Truncated`]),
//! never a shorter list. Nothing but zeros may follow, so that a second tar behind the first can't go unseen.

use std::io::Read;

use tar::{EntryType, Header};

use super::{
    error::{ArchiveError, Refusal},
    mtime::Mtime,
    names::Kind,
    pieces::{Pieces, read_some},
    tarball::{BLOCK_BYTES, padding_of},
};

/// The longest pax header or GNU long name, in bytes.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;
/// The most zeros behind the end, in bytes: GNU tar fills up a record of 10 KiB, or what `-b` says.
const TRAILER_BYTES_MAX: usize = 4 << 20;

/// One file or folder of a tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name as written, but without the slash at a folder's end. Not checked.
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    /// Bytes of a file; 0 for a folder.
    pub(crate) size: u64,
    pub(crate) mtime: Mtime,
}

/// A tar being read.
pub(crate) struct Entries<R> {
    input: R,
    /// What is read, for messages: `upload`, `content`.
    what: &'static str,
    /// Bytes of the current file still to come.
    left: u64,
    /// Zeros that follow them.
    padding: usize,
    ended: bool,
}

/// What the headers in front of an entry say about it.
#[derive(Debug, Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    mtime: Option<Mtime>,
}

impl<R: Read> Entries<R> {
    pub(crate) fn new(what: &'static str, input: R) -> Self {
        Self { input, what, left: 0, padding: 0, ended: false }
    }

    /// The next file or folder, passing over what was not read of the one before; `None` behind a proper end.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let mut extensions = Extensions::default();
        self.skip_data()?;
        while let Some(header) = self.next_header()? {
            match header.entry_type() {
                EntryType::XHeader => self.pax(&header, &mut extensions)?,
                EntryType::GNULongName => extensions.name = Some(self.long_name(&header)?),
                EntryType::GNULongLink => drop(self.extension(&header)?),
                EntryType::XGlobalHeader => self.global(&header)?,
                _ => return self.entry(&header, extensions).map(Some),
            }
        }
        match extensions {
            Extensions { name: None, size: None, mtime: None } => Ok(None),
            _ => Err(ArchiveError::tar(self.what, "it ends behind an extended header")),
        }
    }

    /// Bytes of the current file; 0 at its end.
    pub(crate) fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let Some(buffer) = buffer.get_mut(..wanted).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        match read_some(&mut self.input, buffer).map_err(|e| ArchiveError::from_stream(self.what, e))? {
            0 => Err(self.truncated("in the middle of a file")),
            read => {
                self.left -= read as u64;
                Ok(read)
            }
        }
    }

    /// The rest of the current file, whose size the caller has found to be small.
    pub(crate) fn read_all(&mut self) -> Result<Vec<u8>, ArchiveError> {
        let mut all = Vec::new();
        self.copy_data(&mut Pieces::new(), |bytes| {
            all.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(all)
    }

    /// Gives the rest of the current file to `each`.
    pub(crate) fn copy_data(
        &mut self,
        pieces: &mut Pieces,
        each: impl FnMut(&[u8]) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        pieces.copy(|buffer| self.read_data(buffer), each)
    }

    fn skip_data(&mut self) -> Result<(), ArchiveError> {
        let mut buffer = [0; 16 * BLOCK_BYTES];
        while self.read_data(&mut buffer)? > 0 {}
        let padding = std::mem::take(&mut self.padding);
        match buffer.get_mut(..padding) {
            Some(padding) => self.read_exact(padding, "in the middle of a file"),
            None => Ok(()),
        }
    }

    /// The next header that says something; `None` at the end.
    fn next_header(&mut self) -> Result<Option<Header>, ArchiveError> {
        if self.ended {
            return Ok(None);
        }
        let mut block = [0; BLOCK_BYTES];
        self.read_exact(&mut block, "without the two blocks of zeros that end a tar")?;
        if block == [0; BLOCK_BYTES] {
            self.read_end()?;
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block);
        let told = header.cksum().map_err(|_| self.malformed("a header without a checksum"))?;
        let (before, field, after) = (block.iter().take(148), [b' '; 8], block.iter().skip(156));
        let sum: u32 = before.chain(&field).chain(after).map(|byte| u32::from(*byte)).sum();
        if sum != told {
            return Err(self.malformed("a header's checksum is wrong"));
        }
        Ok(Some(header.clone()))
    }

    /// The second block of zeros, and then nothing but zeros.
    fn read_end(&mut self) -> Result<(), ArchiveError> {
        let mut block = [0; BLOCK_BYTES];
        self.read_exact(&mut block, "with one block of zeros where two end a tar")?;
        for _ in 0..TRAILER_BYTES_MAX / BLOCK_BYTES {
            if block.iter().any(|byte| *byte != 0) {
                return Err(self.malformed("something follows its end; send one tar, not several"));
            }
            match read_some(&mut self.input, &mut block)
                .map_err(|e| ArchiveError::from_stream(self.what, e))?
            {
                0 => {
                    self.ended = true;
                    return Ok(());
                }
                read => block.iter_mut().skip(read).for_each(|byte| *byte = 0),
            }
        }
        Err(self.malformed("more zeros follow its end than any tar writes"))
    }

    fn entry(&mut self, header: &Header, extensions: Extensions) -> Result<Entry, ArchiveError> {
        let mut name = extensions.name.unwrap_or_else(|| header.path_bytes().into_owned());
        let size = match extensions.size {
            Some(size) => size,
            None => header.entry_size().map_err(|_| self.malformed("a size that is no number"))?,
        };
        let mtime = match extensions.mtime {
            Some(mtime) => mtime,
            None => self.header_mtime(header)?,
        };
        let slash = name.last() == Some(&b'/');
        let kind = match header.entry_type() {
            EntryType::Directory => Kind::Folder,
            EntryType::Regular | EntryType::Continuous if slash => Kind::Folder,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            other => return Err(special(&name, other).into()),
        };
        if kind == Kind::Folder && size > 0 {
            return Err(self.malformed("a folder with bytes of its own"));
        }
        if slash {
            name.pop();
        }
        self.left = size;
        self.padding = padding_of(size);
        Ok(Entry { name, kind, size, mtime })
    }

    fn header_mtime(&self, header: &Header) -> Result<Mtime, ArchiveError> {
        // GNU's large numbers are two's complement: before 1970 they are negative.
        let seconds = header.mtime().map_err(|_| self.malformed("a modification time that is no number"))?;
        Mtime::from_seconds(seconds.cast_signed())
            .ok_or_else(|| self.malformed("a modification time beyond every calendar"))
    }

    fn pax(&mut self, header: &Header, extensions: &mut Extensions) -> Result<(), ArchiveError> {
        let records = self.extension(header)?;
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            let (key, value, behind) =
                next_record(rest).ok_or_else(|| self.malformed("a wrong pax header"))?;
            rest = behind;
            match key {
                b"path" => extensions.name = Some(value.to_vec()),
                b"size" => {
                    extensions.size = Some(number(value).ok_or_else(|| self.malformed("a wrong pax size"))?)
                }
                b"mtime" => {
                    let mtime = std::str::from_utf8(value).ok().and_then(Mtime::parse);
                    extensions.mtime = Some(mtime.ok_or_else(|| self.malformed("a wrong pax mtime"))?);
                }
                _ if key.starts_with(b"GNU.sparse.") => {
                    return Err(self.malformed("sparse files: write it without -S"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A global header (`git archive` writes one, with a comment) must not speak about entries.
    fn global(&mut self, header: &Header) -> Result<(), ArchiveError> {
        let records = self.extension(header)?;
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            let (key, _, behind) = next_record(rest).ok_or_else(|| self.malformed("a wrong pax header"))?;
            rest = behind;
            if [b"path".as_slice(), b"size", b"mtime", b"linkpath"].contains(&key) {
                return Err(self.malformed("a global header that names or dates all files"));
            }
        }
        Ok(())
    }

    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>, ArchiveError> {
        let mut name = self.extension(header)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    /// The bytes of a header that speaks about the next entry.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, ArchiveError> {
        let size = header.entry_size().map_err(|_| self.malformed("a size that is no number"))?;
        if size > EXTENSION_BYTES_MAX {
            return Err(self.malformed("an extended header of more than 1 MiB"));
        }
        let length = usize::try_from(size).unwrap_or(0);
        let mut bytes = vec![0; length + padding_of(size)];
        self.read_exact(&mut bytes, "in the middle of a header")?;
        bytes.truncate(length);
        Ok(bytes)
    }

    fn read_exact(&mut self, buffer: &mut [u8], missing: &'static str) -> Result<(), ArchiveError> {
        let mut rest = buffer;
        while !rest.is_empty() {
            let read =
                read_some(&mut self.input, rest).map_err(|e| ArchiveError::from_stream(self.what, e))?;
            if read == 0 {
                return Err(self.truncated(missing));
            }
            rest = rest.get_mut(read..).unwrap_or_default();
        }
        Ok(())
    }

    fn malformed(&self, reason: &str) -> ArchiveError {
        ArchiveError::tar(self.what, reason)
    }

    fn truncated(&self, missing: &'static str) -> ArchiveError {
        ArchiveError::Truncated { what: self.what, missing }
    }
}

/// The first `<length> <key>=<value>\n` of these records: key, value, and what is behind it.
fn next_record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(records.get(..space)?)?).ok()?;
    let pair = records.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    Some((pair.get(..equals)?, pair.get(equals + 1..)?, records.get(length..)?))
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn special(name: &[u8], kind: EntryType) -> Refusal {
    let kind = match kind {
        EntryType::Symlink => "symbolic link",
        EntryType::Link => "hard link (write the tar with --hard-dereference)",
        EntryType::Char | EntryType::Block => "device",
        EntryType::Fifo => "named pipe",
        EntryType::GNUSparse => "sparse file (write the tar without -S)",
        _ => "special file",
    };
    Refusal::Special { name: String::from_utf8_lossy(name).into_owned(), kind }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::tarball::{Tarball, push_record},
        *,
    };

    type Read = Vec<(String, Kind, String, Vec<u8>)>;

    fn read_all(tar: &[u8]) -> Result<Read, ArchiveError> {
        let mut entries = Entries::new("upload", tar);
        let mut all = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            let bytes = entries.read_all()?;
            assert_eq!(bytes.len() as u64, entry.size);
            all.push((String::from_utf8(entry.name).unwrap(), entry.kind, entry.mtime.to_string(), bytes));
        }
        Ok(all)
    }

    fn sample() -> Vec<u8> {
        let mut tar = Tarball::new(Vec::new());
        tar.folder("été", Mtime::parse("-1.5").unwrap()).unwrap();
        tar.whole_file("été/line\nbreak", &[7; 1000], Mtime::parse("1700000000.25").unwrap()).unwrap();
        tar.whole_file(&"deep/".repeat(60), b"", Mtime::parse("99999999999").unwrap()).unwrap();
        tar.whole_file("plain", &[8; 512], Mtime::parse("5").unwrap()).unwrap();
        tar.finish().unwrap()
    }

    #[test]
    fn entries_written_and_read_are_the_same() {
        let read = read_all(&sample()).unwrap();
        let expected = [
            ("été".to_owned(), Kind::Folder, "-1.5".to_owned(), vec![]),
            ("été/line\nbreak".to_owned(), Kind::File, "1700000000.25".to_owned(), vec![7; 1000]),
            (
                "deep/".repeat(60).trim_end_matches('/').to_owned(),
                Kind::Folder,
                "99999999999".to_owned(),
                vec![],
            ),
            ("plain".to_owned(), Kind::File, "5".to_owned(), vec![8; 512]),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn file_longer_than_a_header_can_say_is_read_with_its_length() {
        for size in [0o777_7777_7777, 0o1_0000_0000_0000, 1 << 44] {
            let mut tar = Tarball::new(Vec::new());
            tar.file("video", size, Mtime::default()).unwrap();
            let tar = tar.into_inner();
            let entry = Entries::new("upload", tar.as_slice()).next_entry().unwrap().unwrap();
            assert_eq!((entry.size, entry.kind), (size, Kind::File));
        }
    }

    #[test]
    fn tar_cut_anywhere_is_an_error() {
        let tar = sample();
        for end in 0..tar.len() {
            assert!(
                matches!(read_all(&tar[..end]), Err(ArchiveError::Truncated { .. })),
                "{end} of {}",
                tar.len()
            );
        }
    }

    #[test]
    fn tar_with_something_behind_its_end_is_refused() {
        let mut tar = sample();
        tar.extend([0; 10_000]);
        assert!(read_all(&tar).is_ok());
        tar.push(1);
        assert!(matches!(read_all(&tar), Err(ArchiveError::Tar { .. })));
        let mut endless = sample();
        endless.resize(endless.len() + TRAILER_BYTES_MAX, 0);
        assert!(matches!(read_all(&endless), Err(ArchiveError::Tar { .. })));
    }

    #[test]
    fn tar_with_a_flipped_header_bit_is_refused() {
        let mut tar = sample();
        tar[3] ^= 1;
        assert!(matches!(read_all(&tar), Err(ArchiveError::Tar { .. })));
    }

    #[test]
    fn link_in_a_tar_is_refused_by_name() {
        let mut header = Header::new_gnu();
        header.set_path("to/link").unwrap();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        header.set_cksum();
        let error = read_all(header.as_bytes()).unwrap_err();
        assert!(matches!(
            error,
            ArchiveError::Refused(ref all) if matches!(&all[..], [Refusal::Special { name, .. }] if name == "to/link")
        ));
    }

    #[test]
    fn tar_of_gnu_long_names_and_numbers_is_understood() {
        let long = "n".repeat(300);
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(3);
        header.set_mtime((-7_i64).cast_unsigned());
        builder.append_data(&mut header, &long, &b"abc"[..]).unwrap();
        let read = read_all(&builder.into_inner().unwrap()).unwrap();
        assert_eq!(read, [(long, Kind::File, "-7".to_owned(), b"abc".to_vec())]);
    }

    #[test]
    fn global_header_is_passed_over_unless_it_renames_everything() {
        for (key, accepted) in [("comment", true), ("path", false), ("mtime", false)] {
            let mut record = Vec::new();
            push_record(&mut record, key, "1");
            let mut tar = Vec::new();
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::XGlobalHeader);
            header.set_size(record.len() as u64);
            header.set_cksum();
            tar.extend_from_slice(header.as_bytes());
            tar.extend_from_slice(&record);
            tar.resize(1024, 0);
            tar.extend(sample());
            assert_eq!(read_all(&tar).is_ok(), accepted, "{key}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let _ = read_all(&bytes);
        }

        #[test]
        fn tar_with_changed_bytes_never_panics(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..20)) {
            let mut tar = sample();
            for (at, byte) in changes {
                let at = at % tar.len();
                tar[at] = byte;
                fix_checksum(&mut tar, at);
            }
            let mut entries = Entries::new("upload", tar.as_slice());
            while let Ok(Some(_)) = entries.next_entry() {}
        }
    }

    /// Makes the block that was changed a valid header again, so that the rest of the reader is reached.
    fn fix_checksum(tar: &mut [u8], at: usize) {
        let start = at / BLOCK_BYTES * BLOCK_BYTES;
        let mut header = Header::from_byte_slice(&tar[start..start + BLOCK_BYTES]).clone();
        header.set_cksum();
        tar[start..start + BLOCK_BYTES].copy_from_slice(header.as_bytes());
    }
}

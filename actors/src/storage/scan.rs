//! Reading a segment from a position to its end, record by record.
//!
//! Nothing is trusted: headers carry their own checksum and payloads are hashed. Behind something unreadable the
//! scan looks for the next valid header at each multiple of 64 bytes. It changes nothing on disk.
//!
//! Where it looks may be inside a payload, and a payload may hold whole records that a peer made up. Only those with
//! the store's own salt count, which no peer knows ([`super::salt`]).
//!
//! What the device does not give is damage as well, if whoever scans asks for that: a bad sector costs the records
//! that lie on it, not all that are behind it.

use std::{fs::File, io, thread::Scope};

use bytes::Bytes;
use proto::{
    Checksum, ProtoError,
    buffer::Buffer,
    limits::{RECORD_ALIGN_BYTES, RECORD_HEADER_BYTES, RECORD_PAYLOAD_BYTES_MAX},
    record::{HEADER_MAGIC, Header, Record, Salt},
};

use tokio::sync::mpsc;

use super::{
    ahead::Ahead,
    device_memory::DeviceMemory,
    disk::{DEVICE_BLOCK_BYTES, Disk, is_unreadable},
};

/// What a scan comes across.
#[derive(Debug)]
pub(crate) enum Found {
    /// A record of this store whose header and payload are right.
    Record { position: u64, header: Header, record: Record },
    /// Bytes that are no valid record. When the header could be read, it says what was there. Some of the bytes may be
    /// such that the device does not give them.
    Damage { position: u64, length: u64, header: Option<Header>, unreadable: bool },
}

/// What is at a place.
enum Looked {
    /// A header of this store.
    Header(Header),
    /// A header of a later version of the format, whoever made it.
    Newer(ProtoError),
    Nothing,
    Unreadable,
}

/// A scan under way. Blocks on the disk.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    disk: &'a dyn Disk,
    file: &'a File,
    salt: Salt,
    position: u64,
    length: u64,
    window: Window,
    skips_unreadable: bool,
    /// Up to where it is read past the page cache, if that is how it is read.
    past_cache: Option<u64>,
    ahead: Option<Ahead>,
    /// A large read ending here has failed: up to here, reads are small.
    careful_until: u64,
}

/// Bytes read ahead.
#[derive(Debug, Default)]
struct Window {
    bytes: Bytes,
    position: u64,
    /// What they are a part of, when they came past the page cache: filled again when nobody holds any of it.
    memory: Option<DeviceMemory>,
}

impl<'a> Scan<'a> {
    /// A scan of `file` for records with this salt, from a position where one begins up to `length` bytes.
    pub(crate) fn new(disk: &'a dyn Disk, file: &'a File, salt: Salt, position: u64, length: u64) -> Self {
        let window = Window::default();
        let (skips_unreadable, past_cache, ahead, careful_until) = (false, None, None, 0);
        Self {
            disk,
            file,
            salt,
            position,
            length,
            window,
            skips_unreadable,
            past_cache,
            ahead,
            careful_until,
        }
    }

    /// Bytes that the device does not give are damage; otherwise they are an error.
    pub(crate) fn skipping_unreadable(self) -> Self {
        Self { skips_unreadable: true, ..self }
    }

    /// Reads from the device itself, up to a position and what begins before it. The file was opened with
    /// [`Disk::open_past_cache`].
    pub(crate) fn past_cache(self, until: u64) -> Self {
        Self { past_cache: Some(until), ..self }
    }

    /// Past the page cache, what comes next is read while the last is looked at.
    pub(crate) fn reading_ahead<'scope>(self, scope: &'scope Scope<'scope, 'a>) -> Self {
        let until = self.past_cache.unwrap_or(0).min(self.length);
        let ahead = Ahead::start(scope, self.disk, self.file, self.position..until);
        Self { ahead, ..self }
    }

    /// These bytes of a file opened with [`Disk::open_past_cache`]; `None` when the device does not give them.
    pub(crate) fn bytes(
        disk: &dyn Disk,
        file: &File,
        position: u64,
        wanted: usize,
    ) -> io::Result<Option<Bytes>> {
        let length = file.metadata()?.len();
        let there = position.checked_add(wanted as u64).is_some_and(|end| end <= length);
        if !there || wanted > RECORD_PAYLOAD_BYTES_MAX {
            return Ok(None);
        }
        let scan = Scan::new(disk, file, Salt([0; Salt::BYTES]), position, length);
        scan.skipping_unreadable().past_cache(position + wanted as u64).take(position, wanted)
    }

    /// Where the scan goes on: behind what it came across last.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next record or damage; `None` at the end. Errors when the disk does, or with
    /// [`io::ErrorKind::Unsupported`] for a record of a later version of the format where nothing else can be: at
    /// the start, and right behind another record.
    pub(crate) fn next(&mut self) -> io::Result<Option<Found>> {
        if self.position >= self.length {
            return Ok(None);
        }
        let position = self.position;
        // Damage ends at a record, so only a record or the start of the scan is in front of this place.
        let header = match self.look(position)? {
            Looked::Header(header) if position + header.record_len() <= self.length => header,
            Looked::Newer(error) => return Err(io::Error::new(io::ErrorKind::Unsupported, error)),
            _ => return self.skip_damage(position).map(Some),
        };
        let length = header.record_len();
        self.position += length;
        let payload = self.take(position + RECORD_HEADER_BYTES as u64, header.payload_len as usize)?;
        let unreadable = payload.is_none();
        if let Some(payload) = payload.filter(|payload| Checksum::of(payload) == header.payload_hash)
            && let Ok(record) = Record::decode(header.kind, &payload)
        {
            return Ok(Some(Found::Record { position, header, record }));
        }
        Ok(Some(Found::Damage { position, length, header: Some(header), unreadable }))
    }

    /// Looks for the next header of this store behind a place where none is. What else stands there may be anybody's,
    /// and is no reason to stop.
    fn skip_damage(&mut self, from: u64) -> io::Result<Found> {
        let (mut at, mut unreadable) = (from, false);
        while at < self.length {
            at = match self.look(at)? {
                Looked::Header(_) if at > from => break,
                Looked::Unreadable => {
                    unreadable = true;
                    (at + 1).next_multiple_of(SECTOR_BYTES)
                }
                _ => at + RECORD_ALIGN_BYTES as u64,
            };
        }
        self.position = at.min(self.length);
        Ok(Found::Damage { position: from, length: self.position - from, header: None, unreadable })
    }

    fn look(&mut self, position: u64) -> io::Result<Looked> {
        if position + RECORD_HEADER_BYTES as u64 > self.length {
            return Ok(Looked::Nothing);
        }
        let Some(bytes) = self.take(position, RECORD_HEADER_BYTES)? else { return Ok(Looked::Unreadable) };
        let Some(bytes) = bytes.first_chunk().filter(|bytes| bytes.starts_with(&HEADER_MAGIC)) else {
            return Ok(Looked::Nothing);
        };
        Ok(match Header::decode(bytes) {
            Ok(header) if header.salt == self.salt && header.sequence < SEQUENCE_END => {
                Looked::Header(header)
            }
            Err(error @ ProtoError::NewerVersion { .. }) => Looked::Newer(error),
            _ => Looked::Nothing,
        })
    }

    /// Bytes of the file; the caller made sure that they are before its end. `None` when the device does not give them
    /// and that is damage.
    fn take(&mut self, position: u64, wanted: usize) -> io::Result<Option<Bytes>> {
        if let Some(bytes) = self.window.get(position, wanted) {
            return Ok(Some(bytes));
        }
        if let Some(ahead) = &mut self.ahead {
            if let Some(bytes) = ahead.take(position, wanted) {
                return Ok(Some(bytes));
            }
            // What it could not read is not asked for as a whole once more.
            self.careful_until = self.careful_until.max(ahead.failed_until());
        }
        if position >= self.careful_until {
            let most = self.past_cache.map_or(WINDOW_BYTES, |_| DEVICE_WINDOW_BYTES);
            // Behind where it was to end there is damage to be skipped, however much.
            let until = self.past_cache.filter(|until| *until > position).unwrap_or(self.length);
            let left = until.min(self.length).saturating_sub(position);
            let ahead = usize::try_from(left).unwrap_or(most).min(most).max(wanted);
            if self.fill(position, ahead)? {
                return Ok(self.window.get(position, wanted));
            }
            self.careful_until = position + ahead as u64;
        }
        // No more than the sectors that it is in: these are good or bad as a whole.
        let end = (position + wanted as u64).next_multiple_of(SECTOR_BYTES).min(self.length);
        let filled = self.fill(position, usize::try_from(end - position).unwrap_or(wanted))?;
        Ok(self.window.get(position, wanted).filter(|_| filled))
    }

    /// Reads this much into the window. `false` when the device does not give it and that is damage.
    fn fill(&mut self, position: u64, length: usize) -> io::Result<bool> {
        let filled = match self.past_cache {
            Some(_) => self.window.fill_past_cache(self.disk, self.file, position, length),
            None => self.window.fill(self.disk, self.file, position, length),
        };
        match filled {
            Err(error) if self.skips_unreadable && is_unreadable(&error) => {
                tracing::debug!(position, length, %error, "a part of a segment cannot be read");
                Ok(false)
            }
            filled => filled.map(|()| true),
        }
    }
}

impl Window {
    fn fill(&mut self, disk: &dyn Disk, file: &File, position: u64, length: usize) -> io::Result<()> {
        let mut bytes = Buffer::to_overwrite(length);
        disk.read(file, bytes.bytes_mut(), position)?;
        *self = Self { bytes: bytes.freeze(), position, memory: None };
        Ok(())
    }

    /// Reads at least this much, in whole blocks.
    fn fill_past_cache(
        &mut self,
        disk: &dyn Disk,
        file: &File,
        position: u64,
        length: usize,
    ) -> io::Result<()> {
        let start = position - position % DEVICE_BLOCK_BYTES as u64;
        let wanted = usize::try_from(position - start).unwrap_or(0) + length;
        self.bytes = Bytes::new();
        let mut memory = DeviceMemory::again(self.memory.take(), wanted)?;
        let read = disk.read_past_cache(file, memory.blocks(wanted)?, start)?;
        (self.bytes, self.position) = (memory.bytes(read), start);
        self.memory = Some(memory);
        if read < wanted { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn get(&self, position: u64, wanted: usize) -> Option<Bytes> {
        let start = usize::try_from(position.checked_sub(self.position)?).ok()?;
        let end = start.checked_add(wanted)?;
        (end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }
}

/// Scans a segment and passes on what it finds, some records at a time.
pub(crate) fn read_chunks(mut scan: Scan<'_>, sender: &mpsc::Sender<Vec<Found>>) -> io::Result<()> {
    let mut chunk = Vec::new();
    let mut bytes = 0;
    while let Some(found) = scan.next()? {
        bytes += if let Found::Record { header, .. } = &found { header.payload_len as usize } else { 0 };
        chunk.push(found);
        if chunk.len() >= CHUNK_RECORDS_MAX || bytes >= CHUNK_BYTES_MAX {
            bytes = 0;
            if sender.blocking_send(std::mem::take(&mut chunk)).is_err() {
                return Ok(());
            }
        }
    }
    // A receiver that is gone has failed for a reason of its own.
    let _ = sender.blocking_send(chunk);
    Ok(())
}

/// No record has a sequence number from here on: the index could not hold it, and none could follow.
const SEQUENCE_END: u64 = 1 << 63;
/// What a device gives or does not give as a whole, and a page cache too.
const SECTOR_BYTES: u64 = 4 << 10;
/// Read at a time past the page cache, which reads nothing ahead by itself.
const DEVICE_WINDOW_BYTES: usize = 2 << 20;
/// Read at a time; one record in it may be longer, and then so is the read.
const WINDOW_BYTES: usize = 1 << 20;
/// Records passed on at a time.
pub(crate) const CHUNK_RECORDS_MAX: usize = 1024;
const CHUNK_BYTES_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use std::{
        ops::Range,
        path::Path,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::storage::disk::RealDisk;
    use proto::record::Kind;

    const OURS: Salt = Salt([1; Salt::BYTES]);
    const OTHER: Salt = Salt([2; Salt::BYTES]);
    const BLOCK: u64 = 64;

    fn record(salt: Salt, kind: Kind, sequence: u64, payload: &[u8]) -> Vec<u8> {
        let header = Header::new(kind, salt, sequence, payload.len(), Checksum::of(payload)).unwrap();
        let mut out = [&header.encode()[..], payload].concat();
        out.resize(out.len().next_multiple_of(RECORD_ALIGN_BYTES), 0);
        out
    }

    fn blob(sequence: u64) -> Vec<u8> {
        record(OURS, Kind::Blob, sequence, &[7; 64])
    }

    /// A record of two blocks in a version of the format that does not exist yet.
    fn newer() -> Vec<u8> {
        let mut out = blob(1);
        out[4] = 200;
        let check = Checksum::of(&out[..56]);
        out[56..64].copy_from_slice(&check.as_bytes()[..8]);
        out
    }

    fn junk() -> Vec<u8> {
        vec![9; 64]
    }

    /// What a scan of these bytes finds, in short: sequence numbers, or where damage is and how long, in blocks.
    fn outline(parts: &[Vec<u8>]) -> io::Result<Vec<Result<u64, (u64, u64)>>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segment");
        std::fs::write(&path, parts.concat()).unwrap();
        let file = File::open(&path).unwrap();
        let length = file.metadata().unwrap().len();
        let mut scan = Scan::new(&RealDisk, &file, OURS, 0, length);
        let mut outline = Vec::new();
        while let Some(found) = scan.next()? {
            outline.push(match found {
                Found::Record { header, .. } => Ok(header.sequence),
                Found::Damage { position, length, .. } => Err((position / BLOCK, length / BLOCK)),
            });
        }
        Ok(outline)
    }

    fn check(parts: &[Vec<u8>], expected: &[Result<u64, (u64, u64)>]) {
        assert_eq!(outline(parts).unwrap(), expected);
    }

    /// A disk that gives nothing of a range, and counts what it is asked for.
    #[derive(Debug, Default)]
    struct Worn {
        bad: Range<u64>,
        reads: AtomicUsize,
        failed: AtomicUsize,
    }

    impl Disk for Worn {
        fn open_past_cache(&self, path: &Path) -> io::Result<File> {
            RealDisk.open_past_cache(path)
        }

        fn read_past_cache(&self, file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            if position < self.bad.end && self.bad.start < position + buffer.len() as u64 {
                self.failed.fetch_add(1, Ordering::Relaxed);
                return Err(io::Error::from_raw_os_error(5));
            }
            RealDisk.read_past_cache(file, buffer, position)
        }
    }

    /// How often this disk is asked for a file of these bytes up to a position, and how often in vain.
    fn asked(disk: &Worn, parts: &[Vec<u8>], until: u64) -> (usize, usize) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segment");
        std::fs::write(&path, parts.concat()).unwrap();
        let file = disk.open_past_cache(&path).unwrap();
        let length = file.metadata().unwrap().len();
        std::thread::scope(|scope| {
            let scan = Scan::new(disk, &file, OURS, 0, length).skipping_unreadable();
            let mut scan = scan.past_cache(until).reading_ahead(scope);
            while scan.position() < until && scan.next().unwrap().is_some() {}
        });
        (disk.reads.load(Ordering::Relaxed), disk.failed.load(Ordering::Relaxed))
    }

    #[test]
    fn damage_behind_the_end_is_skipped_in_large_reads() {
        let disk = Worn::default();
        let (reads, _) = asked(&disk, &[blob(1), vec![0; 16 << 20], blob(2)], 1 << 20);
        assert!((8..20).contains(&reads), "{reads}");
    }

    #[test]
    fn bad_sector_is_asked_for_as_part_of_a_window_and_alone() {
        let bad = 5 << 20;
        let records: Vec<_> =
            (0..100).map(|number| record(OURS, Kind::Blob, number, &[7; 100_000])).collect();
        let length = records.concat().len() as u64;
        let disk = Worn { bad: bad..bad + SECTOR_BYTES, ..Worn::default() };
        let (_, failed) = asked(&disk, &records, length);
        assert_eq!(failed, 2);
    }

    #[test]
    fn record_of_another_salt_is_damage_wherever_it_stands() {
        let other = || record(OTHER, Kind::Blob, 5, &[7; 64]);
        check(&[other(), blob(2)], &[Err((0, 2)), Ok(2)]);
        check(&[blob(1), other(), blob(2)], &[Ok(1), Err((2, 2)), Ok(2)]);
        check(&[blob(1), junk(), other(), blob(2)], &[Ok(1), Err((2, 3)), Ok(2)]);
    }

    #[test]
    fn record_that_says_nothing_or_cannot_be_counted_on_from_is_damage() {
        let short = record(OURS, Kind::Ref, 5, b"short");
        check(&[blob(1), short.clone(), blob(2)], &[Ok(1), Err((2, 2)), Ok(2)]);
        check(&[junk(), short, blob(2)], &[Err((0, 1)), Err((1, 2)), Ok(2)]);
        check(&[blob(u64::MAX), blob(2)], &[Err((0, 2)), Ok(2)]);
        check(&[blob(1 << 62), blob(2)], &[Ok(1 << 62), Ok(2)]);
    }

    #[test]
    fn newer_version_is_refused_where_a_record_must_be_and_damage_elsewhere() {
        for parts in [vec![newer()], vec![blob(1), newer()], vec![junk(), blob(1), newer()]] {
            assert_eq!(outline(&parts).unwrap_err().kind(), io::ErrorKind::Unsupported);
        }
        check(&[junk(), newer(), blob(2)], &[Err((0, 3)), Ok(2)]);
    }
}

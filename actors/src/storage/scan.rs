//! Reading a segment from a position to its end, record by record.
//!
//! Nothing is trusted: headers carry their own checksum and payloads are hashed. Behind something unreadable the
//! scan looks for the next valid header at each multiple of 64 bytes. It changes nothing on disk.
//!
//! Where it looks may be inside a payload, and a payload may hold whole records that a peer made up. Only those with
//! the store's own salt count, which no peer knows ([`super::salt`]).

use std::{fs::File, io};

use bytes::Bytes;
use proto::{
    Checksum, ProtoError,
    limits::{RECORD_ALIGN_BYTES, RECORD_HEADER_BYTES},
    record::{HEADER_MAGIC, Header, Record, Salt},
};

use tokio::sync::mpsc;

use super::disk::Disk;

/// What a scan comes across.
#[derive(Debug)]
pub(crate) enum Found {
    /// A record of this store whose header and payload are right.
    Record { position: u64, header: Header, record: Record },
    /// Bytes that are no valid record. When the header could be read, it says what was there.
    Damage { position: u64, length: u64, header: Option<Header> },
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
}

/// Bytes read ahead.
#[derive(Debug, Default)]
struct Window {
    bytes: Bytes,
    position: u64,
}

impl<'a> Scan<'a> {
    /// A scan of `file` for records with this salt, from a position where one begins up to `length` bytes.
    pub(crate) fn new(disk: &'a dyn Disk, file: &'a File, salt: Salt, position: u64, length: u64) -> Self {
        Self { disk, file, salt, position, length, window: Window::default() }
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
        let Some(header) = self.header(position)? else { return self.skip_damage(position).map(Some) };
        let end = position + header.record_len();
        if end > self.length {
            return self.skip_damage(position).map(Some);
        }
        self.position = end;
        let payload = self.take(position + RECORD_HEADER_BYTES as u64, header.payload_len as usize)?;
        if Checksum::of(&payload) == header.payload_hash
            && let Ok(record) = Record::decode(header.kind, &payload)
        {
            return Ok(Some(Found::Record { position, header, record }));
        }
        Ok(Some(Found::Damage { position, length: end - position, header: Some(header) }))
    }

    /// Looks for the next header of this store behind a place where none is. What else stands there may be anybody's,
    /// and is no reason to stop.
    fn skip_damage(&mut self, from: u64) -> io::Result<Found> {
        let mut at = from + RECORD_ALIGN_BYTES as u64;
        while at < self.length && !matches!(self.look(at)?, Some(Ok(_))) {
            at += RECORD_ALIGN_BYTES as u64;
        }
        self.position = at.min(self.length);
        Ok(Found::Damage { position: from, length: self.position - from, header: None })
    }

    /// The header at a place where nothing but a header can be.
    fn header(&mut self, position: u64) -> io::Result<Option<Header>> {
        match self.look(position)? {
            Some(Err(error @ ProtoError::NewerVersion { .. })) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, error))
            }
            looked => Ok(looked.and_then(Result::ok)),
        }
    }

    /// What is at a place, if it looks like a header of this store or of a later version.
    fn look(&mut self, position: u64) -> io::Result<Option<Result<Header, ProtoError>>> {
        if position + RECORD_HEADER_BYTES as u64 > self.length {
            return Ok(None);
        }
        let bytes = self.take(position, RECORD_HEADER_BYTES)?;
        let Some(bytes) = bytes.first_chunk().filter(|bytes| bytes.starts_with(&HEADER_MAGIC)) else {
            return Ok(None);
        };
        let ours = |header: &Header| header.salt == self.salt && header.sequence < SEQUENCE_END;
        Ok(match Header::decode(bytes) {
            Ok(header) => Some(header).filter(ours).map(Ok),
            refused => Some(refused),
        })
    }

    /// Bytes of the file; the caller made sure that they are before its end.
    fn take(&mut self, position: u64, wanted: usize) -> io::Result<Bytes> {
        let in_window = |window: &Window| {
            let start = usize::try_from(position.checked_sub(window.position)?).ok()?;
            let end = start.checked_add(wanted)?;
            (end <= window.bytes.len()).then(|| window.bytes.slice(start..end))
        };
        if let Some(bytes) = in_window(&self.window) {
            return Ok(bytes);
        }
        let left = self.length.saturating_sub(position);
        let ahead = usize::try_from(left).unwrap_or(usize::MAX).min(WINDOW_BYTES).max(wanted);
        let mut bytes = vec![0; ahead];
        self.disk.read(self.file, &mut bytes, position)?;
        self.window = Window { bytes: bytes.into(), position };
        in_window(&self.window).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
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
/// Read at a time; one record in it may be longer, and then so is the read.
const WINDOW_BYTES: usize = 1 << 20;
/// Records passed on at a time.
pub(crate) const CHUNK_RECORDS_MAX: usize = 1024;
const CHUNK_BYTES_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
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

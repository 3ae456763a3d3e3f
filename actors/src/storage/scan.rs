//! Reading a segment from a position to its end, record by record.
//!
//! Nothing is trusted: headers carry their own checksum and payloads are hashed. Behind something unreadable the
//! scan looks for the next valid header at each multiple of 64 bytes. It changes nothing on disk.

use std::{fs::File, io};

use bytes::Bytes;
use proto::{
    Checksum, ProtoError,
    limits::{RECORD_ALIGN_BYTES, RECORD_HEADER_BYTES},
    record::{HEADER_MAGIC, Header},
};

use tokio::sync::mpsc;

use super::disk::Disk;

/// What a scan comes across.
#[derive(Debug)]
pub(crate) enum Found {
    /// A record whose header and payload are right.
    Record { position: u64, header: Header, payload: Bytes },
    /// Bytes that are no valid record. When the header could be read, it says what was there.
    Damage { position: u64, length: u64, header: Option<Header> },
}

/// A scan under way. Blocks on the disk.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    disk: &'a dyn Disk,
    file: &'a File,
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
    /// A scan of `file` from a position (a multiple of 64) up to `length` bytes.
    pub(crate) fn new(disk: &'a dyn Disk, file: &'a File, position: u64, length: u64) -> Self {
        Self { disk, file, position, length, window: Window::default() }
    }

    /// The next record or damage; `None` at the end. Errors when the disk does, or with
    /// [`io::ErrorKind::Unsupported`] for a record of a later version of the format.
    pub(crate) fn next(&mut self) -> io::Result<Option<Found>> {
        if self.position >= self.length {
            return Ok(None);
        }
        let position = self.position;
        let Some(header) = self.header(position)? else { return self.skip_damage(position).map(Some) };
        let end = position + header.record_len();
        if end > self.length {
            return self.skip_damage(position).map(Some);
        }
        self.position = end;
        let payload = self.take(position + RECORD_HEADER_BYTES as u64, header.payload_len as usize)?;
        if Checksum::of(&payload) == header.payload_hash {
            return Ok(Some(Found::Record { position, header, payload }));
        }
        Ok(Some(Found::Damage { position, length: end - position, header: Some(header) }))
    }

    /// Looks for the next valid header behind a place where none is.
    fn skip_damage(&mut self, from: u64) -> io::Result<Found> {
        let mut at = from + RECORD_ALIGN_BYTES as u64;
        while at < self.length && self.header(at)?.is_none() {
            at += RECORD_ALIGN_BYTES as u64;
        }
        self.position = at.min(self.length);
        Ok(Found::Damage { position: from, length: self.position - from, header: None })
    }

    fn header(&mut self, position: u64) -> io::Result<Option<Header>> {
        if position + RECORD_HEADER_BYTES as u64 > self.length {
            return Ok(None);
        }
        let bytes = self.take(position, RECORD_HEADER_BYTES)?;
        let Some(bytes) = bytes.first_chunk() else { return Ok(None) };
        if !bytes.starts_with(&HEADER_MAGIC) {
            return Ok(None);
        }
        match Header::decode(bytes) {
            Ok(header) => Ok(Some(header)),
            Err(error @ ProtoError::NewerVersion { .. }) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, error))
            }
            Err(_) => Ok(None),
        }
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
pub(crate) fn read_chunks(
    disk: &dyn Disk,
    file: &File,
    from: u64,
    length: u64,
    sender: &mpsc::Sender<Vec<Found>>,
) -> io::Result<()> {
    let mut scan = Scan::new(disk, file, from, length);
    let mut chunk = Vec::new();
    let mut bytes = 0;
    while let Some(found) = scan.next()? {
        bytes += if let Found::Record { payload, .. } = &found { payload.len() } else { 0 };
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

/// Read at a time; one record in it may be longer, and then so is the read.
const WINDOW_BYTES: usize = 1 << 20;
/// Records passed on at a time.
pub(crate) const CHUNK_RECORDS_MAX: usize = 1024;
const CHUNK_BYTES_MAX: usize = 8 << 20;

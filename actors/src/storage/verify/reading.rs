//! Reading a piece of a segment from the device, and what is not there that should be.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
    iter::Peekable,
    ops::Range,
    slice::Iter,
};

use bytes::Bytes;
use proto::{
    Checksum,
    limits::RECORD_HEADER_BYTES,
    record::{Kind, Record, SessionId},
};

use crate::storage::{
    inventory::{self, Item},
    rows::Place,
    scan::{Found, Scan},
    segment::SegmentFiles,
};

/// What reading a piece came to.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Up to where it was read.
    pub(super) reached: u64,
    pub(super) blobs: u64,
    pub(super) blob_bytes: u64,
    /// What should have been there, and why it is not.
    pub(super) lacking: Vec<(Item, Lacking)>,
    /// Something other than a blob is damaged.
    pub(super) is_spoiled: bool,
    /// It may be a commit.
    pub(super) may_lack_commit: bool,
}

/// Why something is not where it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lacking {
    /// Its bytes are damaged, or the device does not give them.
    Damaged,
    /// Something else is there, and in order.
    Elsewhere,
}

impl Reading {
    /// Reads a piece of a segment that should have so many bytes, as far as it is known what is in it. Blocks.
    pub(super) fn of(
        files: &SegmentFiles,
        file: Option<&File>,
        bytes: u64,
        piece: Range<u64>,
        items: &[Item],
    ) -> io::Result<Self> {
        let mut reading = Self { reached: piece.start, ..Self::default() };
        let mut items = items.iter().peekable();
        let length = file.map_or(Ok(0), |file| file.metadata().map(|file| file.len()))?.min(bytes);
        if let Some(file) = file {
            std::thread::scope(|scope| -> io::Result<()> {
                let scan = Scan::new(files.disk(), file, files.salt(), piece.start, length);
                let mut scan = scan.skipping_unreadable().past_cache(piece.end).reading_ahead(scope);
                while scan.position() < piece.end
                    && let Some(found) = scan.next()?
                {
                    reading.note(&found, &mut items);
                    reading.reached = scan.position();
                }
                Ok(())
            })?;
        }
        if length < bytes && reading.reached >= length {
            // The end of the file is gone.
            reading.lacking.extend(items.map(|item| (*item, Lacking::Damaged)));
            (reading.reached, reading.is_spoiled, reading.may_lack_commit) = (bytes, true, true);
        } else if reading.reached >= bytes {
            // Nothing was ever behind the end of the segment.
            reading.lacking.extend(items.map(|item| (*item, Lacking::Elsewhere)));
        }
        Ok(reading)
    }

    fn note(&mut self, found: &Found, items: &mut Peekable<Iter<'_, Item>>) {
        let (position, end, lacking) = match found {
            Found::Record { position, header, .. } => {
                (*position, *position + header.record_len(), Lacking::Elsewhere)
            }
            Found::Damage { position, length, .. } => (*position, *position + *length, Lacking::Damaged),
        };
        match found {
            Found::Record { record: Record::Blob(bytes), .. } => {
                (self.blobs, self.blob_bytes) = (self.blobs + 1, self.blob_bytes + bytes.len() as u64);
            }
            Found::Damage { header, .. } => {
                self.is_spoiled |= header.is_none_or(|header| header.kind != Kind::Blob);
                self.may_lack_commit |= header.is_none_or(|header| header.kind == Kind::Commit);
            }
            Found::Record { .. } => {}
        }
        while let Some(item) = items.next_if(|item| item.position() < end) {
            if item.position() != position || found_item(found) != Some((item.key, item.len)) {
                self.lacking.push((*item, lacking));
            }
        }
    }
}

/// The key and length of a blob or document that is in order.
fn found_item(found: &Found) -> Option<([u8; 8], u32)> {
    let Found::Record { header, record, .. } = found else { return None };
    let checksum = match record {
        Record::Blob(_) => header.payload_hash,
        Record::Document { bytes, .. } => Checksum::of(bytes),
        _ => return None,
    };
    Some((inventory::key(&checksum), header.payload_len))
}

/// The bytes at a place, from the device, whatever stands before them; `None` when it does not give them. Blocks.
pub(super) fn payload(files: &SegmentFiles, place: &Place) -> Option<Bytes> {
    let file = files.open_past_cache(place.segment).ok()?;
    let start = place.position + RECORD_HEADER_BYTES as u64;
    Scan::bytes(files.disk(), &file, start, place.len as usize).ok().flatten()
}

/// What a segment still holds.
#[derive(Debug, Default)]
pub(super) struct Remains {
    /// By the sequence numbers of all refs: the sessions they belong to.
    pub(super) refs: HashMap<u64, SessionId>,
    /// Sessions that are complete by it.
    pub(super) committed: HashSet<SessionId>,
    /// Bytes that were read for that.
    pub(super) bytes: u64,
}

impl Remains {
    /// Reads a segment. Blocks.
    pub(super) fn of(files: &SegmentFiles, segment: u32) -> io::Result<Self> {
        let file = match files.open_past_cache(segment) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            opened => opened?,
        };
        let length = file.metadata()?.len();
        let scan = Scan::new(files.disk(), &file, files.salt(), 0, length);
        let mut scan = scan.skipping_unreadable().past_cache(length);
        let mut remains = Self { bytes: length, ..Self::default() };
        while let Some(found) = scan.next()? {
            match found {
                Found::Record { header, record: Record::Ref(claim), .. } => {
                    remains.refs.insert(header.sequence, claim.session);
                }
                Found::Record { record: Record::Commit { session, .. }, .. } => {
                    remains.committed.insert(session);
                }
                _ => {}
            }
        }
        Ok(remains)
    }
}

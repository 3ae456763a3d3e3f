//! Reading bytes back. Whatever comes from storage is hashed before anyone sees it.

use std::{io, sync::Arc};

use bytes::Bytes;
use proto::{
    Checksum, Fragment,
    buffer::Buffer,
    limits::{RECORD_HEADER_BYTES, RECORD_PAYLOAD_BYTES_MAX},
    record::{Header, Kind, Record},
};
use tokio::sync::Semaphore;

use super::{disk::is_unreadable, locations::Location, rows::Place, segment::SegmentFiles};
use crate::{
    error::ActorError,
    metrics::{ReadReason, StorageMetrics},
};

/// Why bytes could not be had from a place.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The segment is gone: the place is out of date.
    Gone,
    /// The bytes there are not what they should be, or the device does not give them.
    Wrong,
    /// There is no such record at this place: the index is wrong, or header and payload both are.
    Misplaced,
    /// Reading failed, which says nothing about the bytes.
    Failed(ActorError),
}

/// What reads share.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    files: SegmentFiles,
    threads: Arc<Semaphore>,
    metrics: StorageMetrics,
}

impl Reader {
    pub(crate) fn new(files: SegmentFiles, metrics: StorageMetrics) -> Self {
        Self { files, threads: Arc::new(Semaphore::new(BLOCKING_READS_MAX)), metrics }
    }

    pub(crate) fn files(&self) -> &SegmentFiles {
        &self.files
    }

    /// The fragment at a location, its hash checked. Small ones that are in the page cache are read and hashed at
    /// once; all others on a blocking thread.
    pub(crate) async fn fragment(&self, location: &Location) -> Result<Fragment, Unread> {
        self.fragment_for(location, ReadReason::Get).await
    }

    /// The same for another reason.
    pub(crate) async fn fragment_for(
        &self,
        location: &Location,
        reason: ReadReason,
    ) -> Result<Fragment, Unread> {
        self.metrics.read(reason, location.place.len.into());
        if let Some(bytes) = self.payload_cached(&location.place) {
            return Fragment::check(location.checksum, bytes).map_err(|_| self.misread(location));
        }
        let (reader, location) = (self.clone(), *location);
        self.blocking(move || {
            let bytes = reader.read(&location.place)?;
            Fragment::check(location.checksum, bytes).map_err(|_| reader.misread(&location))
        })
        .await
    }

    /// A part of the payload at a place, as it is: nothing is checked.
    pub(crate) async fn part(
        &self,
        place: &Place,
        from: u64,
        length: usize,
        reason: ReadReason,
    ) -> Result<Bytes, Unread> {
        self.metrics.read(reason, length as u64);
        let whole = payload_length(place)?;
        if from + length as u64 > whole as u64 {
            return Err(Unread::Misplaced);
        }
        let position = payload_position(place) + from;
        if let Some(bytes) = self.cached(place.segment, position, length) {
            return Ok(bytes);
        }
        let (reader, segment) = (self.clone(), place.segment);
        self.blocking(move || {
            let mut bytes = Buffer::to_overwrite(length);
            reader.read_into(segment, position, bytes.bytes_mut())?;
            Ok(bytes.freeze())
        })
        .await
    }

    /// The document at a place, its hash checked.
    pub(crate) async fn document(&self, place: Place, hash: Checksum) -> Result<Bytes, Unread> {
        let reader = self.clone();
        self.blocking(move || {
            let payload = reader.read(&place)?;
            match Record::decode(Kind::Document, &payload) {
                Ok(Record::Document { bytes, .. }) if Checksum::of(&bytes) == hash => Ok(bytes),
                // A record that is whole and says something else is another one.
                _ => Err(reader.cause(&place, |header| {
                    header.kind == Kind::Document
                        && header.payload_len == place.len
                        && header.payload_hash != Checksum::of(&payload)
                })),
            }
        })
        .await
    }

    /// The payload, if it is small and no wait for the device is needed.
    fn payload_cached(&self, place: &Place) -> Option<Bytes> {
        let length = payload_length(place).ok().filter(|length| *length <= INLINE_BYTES_MAX)?;
        self.cached(place.segment, payload_position(place), length)
    }

    /// Bytes of a segment, if no wait for the device is needed.
    fn cached(&self, segment: u32, position: u64, length: usize) -> Option<Bytes> {
        let file = self.files.opened(segment)?;
        let mut bytes = Buffer::to_overwrite(length);
        let read = self.files.disk().read_cached(&file, bytes.bytes_mut(), position);
        matches!(read, Ok(true)).then(|| bytes.freeze())
    }

    fn read(&self, place: &Place) -> Result<Bytes, Unread> {
        let mut bytes = Buffer::to_overwrite(payload_length(place)?);
        self.read_into(place.segment, payload_position(place), bytes.bytes_mut())?;
        Ok(bytes.freeze())
    }

    fn read_into(&self, segment: u32, position: u64, buffer: &mut [u8]) -> Result<(), Unread> {
        let file = self.files.open(segment).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Unread::Gone,
            _ => Unread::Failed(ActorError::io(format!("cannot open segment {segment}"))(error)),
        })?;
        self.files.disk().read(&file, buffer, position).map_err(|error| {
            if is_unreadable(&error) {
                tracing::error!(segment, position, %error, "the device does not give what is stored");
                return Unread::Wrong;
            }
            Unread::Failed(ActorError::io(format!("cannot read segment {segment}"))(error))
        })
    }

    fn misread(&self, location: &Location) -> Unread {
        let Location { checksum, place } = location;
        self.cause(place, |header| header.payload_hash == *checksum && header.payload_len == place.len)
    }

    /// Wrong bytes: are they damaged, or does the index point to the wrong place?
    fn cause(&self, place: &Place, is_right: impl Fn(&Header) -> bool) -> Unread {
        let mut header = [0; RECORD_HEADER_BYTES];
        let read = self.read_into(place.segment, place.position, &mut header);
        match (read, Header::decode(&header)) {
            (Ok(()), Ok(header)) if is_right(&header) => Unread::Wrong,
            (Err(error), _) => error,
            _ => Unread::Misplaced,
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Unread> + Send + 'static,
    ) -> Result<T, Unread> {
        let permit = self.threads.clone().acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.unwrap_or_else(|error| Err(Unread::Failed(io::Error::other(error).into())))
    }
}

fn payload_position(place: &Place) -> u64 {
    place.position + RECORD_HEADER_BYTES as u64
}

/// Errors for a place that no record can have: no memory is taken for it, and no system is asked.
fn payload_length(place: &Place) -> Result<usize, Unread> {
    let length = place.len as usize;
    let is_possible = length <= RECORD_PAYLOAD_BYTES_MAX && place.position < FILE_BYTES_MAX;
    if is_possible { Ok(length) } else { Err(Unread::Misplaced) }
}

/// No file is as long as this.
const FILE_BYTES_MAX: u64 = 1 << 62;
/// Read and hashed inline up to this length: 64 KiB take about 10 µs from the page cache.
const INLINE_BYTES_MAX: usize = 64 << 10;
/// Reads that wait for the device at a time.
const BLOCKING_READS_MAX: usize = 16;

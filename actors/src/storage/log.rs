//! The end of the log: the one segment that records are appended to.

use std::{
    fs::File,
    io::{self, IoSlice},
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use proto::{
    Checksum,
    limits::RECORD_ALIGN_BYTES,
    record::{Header, Kind, Record, Salt},
};

use super::{
    disk::Disk,
    rows::{Place, Watermark},
    segment,
};
use crate::error::ActorError;

/// The active segment and how new ones are made.
#[derive(Debug)]
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    segment_bytes: u64,
    salt: Salt,
    active: Active,
    /// The next segment's number. One that could not be begun may have left a file, so its number is not used again.
    next: u32,
}

#[derive(Debug, Clone)]
struct Active {
    id: u32,
    file: Arc<File>,
    tail: u64,
}

/// Records of one batch, encoded one behind the other, with the places they will have.
#[derive(Debug)]
pub(crate) struct Tape {
    file: Arc<File>,
    salt: Salt,
    segment: u32,
    start: u64,
    end: u64,
    parts: Vec<Bytes>,
}

impl Log {
    /// Goes on behind the last record of a cleanly closed segment.
    pub(crate) fn reopen(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        segment_bytes: u64,
        salt: Salt,
        end: Watermark,
    ) -> Result<Self, ActorError> {
        let path = segment::path(&folder, end.segment);
        let file = disk.open(&path).map_err(ActorError::io(format!("cannot open {}", path.display())))?;
        let active = Active { id: end.segment, file: Arc::new(file), tail: end.position };
        Ok(Self { disk, folder, segment_bytes, salt, active, next: end.segment + 1 })
    }

    /// Begins a new segment. Its name is durable when this returns.
    pub(crate) fn begin(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        segment_bytes: u64,
        salt: Salt,
        id: u32,
    ) -> Result<Self, ActorError> {
        let active = Active { id, file: Arc::new(create(disk.as_ref(), &folder, id)?), tail: 0 };
        Ok(Self { disk, folder, segment_bytes, salt, active, next: id + 1 })
    }

    /// Where the next record goes.
    pub(crate) fn end(&self) -> Watermark {
        Watermark { segment: self.active.id, position: self.active.tail }
    }

    /// That of all records of this store.
    pub(crate) fn salt(&self) -> Salt {
        self.salt
    }

    /// Whether a batch of this many bytes should begin a new segment. An empty segment takes a batch of any size.
    pub(crate) fn is_full_for(&self, bytes: u64) -> bool {
        self.active.tail > 0 && self.active.tail + bytes > self.segment_bytes
    }

    /// Begins the next segment. On an error the active one stays.
    pub(crate) async fn rotate(&mut self) -> Result<(), ActorError> {
        let id = self.next;
        self.next += 1;
        let (disk, folder) = (self.disk.clone(), self.folder.clone());
        let created = tokio::task::spawn_blocking(move || create(disk.as_ref(), &folder, id)).await;
        let file = Arc::new(created.map_err(io::Error::other)??);
        self.active = Active { id, file, tail: 0 };
        Ok(())
    }

    /// An empty tape whose records will follow what is there.
    pub(crate) fn tape(&self) -> Tape {
        Tape {
            file: self.active.file.clone(),
            salt: self.salt,
            segment: self.active.id,
            start: self.active.tail,
            end: self.active.tail,
            parts: Vec::new(),
        }
    }

    /// The tape's records were written: the next ones go behind them.
    pub(crate) fn advance(&mut self, tape: &Tape) {
        self.active.tail = tape.end;
    }
}

impl Tape {
    /// Adds a blob whose hash is known.
    pub(crate) fn blob(&mut self, seq: u64, checksum: Checksum, bytes: &Bytes) -> Result<Place, ActorError> {
        self.push(Kind::Blob, seq, checksum, bytes.clone())
    }

    /// Adds any other record.
    pub(crate) fn record(&mut self, seq: u64, record: &Record) -> Result<Place, ActorError> {
        let payload = record.payload();
        self.push(record.kind(), seq, Checksum::of(&payload), payload)
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The segment its records are in.
    pub(crate) fn segment(&self) -> u32 {
        self.segment
    }

    /// The end of its last record.
    pub(crate) fn end(&self) -> Watermark {
        Watermark { segment: self.segment, position: self.end }
    }

    /// The file its records are in.
    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Where its first record begins.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Bytes its records take.
    pub(crate) fn bytes(&self) -> u64 {
        self.end - self.start
    }

    /// Writes all records with as few calls as possible. May block.
    pub(crate) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        let mut slices: Vec<_> = self.parts.iter().map(|part| IoSlice::new(part)).collect();
        disk.write(&self.file, &mut slices, self.start)
    }

    fn push(&mut self, kind: Kind, seq: u64, hash: Checksum, payload: Bytes) -> Result<Place, ActorError> {
        let header = Header::new(kind, self.salt, seq, payload.len(), hash)?;
        let place = Place { segment: self.segment, position: self.end, len: header.payload_len };
        let padding = payload.len().next_multiple_of(RECORD_ALIGN_BYTES) - payload.len();
        self.parts.push(Bytes::copy_from_slice(&header.encode()));
        self.parts.push(payload);
        if let Some(zeros) = ZEROS.get(..padding).filter(|zeros| !zeros.is_empty()) {
            self.parts.push(Bytes::from_static(zeros));
        }
        self.end += header.record_len();
        Ok(place)
    }
}

fn create(disk: &dyn Disk, folder: &std::path::Path, id: u32) -> Result<File, ActorError> {
    let path = segment::path(folder, id);
    let context = || format!("cannot begin segment {}", path.display());
    let file = disk.create(&path).map_err(ActorError::io(context()))?;
    // Without its name the records in it could not be found after a power cut.
    if let Err(error) = disk.sync_folder(folder) {
        let removed = disk.remove(&path);
        tracing::debug!(?removed, "a segment whose name could not be made durable was given up");
        return Err(ActorError::io(context())(error));
    }
    Ok(file)
}

static ZEROS: [u8; RECORD_ALIGN_BYTES] = [0; RECORD_ALIGN_BYTES];

/// Cuts the log back to what was synced: whatever was appended behind it may or may not be on the disk, and must not
/// be taken for durable later. That it is cut is made durable too: it must not come back when the next answers rest
/// on it being gone. (This is no second try of a sync that failed: what that was for is cut off.) May block.
pub(crate) fn cut_back(
    disk: &dyn Disk,
    folder: &std::path::Path,
    durable: Watermark,
    end: Watermark,
) -> Result<(), ActorError> {
    for id in durable.segment..=end.segment {
        let path = segment::path(folder, id);
        let length = if id == durable.segment { durable.position } else { 0 };
        let cut = disk.open(&path).and_then(|file| {
            disk.truncate(&file, length)?;
            disk.sync(&file)
        });
        match cut {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            cut => cut.map_err(ActorError::io(format!("cannot cut back {}", path.display())))?,
        }
    }
    Ok(())
}

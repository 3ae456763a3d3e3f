//! What starts have lost, in a file of the data directory with a line of JSON for each: the report of a start ends with its
//! process, and who looks after a machine may come by later. The file is there until somebody removes it.
//!
//! # Not guaranteed
//! When the power goes, or the disk is full, just when a start has found that something is lost, it may not be on record.

use std::{
    io::{self, IoSlice},
    path::Path,
};

use config::StorageConfig;
use proto::TesseraId;
use serde::{Deserialize, Serialize};

use super::{disk::Disk, recover::Report, snapshot::Missing};
use crate::clock;

/// What a start has lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// When that was, in milliseconds since 1970.
    pub at_ms: i64,
    /// Segments that were shorter than they had been, or gone.
    pub segments: Vec<u32>,
    /// The tesserae whose documents were lost, one for each document.
    pub documents: Vec<TesseraId>,
    /// Tesserae that a snapshot of the index knew, and of which the segments said nothing any more.
    pub missing: Missing,
    /// When that snapshot was taken, in milliseconds since 1970.
    pub snapshot_taken_at_ms: Option<i64>,
}

impl Loss {
    fn of(report: &Report, at_ms: i64) -> Option<Self> {
        let restored = report.restored.as_ref();
        let loss = Self {
            at_ms,
            segments: report.lost_segments.clone(),
            documents: report.lost_documents.clone(),
            missing: restored.map(|restored| restored.missing.clone()).unwrap_or_default(),
            snapshot_taken_at_ms: restored.map(|restored| restored.taken_at_ms),
        };
        (loss.is_certain() || loss.missing.count > 0).then_some(loss)
    }

    /// Whether anything is lost for certain: what is missing may have been forgotten.
    pub fn is_certain(&self) -> bool {
        !self.segments.is_empty() || !self.documents.is_empty()
    }
}

/// All that is on record. A line that is none is passed over: whoever wrote it, or the power, was cut off. Blocks.
pub fn losses(data_dir: &Path) -> io::Result<Vec<Loss>> {
    match std::fs::read_to_string(data_dir.join(LOSSES_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        lines => Ok(lines?.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()),
    }
}

/// Puts on record what a start has lost, if anything. Blocks.
pub(crate) fn note(config: &StorageConfig, disk: &dyn Disk, report: &Report) {
    let Some(loss) = Loss::of(report, clock::now_ms()) else { return };
    if let Err(error) = write(&config.data_dir, disk, &loss) {
        tracing::warn!(%error, ?loss, "what this start has lost could not be put on record");
    }
}

fn write(data_dir: &Path, disk: &dyn Disk, loss: &Loss) -> io::Result<()> {
    let mut line = serde_json::to_string(loss)? + "\n";
    let path = data_dir.join(LOSSES_FILE);
    let file = match disk.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(&path)?,
        opened => opened?,
    };
    let (end, mut last) = (file.metadata()?.len(), [b'\n']);
    if end > 0 {
        disk.read(&file, &mut last, end - 1)?;
    }
    if last != [b'\n'] {
        // A write that never ended.
        line.insert(0, '\n');
    }
    disk.write(&file, &mut [IoSlice::new(line.as_bytes())], end)?;
    disk.sync(&file)?;
    disk.sync_folder(data_dir)
}

/// In the data directory.
pub const LOSSES_FILE: &str = "losses.jsonl";

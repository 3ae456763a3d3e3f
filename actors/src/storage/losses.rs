//! What starts have lost, in a file of the data directory with a line of JSON for each: the report of a start ends with its
//! process, and who looks after a machine may come by later. The file is there until somebody removes it.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use proto::TesseraId;
use serde::{Deserialize, Serialize};

use super::recover::Report;
use crate::clock;

/// What a start has lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// When that was, in milliseconds since 1970.
    pub at_ms: i64,
    /// Segments that were shorter than they had been, or gone.
    pub segments: Vec<u32>,
    /// Documents that were lost, by their tessera; the first of them when there are very many.
    pub documents: Vec<TesseraId>,
    /// Tesserae that a snapshot of the index knew, and of which the segments said nothing any more; likewise.
    pub missing: Vec<TesseraId>,
    /// When that snapshot was taken, in milliseconds since 1970.
    pub snapshot_taken_at_ms: Option<i64>,
}

impl Loss {
    fn of(report: &Report, at_ms: i64) -> Option<Self> {
        let restored = report.restored.as_ref();
        let missing = restored.map_or(&[][..], |restored| &restored.missing);
        let first = |some: &[TesseraId]| some.iter().take(NAMED_MAX).copied().collect::<Vec<_>>();
        let loss = Self {
            at_ms,
            segments: report.lost_segments.clone(),
            documents: first(&report.lost_documents),
            missing: first(missing),
            snapshot_taken_at_ms: restored.map(|restored| restored.taken_at_ms),
        };
        let is_any = !loss.segments.is_empty() || !loss.documents.is_empty() || !loss.missing.is_empty();
        is_any.then_some(loss)
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
pub(crate) fn note(data_dir: &Path, report: &Report) {
    let Some(loss) = Loss::of(report, clock::now_ms()) else { return };
    let noted = serde_json::to_vec(&loss).map_err(io::Error::other).and_then(|mut line| {
        // Behind what a write has left that never ended, too.
        line.insert(0, b'\n');
        line.push(b'\n');
        let path = data_dir.join(LOSSES_FILE);
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        file.write_all(&line)?;
        file.sync_data()
    });
    if let Err(error) = noted {
        tracing::warn!(%error, ?loss, "what this start has lost could not be put on record");
    }
}

/// In the data directory.
pub const LOSSES_FILE: &str = "losses.jsonl";
const NAMED_MAX: usize = 1000;

//! What SQLite writes, counted by looking at its write-ahead log after each transaction.
//!
//! The WAL says how much went into it, and which pages of the database will follow. It begins anew, with another salt,
//! only after a checkpoint has moved all of it; each page is then moved once, however often it stood there.
//!
//! # Not guaranteed
//! Pages that a checkpoint moves twice, because a reader kept it from moving all, are counted once; what the last
//! checkpoint of a clean stop moves is not counted.
//!
//! # Source
//! <https://sqlite.org/fileformat2.html#walformat>. The `-shm` file knows more, but must not be opened here: closing it
//! would take SQLite's own locks on it away (`fcntl(2)`). SQLite locks nothing in the WAL itself.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::pragmas::PAGE_BYTES;

/// Bytes that SQLite has written into its two files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Into the write-ahead log.
    pub(crate) wal: u64,
    /// Into the database itself.
    pub(crate) index: u64,
}

/// Counts for one open database. Copies count together.
#[derive(Debug, Clone)]
pub(crate) struct WalMeter {
    path: Arc<PathBuf>,
    seen: Arc<Mutex<Seen>>,
}

/// The WAL as it was when it was looked at last.
#[derive(Debug, Default)]
struct Seen {
    salt: [u8; 8],
    /// The page of each frame since the WAL began: 4 bytes a frame.
    pages: Vec<u32>,
    /// Not taken yet.
    written: Written,
}

impl WalMeter {
    /// For the database at this path. What is in its WAL already was written by somebody else.
    pub(crate) fn new(database: &Path) -> Self {
        let mut path = OsString::from(database);
        path.push("-wal");
        let meter = Self { path: Arc::new(path.into()), seen: Arc::default() };
        meter.look();
        meter.take();
        meter
    }

    /// Counts what was written since the last look. To be called after each transaction. Blocks.
    pub(crate) fn look(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = File::open(self.path.as_path()).and_then(|wal| seen.look(&wal)) {
            // It is made by the first transaction, and a count that is too small harms nothing.
            tracing::debug!(%error, "what SQLite writes could not be counted");
        }
    }

    /// What was counted since this was called last.
    pub(crate) fn take(&self) -> Written {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner).written)
    }
}

impl Seen {
    fn look(&mut self, wal: &File) -> io::Result<()> {
        let mut header = [0; HEADER_BYTES];
        match wal.read_exact_at(&mut header, 0) {
            // Cut off by a checkpoint, and nothing written since.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        // What is there may be damaged: SQLite passes over it then, and writes a header of its own with its first page.
        if number(&header, 8) != PAGE_BYTES {
            return Ok(());
        }
        let page_bytes = u64::from(PAGE_BYTES);
        let salt = bytes(&header, 16);
        if salt != self.salt {
            self.begin_anew(salt, page_bytes);
        }
        let frame_bytes = FRAME_HEADER_BYTES as u64 + page_bytes;
        let mut buffer = vec![0; usize::try_from(frame_bytes * FRAMES_AT_A_TIME).unwrap_or_default()];
        loop {
            let known = self.pages.len();
            let position = HEADER_BYTES as u64 + known as u64 * frame_bytes;
            let length = read_at(wal, &mut buffer, position)?;
            let (there, _) = buffer.split_at(length);
            let frames = there.chunks_exact(usize::try_from(frame_bytes).unwrap_or(usize::MAX));
            // Behind the frames of this WAL stand those of one before it, with another salt.
            let ours = frames.take_while(|frame| bytes(frame, 8) == salt);
            self.pages.extend(ours.map(|frame| number(frame, 0)));
            let new = (self.pages.len() - known) as u64;
            self.written.wal += new * frame_bytes;
            if new < FRAMES_AT_A_TIME {
                return Ok(());
            }
        }
    }

    fn begin_anew(&mut self, salt: [u8; 8], page_bytes: u64) {
        self.pages.sort_unstable();
        self.pages.dedup();
        self.written.index += self.pages.len() as u64 * page_bytes;
        self.written.wal += HEADER_BYTES as u64;
        self.pages.clear();
        self.salt = salt;
    }
}

/// Fills the buffer as far as the file goes.
fn read_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, position + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn number(header: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes(header, at))
}

fn bytes<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    header.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const FRAMES_AT_A_TIME: u64 = 32;

#[cfg(test)]
mod tests {
    use config::StorageConfig;

    use super::*;
    use crate::storage::{
        INDEX_FILE,
        pragmas::{Database, open_database},
    };

    /// Writes so many rows in one transaction, each into a page of its own.
    async fn fill(database: &Database, rows: u32) {
        let rows_of_pages = "INSERT INTO filling WITH RECURSIVE n(i) AS \
             (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT randomblob(800) FROM n";
        sqlx::query("CREATE TABLE IF NOT EXISTS filling (bytes BLOB)")
            .execute(&database.writer)
            .await
            .unwrap();
        sqlx::query(rows_of_pages).bind(rows).execute(&database.writer).await.unwrap();
        database.meter.look();
    }

    async fn checkpoint(database: &Database, how: &'static str) {
        let done: (i64, i64, i64) = sqlx::query_as(how).fetch_one(&database.writer).await.unwrap();
        assert_eq!((done.0, done.1), (0, done.2), "all of it is moved");
    }

    #[tokio::test]
    async fn what_goes_into_the_wal_is_counted_to_the_byte_and_pages_are_moved_once() {
        let folder = tempfile::tempdir().unwrap();
        let config = StorageConfig {
            sqlite_wal_autocheckpoint_pages: 1_000_000,
            ..StorageConfig::with_defaults(folder.path())
        };
        let database = open_database(&config).await.unwrap();
        let length =
            |suffix| std::fs::metadata(folder.path().join(format!("{INDEX_FILE}{suffix}"))).unwrap().len();
        for how in ["PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA wal_checkpoint(RESTART)"] {
            checkpoint(&database, how).await;
            fill(&database, 1).await;
            database.meter.take();
            checkpoint(&database, "PRAGMA wal_checkpoint(TRUNCATE)").await;
            let pages_before = length("") / u64::from(PAGE_BYTES);
            // One page is new each time, and some are written again each time.
            for _ in 0..3 {
                fill(&database, 1000).await;
            }
            let written = database.meter.take();
            assert_eq!(written.wal, length("-wal"));
            checkpoint(&database, how).await;
            let new_pages = length("") / u64::from(PAGE_BYTES) - pages_before;
            assert!(new_pages >= 3000);
            fill(&database, 1).await;
            let moved = database.meter.take().index / u64::from(PAGE_BYTES);
            // Beside the new ones: the first page, the last one of before, and those of the table's tree.
            assert!((new_pages..new_pages + 50).contains(&moved), "{moved} were moved, {new_pages} are new");
        }
    }

    /// A buffer for pages of a gigabyte could not be had, and would end the process.
    #[test]
    fn page_size_in_a_damaged_header_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let meter = WalMeter::new(&folder.path().join(INDEX_FILE));
        let mut wal = [0; 64 << 10];
        for page_bytes in [PAGE_BYTES, 2 * PAGE_BYTES] {
            wal[8..12].copy_from_slice(&page_bytes.to_be_bytes());
            std::fs::write(folder.path().join(format!("{INDEX_FILE}-wal")), wal).unwrap();
            meter.look();
            assert_eq!(meter.take().wal > 0, page_bytes == PAGE_BYTES);
            std::fs::write(folder.path().join(format!("{INDEX_FILE}-wal")), [0; 0]).unwrap();
            wal[16] += 1;
            wal[HEADER_BYTES + 8] += 1;
        }
    }

    #[tokio::test]
    async fn what_was_there_before_is_not_counted() {
        let folder = tempfile::tempdir().unwrap();
        let config = StorageConfig::with_defaults(folder.path());
        let database = open_database(&config).await.unwrap();
        fill(&database, 100).await;
        let next = WalMeter::new(&folder.path().join(INDEX_FILE));
        assert_eq!(next.take(), Written::default());
        fill(&database, 1).await;
        next.look();
        let written = next.take();
        assert!(written.wal > 0 && written.wal < 10 * u64::from(PAGE_BYTES), "{written:?}");
    }
}

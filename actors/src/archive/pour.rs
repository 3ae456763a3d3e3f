//! The one pass of `create`: a tar of files → bag → (age) → chunks. Nothing but the current pieces, the names and the
//! two lists of the bag is held.

use std::io::{self, Read, Write};

use age::x25519::Recipient;
use proto::{
    Fragment,
    chunks::{Chunker, Cut},
};

use super::{
    bag::{Bag, Totals},
    entries::{Entries, Entry},
    error::ArchiveError,
    metadata::{METADATA_BYTES_MAX, METADATA_NAME, Metadata},
    names::Kind,
    seal::{Seal, parse_recipient},
};

/// The name of the incoming stream in messages and in [`ArchiveError::Stream`].
pub const UPLOAD: &str = "upload";

/// What an upload became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Poured {
    pub(crate) metadata: Metadata,
    pub(crate) totals: Totals,
    pub(crate) cut: Cut,
}

/// Reads an upload to its end and gives the fragments to `sink`, in order. What is private is encrypted to `author`
/// and the recipients that the upload names.
pub(crate) fn pour<R: Read>(
    upload: R,
    author: &Recipient,
    created_at_ms: u64,
    sink: impl FnMut(Fragment) -> Result<(), ArchiveError>,
) -> Result<Poured, ArchiveError> {
    let mut upload = Entries::new(UPLOAD, upload);
    let (metadata, first) = match next_entry(&mut upload)? {
        Some(entry) if is_metadata(&entry) => (read_metadata(&entry, &mut upload)?, None),
        first => (Metadata::default(), first),
    };
    let seal = Seal::new(metadata.visibility(), &recipients(author, &metadata)?, Chunks::new(sink))?;
    let mut bag = Bag::start(seal, &metadata, created_at_ms)?;
    if let Some(entry) = first {
        bag.add(&entry, &mut upload)?;
    }
    while let Some(entry) = next_entry(&mut upload)? {
        bag.add(&entry, &mut upload)?;
    }
    let (seal, totals) = bag.finish()?;
    let chunks = seal.finish().map_err(|error| ArchiveError::from_stream("content", error))?;
    Ok(Poured { metadata, totals, cut: chunks.finish()? })
}

/// The next file or folder. `tar -C folder -c .` writes the folder itself, as `./`, and everything in it behind that:
/// what is meant is what is in it.
fn next_entry<R: Read>(upload: &mut Entries<R>) -> Result<Option<Entry>, ArchiveError> {
    while let Some(mut entry) = upload.next_entry()? {
        while let Some(inner) = entry.name.strip_prefix(b"./") {
            entry.name = inner.to_vec();
        }
        let is_top = entry.kind == Kind::Folder && matches!(entry.name.as_slice(), b"" | b".");
        if !is_top {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

fn is_metadata(entry: &Entry) -> bool {
    entry.kind == Kind::File && entry.name == METADATA_NAME.as_bytes()
}

fn read_metadata<R: Read>(entry: &Entry, upload: &mut Entries<R>) -> Result<Metadata, ArchiveError> {
    if entry.size > METADATA_BYTES_MAX as u64 {
        let reason = format!("it has {} bytes; at most {METADATA_BYTES_MAX} are allowed", entry.size);
        return Err(ArchiveError::Metadata { reason });
    }
    Metadata::parse(&upload.read_all()?)
}

/// Each recipient once, the author first.
fn recipients(author: &Recipient, metadata: &Metadata) -> Result<Vec<Recipient>, ArchiveError> {
    let mut all = vec![author.clone()];
    for text in &metadata.recipients {
        let recipient = parse_recipient(text)?;
        if !all.contains(&recipient) {
            all.push(recipient);
        }
    }
    Ok(all)
}

/// A writer that cuts what is written into fragments.
struct Chunks<S> {
    chunker: Chunker,
    sink: S,
}

impl<S: FnMut(Fragment) -> Result<(), ArchiveError>> Chunks<S> {
    fn new(sink: S) -> Self {
        Self { chunker: Chunker::new(), sink }
    }

    fn finish(self) -> Result<Cut, ArchiveError> {
        self.chunker.finish(self.sink)
    }
}

impl<S: FnMut(Fragment) -> Result<(), ArchiveError>> Write for Chunks<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunker.push(bytes, &mut self.sink)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

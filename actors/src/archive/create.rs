//! `create`: an upload becomes a tessera. The shell around [`pour`].
//!
//! ```text
//! upload ─► channel ─► pour (a blocking thread) ─► channel ─► puts ─► commit
//! ```
//!
//! Both channels are bounded, so the slowest step sets the pace. Whatever fails, or a caller that goes away, ends the
//! others through them, and a sink dropped before [`ContentSink::commit`] keeps nothing: there is no half a tessera.

use bytes::Bytes;
use proto::{
    Checksum, Fragment, FragmentId, TesseraId,
    layout::{Code, Layout},
    limits::{CONTENT_BUFFER_BYTES_MAX, FRAGMENT_BYTES_MAX},
    manifest::{Manifest, Visibility},
    record::DocumentKind,
};
use tokio::{
    io::AsyncRead,
    sync::mpsc::{Receiver, channel},
    task::spawn_blocking,
};

use super::{
    bridge::{PIECES_WAITING, feed, joined, to_reader},
    error::ArchiveError,
    pieces::PIECE_BYTES,
    pour::{Poured, UPLOAD, pour},
};
use crate::{error::ActorError, keys::Author, storage::Session};

/// The most content that one `create` holds beside what its sink does, in bytes, for whoever reserves it beforehand.
/// The names and lists of its files come on top ([`NAMES_BYTES_MAX`](super::NAMES_BYTES_MAX),
/// [`LISTING_BYTES_MAX`](super::LISTING_BYTES_MAX)).
pub const CREATE_BYTES_MAX: usize = CONTENT_BUFFER_BYTES_MAX
    + (FRAGMENTS_WAITING + 2) * FRAGMENT_BYTES_MAX
    + (PIECES_WAITING + 4) * PIECE_BYTES;

/// Where a new tessera goes. Dropped without [`ContentSink::commit`], nothing of it is kept.
pub trait ContentSink: Send {
    /// Takes a fragment, and returns when there is room for the next one. An error of an earlier one may come later.
    fn put(&mut self, fragment: Fragment) -> impl Future<Output = Result<(), ActorError>> + Send;

    /// Makes all of it count at once. It is durable when this returns.
    fn commit(self, tessera: NewTessera) -> impl Future<Output = Result<(), ActorError>> + Send;
}

impl ContentSink for Session {
    async fn put(&mut self, fragment: Fragment) -> Result<(), ActorError> {
        self.put_blob(fragment).await
    }

    async fn commit(mut self, tessera: NewTessera) -> Result<(), ActorError> {
        let mut refs = Vec::with_capacity(REFS_PER_CALL);
        for (FragmentId { stripe, index, .. }, checksum, _) in tessera.fragments() {
            refs.push((stripe, index, checksum));
            if refs.len() == REFS_PER_CALL {
                self.put_refs(tessera.id, &refs).await?;
                refs.clear();
            }
        }
        self.put_refs(tessera.id, &refs).await?;
        for (kind, bytes) in tessera.documents {
            self.put_document(tessera.id, kind, bytes).await?;
        }
        Self::commit(self, tessera.id).await
    }
}

/// What makes the fragments that were put a tessera.
#[derive(Debug, Clone)]
pub struct NewTessera {
    /// Its id.
    pub id: TesseraId,
    /// Manifest, layout, and the layout's pages in order.
    pub documents: Vec<(DocumentKind, Bytes)>,
    /// How the fragments are numbered and how long each is.
    pub layout: Layout,
    /// The checksum of each fragment, in order.
    pub checksums: Vec<Checksum>,
}

impl NewTessera {
    /// Each fragment, in order: where it stands, its checksum and its length in bytes.
    pub fn fragments(&self) -> impl Iterator<Item = (FragmentId, Checksum, u32)> + '_ {
        (0..).zip(&self.checksums).filter_map(|(number, checksum)| {
            let (stripe, index) = self.layout.position(number)?;
            let length = self.layout.fragment_len_at(stripe, index);
            Some((FragmentId { tessera: self.id, stripe, index }, *checksum, length))
        })
    }
}

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Created {
    /// The new tessera.
    pub id: TesseraId,
    /// Who may read it.
    pub visibility: Visibility,
    /// Files in it.
    pub files: u64,
    /// Folders in it.
    pub folders: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Bytes that are stored.
    pub content_len: u64,
}

/// Makes a tessera of a tar of files, whose first entry may be `tessera.json`
/// ([`Metadata`](super::metadata::Metadata)). It is durable when this returns.
///
/// Errors with [`ArchiveError::Truncated`], [`ArchiveError::Tar`], [`ArchiveError::Metadata`],
/// [`ArchiveError::Recipient`], [`ArchiveError::Refused`], [`ArchiveError::Empty`] and [`ArchiveError::TooMany`] when
/// the upload can't be kept, with [`ArchiveError::Stream`] when it breaks off, and with [`ArchiveError::Store`].
pub async fn create<S: ContentSink>(
    upload: impl AsyncRead + Unpin,
    author: &Author,
    mut sink: S,
    now_ms: u64,
) -> Result<Created, ArchiveError> {
    let (pieces, reader) = to_reader();
    let (fragments, received) = channel(FRAGMENTS_WAITING);
    let recipient = author.recipient();
    let pouring = spawn_blocking(move || {
        pour(reader, &recipient, now_ms, |fragment| {
            fragments.blocking_send(fragment).map_err(|_| ArchiveError::Stopped)
        })
    });
    let feeding = async {
        feed(upload, pieces, UPLOAD).await;
        Ok(())
    };
    let ((), checksums) = tokio::try_join!(feeding, put_all(&mut sink, received))?;
    let poured = joined(pouring).await?;
    let (created, tessera) = describe(&poured, checksums, author, now_ms)?;
    sink.commit(tessera).await?;
    Ok(created)
}

/// Writes the fragments as they come; returns their checksums, in order.
async fn put_all<S: ContentSink>(
    sink: &mut S,
    mut fragments: Receiver<Fragment>,
) -> Result<Vec<Checksum>, ArchiveError> {
    let mut checksums = Vec::new();
    while let Some(fragment) = fragments.recv().await {
        checksums.push(fragment.checksum());
        sink.put(fragment).await?;
    }
    Ok(checksums)
}

/// The signed documents.
fn describe(
    poured: &Poured,
    checksums: Vec<Checksum>,
    author: &Author,
    created_at_ms: u64,
) -> Result<(Created, NewTessera), ArchiveError> {
    let Poured { metadata, totals, cut } = poured;
    let manifest = Manifest {
        author: author.id(),
        created_at_ms,
        visibility: metadata.visibility(),
        content_len: cut.content_len,
        content_hash: cut.content_hash,
        description: metadata.description(),
        supersedes: None,
        part_of: None,
        rights: None,
    }
    .sign(author.key())?;
    let id = manifest.id();
    let (layout, pages) = Layout::build(id, Code::WHOLE, cut.fragment_len, cut.content_len, &checksums)?;
    let signed = layout.sign(author.key())?;
    let mut documents = vec![
        (DocumentKind::Manifest, manifest.bytes().clone()),
        (DocumentKind::Layout, signed.bytes().clone()),
    ];
    documents.extend(pages.into_iter().map(|page| (DocumentKind::LayoutPage, page)));
    let created = Created {
        id,
        visibility: metadata.visibility(),
        files: totals.files,
        folders: totals.folders,
        bytes: totals.bytes,
        content_len: cut.content_len,
    };
    Ok((created, NewTessera { id, documents, layout, checksums }))
}

/// Fragments that may wait to be written.
const FRAGMENTS_WAITING: usize = 4;
/// Refs that are made up at a time: what a session has under way.
const REFS_PER_CALL: usize = 4096;

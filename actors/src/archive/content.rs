//! Reads a tessera back: the stored content, the bag inside it, or one file of the bag.
//!
//! # Invariants
//! 1. Every fragment is checked against the signed layout before any byte of it goes on, the whole against the signed
//!    manifest. A stream of [`content`] that ended without an error was exactly what the author signed.
//! 2. At most [`FRAGMENTS_AHEAD`] fragments and a few pieces of 64 KiB are held, however long the content.
//! 3. Dropping a stream ends everything behind it.

use std::{
    io::{self, Read, Write},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::SystemTime,
};

use age::x25519::Identity;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use proto::{
    Checksum, TesseraId,
    manifest::{Manifest, SignedManifest, Visibility},
};
use tokio::{
    sync::{
        mpsc::{Receiver, Sender},
        oneshot,
    },
    task::{JoinHandle, JoinSet, spawn_blocking},
};

use super::{
    bag::{DATA, TOP},
    bridge::{ChannelReader, ChannelWriter, Piece, from_writer, joined, to_reader},
    entries::{Entries, Entry},
    error::ArchiveError,
    names::{Kind, normalise},
    pieces::{Pieces, read_some},
    seal,
    source::{Source, TesseraStore},
};
use crate::keys::Author;

/// Fragments that are read ahead.
pub const FRAGMENTS_AHEAD: usize = 4;

/// What of a tessera is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The content as it is stored: a tar, encrypted if the tessera is private.
    Stored,
    /// The tar of the bag.
    Bag,
}

/// A stream of bytes. It ends with an error when something was damaged or missing; what came before is true, but not
/// all.
#[derive(Debug)]
pub struct Content {
    manifest: SignedManifest,
    /// How many bytes it will be, if nothing is damaged.
    length: u64,
    /// The first piece was waited for, so that what can't be read at all is told at once.
    first: Option<Bytes>,
    pieces: Receiver<Bytes>,
    /// What the blocking thread returned says whether the end is one. `None` behind it.
    task: Option<JoinHandle<Result<(), ArchiveError>>>,
    /// Reads the fragments. Dropped with the stream, which ends the reading, and with it the blocking thread.
    _reading: JoinSet<()>,
}

/// One file of a tessera.
#[derive(Debug)]
pub struct FileContent {
    /// When it was last changed.
    pub modified: SystemTime,
    /// Its bytes.
    pub content: Content,
}

/// Reads a tessera. `author` opens what is private and needs not be its maker: a recipient will do.
///
/// Errors with [`ArchiveError::Store`], [`ArchiveError::Proto`], [`ArchiveError::Damaged`] and
/// [`ArchiveError::Sealed`]; what only shows later is the last item of the stream.
pub async fn content<S: TesseraStore>(
    store: S,
    id: TesseraId,
    author: &Author,
    form: Form,
) -> Result<Content, ArchiveError> {
    let source = Source::open(store, id).await?;
    let identity = author.identity().clone();
    let (tell, told) = oneshot::channel();
    let mut stream = Content::start(source, move |mut content, mut writer| {
        let sealed = form == Form::Bag && content.visibility == Visibility::Private;
        let copied = open(&mut content, sealed, &identity).and_then(|(mut bag, length)| {
            // Nobody waits for it when the caller is gone; writing finds that out.
            let _ = tell.send(length);
            copy(&mut bag, &mut writer)
        });
        // Decryption fails for, or ends before, what shows at the end: that the content is not what was signed.
        if matches!(copied, Ok(()) | Err(ArchiveError::Stream { .. })) {
            read_through(&mut content)?;
        }
        copied.and_then(|()| flush(&mut writer))
    });
    // Untold when it does not open: then the stream says why.
    stream.length = told.await.unwrap_or_default();
    stream.peeked().await
}

/// Reads one file, named by its path among the files given to `create`. The content is read up to that file: each
/// fragment is checked, the whole is not.
///
/// Errors like [`content`], and with [`ArchiveError::NoSuchFile`].
pub async fn read_file<S: TesseraStore>(
    store: S,
    id: TesseraId,
    author: &Author,
    path: &str,
) -> Result<FileContent, ArchiveError> {
    let source = Source::open(store, id).await?;
    let no_such_file = || ArchiveError::NoSuchFile { path: path.to_owned() };
    let wanted = format!("{TOP}/{DATA}/{}", normalise(path.as_bytes()).map_err(|_| no_such_file())?);
    let identity = author.identity().clone();
    let (found, entry) = oneshot::channel();
    let mut content = Content::start(source, move |mut content, writer| {
        let sealed = content.visibility == Visibility::Private;
        let mut entries = Entries::new("content", open(&mut content, sealed, &identity)?.0);
        while let Some(entry) = entries.next_entry()? {
            if entry.kind == Kind::File && entry.name == wanted.as_bytes() {
                // Nobody waits for it when the caller is gone; writing finds that out.
                let _ = found.send(entry);
                return send_file(entries, writer);
            }
        }
        Ok(())
    });
    match entry.await {
        Ok(Entry { size, mtime, .. }) => {
            content.length = size;
            Ok(FileContent { modified: mtime.to_system(), content })
        }
        Err(_) => match content.task.take() {
            Some(task) => joined(task).await.and_then(|()| Err(no_such_file())),
            None => Err(no_such_file()),
        },
    }
}

impl Content {
    /// The manifest of the tessera it is of.
    pub fn manifest(&self) -> &SignedManifest {
        &self.manifest
    }

    /// How many bytes the whole stream has, unless it ends with an error.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Starts reading the stored content on a blocking thread, which turns it into what is wanted.
    fn start<S: TesseraStore>(
        source: Source<S>,
        turn: impl FnOnce(Checked<ChannelReader>, ChannelWriter) -> Result<(), ArchiveError> + Send + 'static,
    ) -> Self {
        let manifest = source.manifest.clone();
        let (fragments, reader) = to_reader();
        let (writer, pieces) = from_writer();
        let checked = Checked::new(reader, manifest.manifest());
        let task = spawn_blocking(move || turn(checked, writer));
        let mut reading = JoinSet::new();
        reading.spawn(async move { send_content(&source, &fragments).await });
        Self { manifest, length: 0, first: None, pieces, task: Some(task), _reading: reading }
    }

    async fn peeked(mut self) -> Result<Self, ArchiveError> {
        let first = std::future::poll_fn(|context| Pin::new(&mut self).poll_next(context)).await;
        self.first = first.transpose()?;
        Ok(self)
    }
}

impl Stream for Content {
    type Item = Result<Bytes, ArchiveError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if let Some(piece) = ready!(self.pieces.poll_recv(context)) {
            return Poll::Ready(Some(Ok(piece)));
        }
        let Some(task) = self.task.as_mut() else { return Poll::Ready(None) };
        let ended = ready!(pin!(joined(task)).poll(context));
        self.task = None;
        Poll::Ready(ended.err().map(Err))
    }
}

/// Sends the chunks of the content, in order, or the error that kept one from being sent.
async fn send_content<S: TesseraStore>(source: &Source<S>, to: &Sender<Piece>) {
    for page in 0..source.pages() {
        let places = match source.places(page).await {
            Ok(places) => places,
            Err(error) => return drop(to.send(Err(error)).await),
        };
        let chunks = places.into_iter().filter(|place| place.is_data);
        let mut fragments =
            pin!(stream::iter(chunks).map(|place| source.fragment(place)).buffered(FRAGMENTS_AHEAD));
        while let Some(fragment) = fragments.next().await {
            let failed = fragment.is_err();
            if to.send(fragment.map(|fragment| fragment.into_bytes())).await.is_err() || failed {
                return;
            }
        }
    }
}

/// The stored content, or what is sealed in it; and its length in bytes.
fn open<'a, R: Read + 'a>(
    content: &'a mut Checked<R>,
    sealed: bool,
    identity: &Identity,
) -> Result<(Box<dyn Read + 'a>, u64), ArchiveError> {
    let (length, _) = content.expected;
    if !sealed {
        return Ok((Box::new(content), length));
    }
    let opened = seal::open(content, length, identity)?;
    Ok((Box::new(opened.plain), opened.length))
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<(), ArchiveError> {
    Pieces::new().copy(|buffer| read_some(from, buffer), |bytes| to.write_all(bytes)).map_err(broken)
}

/// Reads to the end, for the sake of its check.
pub(crate) fn read_through(content: &mut impl Read) -> Result<(), ArchiveError> {
    copy(content, &mut io::sink())
}

fn send_file<R: Read>(mut entries: Entries<R>, mut to: ChannelWriter) -> Result<(), ArchiveError> {
    entries.copy_data(&mut Pieces::new(), |bytes| to.write_all(bytes).map_err(broken))?;
    flush(&mut to)
}

fn flush(writer: &mut ChannelWriter) -> Result<(), ArchiveError> {
    writer.flush().map_err(broken)
}

fn broken(error: io::Error) -> ArchiveError {
    ArchiveError::from_stream("content", error)
}

/// A reader that fails instead of ending, unless what was read is what the manifest speaks of.
pub(crate) struct Checked<R> {
    content: R,
    visibility: Visibility,
    hasher: blake3::Hasher,
    read: u64,
    expected: (u64, Checksum),
}

impl<R> Checked<R> {
    pub(crate) fn new(content: R, manifest: &Manifest) -> Self {
        let expected = (manifest.content_len, manifest.content_hash);
        Self { content, visibility: manifest.visibility, hasher: blake3::Hasher::new(), read: 0, expected }
    }

    fn check(&self) -> Result<(), ArchiveError> {
        let found = (self.read, Checksum::from_bytes(*self.hasher.finalize().as_bytes()));
        if found == self.expected {
            return Ok(());
        }
        let ((length, hash), (signed_length, signed_hash)) = (found, self.expected);
        let what = format!(
            "the content has {length} bytes and hash {hash}, but its author signed {signed_length} bytes and hash {signed_hash}"
        );
        Err(ArchiveError::Damaged { what })
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.content.read(buffer)?;
        let bytes = buffer.get(..length).unwrap_or_default();
        if bytes.is_empty() && !buffer.is_empty() {
            self.check()?;
        }
        self.hasher.update(bytes);
        self.read += bytes.len() as u64;
        Ok(length)
    }
}

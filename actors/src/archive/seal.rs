//! Encryption of private content with age (<https://age-encryption.org/v1>), so that `age -d -i author.key` opens it.

use std::{
    cell::Cell,
    io::{self, Read, Write},
    rc::Rc,
};

use age::{
    Decryptor, Encryptor,
    stream::{StreamReader, StreamWriter},
    x25519::{Identity, Recipient},
};
use proto::manifest::Visibility;

use super::error::ArchiveError;

/// Reads `age1…`.
pub(crate) fn parse_recipient(text: &str) -> Result<Recipient, ArchiveError> {
    text.parse().map_err(|reason| ArchiveError::Recipient { text: text.to_owned(), reason })
}

/// A writer that encrypts, or passes through what is public.
pub(crate) enum Seal<W: Write> {
    /// Public: as it is.
    Open(W),
    /// Private.
    Closed(Box<StreamWriter<W>>),
}

impl<W: Write> Seal<W> {
    /// For everybody, or for these recipients only.
    pub(crate) fn new(
        visibility: Visibility,
        recipients: &[Recipient],
        output: W,
    ) -> Result<Self, ArchiveError> {
        if visibility == Visibility::Public {
            return Ok(Self::Open(output));
        }
        let recipients = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
        Encryptor::with_recipients(recipients)
            .map_err(io::Error::other)
            .and_then(|encryptor| encryptor.wrap_output(output))
            .map(|writer| Self::Closed(Box::new(writer)))
            .map_err(|error| ArchiveError::from_stream("encryption", error))
    }

    /// Writes what is still held back and returns the writer below.
    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Self::Open(output) => Ok(output),
            Self::Closed(writer) => writer.finish(),
        }
    }
}

impl<W: Write> Write for Seal<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Open(output) => output.write(bytes),
            Self::Closed(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Open(output) => output.flush(),
            Self::Closed(writer) => writer.flush(),
        }
    }
}

/// Sealed content that is being read.
pub(crate) struct Opened<R: Read> {
    /// The plain content.
    pub(crate) plain: StreamReader<Counted<R>>,
    /// How many bytes that is.
    pub(crate) length: u64,
}

/// Opens sealed content of this length in bytes. Errors with [`ArchiveError::Sealed`] when the identity does not.
pub(crate) fn open<R: Read>(
    content: R,
    sealed_len: u64,
    identity: &Identity,
) -> Result<Opened<R>, ArchiveError> {
    let read = Rc::new(Cell::new(0));
    let decryptor = Decryptor::new(Counted { content, read: Rc::clone(&read) }).map_err(open_error)?;
    // Until here age reads its head and not a byte more: it cannot put anything back.
    let length = plain_len(sealed_len.saturating_sub(read.get()));
    let plain = decryptor.decrypt(std::iter::once(identity as &dyn age::Identity)).map_err(open_error)?;
    Ok(Opened { plain, length })
}

/// Counts what is read.
pub(crate) struct Counted<R> {
    content: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.content.read(buffer)?;
        self.read.set(self.read.get() + length as u64);
        Ok(length)
    }
}

/// How many bytes are in so many that age has written behind its head: each chunk has a tag behind it.
fn plain_len(payload_len: u64) -> u64 {
    payload_len.saturating_sub(payload_len.div_ceil(CHUNK_BYTES + TAG_BYTES) * TAG_BYTES)
}

fn open_error(error: age::DecryptError) -> ArchiveError {
    match error {
        age::DecryptError::NoMatchingKeys => ArchiveError::Sealed,
        age::DecryptError::Io(error) => ArchiveError::from_stream("content", error),
        other => ArchiveError::Damaged { what: format!("the encrypted content does not open: {other}") },
    }
}

/// The chunks of age's payload and the tag behind each, in bytes: <https://age-encryption.org/v1>, "Payload".
const CHUNK_BYTES: u64 = 64 << 10;
const TAG_BYTES: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_of_sealed_content_is_known_before_it_is_read() {
        let identity = Identity::generate();
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let plain = vec![7; usize::try_from(length).unwrap()];
            let recipients = [identity.to_public(), Identity::generate().to_public()];
            let mut seal = Seal::new(Visibility::Private, &recipients, Vec::new()).unwrap();
            seal.write_all(&plain).unwrap();
            let sealed = seal.finish().unwrap();
            let mut opened = open(sealed.as_slice(), sealed.len() as u64, &identity).unwrap();
            let mut read = Vec::new();
            opened.plain.read_to_end(&mut read).unwrap();
            assert_eq!((opened.length, read.len()), (length, plain.len()));
        }
    }
}

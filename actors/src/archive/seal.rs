//! Encryption of private content with age (<https://age-encryption.org/v1>), so that `age -d -i author.key` opens it.

use std::io::{self, Read, Write};

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

/// A reader of the plain content. Errors with [`ArchiveError::Sealed`] when the identity does not open it.
pub(crate) fn open<R: Read>(content: R, identity: &Identity) -> Result<StreamReader<R>, ArchiveError> {
    let decryptor = Decryptor::new(content).map_err(open_error)?;
    decryptor.decrypt(std::iter::once(identity as &dyn age::Identity)).map_err(open_error)
}

fn open_error(error: age::DecryptError) -> ArchiveError {
    match error {
        age::DecryptError::NoMatchingKeys => ArchiveError::Sealed,
        age::DecryptError::Io(error) => ArchiveError::from_stream("content", error),
        other => ArchiveError::Damaged { what: format!("the encrypted content does not open: {other}") },
    }
}

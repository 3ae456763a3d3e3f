//! The one error of the archive, with messages for the person who reads them.

use std::{fmt, io, path::PathBuf};

use proto::ProtoError;

use crate::error::ActorError;

/// Why an archive could not be made, read or checked. Variants by what the caller can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// Some names or kinds of files cannot be kept. Nothing was made; every one of them is named.
    #[error("nothing was made, because of {}", Listed(.0))]
    Refused(Vec<Refusal>),
    /// The upload holds no file and no folder.
    #[error("there is nothing to keep: name at least one file or folder")]
    Empty,
    /// A file changed while it was read.
    #[error("{} changed while it was read, so nothing was made; try again when it is at rest", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The first entry, `tessera.json`, does not describe a tessera.
    #[error("the description (tessera.json, the first file of the upload) is not usable: {reason}")]
    Metadata {
        /// What is wrong with it.
        reason: String,
    },
    /// A text is not the public key of a reader.
    #[error(
        "{text:?} is not an age recipient ({reason}); one looks like `age1…` and is printed by `age-keygen -y`"
    )]
    Recipient {
        /// The text as given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A stream of files ended before it said so: the sender stopped or the connection broke.
    #[error("the {what} ended early, {missing}; nothing was made of it")]
    Truncated {
        /// What was read.
        what: &'static str,
        /// What was still expected.
        missing: &'static str,
    },
    /// A stream of files is not a tar that can be taken in.
    #[error("the {what} is not a usable tar: {reason}")]
    Tar {
        /// What was read.
        what: &'static str,
        /// Which rule it breaks.
        reason: String,
    },
    /// So many files that their list would not fit into memory.
    #[error("too many files for one tessera: their list exceeds {limit} bytes; make several, one per folder")]
    TooMany {
        /// The limit in bytes.
        limit: usize,
    },
    /// The tessera is private, and sealed to somebody else.
    #[error("this tessera is private, and this author's key does not open it; its maker or a recipient can")]
    Sealed,
    /// There is no such file in the tessera.
    #[error("there is no file {path:?} in this tessera")]
    NoSuchFile {
        /// The path as asked for.
        path: String,
    },
    /// Stored content is not what its author signed.
    #[error("damaged: {what}")]
    Damaged {
        /// What was found, and where.
        what: String,
    },
    /// The folder to write to holds something already.
    #[error("{} exists and is not an empty folder; name one that does not exist yet", .path.display())]
    Destination {
        /// The folder.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// What was tried: `read`, `write`.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A stream that is not a file broke.
    #[error("the {what} broke off: {source}")]
    Stream {
        /// Which stream.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A document or key is not valid.
    #[error(transparent)]
    Proto(#[from] ProtoError),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] ActorError),
    /// Nobody waits for the result any more.
    #[error("stopped: nobody waits for the result any more")]
    Stopped,
}

impl ArchiveError {
    /// An [`ArchiveError::Io`] maker, for `map_err`.
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    /// The error that travelled through a reader or writer of `std`, or [`ArchiveError::Stream`].
    pub(crate) fn from_stream(what: &'static str, error: io::Error) -> Self {
        error.downcast().unwrap_or_else(|source| Self::Stream { what, source })
    }

    /// An [`ArchiveError::Tar`].
    pub(crate) fn tar(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Tar { what, reason: reason.into() }
    }
}

impl From<ArchiveError> for io::Error {
    /// Lets the error travel through a reader or writer of `std`; `from_stream` takes it out again.
    fn from(error: ArchiveError) -> Self {
        Self::other(error)
    }
}

impl From<Refusal> for ArchiveError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(vec![refusal])
    }
}

/// Why one file or folder cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The name breaks a rule.
    #[error("{name:?}: {reason}")]
    Name {
        /// The name as given; what is not UTF-8 in it is replaced.
        name: String,
        /// The rule.
        reason: &'static str,
    },
    /// Neither a file nor a folder.
    #[error("{name:?} is a {kind}; only files and folders can be kept")]
    Special {
        /// Its path.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// Two names that differ only in how their accents are encoded.
    #[error("{first:?} and {second:?} are the same name once their accents are encoded alike (Unicode NFC)")]
    Collision {
        /// The name that came first.
        first: String,
        /// The name that came later.
        second: String,
    },
    /// The same name twice.
    #[error("{name:?} comes twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// Files are said to be inside something that is itself a file.
    #[error("{name:?} is both a file and a folder")]
    FileAndFolder {
        /// The name.
        name: String,
    },
}

/// One refusal on the same line, several on a line each.
struct Listed<'a>(&'a [Refusal]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [one] => fmt::Display::fmt(one, f)?,
            many => {
                write!(f, "{} names:", many.len())?;
                many.iter().try_for_each(|refusal| write!(f, "\n  {refusal}"))?;
            }
        }
        if self.0.iter().any(|refusal| matches!(refusal, Refusal::Special { .. })) {
            f.write_str("\nlinks and special files can be left out with --skip-special")?;
        }
        Ok(())
    }
}

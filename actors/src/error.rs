//! The one error of this crate; variants by what the caller can do about them.

use std::{io, sync::Arc};

use libsqlite3_sys::{
    SQLITE_CONSTRAINT, SQLITE_CORRUPT, SQLITE_ERROR, SQLITE_FULL, SQLITE_IOERR_SHORT_READ, SQLITE_NOTADB,
};
use proto::{Checksum, FragmentId, ProtoError};

use crate::archive::error::ArchiveError;

/// Why an actor did not do what it was asked. `Clone`, because many may wait for the same thing.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ActorError {
    /// Too many requests are under way; try again in a moment.
    #[error("{actor} is busy with {limit} requests: try again in a moment")]
    Busy {
        /// The actor asked.
        actor: &'static str,
        /// How many requests it takes at once.
        limit: usize,
    },
    /// The actor fell and is being started again; try again. Whether the request was carried out is unknown.
    #[error("{actor} is being restarted: try again in a moment")]
    Restarting {
        /// The actor asked.
        actor: &'static str,
    },
    /// It is not here.
    #[error("{what} is not here")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// Its bytes are damaged or gone. They are not served, and a repair is queued.
    #[error(
        "fragment {fragment} is damaged here (checksum {checksum}): it is not served, and its repair is queued"
    )]
    Corrupt {
        /// The fragment asked for.
        fragment: FragmentId,
        /// What its bytes should hash to.
        checksum: Checksum,
    },
    /// Bytes that somebody is to be shown are damaged or gone. A repair is queued.
    #[error("the bytes of {checksum} are damaged here: their repair is queued")]
    CorruptBlob {
        /// What they should hash to.
        checksum: Checksum,
    },
    /// A document's bytes are damaged or gone.
    #[error("a document of {tessera} is damaged or gone: restore it from another copy")]
    CorruptDocument {
        /// The tessera it belongs to.
        tessera: proto::TesseraId,
    },
    /// There is no room for it. Reads and deletes still work.
    #[error("no room: {reason}; free some space or forget some tesserae")]
    InsufficientStorage {
        /// Which bound was met.
        reason: String,
    },
    /// Writing failed and is refused until the fault clears. Whether the request was carried out is unknown.
    #[error(
        "nothing is written at the moment: {reason}; reads still work, and writing is tried again by itself"
    )]
    ReadOnly {
        /// What failed.
        reason: String,
    },
    /// It contradicts what is here.
    #[error("{what}")]
    Conflict {
        /// What contradicts what.
        what: String,
    },
    /// Another node could not be asked, or its answer is no use.
    #[error("{node}: {trouble}")]
    Peer {
        /// The node.
        node: proto::NodeId,
        /// What went wrong.
        trouble: crate::conn_pool::PeerTrouble,
    },
    /// The network cannot be used.
    #[error("{reason}")]
    Network {
        /// What is in the way, and what to do.
        reason: String,
    },
    /// The session ended before its commit; nothing of it counts.
    #[error("the writing session was ended: {reason}; nothing of it was kept, start again")]
    SessionEnded {
        /// Why.
        reason: String,
    },
    /// This program is too old, or one of its parts is.
    #[error("{what}")]
    Version {
        /// What is too old for what.
        what: String,
    },
    /// Reading the index took too long while much was written.
    #[error(
        "reading the index took too long while much was being written, and was ended: try again in a moment"
    )]
    Cut,
    /// The index cannot be used.
    #[error("the index (index.db) cannot be used: {reason}")]
    Index {
        /// What is wrong with it.
        reason: String,
    },
    /// SQLite reported an error.
    #[error("the index (index.db): {0}")]
    Sqlite(Arc<sqlx::Error>),
    /// The operating system reported an error.
    #[error("{context}: {source}")]
    Io {
        /// What was being done, and to which file.
        context: String,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// Bytes from outside break the format.
    #[error(transparent)]
    Proto(#[from] ProtoError),
}

impl ActorError {
    /// That something is not here.
    pub fn not_found(what: impl ToString) -> Self {
        Self::NotFound { what: what.to_string() }
    }

    /// An [`ActorError::Io`] that says what was being done.
    pub fn io(context: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let context = context.into();
        move |source| Self::Io { context, source: Arc::new(source) }
    }

    /// What was read from the index cannot be what was written.
    pub(crate) fn damaged_index(reason: String) -> Self {
        sqlx::Error::Decode(reason.into()).into()
    }

    /// Whether it means that the index is damaged: SQLite says so, or what was read or written contradicts its schema
    /// or itself. All questions are fixed, so a flipped bit is what it takes for one to be wrong.
    pub fn is_damaged_index(&self) -> bool {
        use sqlx::Error;
        let Self::Sqlite(error) = self else { return false };
        match error.as_ref() {
            Error::Database(error) => match self.sqlite_code() {
                Some(SQLITE_IOERR_SHORT_READ) => true,
                Some(SQLITE_ERROR) => SCHEMA_ERRORS.iter().any(|start| error.message().starts_with(start)),
                Some(code) => matches!(primary(code), SQLITE_CORRUPT | SQLITE_NOTADB | SQLITE_CONSTRAINT),
                None => false,
            },
            // A thread of SQLite that panicked did so over what it read.
            Error::WorkerCrashed | Error::RowNotFound | Error::Decode(_) => true,
            Error::ColumnDecode { .. } | Error::ColumnNotFound(_) | Error::ColumnIndexOutOfBounds { .. } => {
                true
            }
            _ => false,
        }
    }

    /// The error as [`ActorError::InsufficientStorage`], if it means that the disk is full.
    pub(crate) fn or_no_room(self) -> Self {
        if self.is_full_disk() { Self::InsufficientStorage { reason: self.to_string() } } else { self }
    }

    /// Whether it means that the disk is full.
    pub(crate) fn is_full_disk(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::InsufficientStorage { .. } => true,
            _ => self.sqlite_code().map(primary) == Some(SQLITE_FULL),
        }
    }

    /// The extended code, if SQLite itself reported it.
    fn sqlite_code(&self) -> Option<i32> {
        let Self::Sqlite(error) = self else { return None };
        error.as_database_error()?.code()?.parse().ok()
    }
}

impl From<sqlx::Error> for ActorError {
    fn from(source: sqlx::Error) -> Self {
        Self::Sqlite(Arc::new(source))
    }
}

impl From<ArchiveError> for ActorError {
    /// What an actor says of an archive that it could not read.
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Store(error) => error,
            ArchiveError::Proto(error) => error.into(),
            error => Self::Conflict { what: error.to_string() },
        }
    }
}

impl From<io::Error> for ActorError {
    fn from(source: io::Error) -> Self {
        Self::Io { context: "file access failed".to_owned(), source: Arc::new(source) }
    }
}

/// The primary code of an extended SQLite result code.
const fn primary(code: i32) -> i32 {
    code & PRIMARY_CODE_MASK
}

/// What SQLite says, under its code for all that has no other, when the schema is not the one that was made.
const SCHEMA_ERRORS: [&str; 3] = ["no such table", "no such column", "table "];
const PRIMARY_CODE_MASK: i32 = 0xff;

//! Which problem each error of the actors, the archive and the formats is: status and exit code follow from it.

use actors::{ActorError, archive::ArchiveError};
use proto::ProtoError;

use crate::{
    failure::Failure,
    problem::{Kind, Problem},
};

impl From<ActorError> for Problem {
    fn from(error: ActorError) -> Self {
        Self::new(actor(&error), error.to_string())
    }
}

impl From<ArchiveError> for Problem {
    fn from(error: ArchiveError) -> Self {
        Self::new(archive(&error), error.to_string())
    }
}

impl From<ProtoError> for Problem {
    fn from(error: ProtoError) -> Self {
        Self::new(proto(&error), error.to_string())
    }
}

impl From<ActorError> for Failure {
    fn from(error: ActorError) -> Self {
        Problem::from(error).into()
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        Problem::from(error).into()
    }
}

fn actor(error: &ActorError) -> Kind {
    match error {
        ActorError::Busy { .. } => Kind::Busy,
        ActorError::Restarting { .. } => Kind::Restarting,
        ActorError::NotFound { .. } => Kind::NotFound,
        ActorError::Corrupt { .. } | ActorError::CorruptDocument { .. } | ActorError::Index { .. } => {
            Kind::Damaged
        }
        ActorError::InsufficientStorage { .. } => Kind::InsufficientStorage,
        ActorError::ReadOnly { .. } => Kind::ReadOnly,
        ActorError::Conflict { .. } => Kind::Conflict,
        ActorError::SessionEnded { .. } => Kind::Unavailable,
        ActorError::Version { .. } => Kind::NewerVersion,
        ActorError::Sqlite(_) | ActorError::Io { .. } => Kind::Io,
        ActorError::Proto(error) => proto(error),
        _ => Kind::Internal,
    }
}

fn archive(error: &ArchiveError) -> Kind {
    match error {
        ArchiveError::Refused(_) | ArchiveError::Empty | ArchiveError::Changed { .. } => Kind::Refused,
        ArchiveError::Metadata { .. } | ArchiveError::Recipient { .. } | ArchiveError::TooMany { .. } => {
            Kind::Refused
        }
        ArchiveError::Truncated { .. } | ArchiveError::Tar { .. } => Kind::BadRequest,
        ArchiveError::Sealed => Kind::NotPermitted,
        ArchiveError::NoSuchFile { .. } => Kind::NotFound,
        ArchiveError::Damaged { .. } => Kind::Damaged,
        ArchiveError::Destination { .. } => Kind::CannotCreate,
        ArchiveError::Io { .. } | ArchiveError::Stream { .. } => Kind::Io,
        ArchiveError::Proto(error) => proto(error),
        ArchiveError::Store(error) => actor(error),
        ArchiveError::Stopped => Kind::Unavailable,
        _ => Kind::Internal,
    }
}

fn proto(error: &ProtoError) -> Kind {
    match error {
        ProtoError::BadId { .. } | ProtoError::Malformed { .. } => Kind::BadRequest,
        ProtoError::TooLong { .. } => Kind::TooLarge,
        ProtoError::Mismatch { .. } | ProtoError::BadSignature { .. } => Kind::Damaged,
        ProtoError::NewerVersion { .. } => Kind::NewerVersion,
        _ => Kind::Internal,
    }
}

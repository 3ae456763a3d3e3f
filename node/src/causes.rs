//! Which problem each error of the actors, the archive and the formats is: status and exit code follow from it.

use std::io;

use actors::{
    ActorError,
    archive::{ArchiveError, UPLOAD},
    conn_pool::PeerTrouble,
};
use proto::{ProtoError, wire::RefusalKind};

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
        ActorError::Busy { .. } | ActorError::Cut => Kind::Busy,
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
        ActorError::Sqlite(_) | ActorError::Io { .. } | ActorError::Network { .. } => Kind::Io,
        ActorError::Peer { trouble, .. } => peer(trouble),
        ActorError::Proto(error) => proto(error),
        _ => Kind::Internal,
    }
}

fn peer(trouble: &PeerTrouble) -> Kind {
    match trouble {
        PeerTrouble::NoAddress => Kind::NotFound,
        PeerTrouble::Itself => Kind::Refused,
        PeerTrouble::BlockedHere { .. } => Kind::Conflict,
        PeerTrouble::DialBudget { .. } => Kind::Busy,
        PeerTrouble::NotKnown { .. } | PeerTrouble::Blocked { .. } => Kind::RefusedByPeer,
        PeerTrouble::Lied { .. } | PeerTrouble::Malformed { .. } => Kind::WrongAnswer,
        PeerTrouble::Refused(refusal) => match refusal.kind() {
            RefusalKind::Busy { .. } | RefusalKind::Restarting => Kind::Busy,
            RefusalKind::NotFound => Kind::NotFound,
            _ => Kind::RefusedByPeer,
        },
        _ => Kind::Unreachable,
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
        // Whoever sends it broke off, or fell silent: no fault of this machine.
        ArchiveError::Stream { what: UPLOAD, source } if source.kind() == io::ErrorKind::TimedOut => {
            Kind::Timeout
        }
        ArchiveError::Stream { what: UPLOAD, .. } => Kind::BadRequest,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_with_another_node_is_told_by_what_the_caller_can_do() {
        let refused = |kind: RefusalKind| peer(&PeerTrouble::Refused(kind.because("as it is")));
        let reason = || "it is so".to_owned();
        assert_eq!(peer(&PeerTrouble::NoAddress), Kind::NotFound);
        assert_eq!(peer(&PeerTrouble::Unreachable { reason: reason() }), Kind::Unreachable);
        assert_eq!(peer(&PeerTrouble::Silent { what: "answer", seconds: 1 }), Kind::Unreachable);
        assert_eq!(peer(&PeerTrouble::NotKnown { reason: reason() }), Kind::RefusedByPeer);
        assert_eq!(peer(&PeerTrouble::Lied { what: reason() }), Kind::WrongAnswer);
        assert_eq!(refused(RefusalKind::Busy { retry_after_ms: 1 }), Kind::Busy);
        assert_eq!(refused(RefusalKind::NotFound), Kind::NotFound);
        assert_eq!(refused(RefusalKind::QuotaExceeded), Kind::RefusedByPeer);
    }

    #[test]
    fn upload_that_fell_silent_is_a_timeout_and_other_streams_are_input_and_output() {
        let stream = |what, kind: io::ErrorKind| archive(&ArchiveError::Stream { what, source: kind.into() });
        assert_eq!(stream(UPLOAD, io::ErrorKind::TimedOut), Kind::Timeout);
        assert_eq!(stream(UPLOAD, io::ErrorKind::UnexpectedEof), Kind::BadRequest);
        assert_eq!(stream("content", io::ErrorKind::TimedOut), Kind::Io);
    }
}

//! Problems: what goes wrong, as both sides of the admin socket name it. The daemon sends them as RFC 9457
//! documents, the command line prints them as a sentence or, with `--json`, as they are.
//!
//! The set of kinds is closed and their `type` never changes: programs tell problems apart by it.

use serde::{Deserialize, Serialize};
use utoipa::{
    ToSchema,
    openapi::{Object, ObjectBuilder, Type},
};

use crate::exit::Exit;

/// What kind of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The request is not well formed: a wrong id, a body that isn't what it should be.
    BadRequest,
    /// The command line is wrong.
    Usage,
    /// The caller may not do this.
    NotPermitted,
    /// There is no such tessera, fragment, file or endpoint.
    NotFound,
    /// There is such an endpoint, but it does not do this.
    MethodNotAllowed,
    /// It contradicts what is there already.
    Conflict,
    /// What the caller has is not what is here.
    PreconditionFailed,
    /// The body is too long.
    TooLarge,
    /// The part that is asked for lies behind the end.
    RangeNotSatisfiable,
    /// The request came for another host: a browser was tricked into sending it.
    Misdirected,
    /// The input is understood, and not accepted.
    Refused,
    /// It is blocked here.
    Blocked,
    /// The caller sent nothing for too long.
    Timeout,
    /// All slots are taken.
    Busy,
    /// A part of the node is being restarted.
    Restarting,
    /// The node is starting or stopping.
    Unavailable,
    /// The disk or the configured capacity is full.
    InsufficientStorage,
    /// Writing failed before; the node only reads.
    ReadOnly,
    /// Bytes are not what they were when they were stored.
    Damaged,
    /// Another node cannot be reached.
    Unreachable,
    /// Another node does not do it.
    RefusedByPeer,
    /// What another node answered is wrong.
    WrongAnswer,
    /// Reading or writing failed.
    Io,
    /// A fault of this software.
    Internal,
    /// No daemon listens on the socket.
    NotRunning,
    /// A daemon listens, and does not answer.
    NoAnswer,
    /// What is to be made cannot be made there.
    CannotCreate,
    /// The data directory cannot be made, or is not one.
    WrongDataDir,
    /// Another daemon holds the data directory.
    Locked,
    /// The configuration is wrong.
    BadConfig,
    /// Written by a later version of this software.
    NewerVersion,
}

/// What is fixed about a kind: the last word of its `type`, title, HTTP status and exit code.
struct Facts(&'static str, &'static str, u16, Exit);

impl Kind {
    /// Every kind.
    pub(crate) const ALL: [Self; 31] = [
        Self::BadRequest,
        Self::Usage,
        Self::NotPermitted,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::PreconditionFailed,
        Self::TooLarge,
        Self::RangeNotSatisfiable,
        Self::Misdirected,
        Self::Refused,
        Self::Blocked,
        Self::Timeout,
        Self::Busy,
        Self::Restarting,
        Self::Unavailable,
        Self::InsufficientStorage,
        Self::ReadOnly,
        Self::Damaged,
        Self::Unreachable,
        Self::RefusedByPeer,
        Self::WrongAnswer,
        Self::Io,
        Self::Internal,
        Self::NotRunning,
        Self::NoAnswer,
        Self::CannotCreate,
        Self::WrongDataDir,
        Self::Locked,
        Self::BadConfig,
        Self::NewerVersion,
    ];

    /// Whether a daemon may answer with it. The others are of commands that ask no daemon, or find none.
    pub(crate) const fn is_served(self) -> bool {
        !matches!(
            self,
            Self::Usage
                | Self::NotRunning
                | Self::NoAnswer
                | Self::CannotCreate
                | Self::WrongDataDir
                | Self::Locked
        )
    }

    const fn facts(self) -> Facts {
        match self {
            Self::BadRequest => Facts("bad-request", "The request is malformed", 400, Exit::Failure),
            Self::Usage => Facts("usage", "The command line is wrong", 400, Exit::Usage),
            Self::NotPermitted => Facts("not-permitted", "Not permitted", 403, Exit::NotPermitted),
            Self::NotFound => Facts("not-found", "Not found", 404, Exit::Failure),
            Self::MethodNotAllowed => Facts("method-not-allowed", "Method not allowed", 405, Exit::Failure),
            Self::Timeout => Facts("timeout", "The caller was silent for too long", 408, Exit::Io),
            Self::Conflict => Facts("conflict", "Conflict", 409, Exit::Failure),
            Self::PreconditionFailed => Facts("precondition-failed", "It is another", 412, Exit::Failure),
            Self::TooLarge => Facts("too-large", "The body is too long", 413, Exit::Failure),
            Self::RangeNotSatisfiable => Facts("range-not-satisfiable", "No such part", 416, Exit::Failure),
            Self::Misdirected => Facts("misdirected", "Sent to another host", 421, Exit::Failure),
            Self::Refused => Facts("refused", "Not accepted", 422, Exit::Failure),
            Self::Blocked => Facts("blocked", "Blocked here", 403, Exit::Failure),
            Self::Damaged => Facts("damaged", "Damaged data", 500, Exit::Damaged),
            Self::Unreachable => Facts("unreachable", "Another node cannot be reached", 504, Exit::Failure),
            Self::RefusedByPeer => Facts("refused-by-peer", "Another node refuses", 502, Exit::Failure),
            Self::WrongAnswer => Facts("wrong-answer", "Another node answers wrongly", 502, Exit::Damaged),
            Self::Io => Facts("io", "Reading or writing failed", 500, Exit::Io),
            Self::Internal => Facts("internal", "Internal fault", 500, Exit::Internal),
            Self::NewerVersion => Facts("newer-version", "Written by a later version", 500, Exit::BadConfig),
            Self::Busy => Facts("busy", "Busy", 503, Exit::Busy),
            Self::Restarting => Facts("restarting", "Restarting", 503, Exit::Busy),
            Self::Unavailable => Facts("unavailable", "Starting or stopping", 503, Exit::Busy),
            Self::ReadOnly => Facts("read-only", "The node is read-only", 503, Exit::Io),
            Self::NotRunning => Facts("not-running", "The daemon is not running", 503, Exit::NotRunning),
            Self::NoAnswer => Facts("no-answer", "The daemon does not answer", 504, Exit::Busy),
            Self::Locked => Facts("locked", "Held by another daemon", 503, Exit::Busy),
            Self::CannotCreate => Facts("cannot-create", "It cannot be made there", 500, Exit::CannotCreate),
            Self::WrongDataDir => Facts("wrong-data-dir", "Wrong data directory", 500, Exit::CannotCreate),
            Self::BadConfig => Facts("bad-config", "Wrong configuration", 422, Exit::BadConfig),
            Self::InsufficientStorage => Facts("insufficient-storage", "No space left", 507, Exit::Io),
        }
    }

    /// The exit code of a command that ends with it.
    pub(crate) const fn exit(self) -> Exit {
        self.facts().3
    }

    /// The last word of its `type`.
    pub(crate) const fn word(self) -> &'static str {
        self.facts().0
    }

    /// The value of `type`.
    pub(crate) fn uri(self) -> String {
        format!("{TYPE_PREFIX}{}", self.word())
    }

    /// The kind with this `type`; `None` for one that only a later version knows.
    pub(crate) fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.uri() == uri)
    }
}

/// A problem document, RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Problem {
    /// Tells kinds apart; never changes.
    #[serde(rename = "type")]
    #[schema(schema_with = types)]
    uri: String,
    /// The kind in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What happened, to what, and what to do: one sentence or several lines.
    pub(crate) detail: String,
    /// When to try again, in seconds, if that would help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after_secs: Option<u64>,
}

impl Problem {
    /// A problem of this kind; `detail` is a sentence for the person who reads it.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let Facts(_, title, status, _) = kind.facts();
        let retry_after_secs =
            matches!(kind, Kind::Busy | Kind::Restarting | Kind::Unavailable).then_some(RETRY_AFTER_SECS);
        Self { uri: kind.uri(), title: title.to_owned(), status, detail: detail.into(), retry_after_secs }
    }

    /// Its kind; [`Kind::Internal`] for one that only a later version knows.
    pub(crate) fn kind(&self) -> Kind {
        Kind::from_uri(&self.uri).unwrap_or(Kind::Internal)
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }
}

/// Every `type` there is.
fn types() -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(Kind::ALL.map(Kind::uri))).build()
}

const TYPE_PREFIX: &str = "urn:tesseras:problem:";

/// How long a caller is asked to wait before it tries again, in seconds.
const RETRY_AFTER_SECS: u64 = 1;

/// The media type of a problem document.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_types_are_distinct_and_read_back() {
        for kind in Kind::ALL {
            let problem = Problem::new(kind, "what happened");
            assert_eq!(problem.kind(), kind);
            assert!((400..600).contains(&problem.status()), "{kind:?}");
            assert_ne!(kind.exit(), Exit::Ok, "{kind:?}");
        }
    }

    #[test]
    fn problem_of_the_command_line_is_no_reason_that_a_daemon_counts() {
        let metrics = crate::telemetry::metrics::Metrics::new(None).unwrap();
        for kind in Kind::ALL {
            let series = format!("tesseras_admin_refusals_total{{reason=\"{}\"}} 0", kind.word());
            assert_eq!(metrics.text().unwrap().contains(&series), kind.is_served(), "{series}");
        }
        let asks_nobody =
            [Kind::Usage, Kind::NotRunning, Kind::CannotCreate, Kind::WrongDataDir, Kind::Locked];
        assert!(asks_nobody.iter().all(|kind| !kind.is_served()));
    }

    #[test]
    fn problem_as_json_has_the_members_of_rfc_9457() {
        let json =
            serde_json::to_value(Problem::new(Kind::Busy, "all 64 slots of storage are taken")).unwrap();
        assert_eq!(json["type"], "urn:tesseras:problem:busy");
        assert_eq!(json["title"], "Busy");
        assert_eq!(json["status"], 503);
        assert_eq!(json["detail"], "all 64 slots of storage are taken");
        assert_eq!(json["retry_after_secs"], 1);
    }

    #[test]
    fn problem_of_an_unknown_type_is_internal() {
        let text = r#"{"type":"urn:tesseras:problem:new","title":"","status":500,"detail":""}"#;
        assert_eq!(serde_json::from_str::<Problem>(text).unwrap().kind(), Kind::Internal);
    }
}

//! Why another node could not be asked, or why its answer is no use.

use proto::wire::Refusal;
use quinn::{ApplicationClose, ConnectionError};

use super::link::Close;

/// What went wrong with another node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerTrouble {
    /// Nothing says where it is.
    #[error("no address of it is known: give one with `peers add`")]
    NoAddress,
    /// It is this node.
    #[error("that is this node itself")]
    Itself,
    /// No connection could be made.
    #[error("it cannot be reached ({reason}): is it running, and is its port open?")]
    Unreachable {
        /// What was tried, and how that ended.
        reason: String,
    },
    /// It could not be reached lately, and is left alone for a while.
    #[error("it could not be reached lately ({reason}), so it is left alone for another {}", seconds(*.retry_after_ms))]
    Waiting {
        /// How it ended the last time.
        reason: String,
        /// For how long, in milliseconds.
        retry_after_ms: u64,
    },
    /// As many dials as `network.dials_per_minute` allows were made within the last minute.
    #[error("`network.dials_per_minute` is used up: the next dial is allowed in {}", seconds(*.retry_after_ms))]
    DialBudget {
        /// In how many milliseconds there may be another.
        retry_after_ms: u64,
    },
    /// Another node is at its address.
    #[error(
        "another node answers at {address}: ask its operator for the id and the address that belong together"
    )]
    WrongKey {
        /// Where.
        address: String,
    },
    /// It does not talk to nodes that it does not know.
    #[error("it does not talk to this node: {reason}")]
    NotKnown {
        /// In its words.
        reason: String,
    },
    /// It does not talk to this node on purpose.
    #[error("it has blocked this node: {reason}")]
    Blocked {
        /// In its words.
        reason: String,
    },
    /// It is blocked here.
    #[error("it is blocked here ({reason}): `unblock` it first")]
    BlockedHere {
        /// As it was given.
        reason: String,
    },
    /// The connection ended before the answer was there.
    #[error("the connection was lost: {reason}")]
    Lost {
        /// How.
        reason: String,
        /// Whether asking again on a new connection may well help.
        is_passing: bool,
    },
    /// It did not answer in time.
    #[error("it did not {what} within {seconds} s")]
    Silent {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        seconds: u64,
    },
    /// What it answered is not true: bytes, a signature or a claim that do not fit what was asked.
    #[error("its answer is not true: {what}")]
    Lied {
        /// What is wrong with it.
        what: String,
    },
    /// What it answered breaks the protocol.
    #[error("its answer breaks the protocol: {what}")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
    /// It said no, and why.
    #[error("it refuses ({}): {}", .0.kind(), .0.reason())]
    Refused(Refusal),
}

impl PeerTrouble {
    /// Whether asking again at once, on a new connection, may well help.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Lost { is_passing: true, .. })
    }
}

impl From<ConnectionError> for PeerTrouble {
    fn from(error: ConnectionError) -> Self {
        let ConnectionError::ApplicationClosed(ApplicationClose { error_code, reason }) = &error else {
            // The other side has been started anew, or the way to it is gone.
            let is_passing = matches!(error, ConnectionError::Reset | ConnectionError::TimedOut);
            let reason = match error {
                ConnectionError::LocallyClosed => "this node has closed it meanwhile".to_owned(),
                error => error.to_string(),
            };
            return Self::Lost { reason, is_passing };
        };
        let told = String::from_utf8_lossy(reason.get(..REASON_BYTES_MAX).unwrap_or(reason)).into_owned();
        match Close::from_code(*error_code) {
            Some(Close::NotKnown) => Self::NotKnown { reason: told },
            Some(Close::Blocked) => Self::Blocked { reason: told },
            close => {
                let is_passing = close.is_some_and(Close::is_passing);
                Self::Lost { reason: format!("it says: {told}"), is_passing }
            }
        }
    }
}

/// Milliseconds as people read them, never 0.
fn seconds(ms: u64) -> String {
    format!("{} s", ms.div_ceil(1000).max(1))
}

/// How much of what a peer gives as its reason is shown.
const REASON_BYTES_MAX: usize = 256;

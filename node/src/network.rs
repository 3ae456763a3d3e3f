//! Other nodes, as JSON: peers, invites, and what is blocked; the rest of the admin socket's JSON is in `api`.

use std::{fmt, str::FromStr};

use actors::storage;
use proto::{AuthorId, Checksum, NodeId, ProtoError, TesseraId, ids::Id, limits::REASON_BYTES_MAX, wire};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{printable::controls, schema};

/// One of `GET /v1/peers`, and the answer to `POST /v1/peers`: a node that is known here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Peer {
    /// Who it is.
    #[schema(value_type = schema::NodeId)]
    pub(crate) node: NodeId,
    /// What it is called here.
    pub(crate) name: Option<String>,
    /// Where it is reached, `host:port`, the one to try first in front.
    pub(crate) addresses: Vec<String>,
    /// The person that it acts for, once it has shown that.
    #[schema(value_type = Option<schema::AuthorId>)]
    pub(crate) author: Option<AuthorId>,
    /// How it came to be known.
    pub(crate) origin: Origin,
    /// Whether `network.peers` names it: then it is removed there.
    pub(crate) in_settings: bool,
    /// How much may be kept here for it, in bytes.
    pub(crate) allow_bytes: u64,
    /// How much is kept here for it, in bytes, as far as it has shown whom it acts for: with documents and 512 for each
    /// fragment.
    pub(crate) kept_bytes: u64,
    /// When it came to be known, in milliseconds since 1970; absent when only the settings name it.
    pub(crate) added_at_ms: Option<i64>,
    /// When it was there last, in milliseconds since 1970.
    pub(crate) seen_at_ms: Option<i64>,
    /// Where it was then.
    pub(crate) last_address: Option<String>,
    /// Whether it is connected.
    pub(crate) connected: bool,
    /// How often it gave other bytes than it should.
    pub(crate) wrong_bytes: u64,
    /// How often it failed, or answered what nobody can make sense of.
    pub(crate) errors: u64,
    /// How often it was not there.
    pub(crate) absences: u64,
    /// Why it is blocked, if it is.
    pub(crate) blocked: Option<String>,
}

/// How a node came to be known, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    /// The operator named it.
    Configured,
    /// It had an invite, or its invite was joined.
    Invited,
    /// Another peer named it.
    Introduced,
}

impl Origin {
    /// In a word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Invited => "invited",
            Self::Introduced => "introduced",
        }
    }
}

impl From<storage::Origin> for Origin {
    fn from(origin: storage::Origin) -> Self {
        match origin {
            storage::Origin::Configured => Self::Configured,
            storage::Origin::Invited => Self::Invited,
            storage::Origin::Introduced => Self::Introduced,
        }
    }
}

/// `POST /v1/peers`: a node to know from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPeer {
    /// Who it is.
    #[schema(value_type = schema::NodeId)]
    pub(crate) node: NodeId,
    /// Where it is reached, the one to try first in front; at least one and at most eight.
    #[schema(value_type = Vec<schema::HostPort>, min_items = 1, max_items = 8)]
    pub(crate) addresses: Vec<String>,
    /// How much may be kept here for it, in bytes; if absent what was said before, or `replication.max_storage_per_peer`.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub(crate) allow_bytes: Option<u64>,
    /// What to call it here; what it was called before if absent.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64)]
    pub(crate) name: Option<String>,
}

/// `POST /v1/peers/{id}/ping`: what a node says for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Ping {
    /// Who answered. Its key was checked.
    #[schema(value_type = schema::NodeId)]
    pub(crate) node: NodeId,
    /// From where.
    pub(crate) address: String,
    /// How long the answer took, in microseconds; without connecting, if that was done before.
    pub(crate) took_us: u64,
    /// What it runs.
    pub(crate) software: String,
    /// Where it says that it is reached.
    pub(crate) addresses: Vec<String>,
    /// Where it sees this node.
    pub(crate) observed: String,
    /// Whether it could connect to this node by itself; absent when it did not try.
    pub(crate) reaches_us: Option<bool>,
    /// How much it keeps for this node, in bytes.
    pub(crate) allowance_bytes: u64,
    /// Why that is no more; absent when it does not say.
    pub(crate) bound: Option<Bound>,
}

/// Why a node keeps no more for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    /// Its operator allows no more.
    Allowance,
    /// It has no more room.
    Room,
    /// It keeps nothing for others.
    KeepsNothing,
    /// It is about to leave.
    Leaving,
}

impl From<wire::Bound> for Bound {
    fn from(bound: wire::Bound) -> Self {
        match bound {
            wire::Bound::Allowance => Self::Allowance,
            wire::Bound::Room => Self::Room,
            wire::Bound::KeepsNothing => Self::KeepsNothing,
            wire::Bound::Leaving => Self::Leaving,
        }
    }
}

/// `POST /v1/invites`: what the invited may.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewInvite {
    /// How much will be kept here for them, in bytes; `replication.max_storage_per_peer` if absent.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub(crate) allow_bytes: Option<u64>,
    /// What to call their node here.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64)]
    pub(crate) name: Option<String>,
    /// How long it holds, in seconds, at most 90 days; 7 days if absent.
    #[serde(default)]
    #[schema(minimum = 60, maximum = 7_776_000)]
    pub(crate) valid_for_secs: Option<u64>,
    /// Where they are to come, the one to try first in front; where this node says that it is reached if absent.
    #[serde(default)]
    #[schema(value_type = Vec<schema::HostPort>, max_items = 8)]
    pub(crate) addresses: Vec<String>,
}

/// One of `GET /v1/invites`: an invite that nobody has followed yet. The line itself is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Invite {
    /// BLAKE3 of its secret.
    #[schema(value_type = schema::Checksum)]
    pub(crate) id: Checksum,
    /// What their node will be called here.
    pub(crate) name: Option<String>,
    /// How much will be kept here for them, in bytes.
    pub(crate) allow_bytes: u64,
    /// When it expires, in milliseconds since 1970.
    pub(crate) expires_at_ms: u64,
}

/// The answer: one line to send to them. It is a secret, and good for one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Invited {
    /// By which it is revoked: BLAKE3 of its secret.
    #[schema(value_type = schema::Checksum)]
    pub(crate) id: Checksum,
    /// The line, `invite1…`.
    pub(crate) line: String,
    /// Where it says that this node is reached.
    pub(crate) addresses: Vec<String>,
    /// How much will be kept here for them, in bytes.
    pub(crate) allow_bytes: u64,
    /// When it expires, in milliseconds since 1970.
    pub(crate) expires_at_ms: u64,
}

/// `POST /v1/join`: an invite to follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Join {
    /// The line.
    #[schema(value_type = schema::InviteLine)]
    pub(crate) line: String,
    /// How much may be kept here for the node that invites, in bytes; `replication.max_storage_per_peer` if absent.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub(crate) allow_bytes: Option<u64>,
    /// What to call it here.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64)]
    pub(crate) name: Option<String>,
}

/// A tessera or a node of which nothing is accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Block {
    /// Which one.
    #[serde(flatten)]
    pub(crate) what: Blocked,
    /// Why.
    pub(crate) reason: String,
    /// Since when, in milliseconds since 1970.
    pub(crate) at_ms: i64,
}

/// Of what, or of whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Blocked {
    /// A tessera.
    Tessera {
        /// Which one.
        #[schema(value_type = schema::TesseraId)]
        id: TesseraId,
    },
    /// A node.
    Node {
        /// Which one.
        #[schema(value_type = schema::NodeId)]
        id: NodeId,
    },
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tessera { id } => id.fmt(f),
            Self::Node { id } => id.fmt(f),
        }
    }
}

/// As it stands in a path or a body. Errors with what is wrong with it.
impl FromStr for Blocked {
    type Err = ProtoError;

    fn from_str(text: &str) -> Result<Self, ProtoError> {
        if is_node(text) {
            text.parse().map(|id| Self::Node { id })
        } else {
            text.parse().map(|id| Self::Tessera { id })
        }
    }
}

/// Whether a text begins like a node's id, whatever comes then.
pub(crate) fn is_node(text: &str) -> bool {
    begins_like::<NodeId>(text)
}

/// Whether a text begins like a tessera's id, whatever comes then.
pub(crate) fn is_tessera(text: &str) -> bool {
    begins_like::<TesseraId>(text)
}

fn begins_like<T: Id>(text: &str) -> bool {
    text.split_once('1').is_some_and(|(start, _)| start.eq_ignore_ascii_case(T::HRP))
}

/// A name for a node, as it was typed. Errors with what is wrong with it.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(format!("a name has 1 to {NAME_BYTES_MAX} bytes"));
    }
    if is_node(name) || is_tessera(name) {
        return Err(format!("{name:?} looks like an id: choose another name"));
    }
    if name.chars().any(char::is_control) {
        return Err(format!("{name:?} has letters that cannot be seen"));
    }
    Ok(name.to_owned())
}

/// The reason of a block, as it was given. Errors with what is wrong with it.
pub(crate) fn reason(text: &str) -> Result<String, String> {
    let reason = text.trim();
    if reason.is_empty() {
        return Err("a block without a reason helps nobody: say why".to_owned());
    }
    if reason.len() > REASON_BYTES_MAX {
        return Err(format!(
            "the reason has {} bytes, and at most {REASON_BYTES_MAX} are told to those who are refused",
            reason.len()
        ));
    }
    if reason.chars().any(controls) {
        return Err(format!(
            "the reason {reason:?} has letters that cannot be seen: it is told to others, on one line"
        ));
    }
    Ok(reason.to_owned())
}

/// The longest name of a node, in bytes.
const NAME_BYTES_MAX: usize = 64;

impl From<storage::Blocked> for Blocked {
    fn from(what: storage::Blocked) -> Self {
        match what {
            storage::Blocked::Tessera(id) => Self::Tessera { id },
            storage::Blocked::Node(id) => Self::Node { id },
        }
    }
}

impl From<Blocked> for storage::Blocked {
    fn from(what: Blocked) -> Self {
        match what {
            Blocked::Tessera { id } => Self::Tessera(id),
            Blocked::Node { id } => Self::Node(id),
        }
    }
}

impl From<storage::Block> for Block {
    fn from(block: storage::Block) -> Self {
        Self { what: block.what.into(), reason: block.reason, at_ms: block.at_ms }
    }
}

/// `POST /v1/blocked`: a tessera or a node of which nothing is accepted any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBlock {
    /// Which one.
    #[schema(value_type = schema::TesseraOrNodeId)]
    pub(crate) id: String,
    /// Why: for the operator, and for those who are refused; at most 256 bytes.
    #[schema(min_length = 1, max_length = 256)]
    pub(crate) reason: String,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A peer of which nothing is known but that it is one.
    pub(crate) fn peer(number: u8) -> Peer {
        Peer {
            node: NodeId::from_bytes([number; 32]),
            name: None,
            addresses: vec!["example.org:4433".to_owned()],
            author: None,
            origin: Origin::Configured,
            in_settings: false,
            allow_bytes: 1 << 30,
            kept_bytes: 3 << 20,
            added_at_ms: Some(1),
            seen_at_ms: None,
            last_address: None,
            connected: false,
            wrong_bytes: 0,
            errors: 0,
            absences: 0,
            blocked: None,
        }
    }

    #[test]
    fn name_of_a_node_can_be_typed_again() {
        assert_eq!(name("  Ann's attic "), Ok("Ann's attic".to_owned()));
        assert_eq!(name("nodes"), Ok("nodes".to_owned()));
        for wrong in ["", " ", "node1", "NODE1x", "tess1qq", "a\tb", &"x".repeat(65)] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn block_needs_a_reason_that_can_be_told() {
        assert_eq!(reason("  not ours "), Ok("not ours".to_owned()));
        for wrong in ["", " ", "a\nb", "a\u{1b}[2J", "\u{202e}a", &"x".repeat(257)] {
            assert!(reason(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn blocked_is_told_by_its_id() {
        let node = Blocked::Node { id: NodeId::from_bytes([1; 32]) };
        let tessera = Blocked::Tessera { id: TesseraId::from_bytes([1; 32]) };
        for what in [node, tessera] {
            assert_eq!(what.to_string().parse(), Ok(what));
            let json = serde_json::to_value(Block { what, reason: "spam".to_owned(), at_ms: 7 }).unwrap();
            assert_eq!(json["id"], what.to_string());
            assert_eq!(serde_json::from_value::<Block>(json).unwrap().what, what);
        }
        assert!("summer".parse::<Blocked>().unwrap_err().to_string().contains("tessera id"));
    }
}

//! What other nodes claim to hold of a tessera, and have proven, as JSON; the rest of the admin socket's JSON is in `api`.

use actors::{attestation, conn_pool::PeerBook, remote, storage};
use proto::NodeId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schema;

/// One of `GET /v1/tesseras/{id}/holders`: what another node claims to hold of a tessera, and has proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Holder {
    /// Who claims that.
    #[schema(value_type = schema::NodeId)]
    pub(crate) node: NodeId,
    /// What it is called here.
    pub(crate) name: Option<String>,
    /// Whether what it claims counts as a copy.
    pub(crate) standing: Standing,
    /// Fragments that it claims.
    pub(crate) claimed: u64,
    /// Their places in their stripes, from 0: the same in each.
    #[serde(default)]
    pub(crate) indices: Vec<u16>,
    /// When it claimed that of which this is longest ago, in milliseconds since 1970.
    pub(crate) claimed_at_ms: i64,
    /// How many of them it has proven, ever.
    pub(crate) proven: u64,
    /// When it has proven anything last, in milliseconds since 1970.
    pub(crate) proven_at_ms: Option<i64>,
}

/// What somebody is who claims to hold something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standing {
    /// A node that is known. Only what it claims counts as a copy.
    Peer,
    /// A node that is blocked: nobody asks it for anything.
    Blocked,
    /// A node that is not known any more: nobody asks it either.
    Former,
}

impl Standing {
    /// Of a node, by what is known of others.
    pub(crate) fn of(node: NodeId, book: &PeerBook) -> Self {
        match (book.blocked.contains_key(&node), book.peers.contains_key(&node)) {
            (true, _) => Self::Blocked,
            (false, true) => Self::Peer,
            (false, false) => Self::Former,
        }
    }

    /// In words, unless it is as it should be.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Peer => "",
            Self::Blocked => "blocked",
            Self::Former => "no longer a peer",
        }
    }
}

impl Holder {
    /// From what is kept, and what is known of it.
    pub(crate) fn new(holder: storage::Holder, name: Option<String>, standing: Standing) -> Self {
        let storage::Holder { node, claimed, indices, claimed_at_ms, proven, proven_at_ms } = holder;
        let indices = (0..32).filter(|index| indices & (1 << index) != 0).collect();
        Self { node, name, standing, claimed, indices, claimed_at_ms, proven, proven_at_ms }
    }
}

/// `POST /v1/tesseras/{id}/holders/{node}/attest`: a claim of another node, compared with the layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Audit {
    /// Who claims.
    #[schema(value_type = schema::NodeId)]
    pub(crate) node: NodeId,
    /// Fragments that it claims, with the checksums that they must have.
    pub(crate) held: u64,
    /// Fragments that it claims with others, or that there are not: nothing of that counts.
    pub(crate) wrong: u64,
    /// How long ago, by its own clock, it read back that one of them which it read back longest ago, in milliseconds.
    pub(crate) verified_age_ms: Option<u64>,
    /// Those of them that it has not read back since they were written.
    pub(crate) unverified: u64,
}

impl From<attestation::Audit> for Audit {
    fn from(audit: attestation::Audit) -> Self {
        let attestation::Audit { holder, tessera: _, held, wrong, verified_age_ms, unverified } = audit;
        Self { node: holder, held, wrong, verified_age_ms, unverified }
    }
}

/// `POST /v1/tesseras/{id}/holders/{node}/prove`: a proof of another node, which was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Proven {
    /// Who has proven.
    #[schema(value_type = schema::NodeId)]
    pub(crate) node: NodeId,
    /// The stripe of the fragment that was picked, from 0.
    pub(crate) stripe: u32,
    /// Its place in the stripe, from 0.
    pub(crate) index: u16,
    /// The group of 16 KiB of it that was picked, from 0.
    pub(crate) group: u32,
    /// Of so many.
    pub(crate) groups: u32,
    /// How many bytes the proof took.
    pub(crate) bytes: u64,
}

impl Proven {
    /// By this node.
    pub(crate) fn new(node: NodeId, proven: &remote::Proven) -> Self {
        let remote::Proven { fragment, group, groups, bytes } = *proven;
        Self { node, stripe: fragment.stripe, index: fragment.index, group, groups, bytes: bytes as u64 }
    }
}

#[cfg(test)]
mod tests {
    use actors::conn_pool::Known;

    use super::*;

    #[test]
    fn only_a_peer_that_is_not_blocked_counts() {
        let [a, b, c] = [1, 2, 3].map(|number: u8| NodeId::from_bytes([number; 32]));
        let book = PeerBook {
            peers: [(a, Known::default()), (b, Known::default())].into(),
            blocked: [(b, "spam".to_owned())].into(),
            ..PeerBook::default()
        };
        let standings = [a, b, c].map(|node| Standing::of(node, &book));
        assert_eq!(standings, [Standing::Peer, Standing::Blocked, Standing::Former]);
        assert_eq!(standings.map(Standing::words), ["", "blocked", "no longer a peer"]);
    }
}

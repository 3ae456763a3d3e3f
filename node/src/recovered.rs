//! What an author has published and other nodes keep, as JSON; the rest of the admin socket's JSON is in `api`.

use proto::{AuthorId, NodeId, TesseraId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schema;

/// `POST /v1/recover`: which nodes to ask, beside those that are known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recover {
    /// They are peers from then on.
    #[serde(default)]
    pub(crate) peers: Vec<Asked>,
}

/// A node, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// Who it is.
    #[schema(value_type = schema::NodeId)]
    pub(crate) node: NodeId,
    /// Where it is reached, the one to try first in front; at least one and at most eight.
    #[schema(value_type = Vec<schema::HostPort>, min_items = 1, max_items = 8)]
    pub(crate) addresses: Vec<String>,
}

/// What is brought back, and who said so.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Recovering {
    /// Whose tesserae these are.
    #[schema(value_type = schema::AuthorId)]
    pub(crate) author: AuthorId,
    /// All that any node keeps something of, in the order of their ids.
    pub(crate) tesseras: Vec<Found>,
    /// The nodes that were asked.
    pub(crate) asked: Vec<Answered>,
}

/// A tessera that others keep something of.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub(crate) struct Found {
    /// The tessera.
    #[schema(value_type = schema::TesseraId)]
    pub(crate) tessera: TesseraId,
    /// The job that brings it here; absent when all of it is here.
    pub(crate) job: Option<u64>,
}

/// What a node has said.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Answered {
    /// The node.
    #[schema(value_type = schema::NodeId)]
    pub(crate) node: NodeId,
    /// Of how many tesserae it keeps something; absent when it does not say.
    pub(crate) tesseras: Option<usize>,
    /// Why it does not say.
    pub(crate) reason: Option<String>,
}

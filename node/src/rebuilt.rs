//! An index that is made anew or kept aside, as JSON; the rest of the admin socket's JSON is in `api`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/index/rebuild`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Rebuilding {
    /// Where the old index is kept.
    pub(crate) old_index: String,
    /// Where what only the index knows was kept aside before; the new index gets it back.
    pub(crate) snapshot: Option<String>,
    /// Why it could not be kept aside: then the new index gets what an older snapshot knows, if there is one.
    pub(crate) no_snapshot: Option<String>,
    /// How often storage had been started again when this was asked for: once it is more often and runs, the new index is
    /// there.
    pub(crate) restarts: u64,
}

/// `POST /v1/index/snapshot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Snapshot {
    /// Where it is kept.
    pub(crate) file: String,
}

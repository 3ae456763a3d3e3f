//! What waits to be repaired, and the cache, as JSON; the rest of the admin socket's JSON is in `api`.

use actors::{cache, storage};
use proto::{Checksum, TesseraId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{api::State, schema};

/// One of `GET /v1/jobs`: a damaged fragment that waits for its repair.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Job {
    /// Its checksum.
    #[schema(value_type = schema::Checksum)]
    pub(crate) checksum: Checksum,
    /// Whether its bytes are wrong or gone.
    pub(crate) state: State,
    /// Its length in bytes.
    pub(crate) length: u32,
    /// Since when it waits, in milliseconds since 1970.
    pub(crate) queued_at_ms: i64,
    /// Where it belongs; the first places when there are very many.
    pub(crate) fragments: Vec<Place>,
}

/// Where a fragment belongs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Place {
    /// The tessera.
    #[schema(value_type = schema::TesseraId)]
    pub(crate) tessera: TesseraId,
    /// The stripe, from 0.
    pub(crate) stripe: u32,
    /// The place in the stripe, from 0.
    pub(crate) index: u16,
}

/// `GET /v1/cache`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub(crate) struct Cache {
    /// Fragments in it.
    pub(crate) fragments: u64,
    /// Their bytes, with what it takes to keep them.
    pub(crate) bytes: u64,
    /// The configured bound on bytes.
    pub(crate) bytes_max: u64,
    /// Fragments that are being loaded.
    pub(crate) loads: u64,
}

impl From<storage::Job> for Job {
    fn from(job: storage::Job) -> Self {
        let storage::Job { checksum, state, length, queued_at_ms, fragments } = job;
        let place = |id: proto::FragmentId| Place { tessera: id.tessera, stripe: id.stripe, index: id.index };
        let fragments = fragments.into_iter().map(place).collect();
        Self { checksum, state: state.into(), length, queued_at_ms, fragments }
    }
}

impl From<cache::CacheUsage> for Cache {
    fn from(usage: cache::CacheUsage) -> Self {
        let cache::CacheUsage { entries, bytes, bytes_max, loads } = usage;
        Self { fragments: entries, bytes, bytes_max, loads }
    }
}

//! What `verify` found, as JSON; the rest of the admin socket's JSON is in `api`.

use actors::archive;
use proto::{Checksum, TesseraId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{problem::Problem, schema};

/// A line of `POST /v1/tesseras/{id}/verify`, for whoever accepts lines.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VerifyStep {
    /// How far it is.
    Progress {
        /// Fragments looked at.
        done: u64,
        /// Fragments in all.
        fragments: u64,
    },
    /// It is done.
    Report(Verified),
    /// It could not be done.
    Problem(Problem),
}

/// `POST /v1/tesseras/{id}/verify`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Verified {
    /// The tessera.
    #[schema(value_type = schema::TesseraId)]
    pub(crate) tessera: TesseraId,
    /// Whether everything is here and right.
    pub(crate) intact: bool,
    /// Fragments its layout names.
    pub(crate) fragments: u64,
    /// Fragments that are here and right.
    pub(crate) ok: u64,
    /// Fragments that are not here.
    pub(crate) missing: u64,
    /// Fragments whose bytes are wrong.
    pub(crate) damaged: u64,
    /// Those that are not as they should be, the first of them.
    pub(crate) faults: Vec<Fault>,
    /// Whether the content is what its author signed; absent when it could not be put together.
    pub(crate) content_ok: Option<bool>,
}

/// A fragment that is not as it should be.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Fault {
    /// The stripe, from 0.
    pub(crate) stripe: u32,
    /// The place in the stripe, from 0.
    pub(crate) index: u16,
    /// What its bytes should hash to.
    #[schema(value_type = schema::Checksum)]
    pub(crate) checksum: Checksum,
    /// Whether it is missing; else it is damaged.
    pub(crate) missing: bool,
}

impl From<archive::VerifyReport> for Verified {
    fn from(report: archive::VerifyReport) -> Self {
        let intact = report.is_intact();
        let archive::VerifyReport { tessera, fragments, ok, missing, damaged, faults, content_ok } = report;
        let faults = faults.into_iter().map(Fault::from).collect();
        Self { tessera, intact, fragments, ok, missing, damaged, faults, content_ok }
    }
}

impl From<archive::Fault> for Fault {
    fn from(fault: archive::Fault) -> Self {
        let archive::Fault { stripe, index, checksum, state } = fault;
        Self { stripe, index, checksum, missing: state == archive::FaultState::Missing }
    }
}

/// The media type of JSON documents, one a line.
pub(crate) const LINES: &str = "application/x-ndjson";

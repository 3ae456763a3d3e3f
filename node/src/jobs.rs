//! What waits to be repaired, and the cache, as JSON; the rest of the admin socket's JSON is in `api`.

use actors::{cache, storage};
use proto::{Checksum, TesseraId, record};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{api::State, replicated::Replication, schema};

/// One of `GET /v1/jobs`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Job {
    /// A tessera is given to other nodes, or was.
    Publish(Replication),
    /// It is given to them under another layout, or was.
    Relayout(Replication),
    /// It is brought here from them, or was.
    Fetch(Replication),
    /// What they have lost of it is rebuilt, or was.
    Repair(Replication),
    /// All nodes that keep any of it are told that its author takes it back, or were.
    Retract(Replication),
    /// What is kept here for others is handed over to other nodes, or was.
    Leave(Replication),
    /// It is brought here and looked after, or was.
    Adopt(Replication),
    /// Damaged bytes wait to be mended.
    Mend(Mend),
}

impl Job {
    /// Something that is done with other nodes.
    pub(crate) fn replication(kind: storage::JobKind, job: Replication) -> Self {
        match kind {
            storage::JobKind::Publish => Self::Publish(job),
            storage::JobKind::Relayout => Self::Relayout(job),
            storage::JobKind::Fetch => Self::Fetch(job),
            storage::JobKind::Repair => Self::Repair(job),
            storage::JobKind::Retract => Self::Retract(job),
            storage::JobKind::Leave => Self::Leave(job),
            storage::JobKind::Adopt => Self::Adopt(job),
        }
    }

    /// What it is called, and what is done with other nodes, if it is that.
    pub(crate) fn replicated(&self) -> Option<(&'static str, &Replication)> {
        match self {
            Self::Publish(job) => Some(("publish", job)),
            Self::Relayout(job) => Some(("relayout", job)),
            Self::Fetch(job) => Some(("fetch", job)),
            Self::Repair(job) => Some(("repair", job)),
            Self::Retract(job) => Some(("retract", job)),
            Self::Leave(job) => Some(("leave", job)),
            Self::Adopt(job) => Some(("adopt", job)),
            Self::Mend(_) => None,
        }
    }

    /// What waits to be mended, if it is that.
    pub(crate) fn mend(&self) -> Option<&Mend> {
        match self {
            Self::Mend(mend) => Some(mend),
            _ => None,
        }
    }
}

/// Names a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobId {
    /// Its number.
    Number(u64),
    /// What is damaged.
    Checksum(Checksum),
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        if text.len() <= NUMBER_DIGITS_MAX {
            let wrong = |_| {
                serde::de::Error::custom(format!("{text:?} is neither the number of a job nor a checksum"))
            };
            return text.parse().map(Self::Number).map_err(wrong);
        }
        text.parse().map(Self::Checksum).map_err(serde::de::Error::custom)
    }
}

/// Damaged bytes that wait for their repair.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Mend {
    /// Their checksum, which names the job.
    #[schema(value_type = schema::Checksum)]
    pub(crate) checksum: Checksum,
    /// Whether they are wrong or gone.
    pub(crate) state: State,
    /// How many bytes these are.
    pub(crate) length: u32,
    /// Since when they wait, in milliseconds since 1970.
    pub(crate) queued_at_ms: i64,
    /// The fragments that they are; the first of them when there are very many.
    pub(crate) fragments: Vec<Place>,
    /// The documents that they are, likewise.
    pub(crate) documents: Vec<Document>,
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

/// A document of a tessera.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub(crate) struct Document {
    /// The tessera.
    #[schema(value_type = schema::TesseraId)]
    pub(crate) tessera: TesseraId,
    /// Which of its documents.
    pub(crate) kind: DocumentKind,
}

/// Which document of a tessera.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DocumentKind {
    /// What it is, signed; its hash is the tessera's id.
    Manifest,
    /// How it was cut, signed.
    Layout,
    /// A page of checksums.
    LayoutPage,
    /// Who keeps it, signed.
    Placement,
    /// That its author takes it back, signed.
    Retraction,
}

impl DocumentKind {
    /// As people read it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Layout => "layout",
            Self::LayoutPage => "layout page",
            Self::Placement => "placement",
            Self::Retraction => "retraction",
        }
    }
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

impl From<storage::Job> for Mend {
    fn from(job: storage::Job) -> Self {
        let storage::Job { checksum, state, length, queued_at_ms, fragments, documents } = job;
        let place = |id: proto::FragmentId| Place { tessera: id.tessera, stripe: id.stripe, index: id.index };
        let fragments = fragments.into_iter().map(place).collect();
        let document = |(tessera, kind)| Document { tessera, kind: DocumentKind::from(kind) };
        let documents = documents.into_iter().map(document).collect();
        Self { checksum, state: state.into(), length, queued_at_ms, fragments, documents }
    }
}

impl From<record::DocumentKind> for DocumentKind {
    fn from(kind: record::DocumentKind) -> Self {
        match kind {
            record::DocumentKind::Manifest => Self::Manifest,
            record::DocumentKind::Layout => Self::Layout,
            record::DocumentKind::LayoutPage => Self::LayoutPage,
            record::DocumentKind::Placement => Self::Placement,
            record::DocumentKind::Retraction => Self::Retraction,
        }
    }
}

impl From<cache::CacheUsage> for Cache {
    fn from(usage: cache::CacheUsage) -> Self {
        let cache::CacheUsage { entries, bytes, bytes_max, loads } = usage;
        Self { fragments: entries, bytes, bytes_max, loads }
    }
}

/// Those of the largest number.
const NUMBER_DIGITS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_is_named_by_its_number_or_by_a_checksum() {
        let read = |text: &str| serde_json::from_value::<JobId>(text.into());
        assert_eq!(read("17").unwrap(), JobId::Number(17));
        let digits = "1".repeat(64);
        assert_eq!(read(&digits).unwrap(), JobId::Checksum(digits.parse().unwrap()));
        for wrong in ["", "-1", "x", "18446744073709551616", &"g".repeat(64), &"1".repeat(63)] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}

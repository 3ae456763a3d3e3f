//! What happens in a node, as JSON; the rest of the admin socket's JSON is in `api`.

use proto::{NodeId, TesseraId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{network::Blocked, schema};

/// Something that happened, from `GET /v1/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Event {
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub(crate) what: Happening,
}

/// What may happen. More will come: skip what you do not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Happening {
    /// A tessera was made here.
    TesseraCreated {
        /// Which one.
        #[schema(value_type = schema::TesseraId)]
        id: TesseraId,
        /// Files in it.
        files: u64,
        /// Bytes that are stored.
        content_len: u64,
    },
    /// What was kept of a tessera here was dropped.
    TesseraForgotten {
        /// Which one.
        #[schema(value_type = schema::TesseraId)]
        id: TesseraId,
    },
    /// Stored bytes are not what they were.
    DamageFound {
        /// Fragments and documents that are newly known as damaged.
        blobs: u64,
        /// Those that wait for their repair, with these.
        repairs_queued: u64,
        /// The tesserae that they belong to, as far as that is known, and not more than 16 of them.
        #[schema(value_type = Vec<schema::TesseraId>)]
        #[serde(default)]
        tesseras: Vec<TesseraId>,
    },
    /// Damaged bytes no longer wait for their repair: they are right again, or nobody wants them any more.
    DamageGone {
        /// How many fragments and documents.
        blobs: u64,
        /// Those that still wait.
        repairs_queued: u64,
    },
    /// Somebody asked for all that is stored to be verified.
    ScrubStarted,
    /// Somebody asked for nothing to be verified for a while.
    ScrubPaused {
        /// For how long, in seconds.
        secs: u64,
    },
    /// All that was due has been verified. The numbers are those since the daemon was started.
    ScrubFinished {
        /// Bytes verified.
        verified_bytes: u64,
        /// Fragments and documents found damaged.
        damaged: u64,
        /// Damaged records that were written again.
        mended_records: u64,
    },
    /// What only the index knows was kept aside.
    SnapshotTaken {
        /// In which file of the folder of snapshots.
        file: String,
    },
    /// The index was made anew from the segments.
    IndexRebuilt {
        /// Records read.
        records: u64,
        /// Places in segments that are no valid record.
        damaged_places: u64,
        /// Segments that are shorter than they were, or gone.
        lost_segments: u64,
    },
    /// The settings were read again.
    ConfigReloaded {
        /// Those that have changed.
        changed: Vec<String>,
        /// Those of them that wait for a restart.
        after_restart: Vec<String>,
    },
    /// The settings were to be read again; they are wrong, and nothing has changed.
    ConfigRefused {
        /// What is wrong, a mistake a line.
        reason: String,
    },
    /// Somebody made a node known, or said more of one that was.
    PeerAdded {
        /// Which one.
        #[schema(value_type = schema::NodeId)]
        node: NodeId,
    },
    /// A node is not known any more, as somebody wished.
    PeerRemoved {
        /// Which one.
        #[schema(value_type = schema::NodeId)]
        node: NodeId,
    },
    /// Nothing is accepted any more of a tessera or a node.
    Blocked {
        /// Which one.
        #[serde(flatten)]
        what: Blocked,
        /// Why.
        reason: String,
    },
    /// A tessera or a node is not blocked any more.
    Unblocked {
        /// Which one.
        #[serde(flatten)]
        what: Blocked,
    },
    /// Nothing can be written at the moment.
    WritingStopped {
        /// Why.
        reason: String,
    },
    /// It can again.
    WritingWorks,
    /// An actor fell; it is started again.
    ActorFell {
        /// Its name.
        actor: String,
        /// Why.
        reason: String,
    },
    /// An actor that fell runs again.
    ActorRestarted {
        /// Its name.
        actor: String,
        /// How often it was started again since the node runs.
        restarts: u64,
    },
    /// Whoever follows is too slow: it missed some.
    Lagged {
        /// How many.
        lost: u64,
    },
    /// The node stops. It is the last one.
    Stopping {
        /// Why.
        reason: String,
    },
}

impl Happening {
    /// The value of `event`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::TesseraCreated { .. } => "tessera_created",
            Self::TesseraForgotten { .. } => "tessera_forgotten",
            Self::DamageFound { .. } => "damage_found",
            Self::DamageGone { .. } => "damage_gone",
            Self::ScrubStarted => "scrub_started",
            Self::ScrubPaused { .. } => "scrub_paused",
            Self::ScrubFinished { .. } => "scrub_finished",
            Self::SnapshotTaken { .. } => "snapshot_taken",
            Self::IndexRebuilt { .. } => "index_rebuilt",
            Self::ConfigReloaded { .. } => "config_reloaded",
            Self::ConfigRefused { .. } => "config_refused",
            Self::PeerAdded { .. } => "peer_added",
            Self::PeerRemoved { .. } => "peer_removed",
            Self::Blocked { .. } => "blocked",
            Self::Unblocked { .. } => "unblocked",
            Self::WritingStopped { .. } => "writing_stopped",
            Self::WritingWorks => "writing_works",
            Self::ActorFell { .. } => "actor_fell",
            Self::ActorRestarted { .. } => "actor_restarted",
            Self::Lagged { .. } => "lagged",
            Self::Stopping { .. } => "stopping",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_carries_its_name_beside_what_it_tells() {
        let what = Happening::ActorFell { actor: "cache".into(), reason: "it panicked".into() };
        let json = serde_json::to_value(Event { at_ms: 7, what: what.clone() }).unwrap();
        let expected = serde_json::json!(
            { "at_ms": 7, "event": "actor_fell", "actor": "cache", "reason": "it panicked" }
        );
        assert_eq!(json, expected);
        assert_eq!(json["event"], what.name());
        assert_eq!(serde_json::from_value::<Event>(json).unwrap().what, what);
    }
}

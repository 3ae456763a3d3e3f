//! The JSON of the admin socket: one shape for the daemon that writes it and the command line that reads it.

use actors::{
    archive, attestation,
    storage::{BlobState, TesseraRow, Usage},
    supervision::ActorStatus,
};
use proto::{
    AuthorId, Checksum, NodeId, TesseraId,
    manifest::{Description, Manifest, Visibility},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) use crate::event::{Event, Happening};
pub(crate) use crate::{
    explained::{Explained, Facts},
    explained_node::NodeExplained,
    held::{Audit, Holder, Proven, Standing},
    jobs::{Cache, Job, Mend},
    ledger::Ledger,
    network::{Block, Blocked, Invite, Invited, Join, NewBlock, NewInvite, NewPeer, Origin, Peer, Ping},
    pooled::{Network, Pool, Reached},
    rebuilt::{Rebuilding, Snapshot},
    recovered::{Answered, Asked, Found, Recover, Recovering},
    replicated::{JobOutcome, JobProgress, JobState, JobStep, Replication},
    scrubbed::{Mode, Scrub},
    settings::{Change, ChangeOutcome, Reloaded, Setting, settings},
    verified::{LINES, Verified, VerifyStep},
};
use crate::{human, schema};

/// `GET /v1/status`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Status {
    /// The version of this software.
    pub(crate) version: String,
    /// The machine.
    #[schema(value_type = schema::NodeId)]
    pub(crate) node: NodeId,
    /// Its person.
    #[schema(value_type = schema::AuthorId)]
    pub(crate) author: AuthorId,
    /// What others encrypt to, `age1…`.
    pub(crate) recipient: String,
    /// Where everything is kept.
    pub(crate) data_dir: String,
    /// For how long the daemon has been running, in seconds.
    pub(crate) uptime_secs: u64,
    /// What is stored.
    pub(crate) storage: Storage,
    /// How verifying it stands.
    pub(crate) scrub: Scrub,
    /// How it stands with other nodes.
    pub(crate) network: Network,
    /// Why health and metrics are not served over TCP although they should be.
    pub(crate) metrics_trouble: Option<String>,
}

/// How much is stored, and whether more can be.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Storage {
    /// Tesserae of which there is at least one fragment.
    pub(crate) tesseras: u64,
    /// Fragments, all accounts together.
    pub(crate) fragments: u64,
    /// Their bytes.
    pub(crate) fragment_bytes: u64,
    /// Bytes of segment files.
    pub(crate) segment_bytes: u64,
    /// Bytes in them that count.
    pub(crate) live_bytes: u64,
    /// Bytes of records in them that end older ones.
    pub(crate) drop_bytes: u64,
    /// The configured bound on segment bytes.
    pub(crate) capacity_bytes: Option<u64>,
    /// Free on the disk.
    pub(crate) free_bytes: Option<u64>,
    /// Kept free on the disk.
    pub(crate) min_free_bytes: Option<u64>,
    /// Damaged fragments and documents that wait for their repair.
    pub(crate) repairs_queued: u64,
    /// Why nothing is written at the moment, if that is so.
    pub(crate) read_only: Option<String>,
    /// What was found when the index was last brought up to the segments.
    pub(crate) recovery: Recovery,
}

/// What was found when the index was last brought up to the segments.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Recovery {
    /// Records read again: none after a clean stop.
    pub(crate) records: u64,
    /// Places in segments that are no valid record.
    pub(crate) damaged_places: usize,
    /// Segments that are shorter than they were, or gone.
    pub(crate) lost_segments: Vec<u32>,
    /// Documents that were lost.
    pub(crate) lost_documents: usize,
    /// Tesserae that a snapshot knew, and of which the segments say nothing any more: lost, or forgotten since it was
    /// taken. `losses.jsonl` in the data directory names them.
    pub(crate) missing_tesseras: u64,
    /// Whether the whole index was made anew.
    pub(crate) rebuilt: bool,
    /// When the snapshot was taken that gave it back what the segments do not know (when things came and were verified),
    /// in milliseconds since 1970; absent when it is as if all of it came then.
    pub(crate) restored_from_ms: Option<i64>,
}

impl Storage {
    /// How much more can be stored, in bytes, as far as that is known.
    pub(crate) fn room(&self) -> Option<u64> {
        let on_disk = self.free_bytes.map(|free| free.saturating_sub(self.min_free_bytes.unwrap_or(0)));
        let in_capacity = self.capacity_bytes.map(|capacity| capacity.saturating_sub(self.segment_bytes));
        on_disk.into_iter().chain(in_capacity).min()
    }

    /// The same for people: `36.83 GiB more`.
    pub(crate) fn room_left(&self) -> String {
        match self.room() {
            _ if self.read_only.is_some() => "nothing, as nothing is written".to_owned(),
            None => "unknown".to_owned(),
            Some(0) => "nothing".to_owned(),
            Some(room) => format!("{} more", human::bytes(room)),
        }
    }
}

impl From<Usage> for Storage {
    fn from(usage: Usage) -> Self {
        Self {
            tesseras: usage.totals.tesseras,
            fragments: usage.totals.fragments,
            fragment_bytes: usage.totals.fragment_bytes,
            segment_bytes: usage.totals.segment_bytes,
            live_bytes: usage.totals.live_bytes,
            drop_bytes: usage.totals.drop_bytes,
            capacity_bytes: usage.capacity_bytes,
            free_bytes: usage.free_bytes,
            min_free_bytes: usage.min_free_bytes,
            repairs_queued: usage.totals.jobs,
            read_only: usage.read_only,
            recovery: Recovery {
                records: usage.recovery.records,
                damaged_places: usage.recovery.damage.len(),
                lost_segments: usage.recovery.lost_segments,
                lost_documents: usage.recovery.lost_documents.len(),
                missing_tesseras: usage
                    .recovery
                    .restored
                    .as_ref()
                    .map_or(0, |restored| restored.missing.count),
                rebuilt: usage.recovery.rebuilt,
                restored_from_ms: usage.recovery.restored.map(|restored| restored.taken_at_ms),
            },
        }
    }
}

/// One of `GET /v1/actors`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Actor {
    /// Its name.
    pub(crate) name: String,
    /// Whether it answers.
    pub(crate) running: bool,
    /// Requests waiting or running.
    pub(crate) waiting: usize,
    /// How often it was started again.
    pub(crate) restarts: u64,
    /// Why it fell the last time.
    pub(crate) last_fall: Option<String>,
    /// When that was, in milliseconds since 1970.
    pub(crate) last_fall_ms: Option<i64>,
}

impl Actor {
    /// From what the supervisor knows, and the requests waiting or running.
    pub(crate) fn new(waiting: usize, status: ActorStatus) -> Self {
        let ActorStatus { name, running, restarts, last_fall, last_fall_ms } = status;
        Self { name: name.to_owned(), running, waiting, restarts, last_fall, last_fall_ms }
    }
}

/// A tessera, as far as it is known here.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Tessera {
    /// Its id.
    #[schema(value_type = schema::TesseraId)]
    pub(crate) id: TesseraId,
    /// Fragments that are wanted here; those that are damaged or gone count, too.
    pub(crate) fragments: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// When it came here, in milliseconds since 1970.
    pub(crate) received_at_ms: i64,
    /// Whether what its author signed is here.
    pub(crate) manifest_state: State,
    /// What its author signed, if that can be read.
    pub(crate) manifest: Option<About>,
}

/// What a manifest says.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct About {
    /// Who made it.
    #[schema(value_type = schema::AuthorId)]
    pub(crate) author: AuthorId,
    /// When, in milliseconds since 1970.
    pub(crate) created_at_ms: u64,
    /// Who may read it.
    #[schema(value_type = schema::Visibility)]
    pub(crate) visibility: Visibility,
    /// Length of the content as stored, in bytes.
    pub(crate) content_len: u64,
    /// BLAKE3 of the content as stored.
    #[schema(value_type = schema::Checksum)]
    pub(crate) content_hash: Checksum,
    /// What it says about the content; empty unless public.
    #[serde(flatten)]
    #[schema(value_type = schema::Description)]
    pub(crate) description: Description,
    /// The tessera that this one is a newer edition of.
    #[schema(value_type = Option<schema::TesseraId>)]
    pub(crate) supersedes: Option<TesseraId>,
    /// The collection that this one belongs to.
    #[schema(value_type = Option<schema::TesseraId>)]
    pub(crate) part_of: Option<TesseraId>,
    /// What others may do with it.
    pub(crate) rights: Option<String>,
}

impl Tessera {
    /// From what the index says and the manifest, or why there is none.
    pub(crate) fn new(row: &TesseraRow, manifest: Result<About, State>) -> Self {
        let TesseraRow { id, fragments, bytes, received_at_ms, .. } = *row;
        let (manifest_state, manifest) = match manifest {
            Ok(about) => (State::Ok, Some(about)),
            Err(state) => (state, None),
        };
        Self { id, fragments, bytes, received_at_ms, manifest_state, manifest }
    }
}

impl From<&Manifest> for About {
    fn from(manifest: &Manifest) -> Self {
        Self {
            author: manifest.author,
            created_at_ms: manifest.created_at_ms,
            visibility: manifest.visibility,
            content_len: manifest.content_len,
            content_hash: manifest.content_hash,
            description: manifest.description.clone(),
            supersedes: manifest.supersedes,
            part_of: manifest.part_of,
            rights: manifest.rights.clone(),
        }
    }
}

/// `GET /v1/tesseras`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct TesseraPage {
    /// In the order of their ids.
    pub(crate) tesseras: Vec<Tessera>,
    /// The `from` of the next page, if there is one.
    #[schema(value_type = Option<schema::TesseraId>)]
    pub(crate) next: Option<TesseraId>,
}

/// A fragment, as the index knows it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct FragmentRow {
    /// The stripe, from 0.
    pub(crate) stripe: u32,
    /// The place in the stripe, from 0.
    pub(crate) index: u16,
    /// Its checksum.
    #[schema(value_type = schema::Checksum)]
    pub(crate) checksum: Checksum,
    /// Its length in bytes.
    pub(crate) length: u32,
    /// Whether its bytes are there.
    pub(crate) state: State,
    /// When its segment was begun, in milliseconds since 1970.
    pub(crate) written_at_ms: i64,
    /// When it was last read back and found right, in milliseconds since 1970.
    pub(crate) verified_at_ms: Option<i64>,
}

/// Whether the bytes of a fragment or a document are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// They were right when last seen.
    Ok,
    /// They were wrong when last seen.
    Suspect,
    /// They are gone.
    Missing,
    /// Of a manifest: a newer version of this software wrote it.
    Newer,
}

impl From<BlobState> for State {
    fn from(state: BlobState) -> Self {
        match state {
            BlobState::Ok => Self::Ok,
            BlobState::Suspect => Self::Suspect,
            BlobState::Missing => Self::Missing,
        }
    }
}

impl From<actors::FragmentRow> for FragmentRow {
    fn from(row: actors::FragmentRow) -> Self {
        let actors::FragmentRow { stripe, index, checksum, length, state, written_at_ms, verified_at_ms } =
            row;
        Self { stripe, index, checksum, length, state: state.into(), written_at_ms, verified_at_ms }
    }
}

/// `GET /v1/tesseras/{id}/fragments`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct FragmentPage {
    /// In the order of stripe and index.
    pub(crate) fragments: Vec<FragmentRow>,
    /// The `stripe` and `index` of the next page, if there is one.
    pub(crate) next: Option<(u32, u16)>,
}

/// `PUT /v1/tesseras/{id}/fragments/{stripe}/{index}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Put {
    /// Its checksum.
    #[schema(value_type = schema::Checksum)]
    pub(crate) checksum: Checksum,
    /// Whether it was here already.
    pub(crate) held: bool,
}

/// `POST /v1/tesseras`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Created {
    /// The new tessera.
    #[schema(value_type = schema::TesseraId)]
    pub(crate) id: TesseraId,
    /// Who may read it.
    #[schema(value_type = schema::Visibility)]
    pub(crate) visibility: Visibility,
    /// Files in it.
    pub(crate) files: u64,
    /// Folders in it.
    pub(crate) folders: u64,
    /// Bytes of its files.
    pub(crate) bytes: u64,
    /// Bytes that are stored.
    pub(crate) content_len: u64,
}

impl From<archive::Created> for Created {
    fn from(created: archive::Created) -> Self {
        let archive::Created { id, visibility, files, folders, bytes, content_len } = created;
        Self { id, visibility, files, folders, bytes, content_len }
    }
}

/// `POST /v1/tesseras/{id}/attest`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Attested {
    /// Who claims; also named as the one who asked.
    #[schema(value_type = schema::NodeId)]
    pub(crate) node: NodeId,
    /// The signed claim, in base64.
    pub(crate) claim: String,
    /// Every row of the stripes that the claim covers, also what is not in order and so not claimed.
    pub(crate) rows: Vec<AttestedRow>,
    /// The `from` of the next claim, if there is more.
    pub(crate) next_stripe: Option<u32>,
}

/// What is known of one fragment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct AttestedRow {
    /// The stripe, from 0.
    pub(crate) stripe: u32,
    /// The place in the stripe, from 0.
    pub(crate) index: u16,
    /// Its checksum.
    #[schema(value_type = schema::Checksum)]
    pub(crate) checksum: Checksum,
    /// Its length in bytes.
    pub(crate) length: u32,
    /// Whether its bytes are there.
    pub(crate) state: State,
    /// How long ago they were last read back and found right, in milliseconds; absent when that never happened.
    pub(crate) verified_age_ms: Option<u64>,
}

impl From<attestation::AttestedRow> for AttestedRow {
    fn from(row: attestation::AttestedRow) -> Self {
        let attestation::AttestedRow { stripe, index, checksum, length, state, verified_age_ms } = row;
        Self { stripe, index, checksum, length, state: state.into(), verified_age_ms }
    }
}

/// A claim that is asked for on the socket is bound to no connection.
pub(crate) const LOCAL_BINDING: [u8; 32] = [0; 32];

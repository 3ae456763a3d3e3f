//! What is done about tesserae with other nodes, as JSON; the rest of the admin socket's JSON is in `api`.

use actors::{
    replication::{self, Told},
    storage::{self, ReplicationJob},
};
use proto::{NodeId, TesseraId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{problem::Kind, schema};

/// A tessera that is given to other nodes or brought here from them, or was.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Replication {
    /// The number of the job.
    pub(crate) id: u64,
    /// The tessera; absent when it is about none.
    #[schema(value_type = Option<schema::TesseraId>)]
    pub(crate) tessera: Option<TesseraId>,
    /// How it stands.
    pub(crate) state: JobState,
    /// When it was asked for, in milliseconds since 1970.
    pub(crate) began_at_ms: i64,
    /// When its state changed last, in milliseconds since 1970.
    pub(crate) changed_at_ms: i64,
    /// How far it is, while it is under way.
    pub(crate) progress: Option<JobProgress>,
    /// What came of it, once it has ended.
    pub(crate) outcome: Option<JobOutcome>,
}

/// `GET /v1/leave`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Leave {
    /// Since when this node hands over what it keeps for others and takes nothing new, in milliseconds since 1970; absent when it
    /// does not.
    pub(crate) leaving_since_ms: Option<i64>,
    /// The last job of it, if there was one.
    pub(crate) job: Option<crate::jobs::Job>,
}

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JobState {
    /// It is not finished.
    Pending,
    /// All that was asked for was done.
    Done,
    /// It is done as far as possible, and the tessera is less safe than asked.
    Degraded,
    /// It could not be done.
    Failed,
    /// Somebody gave it up.
    Cancelled,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub(crate) struct JobProgress {
    /// What it does.
    pub(crate) step: JobStep,
    /// How much of that is done, in bytes.
    pub(crate) done_bytes: u64,
    /// Of how much; 0 when that is not known.
    pub(crate) total_bytes: u64,
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JobStep {
    /// It waits until others are done.
    Waiting,
    /// It asks who is there.
    Asking,
    /// It computes parity.
    Coding,
    /// It sends fragments.
    Sending,
    /// It gets fragments.
    Receiving,
    /// It tells the holders who keeps what.
    Finishing,
}

/// What came of a job.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct JobOutcome {
    /// It in one sentence.
    pub(crate) sentence: String,
    /// How safe the tessera was then.
    pub(crate) guarantee: Option<Guarantee>,
    /// How many machines may be lost by the settings.
    pub(crate) asked: Option<u16>,
    /// What would make it safer.
    pub(crate) remedies: Vec<String>,
    /// The nodes that keep nothing of it, and why; of what was taken back, those that could not be told yet.
    pub(crate) turned: Vec<Turned>,
    /// What could not be handed over, the first of it.
    #[serde(default)]
    pub(crate) left: Vec<Left>,
    /// Tesserae of this node itself that no other is known to keep, when it leaves; the first of them.
    #[serde(default)]
    #[schema(value_type = Vec<schema::TesseraId>)]
    pub(crate) only_here: Vec<TesseraId>,
    /// What would be better than what is as asked.
    #[serde(default)]
    pub(crate) offer: Option<String>,
    /// Why it failed: the `type` of a problem.
    #[serde(default)]
    pub(crate) problem: Option<String>,
}

/// A tessera of which something is here for others, and stays.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Left {
    /// Which one.
    #[schema(value_type = schema::TesseraId)]
    pub(crate) tessera: TesseraId,
    /// How many bytes of it.
    pub(crate) bytes: u64,
    /// Why.
    pub(crate) reason: String,
}

/// How safe a tessera is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Guarantee {
    /// How many machines may be lost, whichever these are; absent when something is lost already, or was never kept by
    /// others.
    pub(crate) survives: Option<u16>,
    /// Of how many: nodes of one operator are one.
    pub(crate) machines: u16,
    /// The nodes that keep any of it.
    pub(crate) nodes: u16,
    /// Fragments beyond those that are needed, of the stripe that is worst off; negative when there are too few.
    pub(crate) margin: i32,
    /// Nodes that have proven lately that they have what they claim.
    pub(crate) proven_nodes: u16,
    /// The claim that is longest ago, in milliseconds since 1970.
    pub(crate) oldest_claim_ms: Option<i64>,
}

/// A node that keeps nothing of a tessera.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Turned {
    /// The node.
    #[schema(value_type = schema::NodeId)]
    pub(crate) node: NodeId,
    /// Why not.
    pub(crate) reason: String,
}

impl Replication {
    /// A job as it is written down, and how far it is if it is under way.
    pub(crate) fn new(job: ReplicationJob, progress: Option<replication::Progress>) -> Self {
        // What cannot be read was written by a later version.
        let told = job.told.and_then(|told| serde_json::from_str::<Told>(&told).ok());
        Self {
            id: job.id,
            tessera: (job.tessera != ReplicationJob::OF_NONE).then_some(job.tessera),
            state: job.state.into(),
            began_at_ms: job.began_at_ms,
            changed_at_ms: job.changed_at_ms,
            progress: progress.map(JobProgress::from),
            outcome: told.map(JobOutcome::from),
        }
    }
}

impl JobOutcome {
    /// Of a job of which nothing else is to be told than why it failed.
    pub(crate) fn failed(kind: Kind, sentence: String) -> Self {
        Self { sentence, problem: Some(kind.uri()), ..Self::default() }
    }

    /// Why it failed; [`Kind::Conflict`] where that was not written down, or is what only a later version knows.
    pub(crate) fn kind(&self) -> Kind {
        self.problem.as_deref().and_then(Kind::from_uri).unwrap_or(Kind::Conflict)
    }
}

impl From<storage::JobState> for JobState {
    fn from(state: storage::JobState) -> Self {
        match state {
            storage::JobState::Pending => Self::Pending,
            storage::JobState::Done => Self::Done,
            storage::JobState::Degraded => Self::Degraded,
            storage::JobState::Failed => Self::Failed,
            storage::JobState::Cancelled => Self::Cancelled,
        }
    }
}

impl From<replication::Progress> for JobProgress {
    fn from(progress: replication::Progress) -> Self {
        let step = match progress.step {
            replication::Step::Waiting => JobStep::Waiting,
            replication::Step::Asking => JobStep::Asking,
            replication::Step::Coding => JobStep::Coding,
            replication::Step::Sending => JobStep::Sending,
            replication::Step::Receiving => JobStep::Receiving,
            replication::Step::Finishing => JobStep::Finishing,
        };
        Self { step, done_bytes: progress.done_bytes, total_bytes: progress.total_bytes }
    }
}

impl From<Told> for JobOutcome {
    fn from(told: Told) -> Self {
        let turned = told.turned.into_iter();
        Self {
            sentence: told.sentence,
            guarantee: told.guarantee.map(Guarantee::from),
            asked: told.asked,
            remedies: told.remedies,
            turned: turned.map(|one| Turned { node: one.node, reason: one.reason }).collect(),
            left: told.left.into_iter().map(Left::from).collect(),
            only_here: told.only_here,
            offer: told.offer,
            problem: told.failure.map(|failure| Kind::from(failure).uri()),
        }
    }
}

impl From<replication::Failure> for Kind {
    fn from(failure: replication::Failure) -> Self {
        match failure {
            replication::Failure::Damaged => Self::Damaged,
            replication::Failure::NoRoom => Self::InsufficientStorage,
            replication::Failure::Io => Self::Io,
            replication::Failure::Newer => Self::NewerVersion,
            replication::Failure::Busy => Self::Busy,
            replication::Failure::NotFound => Self::NotFound,
            replication::Failure::Other => Self::Conflict,
        }
    }
}

impl From<replication::Left> for Left {
    fn from(left: replication::Left) -> Self {
        let replication::Left { tessera, bytes, reason } = left;
        Self { tessera, bytes, reason }
    }
}

impl From<replication::Guarantee> for Guarantee {
    fn from(guarantee: replication::Guarantee) -> Self {
        let replication::Guarantee { survives, machines, nodes, margin, proven_nodes, oldest_claim_ms } =
            guarantee;
        Self { survives, machines, nodes, margin, proven_nodes, oldest_claim_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn job_that_failed_ends_with_the_exit_code_of_why() {
        let check = |told: &str, exit: Exit| {
            let told = format!(
                r#"{{"sentence":"it failed","guarantee":null,"asked":null,"remedies":[],"turned":[]{told}}}"#
            );
            let outcome = JobOutcome::from(serde_json::from_str::<Told>(&told).unwrap());
            assert_eq!(outcome.kind().exit(), exit, "{told}");
        };
        check(r#","failure":"damaged""#, Exit::Damaged);
        check(r#","failure":"no_room""#, Exit::Io);
        check(r#","failure":"io""#, Exit::Io);
        check(r#","failure":"newer""#, Exit::BadConfig);
        check(r#","failure":"busy""#, Exit::Busy);
        check(r#","failure":"not_found""#, Exit::Failure);
        check(r#","failure":"what a later version knows""#, Exit::Failure);
        check("", Exit::Failure);
    }

    #[test]
    fn problem_of_a_job_is_the_type_of_one_that_is_served() {
        let outcome = JobOutcome::failed(Kind::from(replication::Failure::Damaged), "it failed".to_owned());
        assert_eq!(outcome.problem.as_deref(), Some("urn:tesseras:problem:damaged"));
        let newer = JobOutcome { problem: Some("urn:tesseras:problem:new".to_owned()), ..outcome };
        assert_eq!(newer.kind(), Kind::Conflict);
    }
}

//! `/v1/jobs` and `POST /v1/tesseras/{id}/publish`: what this node does about tesserae with others, and what waits to be
//! mended.

use std::{collections::BTreeMap, sync::Arc};

use actors::storage::{JobState, Jobs, ReplicationJob, Which};
use axum::{Json, extract::State, http::StatusCode};
use proto::{Checksum, TesseraId};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    Node,
    extract::{InPath, InQuery},
};
use crate::{
    api,
    jobs::JobId,
    problem::{Kind, Problem},
    schema::{OfJob, OfTessera},
};

/// What is done about tesserae with other nodes, the newest first: what is not finished and comes next, and what was asked for
/// last. Then damaged fragments and documents that wait to be mended, the longest first. At most 1,000 of each
#[utoipa::path(
    get, path = "/v1/jobs", operation_id = "list_jobs", tag = "node",
    responses(
        (status = 200, description = "What is done, was done, or waits", body = Vec<api::Job>),
    )
)]
pub(super) async fn list(State(node): State<Arc<Node>>) -> Result<Json<Vec<api::Job>>, Problem> {
    let (records, mut jobs) = (node.system.storage.records(), Vec::new());
    let pending = records.replication_jobs(Jobs::Pending).await?.into_iter().take(JOBS_MAX as usize);
    let last = records.replication_jobs(Jobs::Last(JOBS_MAX)).await?;
    let all: BTreeMap<_, _> = pending.chain(last).map(|job| (job.id, job)).collect();
    for job in all.into_values().rev() {
        jobs.push(replication(&node, job).await?);
    }
    let damaged = node.system.storage.jobs(JOBS_MAX).await?;
    jobs.extend(damaged.into_iter().map(|job| api::Job::Mend(job.into())));
    Ok(Json(jobs))
}

/// One of them, by its number, or by the checksum of what is damaged
#[utoipa::path(
    get, path = "/v1/jobs/{id}", operation_id = "show_job", tag = "node",
    params(OfJob),
    responses(
        (status = 200, description = "How it stands", body = api::Job),
    )
)]
pub(super) async fn show(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<JobId>,
) -> Result<Json<api::Job>, Problem> {
    let job = match id {
        JobId::Number(number) => replication(&node, numbered(&node, number).await?).await?,
        JobId::Checksum(checksum) => api::Job::Mend(waiting(&node, checksum).await?),
    };
    Ok(Json(job))
}

/// Gives a job up, by its number; what was sent stays where it is
#[utoipa::path(
    delete, path = "/v1/jobs/{id}", operation_id = "cancel_job", tag = "node",
    params(OfJob),
    responses(
        (status = 204, description = "It was given up"),
    )
)]
pub(super) async fn cancel(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<JobId>,
) -> Result<StatusCode, Problem> {
    let number = match id {
        JobId::Number(number) => number,
        JobId::Checksum(checksum) => {
            waiting(&node, checksum).await?;
            let detail = "what is damaged stays so until it is mended: that cannot be given up";
            return Err(Problem::new(Kind::Conflict, detail));
        }
    };
    numbered(&node, number).await?;
    if node.system.replication.cancel(number).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::new(Kind::Conflict, format!("job {number} has ended already")))
    }
}

/// Has other nodes keep a tessera
///
/// The answer is the job, which goes on by itself, after a restart too. While it is not finished, asking again gives the same.
#[utoipa::path(
    post, path = "/v1/tesseras/{id}/publish", operation_id = "publish_tessera", tag = "tesserae",
    params(OfTessera, PublishQuery),
    responses(
        (status = 202, description = "It is written down and begins", body = api::Job),
    )
)]
pub(super) async fn publish(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<TesseraId>,
    InQuery(query): InQuery<PublishQuery>,
) -> Result<(StatusCode, Json<api::Job>), Problem> {
    node.system.storage.records().tessera(id).await?;
    let job = match query.relayout {
        true => node.system.replication.relayout(id).await?,
        false => node.system.replication.publish(id).await?,
    };
    tracing::info!(tessera = %id, job = job.id, "it is being given to other nodes");
    Ok((StatusCode::ACCEPTED, Json(replication(&node, job).await?)))
}

/// Brings a tessera here that other nodes keep
///
/// The answer is the job, which goes on by itself, after a restart too. While it is not finished, asking again gives the same.
#[utoipa::path(
    post, path = "/v1/tesseras/{id}/fetch", operation_id = "fetch_tessera", tag = "tesserae",
    params(OfTessera),
    responses(
        (status = 202, description = "It is written down and begins", body = api::Job),
    )
)]
pub(super) async fn fetch(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<TesseraId>,
) -> Result<(StatusCode, Json<api::Job>), Problem> {
    let job = node.system.replication.fetch(id).await?;
    tracing::info!(tessera = %id, job = job.id, "it is being brought here");
    Ok((StatusCode::ACCEPTED, Json(replication(&node, job).await?)))
}

/// Has what other nodes have lost of a tessera rebuilt
///
/// All its holders are asked what they have. The answer is the job, which goes on by itself, after a restart too. While it is
/// not finished, asking again gives the same.
#[utoipa::path(
    post, path = "/v1/tesseras/{id}/repair", operation_id = "repair_tessera", tag = "tesserae",
    params(OfTessera),
    responses(
        (status = 202, description = "It is written down and begins", body = api::Job),
    )
)]
pub(super) async fn repair(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<TesseraId>,
) -> Result<(StatusCode, Json<api::Job>), Problem> {
    node.system.storage.records().tessera(id).await?;
    let job = node.system.replication.repair(id).await?;
    tracing::info!(tessera = %id, job = job.id, "it is being mended");
    Ok((StatusCode::ACCEPTED, Json(replication(&node, job).await?)))
}

/// Has what other nodes have lost rebuilt, of every tessera that this node looks after
///
/// Else they are looked at one after another, each in its time. The answer is a job for each.
#[utoipa::path(
    post, path = "/v1/repair", operation_id = "repair_all", tag = "node",
    responses(
        (status = 202, description = "They are written down and begin", body = Vec<api::Job>),
    )
)]
pub(super) async fn repair_all(
    State(node): State<Arc<Node>>,
) -> Result<(StatusCode, Json<Vec<api::Job>>), Problem> {
    let (mut jobs, mut last) = (Vec::new(), None);
    loop {
        let watched = node.system.storage.records().watched(Which::After(last, PAGE)).await?;
        let Some(behind) = watched.last().map(|one| one.tessera) else { break };
        last = Some(behind);
        for one in watched.iter().filter(|one| one.is_looked_after()) {
            let job = node.system.replication.repair(one.tessera).await?;
            jobs.push(replication(&node, job).await?);
        }
    }
    tracing::info!(jobs = jobs.len(), "all that others keep is being mended");
    Ok((StatusCode::ACCEPTED, Json(jobs)))
}

/// Takes a tessera back, for ever: every node that keeps any of it is told to drop it
///
/// Nodes that are not there are told later, by itself. The copy here stays. The answer is the job.
#[utoipa::path(
    post, path = "/v1/tesseras/{id}/retract", operation_id = "retract_tessera", tag = "tesserae",
    params(OfTessera),
    responses(
        (status = 202, description = "It is written down and begins", body = api::Job),
    )
)]
pub(super) async fn retract(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<TesseraId>,
) -> Result<(StatusCode, Json<api::Job>), Problem> {
    let job = node.system.replication.retract(id).await?;
    tracing::info!(tessera = %id, job = job.id, "it is being taken back");
    Ok((StatusCode::ACCEPTED, Json(replication(&node, job).await?)))
}

/// Brings somebody else's tessera here and looks after it from then on
///
/// Forgetting it ends that. The answer is the job, which goes on by itself, after a restart too.
#[utoipa::path(
    post, path = "/v1/tesseras/{id}/adopt", operation_id = "adopt_tessera", tag = "tesserae",
    params(OfTessera),
    responses(
        (status = 202, description = "It is written down and begins", body = api::Job),
    )
)]
pub(super) async fn adopt(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<TesseraId>,
) -> Result<(StatusCode, Json<api::Job>), Problem> {
    let job = node.system.replication.adopt(id).await?;
    tracing::info!(tessera = %id, job = job.id, "it is being adopted");
    Ok((StatusCode::ACCEPTED, Json(replication(&node, job).await?)))
}

/// How a tessera is given to other nodes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PublishQuery {
    /// Under another layout than before, if another fits the number of machines better.
    #[serde(default)]
    relayout: bool,
}

pub(super) async fn replication(node: &Node, job: ReplicationJob) -> Result<api::Job, Problem> {
    let progress = match job.state {
        JobState::Pending => node.system.replication.watch(job.id).await?,
        _ => None,
    };
    let progress = progress.map(|progress| *progress.borrow());
    Ok(api::Job::replication(job.kind, api::Replication::new(job, progress)))
}

async fn numbered(node: &Node, number: u64) -> Result<ReplicationJob, Problem> {
    let jobs = node.system.storage.records().replication_jobs(Jobs::One(number)).await?;
    let absent = || Problem::new(Kind::NotFound, format!("there is no job {number}: `jobs` lists them"));
    jobs.into_iter().next().ok_or_else(absent)
}

async fn waiting(node: &Node, checksum: Checksum) -> Result<api::Mend, Problem> {
    let job = node.system.storage.job(checksum).await?;
    let absent = || {
        Problem::new(
            Kind::NotFound,
            format!("nothing waits for {checksum}: it was mended, or never was damaged"),
        )
    };
    job.map(api::Mend::from).ok_or_else(absent)
}

const JOBS_MAX: u32 = 1000;
const PAGE: u32 = 1000;

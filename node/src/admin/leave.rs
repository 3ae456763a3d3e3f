//! `/v1/leave`: handing over what is kept for others, before this node goes.

use std::sync::Arc;

use actors::storage::{JobKind, Jobs, ReplicationJob};
use axum::{Json, extract::State, http::StatusCode};

use super::{Node, jobs::replication};
use crate::{
    api,
    problem::{Kind, Problem},
};

/// Whether this node hands over what it keeps for others, and how far that is
#[utoipa::path(
    get, path = "/v1/leave", operation_id = "show_leave", tag = "node",
    responses(
        (status = 200, description = "Since when, and the last job of it", body = api::Leave),
    )
)]
pub(super) async fn show(State(node): State<Arc<Node>>) -> Result<Json<api::Leave>, Problem> {
    let records = node.system.storage.records();
    let last = records.replication_jobs(Jobs::Last(JOBS_LOOKED_AT)).await?;
    let job = match last.into_iter().find(is_leave) {
        Some(job) => Some(replication(&node, job).await?),
        None => None,
    };
    Ok(Json(api::Leave { leaving_since_ms: records.leaving_since().await?, job }))
}

/// Hands over to other nodes what is kept here for others, and takes nothing new from now on
///
/// That stays so, over restarts, until it is taken back. The answer is the job, which goes on by itself, after a restart too.
#[utoipa::path(
    post, path = "/v1/leave", operation_id = "leave", tag = "node",
    responses(
        (status = 202, description = "It is written down and begins", body = api::Job),
    )
)]
pub(super) async fn begin(State(node): State<Arc<Node>>) -> Result<(StatusCode, Json<api::Job>), Problem> {
    node.system.peers.set_leaving(true).await?;
    let job = node.system.replication.leave().await?;
    tracing::info!(job = job.id, "what is kept for others is being handed over");
    Ok((StatusCode::ACCEPTED, Json(replication(&node, job).await?)))
}

/// Stays: takes again what others bring; what was handed over stays where it is now
#[utoipa::path(
    delete, path = "/v1/leave", operation_id = "stay", tag = "node",
    responses(
        (status = 204, description = "This node stays"),
    )
)]
pub(super) async fn end(State(node): State<Arc<Node>>) -> Result<StatusCode, Problem> {
    let records = node.system.storage.records();
    if records.leaving_since().await?.is_none() {
        return Err(Problem::new(Kind::Conflict, "this node is not leaving"));
    }
    // First what would begin anew, then what says that it is to.
    for job in records.replication_jobs(Jobs::Pending).await?.iter().filter(|job| is_leave(job)) {
        node.system.replication.cancel(job.id).await?;
    }
    node.system.peers.set_leaving(false).await?;
    tracing::info!("this node stays");
    Ok(StatusCode::NO_CONTENT)
}

fn is_leave(job: &ReplicationJob) -> bool {
    job.kind == JobKind::Leave
}

/// Jobs among which the last of it is looked for.
const JOBS_LOOKED_AT: u32 = 1000;

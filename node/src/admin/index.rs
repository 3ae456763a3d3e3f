//! `/v1/index/rebuild` and `/v1/index/snapshot`: the index, made anew, and what only it knows, kept aside.

use std::sync::Arc;

use actors::{ActorError, storage::old_index};
use axum::{Json, extract::State, http::StatusCode};

use super::Node;
use crate::{api, problem::Problem};

/// The index is set aside and made anew from the segments
///
/// What only the index knows is kept aside before, if it can be read, and the new one gets it back. Until that is done,
/// whatever needs the index is the problem `restarting`; then `/v1/status` says `rebuilt`.
#[utoipa::path(
    post, path = "/v1/index/rebuild", operation_id = "rebuild_index", tag = "node",
    responses(
        (status = 202, description = "It is being made anew", body = api::Rebuilding),
    )
)]
pub(super) async fn rebuild(
    State(node): State<Arc<Node>>,
) -> Result<(StatusCode, Json<api::Rebuilding>), Problem> {
    let restarts = node
        .system
        .standing
        .borrow()
        .actors
        .iter()
        .find(|actor| actor.name == STORAGE)
        .map_or(0, |actor| actor.restarts);
    let storage = &node.system.storage;
    let kept = storage.snapshot().await;
    let old_index = match storage.rebuild_index("asked for on the admin socket").await {
        // Whoever finds the index damaged makes it anew, unasked.
        Err(ActorError::Restarting { .. }) if kept.as_ref().is_err_and(ActorError::is_damaged_index) => {
            old_index(&node.data_dir)
        }
        asked => asked?,
    };
    let (snapshot, no_snapshot) = match kept {
        Ok(file) => (Some(file.display().to_string()), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let old_index = old_index.display().to_string();
    Ok((StatusCode::ACCEPTED, Json(api::Rebuilding { old_index, snapshot, no_snapshot, restarts })))
}

/// What only the index knows is kept aside now
///
/// It is by itself, too, every `storage.snapshot_interval`. When nothing has changed since, it is as it was.
#[utoipa::path(
    post, path = "/v1/index/snapshot", operation_id = "snapshot_index", tag = "node",
    responses(
        (status = 200, description = "It is kept", body = api::Snapshot),
    )
)]
pub(super) async fn snapshot(State(node): State<Arc<Node>>) -> Result<Json<api::Snapshot>, Problem> {
    let file = node.system.storage.snapshot().await?.display().to_string();
    Ok(Json(api::Snapshot { file }))
}

const STORAGE: &str = actors::storage::NAME;

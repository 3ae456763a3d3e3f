//! `/v1/status`, `/v1/actors` and `/v1/shutdown`: the node as a whole.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use super::Node;
use crate::{api, problem::Problem};

/// Who this node is, and how much it stores
#[utoipa::path(
    get, path = "/v1/status", operation_id = "status", tag = "node",
    responses(
        (status = 200, description = "How it fares", body = api::Status),
    )
)]
pub(super) async fn status(State(node): State<Arc<Node>>) -> Result<Json<api::Status>, Problem> {
    let usage = node.system.storage.usage().await?;
    let scrub = node.system.scrub.status().await?.into();
    // That the pool does not answer keeps nobody from what else there is.
    let pool = node.system.pool.status().await;
    let listens_at = node.network.listen_addr.map(|_| node.system.pool.address());
    Ok(Json(api::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: node.keys.node.id(),
        author: node.keys.author.id(),
        recipient: node.keys.author.recipient().to_string(),
        data_dir: node.data_dir.display().to_string(),
        uptime_secs: node.started.elapsed().as_secs(),
        storage: usage.into(),
        scrub,
        network: api::Network::new(&node.system, pool.as_ref().ok(), listens_at),
        leaving_since_ms: node.system.peers.book().leaving_since_ms,
        metrics_trouble: node.not_watched.borrow().clone(),
    }))
}

/// Every actor, and how it fares
#[utoipa::path(
    get, path = "/v1/actors", operation_id = "actors", tag = "node",
    responses(
        (status = 200, description = "In the order in which they are started", body = Vec<api::Actor>),
    )
)]
pub(super) async fn actors(State(node): State<Arc<Node>>) -> Json<Vec<api::Actor>> {
    let standing = node.system.standing.borrow().clone();
    let waiting = node.system.waiting();
    let load = |name| waiting.iter().find(|(actor, _)| *actor == name).map_or(0, |(_, waiting)| *waiting);
    Json(standing.actors.into_iter().map(|actor| api::Actor::new(load(actor.name), actor)).collect())
}

/// Ends the daemon as SIGTERM does
#[utoipa::path(
    post, path = "/v1/shutdown", operation_id = "shutdown", tag = "node",
    responses(
        (status = 202, description = "It is stopping"),
    )
)]
pub(super) async fn shutdown(State(node): State<Arc<Node>>) -> StatusCode {
    node.stop.cancel();
    StatusCode::ACCEPTED
}

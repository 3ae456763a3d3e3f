//! `/v1/config` and `/v1/config/reload`: the settings.

use std::sync::Arc;

use axum::{Json, extract::State};

use super::Node;
use crate::{api, problem::Problem};

/// Every setting: what is in force, and what waits for a restart
#[utoipa::path(
    get, path = "/v1/config", operation_id = "config", tag = "node",
    responses(
        (status = 200, description = "With where each came from", body = Vec<api::Setting>),
    )
)]
pub(super) async fn show(State(node): State<Arc<Node>>) -> Json<Vec<api::Setting>> {
    Json(node.reload.settings())
}

/// Reads the settings again, as SIGHUP does; if anything is wrong nothing changes
#[utoipa::path(
    post, path = "/v1/config/reload", operation_id = "reload_config", tag = "node",
    responses(
        (status = 200, description = "What has changed", body = api::Reloaded),
    )
)]
pub(super) async fn reload(State(node): State<Arc<Node>>) -> Result<Json<api::Reloaded>, Problem> {
    node.reload.run("a request").await.map(Json)
}

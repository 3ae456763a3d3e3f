//! `/v1/config` and `/v1/config/reload`: the settings.

use std::sync::Arc;

use axum::{Json, extract::State};

use super::Node;
use crate::{api, problem::Problem};

/// Every setting: what is in force, and what waits for a restart.
pub(super) async fn show(State(node): State<Arc<Node>>) -> Json<Vec<api::Setting>> {
    Json(node.reload.settings())
}

/// Reads the settings again, as SIGHUP does. If anything is wrong nothing changes.
pub(super) async fn reload(State(node): State<Arc<Node>>) -> Result<Json<api::Reloaded>, Problem> {
    node.reload.run("a request").await.map(Json)
}

//! `/v1/pool`: the connections with other nodes.

use std::sync::Arc;

use axum::{Json, extract::State};

use super::Node;
use crate::{api, problem::Problem};

/// The connections with other nodes, and who could not be reached
#[utoipa::path(
    get, path = "/v1/pool", operation_id = "pool", tag = "nodes",
    responses(
        (status = 200, description = "What there is", body = api::Pool),
    )
)]
pub(super) async fn pool(State(node): State<Arc<Node>>) -> Result<Json<api::Pool>, Problem> {
    Ok(Json(node.system.pool.status().await?.into()))
}

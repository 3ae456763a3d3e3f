//! `/v1/blocked`: of what, and of whom, nothing is accepted.

use std::sync::Arc;

use actors::ActorError;
use axum::{Json, extract::State, http::StatusCode};
use proto::{AccountId, TesseraId};

use super::{
    Node,
    extract::{InBody, InPath},
};
use crate::{
    api::{self, Happening},
    network::reason,
    problem::{Kind, Problem},
    schema::OfBlock,
};

/// What is blocked, the first first
#[utoipa::path(
    get, path = "/v1/blocked", operation_id = "list_blocked", tag = "nodes",
    responses(
        (status = 200, description = "What, since when, and why", body = Vec<api::Block>),
    )
)]
pub(super) async fn list(State(node): State<Arc<Node>>) -> Result<Json<Vec<api::Block>>, Problem> {
    let blocks = node.system.storage.records().blocks().await?;
    Ok(Json(blocks.into_iter().map(api::Block::from).collect()))
}

/// Accepts nothing any more of a tessera, and drops what is here; or has nothing to do with a node
#[utoipa::path(
    post, path = "/v1/blocked", operation_id = "block", tag = "nodes",
    request_body = api::NewBlock,
    responses(
        (status = 201, description = "It is blocked", body = api::Block),
    )
)]
pub(super) async fn block(
    State(node): State<Arc<Node>>,
    InBody(new): InBody<api::NewBlock>,
) -> Result<(StatusCode, Json<api::Block>), Problem> {
    let what: api::Blocked = new.id.parse()?;
    let reason = reason(&new.reason).map_err(|wrong| Problem::new(Kind::BadRequest, wrong))?;
    if matches!(what, api::Blocked::Node { id } if id == node.keys.node.id()) {
        return Err(Problem::new(Kind::Refused, "that is this node itself"));
    }
    if let api::Blocked::Tessera { id } = what {
        refuse_own(&node, id).await?;
    }
    // From here on nothing more of it comes.
    let at_ms = node.system.peers.block(what.into(), reason.clone()).await?;
    node.events.tell(Happening::Blocked { what, reason: reason.clone() });
    if let api::Blocked::Tessera { id } = what
        && node.system.drop_for_all(id).await? > 0
    {
        node.events.tell(Happening::TesseraForgotten { id });
    }
    Ok((StatusCode::CREATED, Json(api::Block { what, reason, at_ms })))
}

/// Refuses what is blocked here, with the reason that was given.
pub(super) fn refuse_blocked(node: &Node, id: TesseraId) -> Result<(), Problem> {
    match node.system.peers.book().blocked_tesseras.get(&id) {
        None => Ok(()),
        Some(reason) => {
            let detail = format!("{id} is blocked here ({reason}): `unblock` it first");
            Err(Problem::new(Kind::Blocked, detail))
        }
    }
}

/// What somebody keeps here for themselves is not dropped by the way.
async fn refuse_own(node: &Node, id: TesseraId) -> Result<(), Problem> {
    match node.system.storage.records().keepers(id).await?.contains(&AccountId::LOCAL) {
        false => Ok(()),
        true => {
            let detail =
                format!("{id} is kept here by this node's own wish: `forget` it first, and then block it");
            Err(Problem::new(Kind::Refused, detail))
        }
    }
}

/// Blocks it no longer
#[utoipa::path(
    delete, path = "/v1/blocked/{id}", operation_id = "unblock", tag = "nodes",
    params(OfBlock),
    responses(
        (status = 204, description = "It is not blocked any more"),
    )
)]
pub(super) async fn unblock(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<String>,
) -> Result<StatusCode, Problem> {
    let what: api::Blocked = id.parse()?;
    node.system.peers.unblock(what.into()).await.map_err(|error| match error {
        ActorError::NotFound { .. } => Problem::new(Kind::NotFound, format!("{what} is not blocked")),
        error => error.into(),
    })?;
    node.events.tell(Happening::Unblocked { what });
    Ok(StatusCode::NO_CONTENT)
}

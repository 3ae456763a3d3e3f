//! `POST /v1/recover`: brings back what this node's author has published.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use super::{Node, extract::InBody, peers};
use crate::{
    api::{self, Happening},
    problem::Problem,
};

/// Brings everything here that other nodes keep of this node's author
///
/// The nodes that are named are peers from then on; all that are known are asked, and those whom these know. What is not here is
/// fetched by jobs that go on by themselves, after a restart too.
#[utoipa::path(
    post, path = "/v1/recover", operation_id = "recover", tag = "tesserae",
    request_body = api::Recover,
    responses(
        (status = 202, description = "What was found, and the jobs that fetch it", body = api::Recovering),
    )
)]
pub(super) async fn recover(
    State(node): State<Arc<Node>>,
    InBody(recover): InBody<api::Recover>,
) -> Result<(StatusCode, Json<api::Recovering>), Problem> {
    for asked in &recover.peers {
        let addresses = peers::addresses(&asked.addresses)?;
        node.system.peers.add(asked.node, &addresses, None, None).await?;
        node.events.tell(Happening::PeerAdded { node: asked.node });
    }
    let recovering = node.system.replication.recover().await?;
    let tesseras =
        recovering.tesseras.into_iter().map(|(tessera, job)| api::Found { tessera, job }).collect();
    let asked = recovering.asked.into_iter().map(|one| api::Answered {
        node: one.node,
        tesseras: one.kept.as_ref().ok().copied(),
        reason: one.kept.err(),
    });
    let asked = asked.collect();
    let found = api::Recovering { author: node.keys.author.id(), tesseras, asked };
    tracing::info!(tesseras = found.tesseras.len(), "what the author has published is brought here");
    Ok((StatusCode::ACCEPTED, Json(found)))
}

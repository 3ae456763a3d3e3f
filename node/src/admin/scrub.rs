//! `/v1/scrub`: how verifying what is stored stands, and having it begin or wait.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Node, extract::InQuery};
use crate::{api, problem::Problem};

/// How long.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Span {
    /// In seconds; a day if absent.
    #[serde(default = "a_day")]
    secs: u64,
}

/// How old verifications are, and what was found
#[utoipa::path(
    get, path = "/v1/scrub", operation_id = "scrub", tag = "node",
    responses(
        (status = 200, description = "How verifying what is stored stands", body = api::Scrub),
    )
)]
pub(super) async fn status(State(node): State<Arc<Node>>) -> Result<Json<api::Scrub>, Problem> {
    Ok(Json(node.system.scrub.status().await?.into()))
}

/// Everything that is stored now is verified next; a pause ends
#[utoipa::path(
    post, path = "/v1/scrub/start", operation_id = "start_scrub", tag = "node",
    responses(
        (status = 200, description = "How it stands then", body = api::Scrub),
    )
)]
pub(super) async fn start(State(node): State<Arc<Node>>) -> Result<Json<api::Scrub>, Problem> {
    let scrub = node.system.scrub.start().await?;
    node.events.tell(api::Happening::ScrubStarted);
    Ok(Json(scrub.into()))
}

/// Nothing is verified for a while
#[utoipa::path(
    post, path = "/v1/scrub/pause", operation_id = "pause_scrub", tag = "node",
    params(Span),
    responses(
        (status = 200, description = "How it stands then", body = api::Scrub),
    )
)]
pub(super) async fn pause(
    State(node): State<Arc<Node>>,
    InQuery(span): InQuery<Span>,
) -> Result<Json<api::Scrub>, Problem> {
    let scrub = node.system.scrub.pause(Duration::from_secs(span.secs)).await?;
    node.events.tell(api::Happening::ScrubPaused { secs: span.secs });
    Ok(Json(scrub.into()))
}

/// Whoever pauses it may forget to start it again.
fn a_day() -> u64 {
    86_400
}

//! `/v1/scrub`: how verifying what is stored stands, and having it begin or wait.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use serde::Deserialize;

use super::{Node, extract::InQuery};
use crate::{api, problem::Problem};

/// How long.
#[derive(Debug, Deserialize)]
pub(super) struct Span {
    /// In seconds; a day if absent.
    #[serde(default = "a_day")]
    secs: u64,
}

/// How it stands.
pub(super) async fn status(State(node): State<Arc<Node>>) -> Result<Json<api::Scrub>, Problem> {
    Ok(Json(node.system.scrub.status().await?.into()))
}

/// Everything that is stored now is verified next; a pause ends.
pub(super) async fn start(State(node): State<Arc<Node>>) -> Result<Json<api::Scrub>, Problem> {
    Ok(Json(node.system.scrub.start().await?.into()))
}

/// Nothing is verified for a while.
pub(super) async fn pause(
    State(node): State<Arc<Node>>,
    InQuery(span): InQuery<Span>,
) -> Result<Json<api::Scrub>, Problem> {
    Ok(Json(node.system.scrub.pause(Duration::from_secs(span.secs)).await?.into()))
}

/// Whoever pauses it may forget to start it again.
fn a_day() -> u64 {
    86_400
}

//! `POST /v1/tesseras/{id}/verify`: reads everything back and says what is right. The answer is one report or, for
//! whoever accepts `application/x-ndjson`, a line for each step and the report as the last one.

use std::{convert::Infallible, sync::Arc};

use actors::archive::{VerifyReport, verify as read_back};
use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::stream;
use proto::TesseraId;
use tokio::sync::mpsc;

use super::{Node, content::READ_BYTES, extract::InPath, memory::Reserved};
use crate::{api, problem::Problem, schema::OfTessera};

/// Reads a tessera back and says what is right
///
/// For whoever accepts lines there is one for each step, and the report as the last one.
#[utoipa::path(
    post, path = "/v1/tesseras/{id}/verify", operation_id = "verify_tessera", tag = "tesserae",
    params(OfTessera),
    responses(
        (status = 200, description = "What was found", content(
            (api::Verified = "application/json"),
            (api::VerifyStep = "application/x-ndjson"),
        )),
    )
)]
pub(super) async fn verify(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<TesseraId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let reserved = node.memory.reserve(READ_BYTES).await?;
    // Not the cache, which answers for bytes that it read long ago.
    let storage = node.system.storage.clone();
    if headers.get(header::ACCEPT).is_none_or(|kind| kind != api::LINES) {
        let report = read_back(storage, id, |_| {}).await?;
        return Ok(Json(api::Verified::from(report)).into_response());
    }
    let (lines, mut received) = mpsc::channel(LINES_WAITING);
    tokio::spawn(step_by_step(node, id, lines, reserved));
    let lines = stream::poll_fn(move |context| received.poll_recv(context));
    let body = Body::from_stream(futures::StreamExt::map(lines, Ok::<Bytes, Infallible>));
    Ok(([(header::CONTENT_TYPE, api::LINES)], body).into_response())
}

/// Verifies for as long as somebody listens.
async fn step_by_step(node: Arc<Node>, id: TesseraId, lines: mpsc::Sender<Bytes>, reserved: Reserved) {
    let progress = |report: &VerifyReport| {
        let done = report.ok + report.missing + report.damaged;
        // A listener that has not read the line before needs no other.
        let _ = lines.try_send(line(&api::VerifyStep::Progress { done, fragments: report.fragments }));
    };
    let outcome = tokio::select! {
        outcome = read_back(node.system.storage.clone(), id, progress) => outcome,
        () = lines.closed() => return,
    };
    let last = match outcome {
        Ok(report) => api::VerifyStep::Report(report.into()),
        Err(error) => api::VerifyStep::Problem(error.into()),
    };
    drop(reserved);
    // Whoever is gone does not need it.
    let _ = lines.send(line(&last)).await;
}

fn line(step: &api::VerifyStep) -> Bytes {
    let mut line = serde_json::to_vec(step).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

const LINES_WAITING: usize = 2;

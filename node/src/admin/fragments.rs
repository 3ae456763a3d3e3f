//! `/v1/tesseras/{id}/fragments`: fragments one by one, for those who look under the floor.

use std::sync::Arc;

use actors::{FragmentStore, PutOutcome};
use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
};
use proto::{AccountId, Fragment, FragmentId, TesseraId, limits::FRAGMENT_BYTES_MAX};
use serde::Deserialize;

use super::{
    Node, body,
    content::BYTES,
    extract::{InPath, InQuery},
    unchanging::Unchanging,
};
use crate::{
    api,
    problem::{Kind, Problem},
};

/// Which fragments to list.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    stripe: u32,
    #[serde(default)]
    index: u16,
    limit: Option<u32>,
}

/// What the index says of a tessera's fragments. No blob is read.
pub(super) async fn list(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<TesseraId>,
    InQuery(which): InQuery<Which>,
) -> Result<Json<api::FragmentPage>, Problem> {
    let limit = which.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let door = node.system.storage.checksums_door();
    let mut rows = door.checksums(id, (which.stripe, which.index), limit.saturating_add(1)).await?;
    if rows.is_empty() {
        // Nothing from here on: the end of a list, or a tessera that is not here.
        node.system.storage.records().tessera(id).await?;
    }
    let next = if rows.len() > limit as usize { rows.pop().map(|row| (row.stripe, row.index)) } else { None };
    Ok(Json(api::FragmentPage { fragments: rows.into_iter().map(api::FragmentRow::from).collect(), next }))
}

/// The bytes of a fragment.
pub(super) async fn get(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<(TesseraId, u32, u16)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let reserved = node.memory.reserve(FRAGMENT_BYTES_MAX).await?;
    let fragment = node.system.cache.get(fragment_id(id)).await?;
    let (checksum, bytes) = (fragment.checksum(), reserved.until_dropped(fragment.into_bytes()));
    let unchanging = Unchanging::new(checksum, bytes.len() as u64, BYTES);
    Ok(unchanging.answer(&method, &headers, |part| Body::from(part.of(&bytes))))
}

/// Keeps a fragment for this node itself.
pub(super) async fn put(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<(TesseraId, u32, u16)>,
    body: Body,
) -> Result<Response, Problem> {
    let _reserved = node.memory.reserve(FRAGMENT_BYTES_MAX).await?;
    let bytes = body::whole(body, FRAGMENT_BYTES_MAX).await?;
    if bytes.is_empty() {
        // It could be kept, but never be claimed nor belong to any layout.
        let detail = format!("the body is empty: a fragment has from 1 to {FRAGMENT_BYTES_MAX} bytes");
        return Err(Problem::new(Kind::BadRequest, detail));
    }
    let fragment = Fragment::hash(bytes)?;
    let checksum = fragment.checksum();
    let held = node.system.cache.put(AccountId::LOCAL, fragment_id(id), fragment).await? == PutOutcome::Held;
    let status = if held { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(api::Put { checksum, held })).into_response())
}

/// This node itself no longer wants the fragment.
pub(super) async fn drop(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<(TesseraId, u32, u16)>,
) -> Result<StatusCode, Problem> {
    node.system.cache.drop_fragment(AccountId::LOCAL, fragment_id(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn fragment_id((tessera, stripe, index): (TesseraId, u32, u16)) -> FragmentId {
    FragmentId { tessera, stripe, index }
}

/// The most fragments in one page.
const PAGE_MAX: u32 = 1000;

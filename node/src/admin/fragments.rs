//! `/v1/tesseras/{id}/fragments`: fragments one by one, for those who look under the floor.

use std::{convert::Infallible, sync::Arc};

use actors::{
    FragmentStore, PutOutcome,
    archive::{Named, named},
};
use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, stream};
use proto::{AccountId, Checksum, Fragment, FragmentId, TesseraId, limits::FRAGMENT_BYTES_MAX};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    Node, blocked, body,
    content::BYTES,
    extract::{InPath, InQuery},
    outgoing,
    unchanging::Unchanging,
};
use crate::{
    api,
    problem::{Kind, Problem},
    schema::{self, OfFragment, OfTessera},
};

/// Which fragments to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// From this stripe on.
    #[serde(default)]
    stripe: u32,
    /// In that stripe, from this place on.
    #[serde(default)]
    index: u16,
    /// At most so many.
    limit: Option<u32>,
}

/// What the index says of the fragments of a tessera; no blob is read
#[utoipa::path(
    get, path = "/v1/tesseras/{id}/fragments", operation_id = "list_fragments", tag = "fragments",
    params(OfTessera, Which),
    responses(
        (status = 200, description = "One page", body = api::FragmentPage),
    )
)]
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

/// The bytes of a fragment
#[utoipa::path(
    get,
    path = "/v1/tesseras/{id}/fragments/{stripe}/{index}",
    operation_id = "read_fragment",
    tag = "fragments",
    params(OfFragment, schema::OfPart),
    responses(schema::BytesInParts)
)]
pub(super) async fn get(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<(TesseraId, u32, u16)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let reserved = node.memory.reserve(FRAGMENT_BYTES_MAX).await?;
    let fragment = node.system.cache.get(fragment_id(id)).await?;
    let (checksum, bytes) = (fragment.checksum(), fragment.into_bytes());
    let unchanging = Unchanging::new(checksum, bytes.len() as u64, BYTES);
    Ok(unchanging.answer(&method, &headers, |part| {
        let again = move |sent| {
            let node = Arc::clone(&node);
            async move {
                let fragment = node.system.cache.get(fragment_id(id)).await?;
                Ok(pieces(part.behind(sent).of(&fragment.into_bytes())))
            }
        };
        outgoing::body(pieces(part.of(&bytes)), again, reserved)
    }))
}

/// Keeps a fragment for this node itself
#[utoipa::path(
    put, path = "/v1/tesseras/{id}/fragments/{stripe}/{index}", operation_id = "keep_fragment", tag = "fragments",
    params(OfFragment),
    request_body(
        content = schema::Bytes, content_type = "application/octet-stream",
        description = "From 1 byte to 1 MiB",
    ),
    responses(
        (status = 200, description = "It was here already", body = api::Put),
        (status = 201, description = "It is kept", body = api::Put),
    )
)]
pub(super) async fn put(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<(TesseraId, u32, u16)>,
    body: Body,
) -> Result<Response, Problem> {
    blocked::refuse_blocked(&node, id.0)?;
    let body = body::begun(body).await?;
    let reserved = node.memory.reserve(FRAGMENT_BYTES_MAX).await?;
    let bytes = body::whole(body, FRAGMENT_BYTES_MAX, &reserved.pace(body::PATIENCE)).await?;
    if bytes.is_empty() {
        // It could be kept, but never be claimed nor belong to any layout.
        let detail = format!("the body is empty: a fragment has from 1 to {FRAGMENT_BYTES_MAX} bytes");
        return Err(Problem::new(Kind::BadRequest, detail));
    }
    let fragment = Fragment::hash_to_keep(bytes)?;
    let checksum = fragment.checksum();
    belongs(&node, fragment_id(id), checksum).await?;
    let held = node.system.cache.put(AccountId::LOCAL, fragment_id(id), fragment).await? == PutOutcome::Held;
    // Blocked while it came: whoever drops what is here may have looked before.
    if let Err(problem) = blocked::refuse_blocked(&node, id.0) {
        node.system.cache.drop_fragment(AccountId::LOCAL, fragment_id(id)).await?;
        return Err(problem);
    }
    let status = if held { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(api::Put { checksum, held })).into_response())
}

/// Whether these bytes are what the tessera has there, as far as that is known: others would never be of use, and be found
/// damaged by whoever reads the tessera.
async fn belongs(node: &Node, id: FragmentId, checksum: Checksum) -> Result<(), Problem> {
    let detail = match named(node.system.storage.clone(), id).await? {
        Named::Unknown => return Ok(()),
        Named::As(expected) if expected == checksum => return Ok(()),
        Named::As(expected) => format!(
            "these bytes have the checksum {checksum}, and the fragment {id} of this tessera has {expected}: see \
             `fragment list`"
        ),
        Named::Nowhere => format!("this tessera has no fragment {id}: see `fragment list`"),
    };
    Err(Problem::new(Kind::Conflict, detail))
}

/// This node itself no longer wants the fragment
#[utoipa::path(
    delete, path = "/v1/tesseras/{id}/fragments/{stripe}/{index}", operation_id = "drop_fragment", tag = "fragments",
    params(OfFragment),
    responses(
        (status = 204, description = "It is dropped"),
    )
)]
pub(super) async fn drop(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<(TesseraId, u32, u16)>,
) -> Result<StatusCode, Problem> {
    node.system.cache.drop_fragment(AccountId::LOCAL, fragment_id(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The same bytes, copied piece by piece: one that is sent must not hold them all.
fn pieces(bytes: Bytes) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let starts = (0..bytes.len()).step_by(PIECE_BYTES);
    stream::iter(starts.map(move |start| {
        let end = bytes.len().min(start + PIECE_BYTES);
        Ok(Bytes::copy_from_slice(&bytes.slice(start..end)))
    }))
}

fn fragment_id((tessera, stripe, index): (TesseraId, u32, u16)) -> FragmentId {
    FragmentId { tessera, stripe, index }
}

/// How much of a fragment is sent at a time, in bytes.
const PIECE_BYTES: usize = 64 << 10;
/// The most fragments in one page: about 64 KiB.
const PAGE_MAX: u32 = 400;

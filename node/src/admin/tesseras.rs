//! `/v1/tesseras` and `/v1/tesseras/{id}`: list, make, show and forget tesserae.

use std::sync::Arc;

use actors::{
    ActorError, FragmentStore,
    archive::{CREATE_BYTES_MAX, create},
    storage::{Note, TesseraRow},
};
use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use proto::{
    ProtoError, TesseraId, limits::MANIFEST_BYTES_MAX, manifest::SignedManifest, prefix::IdPrefix,
    record::DocumentKind,
};
use serde::{Deserialize, Deserializer, de};
use utoipa::IntoParams;

use super::{
    Node, body,
    extract::{InPath, InQuery},
};
use crate::{
    api,
    clock::now_ms,
    problem::Problem,
    schema::{self, OfTessera},
};

/// Which tesserae to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only those whose ids begin like this.
    #[param(value_type = Option<schema::TesseraPrefix>)]
    #[serde(default, deserialize_with = "prefix")]
    prefix: Option<IdPrefix<TesseraId>>,
    /// From this id on.
    #[param(value_type = Option<schema::TesseraId>)]
    from: Option<TesseraId>,
    /// At most so many.
    limit: Option<u32>,
}

/// The tesserae here, in the order of their ids
#[utoipa::path(
    get, path = "/v1/tesseras", operation_id = "list_tesseras", tag = "tesserae",
    params(Which),
    responses(
        (status = 200, description = "One page", body = api::TesseraPage),
    )
)]
pub(super) async fn list(
    State(node): State<Arc<Node>>,
    InQuery(which): InQuery<Which>,
) -> Result<Json<api::TesseraPage>, Problem> {
    let limit = which.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let (first, last) = match &which.prefix {
        Some(prefix) => (prefix.first(), prefix.last()),
        None => (TesseraId::from_bytes([0; 32]), TesseraId::from_bytes([u8::MAX; 32])),
    };
    let first = which.from.map_or(first, |from| from.max(first));
    let _reserved = node.memory.reserve(LIST_BYTES).await?;
    let mut rows = node.system.storage.records().tesseras(first, last, limit.saturating_add(1)).await?;
    let next = if rows.len() > limit as usize { rows.pop().map(|row| row.id) } else { None };
    let mut described = stream::iter(rows).map(|row| describe(&node, row)).buffered(MANIFESTS_AHEAD);
    let (mut tesseras, mut bytes) = (Vec::new(), 0);
    while let Some(tessera) = described.try_next().await? {
        bytes += serde_json::to_vec(&tessera).map_or(0, |text| text.len());
        if bytes > PAGE_BYTES_MAX && !tesseras.is_empty() {
            return Ok(Json(api::TesseraPage { tesseras, next: Some(tessera.id) }));
        }
        tesseras.push(tessera);
    }
    Ok(Json(api::TesseraPage { tesseras, next }))
}

/// One tessera; its manifest as it is stored when CBOR is asked for
#[utoipa::path(
    get, path = "/v1/tesseras/{id}", operation_id = "show_tessera", tag = "tesserae",
    params(OfTessera),
    responses(
        (status = 200, description = "What is known of it", content(
            (api::Tessera = "application/json"),
            (schema::Bytes = "application/cbor"),
        )),
    )
)]
pub(super) async fn show(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<TesseraId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = node.system.storage.records().tessera(id).await?;
    if headers.get(header::ACCEPT).is_some_and(|kind| kind == CBOR) {
        let manifest = node.system.storage.document(id, DocumentKind::Manifest, None).await?;
        return Ok(([(header::CONTENT_TYPE, CBOR)], manifest).into_response());
    }
    Ok(Json(describe(&node, row).await?).into_response())
}

/// Makes a tessera of a tar of files
///
/// What is said of it may stand in the first entry, `tessera.json`.
#[utoipa::path(
    post, path = "/v1/tesseras", operation_id = "make_tessera", tag = "tesserae",
    request_body(content = schema::Bytes, content_type = "application/x-tar", description = "Files and folders"),
    responses(
        (status = 201, description = "It is kept", body = api::Created,
            headers(("Location" = String, description = "Its path"))),
    )
)]
pub(super) async fn make(State(node): State<Arc<Node>>, body: Body) -> Result<Response, Problem> {
    let body = body::begun(body).await?;
    // The rest is read only from here on: who waits for memory holds nothing.
    let reserved = node.memory.reserve(CREATE_BYTES_MAX).await?;
    let session = node.system.storage.open_session().await?;
    let created =
        create(body::reader(body, reserved.pace(body::PATIENCE)), &node.keys.author, session, now_ms())
            .await?;
    tracing::info!(id = %created.id, files = created.files, bytes = created.content_len, "made a tessera");
    let (id, files, content_len) = (created.id, created.files, created.content_len);
    node.events.tell(api::Happening::TesseraCreated { id, files, content_len });
    let location = format!("/v1/tesseras/{}", created.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(api::Created::from(created)))
        .into_response())
}

/// Drops what is kept of a tessera here
#[utoipa::path(
    delete, path = "/v1/tesseras/{id}", operation_id = "forget_tessera", tag = "tesserae",
    params(OfTessera),
    responses(
        (status = 204, description = "It is forgotten"),
    )
)]
pub(super) async fn forget(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<TesseraId>,
) -> Result<StatusCode, Problem> {
    let records = node.system.storage.records();
    let is_adopted = records.adopted_since(id).await?.is_some();
    let forgotten = node.system.cache.forget(id).await;
    // Nothing more of it need be here for that: a forgetting may have been interrupted.
    if is_adopted && (forgotten.is_ok() || matches!(forgotten, Err(ActorError::NotFound { .. }))) {
        records.note(vec![Note::Abandoned { tessera: id }]).await?;
    }
    forgotten?;
    tracing::info!(%id, "forgot a tessera");
    node.events.tell(api::Happening::TesseraForgotten { id });
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn describe(node: &Node, row: TesseraRow) -> Result<api::Tessera, Problem> {
    let adopted_at_ms = node.system.storage.records().adopted_since(row.id).await?;
    if !row.has_documents {
        return Ok(api::Tessera::new(&row, adopted_at_ms, Err(api::State::Missing)));
    }
    // One that is damaged, not understood, or was forgotten just now must not hide all others.
    let manifest = match node.system.storage.document(row.id, DocumentKind::Manifest, None).await {
        Ok(bytes) => about(bytes),
        Err(ActorError::CorruptDocument { .. }) => Err(api::State::Suspect),
        Err(ActorError::NotFound { .. }) => Err(api::State::Missing),
        Err(error) => return Err(error.into()),
    };
    Ok(api::Tessera::new(&row, adopted_at_ms, manifest))
}

fn about(manifest: Bytes) -> Result<api::About, api::State> {
    match SignedManifest::parse(manifest) {
        Ok(manifest) => Ok(manifest.manifest().into()),
        Err(ProtoError::NewerVersion { .. }) => Err(api::State::Newer),
        Err(_) => Err(api::State::Suspect),
    }
}

fn prefix<'de, D: Deserializer<'de>>(text: D) -> Result<Option<IdPrefix<TesseraId>>, D::Error> {
    String::deserialize(text)?.parse().map(Some).map_err(de::Error::custom)
}

const CBOR: &str = "application/cbor";
/// The most tesserae in one page.
const PAGE_MAX: u32 = 100;
/// A page ends before it is longer than this, in bytes, but for the first of its tesserae: whoever does not take it must
/// not hold more than a connection may ([`super::connections::BYTES_MAX`]).
const PAGE_BYTES_MAX: usize = 64 << 10;
/// What making a page holds, in bytes.
const LIST_BYTES: usize = (MANIFESTS_AHEAD + 1) * MANIFEST_BYTES_MAX + PAGE_BYTES_MAX;
/// Manifests read at a time for a list.
const MANIFESTS_AHEAD: usize = 8;

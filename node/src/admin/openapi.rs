//! `/v1/openapi.json`: this API as OpenAPI 3.1, made from the code.
//!
//! # Invariants
//! 1. An endpoint is routed and described by the same line, so that neither is there without the other.
//! 2. Every operation may end with a problem document; that is said here, once.

use axum::Json;
use utoipa::{
    OpenApi,
    openapi::{self, ContentBuilder, PathItem, Ref, RefOr, Response, ResponseBuilder, path::Operation},
};

use crate::{
    problem::{MEDIA_TYPE, Problem},
    schema::{Checksum, JobId, NodeId, TesseraId, TesseraOrNodeId, TesseraPrefix},
};

/// What stands above the endpoints. Version and licence are those of the package.
#[derive(OpenApi)]
#[openapi(
    info(title = "Tesseras node", description = "What a node does for programs on its own \
        machine. A parameter or a body that an endpoint does not name is refused, never passed over."),
    servers((url = "http://node", description = "`curl --unix-socket node.sock http://node/v1/status`")),
    tags(
        (name = "node", description = "The node as a whole"),
        (name = "tesserae", description = "What is kept"),
        (name = "fragments", description = "What is kept, piece by piece"),
        (name = "nodes", description = "Other nodes"),
        (name = "health", description = "For those who watch; over TCP, too"),
    ),
    // What no body refers to is not found by itself.
    components(schemas(Problem, TesseraId, TesseraPrefix, NodeId, TesseraOrNodeId, Checksum, JobId))
)]
pub(super) struct Preamble;

/// This document
#[utoipa::path(
    get, path = "/v1/openapi.json", operation_id = "openapi", tag = "node",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value))
)]
pub(super) async fn openapi() -> Json<openapi::OpenApi> {
    Json(super::document())
}

/// Adds what all endpoints have in common.
pub(super) fn complete(mut document: openapi::OpenApi) -> openapi::OpenApi {
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (described(&path), may_fail(item))).collect();
    document.components.get_or_insert_default().responses.insert(PROBLEM.to_owned(), problem().into());
    document
}

/// A path as OpenAPI writes it. It has no word for a parameter that may hold slashes.
pub(super) fn described(path: &str) -> String {
    path.replace("{*", "{")
}

fn may_fail(mut item: PathItem) -> PathItem {
    let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
    for Operation { responses, .. } in operations.into_iter().flatten() {
        let problem = RefOr::Ref(Ref::from_response_name(PROBLEM));
        responses.responses.insert("default".to_owned(), problem);
    }
    item
}

fn problem() -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(PROBLEM))).build();
    ResponseBuilder::new().description("What went wrong (RFC 9457)").content(MEDIA_TYPE, content).build()
}

const PROBLEM: &str = "Problem";

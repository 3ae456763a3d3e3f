//! `/v1/tesseras/{id}/content` and `/v1/tesseras/{id}/files/{path}`: what is in a tessera.

use std::sync::Arc;

use actors::archive::{ArchiveError, Content, FRAGMENTS_AHEAD, Form, content, read_file};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, Method},
    response::Response,
};
use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use proto::{TesseraId, limits::FRAGMENT_BYTES_MAX, manifest::Visibility};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    Node,
    extract::{InPath, InQuery},
    memory::Reserved,
    outgoing,
    pieces::{cut, held_back},
    unchanging::{Part, Unchanging},
};
use crate::{
    problem::Problem,
    schema::{self, OfTessera},
};

/// In which form.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct How {
    /// As it is stored, encrypted if the tessera is private.
    raw: Option<String>,
}

/// The content: the tar of the bag or, with `?raw`, what is stored
#[utoipa::path(
    get,
    path = "/v1/tesseras/{id}/content",
    operation_id = "read_content",
    tag = "tesserae",
    params(OfTessera, How, schema::OfPart),
    responses(schema::ContentInParts)
)]
pub(super) async fn whole(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<TesseraId>,
    InQuery(how): InQuery<How>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let reserved = node.memory.reserve(READ_BYTES).await?;
    let form = if how.raw.is_some() { Form::Stored } else { Form::Bag };
    let source = Source { node, id, what: What::Content(form) };
    let content = source.open().await?;
    let sealed = form == Form::Stored && content.manifest().manifest().visibility == Visibility::Private;
    let kind = if sealed { BYTES } else { "application/x-tar" };
    let unchanging = Unchanging::new(id, content.length(), kind);
    Ok(unchanging.answer(&method, &headers, |part| source.body(content, part, reserved)))
}

/// One file
#[utoipa::path(
    get,
    path = "/v1/tesseras/{id}/files/{*path}",
    operation_id = "read_file",
    tag = "tesserae",
    params(OfTessera, schema::OfFile, schema::OfPart),
    responses(schema::BytesInParts)
)]
pub(super) async fn file(
    State(node): State<Arc<Node>>,
    InPath((id, path)): InPath<(TesseraId, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let reserved = node.memory.reserve(READ_BYTES).await?;
    let source = Source { node, id, what: What::File(path) };
    // First of all: what is not here, or no longer, is not unchanged.
    let content = source.open().await?;
    let unchanging = Unchanging::new(id, content.length(), BYTES);
    Ok(unchanging.answer(&method, &headers, |part| source.body(content, part, reserved)))
}

/// Where content comes from, as often as it has to be opened.
#[derive(Debug, Clone)]
struct Source {
    node: Arc<Node>,
    id: TesseraId,
    what: What,
}

/// What of a tessera is wanted.
#[derive(Debug, Clone)]
enum What {
    Content(Form),
    File(String),
}

impl Source {
    async fn open(&self) -> Result<Content, Problem> {
        let (system, author) = (&self.node.system, &self.node.keys.author);
        Ok(match &self.what {
            // Past the cache: a whole tessera would push out what is asked for again and again.
            What::Content(form) => content(system.storage.clone(), self.id, author, *form).await?,
            What::File(path) => read_file(system.cache.clone(), self.id, author, path).await?.content,
        })
    }

    /// A part of the content as a body.
    fn body(self, content: Content, part: Part, reserved: Reserved) -> Body {
        let first = pieces(self.id, content, part);
        let again = move |sent| {
            let source = self.clone();
            async move { Ok(pieces(source.id, source.open().await?, part.behind(sent))) }
        };
        outgoing::body(first, again, reserved)
    }
}

fn pieces(
    id: TesseraId,
    content: Content,
    part: Part,
) -> impl Stream<Item = Result<Bytes, ArchiveError>> + Send {
    // Whether a whole content is what was signed shows behind its last byte.
    let take = if part.to_the_end { u64::MAX } else { part.length };
    let told = content.inspect_err(move |error| tracing::warn!(%id, %error, "content broke off"));
    held_back(cut(told, part.first, take))
}

/// What reading a tessera holds at a time, in bytes: the fragments ahead, the one being read, and the pieces between.
pub(super) const READ_BYTES: usize = (FRAGMENTS_AHEAD + 2) * FRAGMENT_BYTES_MAX;
pub(super) const BYTES: &str = "application/octet-stream";

//! `/v1/tesseras/{id}/content` and `/v1/tesseras/{id}/files/{path}`: what is in a tessera.

use std::sync::Arc;

use actors::archive::{ArchiveError, Content, FRAGMENTS_AHEAD, FileContent, Form, content, read_file};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, future, stream};
use proto::{TesseraId, limits::FRAGMENT_BYTES_MAX, manifest::Visibility};
use serde::Deserialize;

use super::{
    Node,
    extract::{InPath, InQuery},
    memory::Reserved,
    range::{Wanted, wanted},
};
use crate::problem::Problem;

/// In which form.
#[derive(Debug, Deserialize)]
pub(super) struct How {
    /// As it is stored, encrypted if the tessera is private.
    raw: Option<String>,
}

/// The content: the tar of the bag or, with `?raw`, what is stored.
pub(super) async fn whole(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<TesseraId>,
    InQuery(how): InQuery<How>,
) -> Result<Response, Problem> {
    let reserved = node.memory.reserve(READ_BYTES).await?;
    let form = if how.raw.is_some() { Form::Stored } else { Form::Bag };
    // Past the cache: a whole tessera would push out what is asked for again and again.
    let content = content(node.system.storage.clone(), id, &node.keys.author, form).await?;
    let sealed = form == Form::Stored && content.manifest().manifest().visibility == Visibility::Private;
    let kind = if sealed { "application/octet-stream" } else { "application/x-tar" };
    Ok(([(header::CONTENT_TYPE, kind)], body(id, content, reserved)).into_response())
}

/// One file.
pub(super) async fn file(
    State(node): State<Arc<Node>>,
    InPath((id, path)): InPath<(TesseraId, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // A tessera never changes, and neither does a file in it.
    let tag = format!("\"{id}\"");
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let reserved = node.memory.reserve(READ_BYTES).await?;
    let FileContent { size, content, .. } =
        read_file(node.system.cache.clone(), id, &node.keys.author, &path).await?;
    // Only now: what is not here, or no longer, is not unchanged.
    if text(header::IF_NONE_MATCH).is_some_and(|known| known == "*" || known.contains(&tag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    // With another `If-Range` the caller has a part of something else.
    let range = text(header::RANGE).filter(|_| text(header::IF_RANGE).is_none_or(|known| known == tag));
    let common = [(header::ETAG, tag), (header::ACCEPT_RANGES, "bytes".to_owned())];
    let kind = (header::CONTENT_TYPE, "application/octet-stream".to_owned());
    Ok(match wanted(range, size) {
        Wanted::All => {
            let length = [kind, (header::CONTENT_LENGTH, size.to_string())];
            (common, length, body(id, content, reserved)).into_response()
        }
        Wanted::Part(first, last) => {
            let part = [
                kind,
                (header::CONTENT_LENGTH, (last - first + 1).to_string()),
                (header::CONTENT_RANGE, format!("bytes {first}-{last}/{size}")),
            ];
            let part_of_it = cut(content, first, last - first + 1);
            (StatusCode::PARTIAL_CONTENT, common, part, body(id, part_of_it, reserved)).into_response()
        }
        Wanted::Nothing => {
            let all = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            (StatusCode::RANGE_NOT_SATISFIABLE, common, all).into_response()
        }
    })
}

/// A body that breaks off when the stream fails, so that what came is not taken for all.
fn body(
    id: TesseraId,
    content: impl Stream<Item = Result<Bytes, ArchiveError>> + Send + 'static,
    reserved: Reserved,
) -> Body {
    let told = content.inspect_err(move |error| tracing::warn!(%id, %error, "content broke off"));
    Body::from_stream(told.inspect(move |_| {
        // Moved in here, the memory is free again when the stream is gone.
        let _ = &reserved;
    }))
}

/// So many bytes behind the first ones.
fn cut(content: Content, skip: u64, take: u64) -> impl Stream<Item = Result<Bytes, ArchiveError>> + Send {
    let pieces = stream::unfold((content, skip, take), |(mut content, skip, take)| async move {
        if take == 0 {
            return None;
        }
        let mut bytes = match content.next().await? {
            Ok(bytes) => bytes,
            Err(error) => return Some((Err(error), (content, 0, 0))),
        };
        let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
        drop(bytes.split_to(skipped));
        bytes.truncate(usize::try_from(take).unwrap_or(usize::MAX));
        let left = (skip - skipped as u64, take - bytes.len() as u64);
        Some((Ok(bytes), (content, left.0, left.1)))
    });
    pieces.try_filter(|bytes| future::ready(!bytes.is_empty()))
}

/// What reading a tessera holds at a time, in bytes: the fragments ahead, the one being read, and the pieces between.
pub(super) const READ_BYTES: usize = (FRAGMENTS_AHEAD + 2) * FRAGMENT_BYTES_MAX;

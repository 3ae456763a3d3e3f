//! `/v1/tesseras/{id}/content` and `/v1/tesseras/{id}/files/{path}`: what is in a tessera.

use std::sync::Arc;

use actors::archive::{Content, FRAGMENTS_AHEAD, Form, content, read_file};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, Method},
    response::Response,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, future, stream};
use proto::{TesseraId, limits::FRAGMENT_BYTES_MAX, manifest::Visibility};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    Node,
    extract::{InPath, InQuery},
    memory::Reserved,
    outgoing,
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
    get, path = "/v1/tesseras/{id}/content", operation_id = "read_content", tag = "tesserae",
    params(OfTessera, How, schema::OfPart),
    responses(
        (status = 200, description = "All of it", content(
                (schema::Bytes = "application/x-tar"),
                (schema::Bytes = "application/octet-stream"),
            ), headers(
                ("ETag" = String, description = "Tells it from any other"),
                ("Accept-Ranges" = String, description = "`bytes`"),
            )),
        (status = 206, description = "The part that `Range` names", content(
                (schema::Bytes = "application/x-tar"),
                (schema::Bytes = "application/octet-stream"),
            ), headers(
                ("ETag" = String, description = "Tells it from any other"),
                ("Accept-Ranges" = String, description = "`bytes`"),
            )),
        (status = 304, description = "The caller has it: `If-None-Match` names its tag"),
    )
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
    // Past the cache: a whole tessera would push out what is asked for again and again.
    let content = content(node.system.storage.clone(), id, &node.keys.author, form).await?;
    let sealed = form == Form::Stored && content.manifest().manifest().visibility == Visibility::Private;
    let kind = if sealed { BYTES } else { "application/x-tar" };
    let unchanging = Unchanging::new(id, content.length(), kind);
    Ok(unchanging.answer(&method, &headers, |part| body(id, content, part, reserved)))
}

/// One file
#[utoipa::path(
    get, path = "/v1/tesseras/{id}/files/{*path}", operation_id = "read_file", tag = "tesserae",
    params(OfTessera, schema::OfFile, schema::OfPart),
    responses(
        (status = 200, description = "All of it", content(
                (schema::Bytes = "application/octet-stream"),
            ), headers(
                ("ETag" = String, description = "Tells it from any other"),
                ("Accept-Ranges" = String, description = "`bytes`"),
            )),
        (status = 206, description = "The part that `Range` names", content(
                (schema::Bytes = "application/octet-stream"),
            ), headers(
                ("ETag" = String, description = "Tells it from any other"),
                ("Accept-Ranges" = String, description = "`bytes`"),
            )),
        (status = 304, description = "The caller has it: `If-None-Match` names its tag"),
    )
)]
pub(super) async fn file(
    State(node): State<Arc<Node>>,
    InPath((id, path)): InPath<(TesseraId, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let reserved = node.memory.reserve(READ_BYTES).await?;
    // First of all: what is not here, or no longer, is not unchanged.
    let file = read_file(node.system.cache.clone(), id, &node.keys.author, &path).await?;
    let unchanging = Unchanging::new(id, file.content.length(), BYTES);
    Ok(unchanging.answer(&method, &headers, |part| body(id, file.content, part, reserved)))
}

/// A part of the content as a body.
fn body(id: TesseraId, content: Content, part: Part, reserved: Reserved) -> Body {
    // Whether a whole content is what was signed shows behind its last byte.
    let take = if part.to_the_end { u64::MAX } else { part.length };
    let told = content.inspect_err(move |error| tracing::warn!(%id, %error, "content broke off"));
    outgoing::body(held_back(cut(told, part.first, take)), reserved)
}

/// The same, but each piece only when there is another one or the end is a good one. Whoever is told a length takes
/// what has it for whole, so the last piece must not go out before an error behind it.
fn held_back<E>(
    pieces: impl Stream<Item = Result<Bytes, E>> + Send,
) -> impl Stream<Item = Result<Bytes, E>> + Send {
    stream::unfold(Some((Box::pin(pieces), None)), |state| async move {
        let (mut pieces, mut held) = state?;
        loop {
            match (pieces.next().await, held.take()) {
                (Some(Ok(first)), None) => held = Some(first),
                (Some(Ok(next)), Some(piece)) => return Some((Ok(piece), Some((pieces, Some(next))))),
                (Some(Err(error)), _) => return Some((Err(error), None)),
                (None, last) => return last.map(|last| (Ok(last), None)),
            }
        }
    })
}

/// So many bytes behind the first ones.
fn cut<E>(
    content: impl Stream<Item = Result<Bytes, E>> + Send,
    skip: u64,
    take: u64,
) -> impl Stream<Item = Result<Bytes, E>> + Send {
    let pieces = stream::unfold((Box::pin(content), skip, take), |(mut content, skip, take)| async move {
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
pub(super) const BYTES: &str = "application/octet-stream";

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(pieces: &[Result<&'static str, ()>]) -> impl Stream<Item = Result<Bytes, ()>> + Send {
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.map(Bytes::from)).collect();
        stream::iter(pieces)
    }

    async fn read(stream: impl Stream<Item = Result<Bytes, ()>>) -> (String, bool) {
        let pieces: Vec<_> = stream.collect().await;
        let text = pieces.iter().flatten().map(|piece| String::from_utf8_lossy(piece)).collect();
        (text, pieces.iter().all(Result::is_ok))
    }

    #[tokio::test]
    async fn part_is_cut_out_of_the_pieces() {
        for (skip, take, expected) in [
            (0, u64::MAX, "abcdefg"),
            (0, 2, "ab"),
            (1, 3, "bcd"),
            (3, 3, "def"),
            (4, u64::MAX, "efg"),
            (6, 1, "g"),
        ] {
            let part = cut(pieces(&[Ok("abc"), Ok(""), Ok("def"), Ok("g")]), skip, take);
            assert_eq!(read(part).await, (expected.to_owned(), true), "{skip} {take}");
        }
    }

    #[tokio::test]
    async fn error_behind_the_last_byte_keeps_the_last_piece_back() {
        let whole = [Ok("abc"), Ok("def"), Err(())];
        for (skip, take, expected) in
            [(0, u64::MAX, ("abc", false)), (4, u64::MAX, ("", false)), (1, 3, ("bcd", true))]
        {
            let part = held_back(cut(pieces(&whole), skip, take));
            assert_eq!(read(part).await, (expected.0.to_owned(), expected.1), "{skip} {take}");
        }
        assert_eq!(read(held_back(pieces(&[]))).await, (String::new(), true));
    }
}

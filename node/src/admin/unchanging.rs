//! Answers for what never changes: content, files and fragments. Whoever has it is told so, and whoever has a part of
//! it gets the rest (RFC 9110, sections 8.8, 13 and 14).

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;

use super::{
    conditions::{self, Verdict},
    range::{Wanted, wanted},
};
use crate::{
    human,
    problem::{Kind, Problem},
};

/// Something that is there, and stays as it is.
#[derive(Debug)]
pub(super) struct Unchanging {
    /// Tells it from whatever else its path may ever name, in quotes.
    tag: String,
    length: u64,
    media_type: &'static str,
}

/// Which bytes of it go into a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// The first one, from 0.
    pub(super) first: u64,
    /// How many.
    pub(super) length: u64,
    /// Whether the last one is the very last.
    pub(super) to_the_end: bool,
}

impl Part {
    /// What of it is left behind so many bytes.
    pub(super) fn behind(self, sent: u64) -> Self {
        Self { first: self.first + sent, length: self.length.saturating_sub(sent), ..self }
    }

    /// The part of these bytes, which are all.
    pub(super) fn of(&self, all: &Bytes) -> Bytes {
        let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(all.len());
        all.slice(at(self.first)..at(self.first.saturating_add(self.length)))
    }
}

impl Unchanging {
    /// Something of this length in bytes. `name` is that of what its bytes follow from: an id or a checksum, both of
    /// which are hashes. Tags are only compared for one path and query, so it need not name these as well.
    pub(super) fn new(name: impl ToString, length: u64, media_type: &'static str) -> Self {
        Self { tag: format!("\"{}\"", name.to_string()), length, media_type }
    }

    /// Answers a GET or HEAD; `body` makes the body of a part.
    pub(super) fn answer(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: impl FnOnce(Part) -> Body,
    ) -> Response {
        let common = [(header::ETAG, self.tag.clone()), (header::ACCEPT_RANGES, "bytes".to_owned())];
        match conditions::judge(headers, &self.tag) {
            Verdict::Send => (common, self.send(method, headers, body)).into_response(),
            Verdict::Unchanged => (StatusCode::NOT_MODIFIED, common).into_response(),
            Verdict::Failed => {
                let detail = format!("what is here has the tag {}, which If-Match does not name", self.tag);
                (common, Problem::new(Kind::PreconditionFailed, detail)).into_response()
            }
        }
    }

    fn send(&self, method: &Method, headers: &HeaderMap, body: impl FnOnce(Part) -> Body) -> Response {
        let length = self.length;
        match wanted(range(method, headers, &self.tag), length) {
            Wanted::All => {
                let all = Part { first: 0, length, to_the_end: true };
                (self.about(length), body(all)).into_response()
            }
            Wanted::Part(first, last) => {
                let part = Part { first, length: last - first + 1, to_the_end: last + 1 == length };
                let place = [(header::CONTENT_RANGE, format!("bytes {first}-{last}/{length}"))];
                (StatusCode::PARTIAL_CONTENT, place, self.about(part.length), body(part)).into_response()
            }
            Wanted::Nothing => {
                let detail = format!(
                    "it has {}: the range lies beyond its end",
                    human::count(length, "byte", "bytes")
                );
                let place = [(header::CONTENT_RANGE, format!("bytes */{length}"))];
                (place, Problem::new(Kind::RangeNotSatisfiable, detail)).into_response()
            }
        }
    }

    fn about(&self, length: u64) -> HeaderMap {
        HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static(self.media_type)),
            (header::CONTENT_LENGTH, HeaderValue::from(length)),
        ])
    }
}

/// The range that is asked for, if it is to be looked at: only GET has ranges.
fn range<'a>(method: &Method, headers: &'a HeaderMap, tag: &str) -> Option<&'a str> {
    let range = headers.get(header::RANGE).filter(|_| method == Method::GET)?;
    range.to_str().ok().filter(|_| conditions::may_be_continued(headers, tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &Method, fields: &[(&str, &str)], expected: (u16, Option<Part>)) {
        let headers = fields
            .iter()
            .map(|(name, value)| (name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap()));
        let mut part = None;
        let unchanging = Unchanging::new("tess1q", 10, "application/x-tar");
        let answer = unchanging.answer(method, &headers.collect(), |of_it| {
            part = Some(of_it);
            Body::empty()
        });
        assert_eq!((answer.status().as_u16(), part), expected, "{method} {fields:?}");
        assert_eq!(answer.headers()[header::ETAG], "\"tess1q\"", "{method} {fields:?}");
    }

    #[test]
    fn range_counts_only_for_get_and_only_of_the_same_thing() {
        let part = |first, length| Part { first, length, to_the_end: first + length == 10 };
        let range = ("range", "bytes=2-3");
        check(&Method::GET, &[], (200, Some(part(0, 10))));
        check(&Method::GET, &[range], (206, Some(part(2, 2))));
        check(&Method::GET, &[("range", "bytes=2-9")], (206, Some(part(2, 8))));
        check(&Method::HEAD, &[range], (200, Some(part(0, 10))));
        check(&Method::GET, &[range, ("if-range", "\"tess1q\"")], (206, Some(part(2, 2))));
        check(&Method::GET, &[range, ("if-range", "\"tess1p\"")], (200, Some(part(0, 10))));
        check(&Method::GET, &[("range", "bytes=10-")], (416, None));
        check(&Method::GET, &[("range", "bytes=10-"), ("if-none-match", "*")], (304, None));
        check(&Method::HEAD, &[("if-none-match", "\"tess1q\"")], (304, None));
        check(&Method::GET, &[range, ("if-match", "\"tess1p\"")], (412, None));
    }
}

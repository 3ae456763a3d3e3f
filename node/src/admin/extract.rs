//! What handlers take from a request, with problem documents for what is wrong in it.

use std::error::Error;

use axum::{
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use super::body;
use crate::problem::{Kind, Problem};

/// The variable segments of the path.
pub(super) struct InPath<T>(pub(super) T);

/// The query.
pub(super) struct InQuery<T>(pub(super) T);

/// A short body, in JSON: an object. Whoever wants nothing in particular says so with an empty one, `{}`.
pub(super) struct InBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(Problem::new(Kind::BadRequest, rejection.body_text())),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for InQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                // Behind what was being done stand the parameter and what is wrong with it.
                let why = rejection.source().map_or_else(|| rejection.body_text(), ToString::to_string);
                Err(Problem::new(Kind::BadRequest, format!("the query is wrong: {why}")))
            }
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for InBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let body = body::short(request.into_body()).await?;
        read(&body).map(Self).map_err(|wrong| Problem::new(Kind::BadRequest, wrong))
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    // By itself serde also takes the fields of an object in their order, without their names.
    match body.trim_ascii_start().first() {
        None => Err("there is no body: send a JSON object, `{}` if it says nothing".to_owned()),
        Some(b'{') => serde_json::from_slice(body).map_err(|error| format!("the body is wrong: {error}")),
        Some(_) => {
            Err("the body is no JSON object: send `{…}`, with the fields that /v1/openapi.json names"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::NewInvite;

    #[test]
    fn body_is_an_object_and_nothing_else() {
        let refused = |body: &str, expected: &str| {
            let wrong = read::<NewInvite>(body.as_bytes()).unwrap_err();
            assert!(wrong.contains(expected), "{body}: {wrong}");
        };
        for nothing in ["", " ", "\r\n\t"] {
            refused(nothing, "there is no body");
        }
        for other in ["[]", "[18446744073709551615,\"max\"]", "null", "7", "\"max\"", "nonsense"] {
            refused(other, "no JSON object");
        }
        refused("{", "the body is wrong");
        refused("{} {}", "the body is wrong");
        refused(r#"{"allowed":7}"#, "unknown field `allowed`");
        assert_eq!(read(b"{}"), Ok(NewInvite::default()));
        let ann = NewInvite { name: Some("ann".to_owned()), ..NewInvite::default() };
        assert_eq!(read(b"\n {\"name\":\"ann\"} \n"), Ok(ann));
    }
}

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

/// A short body, in JSON. Whoever sends none says nothing.
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
        let json = if body.is_empty() { NOTHING } else { body.as_ref() };
        serde_json::from_slice(json)
            .map(Self)
            .map_err(|error| Problem::new(Kind::BadRequest, format!("the body is wrong: {error}")))
    }
}

const NOTHING: &[u8] = b"{}";

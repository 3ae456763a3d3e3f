//! What a request brings that its endpoint does not take: parameters of the query, and bodies. It is refused by name, and
//! not passed over: a caller that mistypes `secs` must not get the default.
//!
//! What an endpoint takes is read from its description, so that the two agree.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::HttpBody,
    extract::{MatchedPath, Query, Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};
use utoipa::openapi::{
    OpenApi, PathItem, RefOr,
    path::{Operation, Parameter, ParameterIn},
};

use super::{body, openapi};
use crate::problem::{Kind, Problem};

/// What each endpoint takes.
#[derive(Debug, Clone)]
pub(super) struct Expected(Arc<BTreeMap<String, Vec<(Method, Takes)>>>);

/// What one takes.
#[derive(Debug)]
struct Takes {
    parameters: Vec<String>,
    body: bool,
}

impl Expected {
    /// As the document says.
    pub(super) fn new(document: OpenApi) -> Self {
        let paths = document.paths.paths.into_iter();
        Self(Arc::new(paths.map(|(path, item)| (path, operations(item))).collect()))
    }

    /// What the endpoint that a request was matched to takes, if it does this at all.
    fn of(&self, request: &Request) -> Option<&Takes> {
        let path = request.extensions().get::<MatchedPath>()?;
        // HEAD is GET without the body of the answer.
        let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        let operations = self.0.get(&openapi::described(path.as_str()))?;
        operations.iter().find_map(|(one, takes)| (one == method).then_some(takes))
    }
}

/// Passes on what brings nothing else.
pub(super) async fn only(
    State(expected): State<Expected>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Some(takes) = expected.of(&request) else { return Ok(next.run(request).await) };
    let refused = takes.refuses(&request);
    match refused {
        None => Ok(next.run(request).await),
        Some(problem) => {
            body::throw_away_soon(request.into_body());
            Err(problem)
        }
    }
}

impl Takes {
    fn new(operation: Operation) -> Self {
        let in_query = |parameter| match parameter {
            RefOr::T(Parameter { name, parameter_in: ParameterIn::Query, .. }) => Some(name),
            _ => None,
        };
        let parameters = operation.parameters.unwrap_or_default();
        Self {
            parameters: parameters.into_iter().filter_map(in_query).collect(),
            body: operation.request_body.is_some(),
        }
    }

    fn refuses(&self, request: &Request) -> Option<Problem> {
        let endpoint = format!("{} {}", request.method(), request.uri().path());
        // What is no query at all is for the endpoint to say.
        let query = Query::<Vec<(String, String)>>::try_from_uri(request.uri()).ok();
        let names = query.into_iter().flat_map(|Query(pairs)| pairs).map(|(name, _)| name);
        let unknown = names.into_iter().find(|name| !self.parameters.contains(name));
        let detail = match unknown {
            Some(name) => format!("{endpoint} has no parameter {name:?}: {}", self.named()),
            None if !self.body && !request.body().is_end_stream() => {
                format!("{endpoint} takes no body: send none; {}", self.named())
            }
            None => return None,
        };
        Some(Problem::new(Kind::BadRequest, detail))
    }

    /// Which parameters there are.
    fn named(&self) -> String {
        match self.parameters.as_slice() {
            [] => "it has no parameters".to_owned(),
            [one] => format!("its only one is `{one}`, in the query"),
            several => format!("it has `{}`, in the query", several.join("`, `")),
        }
    }
}

fn operations(item: PathItem) -> Vec<(Method, Takes)> {
    let operations = [
        (Method::GET, item.get),
        (Method::PUT, item.put),
        (Method::POST, item.post),
        (Method::DELETE, item.delete),
    ];
    operations.into_iter().filter_map(|(method, operation)| Some((method, Takes::new(operation?)))).collect()
}

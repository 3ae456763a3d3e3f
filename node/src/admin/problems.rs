//! How problems leave the daemon: every error of an actor as a problem document with its HTTP status.

use axum::{
    Router,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

use crate::problem::{Kind, MEDIA_TYPE, Problem};

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // What is the node's own fault is for whoever runs it to see, too.
        if self.status() == StatusCode::INTERNAL_SERVER_ERROR.as_u16() {
            tracing::warn!(kind = ?self.kind(), reason = self.detail, "a request failed");
        }
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        response.extensions_mut().insert(self.kind());
        if let Some(seconds) = self.retry_after_secs {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// For a path that is not an endpoint.
pub(crate) async fn no_endpoint(uri: Uri) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no endpoint {}", uri.path()))
}

/// For an endpoint that does not do this.
pub(crate) async fn no_method(uri: Uri) -> Problem {
    Problem::new(Kind::MethodNotAllowed, format!("the endpoint {} does not take this method", uri.path()))
}

/// What a caller gets who is neither the node's own user nor root.
pub(crate) fn router_for_strangers() -> Router {
    Router::new().fallback(async || {
        let detail =
            "this socket serves the user who runs the node, and root: use `sudo`, or set admin.socket_group";
        Problem::new(Kind::NotPermitted, detail)
    })
}

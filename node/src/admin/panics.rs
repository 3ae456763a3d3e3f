//! A request whose handling panics fails as others do: its caller is told that it is a fault of this software, and nobody
//! else notices.

use std::panic::AssertUnwindSafe;

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use futures::FutureExt;

use crate::problem::{Kind, Problem};

/// The same endpoints, which answer even so. A body that panics while it is sent breaks off.
pub(super) fn answered(router: Router) -> Router {
    router.layer(middleware::from_fn(answer))
}

async fn answer(request: Request, next: Next) -> Response {
    // What a handler leaves behind is dropped with it; what it shares with others is built to be left at any await.
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    answer.unwrap_or_else(|_| {
        let detail =
            "handling this request panicked: the log says where, and other requests are not concerned";
        Problem::new(Kind::Internal, detail).into_response()
    })
}

//! Counting what is refused: every problem document that leaves the daemon, by its kind.

use axum::{Router, extract::State, middleware, response::Response};

use crate::{problem::Kind, telemetry::metrics::Metrics};

/// The same endpoints, with their refusals counted.
pub(super) fn counted(router: Router, metrics: &Metrics) -> Router {
    router.layer(middleware::map_response_with_state(metrics.clone(), count))
}

/// [`Problem`](crate::problem::Problem) leaves its kind beside the response it becomes.
async fn count(State(metrics): State<Metrics>, response: Response) -> Response {
    if let Some(kind) = response.extensions().get::<Kind>() {
        metrics.refused(*kind);
    }
    response
}

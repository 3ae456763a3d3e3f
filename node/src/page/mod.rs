//! The status page: how this node fares, for a person with a browser, at `/` on the metrics address.
//!
//! # Invariants
//! 1. It only shows. There is no script, no form and no link in it, and the browser is told to allow none.
//! 2. Whatever it cannot find out in time it says so of, and shows the rest: it is wanted most when something is wrong.
//! 3. What comes from data is escaped, and whoever may read the page learns no id of a tessera, no title and no key.
//! 4. However many look at it, each actor has at most one question of it to answer.
//! 5. Nothing is written for it, and while nobody looks the disk is not touched.

mod facts;
mod history;
mod pictures;
mod plot;
mod question;
mod render;
mod sections;
#[cfg(test)]
mod tests;
mod verdict;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderName, HeaderValue, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{admin::health::Health, telemetry::metrics::Metrics};
use facts::Questions;
use history::{Counts, History, SAMPLE_INTERVAL};

/// The page of one node. It keeps the last hour for as long as it lives.
#[derive(Debug)]
pub(crate) struct Page {
    questions: Questions,
    history: Arc<Mutex<History>>,
    policy: HeaderValue,
    /// Counts from time to time; ends with the page.
    _sampler: JoinSet<()>,
}

impl Page {
    /// Of a node that was started then. Needs a runtime.
    pub(crate) fn new(health: Health, started: Instant) -> Self {
        let history = Arc::<Mutex<History>>::default();
        let mut sampler = JoinSet::new();
        sampler.spawn(sample(health.metrics.clone(), Arc::clone(&history)));
        Self { questions: Questions::new(health, started), history, policy: policy(), _sampler: sampler }
    }

    /// Its endpoint.
    pub(crate) fn routes(self) -> Router {
        Router::new().route("/", get(show)).with_state(Arc::new(self))
    }
}

async fn show(State(page): State<Arc<Page>>) -> Response {
    let facts = page.questions.ask().await;
    let history = page.history.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let document = render::document(&facts, &history, Instant::now());
    let mut response = Html(document.into_string()).into_response();
    let headers = response.headers_mut();
    headers.extend(HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    headers.insert(header::CONTENT_SECURITY_POLICY, page.policy.clone());
    response
}

/// Takes a sample now and then. Counters lie in memory: that wakes no disk.
async fn sample(metrics: Metrics, history: Arc<Mutex<History>>) {
    let mut ticks = interval(SAMPLE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let counts = Counts::of(&metrics.families());
        history.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now(), counts);
    }
}

/// What a browser may do with the page: apply its style sheet, and nothing else.
fn policy() -> HeaderValue {
    let hash = BASE64_STANDARD.encode(Sha256::digest(render::STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src 'none'; frame-ancestors 'none'; \
         form-action 'none'; base-uri 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

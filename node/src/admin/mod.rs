//! The admin server: HTTP/1.1 with JSON on a Unix socket, for the command line and for programs on this machine.
//!
//! # Invariants
//! 1. A request is parsed here, once, into types that can't be wrong; no path is built from what came in.
//! 2. Every error is a problem document; a stream that fails midway breaks off and never ends as if it were whole.
//! 3. Memory for a request is reserved here, once, and nowhere further in.
//! 4. Absent on purpose: rules of storage, layout and repair. Handlers ask and pass on.

mod attest;
mod body;
mod conditions;
pub(crate) mod connections;
mod content;
mod extract;
mod fragments;
pub(crate) mod health;
pub(crate) mod memory;
mod problems;
mod range;
mod scrub;
mod settings;
pub(crate) mod socket;
mod status;
mod tesseras;
#[cfg(test)]
mod tests;
mod unchanging;
mod verify;

use std::{path::PathBuf, sync::Arc, time::Instant};

use actors::System;
use axum::{
    Router,
    routing::{get, post},
};
use tokio_util::sync::CancellationToken;

use crate::{keys::Keys, reload::Reload};
use health::Health;
use memory::Memory;

/// What the endpoints ask.
#[derive(Debug)]
pub(crate) struct Node {
    /// The actors.
    pub(crate) system: System,
    /// Who this node is.
    pub(crate) keys: Keys,
    /// Memory for requests.
    pub(crate) memory: Memory,
    /// The settings.
    pub(crate) reload: Arc<Reload>,
    /// Where everything is kept.
    pub(crate) data_dir: PathBuf,
    /// When it was started.
    pub(crate) started: Instant,
    /// Ends the daemon.
    pub(crate) stop: CancellationToken,
}

/// Every endpoint of the socket.
pub(crate) fn router(node: Arc<Node>, health: Health) -> Router {
    Router::new()
        .route("/v1/status", get(status::status))
        .route("/v1/actors", get(status::actors))
        .route("/v1/config", get(settings::show))
        .route("/v1/config/reload", post(settings::reload))
        .route("/v1/scrub", get(scrub::status))
        .route("/v1/scrub/start", post(scrub::start))
        .route("/v1/scrub/pause", post(scrub::pause))
        .route("/v1/shutdown", post(status::shutdown))
        .route("/v1/tesseras", get(tesseras::list).post(tesseras::make))
        .route("/v1/tesseras/{id}", get(tesseras::show).delete(tesseras::forget))
        .route("/v1/tesseras/{id}/content", get(content::whole))
        .route("/v1/tesseras/{id}/files/{*path}", get(content::file))
        .route("/v1/tesseras/{id}/fragments", get(fragments::list))
        .route(
            "/v1/tesseras/{id}/fragments/{stripe}/{index}",
            get(fragments::get).put(fragments::put).delete(fragments::drop),
        )
        .route("/v1/tesseras/{id}/verify", post(verify::verify))
        .route("/v1/tesseras/{id}/attest", post(attest::attest))
        .method_not_allowed_fallback(problems::no_method)
        .with_state(node)
        .merge(health::routes(health))
        .fallback(problems::no_endpoint)
}

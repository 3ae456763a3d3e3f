//! The admin server: HTTP/1.1 with JSON on a Unix socket, for the command line and for programs on this machine.
//!
//! # Invariants
//! 1. A request is parsed here, once, into types that can't be wrong; no path is built from what came in.
//! 2. Every error is a problem document; a stream that fails midway breaks off and never ends as if it were whole.
//! 3. Memory for a request is reserved here, once, and nowhere further in.
//! 4. What an endpoint does not take is refused by name.
//! 5. Absent on purpose: rules of storage, layout and repair. Handlers ask and pass on.

#![allow(unused_qualifications, reason = "utoipa qualifies what it finds in its attributes")]

mod attest;
mod blocked;
mod body;
mod callers;
mod changes;
mod conditions;
pub(crate) mod connections;
mod content;
pub(crate) mod events;
mod expected;
mod explain;
mod extract;
mod fragments;
mod gone;
pub(crate) mod health;
mod holders;
mod index;
mod invites;
mod jobs;
mod ledger;
mod look;
pub(crate) mod memory;
mod openapi;
mod outgoing;
mod pace;
mod panics;
mod peers;
mod pieces;
mod pool;
mod problems;
mod range;
mod recover;
mod refusals;
mod scrub;
mod settings;
pub(crate) mod socket;
mod status;
mod tesseras;
#[cfg(test)]
mod tests;
mod trace;
mod unchanging;
mod verify;
mod watched;

use std::{path::PathBuf, sync::Arc, time::Instant};

use actors::System;
use axum::{Router, middleware};
use config::NetworkConfig;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{keys::Keys, reload::Reload};
use events::Events;
use expected::Expected;
use health::Health;
use memory::Memory;

/// What the endpoints ask.
#[derive(Debug)]
pub(crate) struct Node {
    /// The actors.
    pub(crate) system: System,
    /// Who this node is.
    pub(crate) keys: Keys,
    /// Where is told what happens.
    pub(crate) events: Events,
    /// Memory for requests.
    pub(crate) memory: Memory,
    /// The settings.
    pub(crate) reload: Arc<Reload>,
    /// What the settings say of other nodes.
    pub(crate) network: NetworkConfig,
    /// Where everything is kept.
    pub(crate) data_dir: PathBuf,
    /// When it was started.
    pub(crate) started: Instant,
    /// Why health and metrics are not served over TCP although they should be.
    pub(crate) not_watched: watch::Receiver<Option<String>>,
    /// Ends the daemon.
    pub(crate) stop: CancellationToken,
}

/// Every endpoint of the socket.
pub(crate) fn router(node: Arc<Node>, health: Health) -> Router {
    Router::from(endpoints())
        .method_not_allowed_fallback(problems::no_method)
        .layer(middleware::from_fn(trace::within_span))
        .with_state(node)
        .merge(health::router(health))
        .layer(middleware::from_fn_with_state(Expected::new(document()), expected::only))
        .fallback(problems::no_endpoint)
}

/// What they are.
fn document() -> utoipa::openapi::OpenApi {
    let mut document = endpoints().into_openapi();
    document.merge(health::endpoints().into_openapi());
    openapi::complete(document)
}

/// The endpoints that ask the node, and what they are.
fn endpoints() -> OpenApiRouter<Arc<Node>> {
    OpenApiRouter::with_openapi(openapi::Preamble::openapi())
        .routes(routes!(openapi::openapi))
        .routes(routes!(status::status))
        .routes(routes!(status::actors))
        .routes(routes!(settings::show))
        .routes(routes!(settings::reload))
        .routes(routes!(explain::explain))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::show, jobs::cancel))
        .routes(routes!(explain::cache))
        .routes(routes!(index::rebuild))
        .routes(routes!(index::snapshot))
        .routes(routes!(scrub::status))
        .routes(routes!(scrub::start))
        .routes(routes!(scrub::pause))
        .routes(routes!(status::shutdown))
        .routes(routes!(events::events))
        .routes(routes!(tesseras::list, tesseras::make))
        .routes(routes!(tesseras::show, tesseras::forget))
        .routes(routes!(content::whole))
        .routes(routes!(content::file))
        .routes(routes!(fragments::list))
        .routes(routes!(fragments::get, fragments::put, fragments::drop))
        .routes(routes!(verify::verify))
        .routes(routes!(jobs::publish))
        .routes(routes!(jobs::fetch))
        .routes(routes!(jobs::repair))
        .routes(routes!(recover::recover))
        .routes(routes!(attest::attest))
        .routes(routes!(holders::list))
        .routes(routes!(holders::attest))
        .routes(routes!(holders::prove))
        .routes(routes!(peers::list, peers::add))
        .routes(routes!(peers::remove))
        .routes(routes!(peers::ping))
        .routes(routes!(peers::explain))
        .routes(routes!(pool::pool))
        .routes(routes!(ledger::ledger))
        .routes(routes!(invites::list, invites::invite))
        .routes(routes!(invites::revoke))
        .routes(routes!(invites::join))
        .routes(routes!(blocked::list, blocked::block))
        .routes(routes!(blocked::unblock))
}

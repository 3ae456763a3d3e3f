//! `/livez`, `/readyz` and `/metrics`: on the socket, and over TCP for those who watch from outside.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use actors::{ActorError, System, supervision::Standing};
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{memory::Memory, problems};
use crate::{
    page::Page,
    problem::{Kind, Problem},
    telemetry::metrics::{self, Metrics, Part},
};

/// What these endpoints look at.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    /// Set when the node stops taking requests. There is nothing to ask before it takes them.
    pub(crate) draining: CancellationToken,
    /// The node's metrics.
    pub(crate) metrics: Metrics,
    /// What brings the gauges up to date before they are read.
    pub(crate) system: System,
    /// That of requests.
    pub(crate) memory: Memory,
}

impl Health {
    /// Brings the gauges up to date, for whoever is about to read them.
    pub(crate) async fn measure(&self) -> Result<(), ActorError> {
        self.metrics.holds(Part::Requests, self.memory.held_bytes());
        let held = self.system.measure().await?;
        self.metrics.holds(Part::Cache, held.cache_bytes);
        self.metrics.holds(Part::Locations, held.location_map_bytes);
        Ok(())
    }
}

/// The three endpoints and what they are.
pub(super) fn endpoints() -> OpenApiRouter<Health> {
    OpenApiRouter::new().routes(routes!(alive)).routes(routes!(ready)).routes(routes!(text))
}

/// The three endpoints.
pub(crate) fn router(health: Health) -> Router {
    Router::from(endpoints()).method_not_allowed_fallback(problems::no_method).with_state(health)
}

/// The three endpoints and the status page, and nothing else, for TCP at this address.
pub(crate) fn tcp_router(health: Health, page: Page, address: SocketAddr) -> Router {
    router(health)
        .merge(page.routes())
        .method_not_allowed_fallback(problems::no_method)
        .fallback(problems::no_endpoint)
        .layer(middleware::from_fn_with_state(address, only_for_this_host))
}

/// Whether the process runs
#[utoipa::path(
    get, path = "/livez", operation_id = "livez", tag = "health",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"))
)]
async fn alive() -> &'static str {
    "alive\n"
}

/// Whether it takes requests
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "health",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"))
)]
async fn ready(State(health): State<Health>) -> Result<&'static str, Problem> {
    let hindrance = match health.draining.is_cancelled() {
        true => Some("the node is stopping".to_owned()),
        false => hindrance(&health.system.standing.borrow()),
    };
    hindrance.map_or(Ok("ready\n"), |why| Err(Problem::new(Kind::Unavailable, why)))
}

/// What keeps the actors from serving anything. The others are asked by few, and are back within moments.
fn hindrance(standing: &Standing) -> Option<String> {
    let gives_up = standing.fatal.as_ref().map(|reason| format!("the node gives up: {reason}"));
    let storage = standing.actors.iter().find(|actor| actor.name == actors::storage::NAME);
    let is_down = storage.is_none_or(|storage| !storage.running);
    gives_up.or_else(|| is_down.then(|| "storage is being started".to_owned()))
}

/// What it counts
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "health",
    responses((status = 200, description = "As Prometheus reads it", body = String, content_type = "text/plain"))
)]
async fn text(State(health): State<Health>) -> Result<Response, Problem> {
    // While an actor restarts its gauges stay as they were: metrics are wanted most when something is wrong.
    match timeout(MEASURE_DEADLINE, health.measure()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the gauges are not up to date"),
        Err(_) => tracing::debug!("the gauges are not up to date: storage takes too long"),
    }
    Ok(([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], health.metrics.text()?).into_response())
}

async fn only_for_this_host(
    State(address): State<SocketAddr>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if is_for(address, request.headers()) {
        Ok(next.run(request).await)
    } else {
        let detail = format!("this is {address}; requests for other hosts are not answered here");
        Err(Problem::new(Kind::Misdirected, detail))
    }
}

/// Whether a request names this machine. A page from the internet can make its own host name point to 127.0.0.1 (DNS
/// rebinding), and a browser then lets it read what it gets; it cannot make the browser send another name than its
/// own. Whoever listens for other machines has names we don't know and has opened it to them.
fn is_for(address: SocketAddr, headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    !address.ip().is_loopback() || is_local_name(without_port(host))
}

fn is_local_name(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whoever reads metrics does so every few seconds and does not wait long.
const MEASURE_DEADLINE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use actors::supervision::ActorStatus;

    use super::*;

    #[test]
    fn node_is_ready_while_its_storage_runs_and_it_has_not_given_up() {
        let actor =
            |name, running| ActorStatus { name, running, restarts: 0, last_fall: None, last_fall_ms: None };
        let standing = |storage, fatal: Option<&str>| Standing {
            actors: vec![actor("storage", storage), actor("cache", false)],
            fatal: fatal.map(str::to_owned),
        };
        assert_eq!(hindrance(&standing(true, None)), None);
        assert_eq!(hindrance(&standing(false, None)).unwrap(), "storage is being started");
        let fatal = hindrance(&standing(true, Some("it fell too often"))).unwrap();
        assert_eq!(fatal, "the node gives up: it fell too often");
        assert!(hindrance(&Standing::default()).is_some());
    }

    #[track_caller]
    fn check(address: &str, host: Option<&str>, expected: bool) {
        let headers = host.map(|host| (header::HOST, host.parse().unwrap())).into_iter().collect();
        assert_eq!(is_for(address.parse().unwrap(), &headers), expected, "{address} {host:?}");
    }

    #[test]
    fn loopback_answers_only_to_names_of_this_machine() {
        for host in ["127.0.0.1:9190", "127.0.0.1", "localhost:9190", "LocalHost", "[::1]:9190", "[::1]"] {
            check("127.0.0.1:9190", Some(host), true);
        }
        for host in
            ["evil.example:9190", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", ""]
        {
            check("127.0.0.1:9190", Some(host), false);
        }
        check("127.0.0.1:9190", None, false);
    }

    #[test]
    fn address_open_to_the_network_answers_to_every_name() {
        check("0.0.0.0:9190", Some("attic.lan:9190"), true);
        check("192.0.2.7:9190", Some("attic.lan:9190"), true);
    }
}

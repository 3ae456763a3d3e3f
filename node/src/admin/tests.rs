//! The server as a client sees it, over a real socket.

use std::{path::PathBuf, sync::Arc, time::Duration};

use actors::{System, SystemConfig};
use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use config::StorageConfig;
use futures::{StreamExt, stream};
use proto::NodeKey;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::Semaphore,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    connections::{self, Bounds},
    health,
    memory::Memory,
    problems,
    socket::{Place, Socket},
};
use crate::{
    client::Client,
    failure::Failure,
    problem::{Kind, Problem},
    telemetry::metrics::Metrics,
};

const BOUNDS: Bounds =
    Bounds { connections: 8, silence: Duration::from_secs(60), drain: Duration::from_secs(10) };

/// A server in a folder of its own.
struct Server {
    _dir: tempfile::TempDir,
    path: PathBuf,
    draining: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(router: Router, bounds: Bounds) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.sock");
        let place = Place { path: path.clone(), group: None, data_dir: dir.path().to_owned() };
        let socket = Socket::bind(&place).await.unwrap();
        let draining = CancellationToken::new();
        let actors = SystemConfig::new(StorageConfig::with_defaults(dir.path()), NodeKey::from_seed([1; 32]));
        let metrics = Metrics::new(None).unwrap();
        let health = health::Health {
            draining: draining.clone(),
            metrics: metrics.clone(),
            system: System::start(actors).await.unwrap(),
            memory: Memory::new(actors::budget::Budget::new(1 << 20)),
        };
        let router = router.merge(health::router(health)).fallback(problems::no_endpoint);
        let task = tokio::spawn(connections::serve(socket, router, bounds, metrics, draining.clone()));
        Self { _dir: dir, path, draining, task }
    }

    async fn with(router: Router) -> Self {
        Self::start(router, BOUNDS).await
    }

    fn client(&self) -> Client {
        Client::new(self.path.clone())
    }

    async fn say(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(&self.path).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

fn problem(failure: Failure) -> Problem {
    match failure {
        Failure::Problem(problem) => *problem,
        Failure::ClosedPipe => panic!("no problem"),
    }
}

#[test]
fn document_names_the_paths_that_are_routed() {
    // Routers tell their paths to nobody else.
    let routed = format!("{:?} {:?}", Router::from(super::endpoints()), Router::from(health::endpoints()));
    let is_ours = |text: &&str| text.len() > 1 && text.starts_with('/') && !text.contains("__private__");
    let mut routed: Vec<String> =
        routed.split('"').filter(is_ours).map(|path| path.replace("{*", "{")).collect();
    routed.sort_unstable();
    routed.dedup();
    assert!(routed.len() > 10, "{routed:?}");
    let described: Vec<String> = super::document().paths.paths.into_keys().collect();
    assert_eq!(described, routed);
}

#[tokio::test]
async fn endpoint_that_does_not_exist_is_a_problem_document() {
    let server = Server::with(Router::new()).await;
    let problem = problem(server.client().get::<()>("/v1/nothing").await.unwrap_err());
    assert_eq!(
        (problem.kind(), problem.detail.as_str()),
        (Kind::NotFound, "there is no endpoint /v1/nothing")
    );
    let answer = server.say("POST /livez HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    assert!(answer.contains("content-type: application/problem+json"), "{answer}");
}

#[tokio::test]
async fn request_that_panics_is_answered_as_a_fault_of_the_node_however_often() {
    let router = Router::new().route("/poisoned", get(async || -> String { panic!("asked to") }));
    let server = Server::with(router).await;
    for _ in 0..3 * BOUNDS.connections {
        let problem = problem(server.client().get::<()>("/poisoned").await.unwrap_err());
        assert_eq!((problem.kind(), problem.status()), (Kind::Internal, 500));
        assert!(server.say(ALIVE).await.starts_with("HTTP/1.1 200"));
    }
    let refused = format!("tesseras_admin_refusals_total{{reason=\"internal\"}} {}", 3 * BOUNDS.connections);
    let metrics = server.say("GET /metrics HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").await;
    assert!(metrics.contains(&refused), "{metrics}");
}

#[tokio::test]
async fn body_that_panics_midway_breaks_off_however_often() {
    let body = async || {
        let pieces = stream::iter(0..2).map(|piece| match piece {
            0 => Ok::<_, std::convert::Infallible>(Bytes::from_static(b"we went")),
            _ => panic!("asked to"),
        });
        Body::from_stream(pieces)
    };
    let server = Server::with(Router::new().route("/poisoned", get(body))).await;
    for _ in 0..3 * BOUNDS.connections {
        let answer = server.say("GET /poisoned HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").await;
        assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
        assert!(server.say(ALIVE).await.starts_with("HTTP/1.1 200"));
    }
}

const ALIVE: &str = "GET /livez HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n";

/// A socket whose callers are all other users.
struct Strangers(Socket);

impl connections::Listener for Strangers {
    type Stream = UnixStream;

    async fn accept(&self) -> std::io::Result<(UnixStream, bool)> {
        self.0.accept().await.map(|(stream, _)| (stream, false))
    }
}

#[tokio::test]
async fn another_user_is_not_permitted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.sock");
    let place = Place { path: path.clone(), group: None, data_dir: dir.path().to_owned() };
    let listener = Strangers(Socket::bind(&place).await.unwrap());
    let router = Router::new().route("/v1/status", get(async || "secret"));
    let draining = CancellationToken::new();
    let metrics = Metrics::new(None).unwrap();
    tokio::spawn(connections::serve(listener, router, BOUNDS, metrics.clone(), draining));
    let refused = problem(Client::new(path).get::<()>("/v1/status").await.unwrap_err());
    assert_eq!(refused.kind(), Kind::NotPermitted);
    assert!(refused.detail.contains("sudo"), "{}", refused.detail);
    let text = metrics.text().unwrap();
    assert!(text.contains(r#"tesseras_admin_refusals_total{reason="not-permitted"} 1"#), "{text}");
}

#[tokio::test]
async fn busy_says_when_to_try_again() {
    let busy = async || Problem::new(Kind::Busy, "all slots are taken");
    let server = Server::with(Router::new().route("/busy", get(busy))).await;
    let answer = server.say("GET /busy HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1\r\n"), "{answer}");
}

#[tokio::test]
async fn stream_that_fails_midway_is_a_failure_for_the_client() {
    let broken = async || {
        let pieces = [Ok(Bytes::from_static(b"first")), Err(std::io::Error::other("the disk is gone"))];
        Body::from_stream(stream::iter(pieces))
    };
    let server = Server::with(Router::new().route("/broken", get(broken))).await;
    let received = async {
        let mut download = server.client().download("/broken").await?;
        let mut received = Vec::new();
        while let Some(bytes) = download.next().await? {
            received.extend_from_slice(&bytes);
        }
        Ok(received)
    };
    assert_eq!(problem(received.await.unwrap_err()).kind(), Kind::Io);
}

/// Tells when it is dropped.
struct Held(Arc<Semaphore>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

#[tokio::test]
async fn caller_that_takes_nothing_is_cut_and_what_it_held_is_free() {
    let freed = Arc::new(Semaphore::new(0));
    let endless = {
        let freed = Arc::clone(&freed);
        async move || {
            let held = Held(freed);
            Body::from_stream(stream::iter(0_u64..).map(move |_| {
                let _ = &held;
                Ok::<_, std::io::Error>(Bytes::from_static(&[0; 1 << 16]))
            }))
        }
    };
    let bounds = Bounds { silence: Duration::from_millis(10), ..BOUNDS };
    let server = Server::start(Router::new().route("/endless", get(endless)), bounds).await;
    let mut stream = UnixStream::connect(&server.path).await.unwrap();
    stream.write_all(b"GET /endless HTTP/1.1\r\nhost: node\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let freed = timeout(Duration::from_secs(20), freed.acquire()).await;
    assert!(freed.is_ok(), "it is held for as long as the caller likes");
}

#[tokio::test]
async fn caller_that_ends_what_it_sends_gets_its_answer() {
    let slow = async || {
        tokio::time::sleep(Duration::from_millis(20)).await;
        "at last"
    };
    let server = Server::with(Router::new().route("/slow", get(slow))).await;
    let mut stream = UnixStream::connect(&server.path).await.unwrap();
    stream.write_all(b"GET /slow HTTP/1.1\r\nhost: node\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("at last"), "{answer}");
}

#[tokio::test]
async fn caller_that_is_gone_is_noticed_though_nothing_is_written_to_it() {
    let (entered, freed) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let endless = {
        let (entered, freed) = (Arc::clone(&entered), Arc::clone(&freed));
        async move || {
            let _held = Held(freed);
            entered.add_permits(1);
            std::future::pending::<&str>().await
        }
    };
    let server = Server::with(Router::new().route("/endless", get(endless))).await;
    for ends_first in [false, true] {
        let mut stream = UnixStream::connect(&server.path).await.unwrap();
        stream.write_all(b"GET /endless HTTP/1.1\r\nhost: node\r\n\r\n").await.unwrap();
        entered.acquire().await.unwrap().forget();
        if ends_first {
            stream.shutdown().await.unwrap();
            let early = timeout(Duration::from_millis(50), freed.acquire()).await;
            assert!(early.is_err(), "it waits for its answer");
        }
        drop(stream);
        let freed = timeout(Duration::from_secs(20), freed.acquire()).await;
        freed.expect("it is worked for nobody").unwrap().forget();
    }
}

#[tokio::test]
async fn head_that_is_too_long_is_refused() {
    let server = Server::with(Router::new()).await;
    let padding = "x".repeat(64 << 10);
    let mut stream = UnixStream::connect(&server.path).await.unwrap();
    // The server may hang up before it has taken everything.
    let _ = stream
        .write_all(format!("GET /livez HTTP/1.1\r\nhost: node\r\nx: {padding}\r\n\r\n").as_bytes())
        .await;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 431");
}

#[tokio::test]
async fn drain_lets_the_request_under_way_finish() {
    let gate = Arc::new(Semaphore::new(0));
    let entered = Arc::new(Semaphore::new(0));
    let handler = {
        let (gate, entered) = (Arc::clone(&gate), Arc::clone(&entered));
        async move || {
            entered.add_permits(1);
            drop(gate.acquire().await);
            "\"done\""
        }
    };
    let server = Server::with(Router::new().route("/slow", get(handler))).await;
    let client = server.client();
    let request = tokio::spawn(async move { client.get::<String>("/slow").await });
    drop(entered.acquire().await.unwrap());
    server.draining.cancel();
    gate.add_permits(1);
    assert_eq!(request.await.unwrap().unwrap(), "done");
    server.task.await.unwrap();
    let refused = problem(Client::new(server.path.clone()).get::<()>("/livez").await.unwrap_err());
    assert_eq!(refused.kind(), Kind::NotRunning);
}

#[tokio::test]
async fn drain_cuts_what_is_left_at_the_deadline() {
    let entered = Arc::new(Semaphore::new(0));
    let handler = {
        let entered = Arc::clone(&entered);
        async move || {
            entered.add_permits(1);
            std::future::pending::<&str>().await
        }
    };
    let router = Router::new().route("/endless", get(handler));
    let server = Server::start(router, Bounds { drain: Duration::from_millis(10), ..BOUNDS }).await;
    let client = server.client();
    let request = tokio::spawn(async move { client.get::<String>("/endless").await });
    drop(entered.acquire().await.unwrap());
    server.draining.cancel();
    server.task.await.unwrap();
    assert_eq!(problem(request.await.unwrap().unwrap_err()).kind(), Kind::Io);
}

#[tokio::test]
async fn connection_beyond_the_bound_takes_the_place_of_one_that_waits() {
    let server = Server::start(Router::new(), Bounds { connections: 1, ..BOUNDS }).await;
    let mut idle = UnixStream::connect(&server.path).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: node\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert!(server.client().download("/livez").await.is_ok());
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"alive\n"), "it is closed, and had its answer before");
}

#[tokio::test]
async fn connection_beyond_the_bound_waits_for_a_request_under_way() {
    let gate = Arc::new(Semaphore::new(0));
    let entered = Arc::new(Semaphore::new(0));
    let handler = {
        let (gate, entered) = (Arc::clone(&gate), Arc::clone(&entered));
        async move || {
            entered.add_permits(1);
            drop(gate.acquire().await);
            "\"done\""
        }
    };
    let router = Router::new().route("/slow", get(handler));
    let server = Server::start(router, Bounds { connections: 1, ..BOUNDS }).await;
    let (first, second) = (server.client(), server.client());
    let first = tokio::spawn(async move { first.get::<String>("/slow").await });
    drop(entered.acquire().await.unwrap());
    let second = tokio::spawn(async move { second.download("/livez").await });
    let _ = UnixStream::connect(&server.path).await.unwrap();
    assert!(!second.is_finished());
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().unwrap(), "done");
    assert!(second.await.unwrap().is_ok());
}

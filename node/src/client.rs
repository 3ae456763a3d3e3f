//! The command line's side of the admin socket.
//!
//! # Invariants
//! 1. One connection per request; nothing is kept between two of them.
//! 2. An answer that breaks off is a failure, never a shorter answer.
//! 3. Nobody is waited for without end who does not answer at all: what is read in a moment has to come in time, and
//!    before anything that may take long the daemon has to show that it answers.

use std::{
    error::Error,
    future::Future,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use config::MACHINE_SOCKET;
use http_body_util::{BodyExt, Empty, Full, Limited, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, task::JoinSet, time::timeout};

use crate::{
    args::this_node,
    failure::Failure,
    problem::{self, Kind, Problem},
    progress,
};

/// A body that may fail while it is sent.
pub(crate) type Upload = BoxBody<Bytes, io::Error>;

/// Talks to the daemon that listens on a socket.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: PathBuf,
    /// How long the daemon may take for what it answers at once.
    patience: Duration,
}

impl Client {
    /// For the daemon on this socket. Nothing is connected yet.
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket, patience: PATIENCE }
    }

    /// The same, and waits no longer than this for what is answered at once.
    pub(crate) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The JSON at this path, which is there in a moment.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.in_time(self.ask(Method::GET, path)).await
    }

    /// Calls an endpoint that takes nothing and answers with JSON, when it is done.
    pub(crate) async fn call<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, Failure> {
        self.must_answer().await?;
        progress::patiently(WAITING, self.ask(method, path)).await
    }

    /// Sends JSON to an endpoint, which answers with JSON when it is done.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| {
            Failure::new(Kind::Internal, format!("the request for {path} cannot be written as JSON: {error}"))
        })?;
        let body = Full::from(body).map_err(|never| match never {}).boxed();
        progress::patiently(WAITING, self.upload(Method::POST, path, body)).await
    }

    /// Sends a body and reads JSON.
    pub(crate) async fn upload<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Upload,
    ) -> Result<T, Failure> {
        self.must_answer().await?;
        read_json(self.send(method, path, JSON, body).await?).await
    }

    /// The bytes at this path, as they come.
    pub(crate) async fn download(&self, path: &str) -> Result<Download, Failure> {
        self.receive(Method::GET, path, ANYTHING).await
    }

    /// Calls an endpoint and receives an answer of this media type, as it comes.
    pub(crate) async fn receive(
        &self,
        method: Method,
        path: &str,
        accept: &str,
    ) -> Result<Download, Failure> {
        self.must_answer().await?;
        let answer = self.send(method, path, accept, nothing());
        let Answer { response, connection } = progress::patiently(WAITING, answer).await?;
        Ok(Download { body: response.into_body(), _connection: connection })
    }

    /// What takes long cannot tell a daemon that works from one that is stopped; this can.
    async fn must_answer(&self) -> Result<(), Failure> {
        self.in_time(self.send(Method::GET, ALIVE, ANYTHING, nothing())).await.map(drop)
    }

    async fn in_time<T>(&self, answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let answer = progress::patiently(NO_ANSWER_YET, timeout(self.patience, answer));
        answer.await.unwrap_or_else(|_| Err(self.silent()))
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, Failure> {
        read_json(self.send(method, path, JSON, nothing()).await?).await
    }

    async fn send(&self, method: Method, path: &str, accept: &str, body: Upload) -> Result<Answer, Failure> {
        let (mut sender, connection) = self.connect().await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, HOST)
            .header(header::ACCEPT, accept)
            .body(body)
            .map_err(|error| {
                Failure::new(Kind::Internal, format!("the request for {path} is malformed: {error}"))
            })?;
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        if response.status().is_success() {
            Ok(Answer { response, connection })
        } else {
            Err(read_problem(response).await)
        }
    }

    /// A connection; it ends with the set that drives it, even in the middle of a body.
    async fn connect(&self) -> Result<(SendRequest<Upload>, JoinSet<()>), Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(&error))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        let mut driver = JoinSet::new();
        driver.spawn(async {
            // Its error reaches the request or the body that it breaks.
            let _ = connection.await;
        });
        Ok((sender, driver))
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let socket = self.socket.display();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Failure::new(
                Kind::NotPermitted,
                format!(
                    "{socket} may not be opened: use `sudo`, or join the group that admin.socket_group names"
                ),
            ),
            // As many wait already as may.
            io::ErrorKind::WouldBlock => self.silent(),
            _ => Failure::new(
                Kind::NotRunning,
                format!(
                    "no daemon answers on {socket} ({error}): start one with `{}`, or name its socket with --socket",
                    starting(&self.socket, UNIT_FILES.iter().any(|unit| Path::new(unit).exists()))
                ),
            ),
        }
    }

    /// Somebody has the socket and says nothing.
    fn silent(&self) -> Failure {
        let (socket, waited) = (self.socket.display(), self.patience.as_secs());
        let detail = format!(
            "the daemon on {socket} has not answered for {waited} s: {} is starting, waits for its disk, or is stopped; \
             try again, and see `{} doctor`. {IF_SILENT}",
            self.process(),
            this_node()
        );
        Failure::new(Kind::NoAnswer, detail)
    }

    /// Who has the socket, as the system knows without its help.
    fn process(&self) -> String {
        let stream = std::os::unix::net::UnixStream::connect(&self.socket).ok();
        let peer = stream.and_then(|stream| rustix::net::sockopt::socket_peercred(&stream).ok());
        peer.map_or_else(|| "it".to_owned(), |peer| format!("process {}", peer.pid))
    }
}

/// The head of an answer, and what drives the rest.
struct Answer {
    response: Response<Incoming>,
    connection: JoinSet<()>,
}

/// Bytes being received.
#[derive(Debug)]
pub(crate) struct Download {
    body: Incoming,
    _connection: JoinSet<()>,
}

impl Download {
    /// How many bytes it will be, if the daemon said so.
    pub(crate) fn length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(bytes) = frame.map_err(|error| broken(&error))?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// All of them, if there are not more than so many.
    pub(crate) async fn whole(self, limit: usize) -> Result<Bytes, Failure> {
        match Limited::new(self.body, limit).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => Err(Failure::new(Kind::Io, format!("the daemon broke off: {error}; see its log"))),
        }
    }
}

/// What to type to start the daemon that listens here: the machine's own is a service where the package is installed.
fn starting(socket: &Path, is_service: bool) -> String {
    if is_service && socket == Path::new(MACHINE_SOCKET) {
        "systemctl start tesseras".to_owned()
    } else {
        format!("{} run", this_node())
    }
}

/// This program, as it was called.
pub(crate) fn program() -> String {
    let called = std::env::args_os().next().map(|name| name.to_string_lossy().into_owned());
    called.unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned())
}

/// A path with every segment escaped (RFC 3986), so that any name can stand in it.
pub(crate) fn path<const N: usize>(segments: [&str; N]) -> String {
    segments.map(|segment| format!("/{}", escape(segment))).concat()
}

fn escape(segment: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    segment
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn nothing() -> Upload {
    Empty::new().map_err(|never| match never {}).boxed()
}

async fn read_json<T: DeserializeOwned>(answer: Answer) -> Result<T, Failure> {
    let Answer { response, connection: _connection } = answer;
    let no_content = response.status() == StatusCode::NO_CONTENT;
    let body = response.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes();
    let json = if no_content { b"null" } else { body.as_ref() };
    serde_json::from_slice(json).map_err(|error| {
        let detail =
            format!("the daemon's answer is not understood ({error}): is it of another version? Restart it");
        Failure::new(Kind::Internal, detail)
    })
}

async fn read_problem(response: Response<Incoming>) -> Failure {
    let status = response.status();
    let is_problem =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == problem::MEDIA_TYPE);
    let body = Limited::new(response.into_body(), PROBLEM_BYTES_MAX).collect().await;
    let problem = body
        .ok()
        .filter(|_| is_problem)
        .and_then(|body| serde_json::from_slice::<Problem>(&body.to_bytes()).ok());
    match problem {
        Some(problem) => problem.into(),
        None => Failure::new(
            Kind::Internal,
            format!("the daemon answered with {status} and no reason; see its log"),
        ),
    }
}

fn broken(error: &hyper::Error) -> Failure {
    let cause = error.source().map(|source| format!(" ({source})")).unwrap_or_default();
    let detail = format!("the daemon broke off: {error}{cause}; see its log");
    Failure::new(Kind::Io, detail)
}

/// What to do about a daemon that does not answer.
pub(crate) const IF_SILENT: &str = "`ps` says whether it is stopped (state T: `kill -CONT` makes it go on) or waits for \
     its disk (state D: see `dmesg`), and its log what it did last (`journalctl -u tesseras` for a service)";
/// How long the daemon may take for what it answers at once. What waits for a place there is told so before, after 30 s.
const PATIENCE: Duration = Duration::from_secs(40);
const HOST: &str = "node";
const ALIVE: &str = "/livez";
const WAITING: &str = "waiting for the daemon";
const NO_ANSWER_YET: &str = "the daemon does not answer yet";
const JSON: &str = "application/json";
const ANYTHING: &str = "*/*";
/// Refusals may name many files, one a line.
const PROBLEM_BYTES_MAX: usize = 16 << 20;

/// Where the package and its operator put the service of this machine.
const UNIT_FILES: [&str; 2] =
    ["/usr/lib/systemd/system/tesseras.service", "/etc/systemd/system/tesseras.service"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_of_the_machine_is_started_as_one() {
        let machines = Path::new(MACHINE_SOCKET);
        assert_eq!(starting(machines, true), "systemctl start tesseras");
        assert!(starting(machines, false).ends_with(" run"));
        assert!(starting(Path::new("/nowhere/node.sock"), true).ends_with(" run"));
    }

    #[test]
    fn path_with_any_name_is_escaped() {
        assert_eq!(path(["v1", "tesseras", "tess1qq"]), "/v1/tesseras/tess1qq");
        assert_eq!(path(["files", "a b/100%?#é.jpg"]), "/files/a%20b/100%25%3F%23%C3%A9.jpg");
    }

    #[tokio::test]
    async fn missing_socket_is_named() {
        let client = Client::new("/nowhere/node.sock".into());
        let failure = client.get::<()>("/v1/status").await.unwrap_err();
        let Failure::Problem(problem) = failure else { panic!("{failure:?}") };
        assert_eq!(problem.kind(), Kind::NotRunning);
        assert!(problem.detail.contains("/nowhere/node.sock"), "{}", problem.detail);
    }

    #[tokio::test]
    async fn daemon_that_takes_no_request_is_not_waited_for_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.sock");
        // As one that is stopped: the system connects, and nobody reads.
        let _stopped = tokio::net::UnixListener::bind(&path).unwrap();
        let client = Client::new(path).with_patience(Duration::from_millis(20));
        let outcomes = [
            client.get::<()>("/v1/status").await,
            client.call::<()>(Method::POST, "/v1/index/rebuild").await,
            client.upload::<()>(Method::POST, "/v1/tesseras", nothing()).await,
            client.download("/v1/events").await.map(drop),
        ];
        let me = std::process::id().to_string();
        for outcome in outcomes {
            let Failure::Problem(problem) = outcome.unwrap_err() else { panic!("it is no closed pipe") };
            assert_eq!((problem.kind(), problem.kind().exit()), (Kind::NoAnswer, crate::exit::Exit::Busy));
            assert!(problem.detail.contains(&format!("process {me} is")), "{}", problem.detail);
        }
    }
}

//! Callers that send or take a byte a second, close half of their connection, or only sit there; and come back when they
//! are thrown out.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tests::{http::request, node::TestNode};

/// Sits there for so long.
pub(crate) fn attack(node: &TestNode, duration: Duration) {
    raise_the_limit_of_descriptors();
    let id = node.keep("film", &film(), &["--public"]);
    let socket = node.socket();
    let mut callers = callers(&id);
    let end = Instant::now() + duration;
    while Instant::now() < end {
        let tick = Instant::now() + TICK;
        for caller in &mut callers {
            // Whoever is thrown out comes back.
            if caller.go_on(&socket).is_err() {
                caller.stream = None;
            }
        }
        std::thread::sleep(tick.saturating_duration_since(Instant::now()));
    }
}

/// A caller.
struct Caller {
    kind: Kind,
    /// What it has to say.
    request: Vec<u8>,
    said: usize,
    stream: Option<UnixStream>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Says all at once, and then nothing.
    Idle,
    /// Says all at once, and takes a byte of the answer at a time.
    SlowReader,
    /// Says a byte at a time.
    SlowWriter,
    /// Says all at once, and that it will say nothing more.
    HalfClosed,
}

impl Caller {
    fn new(kind: Kind, request: Vec<u8>) -> Self {
        Self { kind, request, said: 0, stream: None }
    }

    fn go_on(&mut self, socket: &Path) -> io::Result<()> {
        if self.stream.is_none() {
            (self.stream, self.said) = (Some(UnixStream::connect(socket)?), 0);
        }
        let Some(stream) = &mut self.stream else { return Ok(()) };
        stream.set_nonblocking(true)?;
        let step = if self.kind == Kind::SlowWriter { 1 } else { usize::MAX };
        let rest = self.request.get(self.said..).unwrap_or_default();
        let some = rest.get(..step.min(rest.len())).unwrap_or_default();
        if !some.is_empty() {
            self.said += patient(stream.write(some))?;
            if self.kind == Kind::HalfClosed {
                stream.shutdown(Shutdown::Write)?;
            }
        }
        match (self.kind, patient(stream.read(&mut [0; 1]).map(|read| read + 1))?) {
            // The end of it.
            (_, 1) => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// Nothing, when there is nothing to be done at the moment.
fn patient(outcome: io::Result<usize>) -> io::Result<usize> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        outcome => outcome,
    }
}

fn callers(id: &str) -> Vec<Caller> {
    let get =
        |path: &str| String::from_utf8_lossy(&request("GET", path, b"")).replace("connection: close\r\n", "");
    let half = |request: &str| request.as_bytes()[..request.len() / 2].to_vec();
    let film = get(&format!("/v1/tesseras/{id}/content"));
    let upload = "POST /v1/tesseras HTTP/1.1\r\nhost: node\r\ncontent-length: 1073741824\r\n\r\n";
    let put = format!(
        "PUT /v1/tesseras/{id}/fragments/9/9 HTTP/1.1\r\nhost: node\r\ncontent-length: 1048576\r\n\r\n"
    );
    let many = |count: usize, kind: Kind, request: Vec<u8>| {
        (0..count).map(move |_| Caller::new(kind, request.clone()))
    };
    let slow_body = |head: &str| [head.as_bytes(), &[b'x'; 1 << 10]].concat();
    many(IDLE / 2, Kind::Idle, Vec::new())
        .chain(many(IDLE / 4, Kind::Idle, get("/livez").into()))
        .chain(many(IDLE / 4, Kind::Idle, half(&film)))
        .chain(many(SLOW, Kind::SlowReader, film.clone().into()))
        .chain(many(SLOW, Kind::SlowReader, get(&format!("/v1/tesseras/{id}/files/film")).into()))
        .chain(many(SLOW, Kind::SlowWriter, film.clone().into()))
        .chain(many(SLOW, Kind::Idle, upload.into()))
        .chain(many(SLOW, Kind::Idle, slow_body(&put)))
        .chain(many(SLOW, Kind::SlowWriter, slow_body("POST /v1/tesseras HTTP/1.1\r\n")))
        .chain(many(SLOW, Kind::HalfClosed, film.clone().into()))
        .chain(many(SLOW, Kind::HalfClosed, half(&film)))
        .chain(many(SLOW, Kind::HalfClosed, upload.into()))
        .collect()
}

/// More than goes into the buffers between a node and a caller that takes nothing.
fn film() -> Vec<u8> {
    let mut bytes = vec![0; FILM_BYTES];
    fastrand::Rng::with_seed(7).fill(&mut bytes);
    bytes
}

/// Each caller is a descriptor of this process.
fn raise_the_limit_of_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
        .expect("it is below the hard limit");
    assert_eq!(wanted, DESCRIPTORS, "so many descriptors are needed");
}

const FILM_BYTES: usize = 8 << 20;
const IDLE: usize = 1000;
const SLOW: usize = 32;
const TICK: Duration = Duration::from_secs(1);
const DESCRIPTORS: u64 = 4096;
const _: () = assert!(IDLE + 9 * SLOW < 4000);

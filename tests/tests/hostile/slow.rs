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
use tests::node::TestNode;

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

/// A caller. Takes a byte of its answer at a time.
struct Caller {
    /// What it has to say.
    request: Vec<u8>,
    /// So much of it at once, the rest a byte at a time.
    at_once: usize,
    /// Whether it then says that this was all.
    half_closes: bool,
    said: usize,
    stream: Option<UnixStream>,
}

impl Caller {
    fn new(request: &str, at_once: usize) -> Self {
        Self { request: request.into(), at_once, half_closes: false, said: 0, stream: None }
    }

    fn go_on(&mut self, socket: &Path) -> io::Result<()> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                self.said = 0;
                let stream = none.insert(UnixStream::connect(socket)?);
                stream.set_nonblocking(true)?;
                stream
            }
        };
        let until = if self.said == 0 { self.at_once.max(1) } else { self.said + 1 };
        if let Some(some) = self.request.get(self.said..until.min(self.request.len())) {
            self.said += patient(stream.write(some))?.unwrap_or(0);
        }
        if self.half_closes && self.said == self.request.len() {
            stream.shutdown(Shutdown::Write)?;
        }
        match patient(stream.read(&mut [0; 1]))? {
            Some(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// `None` when there is nothing to be done at the moment.
fn patient(outcome: io::Result<usize>) -> io::Result<Option<usize>> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        outcome => outcome.map(Some),
    }
}

fn callers(id: &str) -> Vec<Caller> {
    let head = |method: &str, path: &str, fields: &str| {
        format!("{method} {path} HTTP/1.1\r\nhost: node\r\n{fields}\r\n")
    };
    let film = head("GET", &format!("/v1/tesseras/{id}/content"), "");
    let file = head("GET", &format!("/v1/tesseras/{id}/files/film"), "");
    let upload = head("POST", "/v1/tesseras", "content-length: 1073741824\r\n");
    let put = head("PUT", &format!("/v1/tesseras/{id}/fragments/9/9"), "content-length: 1048576\r\n");
    let with_body = |head: &str| format!("{head}{}", "x".repeat(1 << 10));
    let many = |count: usize, request: &str, at_once: usize| {
        (0..count).map(|_| Caller::new(request, at_once)).collect::<Vec<_>>()
    };
    let half_closing = |request: &str| {
        let callers = many(SLOW, request, request.len());
        callers.into_iter().map(|caller| Caller { half_closes: true, ..caller }).collect::<Vec<_>>()
    };
    let (alive, events) = (head("GET", "/livez", ""), head("GET", "/v1/events", ""));
    [
        // They only sit there: before a request, in the midst of one, behind one.
        many(IDLE / 2, "", 0),
        many(IDLE / 4, &film[..film.len() / 2], film.len()),
        many(IDLE / 4, &alive, alive.len()),
        // They take, or say, a byte at a time.
        many(SLOW, &film, film.len()),
        many(SLOW, &file, file.len()),
        many(SLOW, &events, events.len()),
        many(SLOW, &film, 0),
        many(SLOW, &with_body(&upload), upload.len()),
        many(SLOW, &with_body(&put), put.len()),
        // They close the half of their connection that they no longer need.
        half_closing(&film),
        half_closing(&film[..film.len() / 2]),
        half_closing(&upload),
    ]
    .into_iter()
    .flatten()
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
/// More than there are callers.
const DESCRIPTORS: u64 = 4096;

//! An honest caller: keeps a memory, reads it back and drops it, again and again, and expects that to work at once.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use tests::{
    http::{self, Answer},
    node::TestNode,
};

/// The caller.
#[derive(Debug)]
pub(crate) struct Honest {
    socket: PathBuf,
}

/// How long its calls took, the shortest first.
#[derive(Debug)]
pub(crate) struct Visits(Vec<Duration>);

impl Honest {
    pub(crate) fn arrive(node: &TestNode) -> Self {
        Self { socket: node.socket() }
    }

    /// Calls for as long as the attack lasts. Panics when a call fails or takes too long.
    pub(crate) fn during(&self, attack: impl FnOnce()) -> Visits {
        let over = AtomicBool::new(false);
        let mut calls = std::thread::scope(|scope| {
            let caller = scope.spawn(|| {
                let mut calls = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    calls.extend(visit(&self.socket));
                    std::thread::sleep(PAUSE);
                }
                calls
            });
            let _over = Over(&over);
            attack();
            drop(_over);
            caller.join().expect("an honest caller is served")
        });
        calls.sort_unstable();
        assert!(calls.len() >= CALLS_MIN, "only {} calls", calls.len());
        let longest = calls[calls.len() - 1];
        assert!(longest <= LATENCY_MAX, "a call took {longest:?}");
        Visits(calls)
    }
}

/// Ends the calls, also when the attack panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl fmt::Display for Visits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, nearly_all] = [50, 99].map(|percent| self.0[(self.0.len() * percent).div_ceil(100) - 1]);
        let (calls, longest) = (self.0.len(), self.0[self.0.len() - 1]);
        write!(f, "{calls} honest calls, {half:?} (p50), {nearly_all:?} (p99), {longest:?} (longest)")
    }
}

fn visit(socket: &Path) -> Vec<Duration> {
    let mut calls = Vec::new();
    let mut call = |method, path: &str, body: &[u8], status| {
        let start = Instant::now();
        let answer = http::ask(socket, method, path, body).expect("it is answered");
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        calls.push(start.elapsed());
        answer
    };
    call("GET", "/livez", b"", 200);
    let made: Answer = call("POST", "/v1/tesseras", &memory(), 201);
    let path = made.field("location").expect("it says where").to_owned();
    let read = call("GET", &format!("{path}/files/letter.txt"), b"", 200);
    assert_eq!(read.body, LETTER);
    call("DELETE", &path, b"", 204);
    call("GET", "/v1/status", b"", 200);
    calls
}

/// What `create` sends.
fn memory() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut head = tar::Header::new_gnu();
    head.set_size(LETTER.len() as u64);
    head.set_mode(0o644);
    let written = tar.append_data(&mut head, "letter.txt", LETTER);
    written.and_then(|()| tar.into_inner()).unwrap_or_else(|error: io::Error| panic!("{error}"))
}

const LETTER: &[u8] = b"We went to the sea.";
const LATENCY_MAX: Duration = Duration::from_secs(15);
/// It has other things to do, too.
const PAUSE: Duration = Duration::from_millis(50);
const CALLS_MIN: usize = 10;

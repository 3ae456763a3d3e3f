//! Bytes on the socket: real requests with what makes parsers stumble done to them, and some that were never requests.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use tests::{
    http::{answers, request},
    node::TestNode,
};

use crate::verdict::Verdict;

/// Sends so many.
pub(crate) fn attack(node: &TestNode, requests: u32, seed: u64) {
    let verdict = Verdict::of(node);
    let models = models(node);
    let (socket, left) = (node.socket(), AtomicU32::new(requests));
    let statuses = Mutex::<BTreeMap<u16, u32>>::default();
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (verdict, models, socket, left, statuses) = (&verdict, &models, &socket, &left, &statuses);
            scope.spawn(move || {
                let mut rng = Rng::with_seed(seed.wrapping_add(caller));
                let take = |left: u32| left.checked_sub(1);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                    let bytes = bytes(&mut rng, models);
                    let answer = send(socket, &bytes, &mut rng);
                    let answer = answer.unwrap_or_else(|error| panic!("{error}: {}", bytes.escape_ascii()));
                    for answer in answers(&answer) {
                        let verdict = verdict.check(&answer);
                        assert_eq!(verdict, Ok(()), "{}", bytes.escape_ascii());
                        *statuses.lock().unwrap().entry(answer.status).or_default() += 1;
                    }
                }
            });
        }
    });
    let statuses = statuses.into_inner().unwrap();
    println!("{requests} sent, answered with {statuses:?}");
    // Else they were no longer requests, or still in order.
    assert!([200, 400, 404, 405].iter().all(|status| statuses.contains_key(status)), "{statuses:?}");
}

/// Requests as they should be. None of them ends the node, nor drops what the others ask for.
fn models(node: &TestNode) -> Vec<Vec<u8>> {
    let (id, gone) = (node.keep("letter.txt", b"dear", &["--public"]), node.keep("letter.txt", b"gone", &[]));
    node.cli(["forget", &gone]);
    let of = |what: &str| format!("/v1/tesseras/{id}{what}");
    let paths =
        ["/livez", "/readyz", "/metrics", "/v1/status", "/v1/actors", "/v1/config", "/v1/openapi.json"];
    let lists = [format!("/v1/tesseras?limit=2&prefix={}", &id[..9]), format!("/v1/tesseras?from={id}")];
    let parts = ["", "/content", "/content?raw", "/files/letter.txt", "/fragments?stripe=0&index=0&limit=9"];
    let parts = parts.map(of).into_iter().chain([of("/fragments/0/0")]);
    let gets = paths.map(str::to_owned).into_iter().chain(lists).chain(parts);
    let mut models: Vec<_> = gets.map(|path| request("GET", &path, b"")).collect();
    models.push(request("HEAD", &of("/files/letter.txt"), b""));
    models.push(request("DELETE", &format!("/v1/tesseras/{gone}"), b""));
    models.push(request("DELETE", &of("/fragments/9/9"), b""));
    models.push(request("PUT", &of("/fragments/7/7"), b"a fragment"));
    models.push(request("POST", &of("/verify"), b""));
    models.push(request("POST", &of(&format!("/attest?from=0&nonce={}", "5a".repeat(32))), b""));
    models.push(request("POST", "/v1/tesseras", &[0; 1024]));
    let fields = "range: bytes=0-1\r\nif-none-match: \"a\", W/\"b\"\r\naccept: application/x-ndjson";
    models.push(with_fields(request("GET", &of("/files/letter.txt"), b""), fields));
    models.push(with_fields(request("POST", &of("/verify"), b""), fields));
    let chunked =
        "POST /v1/tesseras HTTP/1.1\r\nhost: node\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    models.push(chunked.into());
    let twice = [request("GET", "/livez", b""), request("GET", "/v1/status", b"")].concat();
    models.push(String::from_utf8_lossy(&twice).replace("connection: close\r\n", "").into());
    models
}

fn with_fields(request: Vec<u8>, fields: &str) -> Vec<u8> {
    String::from_utf8_lossy(&request).replacen("\r\n\r\n", &format!("\r\n{fields}\r\n\r\n"), 1).into()
}

fn bytes(rng: &mut Rng, models: &[Vec<u8>]) -> Vec<u8> {
    if rng.u8(..16) == 0 {
        return (0..rng.usize(..4096)).map(|_| rng.u8(..)).collect();
    }
    let mut bytes = models[rng.usize(..models.len())].clone();
    for _ in 0..rng.u8(1..4) {
        if rng.bool() { damage(&mut bytes, rng) } else { twist(&mut bytes, rng) }
    }
    bytes
}

/// What happens to bytes.
fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let (from, to) = (rng.usize(..=bytes.len()), rng.usize(..=bytes.len()));
    let some = from.min(to)..from.max(to);
    match rng.u8(..6) {
        0 => bytes.iter_mut().skip(from).take(1).for_each(|byte| *byte ^= 1 << rng.u8(..8)),
        1 => bytes.iter_mut().skip(from).take(1).for_each(|byte| *byte = rng.u8(..)),
        2 => drop(bytes.drain(some)),
        3 => bytes.truncate(from),
        4 => {
            let copy = bytes[some].to_vec();
            drop(bytes.splice(to..to, copy));
        }
        _ => {
            let noise: Vec<u8> = (0..rng.usize(1..64)).map(|_| rng.u8(..)).collect();
            drop(bytes.splice(from..from, noise));
        }
    }
}

/// What happens to requests: some of their words are exchanged for words that mean trouble.
fn twist(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let (old, new) = TWISTS[rng.usize(..TWISTS.len())];
    let new = if rng.u8(..8) == 0 { new.repeat(rng.usize(1..2000)) } else { new.to_owned() };
    if let Some(at) = bytes.windows(old.len()).position(|window| window == old.as_bytes()) {
        bytes.splice(at..at + old.len(), new.into_bytes());
    }
}

/// Sends it, and reads what is answered, or hangs up. Errors when the node keeps a caller that will send nothing more.
fn send(socket: &Path, bytes: &[u8], rng: &mut Rng) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    // The node may hang up before it has all.
    let _ = stream.write_all(bytes);
    let (says_so, patience) = match rng.u8(..8) {
        0 => return Ok(Vec::new()),
        1..4 => (false, GLANCE),
        _ => (true, SILENCE_MAX),
    };
    if says_so {
        let _ = stream.shutdown(Shutdown::Write);
    }
    stream.set_read_timeout(Some(patience))?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if says_so && error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::other("it is kept though it sends nothing more"))
        }
        // It may be reset, with bytes on the way that nobody wanted.
        _ => Ok(answer),
    }
}

/// Words of requests, and what to put in their place.
const TWISTS: &[(&str, &str)] = &[
    ("GET", "get"),
    ("GET", "TRACE"),
    ("GET", "CONNECT"),
    ("GET", "OPTIONS"),
    ("GET", "PROPFIND"),
    ("POST", "G\0T"),
    ("HTTP/1.1", "HTTP/1.0"),
    ("HTTP/1.1", "HTTP/2.0"),
    ("HTTP/1.1", "HTTP/9.99"),
    (" HTTP/1.1", ""),
    ("\r\n", "\n"),
    ("\r\n", "\r"),
    ("\r\n\r\n", "\r\n folded\r\n\r\n"),
    ("\r\n\r\n", "\r\nx: y\r\n\r\n"),
    ("host: node\r\n", ""),
    ("host: node\r\n", "host: node\r\nhost: other\r\n"),
    ("host: node", "host: \u{fc}\u{1f480}"),
    ("connection: close", "connection: upgrade\r\nupgrade: h2c"),
    ("connection: close", "expect: 100-continue"),
    ("content-length: ", "content-length: 9"),
    ("content-length: ", "content-length: -"),
    ("content-length: ", "content-length: +"),
    ("content-length: ", "content-length: 18446744073709551616"),
    ("content-length: ", "content-length: 1, "),
    ("content-length: ", "content-length: 5\r\ncontent-length: "),
    ("content-length: ", "transfer-encoding: chunked\r\ncontent-length: "),
    ("content-length: ", "transfer-encoding: gzip\r\nx: "),
    ("chunked", "chunked, identity"),
    ("chunked", "xchunked"),
    ("3\r\n", "fffffffffffffffff\r\n"),
    ("3\r\n", "-3\r\n"),
    ("3\r\n", "3;ext=\"\u{7f}\"\r\n"),
    ("0\r\n\r\n", "0\r\ntrailer: x\r\n\r\n"),
    ("/v1/", "/v1/../"),
    ("/v1/", "/v1//"),
    ("/v1/", "//v1/"),
    ("/v1/", "http://node/v1/"),
    ("/v1/", "/v1/%2e%2e/"),
    ("/v1/", "*"),
    ("/v1/", "/v1/%00/"),
    ("/files/", "/files/%2e%2e%2f%2e%2e%2f"),
    ("/files/", "/files/../../"),
    ("letter.txt", "%ff%fe"),
    ("letter.txt", "letter.txt%0d%0ax:%20y"),
    ("letter.txt", "a/"),
    ("letter.txt", "%"),
    ("tess1", "TESS1"),
    ("tess1", "node1"),
    ("tess1", "tess1q"),
    ("/0/0", "/4294967296/0"),
    ("/0/0", "/0/65536"),
    ("/0/0", "/-1/0x0"),
    ("limit=", "limit=4294967295&limit="),
    ("limit=", "limit=-"),
    ("?", "?&&=&%&"),
    ("?", "?prefix=%00&"),
    ("nonce=", "nonce=%"),
    ("bytes=0-1", "bytes=0-18446744073709551616"),
    ("bytes=0-1", "bytes=18446744073709551615-"),
    ("bytes=0-1", "bytes=-18446744073709551615"),
    ("bytes=0-1", "bytes=1-0,0-0,-1,0-"),
    ("\"a\"", "\"a"),
    ("accept: ", "accept: \u{e9}"),
    ("x-ndjson", "x-ndjson;q=x,,"),
];
const CALLERS: u64 = 16;
/// How long some wait for an answer that may never come.
const GLANCE: Duration = Duration::from_millis(50);
/// A connection whose caller sends nothing more is kept for no longer.
const SILENCE_MAX: Duration = Duration::from_secs(20);

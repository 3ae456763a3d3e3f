//! As much of HTTP/1.1 as it takes to ask a node something, and to read its answers with an eye on each byte.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::Value;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Status line and fields, without the empty line.
    pub head: String,
    /// Its body, as far as it came.
    pub body: Vec<u8>,
    /// Whether it came to its end.
    pub whole: bool,
}

impl Answer {
    /// The value of the first field of this name, in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields
            .map(|(name, value)| (name, value.trim()))
            .find(|(other, _)| *other == name)
            .map(|(_, value)| value)
    }

    /// The body as JSON; `null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Asks once, on a connection of its own. Errors when no whole answer comes.
pub fn ask(socket: &Path, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    answer(stream, &request(method, path, body))
}

/// Asks for a path once, over TCP.
pub fn ask_over_tcp(address: &str, path: &str) -> io::Result<Answer> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    answer(stream, head.as_bytes())
}

fn answer(mut stream: impl Read + Write, request: &[u8]) -> io::Result<Answer> {
    stream.write_all(request)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let answer = answers(&bytes).into_iter().next().filter(|answer| answer.whole);
    answer.ok_or_else(|| io::Error::other(format!("no answer: {:?}", String::from_utf8_lossy(&bytes))))
}

/// A request that ends its connection.
pub fn request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{method} {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n");
    let mut request = format!("{head}content-length: {}\r\n\r\n", body.len()).into_bytes();
    request.extend_from_slice(body);
    request
}

/// The answers in what came, the last of which may be cut off.
pub fn answers(mut bytes: &[u8]) -> Vec<Answer> {
    let mut all = Vec::new();
    while let Some((head, rest)) = split(bytes, b"\r\n\r\n") {
        let head = String::from_utf8_lossy(head).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let mut answer = Answer { status, head, body: Vec::new(), whole: true };
        let length = answer.field("content-length").and_then(|length| length.parse::<usize>().ok());
        let found = match length {
            _ if matches!(status, 100..=199 | 204 | 304) => Some((Vec::new(), rest)),
            Some(length) => rest.split_at_checked(length).map(|(body, rest)| (body.to_vec(), rest)),
            None => chunks(rest),
        };
        answer.whole = found.is_some();
        (answer.body, bytes) = found.unwrap_or_else(|| (rest.to_vec(), &[]));
        all.push(answer);
    }
    all
}

/// The bytes in chunks, and what is behind their end, if that came.
fn chunks(mut bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let (line, rest) = split(bytes, b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(line).ok()?, 16).ok()?;
        let (chunk, rest) = rest.split_at_checked(length)?;
        body.extend_from_slice(chunk);
        bytes = rest.strip_prefix(b"\r\n")?;
        if length == 0 {
            return Some((body, bytes));
        }
    }
}

/// What is before and what is behind the first of these.
fn split<'a>(bytes: &'a [u8], by: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(by.len()).position(|window| window == by)?;
    let (before, rest) = bytes.split_at_checked(at)?;
    Some((before, rest.strip_prefix(by)?))
}

/// A node that says nothing for so long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(120);

#[test]
fn answers_are_told_apart_and_one_that_is_cut_off_is_known() {
    let text = "HTTP/1.1 200 OK\r\nContent-length: 3\r\n\r\nabc".replace("Content", "content");
    let chunked =
        "HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n";
    let found =
        answers(format!("{text}HTTP/1.1 304 X\r\n\r\n{chunked}{}", &text[..text.len() - 1]).as_bytes());
    let found: Vec<_> = found.iter().map(|one| (one.status, one.body.as_slice(), one.whole)).collect();
    let expected: [(u16, &[u8], bool); 4] =
        [(200, b"abc", true), (304, b"", true), (404, b"def", true), (200, b"ab", false)];
    assert_eq!(found, expected);
}

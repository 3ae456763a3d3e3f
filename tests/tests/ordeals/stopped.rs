//! The node is stopped as it stands, for longer than anything in it waits, and goes on: a laptop that slept, a machine that
//! was moved to another host.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixDatagram, UnixStream},
    path::Path,
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tests::{
    chain::{scaled, seed},
    content::{Content, tessera_id},
    http::{answers, request},
    ledger::Ledger,
    load::Load,
    node::{Setting, TestNode},
};

#[test]
fn node_that_was_stopped_goes_on_as_if_nothing_had_been() {
    let seed = seed();
    println!("TESSERAS_TEST_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let notify = folder.path().join("notify");
    let said = listen(&notify);
    let patience = Duration::from_secs(1);
    let environment =
        vec![("NOTIFY_SOCKET", notify.into()), ("WATCHDOG_USEC", patience.as_micros().to_string().into())];
    let mut node = TestNode::start_with(Setting { environment, ..Setting::default() });
    let load = Load::begin(&node, Ledger::default(), CLIENTS, seed);
    for _ in 0..scaled(2, 3) {
        load.until_all_are_answered();
        let path = format!("/v1/tesseras/{}/fragments/0/0", tessera_id(9));
        let put = request("PUT", &path, &Content(7).bytes());
        let (first, rest) = put.split_at(put.len() - 5);
        let mut halfway = Caller::says(&node, first);
        let mut idle = Caller::says(&node, b"GET /livez HTTP/1.1\r\nhost: node\r\n\r\n");
        assert_eq!(idle.is_told(), 200);
        node.signal(Signal::STOP);
        // What is done while it is stopped reaches it afterwards.
        let mut new = Caller::says(&node, &request("GET", "/v1/status", b""));
        halfway.goes_on(rest);
        idle.goes_on(&request("GET", "/v1/scrub", b""));
        // Not to wait for anything: this is the ordeal.
        std::thread::sleep(scaled(patience * 3, Duration::from_secs(60)));
        said.try_iter().for_each(drop);
        node.signal(Signal::CONT);
        assert!(matches!(halfway.is_told(), 200 | 201));
        assert_eq!((idle.is_told(), new.is_told()), (200, 200));
        load.until_all_are_answered();
        until_said(&said, "WATCHDOG=1");
    }
    let (_, tally) = load.end(&node);
    println!("{} puts, {} drops, {} reads", tally.puts, tally.drops, tally.reads);
    assert!(tally.refused.is_empty(), "{:?}", tally.refused);
    let log = node.log();
    assert!(node.is_running(), "{log}");
    assert_eq!(node.restarts(), 0, "{log}");
    assert!(!log.contains("panicked") && !log.contains(" fell"), "{log}");
    assert!(node.stop().success(), "{}", node.log());
}

/// Somebody who says something now, and the rest later.
struct Caller(UnixStream);

impl Caller {
    fn says(node: &TestNode, bytes: &[u8]) -> Self {
        let stream = UnixStream::connect(node.socket()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut caller = Self(stream);
        caller.goes_on(bytes);
        caller
    }

    fn goes_on(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// The status of the next answer.
    fn is_told(&mut self) -> u16 {
        let mut bytes = Vec::new();
        loop {
            let mut some = [0; 4096];
            let length = self.0.read(&mut some).unwrap();
            bytes.extend_from_slice(&some[..length]);
            match answers(&bytes).first() {
                Some(answer) if answer.whole => return answer.status,
                _ => assert!(length > 0, "its connection was closed: {}", bytes.escape_ascii()),
            }
        }
    }
}

/// What the node tells its service manager.
fn listen(socket: &Path) -> Receiver<String> {
    let listener = UnixDatagram::bind(socket).unwrap();
    let (to, said) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length) = listener.recv(&mut buffer) {
            if to.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).is_err() {
                return;
            }
        }
    });
    said
}

fn until_said(said: &Receiver<String>, line: &str) {
    let deadline = Instant::now() + DEADLINE;
    while !said.recv_timeout(deadline.saturating_duration_since(Instant::now())).unwrap().contains(line) {}
}

const CLIENTS: u32 = 8;
const DEADLINE: Duration = Duration::from_secs(120);

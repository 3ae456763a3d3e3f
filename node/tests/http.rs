//! The admin socket as programs other than ours use it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, Stdio},
};

use common::{Daemon, PATIENCE, Place, stderr, stdout};
use proto::TesseraId;
use serde_json::Value;

/// Asks with these header fields, each with its end of line.
fn ask(daemon: &Daemon<'_>, method: &str, path: &str, fields: &str) -> String {
    daemon.say(&format!("{method} {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n{fields}\r\n"))
}

#[test]
fn file_is_served_in_parts_and_not_again_when_it_is_known() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let bytes: Vec<u8> = (0..1000_u32).flat_map(|at| format!("{at:04}").into_bytes()).collect();
    let id = place.keep("numbers", &bytes);
    let path = format!("/v1/tesseras/{id}/files/numbers");
    let get = |fields: &str| ask(&daemon, "GET", &path, fields);
    let whole = get("");
    assert!(whole.starts_with("HTTP/1.1 200") && whole.contains("content-length: 4000\r\n"), "{whole}");
    let part = get("range: bytes=400-407\r\n");
    assert!(part.starts_with("HTTP/1.1 206") && part.ends_with("\r\n\r\n01000101"), "{part}");
    assert!(part.contains("content-range: bytes 400-407/4000\r\n"), "{part}");
    assert!(get("range: bytes=-4\r\n").ends_with("\r\n\r\n0999"));
    assert!(get("range: bytes=0-1,4-5\r\n").starts_with("HTTP/1.1 200"));
    let behind = get("range: bytes=4000-\r\n");
    assert!(
        behind.starts_with("HTTP/1.1 416") && behind.contains("content-range: bytes */4000\r\n"),
        "{behind}"
    );
    assert!(behind.contains("urn:tesseras:problem:range-not-satisfiable"), "{behind}");
    let tag = format!("\"{id}\"");
    assert!(whole.contains(&format!("etag: {tag}\r\n")), "{whole}");
    assert!(get(&format!("if-none-match: \"other\", W/{tag}\r\n")).starts_with("HTTP/1.1 304"));
    assert!(get(&format!("range: bytes=0-1\r\nif-range: {tag}\r\n")).starts_with("HTTP/1.1 206"));
    assert!(get("range: bytes=0-1\r\nif-range: \"other\"\r\n").starts_with("HTTP/1.1 200"));
    assert!(get("if-match: \"other\"\r\n").starts_with("HTTP/1.1 412"));
    let head = ask(&daemon, "HEAD", &path, "range: bytes=0-1\r\n");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-length: 4000\r\n"), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn content_is_served_in_parts_whether_it_is_sealed_or_not() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let file = place.path().join("numbers");
    fs::write(&file, &bytes).unwrap();
    for (id, raw_differs) in [(place.create(&file, &[]), true), (place.create(&file, &["--public"]), false)] {
        let get = |query: &str, fields: &str| {
            let (head, body) = bytes_of(&daemon, &format!("/v1/tesseras/{id}/content{query}"), fields);
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
            body
        };
        let (bag, raw) = (get("", ""), get("?raw", ""));
        assert_eq!(bag != raw, raw_differs);
        for (query, whole) in [("", bag), ("?raw", raw)] {
            assert!(get(query, "range: bytes=70000-270000\r\n") == whole[70_000..=270_000], "{query}");
            assert!(get(query, "range: bytes=-5\r\n") == whole[whole.len() - 5..], "{query}");
        }
    }
}

/// The head and the body of the answer.
fn bytes_of(daemon: &Daemon<'_>, path: &str, fields: &str) -> (String, Vec<u8>) {
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n{fields}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    (String::from_utf8_lossy(&answer[..end]).into_owned(), answer.split_off(end))
}

#[test]
fn fragment_is_known_by_its_checksum() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let id = TesseraId::from_bytes([9; 32]).to_string();
    fs::write(place.path().join("bytes"), "fragment").unwrap();
    let sum = stdout(&place.node(["fragment", "put", &id, "7", "3", "bytes"])).trim().to_owned();
    let get = |fields: &str| ask(&daemon, "GET", &format!("/v1/tesseras/{id}/fragments/7/3"), fields);
    assert!(get("").contains(&format!("etag: \"{sum}\"\r\n")));
    assert!(get(&format!("if-none-match: \"{sum}\"\r\n")).starts_with("HTTP/1.1 304"));
    let part = get("range: bytes=2-4\r\n");
    assert!(part.starts_with("HTTP/1.1 206") && part.ends_with("\r\n\r\nagm"), "{part}");
}

#[test]
fn file_that_is_not_here_is_not_called_unchanged() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let id = place.keep("numbers", b"1234");
    let get = |file: &str, known: &str| {
        ask(
            &daemon,
            "GET",
            &format!("/v1/tesseras/{id}/files/{file}"),
            &format!("if-none-match: {known}\r\n"),
        )
    };
    for known in ["*".to_owned(), format!("\"{id}\"")] {
        assert!(get("numbers", &known).starts_with("HTTP/1.1 304"), "{known}");
        assert!(get("letters", &known).starts_with("HTTP/1.1 404"), "{known}");
    }
    assert_eq!(place.node(["forget", &id]).status.code(), Some(0));
    assert!(get("numbers", "*").starts_with("HTTP/1.1 404"));
}

/// The body of the answer to a GET, as JSON.
fn json_at(daemon: &Daemon<'_>, path: &str) -> Value {
    serde_json::from_slice(&bytes_of(daemon, path, "").1).unwrap()
}

#[test]
fn document_is_valid_openapi() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let document = place.path().join("openapi.json");
    fs::write(&document, json_at(&daemon, "/v1/openapi.json").to_string()).unwrap();
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/python");
    assert!(python.exists(), "run tests/setup first");
    let validated = Command::new(python)
        .args(["-m", "openapi_spec_validator", "--schema", "3.1"])
        .arg(document)
        .output()
        .unwrap();
    assert!(validated.status.success(), "{}{}", stdout(&validated), stderr(&validated));
}

#[test]
fn document_names_what_is_served_and_nothing_else() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let document = json_at(&daemon, "/v1/openapi.json");
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH"] {
            let described = item.get(method.to_lowercase()).is_some();
            // What would end the node, or never ends.
            if described && ["/v1/shutdown", "/v1/events"].contains(&path.as_str()) {
                continue;
            }
            let answer = ask(&daemon, method, &path.replace(['{', '}'], ""), "content-length: 0\r\n");
            let refused = answer.starts_with("HTTP/1.1 405");
            assert_eq!(refused, !described, "{method} {path}: {answer}");
            assert!(!answer.contains("there is no endpoint"), "{method} {path}: {answer}");
        }
    }
}

#[test]
fn parameter_or_body_that_an_endpoint_does_not_take_is_refused_by_name() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let document = json_at(&daemon, "/v1/openapi.json");
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let (method, path) = (method.to_uppercase(), path.replace(['{', '}'], ""));
            let length = "content-length: 0\r\n";
            let answer = ask(&daemon, &method, &format!("{path}?fro_ms=1"), length);
            let refused = |answer: &str, what: &str| {
                assert!(answer.starts_with("HTTP/1.1 400"), "{method} {path}: {answer}");
                assert!(answer.contains("urn:tesseras:problem:bad-request"), "{method} {path}: {answer}");
                assert!(answer.contains(what), "{method} {path}: {answer}");
            };
            refused(&answer, &format!(r#"{method} {path} has no parameter \"fro_ms\": it"#));
            if operation.get("requestBody").is_none() {
                let fields = "content-length: 2\r\n\r\n{}";
                let answer = ask(&daemon, &method, &path, fields);
                refused(&answer, &format!("{method} {path} takes no body: send none"));
            }
        }
    }
    let answer = ask(&daemon, "POST", "/v1/scrub/pause?for_ms=abc", "content-length: 0\r\n");
    assert!(answer.contains("its only one is `secs`, in the query"), "{answer}");
    let answer = ask(&daemon, "POST", "/v1/scrub/pause?secs=abc", "content-length: 0\r\n");
    assert!(answer.contains("the query is wrong: secs: "), "{answer}");
    let answer = daemon.get("/v1/tesseras?form=tess1");
    assert!(answer.contains("it has `prefix`, `from`, `limit`, in the query"), "{answer}");
    assert_ne!(json_at(&daemon, "/v1/scrub")["mode"], "paused");
}

#[test]
fn page_of_tesserae_that_say_much_ends_early_and_the_next_one_goes_on() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let file = place.path().join("a");
    fs::write(&file, b"a").unwrap();
    let mut made: Vec<_> = (0..5)
        .map(|number| {
            let title = format!("{number}{}", "t".repeat(30_000));
            place.create(&file, &["--public", "--title", &title])
        })
        .collect();
    made.sort();
    let (mut listed, mut path, mut pages) = (Vec::new(), "/v1/tesseras".to_owned(), 0);
    loop {
        let answer = daemon.get(&path);
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        assert!(body.len() <= 66_000, "whoever does not take it holds {} bytes", body.len());
        let page: Value = serde_json::from_str(body).unwrap();
        let ids = page["tesseras"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tessera| tessera["id"].as_str().unwrap().to_owned());
        listed.extend(ids);
        pages += 1;
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/tesseras?from={next}");
    }
    listed.sort();
    assert_eq!((listed, pages), (made, 3));
    assert_eq!(stdout(&place.node(["list"])).lines().filter(|line| line.starts_with("tess1")).count(), 5);
}

#[test]
fn events_are_told_as_they_happen_until_the_node_stops() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: node\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(|line| line.unwrap());
    // From here on it follows.
    assert!(lines.any(|line| line == "content-type: text/event-stream"));
    let mut command = place.command(["events", "--json"]);
    let follower = command.stdout(Stdio::piped()).spawn().unwrap();
    let first = place.keep("a", b"a");
    assert_eq!(place.node(["forget", &first]).status.code(), Some(0));
    assert!(lines.any(|line| line == "event: tessera_created"));
    let data = lines.next().unwrap();
    let event: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((&event["id"], &event["files"]), (&first.as_str().into(), &1.into()));
    assert!(lines.any(|line| line == "event: tessera_forgotten"));
    assert_eq!(daemon.stop(), Some(0));
    assert!(lines.any(|line| line == "event: stopping"));
    let told = follower.wait_with_output().unwrap();
    assert_eq!(told.status.code(), Some(0));
    let last: Value = serde_json::from_str(stdout(&told).lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["reason"]), (&"stopping".into(), &"SIGTERM".into()));
}

#[test]
fn damage_that_is_found_is_told() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let file = place.path().join("long");
    let bytes: Vec<u8> = (0..40_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(&file, &bytes).unwrap();
    let id = place.create(&file, &["--public"]);
    place.damage(&bytes[50_000..50_032]);
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: node\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(|line| line.unwrap());
    assert!(lines.any(|line| line == "content-type: text/event-stream"));
    assert_eq!(place.node(["verify", &id]).status.code(), Some(65));
    assert!(lines.any(|line| line == "event: damage_found"));
    let data = lines.next().unwrap();
    assert!(data.contains(r#""blobs":1"#) && data.contains(&id), "{data}");
    assert_eq!(place.node(["forget", &id]).status.code(), Some(0));
    assert!(lines.any(|line| line == "event: damage_gone"));
    assert!(lines.next().unwrap().contains(r#""blobs":1,"repairs_queued":0"#));
}

#[test]
fn what_the_node_does_by_itself_or_on_request_is_told() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    place.keep("a", b"a");
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: node\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(|line| line.unwrap());
    assert!(lines.any(|line| line == "content-type: text/event-stream"));
    let mut told = |name: &str| {
        assert!(lines.any(|line| line == format!("event: {name}")), "{name} is not told");
        let data = lines.next().unwrap();
        serde_json::from_str::<Value>(data.strip_prefix("data: ").unwrap()).unwrap()
    };
    let node = |arguments: &[&str]| assert_eq!(place.node(arguments).status.code(), Some(0));
    node(&["scrub", "pause"]);
    assert_eq!(told("scrub_paused")["secs"], 86_400);
    node(&["scrub", "start", "--wait"]);
    told("scrub_started");
    assert!(told("scrub_finished")["verified_bytes"].as_u64().unwrap() > 0);
    let settings = "[integrity]\nscrub_rate = \"1 MiB/s\"\n[storage]\nsnapshots = 3\n";
    fs::write(place.data_dir().join("node.toml"), settings).unwrap();
    node(&["config", "reload"]);
    let reloaded = told("config_reloaded");
    assert_eq!(reloaded["changed"], serde_json::json!(["storage.snapshots", "integrity.scrub_rate"]));
    assert_eq!(reloaded["after_restart"], serde_json::json!(["storage.snapshots"]));
    fs::write(place.data_dir().join("node.toml"), "nonsense = 1").unwrap();
    assert!(ask(&daemon, "POST", "/v1/config/reload", "").starts_with("HTTP/1.1 422"));
    assert!(told("config_refused")["reason"].as_str().unwrap().contains("nonsense"));
    fs::write(place.data_dir().join("node.toml"), settings).unwrap();
    assert!(ask(&daemon, "POST", "/v1/index/snapshot", "").starts_with("HTTP/1.1 200"));
    assert!(told("snapshot_taken")["file"].as_str().unwrap().ends_with(".db"));
    node(&["rebuild-index"]);
    assert!(told("index_rebuilt")["records"].as_u64().unwrap() > 0);
}

#[test]
fn follower_whose_reader_has_gone_ends_though_nothing_happens() {
    let place = Place::new();
    let _daemon = Daemon::start(&place);
    let mut follower = place.command(["events"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(follower.stdout.take());
    assert_eq!(follower.wait().unwrap().code(), Some(0), "a closed pipe is no error");
}

#[test]
fn wrong_id_in_a_path_is_a_problem_that_says_what_is_wrong() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    for path in
        ["/v1/tesseras/tess1qqq", "/v1/tesseras/%FF", "/v1/tesseras?prefix=x", "/v1/tesseras?limit=-1"]
    {
        let answer = daemon.get(path);
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
        assert!(answer.contains("urn:tesseras:problem:bad-request"), "{path}: {answer}");
    }
}

//! Requests made from the node's own OpenAPI document, by schemathesis: what it allows, what it just does not allow, and
//! sequences of these. Every answer is held against the document, too.

use std::{
    fs,
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
};

use tests::node::TestNode;

/// So many examples for each endpoint.
pub(crate) fn attack(node: &TestNode, examples: u32, seed: u64) {
    let port = bridge(node.socket());
    let ids: Vec<String> = (0..TARGETS).map(|at| node.keep("letter.txt", &[at], &["--public"])).collect();
    let document = node.folder().join("openapi.json");
    fs::write(&document, node.get("/v1/openapi.json").body).expect("it is ours");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let settings = settings(&here.join("tests/hostile/hooks.py"), &ids, seed);
    let settings_file = node.folder().join("schemathesis.toml");
    fs::write(&settings_file, settings).expect("it is ours");
    let program = here.join("../target/venv/bin/schemathesis");
    assert!(program.exists(), "run tests/setup first");
    let mut command = Command::new(program);
    command.current_dir(node.folder()).arg("--config-file").arg(settings_file).arg("run").arg(document);
    command.args([
        "--url",
        &format!("http://127.0.0.1:{port}"),
        "--max-examples",
        &examples.max(1).to_string(),
    ]);
    // One ends the node, the other one never ends.
    command.args(["--exclude-path", "/v1/shutdown", "--exclude-path", "/v1/events"]);
    // It restarts storage, which is what a hostile caller must not get by anything else.
    command.args(["--exclude-path", "/v1/index/rebuild", "--warnings", "off"]);
    // Whoever is made known there is dialled: that is for tests that know who answers.
    command.args(["--exclude-path", "/v1/peers"]);
    // It would leave its caches beside the hooks.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let mut output = command.output().expect("schemathesis can be started");
    // A fault of CPython 3.11 itself (gh-106905) that says nothing about the node: parsers in two threads, or one that is
    // interrupted by the garbage collector, count their depth together. With one worker it is rare.
    if String::from_utf8_lossy(&output.stdout).contains("AST constructor recursion depth mismatch") {
        output = command.output().expect("schemathesis can be started");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}\n{}", String::from_utf8_lossy(&output.stderr), node.log());
    println!("{}", text.lines().find(|line| line.contains("generated")).unwrap_or_default().trim());
}

fn settings(hooks: &Path, ids: &[String], seed: u64) -> String {
    let seed = u32::try_from(seed % u64::from(u32::MAX)).unwrap_or_default();
    let checks = [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "response_headers_conformance",
        "unsupported_method",
    ];
    let checks = checks.map(|check| format!("[checks.{check}]\nenabled = true\n")).concat();
    format!(
        r#"
hooks = {hooks:?}
seed = {seed}
workers = 1
color = false
continue-on-failure = true
[dictionaries]
ids = {{ values = {ids:?} }}
files = {{ values = ["letter.txt"] }}
ranges = {{ values = ["bytes=0-0", "bytes=-1", "bytes=1-", "bytes=9-"] }}
places = {{ values = [0, 1] }}
[parameters]
"path.id" = {{ dictionary = "ids", probability = 0.8 }}
"path.path" = {{ dictionary = "files", probability = 0.8 }}
"path.stripe" = {{ dictionary = "places", probability = 0.5 }}
"path.index" = {{ dictionary = "places", probability = 0.5 }}
"header.Range" = {{ dictionary = "ranges", probability = 0.5 }}
[checks]
enabled = false
{checks}"#
    )
}

/// Lets TCP connections to the port that is returned through to a socket. It goes away with the process.
fn bridge(socket: PathBuf) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        for outer in listener.incoming().filter_map(Result::ok) {
            // Without a node there is nobody to let through to.
            let Ok(inner) = UnixStream::connect(&socket) else { continue };
            join(outer, inner);
        }
    });
    port
}

fn join(outer: TcpStream, inner: UnixStream) {
    let (Ok(outer_too), Ok(inner_too)) = (outer.try_clone(), inner.try_clone()) else { return };
    std::thread::spawn(move || {
        // However it ends: the other side is to know.
        let _ = std::io::copy(&mut &outer, &mut &inner);
        let _ = inner.shutdown(Shutdown::Write);
    });
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut &inner_too, &mut &outer_too);
        let _ = outer_too.shutdown(Shutdown::Both);
    });
}

/// Tesserae to ask for, until they are forgotten on request.
const TARGETS: u8 = 20;

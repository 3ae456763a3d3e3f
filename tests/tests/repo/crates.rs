//! Which crate may know which.

use serde_json::Value;

use crate::files::File;

/// Our crates; each may depend on those before it.
const ORDER: &[&str] = &["proto", "config", "actors", "node", "tests"];
/// What a pure crate cannot need: runtimes, sockets, databases.
const IMPURE: &[&str] =
    &["tokio", "async-std", "smol", "mio", "socket2", "sqlx", "quinn", "hyper", "getrandom"];

/// Every dependency of a crate of the workspace, from the output of `cargo metadata`.
pub(crate) fn edges(metadata: &str) -> Vec<(String, String)> {
    let metadata: Value = serde_json::from_str(metadata).expect("cargo prints JSON");
    let list =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let name = |value: &Value| value.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    list(&metadata, "packages")
        .iter()
        .flat_map(|package| list(package, "dependencies").into_iter().map(|d| (name(package), name(&d))))
        .collect()
}

/// Dependencies on a crate that stands above, and crates that have no place in the order.
pub(crate) fn reversed(edges: &[(String, String)]) -> Vec<String> {
    let height = |name: &str| ORDER.iter().position(|known| *known == name);
    edges
        .iter()
        .filter_map(|(from, to)| match (height(from), height(to)) {
            (None, _) => Some(format!("{from} has no place in the order of the crates")),
            (Some(from_height), Some(to_height)) if to_height > from_height => {
                Some(format!("{from} depends on {to}, which stands above it"))
            }
            _ => None,
        })
        .collect()
}

/// Crates in the output of `cargo tree --prefix none` that a pure crate cannot need.
pub(crate) fn impure(tree: &str) -> Vec<String> {
    let name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let found = tree.lines().map(name).filter(|name| IMPURE.contains(&name.as_str()));
    found.map(|name| format!("proto needs {name}, and so is not pure any more")).collect()
}

/// Names of the standard library in proto's sources that read a clock, a disk or a socket.
pub(crate) fn impure_sources(files: &[File]) -> Vec<String> {
    const NAMES: &[&str] = &["std::fs", "std::net", "std::process", "std::thread", "SystemTime", "Instant"];
    let sources = files.iter().filter(|file| file.path.starts_with("proto/src/"));
    sources
        .flat_map(|file| {
            let code = file.code();
            let found: Vec<_> = NAMES.iter().filter(|name| code.contains(*name)).collect();
            found.into_iter().map(|name| format!("{} names {name}", file.path)).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn dependency_upwards_is_found() {
    let check = |from: &str, to: &str, found: usize| {
        assert_eq!(reversed(&[(from.to_owned(), to.to_owned())]).len(), found, "{from} -> {to}");
    };
    check("config", "proto", 0);
    check("tests", "proto", 0);
    check("proto", "serde", 0);
    check("proto", "config", 1);
    check("actors", "tests", 1);
    check("actors", "actors", 0);
    check("helpers", "proto", 1);
}

#[test]
fn dependencies_are_read_from_the_metadata() {
    let metadata = r#"{"packages":[{"name":"node","dependencies":[{"name":"proto"},{"name":"clap"}]}]}"#;
    let pair = |to: &str| (String::from("node"), to.to_owned());
    assert_eq!(edges(metadata), [pair("proto"), pair("clap")]);
}

#[test]
fn runtime_below_proto_is_found() {
    assert_eq!(impure("proto v0.1.0 (/x/proto)\nbytes v1.0.0\ntokio-util v0.7.0\n"), Vec::<String>::new());
    assert_eq!(impure("proto v0.1.0\nbytes v1.0.0\ntokio v1.54.0\n").len(), 1);
}

#[test]
fn clock_in_proto_is_found() {
    let check = |path: &str, text: &str, found: usize| {
        assert_eq!(impure_sources(&[File::new(path, text)]).len(), found, "{path}: {text}");
    };
    check("proto/src/a.rs", "use std::time::Duration;\n", 0);
    check("proto/src/a.rs", "// SystemTime is an argument\n", 0);
    check("proto/src/a.rs", "let now = SystemTime::now();\n", 1);
    check("node/src/a.rs", "let now = SystemTime::now();\n", 0);
    check("proto/src/a.rs", "fn a() {}\n#[cfg(test)]\nmod tests { use std::fs; }\n", 0);
}

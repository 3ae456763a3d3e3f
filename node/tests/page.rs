//! The status page of a real daemon, over TCP.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use std::fs;

use common::{Daemon, Place, get_over_tcp};

#[test]
fn page_says_what_is_kept_and_what_is_damaged() {
    let place = Place::new();
    let (daemon, address) = Daemon::with_metrics(&place);
    let page = || get_over_tcp(&address, "/", &address);
    let empty = page();
    assert!(empty.starts_with("HTTP/1.1 200"), "{empty}");
    assert!(empty.contains("Everything is in order: nothing is kept here yet."), "{empty}");
    let letter = b"We went to the sea.";
    let file = place.path().join("dear Ana.txt");
    fs::write(&file, letter).unwrap();
    let id = place.create(&file, &["--public", "--title", "Summer at the sea"]);
    let one = page();
    assert!(one.contains("Everything is in order: 1 tessera, "), "{one}");
    place.damage(letter);
    place.node(["verify", &id]);
    let damaged = page();
    assert!(
        damaged.contains("Look here: 1 fragment or document is damaged and waits for its repair."),
        "{damaged}"
    );
    assert!(damaged.contains("<dt>Queued</dt><dd>1 damaged fragment or document</dd>"), "{damaged}");
    for page in [&one, &damaged] {
        for secret in ["tess1", "author1", "age1", "Summer at the sea", "dear Ana"] {
            assert!(!page.contains(secret), "{secret} is shown to everybody: {page}");
        }
    }
    drop(daemon);
}

#[test]
fn page_is_served_over_tcp_to_whoever_names_this_machine_and_only_to_read() {
    let place = Place::new();
    let (daemon, address) = Daemon::with_metrics(&place);
    let rebound = get_over_tcp(&address, "/", "evil.example");
    assert!(rebound.starts_with("HTTP/1.1 421") && !rebound.contains("<html"), "{rebound}");
    assert!(daemon.get("/").starts_with("HTTP/1.1 404"), "the socket is for programs");
    let head = common::over_tcp(
        &address,
        &format!("HEAD / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"),
    );
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("content-security-policy: default-src 'none'"),
        "{head}"
    );
    let post =
        format!("POST / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    let post = common::over_tcp(&address, &post);
    assert!(post.starts_with("HTTP/1.1 405") && post.contains("application/problem+json"), "{post}");
}

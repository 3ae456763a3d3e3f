//! Two nodes of two persons, on loopback, by what is typed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use common::{Daemon, Place, failed, json, problem, stderr, stdout};
use proto::invite::Invite;
use serde_json::{Value, json};

/// Where the node of a place listens.
fn address(place: &Place) -> String {
    let pool = json(&place.node(["pool", "--json"]));
    pool["listens_at"].as_str().unwrap().to_owned()
}

fn id(place: &Place) -> String {
    json(&place.node(["id", "--json"]))["node"].as_str().unwrap().to_owned()
}

#[track_caller]
fn done(place: &Place, arguments: &[&str]) -> String {
    let output = place.node(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
    stdout(&output).to_owned()
}

/// Sends JSON as other programs do, which check nothing before.
fn post(daemon: &Daemon<'_>, path: &str, body: &str) -> String {
    let length = body.len();
    daemon.say(&format!(
        "POST {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    ))
}

/// The peers that a node knows.
fn peers(place: &Place) -> Vec<Value> {
    json(&place.node(["peers", "list", "--json"])).as_array().unwrap().clone()
}

#[test]
fn invite_makes_two_nodes_known_to_each_other_once() {
    let (ann, ben, eve) = (Place::new(), Place::new(), Place::new());
    let (_a, _b, _e) = (Daemon::start(&ann), Daemon::start(&ben), Daemon::start(&eve));
    assert!(stderr(&ann.node(["peers", "list"])).contains("No other node is known"));
    // More than any disk has, and no more than fits is told to whoever comes.
    let invited = ann.node(["invite", "--allow", "200000 TB", "--name", "ben"]);
    assert!(stderr(&invited).contains("177.64 PiB"), "{}", stderr(&invited));
    assert!(stderr(&invited).contains("more than there is room for here"), "{}", stderr(&invited));
    // On another machine nothing lies where it does here.
    assert!(stderr(&invited).contains("They type `node join` and the line"), "{}", stderr(&invited));
    assert!(stderr(&invited).contains("nobody outside this machine's own network"), "{}", stderr(&invited));
    let line = stdout(&invited).trim();
    assert!(line.starts_with("invite1") && !line.contains('\n'), "{line}");
    // As a mail may break it.
    let (begin, end) = line.split_at(70);
    let joined = ben.node(["join", begin, end, "--name", "ann", "--allow", "1 GiB", "--json"]);
    assert_eq!(joined.status.code(), Some(0), "{}", stderr(&joined));
    let joined = json(&joined);
    assert_eq!(joined["node"], id(&ann));
    let kept = joined["allowance_bytes"].as_u64().unwrap();
    assert!(kept > 0 && kept < 200_000_000_000_000_000, "{kept}");
    let (of_ann, of_ben) = (peers(&ann), peers(&ben));
    let told = |peers: &[Value]| {
        let peer = &peers[0];
        let text = |key: &str| peer[key].as_str().unwrap_or_default().to_owned();
        (
            peers.len(),
            text("node"),
            text("name"),
            text("origin"),
            peer["allow_bytes"].as_u64(),
            peer["connected"].clone(),
        )
    };
    let yes = Value::from(true);
    assert_eq!(
        told(&of_ann),
        (1, id(&ben), "ben".into(), "invited".into(), Some(200_000_000_000_000_000), yes.clone())
    );
    assert_eq!(told(&of_ben), (1, id(&ann), "ann".into(), "invited".into(), Some(1 << 30), yes));
    // It holds for one node.
    let again = eve.node(["join", line]);
    assert_eq!(again.status.code(), Some(1), "{}", stderr(&again));
    assert!(peers(&eve).is_empty(), "{:?}", peers(&eve));
    failed(&eve.node(["join", begin]), 2, "it is cut off");
    failed(&eve.node(["join", &line.replacen('q', "p", 1)]), 2, "mistyped");
    failed(&eve.node(["join", &id(&ann)]), 2, "does not start with `invite1`");
}

#[test]
fn invite_and_peer_for_whom_nothing_is_kept_are_refused_as_the_command_line_does() {
    let (ann, ben) = (Place::new(), Place::new());
    let (a, _b) = (Daemon::start(&ann), Daemon::start(&ben));
    let line = done(&ben, &["invite"]);
    let peer = json!({ "node": id(&ben), "addresses": [address(&ben)], "allow_bytes": 0 });
    let join = json!({ "line": line.trim(), "allow_bytes": 0 });
    for (path, body) in [
        ("/v1/invites", json!({ "allow_bytes": 0 })),
        ("/v1/peers", peer),
        ("/v1/join", join),
        ("/v1/invites", json!([])),
    ] {
        let refused = post(&a, path, &body.to_string());
        assert!(refused.starts_with("HTTP/1.1 400"), "{path}: {refused}");
    }
    let refused = post(&a, "/v1/invites", "");
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("there is no body"), "{refused}");
    assert!(peers(&ann).is_empty() && stderr(&ann.node(["invite", "list"])).contains("Nobody is invited."));
    failed(&ann.node(["invite", "--allow", "0 B"]), 2, "is no size");
}

#[test]
fn invite_that_is_revoked_lets_nobody_in() {
    let (ann, ben) = (Place::new(), Place::new());
    let (_a, _b) = (Daemon::start(&ann), Daemon::start(&ben));
    assert!(stderr(&ann.node(["invite", "list"])).contains("Nobody is invited."));
    let invited = json(&ann.node(["invite", "--name", "ben", "--allow", "2 GiB", "--json"]));
    let kept = json(&ann.node(["invite", "--json"]));
    let listed = json(&ann.node(["invite", "list", "--json"]));
    let listed: Vec<_> = listed.as_array().unwrap().iter().map(|one| (&one["id"], &one["name"])).collect();
    assert!(listed.contains(&(&invited["id"], &"ben".into())) && listed.len() == 2, "{listed:?}");
    let shown = done(&ann, &["invite", "list"]);
    assert!(shown.contains("ben") && shown.contains("2.00 GiB"), "{shown}");
    let revoked = json(&ann.node(["invite", "revoke", "ben", "--json"]));
    assert_eq!(revoked["id"], invited["id"]);
    failed(&ann.node(["invite", "revoke", "ben"]), 1, "no invite begins with ben");
    failed(&ben.node(["join", invited["line"].as_str().unwrap()]), 1, "");
    assert!(peers(&ann).is_empty() && peers(&ben).is_empty());
    // The other one still holds. Once it is followed, it is no invite any more.
    done(&ben, &["join", kept["line"].as_str().unwrap()]);
    failed(&ann.node(["invite", "revoke", &kept["id"].as_str().unwrap()[..9]]), 1, "no invite");
    failed(&ann.node(["invite", "--name", "eve", "list"]), 2, "");
}

#[test]
fn invite_is_read_from_standard_input_and_one_of_no_use_changes_nothing() {
    let (ann, ben) = (Place::new(), Place::new());
    let (_a, _b) = (Daemon::start(&ann), Daemon::start(&ben));
    let follow = |line: &str, more: &[&str]| {
        let mut command = ben.command(["join", "-"]);
        let letter = ben.path().join("letter.txt");
        let text = format!("Hello Ben,\nhere it is: {}\n  {}\nSee you!\n", &line[..70], &line[70..]);
        std::fs::write(&letter, text).unwrap();
        command.args(more).stdin(std::fs::File::open(letter).unwrap()).output().unwrap()
    };
    let nothing = ben.command(["join", "-"]).stdin(std::process::Stdio::null()).output().unwrap();
    failed(&nothing, 2, "nothing came on standard input");
    let line = done(&ann, &["invite"]);
    let joined = follow(line.trim(), &["--name", "ann", "--allow", "2 GiB"]);
    assert_eq!(joined.status.code(), Some(0), "{}", stderr(&joined));
    let told = |peer: &Value| ["name", "allow_bytes", "addresses"].map(|key| peer[key].clone());
    let before = told(&peers(&ben)[0]);
    assert_eq!(before[..2], [Value::from("ann"), Value::from(2_u64 << 30)]);
    // Nobody listens there.
    let elsewhere = done(&ann, &["invite", "--at", "127.0.0.1:1"]);
    done(&ann, &["block", &id(&ben), "--reason", "a test"]);
    let refused = follow(elsewhere.trim(), &["--name", "anna", "--allow", "7 GiB"]);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert_eq!(told(&peers(&ben)[0]), before);
}

#[test]
fn invite_holds_as_long_as_the_clock_says_where_it_was_made() {
    let (ann, ben, eve) = (Place::new(), Place::new(), Place::new());
    let _daemons = [&ann, &ben, &eve].map(Daemon::start);
    // As it is read where it is another year.
    let made = Invite::read(&done(&ann, &["invite"])).unwrap();
    let late = Invite { expires_at_ms: 1, ..made.clone() }.to_line().unwrap();
    done(&ben, &["join", &late]);
    let told = "has expired, or never was (by this machine's clock the invite expired ";
    failed(&eve.node(["join", &late]), 1, told);
    let used_up = eve.node(["join", &made.to_line().unwrap()]);
    failed(&used_up, 1, "is used up");
    assert!(!stderr(&used_up).contains("clock"), "{}", stderr(&used_up));
}

#[test]
fn peer_that_is_added_is_asked_listed_explained_and_removed() {
    let (ann, ben) = (Place::new(), Place::new());
    let (_a, _b) = (Daemon::start(&ann), Daemon::start(&ben));
    let at = |place: &Place| format!("{}@{}", id(place), address(place));
    // Ben does not know Ann yet.
    let added = ann.node(["peers", "add", &at(&ben), "--name", "ben"]);
    assert_eq!(added.status.code(), Some(0), "{}", stderr(&added));
    assert!(stderr(&added).contains("up to 1.00 GiB may be kept"), "{}", stderr(&added));
    assert!(stdout(&added).contains("keeps for us  nothing"), "{}", stdout(&added));
    done(&ben, &["peers", "add", &at(&ann)]);
    let ping = done(&ben, &["peers", "ping", &id(&ann)]);
    assert!(ping.contains(&format!("answers from  {}", address(&ann))), "{ping}");
    assert!(ping.contains("runs          tesseras/"), "{ping}");
    let pinged = json(&ann.node(["peers", "ping", "ben", "--json"]));
    assert_eq!(pinged["node"], id(&ben));
    let pool = done(&ann, &["pool"]);
    assert!(pool.contains("connections  1 of at most 256") && pool.contains(&id(&ben)), "{pool}");
    let listed = done(&ann, &["peers", "list"]);
    assert!(listed.contains("connected") && listed.contains("ben"), "{listed}");
    let status = done(&ann, &["status"]);
    assert!(status.contains("1 node known, 1 connected") && status.contains("by UDP"), "{status}");
    let doctor = json(&ann.node(["doctor", "--json"]));
    let network = doctor.as_array().unwrap().iter().find(|check| check["check"] == "network").unwrap();
    assert_eq!(network["outcome"], "ok", "{network}");
    let explained = done(&ann, &["explain", "ben"]);
    assert!(explained.starts_with("good  It is there, and connected."), "{explained}");
    assert!(explained.contains("it acts for author1"), "{explained}");
    let too_much = ann.node(["peers", "add", &at(&ben), "--allow", "200000 TB"]);
    assert!(stderr(&too_much).contains("more than there is room for here"), "{}", stderr(&too_much));
    // What was said stays where nothing else is said.
    done(&ann, &["peers", "add", &at(&ben), "--allow", "2 GiB"]);
    let peer = &peers(&ann)[0];
    assert_eq!((&peer["name"], &peer["allow_bytes"]), (&"ben".into(), &(2_u64 << 30).into()));
    assert_eq!(json(&ann.node(["peers", "remove", "ben", "--json"])), json!({ "node": id(&ben) }));
    assert!(peers(&ann).is_empty());
    failed(&ann.node(["peers", "remove", "ben"]), 1, "no known node is called \"ben\"");
    failed(&ann.node(["peers", "remove", &id(&ben)]), 1, "not");
    failed(&ann.node(["peers", "add", &at(&ann)]), 1, "this node itself");
    failed(&ann.node(["peers", "add", "example.org:4433"]), 2, "node id and `@`");
    failed(&ann.node(["peers", "add", &at(&ann), &at(&ben)]), 2, "several nodes");
    let stranger = done(&ann, &["explain", &id(&ben)]);
    assert!(stranger.starts_with("of no use  It is not known here."), "{stranger}");
}

#[test]
fn peer_that_the_settings_name_is_listed_and_removed_there() {
    let (ann, ben) = (Place::new(), Place::new());
    let _b = Daemon::start(&ben);
    let mut command = ann.command(["run"]);
    command.env("TESSERAS_NETWORK__PEERS", format!("{}@{}", id(&ben), address(&ben)));
    let _a = Daemon::started(&ann, command);
    let peer = &peers(&ann)[0];
    assert_eq!((&peer["origin"], &peer["in_settings"]), (&"configured".into(), &true.into()));
    let refused = ann.node(["peers", "remove", &id(&ben), "--json"]);
    assert_eq!(problem(&refused)["type"], "urn:tesseras:problem:conflict");
    assert!(stderr(&refused).contains("network.peers"), "{}", stderr(&refused));
}

#[test]
fn what_is_blocked_is_listed_with_its_reason_until_it_is_not() {
    let (ann, ben) = (Place::new(), Place::new());
    let (a, b) = (Daemon::start(&ann), Daemon::start(&ben));
    for (place, other) in [(&ann, &ben), (&ben, &ann)] {
        done(place, &["peers", "add", &format!("{}@{}", id(other), address(other)), "--name", "other"]);
    }
    let tessera = ann.keep("letter", b"We went to the sea.");
    // What somebody keeps for themselves does not go by the way.
    let own = ann.node(["block", &tessera[..12], "--reason", "not ours to keep"]);
    failed(&own, 1, "`forget` it first");
    done(&ann, &["forget", &tessera]);
    done(&ann, &["block", &tessera, "--reason", "not ours to keep"]);
    assert!(stdout(&ann.node(["list"])).lines().all(|line| !line.contains(&tessera)));
    // Nor is it put here, piece by piece.
    std::fs::write(ann.path().join("bytes"), "some").unwrap();
    let put = ["fragment", "put", &tessera, "7", "3", "bytes"];
    assert_eq!(problem(&ann.node([&put[..], &["--json"]].concat()))["type"], "urn:tesseras:problem:blocked");
    failed(&ann.node(put), 1, "is blocked here (not ours to keep)");
    failed(&ann.node(["fragment", "get", &tessera, "7", "3"]), 1, "");
    done(&ann, &["block", &id(&ben), "--reason", "it lies"]);
    let blocked = done(&ann, &["blocked"]);
    assert!(blocked.contains("not ours to keep") && blocked.contains("it lies"), "{blocked}");
    failed(&ann.node(["peers", "ping", &id(&ben)]), 1, "blocked here (it lies)");
    failed(&ben.node(["peers", "ping", &id(&ann)]), 1, "it lies");
    // It is left alone for half a second, which may be over by then.
    b.until(|| {
        ben.node(["peers", "ping", "other"]);
        done(&ben, &["explain", "other"]).contains("ask whoever runs it to `unblock` this node")
    });
    let explained = done(&ann, &["explain", &id(&ben)]);
    assert!(explained.contains("it is blocked because: it lies"), "{explained}");
    assert!(explained.contains("`unblock node1") && !explained.contains("peers ping"), "{explained}");
    // What is peculiar to a terminal is not told to others.
    let unseen = json!({ "id": id(&ben), "reason": "it lies\u{1b}[2J" }).to_string();
    let refused = post(&a, "/v1/blocked", &unseen);
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("cannot be seen"), "{refused}");
    let long = json!({ "id": id(&ben), "reason": "x".repeat(257) }).to_string();
    let refused = post(&a, "/v1/blocked", &long);
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("has 257 bytes"), "{refused}");
    failed(&ann.node(["block", &id(&ben), "--reason", "a\nb"]), 2, "cannot be seen");
    failed(&ann.node(["unblock", "eve"]), 1, "no node that is blocked is called \"eve\"");
    done(&ann, &["unblock", "other"]);
    let again = json(&ann.node(["block", "other", "--reason", "it lies", "--json"]));
    let listed = json(&ann.node(["blocked", "--json"]));
    assert!(listed.as_array().unwrap().contains(&again), "{again} is not in {listed}");
    let unblocked = json(&ann.node(["unblock", &id(&ben)[..12], "--json"]));
    assert_eq!(unblocked, json!({ "kind": "node", "id": id(&ben) }));
    done(&ann, &["unblock", &tessera]);
    assert!(stderr(&ann.node(["blocked"])).contains("Nothing is blocked."));
    failed(&ann.node(["unblock", &tessera]), 1, "no tessera or node that is blocked begins with");
    failed(&ann.node(["block", &tessera, "--reason", " "]), 2, "say why");
    failed(&ann.node(["block", &id(&ann), "--reason", "me"]), 1, "this node itself");
}

#[test]
fn fragment_of_a_tessera_that_is_blocked_while_it_comes_is_not_kept() {
    let ann = Place::new();
    let a = Daemon::start(&ann);
    let tessera = ann.keep("letter", b"We went to the sea.");
    done(&ann, &["forget", &tessera]);
    let mut stream = UnixStream::connect(a.socket()).unwrap();
    let head = "HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-length: 4\r\n\r\n";
    write!(stream, "PUT /v1/tesseras/{tessera}/fragments/7/3 {head}so").unwrap();
    done(&ann, &["block", &tessera, "--reason", "not ours to keep"]);
    write!(stream, "me").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("problem:blocked"), "{answer}");
    failed(&ann.node(["fragment", "get", &tessera, "7", "3"]), 1, "");
}

#[test]
fn holder_that_claims_nothing_is_told_and_proves_nothing() {
    let (ann, ben) = (Place::new(), Place::new());
    let (a, _b) = (Daemon::start(&ann), Daemon::start(&ben));
    for (place, other) in [(&ann, &ben), (&ben, &ann)] {
        done(place, &["peers", "add", &format!("{}@{}", id(other), address(other)), "--name", "other"]);
    }
    let tessera = ann.keep("letter", b"We went to the sea.");
    failed(&ann.node(["prove", &tessera]), 1, "no other node has claimed any of it");
    let nobody = ann.node(["prove", &tessera, "--json"]);
    assert_eq!(problem(&nobody)["type"], "urn:tesseras:problem:not-found");
    // Nor does anybody claim anything of what is not known at all.
    let unknown = ann.keep("note", b"to be forgotten");
    done(&ann, &["forget", &unknown]);
    failed(&ann.node(["prove", &unknown]), 1, &unknown);
    let holders = |tessera: &str| a.get(&format!("/v1/tesseras/{tessera}/holders"));
    assert!(holders(&unknown).starts_with("HTTP/1.1 404"), "{}", holders(&unknown));
    assert!(holders(&tessera).starts_with("HTTP/1.1 200"), "{}", holders(&tessera));
    failed(&ann.node(["prove", &tessera, "--peer", "nobody"]), 1, "no known node is called \"nobody\"");
    let proven = ann.node(["prove", &tessera, "--peer", "other"]);
    assert_eq!(proven.status.code(), Some(1));
    let first =
        format!("has claimed nothing of {tessera} so far: ask it first, with `attest {tessera} --peer ");
    assert!(stdout(&proven).contains("not proven"), "{}", stdout(&proven));
    assert!(stdout(&proven).contains(&first), "{}", stdout(&proven));
    // Nobody is another to themselves.
    failed(&ann.node(["attest", &tessera, "--peer", &id(&ann)]), 1, "this node itself: `attest ID` without");
    let own = ann.node(["prove", &tessera, "--peer", &id(&ann)]);
    assert_eq!(own.status.code(), Some(1));
    assert!(stdout(&own).contains("that is this node itself"), "{}", stdout(&own));
}

/// Has another node keep what this one does of a tessera, and returns where the fragments stand and their bytes.
fn copy(from: &Place, to: &Place, tessera: &str) -> Vec<([String; 2], Vec<u8>)> {
    let rows = json(&from.node(["attest", tessera, "--json"]));
    let mut fragments = Vec::new();
    for row in rows[0]["rows"].as_array().unwrap() {
        let at = ["stripe", "index"].map(|key| row[key].to_string());
        let bytes = from.node(["fragment", "get", tessera, &at[0], &at[1]]).stdout;
        std::fs::write(to.path().join("bytes"), &bytes).unwrap();
        done(to, &["fragment", "put", tessera, &at[0], &at[1], "bytes"]);
        fragments.push((at, bytes));
    }
    fragments
}

#[test]
fn proof_that_fails_names_the_fragment_and_whose_it_is() {
    let (ann, ben) = (Place::new(), Place::new());
    let (_a, _b) = (Daemon::start(&ann), Daemon::start(&ben));
    for (place, other) in [(&ann, &ben), (&ben, &ann)] {
        done(place, &["peers", "add", &format!("{}@{}", id(other), address(other)), "--name", "other"]);
    }
    let tessera = ann.keep("letter", b"We went to the sea.");
    let fragments = copy(&ann, &ben, &tessera);
    done(&ann, &["attest", &tessera, "--peer", "other"]);
    let is_named = |said: &str| {
        assert!(said.contains("not proven"), "{said}");
        let named = |at: &[String; 2]| said.contains(&format!("fragment {} ", at.join("/")));
        assert!(fragments.iter().any(|(at, _)| named(at)) && !said.contains(" here"), "{said}");
    };
    for (_, bytes) in &fragments {
        ben.damage(bytes);
    }
    let damaged = ann.node(["prove", &tessera]);
    assert_eq!(damaged.status.code(), Some(1));
    is_named(stdout(&damaged));
    assert!(
        stdout(&damaged).contains("is damaged there, at the node that was asked"),
        "{}",
        stdout(&damaged)
    );
    for (at, _) in &fragments {
        done(&ben, &["fragment", "drop", &tessera, &at[0], &at[1]]);
    }
    let gone = ann.node(["prove", &tessera]);
    assert_eq!(gone.status.code(), Some(1));
    is_named(stdout(&gone));
    assert!(stdout(&gone).contains("any more, which it has claimed"), "{}", stdout(&gone));
}

#[test]
fn claim_of_a_node_that_is_no_peer_any_more_is_no_copy() {
    let (ann, ben) = (Place::new(), Place::new());
    let (a, b) = (Daemon::start(&ann), Daemon::start(&ben));
    let meet = || {
        for (place, other) in [(&ben, &ann), (&ann, &ben)] {
            done(place, &["peers", "add", &format!("{}@{}", id(other), address(other)), "--name", "other"]);
        }
    };
    meet();
    let tessera = ann.keep("letter", b"We went to the sea.");
    copy(&ann, &ben, &tessera);
    done(&ann, &["attest", &tessera, "--peer", "other"]);
    done(&ann, &["prove", &tessera]);
    // Both sides have counted it.
    let took =
        |side: &str| format!("tesseras_request_duration_seconds_count{{side=\"{side}\",verb=\"prove\"}} 1");
    let (of_ann, of_ben) = (a.get("/metrics"), b.get("/metrics"));
    assert!(of_ann.contains(&took("asked")) && of_ben.contains(&took("served")), "{of_ann}{of_ben}");
    assert!(of_ann.contains("tesseras_proofs_total{outcome=\"ok\"} 1"), "{of_ann}");
    let explained = || done(&ann, &["explain", &tessera]);
    let is_a_copy = |explained: &str| {
        explained.contains("1 other node claims to hold some of it, asked within the last minute, and 1 of 1")
            && !explained.contains("this machine only")
    };
    let is_none = |explained: &str| {
        explained.contains("this machine only") && explained.contains("does not count as a copy")
    };
    assert!(is_a_copy(&explained()), "{}", explained());
    assert!(explained().contains("has proven some, within the last minute"), "{}", explained());
    assert!(explained().contains("Who claims to hold what:\n- other: fragment"), "{}", explained());
    let as_json = || json(&ann.node(["explain", &tessera, "--json"]));
    let told = as_json();
    let holder = &told["holders"][0];
    assert_eq!((&holder["node"], &holder["name"]), (&id(&ben).into(), &"other".into()), "{told}");
    assert_eq!((&holder["indices"], &holder["proven"]), (&json!([0]), &1.into()), "{told}");
    // It was copied by hand, and not published: nobody is known to be asked to keep it.
    assert_eq!(told["guarantee"], Value::Null);
    done(&ann, &["block", "other", "--reason", "it lies"]);
    assert!(is_none(&explained()), "{}", explained());
    assert_eq!(as_json()["holders"], json!([]));
    failed(&ann.node(["prove", &tessera]), 1, "are blocked, or no longer peers");
    assert!(done(&ann, &["attest", &tessera]).contains("no: blocked"));
    done(&ann, &["unblock", "other"]);
    done(&ann, &["peers", "remove", "other"]);
    assert!(is_none(&explained()), "{}", explained());
    assert!(done(&ann, &["attest", &tessera]).contains("no: no longer a peer"));
    meet();
    assert!(is_a_copy(&explained()), "{}", explained());
}

#[test]
fn stranger_that_is_connected_is_no_node_that_is_known() {
    let (ann, ben) = (Place::new(), Place::new());
    let mut command = ann.command(["run"]);
    command.env("TESSERAS_NETWORK__ACCEPT", "any");
    let (_a, b) = (Daemon::started(&ann, command), Daemon::start(&ben));
    let at = |place: &Place| format!("{}@{}", id(place), address(place));
    done(&ben, &["peers", "add", &at(&ann)]);
    done(&ben, &["peers", "ping", &id(&ann)]);
    let counted = |place: &Place| {
        let status = json(&place.node(["status", "--json"]));
        ["peers", "connected", "strangers"].map(|key| status["network"][key].as_u64().unwrap())
    };
    // Nobody asks Ben anything, and what is asked and answered counts for him, too.
    let metrics = b.get("/metrics");
    for direction in ["in", "out"] {
        let none = format!("tesseras_network_bytes_total{{direction=\"{direction}\"}} 0");
        assert!(
            metrics.contains(none.trim_end_matches('0')) && !metrics.contains(&format!("{none}\n")),
            "{metrics}"
        );
    }
    assert_eq!(counted(&ann), [0, 0, 1]);
    assert_eq!(counted(&ben), [1, 1, 0]);
    assert!(done(&ann, &["status"]).contains("0 nodes known, 0 connected, and 1 stranger"));
    done(&ben, &["block", &id(&ann), "--reason", "a test"]);
    assert_eq!(counted(&ben)[0], 0);
}

#[test]
fn node_that_only_dials_invites_nobody() {
    let ann = Place::new();
    let mut command = ann.command(["run"]);
    command.env("TESSERAS_NODE__LISTEN_ADDR", "off");
    let _a = Daemon::started(&ann, command);
    assert!(done(&ann, &["pool"]).contains("nowhere: it only dials"));
    failed(&ann.node(["invite"]), 1, "have the other one invite it");
    failed(&ann.node(["invite", "--for", "91 days"]), 2, "90 days");
    let line = done(&ann, &["invite", "--at", "example.org:4433"]);
    assert!(line.starts_with("invite1"), "{line}");
}

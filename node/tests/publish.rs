//! Having other nodes keep a tessera, by what is typed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use std::fs;

use common::{Daemon, Place, failed, json, stderr, stdout};
use rustix::process::Signal;
use serde_json::Value;

/// Makes two nodes known to each other.
fn introduce(one: &Place, other: &Place) {
    let invited = one.node(["invite"]);
    let joined = other.node(["join", stdout(&invited).trim()]);
    assert_eq!(joined.status.code(), Some(0), "{}", stderr(&joined));
}

/// Who a node is, and where.
fn address(place: &Place) -> String {
    let (id, pool) = (json(&place.node(["id", "--json"])), json(&place.node(["pool", "--json"])));
    format!("{}@{}", id["node"].as_str().unwrap(), pool["listens_at"].as_str().unwrap())
}

/// A folder of files.
fn files(place: &Place) -> String {
    let folder = place.path().join("summer 1973");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("letter.txt"), "We went to the sea.").unwrap();
    fs::write(folder.join("photo.jpg"), vec![7; 200_000]).unwrap();
    folder.to_str().unwrap().to_owned()
}

fn jobs(place: &Place) -> Vec<Value> {
    json(&place.node(["jobs", "--json"])).as_array().unwrap().clone()
}

#[test]
fn preserved_files_are_safe_on_three_machines_and_that_is_said_in_one_sentence() {
    let author = Place::new();
    let others: Vec<_> = (0..3).map(|_| Place::new()).collect();
    let _author = Daemon::start(&author);
    let mut daemons: Vec<_> = others.iter().map(Daemon::start).collect();
    others.iter().for_each(|other| introduce(&author, other));
    let preserved = author.node(["preserve", &files(&author), "--title", "Summer at the sea"]);
    assert_eq!(preserved.status.code(), Some(0), "{}", stderr(&preserved));
    let lines: Vec<_> = stdout(&preserved).lines().collect();
    let [id, sentence] = lines[..] else { panic!("{lines:?}") };
    assert!(id.starts_with("tess1"), "{id}");
    assert_eq!(sentence, "Safe: survives the loss of any 2 of 3 machines.");
    let [job] = &jobs(&author)[..] else { panic!("{:?}", jobs(&author)) };
    assert_eq!(
        (&job["kind"], &job["state"], &job["tessera"]),
        (&"publish".into(), &"done".into(), &id.into())
    );
    assert_eq!(job["outcome"]["guarantee"]["survives"], 2);
    assert_eq!(job["outcome"]["problem"], Value::Null);
    let listed = author.node(["jobs"]);
    assert!(stdout(&listed).contains(sentence), "{}", stdout(&listed));
    let explained = author.node(["explain", id]);
    let figures = format!("{} (claimed within the last ", sentence.trim_end_matches('.'));
    assert!(stdout(&explained).contains(&figures), "{}", stdout(&explained));
    assert!(stdout(&explained).contains(" of each stripe, "), "{}", stdout(&explained));
    let explained = json(&author.node(["explain", id, "--json"]));
    assert_eq!(
        (&explained["guarantee"]["survives"], &explained["guarantee"]["nodes"]),
        (&2.into(), &3.into())
    );
    // Each has a whole copy: one fragment of each stripe.
    let holders = explained["holders"].as_array().unwrap().iter();
    let mut indices: Vec<_> = holders.map(|holder| holder["indices"].to_string()).collect();
    indices.sort();
    assert_eq!(indices, ["[0]", "[1]", "[2]"], "{explained}");
    let repaired = author.node(["repair"]);
    assert_eq!(repaired.status.code(), Some(0), "{}", stderr(&repaired));
    assert_eq!(stdout(&repaired).trim(), "1 as safe as asked, 0 less safe, 0 not mended.");
    // Whoever knows the id and one of them has it again, without whom it is of.
    let reader = Place::new();
    let _reader = Daemon::start(&reader);
    failed(&reader.node(["fetch", id]), 1, "no other node is known");
    assert_eq!(jobs(&reader)[0]["outcome"]["problem"], "urn:tesseras:problem:conflict");
    let at = address(&others[0]);
    assert_eq!(reader.node(["peers", "add", &at]).status.code(), Some(0));
    let fetched = reader.node(["fetch", id]);
    assert_eq!(fetched.status.code(), Some(0), "{}", stderr(&fetched));
    assert!(stdout(&fetched).starts_with("Here: all 2"), "{}", stdout(&fetched));
    assert_eq!(reader.node(["verify", id]).status.code(), Some(0));
    assert_eq!(jobs(&reader)[0]["kind"], "fetch");
    // Nothing is to be done any more, so it does not matter who is there.
    daemons.clear();
    let again = author.node(["publish", &id[..12], "--json"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(json(&again)["id"], 3);
}

#[test]
fn less_than_asked_ends_with_3_and_says_what_would_mend_it() {
    let (author, other) = (Place::new(), Place::new());
    let (_a, _o) = (Daemon::start(&author), Daemon::start(&other));
    let alone = author.node(["preserve", &files(&author)]);
    assert_eq!(alone.status.code(), Some(3), "{}", stderr(&alone));
    let lines: Vec<_> = stdout(&alone).lines().collect();
    assert_eq!(lines[1], "Not safe: no other machine has it.");
    assert!(stderr(&alone).contains("3 more machines"), "{}", stderr(&alone));
    introduce(&author, &other);
    let published = author.node(["publish", lines[0]]);
    assert_eq!(published.status.code(), Some(3), "{}", stderr(&published));
    assert!(stdout(&published).contains("kept by 1 machine"), "{}", stdout(&published));
    assert!(stderr(&published).contains("2 more machines"), "{}", stderr(&published));
    let json = json(&author.node(["publish", lines[0], "--json"]));
    assert_eq!(json["state"], "degraded");
    assert_eq!(json["outcome"]["asked"], 2);
}

#[test]
fn another_layout_is_offered_when_there_are_more_machines_and_made_when_it_is_asked_for() {
    let author = Place::new();
    let others: Vec<_> = (0..7).map(|_| Place::new()).collect();
    let _author = Daemon::start(&author);
    let _daemons: Vec<_> = others.iter().map(Daemon::start).collect();
    others[..3].iter().for_each(|other| introduce(&author, other));
    let preserved = author.node(["preserve", &files(&author)]);
    assert_eq!(preserved.status.code(), Some(0), "{}", stderr(&preserved));
    let id = stdout(&preserved).lines().next().unwrap().to_owned();
    let stored = || {
        others
            .iter()
            .map(|place| json(&place.node(["status", "--json"]))["storage"]["live_bytes"].as_u64().unwrap())
    };
    let before: u64 = stored().sum();
    let same = author.node(["publish", &id]);
    assert!(!stderr(&same).contains("Better: "), "{}", stderr(&same));
    others[3..].iter().for_each(|other| introduce(&author, other));
    let offered = author.node(["publish", &id]);
    assert_eq!(offered.status.code(), Some(0), "{}", stderr(&offered));
    assert!(stderr(&offered).contains("Better: "), "{}", stderr(&offered));
    assert!(stderr(&offered).contains("--relayout"), "{}", stderr(&offered));
    let made = author.node(["publish", &id, "--relayout"]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    assert_eq!(stdout(&made).trim(), "Safe: survives the loss of any 3 of 7 machines.");
    // Three whole copies take more than seven parts, of which four bring it back.
    assert!(stored().sum::<u64>() < before * 3 / 4, "{before}");
}

#[test]
fn holder_that_is_full_is_told_with_why_and_the_others_keep_it() {
    let author = Place::new();
    let others: Vec<_> = (0..4).map(|_| Place::new()).collect();
    let _author = Daemon::start(&author);
    let mut small = others[0].command(["run"]);
    small.env("TESSERAS_NODE__CAPACITY", "2 MiB");
    let _small = Daemon::started(&others[0], small);
    let _others: Vec<_> = others[1..].iter().map(Daemon::start).collect();
    others.iter().for_each(|other| introduce(&author, other));
    let film = author.path().join("film.mkv");
    fs::write(&film, vec![7; 6_000_000]).unwrap();
    let job = json(&author.node(["preserve", film.to_str().unwrap(), "--json"]));
    assert_eq!(
        (&job["state"], &job["outcome"]["guarantee"]["machines"]),
        (&"done".into(), &3.into()),
        "{job}"
    );
    let reason = job["outcome"]["turned"][0]["reason"].as_str().unwrap();
    assert!(reason.ends_with(
        "its disk has no more room, or no more of it is for tesserae: `status` there says how much"
    ));
    // It is as safe as asked all the same.
    fs::write(&film, vec![8; 6_000_000]).unwrap();
    let another = author.node(["preserve", film.to_str().unwrap()]);
    assert_eq!(another.status.code(), Some(0), "{}", stderr(&another));
    assert!(stderr(&another).contains(reason), "{}", stderr(&another));
}

#[test]
fn what_is_damaged_here_cannot_be_published_and_ends_with_65() {
    let (author, other) = (Place::new(), Place::new());
    let (_a, _o) = (Daemon::start(&author), Daemon::start(&other));
    introduce(&author, &other);
    let id = author.keep("letter.txt", b"We went to the sea.");
    let fragment = author.node(["fragment", "get", &id, "0", "0"]);
    author.damage(&fragment.stdout);
    failed(&author.node(["publish", &id]), 65, "is damaged here");
    let jobs = jobs(&author);
    let job = jobs.iter().find(|job| job["kind"] == "publish").unwrap();
    assert_eq!(job["state"], "failed");
    assert_eq!(job["outcome"]["problem"], "urn:tesseras:problem:damaged");
}

/// Starts a daemon at a port that stays the same. It does not send so fast that all is over before anybody looks.
fn at_port(place: &Place, port: u16) -> Daemon<'_> {
    let mut command = place.command(["run"]);
    command.env("TESSERAS_NODE__LISTEN_ADDR", format!("127.0.0.1:{port}"));
    command.env("TESSERAS_NETWORK__UPLOAD", "4 MiB/s");
    // Then they see soon that the other has gone.
    command.env("TESSERAS_PERFORMANCE__POOL_IDLE_TIMEOUT_SECS", "2");
    Daemon::started(place, command)
}

/// A port that nobody has.
fn free_port() -> u16 {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Kills the daemon of a place as soon as its newest job has done something, three times, and returns the one that is left. Each
/// time, something else happens to others.
fn killed_while_it_works(place: &Place, port: u16, mut meanwhile: impl FnMut()) -> Daemon<'_> {
    let mut daemon = at_port(place, port);
    let mut under_way = 0;
    for _ in 0..3 {
        let mut newest = Value::Null;
        daemon.until(|| {
            newest = jobs(place).remove(0);
            newest["state"] != "pending" || newest["progress"]["done_bytes"].as_u64() > Some(0)
        });
        under_way += u32::from(newest["state"] == "pending");
        daemon.signal(Signal::KILL);
        daemon.wait();
        meanwhile();
        daemon = at_port(place, port);
    }
    assert!(under_way > 0, "it was done before it was killed");
    daemon.until(|| jobs(place)[0]["state"] != "pending");
    let newest = jobs(place).remove(0);
    assert_eq!(newest["state"], "done", "{newest} {}", daemon.log());
    daemon
}

/// A public tessera of a film, and its bytes.
fn film(author: &Place) -> (String, Vec<u8>) {
    let film = author.path().join("film.mkv");
    let bytes: Vec<u8> =
        (0..3_000_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(&film, &bytes).unwrap();
    let created = author.node(["create", film.to_str().unwrap(), "--public"]);
    (stdout(&created).trim().to_owned(), bytes)
}

/// What each of these keeps of an author's, in bytes: as it says itself, and as the author has receipts for.
fn kept<'a>(author: &Place, holders: impl Iterator<Item = &'a Place>) -> Vec<u64> {
    let signed_for = json(&author.node(["ledger", "--json"]))["accounts"].clone();
    let of = |holder: &Place| {
        let kept = json(&holder.node(["ledger", "--json"]))["totals"]["here"]["bytes"].clone();
        let id = json(&holder.node(["id", "--json"]))["author"].clone();
        let account = signed_for.as_array().unwrap().iter().find(|account| account["author"] == id);
        assert_eq!(account.unwrap()["ours"]["bytes"], kept, "{signed_for}");
        kept.as_u64().unwrap()
    };
    holders.map(of).collect()
}

#[test]
fn repairer_and_holders_go_on_after_each_kill_9() {
    let author = Place::new();
    let others: Vec<_> = (0..4).map(|_| (Place::new(), free_port())).collect();
    let port = free_port();
    let daemon = at_port(&author, port);
    let mut daemons: Vec<_> = others.iter().map(|(other, port)| Some(at_port(other, *port))).collect();
    others.iter().for_each(|(other, _)| introduce(&author, other));
    let (id, bytes) = film(&author);
    assert_eq!(author.node(["publish", &id]).status.code(), Some(0));
    let all = || others.iter().map(|(other, _)| other);
    let before = kept(&author, all());
    assert!(before.iter().all(|bytes| *bytes > 0), "{before:?}");
    for arguments in [["block", &id, "--reason=lost"].as_slice(), &["unblock", &id]] {
        let lost = others[0].0.node(arguments);
        assert_eq!(lost.status.code(), Some(0), "{}", stderr(&lost));
    }
    assert_eq!(author.node(["repair", &id, "--detach"]).status.code(), Some(0));
    drop(daemon);
    let mut number = 0;
    let _author = killed_while_it_works(&author, port, || {
        let (holder, port) = &others[number];
        let killed = daemons[number].take().unwrap();
        killed.signal(Signal::KILL);
        killed.wait();
        daemons[number] = Some(at_port(holder, *port));
        number += 1;
    });
    assert_eq!(kept(&author, all()), before);
    // Two are enough, and one of them is the one that had lost it.
    daemons.truncate(2);
    let reader = Place::new();
    let _reader = Daemon::start(&reader);
    assert_eq!(reader.node(["peers", "add", &address(&others[0].0)]).status.code(), Some(0));
    let fetched = reader.node(["fetch", &id]);
    assert_eq!(fetched.status.code(), Some(0), "{}", stderr(&fetched));
    assert!(reader.node(["cat", &id, "film.mkv"]).stdout == bytes);
}

#[test]
fn publisher_and_fetcher_go_on_after_each_kill_9() {
    let author = Place::new();
    let others: Vec<_> = (0..4).map(|_| Place::new()).collect();
    let port = free_port();
    let daemon = at_port(&author, port);
    let _others: Vec<_> = others.iter().map(|other| at_port(other, free_port())).collect();
    others.iter().for_each(|other| introduce(&author, other));
    let (id, bytes) = film(&author);
    assert_eq!(author.node(["publish", &id, "--detach"]).status.code(), Some(0));
    drop(daemon);
    let _author = killed_while_it_works(&author, port, || ());
    let explained = json(&author.node(["explain", &id, "--json"]));
    assert_eq!((&explained["guarantee"]["survives"], &explained["part"]), (&2.into(), &false.into()));
    // Each of the others has a half, and has not asked the rest yet.
    let explained = others[0].node(["explain", &id]);
    assert!(stdout(&explained).starts_with("part  As far as is known what is here of it is in order"));
    assert!(stdout(&explained).contains("Not known how safe it is: the 4 nodes"), "{}", stdout(&explained));

    let reader = Place::new();
    let daemon = Daemon::start(&reader);
    assert_eq!(reader.node(["peers", "add", &address(&others[0])]).status.code(), Some(0));
    assert_eq!(reader.node(["fetch", &id, "--detach"]).status.code(), Some(0));
    drop(daemon);
    let _daemon = killed_while_it_works(&reader, free_port(), || ());
    let film = reader.node(["cat", &id, "film.mkv"]);
    assert!(film.stdout == bytes, "{}", stderr(&film));
}

#[test]
fn jobs_are_looked_at_and_given_up_by_their_number() {
    let author = Place::new();
    let daemon = Daemon::start(&author);
    let detached = author.node(["preserve", &files(&author), "--detach"]);
    assert_eq!(detached.status.code(), Some(0), "{}", stderr(&detached));
    assert!(stderr(&detached).contains("Job 1 goes on by itself"), "{}", stderr(&detached));
    daemon.until(|| jobs(&author)[0]["state"] == "degraded");
    failed(&author.node(["jobs", "--cancel", "1"]), 1, "job 1 has ended already");
    failed(&author.node(["jobs", "--cancel", "7"]), 1, "there is no job 7");
    failed(&author.node(["publish", &format!("tess1{}", "q".repeat(58))]), 2, "tess1");
    let answer = daemon.say("GET /v1/jobs/1 HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    assert!(answer.contains("\"kind\":\"publish\"") && answer.contains("Not safe"), "{answer}");
    let wrong = daemon.say("GET /v1/jobs/one HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    assert!(wrong.starts_with("HTTP/1.1 400"), "{wrong}");
    let unknown = daemon.say("GET /v1/jobs/7 HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    assert!(unknown.starts_with("HTTP/1.1 404") && unknown.contains("there is no job 7"), "{unknown}");
}

//! Taking back, adopting and leaving, by what is typed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use std::{fs, process::Output};

use common::{Daemon, Place, failed, json, stderr, stdout};
use serde_json::Value;

/// Makes two nodes known to each other.
fn introduce(one: &Place, other: &Place) {
    let invited = one.node(["invite"]);
    let joined = other.node(["join", stdout(&invited).trim()]);
    assert_eq!(joined.status.code(), Some(0), "{}", stderr(&joined));
}

/// A tessera of an author that others keep.
fn preserved(author: &Place, others: &[Place]) -> String {
    others.iter().for_each(|other| introduce(author, other));
    let letter = author.path().join("letter.txt");
    fs::write(&letter, "We went to the sea.").unwrap();
    let preserved = author.node(["preserve", letter.to_str().unwrap()]);
    assert_eq!(preserved.status.code(), Some(0), "{}", stderr(&preserved));
    stdout(&preserved).lines().next().unwrap().to_owned()
}

fn kept_for_others(place: &Place) -> u64 {
    json(&place.node(["status", "--json"]))["storage"]["fragments"].as_u64().unwrap()
}

#[track_caller]
fn ended(output: &Output, code: i32, said: &str) {
    let all = format!("{}{}", stdout(output), stderr(output));
    assert_eq!(output.status.code(), Some(code), "{all}");
    assert!(all.contains(said), "{all}");
}

#[test]
fn what_is_taken_back_goes_from_the_others_and_whoever_adopted_it_keeps_it() {
    let author = Place::new();
    let others: Vec<_> = (0..3).map(|_| Place::new()).collect();
    let _author = Daemon::start(&author);
    let _daemons: Vec<_> = others.iter().map(Daemon::start).collect();
    let id = preserved(&author, &others);
    let fond = Place::new();
    let _fond = Daemon::start(&fond);
    others.iter().for_each(|other| introduce(other, &fond));
    ended(&fond.node(["adopt", &id]), 0, "Adopted: all of it is here");
    assert!(stdout(&fond.node(["list"])).contains("private, adopted"));
    assert!(stdout(&fond.node(["show", &id])).contains("looked after here until it is forgotten"));
    assert!(stdout(&fond.node(["explain", &id])).contains("it is somebody else's, adopted"));
    ended(&author.node(["adopt", &id]), 1, "this node's own");
    // Nobody is there to be asked whether it is meant.
    failed(&author.node(["retract", &id]), 2, "say --yes");
    assert!(kept_for_others(&others[0]) > 0);
    let retracted = author.node(["retract", &id[..14], "--yes", "--json"]);
    ended(&retracted, 0, "");
    let job = json(&retracted);
    assert_eq!((&job["kind"], &job["state"]), (&"retract".into(), &"done".into()));
    let sentence = job["outcome"]["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("Taken back for ever: 3 nodes dropped it"), "{sentence}");
    assert_eq!(others.iter().map(kept_for_others).collect::<Vec<_>>(), [0, 0, 0]);
    ended(&author.node(["publish", &id]), 1, "taken back by its author, for ever");
    assert!(stdout(&author.node(["explain", &id])).contains("its author took it back"));
    // It is as much as ever on the machine of whoever adopted it, until that is ended.
    ended(&fond.node(["verify", &id]), 0, "is intact");
    ended(&fond.node(["forget", &id]), 0, "forgot");
    assert_eq!(json(&fond.node(["list", "--json"])), Value::Array(Vec::new()));
}

#[test]
fn node_that_leaves_says_what_it_could_not_hand_over_and_hands_it_over_when_there_is_room() {
    let author = Place::new();
    let others: Vec<_> = (0..3).map(|_| Place::new()).collect();
    let _author = Daemon::start(&author);
    let _daemons: Vec<_> = others.iter().map(Daemon::start).collect();
    let id = preserved(&author, &others);
    ended(&others[1].node(["leave", "--cancel"]), 1, "is not leaving");
    let kept = kept_for_others(&others[1]);
    let alone = others[1].node(["leave"]);
    ended(&alone, 3, "bytes of 1 tessera are still here");
    ended(&alone, 3, &format!("- {id}: "));
    ended(&alone, 3, "then `leave` again");
    assert!(stdout(&others[1].node(["status"])).contains("it takes nothing new"));
    let spare = Place::new();
    let _spare = Daemon::start(&spare);
    introduce(&author, &spare);
    introduce(&others[1], &spare);
    let left = others[1].node(["leave", "--json"]);
    ended(&left, 0, "Handed over: all that this node kept for others");
    assert_eq!((&json(&left)["kind"], &json(&left)["tessera"]), (&"leave".into(), &Value::Null));
    assert_eq!((kept_for_others(&others[1]), kept_for_others(&spare)), (0, kept));
    assert!(stdout(&others[1].node(["jobs"])).contains("Handed over: all"));
    ended(&others[1].node(["leave", "--cancel"]), 0, "This node stays");
}

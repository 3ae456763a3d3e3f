//! `key card`, on the command line.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use std::{
    fs::{self, Permissions},
    io::Read,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use common::{Daemon, Place, failed, json, stderr, stdout, terminal};

const SECRET: &str = "AGE-SECRET-KEY-1";

#[test]
fn card_in_a_file_is_for_its_owner_and_is_read_back() {
    let place = Place::new();
    let author = json(&place.node(["init", "--json"]))["author"].clone();
    let output = place.node(["key", "card", "card.txt"]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), ""), "{}", stderr(&output));
    assert!(stderr(&output).contains("is a secret") && !stderr(&output).contains(SECRET));
    let card = place.path().join("card.txt");
    assert_eq!(fs::metadata(&card).unwrap().permissions().mode() & 0o777, 0o600);
    let read = json(&place.node(["key", "card", "--check", "card.txt", "--json"]));
    assert_eq!(read["author"], author);
    failed(&place.node(["key", "card", "card.txt"]), 73, "there already");

    let text = fs::read_to_string(&card).unwrap();
    fs::write(&card, text.replace(SECRET, "AGE-SECRET-KEY-2")).unwrap();
    let output = place.node(["key", "card", "--check", "card.txt"]);
    failed(&output, 65, "(`AGE-SECRET-KEY-…`) is not as it was printed");
    let secret = text.lines().find(|line| line.starts_with(SECRET)).unwrap();
    assert!(!stderr(&output).contains(&secret[20..]));
}

#[test]
fn card_goes_to_standard_output_when_that_is_asked_for_or_a_person_watches() {
    let place = Place::new();
    place.node(["init"]);
    failed(&place.node(["key", "card"]), 2, "name a new file for it");
    let output = place.node(["key", "card", "-"]);
    assert!(stdout(&output).contains(SECRET) && stderr(&output).contains("this is a secret"));
    let (mut master, other) = terminal();
    let mut child = place.command(["key", "card"]);
    let output = child.stdout(other).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    drop(child);
    assert!(stderr(&output).contains("this is a secret"), "{}", stderr(&output));
    let mut shown = String::new();
    // A terminal whose other end is closed ends with an error.
    let _ = master.read_to_string(&mut shown);
    assert!(shown.contains(SECRET), "{shown}");
}

#[test]
fn key_that_others_can_read_makes_no_card() {
    let place = Place::new();
    place.node(["init"]);
    fs::set_permissions(place.data_dir().join("author.key"), Permissions::from_mode(0o644)).unwrap();
    failed(&place.node(["key", "card", "card.txt"]), 77, "chmod 600");
    assert!(!place.path().join("card.txt").exists());
}

#[test]
fn card_opens_a_private_tessera_with_age_alone_and_is_in_no_log() {
    let place = Place::new();
    let mut command = place.command(["run", "-vv"]);
    command.env("TESSERAS_OBSERVABILITY__LOG_FORMAT", "json");
    let daemon = Daemon::started(&place, command);
    let id = place.keep("letter.txt", b"We went to the sea.");
    place.node(["key", "card", "card.txt"]);
    place.node(["export", &id, "out", "--raw"]);
    let mut age = Command::new("age");
    let age = age.args(["-d", "-i", "card.txt", "out/content.tar.age"]).current_dir(place.path());
    let output = age.output().unwrap();
    let opened = String::from_utf8_lossy(&output.stdout);
    assert!(opened.contains("We went to the sea."), "{}", stderr(&output));
    let card = fs::read_to_string(place.path().join("card.txt")).unwrap();
    let secret = card.lines().find(|line| line.starts_with(SECRET)).unwrap();
    assert!(!daemon.log().contains(secret));
    assert_eq!(daemon.stop(), Some(0));
}

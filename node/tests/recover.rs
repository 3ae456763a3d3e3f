//! An author whose machine is gone gets everything back, by what is typed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use std::fs;

use common::{Daemon, Place, failed, json, stderr, stdout};

/// Who a node is, and where.
fn address(place: &Place) -> String {
    let (id, pool) = (json(&place.node(["id", "--json"])), json(&place.node(["pool", "--json"])));
    format!("{}@{}", id["node"].as_str().unwrap(), pool["listens_at"].as_str().unwrap())
}

/// Makes a tessera of a letter, and has others keep it.
fn preserve(author: &Place, name: &str, text: &str) -> String {
    let file = author.path().join(name);
    fs::write(&file, text).unwrap();
    let preserved = author.node(["preserve", file.to_str().unwrap()]);
    assert_eq!(preserved.status.code(), Some(0), "{}", stderr(&preserved));
    stdout(&preserved).lines().next().unwrap().to_owned()
}

#[test]
fn author_whose_machine_is_gone_gets_everything_back_from_the_card() {
    let author = Place::new();
    let others: Vec<_> = (0..3).map(|_| Place::new()).collect();
    let daemon = Daemon::start(&author);
    let daemons: Vec<_> = others.iter().map(Daemon::start).collect();
    for other in &others {
        let invited = author.node(["invite"]);
        let joined = other.node(["join", stdout(&invited).trim()]);
        assert_eq!(joined.status.code(), Some(0), "{}", stderr(&joined));
    }
    let letters = [("letter.txt", "We went to the sea."), ("answer.txt", "So did we.")];
    let ids = letters.map(|(name, text)| preserve(&author, name, text));
    assert_eq!(author.node(["key", "card", "card.txt"]).status.code(), Some(0));
    let card = fs::read(author.path().join("card.txt")).unwrap();
    assert_eq!(daemon.stop(), Some(0));
    fs::remove_dir_all(author.data_dir()).unwrap();

    let new = Place::new();
    fs::write(new.path().join("card.txt"), &card).unwrap();
    let recover = ["recover", "--card", "card.txt", "--peer", &address(&others[1])];
    let prepared = new.node(recover);
    failed(&prepared, 69, "Start that node, with `");
    assert!(stderr(&prepared).contains(" run`"), "{}", stderr(&prepared));
    failed(&new.node(recover), 69, "Start that node, with `");
    let again = Daemon::start(&new);
    let recovered = new.node(recover);
    assert_eq!(recovered.status.code(), Some(0), "{}", stderr(&recovered));
    assert!(
        stdout(&recovered).starts_with("Here again: all 2 tesserae of author1"),
        "{}",
        stdout(&recovered)
    );
    assert!(
        stderr(&recovered).contains("1 of 2 nodes say what they keep: 2 tesserae"),
        "{}",
        stderr(&recovered)
    );
    for (id, (name, text)) in ids.iter().zip(letters) {
        let read = new.node(["cat", id, name]);
        assert_eq!(stdout(&read), text, "{}", stderr(&read));
    }
    // There is nothing left to be done, and the card is not needed any more.
    let told = json(&new.node(["recover", "--json"]));
    assert_eq!((&told["missing"], &told["tesseras"][1]["job"]), (&0.into(), &serde_json::Value::Null));

    // What cannot be had is named, with what to do.
    new.node(["forget", &ids[0]]);
    new.node(["block", &ids[0], "--reason", "a test"]);
    let short = new.node(["recover"]);
    assert_eq!(short.status.code(), Some(3), "{}", stderr(&short));
    assert!(stdout(&short).starts_with("Here again: 1 of 2 tesserae"), "{}", stdout(&short));
    let named = format!("- {}: ", ids[0]);
    assert!(
        stderr(&short).contains(&named) && stderr(&short).contains("`unblock` it first"),
        "{}",
        stderr(&short)
    );
    drop((again, daemons));
}

#[test]
fn card_of_somebody_else_and_nodes_that_keep_nothing_are_told() {
    let (ann, ben, new) = (Place::new(), Place::new(), Place::new());
    let (_a, _b) = (Daemon::start(&ann), Daemon::start(&ben));
    assert_eq!(ann.node(["key", "card", "card.txt"]).status.code(), Some(0));
    fs::copy(ann.path().join("card.txt"), ben.path().join("card.txt")).unwrap();
    fs::copy(ann.path().join("card.txt"), new.path().join("card.txt")).unwrap();
    failed(&ben.node(["recover", "--card", "card.txt"]), 73, "name an empty folder");
    assert_eq!(new.node(["init"]).status.code(), Some(0));
    failed(&new.node(["recover", "--card", "card.txt"]), 73, "name an empty folder");
    failed(&new.node(["recover"]), 69, "run");
    failed(&ann.node(["recover"]), 1, "no other node is known");
    failed(&ann.node(["recover", "--peer", "ben"]), 2, "--peer");
    failed(&ann.node(["recover", "--peer", &address(&ben)]), 1, "keeps nothing of author1");
}

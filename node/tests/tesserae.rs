//! Tesserae from the command line to the disk and back.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::Shutdown,
    os::unix::{fs::symlink, net::UnixStream},
};

use actors::{System, SystemConfig};
use bytes::Bytes;
use common::{Daemon, Place, failed, json, problem, stderr, stdout, terminal};
use config::StorageConfig;
use proto::{Checksum, Fragment, NodeKey, TesseraId, record::DocumentKind};
use serde_json::Value;

/// A folder with the things that go wrong easily.
fn tree(place: &Place) -> std::path::PathBuf {
    let top = place.path().join("Vó Ana");
    fs::create_dir_all(top.join("empty")).unwrap();
    fs::create_dir_all(top.join("a b")).unwrap();
    fs::write(top.join("a b/100% #1?.txt"), "named like a web address").unwrap();
    fs::write(top.join("nothing"), "").unwrap();
    fs::write(top.join("long"), (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>()).unwrap();
    top
}

#[test]
fn tessera_comes_back_as_it_went_in() {
    let place = Place::new();
    let _daemon = Daemon::start(&place);
    let top = tree(&place);
    for visibility in [[].as_slice(), &["--public", "--title", "Vó Ana's kitchen", "--tags", "food,family"]]
    {
        let id = place.create(&top, visibility);
        let folder = place.path().join(&id);
        let export = place.node(["export", &id, folder.to_str().unwrap()]);
        assert_eq!(export.status.code(), Some(0), "{}", stderr(&export));
        let data = folder.join("tessera/data/Vó Ana");
        for file in ["a b/100% #1?.txt", "nothing", "long"] {
            assert_eq!(fs::read(data.join(file)).unwrap(), fs::read(top.join(file)).unwrap(), "{file}");
            let path = format!("Vó Ana/{file}");
            assert!(place.node(["cat", &id, &path]).stdout == fs::read(top.join(file)).unwrap(), "{file}");
        }
        assert!(data.join("empty").is_dir());
        for what in [&id, folder.to_str().unwrap()] {
            let verify = place.node(["verify", what]);
            assert!(stdout(&verify).contains("is intact"), "{}", stderr(&verify));
        }
    }
}

#[test]
fn space_behind_the_commas_of_a_list_is_no_part_of_its_words() {
    let place = Place::new();
    let _daemon = Daemon::start(&place);
    fs::write(place.path().join("a"), "a").unwrap();
    let id =
        place.create(&place.path().join("a"), &["--public", "--tags", "sea, summer", "--people", "Ana, Rui"]);
    let manifest = &json(&place.node(["show", "--json", &id]))["manifest"];
    assert_eq!(manifest["tags"], serde_json::json!(["sea", "summer"]));
    assert_eq!(manifest["people"], serde_json::json!(["Ana", "Rui"]));
}

#[test]
fn file_without_a_name_is_wrong_usage() {
    let place = Place::new();
    failed(&place.node(["cat", "tess1qq", ""]), 2, "<PATH>");
}

#[test]
fn create_prints_the_id_alone() {
    let place = Place::new();
    let _daemon = Daemon::start(&place);
    fs::write(place.path().join("a"), "a").unwrap();
    let output = place.node(["create", "a"]);
    assert!(
        stdout(&output).starts_with("tess1") && stdout(&output).lines().count() == 1,
        "{}",
        stdout(&output)
    );
    assert_eq!(stderr(&output), "", "nothing is drawn where nobody watches");
}

#[test]
fn link_is_refused_by_name_or_left_out_with_a_warning() {
    let place = Place::new();
    let _daemon = Daemon::start(&place);
    let top = tree(&place);
    symlink("nothing", top.join("link")).unwrap();
    let top = top.to_str().unwrap();
    failed(&place.node(["create", top]), 1, "link");
    assert_eq!(json(&place.node(["list", "--json"])), serde_json::json!([]), "nothing was made");
    let output = place.node(["create", "--skip-special", top]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).starts_with("warning: left out: "), "{}", stderr(&output));
    let output = place.node(["create", "--skip-special", "--json", top]);
    assert!(problem(&output)["warning"].as_str().unwrap().contains("link"));
}

#[test]
fn names_of_other_peoples_files_do_not_reach_the_terminal_as_they_are() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let (evil, shown) = ("a\u{1b}[2J\u{202e}b", r"a\u{1b}[2J\u{202e}b");
    let refused = place.node(["create", evil]);
    fs::write(place.path().join("letter.txt"), "We went to the sea.").unwrap();
    place.create(&place.path().join("letter.txt"), &["--public", "--title", "\u{202e}b"]);
    let listed = place.node(["list"]);
    assert!(stderr(&refused).contains(shown) && stdout(&listed).contains(r"\u{202e}b"));
    for told in [stderr(&refused), stdout(&listed)] {
        assert!(!told.contains(['\u{1b}', '\u{202e}']), "{told:?}");
    }
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn refusal_of_the_daemon_reaches_whoever_is_still_sending() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let mut upload = UnixStream::connect(daemon.socket()).unwrap();
    let head = "POST /v1/tesseras HTTP/1.1\r\nhost: node\r\ntransfer-encoding: chunked\r\n\r\n";
    upload.write_all(head.as_bytes()).unwrap();
    // No tar: refused within the first piece, while many more are on their way.
    let piece = format!("{:x}\r\n{}\r\n", 1 << 16, "x".repeat(1 << 16));
    for _ in 0..64 {
        upload.write_all(piece.as_bytes()).unwrap();
    }
    let mut answer = [0; 12];
    upload.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
}

#[test]
fn upload_that_is_cut_off_makes_nothing() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let mut upload = UnixStream::connect(daemon.socket()).unwrap();
    let head = "POST /v1/tesseras HTTP/1.1\r\nhost: node\r\ntransfer-encoding: chunked\r\n\r\n200\r\n";
    upload.write_all(head.as_bytes()).unwrap();
    upload.write_all(&[0; 100]).unwrap();
    drop(upload);
    assert_eq!(json(&place.node(["list", "--json"])), serde_json::json!([]));
}

#[test]
fn upload_that_ends_before_its_length_is_the_callers_mistake() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let head = "POST /v1/tesseras HTTP/1.1\r\nhost: node\r\nconnection: close\r\n";
    for body in ["content-length: 4096\r\n\r\nshort", "transfer-encoding: chunked\r\n\r\nno length\r\n"] {
        let mut upload = UnixStream::connect(daemon.socket()).unwrap();
        upload.write_all(format!("{head}{body}").as_bytes()).unwrap();
        upload.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        upload.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(
            answer.contains("urn:tesseras:problem:bad-request") && answer.contains("broke off"),
            "{answer}"
        );
    }
}

#[test]
fn beginning_of_an_id_is_enough_while_it_is_the_only_one() {
    let place = Place::new();
    let _daemon = Daemon::start(&place);
    let ids: Vec<String> = (0..40_u8).map(|at| place.keep("a", &[at])).collect();
    let short = &ids[0][..20];
    assert_eq!(json(&place.node(["show", "--json", short]))["id"], ids[0].as_str());
    assert_eq!(json(&place.node(["show", "--json", &short.to_uppercase()]))["id"], ids[0].as_str());
    let first_letters: Vec<&str> = ids.iter().map(|id| &id[..6]).collect();
    // Forty ids, thirty-two letters: two of them begin alike.
    let twice =
        first_letters.iter().find(|letter| first_letters.iter().filter(|other| other == letter).count() > 1);
    failed(&place.node(["show", twice.unwrap()]), 2, "several tesserae here begin with");
    failed(&place.node(["show", "tess1b"]), 2, "'b'");
    failed(&place.node(["show", "photo"]), 2, "`tess1`");
    let unused = "qpzry9x8gf2tvdw0s3jn54khce6mua7l".chars().map(|letter| format!("tess1{letter}qqqqqq"));
    let none = unused.into_iter().find(|prefix| !ids.iter().any(|id| id.starts_with(prefix))).unwrap();
    failed(&place.node(["show", &none]), 1, "no tessera here begins with");
}

#[test]
fn export_says_what_it_wrote_as_json() {
    let place = Place::new();
    let _daemon = Daemon::start(&place);
    let id = place.keep("letter", b"We went to the sea.");
    let export = json(&place.node(["export", &id, "out", "--json"]));
    let (bytes, files) = (export["bytes"].as_u64().unwrap(), export["files"].as_u64().unwrap());
    let told = serde_json::json!({ "tessera": id, "folder": "out", "files": files, "bytes": bytes });
    assert!(export == told && files >= 1 && bytes >= 19, "{export}");
    let raw = json(&place.node(["export", &id, "raw", "--raw", "--json"]));
    let length = fs::metadata(place.path().join("raw/content.tar.age")).unwrap().len();
    assert_eq!((&raw["files"], &raw["bytes"]), (&Value::Null, &length.into()), "{raw}");
}

#[test]
fn tessera_that_was_forgotten_is_gone() {
    let place = Place::new();
    let _daemon = Daemon::start(&place);
    let (kept, gone) = (place.keep("a", b"kept"), place.keep("a", b"gone"));
    assert_eq!(place.node(["cat", &gone, "a"]).stdout, b"gone", "so that the cache has seen it");
    let ends = |place: &Place| json(&place.node(["status", "--json"]))["storage"]["drop_bytes"].as_u64();
    let before = ends(&place).unwrap();
    assert_eq!(json(&place.node(["forget", &gone, "--json"])), serde_json::json!({ "tessera": gone }));
    assert!(ends(&place).unwrap() > before, "what says so stays in the log");
    for command in [["show", &gone].as_slice(), &["cat", &gone, "a"], &["verify", &gone], &["forget", &gone]]
    {
        let output = place.node(command.iter().copied().chain(["--json"]));
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        assert_eq!(problem(&output)["type"], "urn:tesseras:problem:not-found", "{command:?}");
    }
    assert_eq!(place.node(["cat", &kept, "a"]).stdout, b"kept");
}

#[test]
fn list_of_many_goes_over_all_pages() {
    let place = Place::new();
    let _daemon = Daemon::start(&place);
    let mut ids: Vec<String> = (0..130_u8).map(|at| place.keep("a", &[at])).collect();
    let listed = json(&place.node(["list", "--json"]));
    let mut listed: Vec<&str> =
        listed.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    ids.sort();
    listed.sort_unstable();
    assert_eq!(listed, ids);
}

#[test]
fn damaged_tessera_is_exit_65_and_never_written_out() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let file = place.path().join("long");
    fs::write(&file, &bytes).unwrap();
    // Public, so that its bytes are stored as they are.
    let id = place.create(&file, &["--public"]);
    let whole = place.keep("whole", b"whole");
    assert_eq!(daemon.stop(), Some(0));
    // Behind the first pieces, so that it shows when these are written.
    place.damage(&bytes[350_000..350_032]);
    let _daemon = Daemon::start(&place);
    let verify = place.node(["verify", "--json", &id]);
    assert_eq!(verify.status.code(), Some(65), "{}", stderr(&verify));
    assert_eq!(json(&verify)["damaged"], 1);
    let folder = place.path().join("out");
    let export = place.node(["export", &id, folder.to_str().unwrap()]);
    failed(&export, 65, "1 damaged");
    assert!(stderr(&export).contains("remove it before you try again"), "{}", stderr(&export));
    assert!(!folder.join("manifest.cbor").exists(), "an export that did not finish says so");
    let again = place.node(["export", &whole, folder.to_str().unwrap()]);
    failed(&again, 73, "is not an empty folder");
    assert!(!stderr(&again).contains("remove"), "what it did not write may be anything: {}", stderr(&again));
    let cat = place.node(["cat", &id, "long"]);
    assert_eq!(cat.status.code(), Some(65), "{}", stderr(&cat));
    assert!(stderr(&cat).contains("1 damaged"), "{}", stderr(&cat));
    assert!(bytes.starts_with(&cat.stdout) && cat.stdout.len() < bytes.len());
}

#[test]
fn cat_into_a_file_shows_its_progress_where_somebody_watches() {
    let place = Place::new();
    let _daemon = Daemon::start(&place);
    let id = place.keep("long", &[7; 300_000]);
    let copy = place.path().join("copy");
    let (mut terminal, watched) = terminal();
    let mut command = place.command(["cat", &id, "long"]);
    command.stdout(File::create(&copy).unwrap()).stderr(watched).env("TERM", "xterm");
    let mut child = command.spawn().unwrap();
    // With it goes the last copy of the terminal's other end that is not the child's.
    drop(command);
    let mut seen = Vec::new();
    // A terminal whose other end is gone ends with an error.
    let _ = terminal.read_to_end(&mut seen);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(fs::read(&copy).unwrap(), [7; 300_000]);
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.contains("reading") && seen.contains("of 292.97 KiB"), "{seen}");
}

#[test]
fn manifest_that_is_damaged_is_not_called_absent() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let (id, other) = (place.keep("a", b"a"), place.keep("b", b"b"));
    let folder = place.path().join("out");
    place.node(["export", &id, folder.to_str().unwrap()]);
    assert_eq!(daemon.stop(), Some(0));
    place.damage(&fs::read(folder.join("manifest.cbor")).unwrap());
    let daemon = Daemon::start(&place);
    let state = |id: &String| json(&place.node(["show", "--json", id]))["manifest_state"].clone();
    assert_eq!((state(&id), state(&other)), ("suspect".into(), "ok".into()));
    let shown = |id: &String| stdout(&place.node(["show", id])).to_owned();
    assert!(shown(&id).contains("What its author signed is damaged here"), "{}", shown(&id));
    assert!(shown(&other).contains("all of it is here and in order"), "{}", shown(&other));
    failed(&place.node(["export", &id, "elsewhere"]), 65, "is damaged");
    assert!(
        daemon.log().contains("a request failed"),
        "whoever asked is told to see the log: {}",
        daemon.log()
    );
    failed(&place.node(["verify", &id]), 65, "is damaged");
    let listed = json(&place.node(["list", "--json"]));
    assert_eq!(listed.as_array().unwrap().len(), 2, "it hides no other");
}

/// Keeps a fragment and a manifest that nobody here has checked, as a peer may send them; the node must not run.
fn keep_unchecked(place: &Place, manifest: Vec<u8>) -> TesseraId {
    let id = TesseraId::from(Checksum::of(&manifest));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let storage = StorageConfig::with_defaults(place.data_dir());
        let system = System::start(SystemConfig::new(storage, NodeKey::from_seed([1; 32]))).await.unwrap();
        let fragment = Fragment::hash(Bytes::from_static(b"of another node")).unwrap();
        let mut session = system.storage.open_session().await.unwrap();
        session.put_blob(fragment.clone()).await.unwrap();
        session.put_document(id, DocumentKind::Manifest, manifest.into()).await.unwrap();
        session.put_refs(id, &[(0, 0, fragment.checksum())]).await.unwrap();
        session.commit(id).await.unwrap();
        system.drain().await;
    });
    id
}

#[test]
fn manifest_of_a_newer_version_or_of_nonsense_hides_no_other() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let id = place.keep("a", b"a");
    let folder = place.path().join("out");
    place.node(["export", &id, folder.to_str().unwrap()]);
    assert_eq!(daemon.stop(), Some(0));
    let mut manifest = fs::read(folder.join("manifest.cbor")).unwrap();
    // Field 0 is the version, 1; field 1 the author, 32 bytes.
    let version = manifest.windows(5).position(|bytes| bytes == [0, 1, 1, 0x58, 32]).unwrap() + 1;
    manifest[version] = 2;
    let newer = keep_unchecked(&place, manifest).to_string();
    let nonsense = keep_unchecked(&place, b"no manifest at all".to_vec()).to_string();
    let _daemon = Daemon::start(&place);
    let listed = json(&place.node(["list", "--json"]));
    let state = |id: &String| {
        let is_it = |tessera: &&Value| tessera["id"].as_str() == Some(id);
        listed.as_array().unwrap().iter().find(is_it).unwrap()["manifest_state"].clone()
    };
    let states = [&id, &newer, &nonsense].map(state);
    assert_eq!(states, ["ok", "newer", "suspect"].map(Value::from));
    assert!(stdout(&place.node(["show", &newer])).contains("newer version"));
    failed(&place.node(["export", &newer, "elsewhere"]), 78, "update it");
}

#[test]
fn fragment_is_put_listed_read_and_dropped() {
    let place = Place::new();
    let _daemon = Daemon::start(&place);
    // Of a tessera of which nothing else is here.
    let id = TesseraId::from_bytes([9; 32]).to_string();
    fs::write(place.path().join("bytes"), "fragment").unwrap();
    let put = place.node(["fragment", "put", &id, "7", "3", "bytes"]);
    assert_eq!(put.status.code(), Some(0), "{}", stderr(&put));
    let sum = stdout(&put).trim();
    let list = json(&place.node(["fragment", "list", "--json", &id]));
    let row = list.as_array().unwrap().iter().find(|row| row["stripe"] == 7).unwrap();
    assert_eq!((row["index"].as_u64(), row["checksum"].as_str()), (Some(3), Some(sum)));
    assert_eq!(place.node(["fragment", "get", &id, "7", "3"]).stdout, b"fragment");
    assert_eq!(place.node(["fragment", "drop", &id, "7", "3"]).status.code(), Some(0));
    failed(&place.node(["fragment", "get", &id, "7", "3"]), 1, "is not here");
    fs::write(place.path().join("bytes"), "").unwrap();
    failed(&place.node(["fragment", "put", &id, "7", "3", "bytes"]), 1, "is empty");
    fs::write(place.path().join("bytes"), vec![0; (1 << 20) + 1]).unwrap();
    failed(&place.node(["fragment", "put", &id, "7", "3", "bytes"]), 1, "longer than a fragment");
}

/// Whoever reads the tessera would find it damaged, and nobody could repair it.
#[test]
fn fragment_that_its_tessera_does_not_have_is_refused() {
    let place = Place::new();
    let _daemon = Daemon::start(&place);
    let id = place.keep("a", b"a");
    fs::write(place.path().join("right"), place.node(["fragment", "get", &id, "0", "0"]).stdout).unwrap();
    fs::write(place.path().join("wrong"), "fragment").unwrap();
    let put = |at: [&str; 2], bytes| place.node(["fragment", "put", &id, at[0], at[1], bytes]);
    failed(&put(["7", "3"], "wrong"), 1, "has no fragment");
    assert_eq!(place.node(["fragment", "drop", &id, "0", "0"]).status.code(), Some(0));
    failed(&put(["0", "0"], "wrong"), 1, "these bytes have the checksum");
    assert_eq!(put(["0", "0"], "right").status.code(), Some(0));
    assert_eq!(place.node(["verify", &id]).status.code(), Some(0));
}

#[test]
fn fragment_that_is_too_long_is_refused_by_the_daemon_too() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let id = place.keep("a", b"a");
    let body = "x".repeat((1 << 20) + 1);
    let head = format!("PUT /v1/tesseras/{id}/fragments/0/0 HTTP/1.1\r\nhost: node\r\nconnection: close\r\n");
    let answer = daemon.say(&format!("{head}content-length: {}\r\n\r\n{body}", body.len()));
    assert!(
        answer.starts_with("HTTP/1.1 413") && answer.contains("urn:tesseras:problem:too-large"),
        "{answer}"
    );
}

#[test]
fn attest_claims_every_fragment_and_reads_no_blob() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let id = place.keep("long", &bytes);
    let fragments = json(&place.node(["fragment", "list", "--json", &id])).as_array().unwrap().len();
    let blob_reads = || {
        let metrics = daemon.get("/metrics");
        let counted = metrics.lines().filter_map(|line| line.strip_prefix("tesseras_blob_reads_total{"));
        counted.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum::<u64>()
    };
    assert_eq!(blob_reads(), 0);
    let text = place.node(["attest", &id[..20]]);
    assert_eq!(stdout(&text).lines().count(), fragments + 1, "{}", stderr(&text));
    assert!(stderr(&text).contains(&format!("claims to hold {fragments} fragments")), "{}", stderr(&text));
    let pages = json(&place.node(["attest", "--json", &id]));
    assert_eq!(pages[0]["rows"].as_array().unwrap().len(), fragments);
    assert_eq!(pages[0]["rows"][0]["verified_age_ms"], Value::Null, "written is not verified");
    assert_eq!(blob_reads(), 0);
    place.node(["verify", &id]);
    assert!(blob_reads() > 0);
    failed(&place.node(["attest", &format!("tess1{}", "q".repeat(52) + &id[57..])]), 2, "checksum");
}

#[test]
fn every_reading_command_prints_json() {
    let place = Place::new();
    let _daemon = Daemon::start(&place);
    let id = place.keep("a", b"a");
    for command in [
        ["list"].as_slice(),
        &["show", &id],
        &["verify", &id],
        &["fragment", "list", &id],
        &["attest", &id],
        &["id"],
        &["status"],
        &["actors"],
        &["config", "show"],
        &["config", "check"],
    ] {
        let output = place.node(command.iter().copied().chain(["--json"]));
        assert_eq!(output.status.code(), Some(0), "{command:?}: {}", stderr(&output));
        assert!(!json(&output).is_null(), "{command:?}");
    }
}

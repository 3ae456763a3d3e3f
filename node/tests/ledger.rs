//! What is kept for whom, between nodes on loopback.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use std::net::SocketAddr;

use actors::{
    System, SystemConfig,
    keys::{AUTHOR_KEY_NAME, Author, NODE_KEY_NAME, read_node_key},
};
use common::{Daemon, Place, failed, json, stderr, stdout};
use config::{NetworkConfig, StorageConfig};
use proto::{
    AuthorKey, Checksum, Fragment, FragmentId, NodeId, ProtoError,
    chunks::Chunker,
    credential::Credential,
    layout::{Code, Layout},
    manifest::{Manifest, Visibility},
    record::DocumentKind,
};
use serde_json::{Value, json};

/// An id of a place, by its kind.
fn id(place: &Place, kind: &str) -> String {
    json(&place.node(["id", "--json"]))[kind].as_str().unwrap().to_owned()
}

fn at(place: &Place) -> String {
    let pool = json(&place.node(["pool", "--json"]));
    format!("{}@{}", id(place, "node"), pool["listens_at"].as_str().unwrap())
}

#[track_caller]
fn done(place: &Place, arguments: &[&str]) -> String {
    let output = place.node(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
    stdout(&output).to_owned()
}

fn ledger(place: &Place) -> Value {
    json(&place.node(["ledger", "--json"]))
}

/// Gives a node five fragments of 4096 bytes for the author of a place, and has it drop one of them again. The place has no
/// daemon meanwhile.
async fn give(from: &Place, to: NodeId) {
    let key = read_node_key(&from.data_dir().join(NODE_KEY_NAME)).unwrap();
    let author = Author::read(&from.data_dir().join(AUTHOR_KEY_NAME)).unwrap();
    let credential = Credential { author: author.id(), node: key.id(), made_at_ms: 0 };
    let listen_addr = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let system = System::start(SystemConfig {
        credential: Some(credential.sign(author.key()).unwrap()),
        network: NetworkConfig { listen_addr, ..NetworkConfig::default() },
        ..SystemConfig::new(StorageConfig::with_defaults(from.data_dir()), key)
    });
    let system = system.await.unwrap();
    system.peers.refresh().await.unwrap();
    give_all(&system, to, author.key()).await;
    system.drain().await;
}

async fn give_all(system: &System, to: NodeId, author: &AuthorKey) {
    let (mut chunker, mut fragments) = (Chunker::new(), Vec::new());
    let mut keep = |chunk: Fragment| {
        fragments.push(chunk);
        Ok::<(), ProtoError>(())
    };
    let content: Vec<u8> = (0_u32..5 * 1024).flat_map(u32::to_le_bytes).collect();
    chunker.push(&content, &mut keep).unwrap();
    let cut = chunker.finish(&mut keep).unwrap();
    let manifest = Manifest {
        author: author.id(),
        created_at_ms: 0,
        visibility: Visibility::Private,
        content_len: cut.content_len,
        content_hash: cut.content_hash,
        description: Default::default(),
        supersedes: None,
        part_of: None,
        rights: None,
    };
    let manifest = manifest.sign(author).unwrap();
    let checksums: Vec<Checksum> = fragments.iter().map(Fragment::checksum).collect();
    let code = Code::new(1, 0).unwrap();
    let (layout, pages) =
        Layout::build(manifest.id(), code, cut.fragment_len, cut.content_len, &checksums).unwrap();
    let (remote, tessera, layout) = (&system.remote, manifest.id(), layout.sign(author).unwrap());
    let documents = [
        (DocumentKind::Manifest, None, manifest.bytes().clone()),
        (DocumentKind::Layout, None, layout.bytes().clone()),
        (DocumentKind::LayoutPage, Some(layout.checksum()), pages[0].clone()),
    ];
    for (kind, root, bytes) in documents {
        remote.put_document(to, tessera, kind, root, bytes).await.unwrap();
    }
    for (stripe, fragment) in (0..).zip(&fragments) {
        let id = FragmentId { tessera, stripe, index: 0 };
        remote.put_fragment(to, author.id(), id, layout.checksum(), fragment).await.unwrap();
    }
    assert_eq!(remote.drop_fragments(to, author, tessera, &[(4, 0)]).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_to_another_node_stands_in_both_ledgers() {
    let (ann, ben) = (Place::new(), Place::new());
    let _b = Daemon::start(&ben);
    let to = id(&ben, "node").parse().unwrap();
    {
        let _a = Daemon::start(&ann);
        done(&ben, &["peers", "add", &at(&ann), "--name", "ann", "--allow", "1 MiB"]);
        done(&ann, &["peers", "add", &at(&ben), "--name", "ben"]);
    }
    give(&ann, to).await;
    let a = Daemon::start(&ann);

    let of_ben = ledger(&ben);
    let account = &of_ben["accounts"][0];
    assert_eq!(account["author"], id(&ann, "author"));
    assert_eq!(account["peers"], json!([{ "node": id(&ann, "node"), "name": "ann" }]));
    assert_eq!((&account["here"]["fragments"], &account["here"]["bytes"]), (&json!(4), &json!(4 * 4096)));
    assert_eq!((&account["stranger"], &account["allow_bytes"]), (&json!(false), &json!(1 << 20)));
    let counted = account["here"]["counted_bytes"].as_u64().unwrap();
    let documents = account["here"]["document_bytes"].as_u64().unwrap();
    assert!(documents > 100 && counted == 4 * (4096 + 512) + documents, "{account}");
    assert_eq!(account["left_bytes"], (1 << 20) - counted);
    let listed = json(&ben.node(["peers", "list", "--json"]));
    assert_eq!(listed[0]["kept_bytes"], counted, "as `peers list` has it");

    // What it has been told to drop, it has signed no longer.
    let of_ann = ledger(&ann);
    let elsewhere = json!({ "fragments": 4, "bytes": 4 * 4096 });
    assert_eq!((&of_ann["own"]["author"], &of_ann["own"]["elsewhere"]), (&account["author"], &elsewhere));
    let account = &of_ann["accounts"][0];
    assert_eq!((&account["author"], &account["ours"]), (&id(&ben, "author").into(), &elsewhere));
    assert_eq!((&account["difference_bytes"], &of_ann["totals"]["ours"]), (&json!(-4 * 4096), &elsewhere));
    let shown = done(&ann, &["ledger"]);
    let line = shown.lines().find(|line| line.starts_with(&id(&ben, "author"))).unwrap();
    assert!(line.contains("  ben") && line.contains("16.00 KiB  -16.00 KiB"), "{shown}");
    assert!(shown.lines().last().unwrap().starts_with("1 other "), "{shown}");

    // What somebody has here is theirs, also when none of their nodes is a peer any more.
    done(&ben, &["peers", "remove", "ann"]);
    let account = &ledger(&ben)["accounts"][0];
    assert_eq!((&account["stranger"], &account["peers"]), (&json!(true), &json!([])));
    assert_eq!((&account["here"]["fragments"], &account["allow_bytes"]), (&json!(4), &json!(0)));
    assert!(done(&ben, &["ledger"]).contains("  no peer    16.00 KiB"));
    done(&ann, &["peers", "remove", "ben"]);
    let lost = ann.node(["ledger"]);
    assert!(stderr(&lost).contains("16.00 KiB are with nodes that have not shown"), "{}", stderr(&lost));
    assert_eq!(ledger(&ann)["own"]["unknown"], elsewhere);
    drop(a);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_stand_in_the_ledger_with_what_they_may_have() {
    let (ann, ben, eve) = (Place::new(), Place::new(), Place::new());
    let mut command = ben.command(["run"]);
    command.env("TESSERAS_NETWORK__ACCEPT", "any").env("TESSERAS_REPLICATION__ACCEPT_DEFICIT", "100 MiB");
    let b = Daemon::started(&ben, command);
    let to = id(&ben, "node").parse().unwrap();
    {
        let (_a, _e) = (Daemon::start(&ann), Daemon::start(&eve));
        done(&ben, &["peers", "add", &at(&ann), "--name", "ann"]);
        done(&ann, &["peers", "add", &at(&ben)]);
        done(&eve, &["peers", "add", &at(&ben)]);
    }
    give(&ann, to).await;
    give(&eve, to).await;
    let all = ledger(&ben);
    let accounts = all["accounts"].as_array().unwrap();
    let granted = |stranger: bool| {
        let found: Vec<_> = accounts.iter().filter(|account| account["stranger"] == stranger).collect();
        assert_eq!(found.len(), 1, "{all}");
        assert_eq!(found[0]["here"]["fragments"], 4);
        found[0]["allow_bytes"].as_u64().unwrap()
    };
    assert_eq!((granted(false), granted(true)), (1 << 30, 100 << 20));
    assert_eq!((&all["totals"]["here"]["fragments"], &all["next"]), (&json!(8), &Value::Null));

    // In pages.
    let page = |query: &str| -> Value {
        let answer = b.get(&format!("/v1/ledger{query}"));
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let first = page("?limit=1");
    let next = first["next"].as_str().unwrap();
    let second = page(&format!("?limit=1&from={next}"));
    assert_eq!((&first["accounts"][0], &second["accounts"][0]), (&accounts[0], &accounts[1]));
    assert_eq!((&first["totals"], &second["next"]), (&all["totals"], &Value::Null));
    for (query, wrong) in [("?from=tess1qqq", "from"), ("?limit=-1", "limit"), ("?page=2", "page")] {
        let refused = b.get(&format!("/v1/ledger{query}"));
        assert!(refused.starts_with("HTTP/1.1 400") && refused.contains(wrong), "{refused}");
    }
}

#[test]
fn ledger_of_a_node_on_its_own_has_its_own_account_only() {
    let ann = Place::new();
    failed(&ann.node(["ledger"]), 69, "run");
    let _a = Daemon::start(&ann);
    ann.keep("letter", b"We went to the sea.");
    let alone = ann.node(["ledger"]);
    assert!(stderr(&alone).contains("Nothing is kept here for others"), "{}", stderr(&alone));
    assert!(
        stdout(&alone).contains("this node") && stdout(&alone).contains("0 others"),
        "{}",
        stdout(&alone)
    );
    let ledger = ledger(&ann);
    assert_eq!((&ledger["accounts"], &ledger["own"]["peers"]), (&json!([]), &json!([])));
    assert!(ledger["own"]["here"]["bytes"].as_u64().unwrap() > 0, "{ledger}");
}

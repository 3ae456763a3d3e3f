//! Carries out the steps of a history on a node and on the model, and compares.

use std::collections::{BTreeMap, BTreeSet};

use actors::{ActorError, FragmentStore, PutOutcome, storage::StorageHandle};
use bytes::Bytes;
use futures::future::join_all;
use proto::{AccountId, Checksum, Fragment, record::DocumentKind};

use super::{
    super::support::{
        LOCAL, account, audit, fragment, id,
        node::{DEADLINE, End, Node},
        tessera,
    },
    history::{History, Step},
    state::{Answer, Held, Key, Model, Op},
};

/// Carries out a history, checking everything after each step.
pub(super) async fn run(history: &History) {
    let mut node = Node::new(history.seed);
    node.config.sqlite_synchronous_full = history.synchronous_full;
    node.config.sqlite_wal_autocheckpoint_pages = history.autocheckpoint_pages;
    node.config.segment_bytes = history.segment_bytes;
    node.start().await.unwrap();
    let mut model = Model::default();
    for step in &history.steps {
        let done = tokio::time::timeout(DEADLINE, carry_out(step, &mut node, &mut model)).await;
        assert!(done.is_ok(), "does not end: {step:?}");
        compare(&node, &mut model).await;
    }
    node.stop().await;
}

async fn carry_out(step: &Step, node: &mut Node, model: &mut Model) {
    match step {
        Step::Together(ops) => together(ops, node, model).await,
        Step::Compact(ops) => {
            let (_, compacted) = tokio::join!(together(ops, node, model), node.storage().compact());
            assert!(compacted.unwrap().stuck.is_empty(), "there is no damage, so all can be emptied");
        }
        Step::Churn { key, times } => {
            for _ in 0..*times {
                let put = Op::Put { account: 0, key: *key, content: 0, laid_out: *times % 2 == 0 };
                together(&[put], node, model).await;
                together(&[Op::Drop { account: 0, key: *key }], node, model).await;
            }
        }
        Step::Checkpoint => audit::checkpoint(node.path()).await,
        Step::Restart => {
            node.stop().await;
            node.start().await.unwrap();
        }
        Step::Rebuild => node.rebuild().await,
        Step::Panic(ops) => {
            node.storage().panic();
            together(ops, node, model).await;
            running(node.storage()).await;
        }
        Step::End { end, after, ops, compacts, index_goes } => {
            node.disk.go_off(Some(u64::from(*after)));
            let compaction = async {
                if *compacts {
                    // It may be cut off anywhere.
                    let _ = node.storage().compact().await;
                }
            };
            tokio::join!(compaction, together(ops, node, model));
            end_and_start(node, *end, *index_goes).await;
        }
    }
}

async fn end_and_start(node: &mut Node, end: End, index_goes: bool) {
    node.end(end).await;
    if index_goes {
        super::super::support::index::remove(node.path());
    }
    node.start().await.unwrap();
    let report = node.storage().usage().await.unwrap().recovery;
    assert_eq!(report.lost_segments, Vec::<u32>::new(), "nothing that was synced is lost");
}

/// Waits until the actor answers again.
async fn running(storage: &StorageHandle) {
    let deadline = std::time::Instant::now() + DEADLINE;
    while storage.usage().await.is_err() {
        assert!(std::time::Instant::now() < deadline, "in vain: the actor runs again");
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

/// Asks for all at once: they reach the writer in this order, most of them in one batch.
async fn together(ops: &[Op], node: &Node, model: &mut Model) {
    let answers = join_all(ops.iter().map(|op| ask(op, node.storage()))).await;
    for (op, answer) in ops.iter().zip(&answers) {
        model.answered(op, answer);
    }
}

async fn ask(op: &Op, storage: &StorageHandle) -> Answer {
    match op {
        Op::Put { account, key, content, laid_out } => {
            let documents =
                laid_out.then(|| (DocumentKind::Layout, layout(key.0)).into()).into_iter().collect();
            let (account, id) = (account_of(*account), id(key.0, key.1));
            let put = storage.deposit(account, id, content_of(*content), documents);
            answer(put.await.map(|outcome| match outcome {
                PutOutcome::Stored => Answer::Stored,
                PutOutcome::Held => Answer::Held,
            }))
        }
        Op::Drop { account, key } => {
            let dropped = storage.drop_fragment(account_of(*account), id(key.0, key.1)).await;
            answer(dropped.map(|()| Answer::Done))
        }
        Op::Forget { tessera: number } => {
            answer(storage.forget(tessera(*number)).await.map(|()| Answer::Done))
        }
        Op::Session { tessera, contents, commits } => {
            answer(session(storage, *tessera, contents, *commits).await.map(|()| Answer::Done))
        }
    }
}

async fn session(
    storage: &StorageHandle,
    number: u8,
    contents: &[u8],
    commits: bool,
) -> Result<(), ActorError> {
    let mut session = storage.open_session().await?;
    let mut refs = Vec::new();
    for (stripe, content) in (0..).zip(contents) {
        let fragment = content_of(*content);
        refs.push((stripe, 0, fragment.checksum()));
        session.put_blob(fragment).await?;
    }
    session.put_document(tessera(number), DocumentKind::Manifest, document(number, contents)).await?;
    session.put_refs(tessera(number), &refs).await?;
    if commits { session.commit(tessera(number)).await } else { Ok(()) }
}

fn answer(outcome: Result<Answer, ActorError>) -> Answer {
    match outcome {
        Ok(answer) => answer,
        Err(ActorError::NotFound { .. }) => Answer::NotFound,
        Err(ActorError::Conflict { .. }) => Answer::Conflict,
        Err(error) => Answer::Unknown(error.to_string()),
    }
}

/// What is there is what must be there, byte for byte, and the index and the log agree about it.
async fn compare(node: &Node, model: &mut Model) {
    let (rows, _) = audit::check(node).await;
    let contents: BTreeMap<Checksum, u8> =
        (0..CONTENTS).map(|content| (content_of(content).checksum(), content)).collect();
    let mut held = BTreeMap::<_, Held>::new();
    for (account, id) in rows.deposits.keys() {
        let content = contents[&rows.fragments[id].0];
        let key = (id.tessera.as_bytes()[0], id.stripe);
        let held = held.entry(key).or_insert(Held { content, accounts: BTreeSet::new() });
        held.accounts.insert(account.as_bytes()[0]);
    }
    let uncertain = model.uncertain();
    model.seen(&held);
    for key in super::history::keys() {
        match (held.get(&key), node.storage().get(id(key.0, key.1)).await) {
            (Some(held), Ok(found)) => assert_eq!(found, content_of(held.content), "{key:?}"),
            (None, Err(ActorError::NotFound { .. })) => {}
            (Some(held), Err(ActorError::Corrupt { .. })) if uncertain.contains(&key) => {
                give_up(key, held, node, model).await;
            }
            (held, found) => panic!("{key:?} is {held:?}, and was found to be {found:?}"),
        }
    }
    for number in super::history::tesseras() {
        let found = node.storage().document(tessera(number), DocumentKind::Manifest, None).await;
        match (model.documented(number), found) {
            (Ok(Some(contents)), Ok(found)) => assert_eq!(found, document(number, contents)),
            (Ok(None), Err(ActorError::NotFound { .. })) | (Err(()), _) => {}
            (expected, found) => {
                panic!("the manifest of {number} is {expected:?}, and was found to be {found:?}")
            }
        }
        match node.storage().document(tessera(number), DocumentKind::Layout, None).await {
            Ok(found) => {
                assert_eq!(found, layout(number));
                model.seen_layout(number, true);
            }
            Err(ActorError::NotFound { .. }) => model.seen_layout(number, false),
            Err(error) => panic!("the layout of {number}: {error:?}"),
        }
        let door = node.storage().checksums_door();
        assert!(door.add_up(tessera(number)).await.unwrap(), "digest of {number}");
    }
}

/// A power cut may leave the ref of a put that was never acknowledged without its bytes. It is dropped here.
async fn give_up(key: Key, held: &Held, node: &Node, model: &mut Model) {
    for account in held.accounts.clone() {
        let op = Op::Drop { account, key };
        let answer = ask(&op, node.storage()).await;
        assert_eq!(answer, Answer::Done);
        model.answered(&op, &answer);
    }
}

fn document(tessera: u8, contents: &[u8]) -> Bytes {
    [&[tessera], contents].concat().into()
}

fn layout(tessera: u8) -> Bytes {
    vec![tessera; 300].into()
}

fn account_of(number: u8) -> AccountId {
    if number == 0 { LOCAL } else { account(number) }
}

fn content_of(number: u8) -> Fragment {
    let lengths = [0, 1, 700, 2500, 5000, 20_000];
    fragment(number.into(), lengths[usize::from(number)])
}

pub(super) const CONTENTS: u8 = 6;

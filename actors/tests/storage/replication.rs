//! Who keeps a tessera, and what is done about it.

use std::time::{Duration, Instant};

use actors::{
    FragmentStore,
    storage::{JobKind, JobState, Jobs, KeptPlacement, Note, RecordsHandle, ReplicationJob, Which},
};
use bytes::Bytes;
use proto::{AuthorKey, Checksum};

use super::{
    records::{peer, receipt},
    support::{
        LOCAL, fragment, id,
        node::{DEADLINE, End, Node},
        tessera,
    },
};

fn layout(number: u8) -> Checksum {
    Checksum::of(&[number])
}

fn placement(of: u8, version: u64, is_by_author: bool) -> KeptPlacement {
    let signed = Bytes::from(format!("{of} {version} {is_by_author}"));
    KeptPlacement { tessera: tessera(1), layout: layout(of), version, is_by_author, signed }
}

fn job(number: u64, state: JobState) -> ReplicationJob {
    let told = (state != JobState::Pending).then(|| format!("{{\"sentence\":\"{number} \\\"it\\\"\"}}"));
    ReplicationJob {
        id: number,
        kind: JobKind::Publish,
        tessera: tessera(1),
        state,
        began_at_ms: 5,
        changed_at_ms: 6,
        told,
    }
}

async fn kept(records: &RecordsHandle) -> Vec<KeptPlacement> {
    records.placements(tessera(1)).await.unwrap()
}

async fn note(records: &RecordsHandle, placement: KeptPlacement) {
    records.note(vec![Note::Placement(placement)]).await.unwrap();
}

async fn numbers(records: &RecordsHandle, which: Jobs) -> Vec<u64> {
    records.replication_jobs(which).await.unwrap().iter().map(|job| job.id).collect()
}

async fn until_none_is_pending(records: &RecordsHandle) {
    let deadline = Instant::now() + DEADLINE;
    while !numbers(records, Jobs::Pending).await.is_empty() {
        assert!(Instant::now() < deadline, "they have not ended");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn placement_with_the_higher_version_counts_and_of_two_the_authors() {
    let mut node = Node::started(1).await;
    let records = node.storage().records();
    node.storage().put(LOCAL, id(1, 0), fragment(1, 4096)).await.unwrap();
    for (version, is_by_author, counts) in
        [(3, false, true), (2, true, false), (3, true, true), (3, false, false), (4, false, true)]
    {
        note(&records, placement(1, version, is_by_author)).await;
        assert_eq!(
            kept(&records).await == [placement(1, version, is_by_author)],
            counts,
            "{version} {is_by_author}"
        );
    }
    note(&records, placement(2, 1, true)).await;
    assert_eq!(kept(&records).await.len(), 2, "one for each layout");
    node.storage().forget(tessera(1)).await.unwrap();
    assert_eq!(kept(&records).await, []);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn placement_that_comes_when_nothing_is_here_any_more_goes_when_it_is_watched_no_longer() {
    let mut node = Node::started(5).await;
    let records = node.storage().records();
    node.storage().put(LOCAL, id(1, 0), fragment(1, 4096)).await.unwrap();
    note(&records, placement(1, 1, true)).await;
    records.note(vec![Note::Unwatch { tessera: tessera(1) }]).await.unwrap();
    assert_eq!(kept(&records).await, [placement(1, 1, true)], "something is here");
    node.storage().forget(tessera(1)).await.unwrap();
    // A note waits for the index: what comes after it comes after the row is gone.
    records.note(vec![Note::LookAt { tessera: tessera(2) }]).await.unwrap();
    note(&records, placement(1, 1, true)).await;
    assert_eq!(kept(&records).await, [placement(1, 1, true)], "it is a stray");
    records.note(vec![Note::Unwatch { tessera: tessera(1) }]).await.unwrap();
    assert!(records.watched(Which::One(tessera(1))).await.unwrap().is_empty());
    assert_eq!(kept(&records).await, []);
    // Something comes again while it is still thought that nothing is here: all in one transaction.
    let unwatched = records.note(vec![Note::Unwatch { tessera: tessera(1) }]);
    let (put, (), unwatched) = tokio::join!(
        node.storage().put(LOCAL, id(1, 0), fragment(1, 4096)),
        note(&records, placement(1, 2, true)),
        unwatched
    );
    put.unwrap();
    unwatched.unwrap();
    assert_eq!(kept(&records).await, [placement(1, 2, true)]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn job_is_known_until_it_is_finished_and_a_while_longer() {
    let mut node = Node::started(2).await;
    let records = node.storage().records();
    let jobs = |state, numbers: std::ops::RangeInclusive<u64>| {
        numbers.map(move |number| Note::Job(job(number, state)))
    };
    // It has looked what there was before it takes anything.
    assert_eq!(node.system().replication.publish(tessera(1)).await.unwrap().id, 1);
    until_none_is_pending(&records).await;
    records.note(jobs(JobState::Pending, 2..=4).collect()).await.unwrap();
    records.note(jobs(JobState::Done, 3..=3).collect()).await.unwrap();
    assert_eq!(numbers(&records, Jobs::Pending).await, [2, 4]);
    assert_eq!(numbers(&records, Jobs::Last(2)).await, [4, 3]);
    assert_eq!(records.replication_jobs(Jobs::One(3)).await.unwrap(), [job(3, JobState::Done)]);
    node.end_and_start(End::Killed).await;
    let records = node.storage().records();
    // They go on, and nothing of this tessera is here.
    until_none_is_pending(&records).await;
    let states = records.replication_jobs(Jobs::Last(3)).await.unwrap();
    let states: Vec<_> = states.iter().map(|job| job.state).collect();
    assert_eq!(states, [JobState::Failed, JobState::Done, JobState::Failed]);
    records.note(vec![Note::Job(job(4, JobState::Pending))]).await.unwrap();
    for first in (5..1105).step_by(100) {
        records.note(jobs(JobState::Failed, first..=first + 99).collect()).await.unwrap();
    }
    assert_eq!(numbers(&records, Jobs::Last(2000)).await.len(), 1000 + 3, "what is not finished stays");
    // The last thousand stay, and with them the first two, which were the last to end.
    assert_eq!(numbers(&records, Jobs::One(105)).await, [105]);
    assert_eq!(numbers(&records, Jobs::One(104)).await, [0; 0]);
    assert_eq!(numbers(&records, Jobs::Pending).await, [4]);
    records
        .note(vec![Note::Job(ReplicationJob { changed_at_ms: 7, ..job(4, JobState::Done) })])
        .await
        .unwrap();
    for early in [1, 2, 4] {
        assert_eq!(numbers(&records, Jobs::One(early)).await, [early]);
    }
    assert_eq!(numbers(&records, Jobs::Last(2000)).await.len(), 1000 + 3);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn index_that_is_made_anew_knows_of_others_what_the_snapshot_does() {
    let mut node = Node::started(3).await;
    let records = node.storage().records();
    node.storage().put(LOCAL, id(1, 0), fragment(1, 4096)).await.unwrap();
    note(&records, placement(1, 7, true)).await;
    records.note(vec![Note::Job(job(1, JobState::Pending))]).await.unwrap();
    let taken_back = Note::Retracted {
        tessera: tessera(2),
        author: AuthorKey::from_seed([1; 32]).id(),
        purse: LOCAL,
        signed: Bytes::from_static(b"signed"),
        due: vec![peer(1)],
        at_ms: 5,
    };
    let (adopted, leaving) =
        (Note::Adopted { tessera: tessera(1), at_ms: 6 }, Note::Leaving { since_ms: Some(7) });
    records.note(vec![taken_back, adopted, leaving]).await.unwrap();
    node.storage().snapshot().await.unwrap();
    node.rebuild().await;
    let records = node.storage().records();
    assert_eq!(records.retraction(tessera(2)).await.unwrap().unwrap().signed, b"signed".as_slice());
    assert_eq!(records.retractions_due().await.unwrap(), [(tessera(2), peer(1))]);
    assert_eq!(records.adopted().await.unwrap(), [(tessera(1), 6)]);
    assert_eq!(records.leaving_since().await.unwrap(), Some(7));
    let ends = [Note::Abandoned { tessera: tessera(1) }, Note::Leaving { since_ms: None }];
    records.note(ends.into()).await.unwrap();
    assert_eq!(records.adopted_since(tessera(1)).await.unwrap(), None);
    assert_eq!(records.leaving_since().await.unwrap(), None);
    assert_eq!(kept(&records).await, [placement(1, 7, true)]);
    assert_eq!(numbers(&records, Jobs::Last(9)).await, [1]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claim_of_one_fragment_leaves_the_others() {
    let mut node = Node::started(4).await;
    let records = node.storage().records();
    let claimed = |stripe, at_ms| Note::Claimed {
        holder: peer(1),
        fragment: id(1, stripe),
        checksum: Checksum::of(b"it"),
        at_ms,
    };
    records
        .note(vec![receipt(1, id(1, 0), Checksum::of(b"it")), claimed(0, 5), claimed(1, 6)])
        .await
        .unwrap();
    records.note(vec![claimed(0, 9)]).await.unwrap();
    let claims = records.claims(tessera(1), 0..9).await.unwrap();
    let claims: Vec<_> = claims.iter().map(|it| (it.stripe, it.claimed_at_ms)).collect();
    assert_eq!(claims, [(0, 9), (1, 6)]);
    node.stop().await;
}

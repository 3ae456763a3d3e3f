//! What becomes of actors that fall.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use actors::{
    ActorError, FragmentStore, System, SystemConfig, storage::SEGMENTS_FOLDER, supervision::RestartBudget,
};
use bytes::Bytes;
use config::StorageConfig;
use proto::{AccountId, Fragment, FragmentId, NodeKey, TesseraId};

async fn start(folder: &tempfile::TempDir, budget: RestartBudget) -> System {
    let storage = StorageConfig { min_free_bytes: 0, ..StorageConfig::with_defaults(folder.path()) };
    System::start(SystemConfig { budget, ..SystemConfig::new(storage, NodeKey::from_seed([7; 32])) })
        .await
        .unwrap()
}

fn id() -> FragmentId {
    FragmentId { tessera: TesseraId::from_bytes([1; 32]), stripe: 0, index: 0 }
}

/// Until the actor has fallen and runs again, so often in all.
async fn restarted(system: &System, actor: &str, times: u64) {
    let mut standing = system.standing.clone();
    let seen = standing.wait_for(|standing| {
        standing.actors.iter().any(|one| one.name == actor && one.running && one.restarts == times)
    });
    tokio::time::timeout(PATIENCE, seen).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_fell_goes_on_with_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let system = start(&folder, RestartBudget::default()).await;
    let fragment = Fragment::hash(Bytes::from_static(b"kept")).unwrap();
    system.storage.put(AccountId::LOCAL, id(), fragment.clone()).await.unwrap();
    system.storage.panic();
    restarted(&system, "storage", 1).await;
    assert_eq!(system.storage.get(id()).await.unwrap(), fragment);
    system.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn session_of_before_the_fall_is_over_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let system = start(&folder, RestartBudget::default()).await;
    let session = system.storage.open_session().await.unwrap();
    system.storage.panic();
    restarted(&system, "storage", 1).await;
    let committed = session.commit(id().tessera).await;
    assert!(matches!(committed, Err(ActorError::SessionEnded { .. })), "{committed:?}");
    system.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn actor_that_falls_too_often_ends_the_node_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let budget = RestartBudget { restarts_max: 2, ..RestartBudget::default() };
    let system = start(&folder, budget).await;
    for times in 1..=2 {
        system.attestation.panic();
        restarted(&system, "attestation", times).await;
    }
    system.attestation.panic();
    let mut standing = system.standing.clone();
    let fatal = standing.wait_for(|standing| standing.fatal.is_some());
    let fatal = tokio::time::timeout(PATIENCE, fatal).await.unwrap().unwrap().fatal.clone().unwrap();
    assert_eq!(fatal, "attestation fell more than 2 times within 60 s, the last time because: asked to");
    let asked = system.storage.get(id()).await;
    assert!(matches!(asked, Err(ActorError::NotFound { .. })), "the others go on until the process ends");
    system.drain().await;
}

/// Nothing can be begun where the folder of the segments was: storage does not start until that is so again.
struct Obstacle {
    segments: PathBuf,
    aside: PathBuf,
}

impl Obstacle {
    fn put(folder: &Path) -> Self {
        let (segments, aside) = (folder.join(SEGMENTS_FOLDER), folder.join("aside"));
        std::fs::rename(&segments, &aside).unwrap();
        std::fs::write(&segments, b"in the way").unwrap();
        Self { segments, aside }
    }

    fn remove(self) {
        std::fs::remove_file(&self.segments).unwrap();
        std::fs::rename(&self.aside, &self.segments).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_that_fails_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let budget =
        RestartBudget { restarts_max: usize::MAX, backoff: Duration::ZERO, ..RestartBudget::default() };
    let system = start(&folder, budget).await;
    let fragment = Fragment::hash(Bytes::from_static(b"kept")).unwrap();
    system.storage.put(AccountId::LOCAL, id(), fragment.clone()).await.unwrap();
    let obstacle = Obstacle::put(folder.path());
    system.storage.panic();
    let mut standing = system.standing.clone();
    let failing = standing.wait_for(|standing| standing.actors.iter().any(|actor| actor.restarts > 2));
    assert_eq!(tokio::time::timeout(PATIENCE, failing).await.unwrap().unwrap().fatal, None);
    obstacle.remove();
    let runs = standing.wait_for(|standing| standing.actors.iter().all(|actor| actor.running));
    tokio::time::timeout(PATIENCE, runs).await.unwrap().unwrap();
    assert_eq!(system.storage.get(id()).await.unwrap(), fragment);
    system.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn actor_that_is_down_is_the_one_that_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    let budget =
        RestartBudget { restarts_max: usize::MAX, backoff: Duration::ZERO, ..RestartBudget::default() };
    let system = start(&folder, budget).await;
    assert_eq!(system.silent(PATIENCE).await, [""; 0]);
    let obstacle = Obstacle::put(folder.path());
    system.storage.panic();
    let mut standing = system.standing.clone();
    let down = standing.wait_for(|standing| standing.actors.iter().any(|actor| !actor.running));
    drop(tokio::time::timeout(PATIENCE, down).await.unwrap().unwrap());
    assert_eq!(system.silent(PATIENCE).await, ["storage"]);
    obstacle.remove();
    let runs = standing.wait_for(|standing| standing.actors.iter().all(|actor| actor.running));
    drop(tokio::time::timeout(PATIENCE, runs).await.unwrap().unwrap());
    assert_eq!(system.silent(PATIENCE).await, [""; 0]);
    let after = system.clone();
    system.drain().await;
    assert!(after.silent(PATIENCE).await.starts_with(&["storage", "cache", "attestation"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_that_keep_failing_end_the_node_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let budget = RestartBudget { restarts_max: 3, backoff: Duration::ZERO, ..RestartBudget::default() };
    let system = start(&folder, budget).await;
    let _obstacle = Obstacle::put(folder.path());
    system.storage.panic();
    let mut standing = system.standing.clone();
    let fatal = standing.wait_for(|standing| standing.fatal.is_some());
    let ended = tokio::time::timeout(PATIENCE, fatal).await.unwrap().unwrap().clone();
    let fatal = ended.fatal.unwrap();
    assert!(fatal.starts_with("storage fell and could not be started again within 3 restarts"), "{fatal}");
    assert_eq!(ended.actors.first().unwrap().restarts, 3);
    system.drain().await;
}

const PATIENCE: Duration = Duration::from_secs(20);

//! Actors that panic under load, each in turn: nothing acknowledged is lost, and the service is back at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use actors::{
    ActorError, FragmentStore, System, SystemConfig, attestation::Question, supervision::RestartBudget,
};
use bytes::Bytes;
use config::StorageConfig;
use proto::{AccountId, Fragment, FragmentId, NodeId, NodeKey, TesseraId};
use tests::chain::scaled;
use tokio::task::JoinSet;

/// What was acknowledged, by client and stripe: its bytes follow from these.
type Kept = Arc<Mutex<BTreeSet<(u8, u32)>>>;

#[tokio::test(flavor = "multi_thread")]
async fn service_is_back_within_100_ms_of_every_panic() {
    be_quiet_about_what_was_asked_for();
    let folder = tempfile::tempdir().unwrap();
    let system = start(&folder).await;
    let kept = Kept::default();
    let mut clients = JoinSet::new();
    for client in 1..=CLIENTS {
        clients.spawn(put_for_ever(system.cache.clone(), client, kept.clone()));
    }
    let panics: [(&str, &dyn Fn()); 3] = [
        ("storage", &|| system.storage.panic()),
        ("cache", &|| system.cache.panic()),
        ("attestation", &|| system.attestation.panic()),
    ];
    let mut absences = BTreeMap::<&str, Vec<Duration>>::new();
    for round in 0..scaled(100, 2000) {
        for (actor, panic) in panics {
            panic();
            absences.entry(actor).or_default().push(absence(&system, round).await);
        }
    }
    clients.shutdown().await;
    let kept = std::mem::take(&mut *kept.lock().unwrap());
    for (client, stripe) in kept {
        let id = id(client, stripe);
        assert_eq!(system.storage.get(id).await.unwrap(), fragment(client, stripe), "{id} was acknowledged");
    }
    for (actor, mut times) in absences {
        times.sort_unstable();
        let [half, nearly_all] = [50, 99].map(|percent| times[(times.len() * percent).div_ceil(100) - 1]);
        println!("{actor}: {} panics, back after {half:?} (p50), {nearly_all:?} (p99)", times.len());
        assert!(half <= ABSENCE_MAX, "{actor} is back after {half:?} only");
        assert!(nearly_all <= ABSENCE_MAX_P99, "{actor} is back after {nearly_all:?} only");
    }
    assert_eq!(system.standing.borrow().fatal, None);
    system.drain().await;
}

/// Printing a backtrace takes longer than a restart.
fn be_quiet_about_what_was_asked_for() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some("asked to") {
            usual(panic);
        }
    }));
}

async fn start(folder: &tempfile::TempDir) -> System {
    let storage = StorageConfig {
        min_free_bytes: 0,
        segment_bytes: 4 << 20,
        // How long SQLite moves its log is not what is measured: that happens without a panic, too.
        sqlite_wal_autocheckpoint_pages: 1_000,
        ..StorageConfig::with_defaults(folder.path())
    };
    let budget =
        RestartBudget { restarts_max: usize::MAX, backoff: Duration::ZERO, ..RestartBudget::default() };
    let config = SystemConfig { budget, ..SystemConfig::new(storage, NodeKey::from_seed([1; 32])) };
    System::start(config).await.expect("an empty folder can be opened")
}

/// Puts one fragment after the other, each until it is acknowledged.
async fn put_for_ever(store: impl FragmentStore, client: u8, kept: Kept) {
    for stripe in 0.. {
        let fragment = fragment(client, stripe);
        while let Err(error) = store.put(AccountId::LOCAL, id(client, stripe), fragment.clone()).await {
            assert!(matches!(error, ActorError::Restarting { .. }), "{error}");
            tokio::time::sleep(RETRY_AFTER).await;
        }
        kept.lock().expect("nobody panics with it").insert((client, stripe));
    }
}

/// How long it takes until a fragment can be put and read through the cache and its tessera attested.
async fn absence(system: &System, round: u32) -> Duration {
    let start = Instant::now();
    let id = id(0, round);
    while let Err(error) = serve(system, id).await {
        assert!(matches!(error, ActorError::Restarting { .. }), "{error}");
        assert!(start.elapsed() < PATIENCE, "no service after {PATIENCE:?}: {error}");
        tokio::time::sleep(RETRY_AFTER).await;
    }
    start.elapsed()
}

async fn serve(system: &System, id: FragmentId) -> Result<(), ActorError> {
    system.cache.put(AccountId::LOCAL, id, fragment(0, id.stripe)).await?;
    system.cache.get(id).await?;
    let question = Question {
        tessera: id.tessera,
        stripes: id.stripe..id.stripe + 1,
        verifier: NodeId::from_bytes([0; 32]),
        nonce: [0; 32],
        binding: [0; 32],
    };
    system.attestation.attest(question).await.map(|_| ())
}

fn id(client: u8, stripe: u32) -> FragmentId {
    FragmentId { tessera: TesseraId::from_bytes([client; 32]), stripe, index: 0 }
}

fn fragment(client: u8, number: u32) -> Fragment {
    let mut bytes = vec![client; FRAGMENT_BYTES];
    bytes.extend(number.to_le_bytes());
    Fragment::hash(Bytes::from(bytes)).expect("it is small")
}

const CLIENTS: u8 = 16;
const FRAGMENT_BYTES: usize = 4 << 10;
const ABSENCE_MAX: Duration = Duration::from_millis(100);
/// What users run is optimized, as `make torture` is. What is not takes three times as long, and the machine that tests it
/// stands still for a moment now and then.
const ABSENCE_MAX_P99: Duration =
    if cfg!(debug_assertions) { Duration::from_millis(500) } else { ABSENCE_MAX };
/// What is being restarted is asked again after this.
const RETRY_AFTER: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(20);

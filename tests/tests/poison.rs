//! Requests that make whatever handles them panic, each asked again and again: it fails, others pass, and what falls too
//! often for it ends the node by name.

use std::{
    fs::File,
    io::{self, IoSlice},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use actors::{
    ActorError, FragmentStore, System, SystemConfig,
    storage::disk::{Disk, RealDisk},
    supervision::{RestartBudget, Standing},
};
use bytes::Bytes;
use config::StorageConfig;
use proto::{AccountId, Fragment, FragmentId, NodeKey, TesseraId};
use tests::chain::scaled;
use tokio::task::JoinSet;

/// Sends an actor what makes it panic.
type Poison = fn(&System);

/// A disk on which some bytes are poison, to whoever reads them and to whoever writes them.
#[derive(Debug, Default)]
struct Poisoned {
    to_readers: AtomicBool,
    to_writers: AtomicBool,
}

impl Poisoned {
    fn touch(is_poison: &AtomicBool, bytes: &[u8]) {
        let has_poison = bytes.windows(POISON.len()).any(|window| window == POISON);
        assert!(!(has_poison && is_poison.load(Ordering::Relaxed)), "asked to");
    }
}

impl Disk for Poisoned {
    fn write(&self, file: &File, parts: &mut [IoSlice<'_>], position: u64) -> io::Result<()> {
        parts.iter().for_each(|part| Self::touch(&self.to_writers, part));
        RealDisk.write(file, parts, position)
    }

    fn read(&self, file: &File, buffer: &mut [u8], position: u64) -> io::Result<()> {
        RealDisk.read(file, buffer, position)?;
        Self::touch(&self.to_readers, buffer);
        Ok(())
    }

    fn read_cached(&self, file: &File, buffer: &mut [u8], position: u64) -> io::Result<bool> {
        let is_read = RealDisk.read_cached(file, buffer, position)?;
        Self::touch(&self.to_readers, buffer);
        Ok(is_read)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn read_that_panics_fails_and_nothing_else_does_however_often() {
    be_quiet_about_what_was_asked_for();
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Poisoned::default());
    let system = start(&folder, disk.clone()).await;
    // Read at once, and on a thread of its own.
    let poisoned = [(1, 1 << 10), (2, 256 << 10)].map(|(stripe, length)| (id(0, stripe), poison(length)));
    for (id, fragment) in &poisoned {
        system.storage.put(AccountId::LOCAL, *id, fragment.clone()).await.unwrap();
    }
    disk.to_readers.store(true, Ordering::Relaxed);
    let mut others = JoinSet::new();
    for client in 1..=CLIENTS {
        let store = system.cache.clone();
        others.spawn(async move {
            for stripe in 0.. {
                put_and_get(&store, client, stripe).await.unwrap();
            }
        });
    }
    // More often than there are slots and threads: a single one that is not given back shows.
    for _ in 0..scaled(1500, 20_000) {
        for (id, _) in &poisoned {
            let asked = async { [system.storage.get(*id).await, system.cache.get(*id).await] };
            let outcomes = tokio::time::timeout(PATIENCE, asked).await.expect("each is answered");
            for outcome in outcomes {
                let is_clear = matches!(outcome, Err(ActorError::Restarting { .. } | ActorError::Io { .. }));
                assert!(is_clear, "{outcome:?}");
            }
        }
    }
    assert!(others.try_join_next().is_none(), "others are served all the while");
    others.shutdown().await;
    disk.to_readers.store(false, Ordering::Relaxed);
    for (id, fragment) in &poisoned {
        assert_eq!(system.cache.get(*id).await.unwrap(), *fragment, "its bytes were right");
    }
    let standing = system.standing.borrow().clone();
    assert!(standing.fatal.is_none() && restarts(&standing) == 0, "{standing:?}");
    let deadline = Instant::now() + PATIENCE;
    while system.waiting().iter().any(|(_, waiting)| *waiting > 0) {
        assert!(Instant::now() < deadline, "nobody asks, but there are {:?}", system.waiting());
        tokio::time::sleep(RETRY_AFTER).await;
    }
    system.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn write_that_panics_fails_and_others_go_on_however_often() {
    be_quiet_about_what_was_asked_for();
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Poisoned { to_writers: true.into(), ..Poisoned::default() });
    let system = start(&folder, disk).await;
    let (poison, rounds) = (poison(1 << 10), scaled(200, 2000));
    for stripe in 0..rounds {
        let poisoned = system.cache.put(AccountId::LOCAL, id(0, stripe), poison.clone());
        // They may share a batch, and then neither is written.
        let other = put_until_acknowledged(&system.cache, 1, stripe);
        let (poisoned, ()) = tokio::join!(poisoned, other);
        assert!(matches!(poisoned, Err(ActorError::Restarting { .. })), "{poisoned:?}");
    }
    let standing = system.standing.borrow().clone();
    assert!(standing.fatal.is_none() && restarts(&standing) == 0, "{standing:?}");
    system.drain().await;
    keeps(&folder, rounds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handler_that_panics_again_and_again_ends_the_node_by_name_and_costs_nobody_anything() {
    be_quiet_about_what_was_asked_for();
    let RestartBudget { restarts_max, window, .. } = RestartBudget::default();
    let poisons: [(&str, Poison); 4] = [
        ("storage", |system| system.storage.panic()),
        ("cache", |system| system.cache.panic()),
        ("attestation", |system| system.attestation.panic()),
        ("scrub", |system| system.scrub.panic()),
    ];
    for (name, poison) in poisons {
        let folder = tempfile::tempdir().unwrap();
        let system = start(&folder, Arc::new(RealDisk)).await;
        let mut rounds = 0;
        while system.standing.borrow().fatal.is_none() {
            put_until_acknowledged(&system.cache, 1, rounds).await;
            let before = restarts(&system.standing.borrow());
            poison(&system);
            rounds += 1;
            let is_over = |standing: &Standing| {
                let is_back = standing.actors.iter().all(|actor| actor.running);
                standing.fatal.is_some() || is_back && restarts(standing) > before
            };
            until(&system, is_over).await;
        }
        let standing = system.standing.borrow().clone();
        assert_eq!(usize::try_from(rounds).unwrap(), restarts_max + 1, "{standing:?}");
        let (fatal, secs) = (standing.fatal.as_deref(), window.as_secs());
        let reason = format!(
            "{name} fell more than {restarts_max} times within {secs} s, the last time because: asked to"
        );
        assert_eq!(fatal, Some(reason.as_str()));
        let others = standing.actors.iter().filter(|actor| actor.name != name);
        assert!(others.clone().all(|actor| actor.running && actor.restarts == 0), "{standing:?}");
        system.drain().await;
        keeps(&folder, rounds).await;
    }
}

/// What was acknowledged is there after the next start, and poison is not.
async fn keeps(folder: &tempfile::TempDir, stripes: u32) {
    let system = start(folder, Arc::new(RealDisk)).await;
    for stripe in 0..stripes {
        let kept = system.storage.get(id(1, stripe)).await;
        assert!(matches!(&kept, Ok(kept) if *kept == fragment(1, stripe)), "acknowledged, but {kept:?}");
        let poisoned = system.storage.get(id(0, stripe)).await;
        assert!(matches!(poisoned, Err(ActorError::NotFound { .. })), "{poisoned:?}");
    }
    system.drain().await;
}

fn restarts(standing: &Standing) -> u64 {
    standing.actors.iter().map(|actor| actor.restarts).sum()
}

async fn start(folder: &tempfile::TempDir, disk: Arc<dyn Disk>) -> System {
    let storage = StorageConfig { min_free_bytes: 0, ..StorageConfig::with_defaults(folder.path()) };
    let config = SystemConfig { disk, ..SystemConfig::new(storage, NodeKey::from_seed([1; 32])) };
    System::start(config).await.expect("the folder can be opened")
}

async fn put_and_get(store: &impl FragmentStore, client: u8, stripe: u32) -> Result<(), ActorError> {
    let (id, fragment) = (id(client, stripe), fragment(client, stripe));
    store.put(AccountId::LOCAL, id, fragment.clone()).await?;
    assert_eq!(store.get(id).await?, fragment);
    Ok(())
}

async fn put_until_acknowledged(store: &impl FragmentStore, client: u8, stripe: u32) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = put_and_get(store, client, stripe).await {
        assert!(matches!(error, ActorError::Restarting { .. }) && Instant::now() < deadline, "{error}");
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// Until the supervisor shows this.
async fn until(system: &System, so: impl FnMut(&Standing) -> bool) {
    let mut standing = system.standing.clone();
    let seen = tokio::time::timeout(PATIENCE, standing.wait_for(so)).await;
    drop(seen.expect("it comes so far").expect("the supervisor is there"));
}

/// A thousand backtraces are of no use.
fn be_quiet_about_what_was_asked_for() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some("asked to") {
            usual(panic);
        }
    }));
}

fn id(client: u8, stripe: u32) -> FragmentId {
    FragmentId { tessera: TesseraId::from_bytes([client; 32]), stripe, index: 0 }
}

fn fragment(client: u8, stripe: u32) -> Fragment {
    let mut bytes = vec![client; 4 << 10];
    bytes.extend(stripe.to_le_bytes());
    Fragment::hash(Bytes::from(bytes)).expect("it is small")
}

fn poison(length: usize) -> Fragment {
    let mut bytes = vec![0; length];
    bytes.splice(..POISON.len(), POISON.iter().copied());
    Fragment::hash(Bytes::from(bytes)).expect("it is small")
}

const POISON: &[u8] = b"poison, this is poison";
const CLIENTS: u8 = 4;
/// What is being restarted is asked again after this.
const RETRY_AFTER: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(20);

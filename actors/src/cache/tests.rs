//! The cache through its handle, in front of a store that can be watched, stopped and broken.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use proto::{AccountId, Fragment, FragmentId, TesseraId};
use tokio::sync::{Notify, Semaphore};

use super::{CacheHandle, Starter};
use crate::{
    error::ActorError,
    store::{Deposited, FragmentRow, FragmentStore, PutOutcome},
    supervision::supervisor::Child,
    testbed::{Measured, Parent},
};

const CAP: u64 = 1 << 20;
const LOCAL: AccountId = AccountId::LOCAL;

/// What a get does after it has looked, and before it answers.
#[derive(Clone)]
enum Then {
    Answer,
    Wait(Arc<Semaphore>),
    Panic,
}

/// A store in memory.
#[derive(Clone)]
struct Memory(Arc<Inner>);

struct Inner {
    fragments: Mutex<HashMap<FragmentId, Fragment>>,
    gets: AtomicUsize,
    /// Told when a get has looked.
    looked: Notify,
    then: Mutex<Then>,
    drops_fail: AtomicBool,
}

impl Memory {
    fn new() -> Self {
        let fragments = Mutex::new(HashMap::new());
        let (gets, looked, then) = (AtomicUsize::new(0), Notify::new(), Mutex::new(Then::Answer));
        Self(Arc::new(Inner { fragments, gets, looked, then, drops_fail: AtomicBool::new(false) }))
    }

    fn with(lengths: &[usize]) -> Self {
        let memory = Self::new();
        for (index, length) in lengths.iter().enumerate() {
            memory.hold(id(index), fragment(index, *length));
        }
        memory
    }

    fn hold(&self, id: FragmentId, fragment: Fragment) {
        self.0.fragments.lock().unwrap().insert(id, fragment);
    }

    fn gets(&self) -> usize {
        self.0.gets.load(Ordering::SeqCst)
    }

    /// Gets wait, from now on, after they have looked, for what is added to the semaphore.
    fn stop(&self) -> Arc<Semaphore> {
        let go = Arc::new(Semaphore::new(0));
        self.then(Then::Wait(go.clone()));
        go
    }

    fn then(&self, then: Then) {
        *self.0.then.lock().unwrap() = then;
    }
}

impl FragmentStore for Memory {
    async fn deposit(
        &self,
        _: AccountId,
        id: FragmentId,
        fragment: Fragment,
        _: Vec<Deposited>,
    ) -> Result<PutOutcome, ActorError> {
        self.hold(id, fragment);
        Ok(PutOutcome::Stored)
    }

    async fn get(&self, id: FragmentId) -> Result<Fragment, ActorError> {
        self.0.gets.fetch_add(1, Ordering::SeqCst);
        let found = self.0.fragments.lock().unwrap().get(&id).cloned();
        self.0.looked.notify_one();
        let then = self.0.then.lock().unwrap().clone();
        match then {
            Then::Answer => {}
            Then::Wait(go) => go.acquire().await.unwrap().forget(),
            Then::Panic => panic!("asked to"),
        }
        found.ok_or_else(|| ActorError::not_found(id))
    }

    async fn drop_fragment(&self, _: AccountId, id: FragmentId) -> Result<(), ActorError> {
        let held = self.0.fragments.lock().unwrap().remove(&id);
        if self.0.drops_fail.load(Ordering::SeqCst) {
            return Err(ActorError::ReadOnly { reason: "the sync failed".to_owned() });
        }
        held.map(|_| ()).ok_or_else(|| ActorError::not_found(id))
    }

    async fn checksums(&self, _: TesseraId, _: (u32, u16), _: u32) -> Result<Vec<FragmentRow>, ActorError> {
        Ok(Vec::new())
    }
}

fn id(number: usize) -> FragmentId {
    FragmentId { tessera: TesseraId::from_bytes([1; 32]), stripe: u32::try_from(number).unwrap(), index: 0 }
}

fn fragment(number: usize, length: usize) -> Fragment {
    let mut bytes = vec![0; length];
    bytes.iter_mut().zip(number.to_le_bytes()).for_each(|(byte, digit)| *byte = digit);
    Fragment::hash(bytes.into()).unwrap()
}

async fn cache(store: &Memory) -> CacheHandle<Memory> {
    measured_cache(store, &Measured::new()).await
}

async fn measured_cache(store: &Memory, measured: &Measured) -> CacheHandle<Memory> {
    let metrics = &measured.metrics;
    let (handle, starter) = Starter::new(CAP, store.clone(), metrics.cache.clone(), metrics.actors.clone());
    starter.start(Parent::spawn().await).await.unwrap();
    handle
}

/// A get that is under way, its answer still to come.
fn begin(
    cache: &CacheHandle<Memory>,
    id: FragmentId,
) -> tokio::task::JoinHandle<Result<Fragment, ActorError>> {
    let cache = cache.clone();
    tokio::spawn(async move { cache.get(id).await })
}

/// Waits until so many gets wait in the cache.
async fn waiting(cache: &CacheHandle<Memory>, gets: usize) {
    while cache.load().0 < gets {
        tokio::task::yield_now().await;
    }
    // Behind them in the mailbox, so answered when they have been seen.
    cache.usage().await.unwrap();
}

#[tokio::test]
async fn hit_does_not_touch_the_store() {
    let store = Memory::with(&[4096]);
    let measured = Measured::new();
    let cache = measured_cache(&store, &measured).await;
    for _ in 0..10 {
        assert_eq!(cache.get(id(0)).await.unwrap(), fragment(0, 4096));
    }
    assert_eq!(store.gets(), 1);
    assert_eq!(measured.value("fragment_cache_hits"), Some(9));
    assert_eq!(measured.value("fragment_cache_misses"), Some(1));
    assert_eq!(measured.value("fragment_cache"), Some(cache.usage().await.unwrap().bytes));
    assert!(cache.usage().await.unwrap().bytes > 4096);
}

#[tokio::test]
async fn drop_takes_the_fragment_out_of_the_cache() {
    let store = Memory::with(&[4096]);
    let measured = Measured::new();
    let cache = measured_cache(&store, &measured).await;
    cache.get(id(0)).await.unwrap();
    cache.drop_fragment(LOCAL, id(0)).await.unwrap();
    assert!(matches!(cache.get(id(0)).await, Err(ActorError::NotFound { .. })));
    assert_eq!(cache.usage().await.unwrap().bytes, 0);
    assert_eq!(measured.value("fragment_cache"), Some(0));
    assert_eq!(measured.value("fragment_cache_evictions"), Some(0));
}

#[tokio::test]
async fn drop_that_failed_takes_the_fragment_out_of_the_cache() {
    let store = Memory::with(&[4096]);
    let cache = cache(&store).await;
    cache.get(id(0)).await.unwrap();
    store.0.drops_fail.store(true, Ordering::SeqCst);
    assert!(matches!(cache.drop_fragment(LOCAL, id(0)).await, Err(ActorError::ReadOnly { .. })));
    assert!(
        matches!(cache.get(id(0)).await, Err(ActorError::NotFound { .. })),
        "it may have been carried out"
    );
}

#[tokio::test]
async fn put_goes_to_the_store_and_does_not_fill_the_cache() {
    let store = Memory::new();
    let cache = cache(&store).await;
    assert_eq!(cache.put(LOCAL, id(0), fragment(0, 4096)).await.unwrap(), PutOutcome::Stored);
    assert_eq!(cache.usage().await.unwrap().entries, 0);
    assert_eq!(cache.get(id(0)).await.unwrap(), fragment(0, 4096));
    assert_eq!(store.gets(), 1);
}

#[tokio::test]
async fn get_after_a_put_does_not_wait_for_a_load_that_found_nothing() {
    let store = Memory::new();
    let cache = cache(&store).await;
    let go = store.stop();
    let before = begin(&cache, id(0));
    store.0.looked.notified().await;
    cache.put(LOCAL, id(0), fragment(0, 4096)).await.unwrap();
    let after = begin(&cache, id(0));
    go.add_permits(2);
    assert!(matches!(before.await.unwrap(), Err(ActorError::NotFound { .. })));
    assert_eq!(after.await.unwrap().unwrap(), fragment(0, 4096));
}

#[tokio::test]
async fn load_overtaken_by_a_drop_is_not_kept() {
    let store = Memory::with(&[4096]);
    let cache = cache(&store).await;
    let go = store.stop();
    let before = begin(&cache, id(0));
    store.0.looked.notified().await;
    cache.drop_fragment(LOCAL, id(0)).await.unwrap();
    let after = begin(&cache, id(0));
    go.add_permits(2);
    assert!(before.await.unwrap().is_ok(), "it was asked before the drop");
    assert!(matches!(after.await.unwrap(), Err(ActorError::NotFound { .. })));
    go.add_permits(1);
    assert!(matches!(cache.get(id(0)).await, Err(ActorError::NotFound { .. })));
    assert_eq!(cache.usage().await.unwrap().entries, 0);
}

#[tokio::test]
async fn drop_whose_caller_gave_up_is_seen_by_the_cache() {
    let store = Memory::with(&[4096]);
    let cache = cache(&store).await;
    cache.get(id(0)).await.unwrap();
    // Polled once: the drop has begun, and nobody waits for its end.
    assert!(futures::FutureExt::now_or_never(cache.drop_fragment(LOCAL, id(0))).is_none());
    while cache.usage().await.unwrap().entries > 0 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(cache.get(id(0)).await, Err(ActorError::NotFound { .. })));
}

#[tokio::test]
async fn gets_of_one_fragment_share_one_load() {
    let store = Memory::with(&[4096]);
    let cache = cache(&store).await;
    let go = store.stop();
    let gets: Vec<_> = (0..100).map(|_| begin(&cache, id(0))).collect();
    waiting(&cache, 100).await;
    assert_eq!(cache.usage().await.unwrap().loads, 1);
    go.add_permits(100);
    for get in gets {
        assert_eq!(get.await.unwrap().unwrap(), fragment(0, 4096));
    }
    assert_eq!(store.gets(), 1);
}

#[tokio::test]
async fn load_that_fails_is_told_to_all_and_not_kept() {
    let store = Memory::new();
    let cache = cache(&store).await;
    let go = store.stop();
    let gets: Vec<_> = (0..10).map(|_| begin(&cache, id(0))).collect();
    waiting(&cache, 10).await;
    go.add_permits(100);
    for get in gets {
        assert!(matches!(get.await.unwrap(), Err(ActorError::NotFound { .. })));
    }
    assert_eq!(store.gets(), 1);
    store.hold(id(0), fragment(0, 4096));
    assert!(cache.get(id(0)).await.is_ok(), "the failure was not kept");
}

#[tokio::test]
async fn fragments_above_the_cap_are_evicted() {
    const LENGTH: usize = 64 << 10;
    let store = Memory::with(&[LENGTH; 64]);
    let measured = Measured::new();
    let cache = measured_cache(&store, &measured).await;
    for number in 0..64 {
        assert_eq!(cache.get(id(number)).await.unwrap(), fragment(number, LENGTH));
        let usage = cache.usage().await.unwrap();
        assert!(usage.bytes <= usage.bytes_max, "{usage:?}");
    }
    let usage = cache.usage().await.unwrap();
    assert!(usage.bytes > CAP / 2, "most of it is used: {usage:?}");
    assert_eq!(measured.value("fragment_cache_evictions"), Some(64 - usage.entries));
    assert_eq!(measured.value("fragment_cache"), Some(usage.bytes));
}

#[tokio::test]
async fn fragment_above_an_eighth_of_the_cap_is_served_and_not_kept() {
    const EIGHTH: usize = 128 << 10;
    let store = Memory::with(&[EIGHTH + 1, EIGHTH]);
    let cache = cache(&store).await;
    assert_eq!(cache.get(id(0)).await.unwrap(), fragment(0, EIGHTH + 1));
    assert_eq!(cache.usage().await.unwrap().entries, 0);
    assert_eq!(cache.get(id(1)).await.unwrap(), fragment(1, EIGHTH));
    assert_eq!(cache.usage().await.unwrap().entries, 1);
}

#[tokio::test]
async fn kept_fragment_does_not_pin_the_buffer_it_came_from() {
    struct Buffer(Arc<Vec<u8>>);
    impl AsRef<[u8]> for Buffer {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    let (large, store) = (Arc::new(vec![7; 1 << 20]), Memory::new());
    let slice = Bytes::from_owner(Buffer(large.clone())).slice(..4096);
    store.hold(id(0), Fragment::hash(slice).unwrap());
    let cache = cache(&store).await;
    cache.get(id(0)).await.unwrap();
    store.0.fragments.lock().unwrap().clear();
    assert_eq!(Arc::strong_count(&large), 1, "nobody else has the buffer");
    assert!(cache.get(id(0)).await.is_ok());
}

#[tokio::test]
async fn store_that_panics_is_told_as_restarting() {
    let store = Memory::with(&[4096]);
    let cache = cache(&store).await;
    store.then(Then::Panic);
    assert!(matches!(cache.get(id(0)).await, Err(ActorError::Restarting { .. })));
    store.then(Then::Answer);
    assert!(cache.get(id(0)).await.is_ok(), "the cache lives");
    assert_eq!(cache.load().0, 0, "all slots were given back");
}

#[tokio::test]
async fn uncached_gets_neither_ask_nor_fill_the_cache() {
    let store = Memory::with(&[4096]);
    let cache = cache(&store).await;
    let scan = cache.uncached();
    scan.get(id(0)).await.unwrap();
    assert_eq!(cache.usage().await.unwrap().entries, 0);
    cache.get(id(0)).await.unwrap();
    scan.get(id(0)).await.unwrap();
    assert_eq!(store.gets(), 3);
    scan.drop_fragment(LOCAL, id(0)).await.unwrap();
    assert_eq!(cache.usage().await.unwrap().entries, 0, "its changes are seen");
}

#[cfg(feature = "faults")]
#[tokio::test]
async fn cache_that_fell_starts_again_empty_behind_the_same_handle() {
    let store = Memory::with(&[4096]);
    let metrics = Measured::new().metrics;
    let (cache, starter) = Starter::new(CAP, store.clone(), metrics.cache, metrics.actors);
    let parent = Parent::spawn().await;
    starter.start(parent.clone()).await.unwrap();
    cache.get(id(0)).await.unwrap();
    cache.panic();
    assert!(matches!(cache.usage().await, Err(ActorError::Restarting { .. })));
    starter.vacate();
    assert!(matches!(cache.get(id(0)).await, Err(ActorError::Restarting { .. })));
    starter.start(parent).await.unwrap();
    assert!(cache.get(id(0)).await.is_ok());
    assert_eq!(store.gets(), 2);
}

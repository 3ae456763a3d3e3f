//! The cache actor: decides when; the shelf and the loads decide what.

use std::{marker::PhantomData, sync::Arc};

use proto::{Fragment, FragmentId};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::watch;

use super::{
    front::{Change, Front},
    loads::{LoadNumber, Loads},
    message::{CacheMsg, CacheUsage, Reply},
    shelf::Shelf,
};
use crate::{error::ActorError, metrics::CacheMetrics, store::FragmentStore, supervision::gate::Slot};

/// The actor. All state is in [`State`].
pub(super) struct CacheActor<S>(PhantomData<S>);

/// What it is started with.
#[derive(Clone)]
pub(super) struct Arguments<S> {
    pub(super) bytes_max: u64,
    pub(super) store: S,
    pub(super) metrics: CacheMetrics,
    /// Where handles find what is on the shelf.
    pub(super) fronts: watch::Sender<Option<Arc<Front>>>,
}

pub(super) struct State<S> {
    front: Arc<Front>,
    /// Each who waits keeps a slot, so the gate bounds the loads too.
    loads: Loads<(Slot, Reply<Fragment>)>,
    store: S,
    metrics: CacheMetrics,
}

impl<S> CacheActor<S> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<S: FragmentStore> Actor for CacheActor<S> {
    type Msg = CacheMsg;
    type State = State<S>;
    type Arguments = Arguments<S>;

    async fn pre_start(
        &self,
        _: ActorRef<CacheMsg>,
        arguments: Arguments<S>,
    ) -> Result<State<S>, ActorProcessingErr> {
        let Arguments { bytes_max, store, metrics, fronts } = arguments;
        metrics.bytes.record(0, &[]);
        let front = Front::new(bytes_max);
        fronts.send_replace(Some(front.clone()));
        Ok(State { front, loads: Loads::default(), store, metrics })
    }

    async fn handle(
        &self,
        me: ActorRef<CacheMsg>,
        message: CacheMsg,
        state: &mut State<S>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CacheMsg::Get { id, slot, reply } => state.get(&me, id, slot, reply).await,
            CacheMsg::Loaded { id, load, outcome } => state.loaded(id, load, outcome).await,
            CacheMsg::Changed { id, change } => state.changed(id, change).await,
            CacheMsg::Usage { slot, reply } => state.usage(slot, reply),
            CacheMsg::Ping(reply) => drop(reply.send(())),
            #[cfg(feature = "faults")]
            #[expect(clippy::panic, reason = "a test asked for it")]
            CacheMsg::Panic => panic!("asked to"),
        }
        Ok(())
    }
}

impl<S: FragmentStore> State<S> {
    async fn get(&mut self, me: &ActorRef<CacheMsg>, id: FragmentId, slot: Slot, reply: Reply<Fragment>) {
        if reply.is_closed() {
            return;
        }
        if let Some(fragment) = self.front.shelf.get(&id).await {
            self.metrics.hits.add(1, &[]);
            // A caller that gave up has nothing to be told.
            let _ = reply.send(Ok(fragment));
            drop(slot);
            return;
        }
        self.metrics.misses.add(1, &[]);
        if let Some(load) = self.loads.join(id, (slot, reply)) {
            self.load(me, id, load);
        }
    }

    fn load(&self, me: &ActorRef<CacheMsg>, id: FragmentId, load: LoadNumber) {
        let (store, bytes_max) = (self.store.clone(), self.front.shelf.bytes_max());
        let mut loading = Loading { cache: me.clone(), id, load, outcome: None };
        tokio::spawn(async move {
            let found = store.get(id).await;
            // What is kept must not pin a larger buffer. The copy is made here, so that no get waits for it.
            loading.ended(found.map(|fragment| {
                let is_kept = Shelf::<Fragment>::takes(bytes_max, fragment.bytes().len());
                if is_kept { fragment.detached() } else { fragment }
            }));
        });
    }

    async fn loaded(&mut self, id: FragmentId, load: LoadNumber, outcome: Result<Fragment, ActorError>) {
        let ended = self.loads.end(&id, load);
        if let (Ok(fragment), true) = (&outcome, ended.is_current) {
            self.front.shelf.put(id, fragment.clone(), fragment.bytes().len()).await;
            self.count();
        }
        for (slot, reply) in ended.waiting {
            // A caller that gave up has nothing to be told.
            let _ = reply.send(outcome.clone());
            drop(slot);
        }
    }

    async fn changed(&mut self, id: FragmentId, change: Change) {
        self.loads.change(&id);
        self.front.shelf.remove(&id).await;
        change.settle();
        self.count();
    }

    fn usage(&self, slot: Slot, reply: Reply<CacheUsage>) {
        let usage = CacheUsage {
            entries: self.front.shelf.entries(),
            bytes: self.front.shelf.bytes(),
            bytes_max: self.front.shelf.bytes_max(),
            loads: self.loads.len() as u64,
        };
        // A caller that gave up has nothing to be told.
        let _ = reply.send(Ok(usage));
        drop(slot);
    }

    fn count(&self) {
        self.metrics.evictions.add(self.front.shelf.take_evictions(), &[]);
        self.metrics.bytes.record(self.front.shelf.bytes(), &[]);
    }
}

/// A load under way. Reports on drop, so that a store that panics does not leave anyone waiting.
struct Loading {
    cache: ActorRef<CacheMsg>,
    id: FragmentId,
    load: LoadNumber,
    outcome: Option<Result<Fragment, ActorError>>,
}

impl Loading {
    fn ended(&mut self, outcome: Result<Fragment, ActorError>) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        let (id, load) = (self.id, self.load);
        let outcome = self.outcome.take().unwrap_or(Err(ActorError::Restarting { actor: super::NAME }));
        // Whoever waited for a fallen cache has heard of its fall.
        let _ = self.cache.send_message(CacheMsg::Loaded { id, load, outcome });
    }
}

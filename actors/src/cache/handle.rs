//! The way to ask the cache: a store of fragments around another one.

use std::fmt;

use proto::{AccountId, Fragment, FragmentId, TesseraId};

use super::{
    front::{Change, Fronts},
    message::{CacheMsg, CacheUsage},
};
use crate::{
    error::ActorError,
    metrics::CacheMetrics,
    store::{Deposited, FragmentRow, FragmentStore, PutOutcome},
    supervision::seat::Seat,
};

/// A store with the cache in front of it.
#[derive(Clone)]
pub struct CacheHandle<S> {
    seat: Seat<CacheMsg>,
    store: S,
    fronts: Fronts,
    metrics: CacheMetrics,
}

/// The same store for whoever reads much of it once (verify, scrub, repair): its gets neither ask the cache nor fill
/// it. Its changes do go through the cache.
#[derive(Debug, Clone)]
pub struct Uncached<S>(CacheHandle<S>);

impl<S> fmt::Debug for CacheHandle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheHandle")
    }
}

impl<S: FragmentStore> CacheHandle<S> {
    pub(super) fn new(seat: Seat<CacheMsg>, store: S, fronts: Fronts, metrics: CacheMetrics) -> Self {
        Self { seat, store, fronts, metrics }
    }

    /// What is underneath. Only for what the cache does not hold: whoever changes fragments goes through the cache.
    pub(crate) fn store(&self) -> &S {
        &self.store
    }

    /// The same store for scans.
    pub fn uncached(&self) -> Uncached<S> {
        Uncached(self.clone())
    }

    /// How much the cache holds.
    pub async fn usage(&self) -> Result<CacheUsage, ActorError> {
        self.seat.call(|slot, reply| CacheMsg::Usage { slot, reply }).await
    }

    /// Requests waiting or running, and how many there may be.
    pub fn load(&self) -> (usize, usize) {
        (self.seat.gate().taken(), self.seat.gate().limit())
    }

    /// Whether the actor is there and takes messages.
    pub(crate) async fn answers(&self) -> bool {
        self.seat.answers(CacheMsg::Ping).await
    }

    /// Makes the actor fall.
    #[cfg(feature = "faults")]
    pub fn panic(&self) {
        self.seat.tell(CacheMsg::Panic);
    }

    fn changing(&self, id: FragmentId) -> Changing {
        Changing { seat: self.seat.clone(), id, change: Change::begin(&self.fronts) }
    }
}

impl<S: FragmentStore> FragmentStore for CacheHandle<S> {
    async fn deposit(
        &self,
        account: AccountId,
        id: FragmentId,
        fragment: Fragment,
        documents: Vec<Deposited>,
    ) -> Result<PutOutcome, ActorError> {
        // A load that began before may yet report that there is nothing: those who ask from now on must not wait for it.
        let _changing = self.changing(id);
        self.store.deposit(account, id, fragment, documents).await
    }

    async fn get(&self, id: FragmentId) -> Result<Fragment, ActorError> {
        let front = self.fronts.borrow().clone();
        if let Some(front) = front
            && let Some(fragment) = front.glance(&id).await
        {
            self.metrics.hits.add(1, &[]);
            return Ok(fragment);
        }
        self.seat.call(|slot, reply| CacheMsg::Get { id, slot, reply }).await
    }

    async fn drop_fragment(&self, account: AccountId, id: FragmentId) -> Result<(), ActorError> {
        let (store, changing) = (self.store.clone(), self.changing(id));
        // In a task of its own: the store finishes what it was asked, so the cache must hear of it even when the
        // caller has given up.
        let dropped = tokio::spawn(async move {
            let _changing = changing;
            store.drop_fragment(account, id).await
        });
        dropped.await.unwrap_or(Err(ActorError::Restarting { actor: super::NAME }))
    }

    async fn checksums(
        &self,
        tessera: TesseraId,
        from: (u32, u16),
        limit: u32,
    ) -> Result<Vec<FragmentRow>, ActorError> {
        self.store.checksums(tessera, from, limit).await
    }
}

impl<S: FragmentStore> FragmentStore for Uncached<S> {
    async fn deposit(
        &self,
        account: AccountId,
        id: FragmentId,
        fragment: Fragment,
        documents: Vec<Deposited>,
    ) -> Result<PutOutcome, ActorError> {
        self.0.deposit(account, id, fragment, documents).await
    }

    async fn get(&self, id: FragmentId) -> Result<Fragment, ActorError> {
        self.0.store.get(id).await
    }

    async fn drop_fragment(&self, account: AccountId, id: FragmentId) -> Result<(), ActorError> {
        self.0.drop_fragment(account, id).await
    }

    async fn checksums(
        &self,
        tessera: TesseraId,
        from: (u32, u16),
        limit: u32,
    ) -> Result<Vec<FragmentRow>, ActorError> {
        self.0.checksums(tessera, from, limit).await
    }
}

/// A change under way in the store. Tells the cache on drop: whether it was carried out or not may be unknown.
struct Changing {
    seat: Seat<CacheMsg>,
    id: FragmentId,
    change: Change,
}

impl Drop for Changing {
    fn drop(&mut self) {
        let change = std::mem::take(&mut self.change);
        self.seat.tell(CacheMsg::Changed { id: self.id, change });
    }
}

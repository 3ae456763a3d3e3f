//! Whether holders that a repairer has replaced are gone. Whoever keeps a fragment could otherwise tell all others that it
//! keeps them all, and whoever goes by that would neither ask the true holders nor mend what they lose.

use std::{
    collections::BTreeMap,
    fmt,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use lru::LruCache;
use proto::{
    NodeId, TesseraId,
    limits::STRIPE_TOTAL_MAX,
    placement::Placement,
    proof,
    wire::{Refusal, RefusalKind},
};
use tokio::time::timeout;

use super::{Server, busy, looking_after::Count, refusal};
use crate::{
    conn_pool::PeerTrouble,
    error::ActorError,
    remote,
    storage::{BlobState, ExpectedFragment},
    store::FragmentStore,
};

/// How often each repairer was found to replace somebody who is there.
pub(super) struct Caught(Mutex<LruCache<NodeId, Count>>);

impl Default for Caught {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(NODES)))
    }
}

impl Caught {
    /// How long nobody is asked any more because of this node.
    fn wait(&self, node: NodeId) -> Result<(), Duration> {
        self.count(node, |count, now| count.wait(CAUGHT_MAX, now))
    }

    fn add(&self, node: NodeId) {
        self.count(node, |count, _| count.add());
    }

    fn count<T>(&self, node: NodeId, with: impl FnOnce(&mut Count, Instant) -> T) -> T {
        let now = Instant::now();
        let mut nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        with(nodes.get_or_insert_mut(node, || Count::new(now)), now)
    }
}

impl Server {
    /// Refuses the placement of a repairer by which a node is replaced that shows that it has what it is to keep.
    pub(super) async fn refuse_usurped(
        &self,
        known: &Placement,
        newer: &Placement,
        repairer: NodeId,
    ) -> Result<(), Refusal> {
        let mut replaced: Vec<_> = known.replaced_by(newer).filter(|(_, node)| *node != repairer).collect();
        // One index of each, whichever.
        fastrand::shuffle(&mut replaced);
        replaced.sort_by_key(|(_, node)| *node);
        replaced.dedup_by_key(|(_, node)| *node);
        if replaced.is_empty() {
            return Ok(());
        }
        self.state.caught.wait(repairer).map_err(|wait| {
            let retry_after_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
            RefusalKind::Busy { retry_after_ms }
                .because("whoever signed it has replaced too many who were there")
        })?;
        let asked = stream::iter(replaced).map(|(index, node)| async move {
            let asked = timeout(SHOWN_WITHIN, self.is_kept(known, index, node)).await;
            (index, node, asked.unwrap_or(Ok(false)))
        });
        let mut asked = asked.buffer_unordered(STRIPE_TOTAL_MAX.into());
        while let Some((index, node, is_kept)) = asked.next().await {
            if is_kept? {
                self.state.caught.add(repairer);
                let tessera = known.tessera;
                tracing::warn!(%repairer, %node, index, %tessera, "a repairer replaces a holder that is there");
                let why = format!("{node}, which it replaces, is there and keeps index {index}");
                return Err(RefusalKind::Forbidden.because(why));
            }
        }
        Ok(())
    }

    /// Has a node show a piece of any fragment with this index. Whether it has; an error when that cannot be told.
    async fn is_kept(&self, placement: &Placement, index: u16, node: NodeId) -> Result<bool, Refusal> {
        let cannot = |why: &dyn fmt::Display| {
            RefusalKind::Forbidden.because(format!("{node}, which it replaces, cannot be asked: {why}"))
        };
        let fragment = self.any_fragment(placement, index).await?;
        let fragment = fragment.ok_or_else(|| cannot(&"its checksums are not here"))?;
        let ExpectedFragment { stripe, checksum, length, .. } = fragment;
        if node == self.peers.us() {
            return self.is_kept_here(placement.tessera, stripe, index).await;
        }
        let group = fastrand::u32(..proof::groups(length).max(1));
        match self.remote.prove(node, checksum, length, group).await {
            Ok(_) => Ok(true),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) if remote::is_passing(&error) => Err(busy("whom it replaces cannot be asked now")),
            Err(error) => Err(cannot(&error)),
        }
    }

    /// One whose checksum is known here.
    async fn any_fragment(
        &self,
        placement: &Placement,
        index: u16,
    ) -> Result<Option<ExpectedFragment>, Refusal> {
        let layouts = self.storage.layouts(placement.tessera).await.map_err(|error| refusal(&error))?;
        let layout = layouts.into_iter().flatten().find(|layout| layout.checksum() == placement.layout);
        let stripes = layout.map(|layout| layout.layout().stripe_numbers()).unwrap_or_default();
        if stripes.is_empty() {
            return Ok(None);
        }
        // The last stripe may have fewer fragments.
        for stripe in [fastrand::u32(stripes.clone()), stripes.start] {
            let (door, stripes) = (self.storage.checksums_door(), stripe..stripe.saturating_add(1));
            let expected =
                door.expected(placement.tessera, stripes, STRIPE_TOTAL_MAX.into(), &BTreeMap::new()).await;
            let expected = expected.map_err(|error| refusal(&error))?;
            let found = expected.fragments.into_iter().find(|fragment| fragment.index == index);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    async fn is_kept_here(&self, tessera: TesseraId, stripe: u32, index: u16) -> Result<bool, Refusal> {
        let rows = self.storage.checksums(tessera, (stripe, index), 1).await;
        let rows = rows.map_err(|error| refusal(&error))?;
        Ok(rows.iter().any(|row| (row.stripe, row.index, row.state) == (stripe, index, BlobState::Ok)))
    }
}

/// Whether a node does not answer, or has not got it. Whose address is not known may be there all the same.
fn is_gone(error: &ActorError) -> bool {
    let is_away = matches!(
        error,
        ActorError::Peer {
            trouble: PeerTrouble::Unreachable { .. }
                | PeerTrouble::Waiting { .. }
                | PeerTrouble::WrongKey { .. }
                | PeerTrouble::Silent { .. }
                | PeerTrouble::BlockedHere { .. },
            ..
        }
    );
    is_away || remote::has_not_got_it(error)
}

/// A dial in vain takes up to five seconds; and whoever tells waits for ten.
const SHOWN_WITHIN: Duration = Duration::from_secs(6);
/// A node that replaces more than so many who are there within an hour is not listened to: it may be right sometimes, as who was
/// away may come back just then.
const CAUGHT_MAX: u32 = 60;
/// Nodes of which it is remembered.
const NODES: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

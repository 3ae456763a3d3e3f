//! What giving a tessera to others is made of, and what bringing it back is: each part by itself, as well as an ordinary
//! program does it, with nothing else to do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::available_parallelism,
    time::Duration,
};

use actors::{FragmentStore, System};
use bytes::Bytes;
use futures::future::{BoxFuture, try_join_all};
use proto::{AccountId, Checksum, Fragment, FragmentId, TesseraId, erasure::Coder, layout::Stripe};
use tokio::task::{JoinSet, spawn_blocking};

use super::swarm::timed;
use crate::{
    Result,
    load::tessera_id,
    rounds::{Contender, Work},
    rows::network::Fan,
};

/// Bytes of a fragment.
pub(super) const FRAGMENT_BYTES: usize = 1 << 20;
const FRAGMENT_LEN: u32 = 1 << 20;
const _: () = assert!(FRAGMENT_BYTES == proto::limits::FRAGMENT_BYTES_MAX);

/// What is done to one stripe.
type Each = dyn Fn(&mut Coder) -> Result<()> + Send + Sync;

/// Computes parity and all checksums, or what is missing from what is there; with all cores.
pub(super) struct Coding {
    name: &'static str,
    stripes: usize,
    each: Arc<Each>,
}

impl Coding {
    /// Of so many stripes, from their data.
    pub(super) fn encodes(stripes: usize, data: usize, parity: u16) -> Self {
        let chunks = unlike(0, data);
        let each = move |coder: &mut Coder| {
            let data: Vec<_> =
                chunks.iter().cloned().map(Fragment::hash).collect::<std::result::Result<_, _>>()?;
            coder.encode(&data, parity)?;
            Ok(())
        };
        Self { name: "encode and hash", stripes, each: Arc::new(each) }
    }

    /// Of so many stripes, of which these indices are missing.
    pub(super) fn decodes(stripes: usize, data: usize, parity: u16, missing: &[u16]) -> Result<Self> {
        let data = unlike(0, data).into_iter().map(Fragment::hash);
        let mut all: Vec<_> = data.collect::<std::result::Result<_, _>>()?;
        let stripe = Stripe::of(&all, parity)?;
        all.extend(Coder::new().encode(&all, parity)?);
        let checksums: Vec<Checksum> = all.iter().map(Fragment::checksum).collect();
        let held = (0..).zip(all).filter(|(index, _)| !missing.contains(index));
        let held: Vec<(u16, Fragment)> = held.take(stripe.data().into()).collect();
        let wanted: Vec<u16> = (0..stripe.data()).collect();
        let each = move |coder: &mut Coder| {
            for (_, fragment) in &held {
                Fragment::hash(fragment.bytes().clone())?;
            }
            coder.reconstruct(&stripe, &checksums, &held, &wanted)?;
            Ok(())
        };
        Ok(Self { name: "decode and hash", stripes, each: Arc::new(each) })
    }
}

impl Contender for Coding {
    fn name(&self) -> &'static str {
        self.name
    }

    fn round(&mut self, _: Duration) -> BoxFuture<'_, Result<Work>> {
        Box::pin(timed(async {
            let (left, mut threads) = (Arc::new(AtomicU64::new(self.stripes as u64)), JoinSet::new());
            for _ in 0..available_parallelism()?.get() {
                let (left, each) = (left.clone(), self.each.clone());
                threads.spawn(spawn_blocking(move || {
                    let mut coder = Coder::new();
                    let one_less = |left: u64| left.checked_sub(1);
                    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
                        each(&mut coder)?;
                    }
                    Result::Ok(())
                }));
            }
            while let Some(ended) = threads.join_next().await {
                ended???;
            }
            Ok(())
        }))
    }
}

/// The same bytes over bare quinn, between one and many.
pub(super) struct Carrying {
    pub(super) fan: Fan,
    /// Fragments on each connection.
    pub(super) fragments: usize,
}

impl Contender for Carrying {
    fn name(&self) -> &'static str {
        "bare quinn"
    }

    fn round(&mut self, _: Duration) -> BoxFuture<'_, Result<Work>> {
        Box::pin(timed(self.fan.carry(self.fragments, FRAGMENT_LEN)))
    }
}

/// As many durable puts, by the same nodes, without a network.
pub(super) struct Puts {
    receivers: Vec<System>,
    /// Fragments for each of them.
    fragments: usize,
    /// Nothing is put twice: it would be stored once.
    seed: u64,
}

impl Puts {
    pub(super) fn new(receivers: Vec<System>, fragments: usize) -> Self {
        Self { receivers, fragments, seed: 1 }
    }

    async fn put(receiver: System, tessera: TesseraId, fragments: Vec<Fragment>) -> Result<()> {
        let puts = (0..).zip(fragments).map(|(stripe, fragment)| {
            let id = FragmentId { tessera, stripe, index: 0 };
            receiver.storage.put(AccountId::LOCAL, id, fragment)
        });
        try_join_all(puts).await?;
        Ok(())
    }
}

impl Contender for Puts {
    fn name(&self) -> &'static str {
        "durable put"
    }

    fn round(&mut self, _: Duration) -> BoxFuture<'_, Result<Work>> {
        Box::pin(async {
            let mut puts = Vec::new();
            for receiver in &self.receivers {
                self.seed += 1;
                let (seed, count) = (self.seed, self.fragments);
                let fragments =
                    spawn_blocking(move || unlike(seed, count).into_iter().map(Fragment::hash).collect());
                let fragments: std::result::Result<Vec<_>, _> = fragments.await?;
                puts.push((receiver.clone(), tessera_id(u32::try_from(seed)?), fragments?));
            }
            timed(async {
                let all = puts
                    .into_iter()
                    .map(|(receiver, tessera, fragments)| Self::put(receiver, tessera, fragments));
                try_join_all(all).await?;
                Ok(())
            })
            .await
        })
    }
}

/// The bytes of so many fragments, no two of which are alike, and none like one of another seed.
fn unlike(seed: u64, fragments: usize) -> Vec<Bytes> {
    let mut stream = blake3::Hasher::new().update(b"parts").update(&seed.to_le_bytes()).finalize_xof();
    let next = |_| {
        let mut bytes = vec![0; FRAGMENT_BYTES];
        stream.fill(&mut bytes);
        Bytes::from(bytes)
    };
    (0..fragments).map(next).collect()
}
